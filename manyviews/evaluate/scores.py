"""What evaluators are given and what they return."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from manyviews.errors import InputError


@dataclasses.dataclass(frozen=True)
class Labelled:
    """Features with classes: all that a downstream measurement needs. Raises InputError for features that are not finite."""

    x: Float[Tensor, "rows dim"]
    y: Int[Tensor, "rows"]
    classes: int

    def __post_init__(self) -> None:
        bad = int((~self.x.isfinite().all(1)).sum())
        if bad:
            raise InputError(
                f"{bad:,} of {len(self.x):,} feature vectors are not finite: the encoder has diverged, or its input has NaN; take an earlier checkpoint"
            )
        if len(self.y) and not 0 <= int(self.y.min()) <= int(self.y.max()) < self.classes:
            raise InputError(f"labels go from {int(self.y.min())} to {int(self.y.max())}; expected 0 to {self.classes - 1}")

    def __len__(self) -> int:
        return len(self.y)

    def select(self, rows: Int[Tensor, "some"] | Bool[Tensor, "rows"]) -> Labelled:
        return Labelled(self.x[rows], self.y[rows], self.classes)

    def and_also(self, other: Labelled) -> Labelled:
        return Labelled(torch.cat([self.x, other.x]), torch.cat([self.y, other.y]), self.classes)


def by_class(y: Int[Tensor, "rows"]) -> dict[int, Int[Tensor, "some"]]:
    """The rows of each class that there is, in order; from one sort, however many classes there are."""
    present, counts = y.unique(return_counts=True)
    return dict(zip(present.tolist(), y.argsort(stable=True).split(counts.tolist()), strict=True))


def held_out(rows: Labelled, seed: int = 0, share: float = 0.2) -> tuple[Labelled, Labelled]:
    """The rows without, and with only, a stratified random `share`; a class with one row stays in the first part."""
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    y = rows.y[order]
    position = torch.empty_like(y)  # of each row among those of its class
    for own in by_class(y).values():
        position[own] = torch.arange(len(own))
    count = rows.y.bincount(minlength=rows.classes)[y]
    out = position < torch.where(count > 1, (count * share).round().clamp(min=1), torch.zeros(()))
    if not out.any():
        raise InputError("no class has two training samples, so nothing can be held out to choose by")
    return rows.select(order[~out]), rows.select(order[out])


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
    """The mean of per-sample values, with the percentile interval of `draws` resamples of the samples.

    What a resample holds of each distinct value is multinomial, so that is drawn, instead of the samples one by one.
    """
    if not len(values):
        raise InputError("there is nothing to average: the test part is empty")
    distinct, counts = np.unique(values.double().numpy(), return_counts=True)
    n, rng = len(values), np.random.default_rng(seed)
    if len(distinct) <= 256:
        means = rng.multinomial(n, counts / n, size=draws) @ distinct / n
    else:
        v = values.double().numpy()
        means = np.array([v[rng.integers(0, n, n)].mean() for _ in range(draws)])
    return interval(values.double().mean(), torch.from_numpy(means))


def interval(value: Float[Tensor, ""], resampled: Float[Tensor, "draws"]) -> Score:
    """A number with the percentile interval of what it is in resamples, those left out in which it is not defined (NaN)."""
    low, high = resampled[~resampled.isnan()].quantile(torch.tensor([0.025, 0.975], dtype=resampled.dtype)).tolist()
    return Score(float(value), low, high)


def resampled(counts: Float[Tensor, "rows *shape"], seed: int = 0, draws: int = 1000) -> Float[Tensor, "draws *shape"]:
    """The sums over `draws` resamples of the rows, for what is a ratio of sums."""
    n = len(counts)
    times = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)  # how often each row is in each
    return torch.einsum("rn,n...->r...", torch.from_numpy(times).to(counts.dtype), counts)
