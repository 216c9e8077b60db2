"""Where pictures with captions are: IMAGE.jpg beside IMAGE.txt, tables with the columns image and caption, tar shards, Parquet files."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import json
import os
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa
import pyarrow.csv

from manyviews.data import folder, images, lists, parquet, shards
from manyviews.data.dataset import Store, Unreadable
from manyviews.data.folder import Files, column, content
from manyviews.data.labels import label_column, split_column, text
from manyviews.errors import InputError

CAPTIONS = ("caption", "captions", "text", "txt", "alt_text", "alt", "description", "title", "sentence", "raw_caption")
PICTURES = tuple(name for name, role in lists.HEADER.items() if role == "path")
TABLES = (".csv", ".tsv", ".jsonl")
SHARD = (".tar",)


@runtime_checkable
class Captions(Protocol):
    """The caption of each row, undecoded."""

    def raw(self, row: int) -> bytes:
        """Raises Unreadable where there is none."""

    def fingerprint(self) -> str: ...


@dataclasses.dataclass(frozen=True)
class Found:
    pictures: Store
    captions: Captions
    columns: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    classes: Sequence[str] = ()
    said: str = ""


class Column:
    """Captions of an Arrow column of bytes or strings."""

    def __init__(self, texts: pa.Array | pa.ChunkedArray):
        self.texts = texts

    def raw(self, row: int) -> bytes:
        value = self.texts[row].as_py()
        if isinstance(value, list):  # several captions of one picture: the first
            value = value[0] if value else None
        if value is None:
            raise Unreadable("no caption in this row")
        return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value)

    def fingerprint(self) -> str:
        h = hashlib.sha256(str(len(self.texts)).encode())
        for row in np.linspace(0, len(self.texts) - 1, min(len(self.texts), 1000)).astype(int):
            h.update(repr(self.texts[int(row)].as_py()).encode())
        return h.hexdigest()


class Beside:
    """Captions in files of the pictures' names that end in .txt."""

    def __init__(self, files: Files):
        self.files = files

    def path(self, row: int) -> bytes:
        return os.path.splitext(os.path.join(self.files.prefix, self.files.paths[row].as_py()))[0] + b".txt"

    def raw(self, row: int) -> bytes:
        path = self.path(row)
        if not os.path.lexists(path):
            raise Unreadable(f"no caption: there is no {text(os.path.basename(path))} beside it")
        return content(path)

    def fingerprint(self) -> str:
        """Of up to a thousand captions."""
        h = hashlib.sha256()
        for row in np.linspace(0, len(self.files) - 1, min(len(self.files), 1000)).astype(int):
            try:
                h.update(self.raw(int(row)) + b"\0")
            except Unreadable:
                h.update(b"\0missing")
        return h.hexdigest()


# --- folders and tables -------------------------------------------------------------------------------------------------------------------------


def from_folder(path: Path) -> Found:
    """By what is in it: a table of pairs, pictures beside captions, tar shards, Parquet files. Raises InputError."""
    own = table_in(path)
    if own is not None:
        return from_table(own)
    pictures = folder.folder(path, images.SUFFIXES)
    if pictures is not None:
        return beside(*pictures)
    for endings, read in ((SHARD, from_shards), ((".parquet",), from_parquet)):
        files = [path / os.fsdecode(name) for part in folder.walk(path, endings) for name in part.to_pylist()]
        if files:
            return read(files, f"{len(files):,} {endings[0][1:]} file{'s' if len(files) > 1 else ''} in {text(str(path))}")
    raise InputError(
        f"{text(str(path))} has no pairs; looked for: a table (.csv, .tsv, .jsonl) with the columns image and caption, IMAGE.jpg beside IMAGE.txt, "
        "tar shards with .txt, Parquet files with the columns image and caption"
    )


def from_file(path: Path) -> Found:
    """A table, a Parquet file or a tar shard, by its ending. Raises InputError."""
    ending = path.suffix.lower()
    if ending in TABLES:
        return from_table(path)
    if ending == ".parquet":
        return from_parquet([path], f"Parquet file {text(str(path))}")
    if ending in SHARD:
        expanded = [path] if path.exists() else [Path(p) for p in shards.expand(str(path))]
        return from_shards(expanded, f"tar file {text(str(path))}")
    raise InputError(f"{text(str(path))}: pictures with captions are read from folders, .csv, .tsv, .jsonl, .parquet and .tar")


def beside(files: Files, columns: dict[str, np.ndarray], classes: Sequence[str]) -> Found:
    """Pictures with a .txt each; texts without a picture are passed over, and counted."""
    stems = {os.path.splitext(path)[0] for path in files.paths.to_pylist()}
    lone = sum(os.path.splitext(path)[0] not in stems for part in folder.walk(files.root, (".txt",)) for path in part.to_pylist())
    said = f"{lone:,} .txt without a picture of that name passed over" if lone else ""
    return Found(files, Beside(files), columns, classes, said)


def table_in(path: Path) -> Path | None:
    """The one table of pairs that lies in a folder itself."""
    names = sorted(entry.name for entry in os.scandir(path) if entry.is_file() and entry.name.lower().endswith(TABLES))
    fitting = [path / name for name in names if header_of(path / name) is not None]
    if len(fitting) > 1:
        raise InputError(f"{text(str(path))} has several tables of pairs, {', '.join(f.name for f in fitting)}; name one of them")
    return fitting[0] if fitting else None


def header_of(path: Path) -> tuple[list[str], str, str] | None:
    """All columns of a table, that of the pictures and that of the captions; None where one of the two is missing. Raises InputError."""
    names = columns_in(path)
    picture, caption = pick(names, PICTURES), pick(names, CAPTIONS)
    return (names, picture, caption) if picture and caption else None


def columns_in(path: Path) -> list[str]:
    """The names in the first line of a .csv or .tsv, or of the first object of a .jsonl. Raises InputError."""
    try:
        with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            if path.suffix.lower() == ".jsonl":
                first = json.loads(next((line for line in file if line.strip()), "{}"))
                return list(first) if isinstance(first, dict) else []
            return next(csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ","), [])
    except (OSError, csv.Error, ValueError) as error:
        raise InputError(f"{text(str(path))} cannot be read as a table: {error}") from None


def pick(names: Sequence[str], wanted: Sequence[str]) -> str:
    """The first of the wanted columns that is there, in any case, as it is written there."""
    lower = {name.strip().lower(): name for name in reversed(names)}
    return next((lower[name] for name in wanted if name in lower), "")


def from_table(path: Path) -> Found:
    """Rows of a .csv, .tsv or .jsonl: a picture's path relative to the table, and its caption; label and split where it has them. Raises InputError."""
    header = header_of(path)
    if header is None:
        raise InputError(f"{text(str(path))} needs a column of pictures ({', '.join(PICTURES)}) and one of captions ({', '.join(CAPTIONS)})")
    names, picture, caption = header
    others = {role: pick(names, [n for n, r in lists.HEADER.items() if r == role]) for role in ("label", "split")}
    wanted = [picture, caption, *filter(None, others.values())]
    table, bad = json_rows(path, wanted) if path.suffix.lower() == ".jsonl" else csv_rows(path, wanted)
    files = Files(path.absolute().parent, column(p.strip() or b"(no picture named)" for p in table[picture]), f"table {text(str(path))}")
    columns, classes = label_column(pa.array(table[others["label"]], pa.binary())) if others["label"] else ({}, [])
    if others["split"]:
        columns |= split_column([text(s) for s in table[others["split"]]])
    said = f"{bad:,} line{'s' if bad > 1 else ''} of another form passed over" if bad else ""
    return Found(files, Column(pa.array(table[caption], pa.large_binary())), columns, classes, said)


def csv_rows(path: Path, wanted: list[str], names: list[str] | None = None) -> tuple[dict[str, list[bytes]], int]:
    """Columns as bytes, and how many lines do not have as many cells as the first. names: the columns', where no line says them. Raises InputError."""
    bad: list[Any] = []

    def skip(row: Any) -> str:
        bad.append(row.number)
        return "skip"

    try:
        found = pyarrow.csv.read_csv(
            path,
            pyarrow.csv.ReadOptions(block_size=1 << 26, column_names=names),
            pyarrow.csv.ParseOptions(delimiter="\t" if path.suffix.lower() == ".tsv" else ",", newlines_in_values=True, invalid_row_handler=skip),
            pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(wanted, pa.large_binary()), include_columns=wanted),
        )
    except (pa.ArrowException, OSError, KeyError) as error:
        raise InputError(f"{text(str(path))} cannot be read as a table: {error}") from None
    return {name: found[name].to_pylist() for name in wanted}, len(bad)


def json_rows(path: Path, wanted: list[str]) -> tuple[dict[str, list[bytes]], int]:
    """The same of a line of JSON a row; lines that are no object are counted."""
    table: dict[str, list[bytes]] = {name: [] for name in wanted}
    bad = 0
    with open(path, "rb") as file:
        for line in filter(None, map(bytes.strip, file)):
            try:
                row = json.loads(line.decode("utf-8", "surrogateescape"))
            except ValueError:
                row = None
            if not isinstance(row, dict):
                bad += 1
                continue
            for name in wanted:
                table[name].append(as_bytes(row.get(name)))
    return table, bad


def as_bytes(value: Any) -> bytes:
    """Of several captions the first."""
    value = value[0] if isinstance(value, list) and value else value
    return b"" if value is None or value == [] else str(value).encode("utf-8", "surrogateescape")


# --- Parquet and tar ----------------------------------------------------------------------------------------------------------------------------


def from_parquet(paths: Sequence[Path], what: str) -> Found:
    """Pictures as `manyviews.data.parquet` reads them, or paths of files, and a column of captions. Raises InputError."""
    try:
        parts = [parquet.opened(path) for path in paths]
        names = parts[0].schema.names
        caption, path = pick(names, CAPTIONS), pick(names, PICTURES)
        texts = pa.concat_tables([part.read([caption]) for part in parts]).column(0) if caption else None
        paths_only = parquet.picture_column(parts[0].schema) is None and path
        places = pa.concat_tables([part.read([path]) for part in parts]).column(0).to_pylist() if paths_only else []
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{what} cannot be read as Parquet: {error}") from None
    if texts is None:
        raise InputError(f"{what} has no column of captions ({', '.join(CAPTIONS)}); its columns are {', '.join(names)}")
    if paths_only:
        files = Files(paths[0].absolute().parent, column(os.fsencode(str(place or "(no picture named)")) for place in places), what)
        return Found(files, Column(texts))
    pictures, columns, classes = parquet.parquet(paths, what)
    return Found(pictures, Column(texts), columns, classes)


def from_shards(paths: Sequence[Path], what: str) -> Found:
    """Pictures as `manyviews.data.shards` reads them, and the .txt, or the `caption` of the .json, of the same key. Raises InputError."""
    pictures, columns, classes = shards.shards(paths, images.SUFFIXES, what)
    texts: dict[tuple[int, bytes], bytes] = {}
    for number, path in enumerate(paths):
        try:
            for key, caption in texts_in(path):
                texts.setdefault((number, key), caption)
        except (tarfile.TarError, OSError, EOFError):
            continue  # `shards` says that it is cut off
    keys = zip(pictures.shard.tolist(), pictures.keys.to_pylist(), strict=True)
    return Found(pictures, Column(pa.array([texts.get(key) for key in keys], pa.large_binary())), columns, classes)


def texts_in(path: Path) -> Iterable[tuple[bytes, bytes]]:
    """(key, caption) of the members of a tar file; a .txt comes before a .json that has the same key."""
    later: list[tuple[bytes, bytes]] = []
    with tarfile.open(path, "r:", encoding="utf-8", errors="surrogateescape") as file:
        for member in shards.members(file):
            place, name = os.path.split(member.name)
            stem, _, extension = name.partition(".")
            if not member.isreg() or extension not in ("txt", "json") or member.size > 1 << 24:
                continue
            found, key = file.extractfile(member).read(), os.fsencode(os.path.join(place, stem))  # type: ignore[union-attr]
            if extension == "txt":
                yield key, found
                continue
            try:
                facts = json.loads(found)
            except ValueError:
                continue
            caption = facts.get(pick(list(facts), CAPTIONS)) if isinstance(facts, dict) else None
            if caption:
                later.append((key, as_bytes(caption)))
    yield from later
