"""What evaluators are given and what they return."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Features with classes: all that a downstream measurement needs."""

    x: Float[Tensor, "rows dim"]
    y: Int[Tensor, "rows"]
    classes: int

    def __post_init__(self) -> None:
        if not bool(self.x.isfinite().all()):
            raise ValueError(f"{int((~self.x.isfinite().all(1)).sum())} of {len(self.x)} feature vectors are not finite; the encoder has diverged, or the input has NaN")


@dataclasses.dataclass(frozen=True)
class Score:
    """A number with its 95 % bootstrap interval over test samples."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def accuracy(right: Bool[Tensor, "rows"], seed: int = 0) -> Score:
    """The mean of right answers."""
    return bootstrap(right.double(), seed)


def bootstrap(values: Float[Tensor, "rows"], seed: int = 0, draws: int = 1000) -> Score:
    """The mean of per-sample values, with the percentile interval of `draws` resamples of the samples."""
    v = values.double().numpy()
    rng = np.random.default_rng(seed)
    means = np.array([v[rng.integers(0, len(v), len(v))].mean() for _ in range(draws)])
    return Score(float(v.mean()), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975)))


