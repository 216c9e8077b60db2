"""Hugging Face data sets: from disk (what `save_to_disk` wrote) or by name, `hf:NAME[@CONFIG][:SPLIT]`. Needs the package `datasets`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa

from manyviews.data.dataset import Unreadable
from manyviews.data.folder import content
from manyviews.data.labels import label_column, split_column, text
from manyviews.data.parquet import LABELS, PICTURES
from manyviews.errors import InputError


class HuggingFace:
    """Rows of one or more `datasets.Dataset`s, one after the other."""

    def __init__(self, parts: Mapping[str, Any], column: str, what: str, dtype: Any = None):
        """dtype: of the numbers, where pictures are nested lists of them."""
        self.parts, self.split, self.column, self.what, self.dtype = list(parts.values()), list(parts), column, what, dtype
        self.ends = np.cumsum([len(part) for part in self.parts])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def find(self, row: int) -> tuple[int, int]:
        k = int(np.searchsorted(self.ends, row, side="right"))
        return k, int(row - (self.ends[k - 1] if k else 0))

    def value(self, row: int) -> Any:
        part, i = self.find(row)
        return self.parts[part][i][self.column]

    def raw(self, row: int) -> Any:
        value = self.value(row)
        if isinstance(value, dict):
            if not value.get("bytes") and value.get("path"):
                return content(value["path"])
            value = value.get("bytes")
        if value is None:
            raise Unreadable("no picture in this row")
        return np.asarray(value, self.dtype) if isinstance(value, list) else value

    def name(self, row: int) -> str:
        part, i = self.find(row)
        return f"{self.split[part]}/{i}" if self.split[part] else f"{i}"

    def describe(self) -> str:
        return self.what

    def fingerprint(self) -> str:
        return "/".join(part._fingerprint for part in self.parts)


def package() -> ModuleType:
    try:
        import datasets
    except ImportError:
        raise InputError("Hugging Face data sets need the package `datasets`: pip install 'manyviews[huggingface]'") from None
    return datasets


def on_disk(path: Path) -> tuple[HuggingFace, dict[str, np.ndarray], list[str]]:
    """What `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote. Raises InputError."""
    datasets = package()
    try:
        return found(datasets.load_from_disk(str(path)), f"Hugging Face data set {text(str(path))}")
    except InputError:
        raise
    except Exception as error:  # datasets and Arrow raise many kinds on damaged files
        raise InputError(f"{path} looks like a Hugging Face data set but cannot be read: {error}") from None


def by_name(name: str) -> tuple[HuggingFace, dict[str, np.ndarray], list[str]]:
    """NAME[@CONFIG][:SPLIT] from the hub, its cache, or a local folder. Raises InputError."""
    datasets = package()
    repository, _, split = name.partition(":")
    repository, _, config = repository.partition("@")
    try:
        loaded = datasets.load_dataset(repository, config or None, split=split or None)
    except Exception as error:  # not found, gated, no network, a missing config, a bad split: each says so
        raise InputError(f"hf:{name} cannot be loaded: {str(error) or type(error).__name__} (the form is hf:NAME[@CONFIG][:SPLIT])") from None
    try:
        return found(loaded, f"Hugging Face data set {name}")
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"hf:{name} was loaded but cannot be read: {error}") from None


def found(loaded: Any, what: str) -> tuple[HuggingFace, dict[str, np.ndarray], list[str]]:
    """The pictures, columns and class names. Splits of a dictionary are the split column; one without labels has unknown ones."""
    datasets = package()
    parts = dict(loaded) if isinstance(loaded, dict) else {"": loaded}
    parts = {name: part for name, part in parts.items() if len(part)}
    if not parts:
        raise InputError(f"{what} has no rows")
    features = next(iter(parts.values())).features
    column = next((name for name, feature in features.items() if isinstance(feature, datasets.Image)), None)
    column = column or next((name for name in PICTURES if name in features), None)
    if column is None:
        raise InputError(f"{what} has no column of images; its columns are {', '.join(features)}")
    without = [name for name, part in parts.items() if column not in part.features]
    if without:
        raise InputError(f"{what} has no column {column!r} in its split {', '.join(without)}, as in the others; name one split, as in hf:NAME:SPLIT")
    classes_first = [name for name, feature in features.items() if isinstance(feature, datasets.ClassLabel)]
    label = next((name for name in [*LABELS, *classes_first] if name in features and isinstance(features[name], datasets.ClassLabel | datasets.Value)), None)
    columns: dict[str, np.ndarray] = {}
    classes: list[str] = []
    if label is not None:
        kind = features.arrow_schema.field(label).type
        values = [
            part.select_columns([label]).with_format("arrow")[:][label].cast(kind) if label in part.features else pa.chunked_array([pa.nulls(len(part), kind)])
            for part in parts.values()
        ]
        columns, classes = label_column(
            pa.chunked_array([chunk for one in values for chunk in one.chunks], kind), getattr(features[label], "names", None) or ()
        )
    columns |= split_column([name for name, part in parts.items() for _ in range(len(part))])
    pictures = {name: part.select_columns([column]) for name, part in parts.items()}
    if isinstance(features[column], datasets.Image):
        pictures = {name: part.cast_column(column, datasets.Image(decode=False)) for name, part in pictures.items()}
    return HuggingFace(pictures, column, what, number_type(features.arrow_schema.field(column).type)), columns, classes


def number_type(kind: pa.DataType) -> Any:
    """What nested lists of this type hold at the bottom; None where that is no number."""
    kind = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return kind.to_pandas_dtype() if pa.types.is_integer(kind) or pa.types.is_floating(kind) else None
