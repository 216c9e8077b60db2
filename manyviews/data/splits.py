"""Which rows are for training and which for testing, said in one line."""

from __future__ import annotations

import numpy as np

from manyviews.data.dataset import Data
from manyviews.data.derive import derive, duplicates
from manyviews.errors import InputError

SHARE = 0.2  # of the rows that is held out


def split(data: Data, seed: int) -> tuple[Data, Data]:
    """Training and test rows: the data's own, else a seeded 80/20 split, stratified by label, with exact duplicates on one side.

    Both say how it was done in `said`. Rows whose label is not known are left out where others have one. Raises InputError where the labels are all of
    one class, or too few rows are left.
    """
    if data.labels is not None and (data.labels < 0).any():
        data = data.select(data.labels >= 0)
    if data.labels is not None:
        two_classes(data)
    train, test, said = own(data) or held_out(data, seed)
    if not (len(train) and len(test)):
        raise InputError(f"{data.describe()}: cannot be split into training and test rows ({len(train)} + {len(test)}); more samples are needed")
    return data.select(train, said), data.select(test, said)


def two_classes(data: Data) -> None:
    """Raises InputError unless at least two classes have rows."""
    present = np.unique(data.labels) if data.labels is not None else np.empty(0)
    if len(present) < 2:
        only = f"only the class {data.classes[int(present[0])]!r}" if len(present) else "no labels"
        raise InputError(f"{data.store.describe()} has {only}; a classifier needs two classes or more: give each class a folder of its own")


def own(data: Data) -> tuple[np.ndarray, np.ndarray, str] | None:
    """The data's own rows for training and testing (or, where it has no test rows, validation)."""
    column = data.columns.get("split")
    if column is None:
        return None
    train = np.flatnonzero(column == "train")
    for name in ("test", "validation"):
        test = np.flatnonzero(column == name)
        if len(train) and len(test):
            return train, test, f"split as the data says: {len(train):,} train, {len(test):,} {name}"
    return None


def held_out(data: Data, seed: int) -> tuple[np.ndarray, np.ndarray, str]:
    """A fifth of each class's rows, drawn by `seed`; exact duplicates go where the first of them goes, and count for its class."""
    group = data.columns.get("duplicate_of")
    if group is None:
        group = derive(data, "duplicates", duplicates).columns["duplicate_of"]
    _, first, member = np.unique(group, return_index=True, return_inverse=True)
    sizes = np.bincount(member)
    labels = np.zeros(len(data), np.int64) if data.labels is None else data.labels
    rng = np.random.default_rng([seed, 80, 20])
    test = np.zeros(len(first), dtype=bool)
    _, starts = np.unique(np.sort(labels[first]), return_index=True)
    for own_groups in np.split(np.argsort(labels[first], kind="stable"), starts[1:]):  # class by class
        groups = rng.permutation(own_groups)
        if len(groups) < 2:
            continue  # a class of one sample is trained on, not tested
        filled = np.cumsum(sizes[groups])
        count = np.searchsorted(filled, SHARE * filled[-1] - 1e-9) + 1  # as many groups as reach a fifth
        test[groups[: min(int(count), len(groups) - 1)]] = True
    rows = test[member]
    copies = len(data) - len(first)
    said = f"{rows.mean():.0%} held out by seed {seed}" + ("" if data.labels is None else ", each class in proportion")
    said += f", {copies:,} exact duplicate{'s' if copies != 1 else ''} kept on one side" if copies else ", no exact duplicates"
    return np.flatnonzero(~rows), np.flatnonzero(rows), said
