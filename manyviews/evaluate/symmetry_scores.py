"""Ratios of sums over objects, with intervals that resample objects: the numbers that need no fit.

The pairs of one object are not independent, so a bootstrap over pairs would give intervals that are far too narrow.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.errors import InputError
from manyviews.evaluate.scores import Score, bootstrap

INVARIANT = 1e-6  # orbit variance ratio below which what is left of the group in an embedding is float noise
DRAWS = 1000


def per_object(values: Float[Tensor, "pairs"], objects: Int[Tensor, "pairs"]) -> Float[Tensor, "objects"]:
    """The mean of each object's values, so that objects count equally."""
    _, own, counts = objects.unique(return_inverse=True, return_counts=True)
    return torch.zeros(len(counts), dtype=torch.float64).index_add_(0, own, values.double()) / counts


def mean_over_objects(values: Float[Tensor, "pairs"], objects: Int[Tensor, "pairs"], seed: int = 0) -> Score:
    return bootstrap(per_object(values, objects), seed)


def resamples(objects: int, seed: int) -> Float[np.ndarray, "draws objects"]:
    """How often each object is in each bootstrap sample."""
    return np.random.default_rng(seed).multinomial(objects, np.full(objects, 1 / objects), size=DRAWS).astype(np.float64)


def ratio(above: Float[Tensor, "pairs"], below: Float[Tensor, "pairs"], objects: Int[Tensor, "pairs"], seed: int = 0) -> Score:
    """Mean of `above` / mean of `below`. Raises InputError where the second is zero."""
    if not len(objects):
        raise InputError("there is nothing to average: the test part is empty")
    a, b = per_object(above, objects).numpy(), per_object(below, objects).numpy()
    if not b.sum() > 0:
        raise InputError("what is to be explained does not vary, so no share of it can be explained")
    weights = resamples(len(a), seed)
    sums = weights @ b
    drawn = (weights @ a)[sums > 0] / sums[sums > 0]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Score(float(a.sum() / b.sum()), float(low), float(high))


def one_minus(score: Score) -> Score:
    return Score(1 - score.value, 1 - score.high, 1 - score.low)


def skill(
    truth: Float[Tensor, "pairs dim"],
    predicted: Float[Tensor, "pairs dim"],
    baseline: Float[Tensor, "#pairs dim"],
    objects: Int[Tensor, "pairs"],
    seed: int = 0,
) -> Score:
    """1 - E|T - P|^2 / E|T - B|^2: 1 is perfect, 0 no better than the baseline (the training mean, or the identity)."""
    return one_minus(ratio(squares(truth - predicted), squares(truth - baseline), objects, seed))


def squares(a: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows"]:
    return a.double().square().sum(1)


def median_over_objects(values: Float[Tensor, "pairs"], objects: Int[Tensor, "pairs"], seed: int = 0) -> Score:
    """The median over pairs, with the interval of resampled objects."""
    _, own = objects.unique(return_inverse=True)
    order = values.argsort()
    ranked, own = values[order].double().numpy(), own[order].numpy()
    reached = resamples(int(own.max()) + 1, seed)[:, own].cumsum(1)
    rows = (reached >= reached[:, -1:] / 2).argmax(1)
    low, high = np.quantile(ranked[rows], [0.025, 0.975])
    return Score(float(np.median(ranked)), float(low), float(high))


def collapsed(z: Float[Tensor, "views dim"]) -> bool:
    """Whether embeddings differ by no more than rounding: a constant ignores every transformation, and everything else."""
    spread, size = (z.double() - z.double().mean(0)).square().mean(), z.double().square().mean()
    return bool(spread <= (100 * torch.finfo(z.dtype).eps) ** 2 * size)


def orbit_variance(z: Float[Tensor, "views dim"], objects: Int[Tensor, "views"], seed: int = 0) -> Score:
    """omega = E_x Var_g f(gx) / Var_{x,g} f(gx): 0 for an invariant encoder, 1 where nothing tells objects apart. Var_g is the unbiased estimate."""
    z = z.double()
    _, own, counts = objects.unique(return_inverse=True, return_counts=True)
    if int(counts.max()) < 2:
        raise InputError("every object has one view only, so there is no variance over the group; give at least two")
    means = torch.zeros(len(counts), z.shape[1], dtype=z.dtype).index_add_(0, own, z) / counts[:, None]
    enough = counts[own] > 1
    within = squares(z - means[own]) * (counts[own] / (counts[own] - 1).clamp(min=1))
    return ratio(within[enough], squares(z - means.mean(0))[enough], objects[enough], seed)


def given_error(after: Float[Tensor, "pairs dim"], expected: Float[Tensor, "pairs dim"], objects: Int[Tensor, "pairs"], seed: int = 0) -> Score:
    """EE = E|f(gx) - rho(g) f(x)|^2 / E|f(gx) - mean f|^2, for a representation rho that is given, not fitted."""
    return ratio(squares(after - expected), squares(after - after.mean(0)), objects, seed)


def r2_sie(truth: Float[Tensor, "rows numbers"], predicted: Float[Tensor, "rows numbers"]) -> float:
    """The R2 of SIE (arXiv:2302.10283) and EquiCaps: one mean over rows AND components, so that a constant per component already scores above 0."""
    truth, predicted = truth.double(), predicted.double()
    return float(1 - (truth - predicted).square().sum() / (truth - truth.mean()).square().sum())
