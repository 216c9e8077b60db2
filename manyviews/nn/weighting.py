"""Means over a batch in which samples count more or less."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from manyviews.nn.distributed import average


def weighted_mean(values: Float[Tensor, "batch"], weight: Float[Tensor, "batch"] | None = None) -> Float[Tensor, ""]:
    """The mean of `values`, each counted `weight` times (at least 0, of any scale); without weights the plain mean.

    The rows of all ranks are the batch: the mean over ranks of what each returns is the mean over the batch. No gradient flows to the weights.
    """
    if weight is None:
        return values.mean()
    weight = weight.detach().to(values.dtype)
    return (weight * values).mean() / average(weight.mean()).clamp(min=1e-30)
