"""PLY files, of points or meshes: ASCII or binary, of either byte order, with properties in any order.

Turk, "The PLY Polygon File Format", 1994. Every element becomes a column for each of its properties. Numbers in a file that is mapped into memory
stay there until they are used. ASCII is read as one stream of numbers, as if it were a binary file in which every number is a double.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Int

from manyviews.data.dataset import Unreadable

TYPES = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4", "double": "f8",
         "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4", "float32": "f4", "float64": "f8"}  # fmt: skip
NAMES = {"i1": "char", "u1": "uchar", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint", "f4": "float", "f8": "double"}
ORDERS = {b"binary_little_endian": "<", b"binary_big_endian": ">", b"ascii": ""}
LONGEST = 1 << 20  # bytes of a header
Lists = list[tuple[np.ndarray, np.ndarray]]  # of a list property: for each length that occurs, the records with it, and their entries (records, length)


@dataclasses.dataclass
class Property:
    """One number of a record, or a list of them."""

    name: str
    type: str  # of NumPy, without byte order
    count: str = ""  # the type of a list's length; "" for a single number


@dataclasses.dataclass
class Element:
    """So many records of one kind."""

    name: str
    count: int
    properties: list[Property]


def header(raw: Any) -> tuple[str, list[Element], int]:
    """The byte order ("" for ASCII), the elements, and where the data starts. raw: bytes, or a file mapped into memory. Raises Unreadable."""
    first = re.match(rb"ply[ \t]*(\r\n|\n|\r)", raw)
    if first is None:
        raise Unreadable("PLY: the first line is not 'ply'")
    end = re.compile(first[1] + rb"end_header[ \t]*" + first[1]).search(raw, 0, LONGEST)
    if end is None:
        raise Unreadable("PLY: the header has no end")
    order, elements = None, []
    for line in raw[first.end() : end.start()].split(first[1]):
        words = line.split()
        try:
            if words[:1] == [b"format"]:
                order = ORDERS[words[1]]
            elif words[:1] == [b"element"]:
                elements.append(Element(words[1].decode(), int(words[2]), []))
                if elements[-1].count < 0:
                    raise ValueError
            elif words[:2] == [b"property", b"list"]:
                elements[-1].properties.append(Property(words[4].decode(), TYPES[words[3].decode()], TYPES[words[2].decode()]))
            elif words[:1] == [b"property"]:
                elements[-1].properties.append(Property(words[2].decode(), TYPES[words[1].decode()]))
        except (LookupError, ValueError):
            raise Unreadable(f"PLY: a line of the header is not understood: {bytes(line[:80])!r}") from None
    if order is None:
        raise Unreadable("PLY: the header names no format")
    return order, elements, end.end()


def names(raw: Any) -> set[str]:
    """The properties of all elements. Raises Unreadable."""
    return {p.name for element in header(raw)[1] for p in element.properties}


def read(raw: Any, wanted: tuple[str, ...] = ("vertex", "face")) -> dict[str, dict[str, Any]]:
    """Of each wanted element a column by property name: an array (records,), or `Lists`. Raises Unreadable."""
    order, elements, position = header(raw)
    ascii_, last = not order, max((k for k, element in enumerate(elements) if element.name in wanted), default=-1)
    if ascii_:
        raw, position, order = numbers(raw[position:]), 0, "="
    found = {}
    for element in elements[: last + 1]:
        layout = [dataclasses.replace(p, type="f8", count=p.count and "f8") for p in element.properties] if ascii_ else element.properties
        columns, position = records(raw, position, dataclasses.replace(element, properties=layout), order)
        if element.name in wanted:
            types = {p.name: p.type for p in element.properties}
            found[element.name] = {name: a.astype(types[name]) if ascii_ and isinstance(a, np.ndarray) else a for name, a in columns.items()}
    return found


def numbers(text: bytes) -> memoryview:
    """The numbers of a text as the bytes of doubles. Raises Unreadable."""
    try:
        found = np.fromstring(text, np.float64, sep=" ")
    except ValueError:
        raise Unreadable("PLY: there is something else than numbers in the data of an ASCII file") from None
    return found.data.cast("B") if len(found) else memoryview(b"")


def records(raw: Any, start: int, element: Element, order: str) -> tuple[dict[str, Any], int]:
    """The columns of one element, and where it ends. Where all lists of a property are as long as the first one, nothing is copied."""
    count = element.count
    if not count or not element.properties:
        return {p.name: [] if p.count else np.empty(0, p.type) for p in element.properties}, start
    fields: list[tuple] = []
    for k, p in enumerate(element.properties):
        if p.count:
            at = start + np.dtype(fields).itemsize
            fields += [(f"{k} length", order + p.count), (f"{k}", order + p.type, (length(raw, at, order + p.count, element),))]
        else:
            fields.append((f"{k}", order + p.type))
    kind = np.dtype(fields)
    lists = [k for k, p in enumerate(element.properties) if p.count]
    fitting = (len(raw) - start) // kind.itemsize
    if fitting < count and not lists:
        raise Unreadable(f"PLY: the file ends after {max(fitting, 0):,} of the {count:,} records of '{element.name}' that its header promises")
    if fitting >= count:
        table = np.frombuffer(raw, kind, count, start)
        if all((table[f"{k} length"] == table[f"{k} length"][0]).all() for k in lists):
            every = np.arange(count) if lists else None
            return {p.name: [(every, table[f"{k}"])] if p.count else table[f"{k}"] for k, p in enumerate(element.properties)}, start + count * kind.itemsize
    return ragged(raw, start, element, order)


def length(raw: Any, at: int, kind: str, element: Element) -> int:
    """How long the list is that starts there."""
    if at + np.dtype(kind).itemsize > len(raw):
        raise Unreadable(f"PLY: the file ends within the {element.count:,} records of '{element.name}' that its header promises")
    found = int(np.frombuffer(raw, kind, 1, at)[0])
    if not 0 <= found <= len(raw) - at:
        raise Unreadable(f"PLY: a list of '{element.name}' has {found:,} entries, more than the file")
    return found


def ragged(raw: Any, start: int, element: Element, order: str) -> tuple[dict[str, Any], int]:
    """`records` where lists differ in length: one walk over them says where each number is, then all of a length are gathered at once."""
    if element.count > len(raw) - start:
        raise Unreadable(f"PLY: the file ends within the {element.count:,} records of '{element.name}' that its header promises")
    places = np.empty((element.count, len(element.properties)), np.int64)
    lengths = np.ones_like(places)
    sizes = [(np.dtype(p.type).itemsize, np.dtype(p.count).itemsize if p.count else 0, order + p.count) for p in element.properties]
    at = start
    for record in range(element.count):
        for k, (size, prefix, kind) in enumerate(sizes):
            if prefix:
                entries = raw[at] if kind[1:] == "u1" and at < len(raw) else length(raw, at, kind, element)
                lengths[record, k] = entries
                at += prefix
                places[record, k] = at
                at += size * entries
            else:
                places[record, k] = at
                at += size
    if at > len(raw):
        raise Unreadable(f"PLY: the file ends within the {element.count:,} records of '{element.name}' that its header promises")
    data = np.frombuffer(raw, np.uint8)

    def gathered(k: int, which: np.ndarray, entries: int) -> np.ndarray:
        size = sizes[k][0]
        return data[places[which, k, None] + np.arange(size * entries)].view(order + element.properties[k].type)

    columns: dict[str, Any] = {}
    for k, p in enumerate(element.properties):
        if p.count:
            of_length = {n: np.flatnonzero(lengths[:, k] == n) for n in np.unique(lengths[:, k]).tolist() if n}
            columns[p.name] = [(which, gathered(k, which, n)) for n, which in of_length.items()]
        else:
            columns[p.name] = gathered(k, np.arange(element.count), 1)[:, 0]
    return columns, at


def triangles(face: Mapping[str, Any]) -> tuple[Int[np.ndarray, "triangles 3"], Int[np.ndarray, "triangles"]]:
    """The faces as triangles that share their first corner, and the face that each comes from."""
    lists: Lists = next((face[name] for name in ("vertex_indices", "vertex_index") if name in face), [])
    corners, owners = [np.empty((0, 3), np.int64)], [np.empty(0, np.int64)]
    for which, polygons in lists:
        middle = np.arange(1, polygons.shape[1] - 1)
        if len(middle):
            fan = np.stack([np.zeros_like(middle), middle, middle + 1], 1)
            corners.append(polygons.astype(np.int64)[:, fan].reshape(-1, 3))
            owners.append(np.repeat(which, len(middle)))
    return np.concatenate(corners), np.concatenate(owners)


def written(columns: Mapping[str, np.ndarray]) -> bytes:
    """A binary file of vertices with these columns (vertices,), in this order."""
    table = np.empty(len(next(iter(columns.values()))), [(name, a.dtype.newbyteorder("<")) for name, a in columns.items()])
    for name, a in columns.items():
        table[name] = a
    properties = "".join(f"property {NAMES[a.dtype.str[1:]]} {name}\n" for name, a in columns.items())
    return f"ply\nformat binary_little_endian 1.0\nelement vertex {len(table)}\n{properties}end_header\n".encode() + table.tobytes()
