"""View sets: several pictures of each object, as uint8 or uint16 (views, height, width, channels). Objects need not have equally many.

    OBJECT/1.png OBJECT/2.png            a folder of pictures is an object
    CLASS/OBJECT/1.png                   and the folder above it its class
    CLASS/OBJECT_001.png                 or objects lie in one folder: names that differ in the last number alone are views of one object
    train/..., test/..., CLASS/train/... a folder named as a split is one, wherever it stands
    MESHES?views=12&side=64              a folder of meshes, rendered, with any argument of `manyviews.data.renders.renders`

The second layout is that of most multi-view sets (RGB-D Object, COIL as folders), the third that of the rendered ModelNet40.
Class folders of pictures look the same, so that a path is read as view sets only where that is asked for (--as view_sets).
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from manyviews.data import folder, images, mesh_files, renders
from manyviews.data.arrays import Array
from manyviews.data.dataset import Data, Unreadable
from manyviews.data.labels import NAMES, SPLITS, text
from manyviews.data.locating import divided
from manyviews.errors import InputError

NUMBERED = re.compile(r"^(.*?)[ _.-]*\d+$", re.DOTALL)  # a name, and the number of a view behind it


def open_view_sets(path: Path) -> Data:
    """The objects of a folder of pictures or of meshes, or of a mesh file. Raises InputError."""
    place, _, choices = divided(str(path))
    path = Path(place)
    found = folder.folder(path, images.SUFFIXES) if path.is_dir() and not choices else None
    if found is not None:
        return from_files(found[0])
    if path.is_dir() or path.suffix.lower() in mesh_files.SUFFIXES:
        return renders.view_sets(renders.by_name(",".join([place, *filter(None, choices.split("&"))])))
    raise InputError(f"{text(place)} is no folder of pictures or meshes; view sets are folders with the pictures of one object each, or meshes to be rendered")


def from_files(files: folder.Files) -> Data:
    """Objects of pictures, by where these lie and what they are called. Raises InputError."""
    names = [text(path) for path in files.paths.to_pylist()]
    places = [placed(name) for name in names]
    several = with_several_objects(places)
    members: dict[tuple[str, ...], list[int]] = {}
    for row, (_, split, where, stem, _) in enumerate(places):
        members.setdefault((split, *where, *([stem] if where in several else [])), []).append(row)
    rows = [np.array(sorted(found, key=lambda row: (places[row][4], names[row]))) for found in members.values()]
    if max(map(len, rows)) < 2:
        raise InputError(
            f"{files.describe()}: no two pictures are of one object; put each object's into a folder of its own, or number them: CUP_1.png CUP_2.png"
        )
    columns, classes = told([*members])
    data = Data(Folders(files, rows), decode, "view_sets", columns, classes, channels=0, bits=0)
    some = data.reduced(64).look(8)
    if not some:
        raise InputError(f"none of the first objects looked at in {files.describe()} can be read:\n{data._failures()}")
    channels, bits = images.usual([picture for views in some for picture in views[:1]])
    return dataclasses.replace(data, channels=channels, bits=bits)


def placed(name: str) -> tuple[str, str, tuple[str, ...], str, int]:
    """Of a picture's path: itself, its split or nothing, the other folders, its name without the last number, and that number (-1: none)."""
    *parts, last = name.split("/")
    splits = [SPLITS[part.lower()] for part in parts if part.lower() in SPLITS]
    stem = os.path.splitext(last)[0]
    match = NUMBERED.match(stem)
    number = int(re.findall(r"\d+", stem)[-1]) if match else -1
    return name, splits[0] if splits else "", tuple(part for part in parts if part.lower() not in SPLITS), match.group(1) if match else stem, number


def with_several_objects(places: Sequence[tuple[str, str, tuple[str, ...], str, int]]) -> set[tuple[str, ...]]:
    """The folders whose pictures are of several objects: their names, but for the last number, are several, and none is alone."""
    counts: dict[tuple[str, ...], dict[tuple[str, str], int]] = {}
    for _, split, where, stem, _ in places:
        of_folder = counts.setdefault(where, {})
        of_folder[split, stem] = of_folder.get((split, stem), 0) + 1
    return {where for where, found in counts.items() if len({stem for _, stem in found}) > 1 and min(found.values()) > 1}


def told(objects: Sequence[tuple[str, ...]]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Columns of objects (split, folders ..., name): labels where the folder above an object is not the same for all, and splits where all have one."""
    columns: dict[str, np.ndarray] = {"object": np.arange(len(objects))}
    above = ["/".join(parts[1:-1]) for parts in objects]
    classes = sorted(set(above))
    if len(classes) > 1 and "" not in classes:
        columns["label"] = np.array([classes.index(name) for name in above])
    splits = [parts[0] for parts in objects]
    if "train" in splits and "" not in splits:
        columns["split"] = NAMES[[list(NAMES).index(split) for split in splits]]
    return columns, classes if "label" in columns else []


class Folders:
    """A store whose row is all pictures of an object."""

    def __init__(self, files: folder.Files, rows: Sequence[np.ndarray]):
        self.files, self.rows = files, rows

    def __len__(self) -> int:
        return len(self.rows)

    def raw(self, row: int) -> list[bytes]:
        return [self.files.raw(int(i)) for i in self.rows[row]]

    def name(self, row: int) -> str:
        more = len(self.rows[row]) - 1
        return self.files.name(int(self.rows[row][0])) + (f" and {more} more" if more else "")

    def describe(self) -> str:
        counts = [len(rows) for rows in self.rows]
        least, most = min(counts), max(counts)
        return f"sets of {least if least == most else f'{least} to {most}'}: {self.files.describe()}"

    def fingerprint(self) -> str:
        h = hashlib.sha256(f"view_sets/1/{self.files.fingerprint()}".encode())
        for rows in self.rows:
            h.update(rows.tobytes() + b"\0")
        return h.hexdigest()


def single_views(data: Data) -> Data:
    """The pictures of view sets, one a row, each with the columns of its object: what a network of single pictures is trained on first.

    All objects must have equally many; they are read, and kept in memory. Raises InputError.
    """
    samples = [data[i] for i in range(len(data))]
    shapes = {a.shape for a in samples}
    if len(shapes) != 1:
        raise InputError(f"{data.describe()}: objects have other numbers of views, or of pixels; single views of them are read from their folder as images")
    count = samples[0].shape[0]
    columns = {name: np.repeat(column, count, 0) for name, column in data.columns.items() if column.shape[1:2] != (count,)}
    store = Array(np.concatenate(samples), f"single views of {data.store.describe()}")
    return Data(store, images.decode, "images", columns, data.classes, channels=data.channels, bits=data.bits)


def from_array(source: np.ndarray) -> Data:
    """An array (objects, views, height, width, channels) of pictures. Raises InputError."""
    if source.ndim != 5 or 0 in source.shape or source.dtype not in (np.uint8, np.uint16):
        raise InputError(f"an array of shape {source.shape} and type {source.dtype}; view sets are uint8 (objects, views, height, width, channels)")
    return Data(Array(source, "an array"), decode, "view_sets", {}, (), channels=source.shape[4], bits=8 * source.dtype.itemsize)


def decode(raw: Any, pixels: int = 0, channels: int = 0, bits: int = 0) -> np.ndarray:
    """Pictures (arrays, or the bytes of files) as one array (views, height, width, channels). Raises Unreadable."""
    pictures = [images.decode(picture, pixels, channels, bits) for picture in raw]
    if len({a.shape for a in pictures}) > 1:
        raise Unreadable(f"views of different sizes: {', '.join(str(a.shape) for a in pictures)}")
    return np.stack(pictures)


def looks_like_view_sets(path: Path) -> bool:
    """Never: folders of an object each and folders of a class each look the same, and meshes may be meant as clouds."""
    return False


def natural_size(samples: Sequence[np.ndarray]) -> int:
    """Pixels a side: as the pictures are up to 64, in steps of 4; above, 224, or 64 where there is no GPU."""
    import torch

    sides = [min(a.shape[1:3]) for a in samples]
    side = int(np.median(sides)) if sides else 32
    return max(8, side // 4 * 4) if side <= 64 else 224 if torch.cuda.is_available() else 64
