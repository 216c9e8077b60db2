"""Tables: rows of numbers, categories, yes and no, and dates, from a file, a data frame or an array.

A sample is one float32 row of raw values in the file's order of columns, NaN where a value is missing (`manyviews.data.table_columns` says what the numbers
are). A batch is a `Rows`, which brings along what the columns are. The form, {"columns": [...]}, is computed on the rows whose split is train, on all rows
where there is no split; `formed(data)` computes it anew on a selection. What a path may say after `?` is in `manyviews.data.table_files`.

The label is the column that is named, or else one of a usual name. Integers are numbers, however few: `categorical=` says otherwise. A column of which nearly
all cells (95 %) are numbers is numeric, and the others are missing. Columns that say nothing (constant, empty, a text that never recurs) stay, and are named.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import torch
from jaxtyping import Float

from manyviews.data import table_files
from manyviews.data.dataset import Data, Unreadable
from manyviews.data.labels import label_column, split_column, text
from manyviews.data.lists import HEADER
from manyviews.data.parquet import PICTURES
from manyviews.data.table_columns import Column, Rows, Scheme, bare, column, remembered
from manyviews.data.table_files import Options, Table
from manyviews.errors import InputError

LABELS = ("label", "labels", "target", "class", "y", "income", "outcome", "diagnosis", "species", "survived")  # the first of them that there is
SPLITS = ("split", "subset", "partition")
MOST_CLASSES = 100  # a numeric label of more values is a number to predict
FILES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".tif",
    ".tiff",
    ".webp",
    ".bmp",
    ".gif",
    ".npy",
    ".nii",
    ".gz",
    ".dcm",
    ".ply",
    ".obj",
    ".off",
    ".mp4",
    ".avi",
    ".wav",
    ".txt",
    ".pt",
)


class Cells:
    """The rows of a table in memory."""

    def __init__(self, values: Float[np.ndarray, "rows columns"], names: list[str], what: str, bad: Mapping[int, str]):
        self.values, self.names, self.what, self.bad = values, names, what, bad

    def __len__(self) -> int:
        return len(self.values)

    def raw(self, row: int) -> Float[np.ndarray, "columns"]:
        if row in self.bad:
            raise Unreadable(self.bad[row])
        return self.values[row]

    def name(self, row: int) -> str:
        return f"row {row + 1}"

    def describe(self) -> str:
        return self.what

    def fingerprint(self) -> str:
        """Of every value and the names."""
        return hashlib.sha256(np.ascontiguousarray(self.values).tobytes() + "\0".join(self.names).encode("utf-8", "surrogateescape")).hexdigest()


def decode(raw: Float[np.ndarray, "columns"], pixels: int = 0, channels: int = 0, bits: int = 0) -> Float[np.ndarray, "columns"]:
    """A row as it is. The three numbers mean nothing for tables."""
    return raw


def collate(samples: list[np.ndarray], scheme: Scheme) -> Rows:
    return Rows(torch.from_numpy(np.stack(samples)) if samples else torch.empty(0, len(scheme.names)), scheme)


def natural_size(samples: Sequence[np.ndarray]) -> int:
    """The number of columns."""
    return max(1, len(samples[0])) if len(samples) else 1


def looks_like_tables(path: Path) -> bool:
    """Whether a file is a table and no list of files or pictures: by its ending and its first rows."""
    try:
        file, _ = table_files.parted(path)
        kind = table_files.ending(file)
        if not kind or not file.is_file():
            return False
        if kind == ".parquet":
            schema = pa.parquet.read_schema(file)
            return not any(f.name.lower() in PICTURES or pa.types.is_nested(f.type) or pa.types.is_binary(f.type) for f in schema)
        if kind == ".feather":
            return True
        content = table_files.unpacked(file).removeprefix(b"\xef\xbb\xbf")
        first, *others = table_files.heading(content, "\t" if kind.startswith(".t") else table_files.usual_separator(content))
    except (OSError, EOFError, ValueError, pa.ArrowInvalid):
        return False
    lists = any(HEADER.get(cell.lower()) == "path" for cell in first)
    return len(first) > 1 and not lists and not any(cell.lower().endswith(FILES) for row in (first, *others[:3]) for cell in row)


# --- opening ------------------------------------------------------------------------------------------------------------------------------------


def open_tables(path: Path | str) -> Data:
    """The rows of a file. Raises InputError with everything that is wrong at once."""
    file, options = table_files.parted(path)
    return opened(table_files.read(file, options), f"table {text(str(file))}", options)


def from_array(source: Any, options: Options | None = None) -> Data:
    """The rows of a data frame, an Arrow table, columns by name, or an array (rows, columns) of numbers. Raises InputError."""
    what = "a data frame"
    if isinstance(source, np.ndarray):
        if source.ndim != 2 or 0 in source.shape:
            raise InputError(f"an array of shape {source.shape} is no table; expected (rows, columns)")
        what = f"an array of {source.shape[1]:,} columns"
        numbers = source if source.dtype.kind in "iufb" else np.vectorize(lambda v: None if v is None else text(v), otypes=[object])(source)
        source = {str(k + 1): pa.array(numbers[:, k], from_pandas=True) for k in range(source.shape[1])}
    try:
        if isinstance(source, Mapping):
            source = pa.table({str(name): pa.array(values, from_pandas=True) for name, values in source.items()})
        elif not isinstance(source, pa.Table):
            source = pa.Table.from_pandas(source.rename(columns=str), preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError, AttributeError, ValueError) as error:
        raise InputError(f"{type(source).__name__} is not understood as a table: {error}") from None
    return opened(table_files.of_arrow(source), what, options or Options())


def opened(table: Table, what: str, options: Options) -> Data:
    """The table with its label and split apart, and its form."""
    rows = len(table.columns[0]) if table.columns else 0
    if not rows:
        raise InputError(f"{what} is empty")
    label, split, kinds, dropped = meant(table, what, options)
    found: dict[str, Column] = {}
    problems, said = [], list(table.said)
    for k, name in enumerate(table.names):
        if k in dropped or k in (label, split):
            continue
        try:
            found[name] = column(table.columns[k], kinds.get(k, ""), options.missing, table.decimal_comma)
        except InputError as error:
            problems.append(f"{what}: column {name!r} {error}")
    if problems:
        raise InputError(*problems)
    columns, classes, notes = facts(table, label, split, options)
    if options.label and label is not None and not columns.keys() & {"label", "target"}:
        raise InputError(f"{what}: the column {table.names[label]!r} is empty and cannot be the label")
    if label is not None and not columns.keys() & {"label", "target"}:
        name = table.names[label]  # of a usual name, but no label
        found = {n: found.get(n) or column(table.columns[label], kinds.get(label, "")) for n in table.names if n in found or n == name}
    if not found:
        raise InputError(f"{what} has no columns but the label, the split and what is dropped")
    values = np.stack([c.values for c in found.values()], 1)
    with np.errstate(over="ignore"):
        small = values.astype(np.float32)
    small[~np.isfinite(small)] = np.nan
    seen = np.flatnonzero(columns["split"] == "train") if "split" in columns else np.arange(rows)
    form = {"columns": [remembered(name, c, seen) for name, c in found.items()]}
    said += [f"{name}: {c.said}" for name, c in found.items() if c.said] + notes + emptiness(form, small)
    store = Cells(small, list(found), what, table.bad)
    return Data(
        store, decode, "tables", columns, classes, channels=0, bits=0, said="; ".join([kinds_said(form), *said]), bad=dict(table.bad), form=form,
        collate=functools.partial(collate, scheme=Scheme(form["columns"])),
    )  # fmt: skip


def meant(table: Table, what: str, options: Options) -> tuple[int | None, int | None, dict[int, str], set[int]]:
    """Which columns are the label and the split, what others were said to be, and which are dropped. Raises InputError for names that are not there."""
    problems: list[str] = []

    def place(name: str) -> int | None:
        if name in table.names:
            return table.names.index(name)
        if name.isdigit() and 1 <= int(name) <= len(table.names):
            return int(name) - 1
        near = difflib.get_close_matches(name, table.names, 3, 0.4) or table.names[:5]
        problems.append(f"{what} has no column {name!r}; there {'are' if len(near) > 1 else 'is'} {', '.join(near)}")
        return None

    dropped = {k for k in map(place, options.drop) if k is not None}
    kinds = {k: kind for name, kind in options.kinds.items() if (k := place(name)) is not None}
    lower = [name.lower() for name in table.names]

    def usual(names: Sequence[str]) -> int | None:
        return next((k for name in names for k, own in enumerate(lower) if own == name and k not in dropped), None)

    label = place(options.label) if options.label else usual(LABELS)
    split = place(options.split) if options.split else usual(SPLITS)
    if problems:
        raise InputError(*problems)
    return label, split, kinds, dropped


def facts(table: Table, label: int | None, split: int | None, options: Options) -> tuple[dict[str, np.ndarray], list[str], list[str]]:
    """The columns of facts about rows, the classes, and what was decided. Raises InputError for a split that is none."""
    columns: dict[str, np.ndarray] = {}
    classes: list[str] = []
    said = []
    if label is not None:
        name = table.names[label]
        kind = "categorical" if options.kinds.get(name) == "categorical" else ""
        found = column(table.columns[label], kind, options.missing, table.decimal_comma)
        distinct = np.unique(found.values[np.isfinite(found.values)])
        if found.kind in ("numeric", "date") and options.bins and len(distinct):
            columns, classes = binned(found.values, options.bins)
            said.append(f"label {name}, in {len(classes)} classes of about as many rows")
        elif found.kind in ("numeric", "date") and len(distinct) > MOST_CLASSES:
            columns = {"target": found.values} if options.label else {}
            said.append(f"{name} has {len(distinct):,} values and is no label" + ("; ?bins=5 makes classes of it" if options.label else ""))
        elif len(distinct):
            columns, classes = label_column([words(found, v) for v in found.values])
            said.append(f"label {name}")
    if split is not None:
        parts = split_column([bare(str(v).strip()) for v in table.columns[split].to_pylist()])
        if not parts and options.split:
            raise InputError(f"the column {table.names[split]!r} is no split: it must say train, validation or test in every row, and train in some")
        columns |= parts
    return columns, classes, said


def words(column: Column, value: float) -> Any:
    """What a label's number stands for."""
    if not np.isfinite(value):
        return None
    return column.names.get(int(value)) if column.names else text(float(value))


def binned(values: Float[np.ndarray, "rows"], count: int) -> tuple[dict[str, np.ndarray], list[str]]:
    """Classes of about equally many rows, from a number, and what they span."""
    known = np.isfinite(values)
    edges = np.unique(np.quantile(values[known], np.linspace(0, 1, count + 1)))
    label = np.where(known, np.searchsorted(edges[1:-1], np.nan_to_num(values), side="right"), -1)
    return {"label": label, "target": values}, [f"{low:.6g} to {high:.6g}" for low, high in itertools.pairwise(edges)] or [f"{edges[0]:.6g}"]


def kinds_said(form: Mapping[str, Any]) -> str:
    """How many columns of each kind, with names where they are few."""
    parts = []
    for kind in ("numeric", "categorical", "boolean", "date"):
        names = [c["name"] for c in form["columns"] if c["kind"] == kind]
        if names:
            parts.append(f"{len(names):,} {kind}" + (f" ({', '.join(names)})" if kind != "numeric" and len(names) <= 8 else ""))
    return "columns " + " + ".join(parts)


def emptiness(form: Mapping[str, Any], values: Float[np.ndarray, "rows columns"]) -> list[str]:
    """Columns that say nothing."""
    found: dict[str, list[str]] = {"empty": [], "constant": [], "never the same twice": []}
    for k, c in enumerate(form["columns"]):
        known = values[:, k][~np.isnan(values[:, k])]
        if not len(known):
            found["empty"].append(c["name"])
        elif (known == known[0]).all():
            found["constant"].append(c["name"])
        elif "codes" in c and not c["codes"]:
            found["never the same twice"].append(c["name"])
    return [f"{why}: {', '.join(names)}" for why, names in found.items() if names]


def held(samples: Sequence[Float[np.ndarray, "columns"]], channels: int, form: Mapping[str, Any]) -> Rows:
    """Rows as a View holds them, in the columns of that form."""
    return collate(list(samples), scheme=Scheme(form["columns"]))


def formed(data: Data) -> Data:
    """The same rows, with the form of this selection: what a model may know that is trained on them."""
    known = {c["name"]: dict(zip(c.get("codes", []), c.get("categories", []), strict=False)) for c in data.form["columns"]}
    rows = np.arange(len(data)) if data.rows is None else data.rows
    values = data.store.values  # type: ignore[attr-defined]
    columns = [remembered(c["name"], Column(c["kind"], values[:, k], known[c["name"]]), rows) for k, c in enumerate(data.form["columns"])]
    return dataclasses.replace(data, form={"columns": columns}, collate=functools.partial(collate, scheme=Scheme(columns)))
