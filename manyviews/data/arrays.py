"""Samples in one array: .npy (memory-mapped), .npz with `x`/`images`/`data` and, where there are any, `y`/`label`/`labels`, or in memory.

An .npz with `x_train`, `y_train`, `x_test`, `y_test` has a split; so has one with `x`, `y`, `x_test`, `y_test`. Parts without labels have unknown ones.
An .npz without a split keeps its other arrays of as many rows as columns.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from pathlib import Path

import numpy as np

from manyviews.data.labels import label_column, split_column, text
from manyviews.errors import InputError

SAMPLES, LABELS = ("x", "images", "data", "image", "samples"), ("y", "label", "labels", "targets", "target", "classes")
PARTS = {"_train": "train", "_val": "validation", "_valid": "validation", "_validation": "validation", "_test": "test"}


class Array:
    """Rows of an array (count, ...)."""

    def __init__(self, samples: np.ndarray, what: str):
        self.samples, self.what = samples, what

    def __len__(self) -> int:
        return len(self.samples)

    def raw(self, row: int) -> np.ndarray:
        return np.asarray(self.samples[row])

    def name(self, row: int) -> str:
        return f"{row}"

    def describe(self) -> str:
        return self.what

    def fingerprint(self) -> str:
        """Of the shape and of up to a thousand rows."""
        h = hashlib.sha256(f"{self.samples.shape}{self.samples.dtype}".encode())
        for row in np.linspace(0, len(self) - 1, min(len(self), 1000)).astype(int):
            h.update(np.ascontiguousarray(self.samples[row]).tobytes())
        return h.hexdigest()


def pictures(samples: np.ndarray, what: str) -> Array:
    """An array as pictures: (count, height, width[, channels]) or (count, channels, height, width). Raises InputError."""
    if samples.ndim not in (3, 4) or 0 in samples.shape:
        raise InputError(f"{what} has the shape {samples.shape}; pictures are (count, height, width) or (count, height, width, channels)")
    if samples.dtype.kind in "iu" and samples.dtype not in (np.uint8, np.uint16):
        low, high = samples.min(), samples.max()  # a wide type says nothing of the depth; the numbers do
        if low >= 0 and high <= 65535:
            samples = samples.astype(np.uint8 if high <= 255 else np.uint16)
    return Array(samples, what)


def from_file(path: Path) -> tuple[Array, dict[str, np.ndarray], list[str]]:
    """The samples, columns and class names of a .npy or .npz file. Raises InputError."""
    what = text(str(path))
    try:
        file = np.load(path, mmap_mode="r" if path.suffix.lower() == ".npy" else None, allow_pickle=False)
        if isinstance(file, np.ndarray):
            return pictures(file, f"array {what}"), {}, []
        with file:
            arrays = {k.lower(): file[k] for k in file.files if k.lower().split("_")[0] in SAMPLES + LABELS}
            others = {k: file[k] for k in file.files if k.lower() not in arrays}
            names = ", ".join(file.files)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} cannot be read as an array: {error}") from None
    parts = {part: split for part, split in PARTS.items() if any(k + part in arrays for k in SAMPLES)}
    if "_train" not in parts:  # then what has no ending is for training, or is all there is
        whole = {"": "train" if parts else ""} if not parts or first(arrays, SAMPLES, "") is not None else {}
        parts = {**whole, **parts}
    found = [x for x in (first(arrays, SAMPLES, part) for part in parts) if x is not None]
    if not found:
        raise InputError(f"{path} has {names or 'nothing'}; the samples are looked for under {', '.join(SAMPLES)}, each also with {', '.join(PARTS)}")
    labels = [first(arrays, LABELS, part) for part in parts]
    columns: dict[str, np.ndarray] = {}
    classes: list[str] = []
    unknown = next(("" if y.dtype.kind in "US" else -1 for y in labels if y is not None), None)
    if unknown is not None:
        given = [np.full(len(x), unknown) if y is None else y.reshape(-1) for x, y in zip(found, labels, strict=True)]
        for x, y in zip(found, given, strict=True):
            if len(y) != len(x):
                raise InputError(f"{path} has {len(x):,} samples and {len(y):,} labels; expected one label a sample")
        columns, classes = label_column(np.concatenate(given))
    columns |= split_column([split for x, split in zip(found, parts.values(), strict=True) for _ in range(len(x))])
    if len({x.shape[1:] for x in found}) > 1:
        raise InputError(f"{path} has samples of different shapes: {', '.join(str(x.shape) for x in found)}")
    if len(found) == 1:  # numbers that came with every sample, such as generated pictures
        columns |= {k: a for k, a in others.items() if a.ndim and len(a) == len(found[0]) and a.dtype.kind in "iufb" and k not in columns}
    return pictures(found[0] if len(found) == 1 else np.concatenate(found), f"arrays {what}"), columns, classes


def first(arrays: dict[str, np.ndarray], names: tuple[str, ...], part: str) -> np.ndarray | None:
    """The first of `names` that there is for a part."""
    return next((arrays[name + part] for name in names if name + part in arrays), None)
