"""Several crops of each sample: run through a network together where their sizes agree, and compared across."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from manyviews.contracts import View


def embed_crops(network: Callable[[View], Tensor], crops: Sequence[View]) -> list[Tensor]:
    """`network` of each crop. Neighbours whose `x` are tensors of one shape go through as one batch, so that batch statistics are over all of them."""
    outputs: list[Tensor] = []
    for _, group in itertools.groupby(crops, key=lambda crop: crop.x.shape[1:] if isinstance(crop.x, Tensor) else id(crop)):
        alike = list(group)
        joined = alike[0] if len(alike) == 1 else View(torch.cat([crop.x for crop in alike]), torch.cat([crop.index for crop in alike]))
        outputs += network(joined).split([len(crop) for crop in alike])
    return outputs


def cross_entropy_across(targets: Sequence[Float[Tensor, "batch out"]], logits: Sequence[Float[Tensor, "batch out"]]) -> Float[Tensor, ""]:
    """Mean over samples and over pairs of two different crops (i, j) of the cross-entropy of crop j's softmax with crop i's target distribution.

    Target i and logits i are of the same crop; there may be more logits than targets.
    """
    logs = [F.log_softmax(z.float(), 1) for z in logits]
    pairs = [(i, j) for i in range(len(targets)) for j in range(len(logs)) if i != j]
    return -torch.stack([(targets[i] * logs[j]).sum(1).mean() for i, j in pairs]).mean()
