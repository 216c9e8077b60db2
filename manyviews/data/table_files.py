"""Files with a table in them, as Arrow columns with names: CSV and TSV, also compressed, Parquet and Feather.

Every cell of a text file is read as text; what its column holds is decided from all of them (`manyviews.data.table_columns`). A row with another number of
cells than the first stays where it is, empty, and is listed as unreadable. After the path, `?` and KEY=VALUE joined by `&` say what is not to be guessed:

    adult.csv?label=income&drop=fnlwgt,id    people.csv?header=no&categorical=3,7    prices.csv?label=price&bins=5

label, split: a column's name. categorical, numeric, date, drop: names, separated by commas. header: yes or no; without one, columns are called 1, 2, 3 ...
separator: a character, or tab. missing: texts that mean that a value is not known. bins: so many classes of equally many rows from a label that is a number.
A column may also be named by its position, from 1. What has `&`, `,` or `%` in its name is written with %26, %2C and %25.
"""

from __future__ import annotations

import csv
import dataclasses
import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet

from manyviews.data.labels import text
from manyviews.data.locating import chosen, one_of
from manyviews.errors import InputError

TEXTS, TYPED = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".tab"), (".parquet", ".feather")
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
HEAD = 1 << 16  # bytes that the separator and the header are told from
MOST_RAGGED = 0.2


@dataclasses.dataclass(frozen=True)
class Options:
    """What was said after the path."""

    label: str = ""
    split: str = ""
    header: str = ""
    separator: str = ""
    bins: int = 0
    kinds: dict[str, str] = dataclasses.field(default_factory=dict)  # column -> categorical, numeric, date
    drop: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@dataclasses.dataclass
class Table:
    """Columns as they were found. `bad`: row -> why it is empty. `decimal_comma`: whether 3,5 is a number."""

    columns: list[pa.ChunkedArray]
    names: list[str]
    bad: dict[int, str] = dataclasses.field(default_factory=dict)
    said: list[str] = dataclasses.field(default_factory=list)
    decimal_comma: bool = False


def parted(path: Path | str) -> tuple[Path, Options]:
    """The file, and what is said after `?`. Raises InputError for words that are not known."""
    place, given = chosen(path, KEYS)
    kinds = {column: kind for kind in ("categorical", "numeric", "date") for column in given.pop(kind, ())}
    return place, Options(**given, kinds=kinds)


def several(value: str) -> int:
    """A number of classes."""
    if not value.isdigit() or int(value) < 2:
        raise ValueError("a number of classes, at least 2")
    return int(value)


def character(value: str) -> str:
    """One, or the word tab."""
    found = "\t" if value == "tab" else unquote(value)
    if len(found) != 1:
        raise ValueError("one character, or tab")
    return found


def names(value: str) -> tuple[str, ...]:
    """With commas between them."""
    return tuple(unquote(name) for name in value.split(",") if name)


KEYS: dict[str, Callable[[str], Any]] = {
    "label": unquote,
    "split": unquote,
    "header": one_of("yes", "no"),
    "separator": character,
    "bins": several,
    "categorical": names,
    "numeric": names,
    "date": names,
    "drop": names,
    "missing": names,
}


def ending(path: Path) -> str:
    """The ending that tells the format, or nothing."""
    return next((e for e in (*TYPED, *sorted(TEXTS, key=len, reverse=True)) if path.name.lower().endswith(e)), "")


def read(path: Path, options: Options) -> Table:
    """The table in a file. Raises InputError where there is none."""
    kind = ending(path)
    try:
        if kind in TYPED:
            return of_arrow(pa.parquet.read_table(path) if kind == ".parquet" else pa.feather.read_table(path))
        if kind in TEXTS:
            return of_text(unpacked(path), path, options)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError, EOFError, UnicodeError, csv.Error) as error:
        raise InputError(f"{text(str(path))} cannot be read as a table: {error}") from None
    raise InputError(f"{text(str(path))}: tables are read from {' '.join((*TEXTS, *TYPED))}")


def of_arrow(table: pa.Table) -> Table:
    """Columns with types. What is no single value (lists, structs) is left out, and said."""
    flat = [k for k, field in enumerate(table.schema) if not pa.types.is_nested(field.type)]
    nested = [field.name for field in table.schema if pa.types.is_nested(field.type)]
    names, said = told_apart([table.schema.names[k] for k in flat])
    said += [f"left out as no single values: {', '.join(nested)}"] if nested else []
    return Table([table.column(k) for k in flat], names, said=said)


def unpacked(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content


def of_text(content: bytes, path: Path, options: Options) -> Table:
    """The cells of a text file, all as text. Raises InputError where it is empty or most rows have other numbers of cells."""
    what, said = text(str(path)), []
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        content = content.decode("utf-16").encode()
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        content, said = content.decode("latin-1").encode(), ["no UTF-8: read as Latin-1"]
    content = content.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
    if not content.strip():
        raise InputError(f"{what} is empty")
    separator = options.separator or ("\t" if ending(path).startswith((".tsv", ".tab")) else usual_separator(content))
    first, *others = heading(content, separator)
    header = options.header == "yes" or (options.header != "no" and not any(is_number(cell) for cell in first))
    if header and not others:
        raise InputError(f"{what} has the names of columns ({', '.join(first[:5])} ...) and no rows")
    if not header:
        said.append(f"no header: columns are called 1 to {len(first)}")
    names, twice = told_apart(first if header else [str(k + 1) for k in range(len(first))])
    columns, bad = cells(content, separator, len(first), int(header))
    if len(bad) > MOST_RAGGED * max(1, len(columns[0])):
        why = next(iter(bad.values()))
        raise InputError(
            f"{what}: {len(bad):,} of {len(columns[0]):,} rows are not of the first row's {len(first)} cells ({why}); name the separator, ?separator=;"
        )
    said += [f"{len(bad):,} row{'s have' if len(bad) > 1 else ' has'} another number of cells, and cannot be read"] if bad else []
    return Table(columns, names, bad, said + twice, separator == ";")


def usual_separator(content: bytes) -> str:
    """The one that cuts the first rows into the same number of cells, as many as can be; a comma where none does."""
    best, most = ",", 1
    for separator in SEPARATORS:
        counts = [len(row) for row in heading(content, separator)]
        alike = max(set(counts), key=counts.count) if counts else 0
        if counts.count(alike) >= 0.8 * len(counts) and alike > most:
            best, most = separator, alike
    return best


def heading(content: bytes, separator: str, count: int = 20) -> list[list[str]]:
    """The cells of the first rows that are not empty."""
    lines = csv.reader(io.StringIO(content[:HEAD].decode("utf-8", "replace"), newline=""), delimiter=separator, skipinitialspace=True)
    rows = [[cell.strip() for cell in row] for row, _ in zip(filter(any, lines), range(count + 1), strict=False)]
    return rows[:-1] if len(content) > HEAD and len(rows) > 1 else rows  # the last one may be cut


def cells(content: bytes, separator: str, width: int, header: int) -> tuple[list[pa.ChunkedArray], dict[int, str]]:
    """Columns of text; a row of another width is all null in its place, and told."""
    bad: dict[int, str] = {}

    def ragged(row: Any) -> str:
        bad[row.number - 1 - header] = f"{row.actual_columns} cells instead of {width}"
        return "skip"

    names = [str(k) for k in range(width)]
    found = pa.csv.read_csv(
        io.BytesIO(content),
        pa.csv.ReadOptions(use_threads=False, column_names=names, skip_rows_after_names=header, block_size=1 << 24),
        pa.csv.ParseOptions(delimiter=separator, newlines_in_values=True, invalid_row_handler=ragged),
        pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False),
    )
    bad.pop(-header, None)
    if bad:
        rows, k = [], 0
        for row in range(len(found) + len(bad)):
            rows.append(None if row in bad else k)
            k += row not in bad
        found = found.take(pa.array(rows, pa.int64()))
    return found.columns, bad


def is_number(cell: str) -> bool:
    try:
        float(cell.strip("'\""))
    except ValueError:
        return False
    return True


def told_apart(names: list[str]) -> tuple[list[str], list[str]]:
    """Names of which no two are the same and none is empty, and what was done."""
    found: list[str] = []
    for k, name in enumerate(names):
        name = plain = name.strip() or f"column {k + 1}"
        count = 1
        while name in found:
            count += 1
            name = f"{plain} ({count})"
        found.append(name)
    twice = sorted({name for name in names if name.strip() and names.count(name) > 1})
    return found, [f"names that occur twice: {', '.join(twice)}"] if twice else []
