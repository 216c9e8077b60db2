"""Which rows are for training and which for testing, said in one line."""

from __future__ import annotations

import numpy as np

from manyviews.data.dataset import Data
from manyviews.data.derive import derive, duplicates
from manyviews.errors import InputError

SHARE = 0.2  # of the rows that is held out


def split(data: Data, seed: int) -> tuple[Data, Data]:
    """Training and test rows: the data's own, else a seeded 80/20 split, stratified by label, with exact duplicates on one side, or, where the data has
    a column `track`, each track.

    Both say how it was done in `said`. Rows whose label is not known are left out where others have one. Raises InputError where the labels are all of
    one class, or too few rows are left.
    """
    if data.labels is not None and (data.labels < 0).any():
        data = data.select(data.labels >= 0)
    if data.labels is not None:
        two_classes(data)
    train, test, said = own(data) or held_out(data, seed)
    if not (len(train) and len(test)):
        more = "samples of more tracks" if "track" in data.columns else "samples"
        raise InputError(f"{data.describe()}: cannot be split into training and test rows ({len(train)} + {len(test)}); more {more} are needed")
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
    """A fifth of each class's rows, drawn by `seed`; those that belong together go where the first of them goes, and count for its class."""
    track = tracks(data)
    if track is not None and (track >= 0).all():
        group = track
    else:
        group = data.columns["duplicate_of"] if "duplicate_of" in data.columns else derive(data, "duplicates", duplicates).columns["duplicate_of"]
        if track is not None:  # tracks are not joined by duplicates, or black frames would join all films
            group = np.where(track < 0, group, -1 - track)
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
    if track is not None:
        said += f", each of {len(np.unique(track[track >= 0])):,} tracks on one side"
    else:
        said += f", {copies:,} exact duplicate{'s' if copies != 1 else ''} kept on one side" if copies else ", no exact duplicates"
    return np.flatnonzero(~rows), np.flatnonzero(rows), said


def tracks(data: Data) -> np.ndarray | None:
    """The number of each row's track, 0 and up; -1 where the column `track` is negative or no number. None where no row has one."""
    column = data.columns.get("track")
    known = np.zeros(0, bool) if column is None else column >= 0 if column.dtype.kind in "iufb" else np.ones(len(column), bool)
    return np.where(known, np.unique(column, return_inverse=True)[1], -1) if column is not None and known.any() else None
