"""Parquet files with a column of pictures: bytes, or a struct of bytes and path, as the Hugging Face hub writes them.

Up to a gigabyte is held in memory. More is copied once, uncompressed, to a memory-mapped Arrow file in the cache (`manyviews.data.derive`), since
Parquet can only be read by whole row groups.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manyviews.data.dataset import Unreadable
from manyviews.data.derive import cache_folder, new_file
from manyviews.data.folder import content
from manyviews.data.labels import label_column, split_column, split_of, text
from manyviews.errors import InputError

PICTURES = ("image", "img", "images", "picture", "photo", "jpg", "jpeg", "png", "webp", "bytes", "content", "data")
LABELS = ("label", "labels", "class", "target", "cls", "category", "fine_label", "y")
IN_MEMORY = 1 << 30


class Column:
    """Rows of an Arrow column of pictures."""

    def __init__(self, pictures: pa.ChunkedArray, root: Path, what: str, fingerprint: str):
        self.pictures, self.root, self.what, self.hash = pictures, root, what, fingerprint
        self.struct = pa.types.is_struct(pictures.type)

    def __len__(self) -> int:
        return len(self.pictures)

    def raw(self, row: int) -> bytes:
        value = self.pictures[row].as_py()
        if self.struct and value is not None:
            if not value.get("bytes") and value.get("path"):
                return content(self.root / value["path"])
            value = value.get("bytes")
        if value is None:
            raise Unreadable("no picture in this row")
        return value

    def name(self, row: int) -> str:
        path = self.pictures[row]["path"].as_py() if self.struct and "path" in {f.name for f in self.pictures.type} and self.pictures[row].is_valid else None
        return f"{row}: {text(path)}" if path else f"{row}"

    def describe(self) -> str:
        return self.what

    def fingerprint(self) -> str:
        return self.hash


@dataclasses.dataclass(frozen=True)
class Part:
    """One file, open only while it is read: there may be more of them than a process may hold open."""

    path: Path
    schema: pa.Schema
    metadata: pq.FileMetaData

    def read(self, columns: list[str]) -> pa.Table:
        with pq.ParquetFile(self.path) as file:
            return file.read(columns)

    def batches(self, column: str) -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(self.path) as file:
            yield from file.iter_batches(batch_size=256, columns=[column])


def opened(path: Path) -> Part:
    with pq.ParquetFile(path) as file:
        return Part(path, file.schema_arrow, file.metadata)


def parquet(paths: Sequence[Path], what: str) -> tuple[Column, dict[str, np.ndarray], list[str]]:
    """The pictures, columns and class names of Parquet files of one schema. Raises InputError."""
    files, problems = [], []
    for path in paths:
        try:
            files.append(opened(path))
        except (pa.ArrowInvalid, OSError) as error:
            problems.append(f"{path} cannot be read as Parquet: {error}")
    if problems:
        raise InputError(*problems)
    schema = files[0].schema
    picture = picture_column(schema)
    if picture is None:
        raise InputError(f"{what} has no column of pictures (bytes, or a struct with bytes); its columns are {', '.join(schema.names)}")
    different = [f"{file.path} has no column {picture!r} of type {schema.field(picture).type}, as {paths[0]} has" for file in files
                 if picture not in file.schema.names or file.schema.field(picture).type != schema.field(picture).type]  # fmt: skip
    if different:
        raise InputError(*different)
    h = hashlib.sha256(b"parquet/1/")
    for file in files:
        size_of = os.stat(file.path).st_size
        h.update(f"{file.path.name}:{size_of}:".encode("utf-8", "surrogateescape") + repr(file.metadata.to_dict()).encode())
    try:
        pictures = in_memory(files, picture) if size(files, picture) <= IN_MEMORY else mapped(files, picture, h.hexdigest())
        label = next((name for name in LABELS if name in schema.names), None)
        columns: dict[str, np.ndarray] = {}
        classes: list[str] = []
        if label is not None and all(label in file.schema.names for file in files):
            values = pa.concat_tables([file.read([label]) for file in files], promote_options="permissive").column(0)
            if pa.types.is_floating(values.type):
                values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
            if not pa.types.is_nested(values.type):
                columns, classes = label_column(values, class_names(schema, label))
        if "split" in schema.names:
            columns |= split_column([text(s) for s in pa.concat_tables([file.read(["split"]) for file in files]).column(0).to_pylist()])
        else:
            splits = split_column([split_of(text(path.name)) or split_of(text(path.parent.name)) for path in paths])
            columns |= {name: column.repeat([file.metadata.num_rows for file in files]) for name, column in splits.items()}
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{what} is damaged: {error}") from None
    return Column(pictures, paths[0].parent, what, h.hexdigest()), columns, classes


def picture_column(schema: pa.Schema) -> str | None:
    """The column that holds pictures: one with a usual name and a fitting type, else the first struct with bytes, else the first of bytes."""

    def fits(type: pa.DataType) -> bool:
        return pa.types.is_binary(type) or pa.types.is_large_binary(type) or has_bytes(type)

    def has_bytes(type: pa.DataType) -> bool:
        return pa.types.is_struct(type) and any(field.name == "bytes" for field in type)

    named = [name for name in PICTURES if name in schema.names and fits(schema.field(name).type)]
    structs = [field.name for field in schema if has_bytes(field.type)]
    return next(iter([*named, *structs, *(field.name for field in schema if fits(field.type))]), None)


def class_names(schema: pa.Schema, label: str) -> list[str]:
    """The names of a Hugging Face class label, from the schema's metadata."""
    try:
        feature = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"][label]
        return [str(name) for name in feature.get("names", [])]
    except (KeyError, ValueError, AttributeError, TypeError):
        return []


def size(files: Sequence[Part], column: str) -> int:
    """Bytes of a column, unpacked."""
    total = 0
    for file in files:
        for group in range(file.metadata.num_row_groups):
            chunks = file.metadata.row_group(group)
            total += sum(c.total_uncompressed_size for c in map(chunks.column, range(chunks.num_columns)) if c.path_in_schema.split(".")[0] == column)
    return total


def in_memory(files: Sequence[Part], column: str) -> pa.ChunkedArray:
    return pa.chunked_array([chunk for file in files for chunk in file.read([column]).column(0).chunks], files[0].schema.field(column).type)


def mapped(files: Sequence[Part], column: str, content: str) -> pa.ChunkedArray:
    """The column in a memory-mapped Arrow file, written batch by batch where the cache does not have it."""
    path = cache_folder() / f"{content[:32]}.arrow"
    if not path.exists():
        schema = pa.schema([files[0].schema.field(column)])
        try:
            with new_file(path) as temporary, pa.OSFile(temporary, "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
                for file in files:
                    for batch in file.batches(column):
                        writer.write_batch(pa.RecordBatch.from_arrays(batch.columns, schema=schema))
        except OSError as error:
            raise InputError(
                f"these Parquet files are larger than memory should hold, and {path.parent} cannot take a copy: {error}; set MANYVIEWS_CACHE"
            ) from None
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all().column(0)
