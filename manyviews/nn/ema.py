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
    """target <- decay * target + (1 - decay) * online for parameters; buffers (running means) are copied. A sequence stands for nn.Sequential."""
    source = online if isinstance(online, nn.Module) else nn.Sequential(*online)
    for slow, fast in zip(target.parameters(), source.parameters(), strict=True):
        slow.lerp_(fast.to(slow.dtype), 1 - decay)
    for slow, fast in zip(target.buffers(), source.buffers(), strict=True):
        slow.copy_(fast)


def cosine(start: float, end: float, progress: float) -> float:
    """From start to end along half a cosine, as progress goes from 0 to 1."""
    return end - (end - start) * (math.cos(math.pi * progress) + 1) / 2
