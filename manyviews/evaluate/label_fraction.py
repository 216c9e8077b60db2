"""Label fractions: how far do few labels go? The linear probe with 1 %, 10 % and all of them.

Chen et al. (SimCLR), ICML 2020, arXiv:2002.05709, Sec. 6 and Table 7.
Departs from the paper: the encoder stays as it is instead of being fine-tuned; small fractions are drawn three times, stratified, at least one
sample a class.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from manyviews.errors import InputError
from manyviews.evaluate.linear import PENALTIES, Linear, fit, linear
from manyviews.evaluate.scores import Labelled, Score, bootstrap, by_class

FEW = 0.01  # the penalty where the labels are too few to choose it by


def label_fraction(
    train: Labelled, test: Labelled, whole: Linear | None = None, fractions: tuple[float, ...] = (0.01, 0.1, 1.0), draws: int = 3, seed: int = 0
) -> dict[str, Score]:
    """Test accuracy for each share of the training labels; `whole` is the classifier of all of them, where there is one already."""
    scores = {}
    for fraction in fractions:
        if fraction == 1:
            classifiers = [whole or linear(train, seed=seed)]
        else:
            classifiers = [few(train.select(subset(train, fraction, seed + k)), seed) for k in range(draws)]
        right = torch.stack([c.predict(test.x) == test.y for c in classifiers]).double().mean(0)
        scores[f"{fraction:.0%} of labels"] = bootstrap(right, seed)
    return scores


def few(rows: Labelled, seed: int) -> Linear:
    """The classifier, its penalty chosen on a fifth of the rows where a class has at least two."""
    try:
        return linear(rows, penalties=PENALTIES, seed=seed)
    except InputError:
        return fit(rows, (FEW,))[0]


def subset(rows: Labelled, fraction: float, seed: int) -> Int[Tensor, "some"]:
    """This share of each class, at least one sample."""
    generator = torch.Generator().manual_seed(seed)
    classes = by_class(rows.y).values()
    return torch.cat([own[torch.randperm(len(own), generator=generator)[: max(1, round(fraction * len(own)))]] for own in classes])
