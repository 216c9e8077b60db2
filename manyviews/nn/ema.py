"""Slow copies of networks."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def frozen_copy(module: M) -> M:
    """A copy that gets no gradients."""
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def ema_update(target: nn.Module, online: nn.Module | Sequence[nn.Module], decay: float) -> None:
    """target <- decay * target + (1 - decay) * online, for parameters. A sequence stands for nn.Sequential.

    Buffers are the target's own: a target that runs in training mode keeps the running statistics of what it sees itself, as in the papers.
    """
    source = online if isinstance(online, nn.Module) else nn.Sequential(*online)
    slow, fast = [p.detach() for p in target.parameters()], [p.detach() for p in source.parameters()]
    if [p.shape for p in slow] != [p.shape for p in fast]:
        raise ValueError(f"the target has {len(slow)} parameters and the online network {len(fast)}, or their shapes differ; make the target with frozen_copy")
    torch._foreach_lerp_(slow, [f.to(s.dtype) for s, f in zip(slow, fast, strict=True)], 1 - decay)


def cosine(start: float, end: float, progress: float) -> float:
    """From start to end along half a cosine, as progress goes from 0 to 1."""
    return end - (end - start) * (math.cos(math.pi * progress) + 1) / 2
