"""Files of points: text of many kinds, and NumPy. Each becomes a column (points,) for x, y, z and whatever else it names.

Columns have one name here, whatever a file calls them: x y z, nx ny nz, red green blue, and part, a whole number for each point.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from manyviews.data.dataset import Unreadable

Columns = dict[str, np.ndarray]
ALIASES = {
    "x": "x px pos_x position_x", "y": "y py pos_y position_y", "z": "z pz pos_z position_z",
    "nx": "nx normal_x normalx n_x", "ny": "ny normal_y normaly n_y", "nz": "nz normal_z normalz n_z",
    "red": "red r diffuse_red rf", "green": "green g diffuse_green gf", "blue": "blue b diffuse_blue bf",
    "part": "part label labels seg segmentation pid part_id class classification scalar_label",
}  # fmt: skip
CANONICAL = {alias: name for name, aliases in ALIASES.items() for alias in aliases.split()}
POSITIONS, NORMALS, COLOURS = ("x", "y", "z"), ("nx", "ny", "nz"), ("red", "green", "blue")
LEICA = [*POSITIONS, "intensity", *COLOURS]  # of a .pts file that begins with the number of points
ARRAYS = {  # of an .npz or .h5: what there can be under which names
    "points": "points point xyz pos position positions data x clouds cloud pc vertices coords",
    "normals": "normals normal",
    "colours": "colours colors colour color rgb",
    "part": "part parts seg segmentation pid label_seg part_label part_labels point_labels",
}  # fmt: skip


def named(columns: Mapping[str, Any]) -> Columns:
    """The columns that are known, under the names used here."""
    found: Columns = {}
    for name, column in columns.items():
        known = CANONICAL.get(name.strip().lower())
        if known and isinstance(column, np.ndarray):
            found.setdefault(known, column)
    return found


def unnamed(table: np.ndarray) -> Columns:
    """The columns of a table (points, 3 or more) without names, told by their values: after x y z, three of unit length are a normal, three whole numbers
    from 0 to 255, or three that follow x y z or the normal and are within [0, 1], a colour; one more of whole numbers is the part. Raises Unreadable.
    """
    if table.ndim != 2 or table.shape[1] < 3:
        raise Unreadable(f"numbers of shape {table.shape}; points are (points, 3), or more than 3 with normals or colours")
    if table.dtype.names is not None or table.dtype.kind not in "iuf":
        raise Unreadable(f"numbers of type {table.dtype} are no coordinates")
    width = table.shape[1]
    columns: Columns = dict(zip(POSITIONS, table.T[:3], strict=True))
    some = table[:: max(1, len(table) // 4096)].astype(np.float64)
    at = 3
    while at < width:
        three = some[:, at : at + 3]
        if three.shape[1] == 3 and "nx" not in columns and unit(three):
            names: tuple[str, ...] = NORMALS
        elif three.shape[1] == 3 and "red" not in columns and (bytes_(three) or (at == 3 + 3 * ("nx" in columns) and shares(three))):
            names = COLOURS
        elif len(columns) == at == width - 1 > 3 and whole(some[:, at:]):
            names = ("part",)
        else:
            at += 1
            continue
        columns |= dict(zip(names, table.T[at : at + len(names)], strict=True))
        at += len(names)
    return columns


def shares(a: np.ndarray) -> bool:
    """Whether these are within [0, 1], and not all 0."""
    return within(a, 0, 1) and bool(a.any())


def within(a: np.ndarray, low: int, high: int) -> bool:
    return bool(a.size and a.min() >= low and a.max() <= high)


def whole(a: np.ndarray) -> bool:
    return bool(a.size and (a == np.floor(a)).all())


def bytes_(a: np.ndarray) -> bool:
    """Whether these are whole numbers from 0 to 255, and not only 0 and 1."""
    return within(a, 0, 255) and whole(a) and bool(a.max() > 1)


def unit(a: np.ndarray) -> bool:
    """Whether these are vectors of length 1, but for one in twenty."""
    length = np.linalg.norm(a[np.isfinite(a).all(1)], axis=1)
    return bool(len(length) and (abs(length - 1) < 0.02).mean() >= 0.95)


def lightness(a: np.ndarray, rows: Any = slice(None)) -> np.ndarray:
    """Some rows of a colour within [0, 1], from 8 or 16 bits, or from numbers of any type up to 255; what is no number becomes 0.5."""
    if a.dtype in (np.uint8, np.uint16):
        return a[rows] / np.float32(np.iinfo(a.dtype).max)
    most = np.nanmax(a, initial=0)
    return np.clip(np.nan_to_num(a[rows] / (255 if most > 1 else 1), nan=0.5), 0, 1)


# --- text -------------------------------------------------------------------------------------------------------------------------------------


def text(raw: Any) -> Columns:
    """A point a line, separated by blanks, tabs, commas or semicolons; first, comments, a line of names, or the number of points. Raises Unreadable."""
    raw = bytes(raw).removeprefix(b"\xef\xbb\xbf")
    names, start = head(raw)
    body = raw[start:]
    first = body[: body.find(b"\n") if b"\n" in body else len(body)]
    separator = next((s for s in (",", ";", "\t") if s.encode() in first), " ")
    table = table_of(body, separator)
    if names and len(names) == table.shape[1]:
        columns = named(dict(zip(names, table.T, strict=True)))
        if all(axis in columns for axis in POSITIONS):
            return columns
    return unnamed(table)


def head(raw: bytes) -> tuple[list[str], int]:
    """The names of the columns, where there are any, and where the first line of numbers starts. Raises Unreadable."""
    names: list[str] = []
    start = 0
    while start < len(raw):
        end = raw.find(b"\n", start)
        end = len(raw) if end < 0 else end
        line = raw[start:end].strip()
        words = [word.strip(b'"') for word in re.split(rb"[\s,;]+", line.lstrip(b"#/ \t")) if word]
        comment = line.startswith((b"#", b"//"))
        if not comment and len(words) > 1 and all(map(is_number, words)):
            return names, start
        lower = [word.decode("utf-8", "replace").lower() for word in words]
        if {"x", "y", "z"} <= {CANONICAL.get(word) for word in lower}:
            names = lower
        elif len(words) == 1 and words[0].isdigit() and not comment:
            names = LEICA
        elif line and not comment:
            raise Unreadable(f"neither a point cloud of a known format, nor numbers: a line is {line[:60].decode('utf-8', 'replace')!r}")
        start = end + 1
    raise Unreadable("no points: the file has no line of numbers")


def is_number(word: bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def table_of(body: bytes, separator: str) -> np.ndarray:
    """(points, columns) doubles; lines of one length. Arrow reads what is plain, NumPy what has comments or runs of blanks. Raises Unreadable."""
    plain = not (separator == " " and (b"  " in body or b" \n" in body or b" \r" in body or body[:1] == b" ")) and b"#" not in body and b"//" not in body
    if plain:
        try:
            found = pyarrow.csv.read_csv(
                io.BytesIO(body),
                pyarrow.csv.ReadOptions(use_threads=False, autogenerate_column_names=True),
                pyarrow.csv.ParseOptions(delimiter=separator),
                pyarrow.csv.ConvertOptions(auto_dict_encode=False),
            )
            if all(pa.types.is_integer(kind) or pa.types.is_floating(kind) for kind in found.schema.types):
                return np.stack([column.to_numpy() for column in found.columns], 1).astype(np.float64, copy=False)
        except pa.ArrowInvalid:
            pass
    try:
        return np.loadtxt(io.BytesIO(body), comments=("#", "//"), delimiter=None if separator in " \t" else separator, ndmin=2)
    except ValueError as error:
        raise Unreadable(f"text: {error}") from None


# --- NumPy ----------------------------------------------------------------------------------------------------------------------------------------


def npy(raw: Any) -> Columns:
    """One cloud in a .npy file, read where it lies. Raises Unreadable."""
    try:
        start = io.BytesIO(raw[: 1 << 16])
        shape, fortran, kind = npy_header(start)
    except ValueError as error:
        raise Unreadable(f"NumPy: {error}") from None
    if kind.hasobject:
        raise Unreadable("NumPy: an array of Python objects, which is not opened: to open it can run anything")
    if len(shape) > 2:
        raise Unreadable(f"NumPy: an array of shape {shape}, many clouds in one file; name the file itself, and each is a row")
    count = int(np.prod(shape, dtype=object))
    if count * kind.itemsize > len(raw) - start.tell():
        raise Unreadable(f"NumPy: the file ends before the {count:,} numbers that its header promises")
    table = np.frombuffer(raw, kind, count, start.tell()).reshape(shape, order="F" if fortran else "C") if count else np.empty(shape, kind)
    return named({name: table[name] for name in kind.names}) if kind.names else unnamed(table)


def npy_header(stream: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether columns come first, and type. Raises ValueError."""
    try:
        version = np.lib.format.read_magic(stream)
        return np.lib.format.read_array_header_1_0(stream) if version == (1, 0) else np.lib.format.read_array_header_2_0(stream)
    except Exception as error:  # a header is a text of Python, and what its parser raises on damaged ones is of many kinds
        raise ValueError(f"the header is damaged: {error}") from None


def npz(raw: Any) -> Columns:
    """One cloud in an .npz file: points, and maybe normals, colours and part, (points, 3) or (points,) each. Raises Unreadable."""
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as file:
            return grouped({name: file[name] for name in file.files if role(name)})
    except Unreadable:
        raise
    except Exception as error:  # of many kinds: a damaged archive, a damaged header in it
        raise Unreadable(f"NumPy: {error}") from None


def role(name: str) -> str:
    """What an array of this name holds: points, normals, colours, part, or nothing known."""
    return next((known for known, names in ARRAYS.items() if name.lower() in names.split()), "")


def grouped(arrays: Mapping[str, np.ndarray]) -> Columns:
    """The columns of arrays by name: points (points, 3 or more), normals and colours (points, 3), part (points,). Raises Unreadable."""
    by_role = {role(name): a for name, a in arrays.items()}
    if "points" not in by_role:
        raise Unreadable(f"arrays {', '.join(arrays) or 'none'}; the points are looked for under {ARRAYS['points'].replace(' ', ', ')}")
    if by_role["points"].ndim > 2:
        raise Unreadable(f"an array of shape {by_role['points'].shape}, many clouds in one file; name the file itself, and each is a row")
    columns = unnamed(by_role["points"])
    for known, names in (("normals", NORMALS), ("colours", COLOURS), ("part", ("part",))):
        if known in by_role:
            a = by_role[known].reshape(len(by_role[known]), -1)
            if a.shape != (len(columns["x"]), len(names)):
                raise Unreadable(f"{len(columns['x']):,} points and {known} of shape {by_role[known].shape}")
            columns |= dict(zip(names, a.T, strict=True))
    return columns
