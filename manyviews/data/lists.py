"""A list of files: .txt with one path a line, .csv or .tsv with path[, label[, split]] and any other columns. Paths are relative to the list's folder.

    path,label,split,track,hour
    day/0001.jpg,car,train,first drive,9.5

Columns that the first line names come with the samples, under the names it gives them: numbers as numbers, anything else as codes 0, 1 ... in the order of
the texts. A cell that is empty, or that a short row lacks, is not known: -1, in columns of fractions or with negative numbers NaN. A method or an analysis
may ask for one by its name: `track` (rows that show one thing), `group`.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manyviews.data.folder import CHUNK, Files, column
from manyviews.data.labels import label_column, split_column, text
from manyviews.errors import InputError

HEADER = {"path": "path", "file": "path", "filename": "path", "file_name": "path", "filepath": "path", "image": "path", "image_path": "path", "img": "path",
          "label": "label", "class": "label", "target": "label", "category": "label", "split": "split", "subset": "split", "set": "split"}  # fmt: skip
ASKED = ("track", "instance", "object", "group")  # by methods and analyses; known in capitals too
TAKEN = ("duplicate_of", "generated", "labels", "neighbours", "rotation", "weight")  # columns that this package makes, with a meaning or a form of their own


def listed(path: Path) -> tuple[Files, dict[str, np.ndarray], list[str]]:
    """The files of a list, their labels, splits and other columns where it has them. Raises InputError."""
    what = f"list {text(str(path))}"
    columns: dict[str, np.ndarray] = {}
    classes: list[str] = []
    try:
        if path.suffix.lower() == ".txt":
            with open(path, "rb") as file:
                if file.read(3) != b"\xef\xbb\xbf":  # the mark that some editors put first
                    file.seek(0)
                paths = column(line for line in map(bytes.strip, file) if line and not line.startswith(b"#"))
        else:
            paths, columns, classes, over = table(path)
            what += f" (without its column{'s' * (len(over) > 1)} {', '.join(over)}: taken by the package)" if over else ""
    except (OSError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a list of files: {error}") from None
    if not len(paths):
        raise InputError(f"{path} lists no files; expected one path a line, or the columns path, label, split")
    return Files(path.absolute().parent, paths, what), columns, classes


def table(path: Path) -> tuple[pa.Array, dict[str, np.ndarray], list[str], list[str]]:
    """The paths, columns and classes of a .csv or .tsv, read in chunks, and the names of columns passed over. Raises InputError.

    The first line names them, or they are path, label, split.
    """
    with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        lines = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", skipinitialspace=True)
        first = next(lines, [])
        place = places(first)
        named = bool(place)
        if not named and any(cell.strip().lower() in HEADER for cell in first) and not any("." in cell for cell in first):
            raise InputError(f"{path}: the first line names columns ({', '.join(first)}), but which one is the path? Call it path, file or image")
        if not named:
            place = {name: k for k, name in enumerate(("path", "label", "split")) if k < len(first)}
        parts: dict[str, list[pa.Array]] = {name: [] for name in place}
        for rows in chunked(checked(lines, len(first), path) if named else lines, [] if named else [first]):
            for name, k in place.items():
                parts[name].append(pa.array([os.fsencode(row[k].strip()) if k < len(row) else b"" for row in rows], pa.large_binary()))
    cells = {name: pa.chunked_array(found, pa.large_binary()) for name, found in parts.items()}
    paths = pa.concat_arrays([*cells.pop("path").chunks, pa.array([], pa.large_binary())])
    columns, classes = label_column(cells.pop("label")) if "label" in cells else ({}, [])
    if "split" in cells:
        splits = cells.pop("split").dictionary_encode().combine_chunks()
        names = split_column([text(s) for s in splits.dictionary.to_pylist()])
        if names:
            columns["split"] = names["split"][splits.indices.to_numpy()]
    for name, found in cells.items():
        values = values_of(found)
        if values is not None:
            columns[name] = values
    return paths, columns, classes, [cell.strip() for cell in first if named and cell.strip() in TAKEN]


def places(header: Sequence[str]) -> dict[str, int]:
    """Which cell of a row is its path, label and split, as the first line says, and which are its other columns, by name; nothing where none is a path."""
    words = [cell.strip() for cell in header]
    roles = [HEADER.get(word.lower(), "") for word in words]
    place: dict[str, int] = {role: roles.index(role) for role in ("path", "label", "split") if role in roles}
    if "path" not in place:
        return {}
    for k, word in enumerate(words):
        name = word.lower() if word.lower() in ASKED else word
        if word and k not in place.values() and name not in (*place, *TAKEN, "label", "split"):
            place[name] = k
    return place


def checked(lines: Any, width: int, path: Path) -> Iterator[list[str]]:
    """The rows of a reader. Raises InputError at the end where some have more cells than the first line names: they would be read askew."""
    long = []
    for row in lines:
        if any(row[width:]):
            long.append(lines.line_num)
        yield row
    if long:
        which = f"line {long[0]:,} has" if len(long) == 1 else f"{len(long):,} lines, the first of them {long[0]:,}, have"
        raise InputError(f"{path}: {which} more cells than the first line names columns ({width}); a cell with a comma in it is put in quotes")


def values_of(cells: pa.ChunkedArray) -> np.ndarray | None:
    """Whole numbers, other numbers, or the codes of texts; where a cell is empty -1, or NaN. None where all are empty."""
    encoded = cells.dictionary_encode().combine_chunks()
    entries = encoded.dictionary
    empty = pc.equal(pc.binary_length(entries), 0)
    if pc.all(empty).as_py() is not False:
        return None
    for kind in (pa.int64(), pa.float64()):
        try:
            numbers = pc.if_else(empty, pa.scalar(None, entries.type), entries).cast(pa.large_utf8()).cast(kind)
        except pa.ArrowInvalid:
            continue
        if pa.types.is_integer(kind) and pc.min(numbers).as_py() < 0 and numbers.null_count:
            continue
        missing = -1 if pa.types.is_integer(kind) else np.nan
        return numbers.fill_null(missing).to_numpy(zero_copy_only=False)[encoded.indices.to_numpy()]
    return label_column(encoded)[0]["label"]


def chunked(lines: Iterator[list[str]], start: list[list[str]]) -> Iterator[list[list[str]]]:
    rows = start
    for row in lines:
        if any(row):
            rows.append(row)
        if len(rows) == CHUNK:
            yield rows
            rows = []
    if rows:
        yield rows
