"""From numbers over seeds to a verdict, by rule.

The paired difference over seeds has a 95 % t-interval (Student 1908). It holds where that lies above zero (or above minus the margin), is not
reproduced at this size where it lies below, and is undecided between; then the smallest difference is told that as many seeds would have found four
times in five. Beside it stands the bootstrap over test samples of the mean difference (Efron 1979), which says nothing about seeds and never decides.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.stats import t as student

HOLDS, UNDECIDED, NOT_HERE, NO_ARENA, NOT_RUN = "holds", "undecided", "not reproduced at this size", "no valid arena", "not runnable here"


def interval(differences: np.ndarray) -> tuple[float, float]:
    """The 95 % t-interval of the mean; without bounds for a single one."""
    n = len(differences)
    if n < 2:
        return -math.inf, math.inf
    half = float(student.ppf(0.975, n - 1)) * float(differences.std(ddof=1)) / math.sqrt(n)
    return float(differences.mean()) - half, float(differences.mean()) + half


def detectable(differences: np.ndarray) -> float:
    """The true difference that would be found with a probability of 0.8, by as many seeds with this spread."""
    n = len(differences)
    return math.inf if n < 2 else float(student.ppf(0.975, n - 1) + student.ppf(0.8, n - 1)) * float(differences.std(ddof=1)) / math.sqrt(n)


def bootstrap(a: np.ndarray, b: np.ndarray, draws: int = 2000) -> tuple[float, float]:
    """Of the mean of a - b, both (seeds, samples), over resamples of the samples."""
    mean = (a - b).mean(0)
    rng, n = np.random.default_rng(0), len(mean)
    means = np.array([mean[rng.integers(0, n, n)].mean() for _ in range(draws)])
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))


def decide(differences: np.ndarray, margin: float = 0.0, arena: tuple[float, float] | None = None) -> dict[str, Any]:
    """The verdict on differences in the claimed direction. arena: the mean of the baseline and of the untrained encoder, in that direction."""
    low, high = interval(differences)
    found: dict[str, Any] = {"difference": float(differences.mean()), "low": low, "high": high, "seeds": len(differences)}
    if arena is not None and arena[0] <= arena[1]:
        found.update(verdict=NO_ARENA, why=f"the baseline ({arena[0]:.3f}) is not above the untrained encoder ({arena[1]:.3f})")
    elif low > -margin:
        found["verdict"] = HOLDS
    elif high < -margin:
        found["verdict"] = NOT_HERE
    else:
        found.update(verdict=UNDECIDED, detectable=detectable(differences))
    return {name: (None if isinstance(value, float) and not math.isfinite(value) else value) for name, value in found.items()}
