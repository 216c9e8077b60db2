"""Many clouds of points in one file: .h5, .npz, or a .npy of shape (clouds, points, 3 or more). Each cloud is a row.

Arrays are looked for by name (`manyviews.data.point_files.ARRAYS`, and `label` for the classes). What lies in a file as it is, is mapped; what is
compressed is read once.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from manyviews.data.arrays import PARTS
from manyviews.data.labels import label_column, split_column, split_of, text
from manyviews.data.point_files import ARRAYS, npy_header, role
from manyviews.errors import InputError

LABELS = ("label", "labels", "y", "target", "targets", "class", "classes")
LARGEST = 16 << 30  # bytes that are read from a compressed file
Arrays = dict[str, np.ndarray]
Found = tuple["Clouds", dict[str, np.ndarray], list[str]]


class Clouds:
    """Rows of arrays: blocks of points (clouds, points, 3 or more), and maybe normals, colours and part of the same clouds."""

    def __init__(self, blocks: Sequence[tuple[str, Arrays]], what: str):
        self.blocks, self.what = blocks, what
        self.starts = np.cumsum([0] + [len(arrays["points"]) for _, arrays in blocks])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def place(self, row: int) -> tuple[int, int]:
        """The block, and the row in it."""
        block = int(np.searchsorted(self.starts, row, side="right")) - 1
        return block, row - int(self.starts[block])

    def raw(self, row: int) -> Arrays:
        block, k = self.place(row)
        return {name: np.asarray(a[k]) for name, a in self.blocks[block][1].items() if name in ARRAYS}

    def name(self, row: int) -> str:
        block, k = self.place(row)
        return f"{self.blocks[block][0]}:{k}"

    def describe(self) -> str:
        return self.what

    def fingerprint(self) -> str:
        """Of the shapes and of up to a thousand rows."""
        h = hashlib.sha256(f"{[(name, {k: (a.shape, a.dtype) for k, a in arrays.items()}) for name, arrays in self.blocks]}".encode())
        for row in np.linspace(0, len(self) - 1, min(len(self), 1000)).astype(int):
            for _, a in sorted(self.raw(int(row)).items()):
                h.update(np.ascontiguousarray(a).tobytes())
        return h.hexdigest()


def rows_of(blocks: Sequence[tuple[str, Arrays]], what: str, splits: Sequence[str], names: Sequence[str] = ()) -> Found:
    """The rows of blocks in which arrays have the names of `ARRAYS`, "label", or others, which become columns. Raises InputError.

    splits: of each block, "" where it has none. names: of the classes 0, 1, ...
    """
    problems = []
    for name, arrays in blocks:
        points = arrays["points"]
        if points.ndim != 3 or points.shape[2] < 3 or points.dtype.kind not in "iuf":
            problems.append(f"{name}: points of shape {points.shape} and type {points.dtype}; expected numbers (clouds, points, 3 or more)")
            continue
        problems += [f"{name}: {len(points):,} clouds, and {k} for {len(a):,}" for k, a in arrays.items() if len(a) != len(points)]
    if problems:
        raise InputError(*problems)
    store = Clouds(blocks, what)
    labels = joined(blocks, "label")
    columns, classes = label_column(labels.reshape(-1), names) if labels is not None else ({}, [])
    columns |= split_column([split for (_, arrays), split in zip(blocks, splits, strict=True) for _ in range(len(arrays["points"]))])
    for name in {name for _, arrays in blocks for name in arrays} - {*ARRAYS, "label"}:
        own = joined(blocks, name)
        columns |= {name: own} if own is not None else {}
    return store, columns, classes


def joined(blocks: Sequence[tuple[str, Arrays]], name: str) -> np.ndarray | None:
    """One array of all blocks under its name, where all have it in one shape; of labels, -1 where a block has none."""
    given = [(arrays.get(name), len(arrays["points"])) for _, arrays in blocks]
    if name == "label" and any(a is not None for a, _ in given):
        given = [(np.full(n, -1) if a is None else a.reshape(-1), n) for a, n in given]
    there = [a for a, _ in given if a is not None]
    return np.concatenate(there) if there and len(there) == len(blocks) and len({a.shape[1:] for a in there}) == 1 else None


def known(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """Arrays under the names that `rows_of` takes; those of unknown names are left out."""
    found: Arrays = {}
    for name, a in arrays.items():
        own = "label" if name.lower() in LABELS else role(name)
        if own:
            found.setdefault(own, a)
    return found


def from_h5(paths: Sequence[Path], what: str, names: Sequence[str] = (), others: Sequence[str] = ()) -> Found:
    """The clouds of HDF5 files, and the split that the name of each tells. others: further arrays to take, as columns. Raises InputError."""
    blocks, problems = [], []
    for path in paths:
        try:
            arrays = h5_arrays(path, others)
        except (OSError, RuntimeError, KeyError) as error:
            problems.append(f"{text(str(path))} cannot be read as HDF5: {error}")
            continue
        if "points" in arrays:
            blocks.append((text(path.name), arrays))
        else:
            problems.append(f"{text(str(path))} has no points; they are looked for under {ARRAYS['points'].replace(' ', ', ')}")
    if problems:
        raise InputError(*problems)
    splits = [split_of(re.sub(r"\d+", " ", text(path.stem))) for path in paths]
    return rows_of(blocks, what, splits, names)


def h5_arrays(path: Path, others: Sequence[str] = ()) -> Arrays:
    """The arrays of a file by role. Raises InputError, OSError."""
    try:
        import h5py
    except ImportError:
        raise InputError(f"{text(str(path))}: .h5 files need h5py: pip install 'manyviews[points]'") from None
    found: Arrays = {}
    if not path.is_file():
        raise InputError(f"{text(str(path))} is no file")
    with h5py.File(path, "r") as file:
        datasets = {name: item for name, item in file.items() if isinstance(item, h5py.Dataset) and item.shape}
        for name, item in datasets.items():
            own = "label" if name.lower() in LABELS else name if name in others else role(name)
            if own and item.dtype.kind in "iuf" and own not in found:
                found[own] = lying(path, item, file.userblock_size)
    if "points" in found and found["points"].ndim == 2:
        found = {name: a[None] if name in ARRAYS else a for name, a in found.items()}
    return found


def h5_looks(path: Path) -> bool:
    """Whether an HDF5 file has an array of clouds; True where there is no h5py, whose absence the reader then tells of. Raises OSError."""
    try:
        import h5py
    except ImportError:
        return True
    with h5py.File(path, "r") as file:
        shapes = [item.shape for name, item in file.items() if isinstance(item, h5py.Dataset) and role(name) == "points"]
    return any(len(shape) in (2, 3) and 3 <= shape[-1] <= 12 for shape in shapes)


def lying(path: Path, item: Any, before: int) -> np.ndarray:
    """A data set of an HDF5 file, mapped where it lies in one piece. Raises InputError."""
    offset = item.id.get_offset() if item.chunks is None else None
    if offset is not None and not before and item.size:
        return np.memmap(path, item.dtype, "r", offset, item.shape)
    if item.nbytes > LARGEST:
        raise InputError(f"{text(str(path))}: {item.name} takes {item.nbytes / 1e9:.0f} GB unpacked; store it without chunks, and it is read where it lies")
    return item[...]


def from_array(path: Path) -> Found:
    """The clouds of a .npy or .npz file; names that end in _train, _val or _test are splits. Raises InputError."""
    what = text(str(path))
    try:
        file = np.load(path, mmap_mode="r" if path.suffix.lower() == ".npy" else None, allow_pickle=False)
        if isinstance(file, np.ndarray):
            return rows_of([(text(path.name), {"points": file})], f"array {what}", [""])
        with file:
            every = {name: file[name] for name in file.files}
    except Exception as error:  # of many kinds: a damaged archive, a damaged header in it
        raise InputError(f"{what} cannot be read as an array: {error}") from None
    of_part = {part: known({k.removesuffix(part): a for k, a in every.items() if k.lower().endswith(part)}) for part in PARTS}
    parts = {part: arrays for part, arrays in of_part.items() if "points" in arrays}
    whole = known({k: a for k, a in every.items() if not k.lower().endswith(tuple(PARTS))})
    if "points" in whole:
        parts = {"": whole, **parts}
    if not parts:
        raise InputError(f"{what} has {', '.join(every) or 'nothing'}; the points are looked for under {ARRAYS['points'].replace(' ', ', ')}")
    splits = [PARTS.get(part, "train" if len(parts) > 1 else "") for part in parts]
    blocks = [(text(path.name) + part, arrays) for part, arrays in parts.items()]
    return rows_of(blocks, f"arrays {what}", splits)


def shapes(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """The shape and type of every array in a .npy or .npz file, by name, from the headers alone. Raises OSError, ValueError, BadZipFile."""
    if path.suffix.lower() == ".npy":
        with open(path, "rb") as stream:
            shape, _, kind = npy_header(stream)
            return {"": (shape, kind)}
    found = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(".npy"):
                with archive.open(name) as member:
                    shape, _, kind = npy_header(member)
                    found[name.removesuffix(".npy")] = shape, kind
    return found


def many(path: Path) -> bool:
    """Whether a .npy or .npz file holds several clouds. What cannot be read holds one, that cannot be read."""
    try:
        every = shapes(path) if path.is_file() else {}  # reading a pipe never ends
    except (OSError, ValueError, zipfile.BadZipFile):
        return False
    return any(len(shape) == 3 and (not name or role(without_part(name)) == "points") for name, (shape, _) in every.items())


def without_part(name: str) -> str:
    """x_train is x."""
    return next((name[: -len(part)] for part in PARTS if name.lower().endswith(part)), name)
