"""Robustness: does a classifier that was fitted on clean samples still work on corrupted ones?

Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR 2019, arXiv:1903.12261.
Departs from the paper: accuracies are reported, not errors relative to AlexNet's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.evaluate.scores import Score, bootstrap

Look = tuple[str, Tensor, Tensor]  # what was done to the test samples, their features then, and their classes


def robustness(predict: Callable[[Float[Tensor, "rows dim"]], Int[Tensor, "rows"]], looks: Iterable[Look], seed: int = 0) -> dict[str, Score]:
    """The accuracy under each corruption, averaged over its severities, and over all corruptions; the same samples in each look.

    `looks` may compute them one after the other, so that only one is held.
    """
    right: dict[str, list[Tensor]] = {}
    for name, x, y in looks:
        right.setdefault(name, []).append((predict(x) == y).double())
    each = {name: torch.stack(rows).mean(0) for name, rows in right.items()}
    scores = {"corrupted": bootstrap(torch.stack([*each.values()]).mean(0), seed)}
    scores.update({f"corrupted by {name}": bootstrap(values, seed) for name, values in each.items()})
    return scores
