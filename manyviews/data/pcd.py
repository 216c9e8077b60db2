"""PCD files, of the Point Cloud Library: ASCII, binary, or compressed with LZF.

The format is documented at https://pointclouds.org/documentation/tutorials/pcd_file_format.html, versions .5 to .7.
"""

from __future__ import annotations

import re
from typing import Any, no_type_check

import numpy as np

from manyviews.data.dataset import Unreadable
from manyviews.data.point_files import COLOURS, Columns, named, table_of
from manyviews.nn.compiled import compiled


def read(raw: Any) -> Columns:
    """A PCD file: ASCII, binary or compressed. Colours packed into one number are taken apart. Raises Unreadable."""
    end = re.compile(rb"^DATA[ \t]+(\w+)[^\n]*\n", re.MULTILINE).search(raw, 0, 1 << 16)
    if end is None:
        raise Unreadable("PCD: the header has no line DATA")
    facts = {words[0].upper(): words[1:] for words in map(str.split, raw[: end.start()].decode("latin-1").splitlines()) if words}
    try:
        names, sizes, types = facts.get("FIELDS") or facts["COLUMNS"], facts["SIZE"], facts["TYPE"]
        each = [int(n) for n in facts.get("COUNT", ["1"] * len(names))]
        count = int(facts["POINTS"][0]) if "POINTS" in facts else int(facts["WIDTH"][0]) * int(facts["HEIGHT"][0])
        kind = np.dtype([(f"{k}", "<" + {"F": "f", "I": "i", "U": "u"}[t] + s, (n,)) for k, (t, s, n) in enumerate(zip(types, sizes, each, strict=True))])
        if len(kind.names or ()) != len(names) or count < 0:
            raise ValueError
    except (LookupError, ValueError, TypeError):
        raise Unreadable(f"PCD: the header is not understood: {facts}") from None
    how = end[1].decode()
    if how == "ascii":
        columns = lines(raw[end.end() :], names, kind, count)
    elif how in ("binary", "binary_compressed"):
        columns = blocks(raw, end.end(), names, kind, count, how == "binary_compressed")
    else:
        raise Unreadable(f"PCD: data of the kind {how!r}; there are ascii, binary and binary_compressed")
    return recoloured(columns)


def lines(body: bytes, names: list[str], kind: np.dtype, count: int) -> Columns:
    """The fields of one number each. A packed colour of type F is written as that number, or, against the rules, as a whole number."""
    table = table_of(body, " ") if body.strip() else np.empty((0, sum(kind[k].shape[0] for k in range(len(names)))))
    if len(table) < count:
        raise Unreadable(f"PCD: the file ends after {len(table):,} of the {count:,} points that its header promises")
    columns, at = {}, 0
    for k, name in enumerate(names):
        if at < table.shape[1] and kind[k].shape == (1,):
            column = table[:count, at]
            integers = name in ("rgb", "rgba") and bool(((column == np.floor(column)) & (column >= 1)).any())
            columns[name] = column.astype(np.uint32 if integers else kind[k].base)
        at += kind[k].shape[0]
    return columns


def blocks(raw: Any, start: int, names: list[str], kind: np.dtype, count: int, compressed: bool) -> Columns:
    """The fields of one number each: point by point, or, compressed, field by field."""
    wanted = count * kind.itemsize
    if not count:
        return {name: np.empty(0, kind[k].base) for k, name in enumerate(names)}
    if not compressed:
        if len(raw) - start < wanted:
            raise Unreadable(f"PCD: the file ends after {(len(raw) - start) // kind.itemsize:,} of the {count:,} points that its header promises")
        table = np.frombuffer(raw, kind, count, start)
        return {name: table[f"{k}"][:, 0] for k, name in enumerate(names) if kind[k].shape == (1,)}
    if len(raw) - start < 8:
        raise Unreadable("PCD: the file ends before its compressed data")
    packed, size = (int(n) for n in np.frombuffer(raw, "<u4", 2, start))
    if size != wanted or packed > len(raw) - start - 8:
        raise Unreadable(f"PCD: {packed:,} compressed bytes for {size:,}, where {len(raw) - start - 8:,} are left and {count:,} points take {wanted:,}")
    data = unpacked(np.frombuffer(raw, np.uint8, packed, start + 8), size)
    columns, at = {}, 0
    for k, name in enumerate(names):
        columns[name] = np.frombuffer(data, kind[k].base, count * kind[k].shape[0], at)[:count]
        at += count * kind[k].itemsize
    return {name: columns[name] for k, name in enumerate(names) if kind[k].shape == (1,)}


def recoloured(columns: Columns) -> Columns:
    """Columns by their names here; "rgb" and "rgba" hold a colour as 0x00RRGGBB, whatever type they claim."""
    found = named({name: column for name, column in columns.items() if name not in ("rgb", "rgba")})
    packed = next((columns[name] for name in ("rgb", "rgba") if name in columns and columns[name].dtype.itemsize == 4), None)
    if packed is not None:
        bits = np.ascontiguousarray(packed).view(np.uint32)
        found |= {name: (bits >> shift & 255).astype(np.uint8) for name, shift in zip(COLOURS, (16, 8, 0), strict=True)}
    return found


def unpacked(packed: np.ndarray, size: int) -> np.ndarray:
    """`size` bytes from LZF. Raises Unreadable."""
    out = np.empty(size, np.uint8)
    if lzf(packed, out) != size:
        raise Unreadable("PCD: the compressed data is damaged")
    return out


@compiled
@no_type_check
def lzf(packed, out):
    """Fills `out` and returns its length, or -1: a byte below 32 says how many follow as they are; else three bits of it are a length and the rest, with
    the next byte, how far back in the output to copy from (Lehmann, LibLZF).
    """
    i, o = 0, 0
    while i < len(packed):
        control = np.int64(packed[i])
        i += 1
        if control < 32:
            count = control + 1
            if i + count > len(packed) or o + count > len(out):
                return -1
            out[o : o + count] = packed[i : i + count]
            i += count
        else:
            count = (control >> 5) + 2
            if control >> 5 == 7:
                if i >= len(packed):
                    return -1
                count += np.int64(packed[i])
                i += 1
            if i >= len(packed):
                return -1
            back = o - ((control & 31) << 8) - np.int64(packed[i]) - 1
            i += 1
            if back < 0 or o + count > len(out):
                return -1
            for k in range(count):  # one by one: what is copied may be what was just written
                out[o + k] = out[back + k]
        o += count
    return o
