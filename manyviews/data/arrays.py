"""Samples in one array: .npy (memory-mapped), .npz with `x`/`images`/`data` and, where there are any, `y`/`label`/`labels`, or in memory."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from manyviews.errors import InputError

SAMPLES, LABELS = ("x", "images", "data", "image", "x_train"), ("y", "label", "labels", "targets", "target", "y_train")


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


def from_file(path: Path) -> tuple[Array, dict[str, np.ndarray], list[str]]:
    """The samples, label column and class names of a .npy or .npz file."""
    try:
        file = np.load(path, mmap_mode="r" if path.suffix == ".npy" else None, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path} cannot be read as an array: {error}") from None
    if isinstance(file, np.ndarray):
        return Array(file, f"array {path}"), {}, []
    with file:
        key = next((k for k in file.files if k.lower() in SAMPLES), None)
        if key is None:
            raise InputError(f"{path} has {', '.join(file.files) or 'nothing'}; the samples are looked for under {', '.join(SAMPLES)}")
        samples = file[key]
        label = next((k for k in file.files if k.lower() in LABELS), None)
        given = file[label].reshape(-1) if label else None
    if given is None or len(given) != len(samples):
        return Array(samples, f"arrays {path}"), {}, []
    columns, classes = label_column(given)
    return Array(samples, f"arrays {path}"), columns, classes


def label_column(given: np.ndarray) -> tuple[dict[str, np.ndarray], list[str]]:
    """Class numbers and names for labels of any kind; nothing where there is only one class."""
    names, numbers = np.unique(given, return_inverse=True)
    if len(names) < 2:
        return {}, []
    return {"label": numbers.reshape(-1)}, [str(name) for name in names]
