"""A list of files: .txt with one path a line, .csv or .tsv with path[, label[, split]]. Paths are relative to the list's folder."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from manyviews.data.folder import CHUNK, Files, column
from manyviews.data.labels import label_column, split_column, text
from manyviews.errors import InputError

HEADER = {"path": "path", "file": "path", "filename": "path", "file_name": "path", "filepath": "path", "image": "path", "image_path": "path", "img": "path",
          "label": "label", "class": "label", "target": "label", "category": "label", "split": "split", "subset": "split", "set": "split"}  # fmt: skip


def listed(path: Path) -> tuple[Files, dict[str, np.ndarray], list[str]]:
    """The files of a list, their labels and splits where it has them. Raises InputError."""
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
            paths, columns, classes = table(path)
    except (OSError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a list of files: {error}") from None
    if not len(paths):
        raise InputError(f"{path} lists no files; expected one path a line, or the columns path, label, split")
    return Files(path.absolute().parent, paths, what), columns, classes


def table(path: Path) -> tuple[pa.Array, dict[str, np.ndarray], list[str]]:
    """The columns of a .csv or .tsv, read in chunks. The first line names them, or they are path, label, split."""
    parts: dict[str, list[pa.Array]] = {"path": [], "label": [], "split": []}
    with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        lines = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", skipinitialspace=True)
        first = next(lines, [])
        header = [HEADER.get(cell.strip().lower()) for cell in first]
        named = "path" in header
        if not named and any(header) and not any("." in cell for cell in first):
            raise InputError(f"{path}: the first line names columns ({', '.join(first)}), but which one is the path? Call it path, file or image")
        place = {name: header.index(name) for name in parts if name in header} if named else {name: k for k, name in enumerate(parts) if k < len(first)}
        for rows in chunked(lines, [] if named else [first]):
            for name, k in place.items():
                parts[name].append(pa.array([os.fsencode(row[k].strip()) if k < len(row) else b"" for row in rows], pa.large_binary()))
    paths = pa.concat_arrays([*parts["path"], pa.array([], pa.large_binary())])
    columns, classes = label_column(pa.concat_arrays(parts["label"])) if parts["label"] else ({}, [])
    if parts["split"]:
        splits = pa.chunked_array(parts["split"]).dictionary_encode().combine_chunks()
        names = split_column([text(s) for s in splits.dictionary.to_pylist()])
        if names:
            columns["split"] = names["split"][splits.indices.to_numpy()]
    return paths, columns, classes


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
