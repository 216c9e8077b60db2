"""Gradient-boosted trees, what a representation of tables must stand beside.

Friedman, "Greedy Function Approximation: A Gradient Boosting Machine", Annals of Statistics 2001; by histograms as in LightGBM (Ke et al., NeurIPS 2017),
from scikit-learn, with its defaults but early stopping on a tenth of the training rows. They take missing values as they are, and scales mean nothing to
them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.errors import InputError
from manyviews.evaluate.scores import Score, accuracy

CATEGORIES = 255  # that one column may have; numbers beyond count as the last one


def boosted_trees(
    known: Float[Tensor, "rows dim"],
    y: Int[Tensor, "rows"],
    asked: Float[Tensor, "queries _"],
    answers: Int[Tensor, "queries"],
    categorical: Sequence[int] = (),
    seed: int = 0,
) -> Score:
    """The accuracy on `asked` of trees that saw `known`."""
    return accuracy(predicted(known, y, asked, categorical, seed) == answers, seed)


def predicted(
    known: Float[Tensor, "rows dim"], y: Int[Tensor, "rows"], asked: Float[Tensor, "queries _"], categorical: Sequence[int] = (), seed: int = 0
) -> Int[Tensor, "queries"]:
    """The class of each of `asked`.

    categorical: columns that hold category numbers 0, 1, 2 ... instead of measures. NaN: missing. Raises InputError where the rows have fewer than two classes.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    if len(y.unique()) < 2:
        raise InputError(f"the {len(y):,} training rows have {len(y.unique())} class; trees need two or more to tell apart")
    if known.shape[1] != asked.shape[1]:
        raise InputError(f"the training rows have {known.shape[1]} columns and the test rows {asked.shape[1]}; they must be the same")
    known, asked = known.double().clone(), asked.double().clone()
    for k in categorical:
        for x in (known, asked):
            x[:, k] = torch.where(x[:, k] < 0, torch.nan, x[:, k]).floor().clamp(max=CATEGORIES - 1)
    enough = len(y) >= 200 and int(y.bincount()[y.unique()].min()) >= 2
    trees = HistGradientBoostingClassifier(categorical_features=list(categorical) or None, early_stopping=enough, random_state=seed)
    return torch.from_numpy(trees.fit(known.numpy(), y.numpy()).predict(asked.numpy())).long()
