"""torchvision's data sets by name, `torchvision:CIFAR10`: all their splits, with labels. Below $MANYVIEWS_DATA or ~/.cache/manyviews; fetched if missing."""

from __future__ import annotations

import difflib
import inspect
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from manyviews.data.arrays import Array
from manyviews.data.dataset import Store
from manyviews.data.derive import cache_folder
from manyviews.data.labels import label_column, split_column
from manyviews.errors import InputError

VALUES = {"train": ("train", "training"), "validation": ("val", "valid", "validation"), "test": ("test", "testing")}


class TorchVision:
    """Rows of torchvision data sets, one after the other."""

    def __init__(self, parts: dict[str, Any], what: str):
        self.parts, self.split, self.what = list(parts.values()), list(parts), what
        self.ends = np.cumsum([len(part) for part in self.parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def find(self, row: int) -> tuple[int, int]:
        k = int(np.searchsorted(self.ends, row, side="right"))
        return k, int(row - (self.ends[k - 1] if k else 0))

    def raw(self, row: int) -> Any:
        part, i = self.find(row)
        return self.parts[part][i][0]

    def name(self, row: int) -> str:
        part, i = self.find(row)
        return f"{self.split[part]}/{i}"

    def describe(self) -> str:
        return self.what

    def fingerprint(self) -> str:
        return f"{self.what} {self.ends.tolist()}"


def package() -> ModuleType:
    from manyviews.nn.torchvision_schemas import declare

    declare()
    try:
        import torchvision.datasets
    except ImportError as error:
        raise InputError(f"torchvision data sets need the package torchvision, which cannot be imported: {error}") from None
    return torchvision.datasets


def names() -> list[str]:
    """What torchvision has that is a data set of single images with a root folder or none."""
    datasets = package()
    containers = ("ImageFolder", "DatasetFolder", "VisionDataset", "FakeData")
    return sorted(name for name in datasets.__all__ if name not in containers and inspect.isclass(getattr(datasets, name)))


def by_name(name: str) -> tuple[Store, dict[str, np.ndarray], list[str]]:
    """All splits of one data set. Raises InputError with the nearest names."""
    datasets = package()
    right = {n.lower(): n for n in [*names(), "FakeData"]}
    if name.lower() not in right:
        near = difflib.get_close_matches(name.lower(), right, 3, 0.4)
        raise InputError(f"torchvision has no data set {name!r}" + (f"; the nearest are {', '.join(right[n] for n in near)}" if near else ""))
    name = right[name.lower()]
    parts = splits(getattr(datasets, name), name)
    what = f"torchvision's {name}"
    labels = [labels_of(part) for part in parts.values()]
    columns: dict[str, np.ndarray] = {}
    classes: list[str] = []
    if all(y is not None for y in labels):
        names_of = [str(c if isinstance(c, str) else c[0]) for c in getattr(next(iter(parts.values())), "classes", None) or ()]
        columns, classes = label_column(np.concatenate([np.asarray(y) for y in labels]), names_of)
    columns |= split_column([split for split, part in parts.items() for _ in range(len(part))])
    arrays = [np.asarray(part.data) for part in parts.values() if hasattr(part, "data") and not isinstance(part.data, list)]
    if len(arrays) == len(parts) and len({a.shape[1:] for a in arrays}) == 1 and arrays[0].dtype == np.uint8 and arrays[0].ndim in (3, 4):
        return Array(np.concatenate(arrays), what), columns, classes
    return TorchVision(parts, what), columns, classes


def splits(definition: Any, name: str) -> dict[str, Any]:
    """The data set's splits, by whichever argument selects them."""
    accepts = inspect.signature(definition).parameters
    if "train" in accepts:
        return {"train": make(definition, name, train=True), "test": make(definition, name, train=False)}
    argument = next((a for a in ("split", "image_set") if a in accepts), None)
    if argument is None:
        return {"": make(definition, name)}
    parts: dict[str, Any] = {}
    refused: list[str] = []
    for split, values in VALUES.items():
        for value in values:
            try:
                parts[split] = make(definition, name, **{argument: value})
                break
            except ValueError as error:  # no such split
                if isinstance(error, InputError):
                    raise
                refused.append(str(error))
    if not parts:
        raise InputError(f"torchvision:{name} cannot be opened: {refused[0]}")
    return parts


def make(definition: Any, name: str, **arguments: Any) -> Any:
    """The data set from disk, or else fetched."""
    root = Path(os.environ.get("MANYVIEWS_DATA") or cache_folder())
    accepts = inspect.signature(definition).parameters
    if "root" not in accepts:
        return definition(**arguments)
    try:
        return definition(str(root), **arguments)
    except (RuntimeError, OSError) as missing:
        if "download" not in accepts:
            raise InputError(f"torchvision:{name} is not below {root}, and torchvision cannot fetch it: {missing}") from None
    except TypeError as error:
        raise InputError(f"torchvision:{name} needs more than a folder and a split: {error}") from None
    try:
        root.mkdir(parents=True, exist_ok=True)
        return definition(str(root), download=True, **arguments)
    except ValueError:
        raise
    except Exception as error:  # no network, no space, a changed file, a missing package (scipy, gdown): each says so
        raise InputError(f"torchvision:{name} is not below {root} and cannot be fetched: {error}") from None


def labels_of(part: Any) -> Any:
    """Class numbers, under whichever name the data set keeps them; None where it keeps none."""
    for name in ("targets", "labels", "_labels", "y"):
        values = getattr(part, name, None)
        if values is not None and np.ndim(values) == 1 and len(values) == len(part):
            return values
    pairs = getattr(part, "_samples", None)
    if isinstance(pairs, list) and len(pairs) == len(part) and all(isinstance(pair, tuple) and isinstance(pair[1], int) for pair in pairs):
        return [pair[1] for pair in pairs]
    return None
