"""Domain generalisation: what was learned from some domains, does it hold in one that was never seen? And do the features give the domain away?

Zhang, Zhou, Xu, Cui, Shen, Liu, "Towards Unsupervised Domain Generalization", CVPR 2022, arXiv:2107.06219: pretraining without labels on all domains but one,
few labels of those, tests on the one left out.
Departs from the paper: the encoder stays as it is at every share of the labels, where theirs is fine-tuned when there are more of them; the labels are drawn
three times, stratified by domain and class; and a second linear classifier is asked for the domain of rows of the seen domains that it was not fitted on.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.errors import InputError
from manyviews.evaluate.label_fraction import few, subset
from manyviews.evaluate.linear import linear
from manyviews.evaluate.scores import Labelled, Score, bootstrap, held_out


def leave_one_out(domains: np.ndarray) -> Iterator[tuple[object, np.ndarray, np.ndarray]]:
    """For each domain its name, the rows of all others, and its own. Raises InputError where there is only one."""
    names = np.unique(domains)
    if len(names) < 2:
        raise InputError("generalising to an unseen domain needs rows of at least two domains")
    for name in names.tolist():
        yield name, np.flatnonzero(domains != name), np.flatnonzero(domains == name)


def domain_generalisation(train: Labelled, domains: Int[Tensor, "rows"], test: Labelled, share: float = 0.1, draws: int = 3, seed: int = 0) -> dict[str, Score]:
    """Accuracies: `unseen domain`, `seen domains`, and how well the `domain` is told.

    share: of the labels of the seen domains that are known, above 0 and at most 1. draws: how often they are drawn.
    """
    return {name: bootstrap(values.double(), seed) for name, values in right_answers(train, domains, test, share, draws, seed).items()}


def right_answers(
    train: Labelled, domains: Int[Tensor, "rows"], test: Labelled, share: float = 0.1, draws: int = 3, seed: int = 0
) -> dict[str, Float[Tensor, "some"]]:
    """For each sample the share of draws in which it was told right: its class in the `unseen domain` and in the `seen domains`, and the latter's `domain`.

    train: features of the seen domains; `domains` are theirs, numbered from 0. test: of the unseen one. share: of the labels that a draw knows, 0 to 1. A fifth
    of the seen rows is kept out of all fits.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share {share}: expected a share of the labels above 0 and at most 1")
    kinds = Labelled(torch.arange(len(train))[:, None].double(), domains * train.classes + train.y, train.classes * (int(domains.max()) + 1))
    known, kept = (part.x[:, 0].long() for part in held_out(kinds, seed))
    seen, told = train.select(kept), Labelled(train.x, domains, int(domains.max()) + 1)
    classifiers = [few(train.select(known[subset(kinds.select(known), share, seed + k)]), seed) for k in range(draws)]
    return {
        "unseen domain": torch.stack([c.predict(test.x) == test.y for c in classifiers]).float().mean(0),
        "seen domains": torch.stack([c.predict(seen.x) == seen.y for c in classifiers]).float().mean(0),
        "domain": (linear(told.select(known), seed=seed).predict(seen.x) == domains[kept]).float(),
    }
