"""Labels of any kind as class numbers and names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

SPLITS = {"train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation", "dev": "validation",
          "test": "test", "testing": "test"}  # fmt: skip
NAMES = np.array(["", "train", "validation", "test"], dtype=object)  # one string object each, however many rows


def label_column(given: Any, names: Sequence[str] = ()) -> tuple[dict[str, np.ndarray], list[str]]:
    """Class numbers and names for labels of any kind (numbers, texts; None, "", NaN and numbers below 0: not known, -1); nothing where none is known.

    names: of the classes 0, 1, ... where `given` are their numbers.
    """
    values = given if isinstance(given, pa.Array | pa.ChunkedArray) else pa.array(np.asarray(given).reshape(-1), from_pandas=True)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    encoded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    entries = encoded.dictionary.to_pylist()
    known = [k for k, entry in enumerate(entries) if entry not in (None, "", b"") and not (isinstance(entry, int | float) and entry < 0)]
    known.sort(key=lambda k: entries[k])
    if not known:
        return {}, []
    number = np.full(len(entries) + 1, -1)  # the last one stands for null
    if names and all(isinstance(entries[k], int) and entries[k] < len(names) for k in known):
        number[known] = [entries[k] for k in known]
        classes = list(names)
    else:
        number[known] = range(len(known))
        classes = [text(entries[k]) for k in known]
    return {"label": number[encoded.indices.fill_null(len(entries)).to_numpy(zero_copy_only=False)]}, classes


def text(value: Any) -> str:
    """For people: bytes that are no text show as \\xNN, whole floats as whole numbers."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def split_column(splits: Iterable[str]) -> dict[str, np.ndarray]:
    """The column of splits by name, if every row has one and some are for training."""
    known = [SPLITS.get(s.lower(), "") for s in splits]
    if "train" not in known or "" in known:
        return {}
    return {"split": NAMES[[list(NAMES).index(s) for s in known]]}


def split_of(path: str) -> str:
    """The split that a file's name or folder tells (train-0001.tar, test/x.parquet), or nothing."""
    words = "".join(c if c.isalnum() else " " for c in path.lower()).split()
    return next((SPLITS[word] for word in reversed(words) if word in SPLITS), "")
