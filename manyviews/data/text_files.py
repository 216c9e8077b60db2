"""Where texts are: a folder of .txt or .md, a .txt with one text a line, tables (.csv, .tsv, .jsonl, .parquet) with a column of texts."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manyviews.data import folder, images, lists, pair_files, parquet
from manyviews.data.dataset import Store, Unreadable
from manyviews.data.folder import content
from manyviews.data.labels import label_column, split_column, split_of, text
from manyviews.data.pair_files import PICTURES, columns_in, pick
from manyviews.data.table_files import is_number
from manyviews.errors import InputError

ENDINGS, TABLES = (".txt", ".md"), (".jsonl", ".csv", ".tsv", ".parquet")
TEXTS = ("text", "texts", "sentence", "content", "review", "body", "document", "abstract", "article", "comment", "message", "tweet", "question", "description")
LABELS = (*(name for name, role in lists.HEADER.items() if role == "label"), "labels", "sentiment", "topic", "intent", "stars", "y")
SPLITS = ("split", "subset", "partition", "set")
WIDE = (b"\xff\xfe", b"\xfe\xff")  # the marks of UTF-16
WORD = re.compile(r"[^\W\d_]{2,}")


@dataclasses.dataclass(frozen=True)
class Found:
    """Texts, and what came with them."""

    store: Store
    columns: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    classes: Sequence[str] = ()
    said: str = ""


@dataclasses.dataclass(frozen=True)
class Columns:
    """What was said of a table: names of columns, and whether its first line has names (yes, no; else it has unless a cell is a number)."""

    text: str = ""
    label: str = ""
    split: str = ""
    header: str = ""


class Rows:
    """Texts of an Arrow column of strings or bytes. unit: what a row is called, with its number in `numbers`."""

    def __init__(self, texts: pa.Array | pa.ChunkedArray, what: str, unit: str = "row", numbers: np.ndarray | None = None):
        self.texts, self.what, self.unit, self.numbers = texts, what, unit, numbers

    def __len__(self) -> int:
        return len(self.texts)

    def raw(self, row: int) -> bytes:
        value = self.texts[row].as_py()
        if value is None:
            raise Unreadable("no text in this row")
        return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else bytes(value)

    def name(self, row: int) -> str:
        return f"{self.unit} {row + 1 if self.numbers is None else int(self.numbers[row])}"

    def describe(self) -> str:
        return self.what

    def fingerprint(self) -> str:
        """Of up to a thousand texts, and how many there are."""
        h = hashlib.sha256(str(len(self.texts)).encode())
        for row in np.linspace(0, len(self.texts) - 1, min(len(self.texts), 1000)).astype(int):
            h.update(repr(self.texts[int(row)].as_py()).encode("utf-8", "surrogateescape"))
        return h.hexdigest()


def read(path: Path, meant: Columns) -> Found:
    """The texts of a folder or file. Raises InputError."""
    ending = path.suffix.lower()
    if path.is_dir():
        files = folder.folder(path, ENDINGS)
        if files is not None and not meant.text:
            return Found(*files)
        for kind in TABLES:
            tables = [path / os.fsdecode(name) for part in folder.walk(path, (kind,)) for name in part.to_pylist()]
            if tables:
                return from_tables(tables, f"{len(tables):,} {kind} file{'s' if len(tables) > 1 else ''} in {text(str(path))}", meant)
        raise InputError(f"{text(str(path))} has no texts; looked for, at any depth: {' '.join((*ENDINGS, *TABLES))}")
    if ending in ENDINGS:
        return by_line(path)
    if ending in TABLES:
        return from_tables([path], f"file {text(str(path))}", meant)
    raise InputError(f"{text(str(path))}: texts are read from folders of .txt or .md, a .txt with one text a line, and {' '.join(TABLES)}")


def by_line(path: Path) -> Found:
    """Each line that is not empty is a text. Raises InputError."""
    try:
        data = content(path)
    except Unreadable as error:
        raise InputError(f"{text(str(path))} cannot be read: {error}") from None
    if data[:2] in WIDE:
        data = data.decode("utf-16", "replace").encode()
    data = data.removeprefix(b"\xef\xbb\xbf")
    data += b"\n" * (not data.endswith(b"\n"))
    letters = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(letters == 10) + 1
    starts = np.concatenate([[0], ends[:-1]])
    full = np.flatnonzero((ends - starts > 2) | ((ends - starts == 2) & (letters[starts] != 13)))
    buffers = [None, pa.py_buffer(np.concatenate([[0], ends]).astype(np.int64)), pa.py_buffer(data)]
    lines = pa.Array.from_buffers(pa.large_binary(), len(ends), buffers).take(pa.array(full))
    return Found(Rows(lines, f"lines of {text(str(path))}", "line", full + 1))


# --- tables -------------------------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Part:
    """Columns of one table; `names` of classes that are numbers; `lost`: how many rows were passed over."""

    texts: pa.Array | pa.ChunkedArray
    labels: pa.Array | pa.ChunkedArray | None
    splits: pa.Array | pa.ChunkedArray | None
    names: Sequence[str]
    lost: int


def from_tables(paths: Sequence[Path], what: str, meant: Columns) -> Found:
    """Rows of tables of one kind; where none has a column for it, a file's name may tell the split. Raises InputError with all that is wrong."""
    problems, parts = [], []
    for path in paths:
        try:
            parts.append(table(path, meant))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*problems)
    found = together(parts, what, meant)
    if "split" not in found.columns:
        told = split_column([split_of(text(path.name)) for path in paths])
        found.columns.update({name: column.repeat([len(p.texts) for p in parts]) for name, column in told.items()})
    return found


def together(parts: Sequence[Part], what: str, meant: Columns) -> Found:
    """Tables below one another. Raises InputError for a label or split that was named and is none."""
    columns: dict[str, np.ndarray] = {}
    classes: list[str] = []
    if all(p.labels is not None for p in parts):
        columns, classes = label_column(joined([p.labels for p in parts]), parts[0].names)
    if meant.label and not columns:
        raise InputError(f"{what}: the column {meant.label!r} is empty, or holds no single values, and cannot be the label")
    if all(p.splits is not None for p in parts):
        columns |= split_column([text(s) for s in joined([p.splits for p in parts]).to_pylist()])
    if meant.split and "split" not in columns:
        raise InputError(f"{what}: the column {meant.split!r} is no split: it must say train, validation or test in every row, and train in some")
    bad = sum(p.lost for p in parts)
    return Found(
        Rows(joined([p.texts for p in parts]), what), columns, classes, f"{bad:,} row{'s' if bad > 1 else ''} of another form passed over" if bad else ""
    )


def joined(parts: list[Any]) -> pa.ChunkedArray:
    """Columns of several files below one another."""
    chunked = [part if isinstance(part, pa.ChunkedArray) else pa.chunked_array([part]) for part in parts]
    if len({part.type for part in chunked}) > 1:
        chunked = [part.cast(pa.string()) for part in chunked]
    return pa.chunked_array([chunk for part in chunked for chunk in part.chunks], chunked[0].type)


def table(path: Path, meant: Columns) -> Part:
    """One file. Raises InputError."""
    what, ending = text(str(path)), path.suffix.lower()
    try:
        if ending == ".parquet":
            file = parquet.opened(path)
            own = columns_meant(what, file.schema.names, meant)
            return part(file.read([*dict.fromkeys(name for name in own if name)]), what, own)
        names, numbered = columns_in(path), None
        told = meant.header == "yes" or meant.text in names or pick(names, TEXTS) or not any(map(is_number, names))
        if ending != ".jsonl" and (meant.header == "no" or not told):
            names = numbered = [str(k + 1) for k in range(len(names))]
        own = columns_meant(what, names, meant)
        wanted = [*dict.fromkeys(name for name in own if name)]
        rows, lost = pair_files.json_rows(path, wanted) if ending == ".jsonl" else pair_files.csv_rows(path, wanted, numbered)
        return part({name: pa.array(values, pa.large_binary()) for name, values in rows.items()}, what, own, lost)
    except (pa.ArrowException, OSError, KeyError) as error:
        raise InputError(f"{what} cannot be read as a table: {error}") from None


def of_arrow(found: pa.Table, what: str, meant: Columns) -> Found:
    """The rows of a table in memory. Raises InputError."""
    return together([part(found, what, columns_meant(what, found.schema.names, meant))], what, meant)


def part(found: Any, what: str, own: tuple[str, str, str], lost: int = 0) -> Part:
    """What the columns of texts, labels and splits hold. Raises InputError where the first holds none."""
    texts = found[own[0]]
    if not any(fits(texts.type) for fits in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)):
        raise InputError(f"{what}: the column {own[0]!r} holds {texts.type}, and no texts; name another, as in ?text=COLUMN")
    labels = found[own[1]] if own[1] else None
    if labels is not None and pa.types.is_floating(labels.type):
        labels = pc.if_else(pc.is_nan(labels), pa.scalar(None, labels.type), labels)
    if labels is not None and pa.types.is_nested(labels.type):
        labels = None
    names = parquet.class_names(found.schema, own[1]) if isinstance(found, pa.Table) else []
    return Part(texts, labels, found[own[2]] if own[2] else None, names, lost)


def columns_meant(what: str, names: Sequence[str], meant: Columns) -> tuple[str, str, str]:
    """The columns of texts, labels and splits: as named, else of a usual name, or nothing. Raises InputError for names that are not there."""
    problems, found = [], []
    for wanted, usual in ((meant.text, TEXTS), (meant.label, LABELS), (meant.split, SPLITS)):
        if wanted and wanted not in names:
            near = difflib.get_close_matches(wanted, names, 3, 0.4) or names[:5]
            problems.append(f"{what} has no column {wanted!r}; there {'are' if len(near) > 1 else 'is'} {', '.join(near) or 'nothing'}")
        found.append(wanted or pick(names, usual))
    if not found[0]:
        called = f"its columns are {', '.join(name if len(name) < 40 else name[:37] + '...' for name in names)}"
        problems.append(f"{what} has no column of a usual name for texts; {called}: name one, as in ?text=COLUMN, or ?header=no&text=1 if none is named")
    if problems:
        raise InputError(*problems)
    return found[0], found[1] if found[1] != found[0] else "", found[2]


# --- recognising --------------------------------------------------------------------------------------------------------------------------------


def looks_like_text(path: Path) -> bool:
    """Whether there is nothing but texts: a folder of .txt and .md of prose alone, a .txt of sentences, a .jsonl with a column of texts and no pictures.

    In doubt it is not: lists of files, tables and numbers are read otherwise, and `--as text` asks for texts.
    """
    try:
        if path.is_dir():
            names = [*itertools.islice((name for part in folder.walk(path, ("",)) for name in part.to_pylist()), 512)]
            if len(names) < 2 or not all(name.lower().endswith((b".txt", b".md")) for name in names):
                return False
            heads = [head(path / os.fsdecode(name)) for name in names[:: max(1, len(names) // 16)]]
            return 4 * sum(is_prose(part, path) for part in heads) > 3 * len(heads)
        ending = path.suffix.lower()
        if ending == ".jsonl":
            names = columns_in(path)
            return bool(pick(names, TEXTS)) and not pick(names, PICTURES)
        return ending == ".txt" and head(path).count(b"\n") > 1 and is_prose(head(path), path.parent)
    except (InputError, OSError, ValueError):
        return False


def head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(4096)


def is_prose(start: bytes, root: Path) -> bool:
    """Whether a text begins so: mostly letters and blanks, three words a line or more, and no line that names a file."""
    words = start.decode("utf-16" if start[:2] in WIDE else "utf-8-sig", "replace")
    rows = [line.strip() for line in words.splitlines() if line.strip()]
    if not rows or "\0" in words or sum(c.isalpha() or c.isspace() for c in words) < 0.7 * len(words):
        return False
    if sum(len(WORD.findall(row)) for row in rows) < 3 * len(rows):
        return False
    return not any(names_file(row, root) or names_file(row.split()[0], root) for row in rows[:20])


def names_file(name: str, root: Path) -> bool:
    return len(name) < 256 and (name.lower().endswith(images.SUFFIXES) or os.path.isfile(root / name.split(",")[0]))
