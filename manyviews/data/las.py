"""LAS and LAZ files, of laser surveys, through laspy: which is kept from believing damaged headers.

The format is documented in "LAS Specification 1.4 - R15", American Society for Photogrammetry and Remote Sensing, 2019.
"""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np

from manyviews.data.dataset import Unreadable
from manyviews.data.point_files import COLOURS, POSITIONS, Columns
from manyviews.errors import InputError


def read(raw: Any) -> Columns:
    """A LAS or LAZ file: scaled coordinates, colours where they are not all 0, and the classification. Raises Unreadable, InputError."""
    try:
        import laspy
    except ImportError:
        raise InputError(".las and .laz files need laspy: pip install 'manyviews[points]'") from None
    check(raw)
    try:
        # not the parallel one: it ends the whole process on a damaged table of chunks, and its threads do not survive a fork
        with laspy.open(io.BytesIO(raw), laz_backend=laspy.LazBackend.Lazrs, read_evlrs=False) as stream:
            points = stream.read_points(stream.header.point_count)
    except Exception as error:  # laspy and its decompressors raise many kinds on damaged files
        raise Unreadable(f"LAS: {error}") from None
    columns = {axis: np.asarray(getattr(points, axis)) for axis in POSITIONS} | {"part": np.asarray(points["classification"])}
    if set(points.point_format.dimension_names) >= set(COLOURS):
        colours = {name: np.asarray(points[name]) for name in COLOURS}
        most = max((int(a.max()) for a in colours.values() if len(a)), default=0)
        if most:  # 16 bits; but many programs write 8
            columns |= {name: a.astype(np.uint8) if most < 256 else a for name, a in colours.items()}
    return columns


def check(raw: Any) -> None:
    """Raises Unreadable where a header promises more points or notes than the file can hold: a reader that believed it would go on for hours."""
    if len(raw) < 227:
        raise Unreadable("LAS: the file ends within its header")
    start, notes, form, size, count = struct.unpack_from("<IIBHI", raw, 96)
    if raw[25] >= 4 and len(raw) >= 255:
        count = struct.unpack_from("<Q", raw, 247)[0]
    room = max(len(raw) - start, 0)
    if count * size > room * (1000 if form & 0xC0 else 1):  # of LAZ nobody knows how small it gets
        fitting = f"the file ends after {room // max(size, 1):,} of" if not form & 0xC0 else f"{room:,} bytes cannot hold"
        raise Unreadable(f"LAS: {fitting} the {count:,} points that its header promises")
    if 54 * notes > min(start, len(raw)):
        raise Unreadable("LAS: its header promises more notes than the file can hold")
    if form & 0xC0 and room >= 8:
        (table,) = struct.unpack_from("<q", raw, start)
        if table == -1:  # the writer could not go back: it says so in the last bytes
            (table,) = struct.unpack_from("<q", raw, len(raw) - 8)
        if not start <= table <= len(raw) - 8 or struct.unpack_from("<I", raw, table + 4)[0] > len(raw):
            raise Unreadable("LAS: its table of chunks is damaged, or cut off")
