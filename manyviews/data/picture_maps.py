"""Label maps beside pictures: what lies where, for semantic segmentation and for objects.

A map is a PNG, TIFF, BMP or GIF of numbers as large as its picture, in a folder or under a name of its own (`manyviews.data.label_layouts`); a palette's
colours are only for people. Where all numbers are 0 and 255 it is a mask, 255 being the object; else 255 is not known, as in PASCAL VOC and Cityscapes.
What the files cannot say stands behind the path:

    open_data("camvid240?void=11")              # another number is not known
    open_data("nuclei?instances=yes")           # numbers count objects; what lies where is then an object (1) or none (0)
    open_data("VOC?background=0")               # a number that is no object, for `manyviews.evaluate.prompt_patch`; 0 in masks and with instances

Names of the numbers are read from dataset.json (`labels`), or from classes.txt, one a line.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from jaxtyping import Int

from manyviews.data import folder, images
from manyviews.data.dataset import Data, Store, Unreadable
from manyviews.data.label_layouts import FOLDER, described, paired
from manyviews.data.labels import text
from manyviews.data.locating import natural, whether
from manyviews.data.regions import Regions
from manyviews.errors import InputError

LOSSLESS = (".png", ".tif", ".tiff", ".bmp", ".gif")
CHOICES = {"void": natural, "background": natural, "instances": whether}  # behind a path
LIKELY = rf"(?i)(^|/){FOLDER.pattern}/|[_-](labels?|seg|segmentation|mask|gt)\.[^./]*$"  # of a path with which a map may come
LOOKED = 16  # maps that are looked at to find out whether all are masks


@dataclasses.dataclass(frozen=True)
class Reading:
    """How numbers are understood."""

    void: int | None = None  # that is not known; None: 255, but in masks
    background: int | None = None  # that is no object
    instances: bool = False  # whether numbers count objects


class Mapped(folder.Files):
    """Pictures, some with a label map: row -> its path."""

    def __init__(self, files: folder.Files, rows: Any, maps: dict[int, bytes], reading: Reading):
        super().__init__(files.root, rows, f"{files.what} with {len(maps):,} label map{'s' * (len(maps) != 1)}")
        self.maps, self.reading = maps, reading

    def map(self, row: int) -> Int[np.ndarray, "height width"]:
        """The numbers of a row's map, as they are in the file. Raises Unreadable."""
        if row not in self.maps:
            raise Unreadable("no label map")
        return numbers_in(os.path.join(self.prefix, self.maps[row]))

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{super().fingerprint()}{self.maps}{self.reading}".encode()).hexdigest()

    @functools.cached_property
    def masks(self) -> bool:
        """Whether the maps hold 0 and 255 alone, as some of them say."""
        rows, seen = list(self.maps), set[int]()
        for k in np.linspace(0, len(rows) - 1, min(len(rows), LOOKED)).astype(int):
            try:
                seen.update(np.unique(self.map(rows[k])).tolist())
            except Unreadable:
                continue
        return 255 in seen and seen <= {0, 255}


def numbers_in(path: str | bytes) -> Int[np.ndarray, "height width"]:
    """A label map's numbers; of a palette the numbers, not the colours. Raises Unreadable."""
    image_module = images.pillow()
    try:
        with image_module.open(os.fsdecode(path)) as picture:
            if picture.width * picture.height > images.LARGEST:
                raise Unreadable(f"{picture.width} x {picture.height} numbers are more than the {images.LARGEST:,} that are read")
            a = np.asarray(picture)
    except Unreadable:
        raise
    except Exception as error:  # Pillow's plugins raise nearly every kind on damaged files
        raise Unreadable(f"label map: {error}") from None
    if a.ndim == 3 and (a[..., :1] == a[..., :3]).all():
        a = a[..., 0]  # grey that was written as colour
    if a.ndim != 2:
        raise Unreadable(f"label map: colours where numbers are expected ({a.shape[-1]} channels); write each colour as a number")
    if a.dtype == bool:
        return a.astype(np.int64) * 255
    if a.dtype.kind == "f":
        raise Unreadable("label map: fractions where whole numbers are expected")
    return a.astype(np.int64)


def told_apart(files: folder.Files, said: dict[str, Any]) -> tuple[Mapped, dict[str, np.ndarray], list[str]] | None:
    """The pictures of a folder without the label maps among them, which are kept beside; None where there are none. said: CHOICES."""
    if not pc.any(pc.match_substring_regex(files.paths, LIKELY)).as_py():
        return None
    rows, maps, places = paired(files.paths.to_pylist(), images.SUFFIXES, LOSSLESS)
    return (Mapped(files, folder.column(rows), maps, Reading(**said)), *folder.columns_of(folder.column(places))) if maps else None


def check(said: dict[str, Any], store: Store) -> None:
    """Raises InputError where something was said of label maps, and there are none."""
    if said and not isinstance(store, Mapped):
        where = "they lie in a folder of pictures, in labels beside images, or as 1_mask.png beside 1.jpg"
        raise InputError(f"{' and '.join(said)} after the ?: that is about label maps, and {store.describe()} has none; {where}")


def regions(data: Data) -> Regions | None:
    """The label maps beside pictures, at the centres of the pixels of pictures as `data` hands them over; None where there are none."""
    store = data.store
    if not isinstance(store, Mapped):
        return None
    reading = store.reading
    void = (None if store.masks else 255) if reading.void is None else reading.void
    background = 0 if reading.background is None and (store.masks or reading.instances) else reading.background

    def read(i: int) -> tuple[np.ndarray, np.ndarray]:
        labels, (height, width) = store.map(data.row(i)), data[i].shape[:2]
        if abs(labels.shape[1] * height / (labels.shape[0] * width) - 1) > 0.1:  # reduced pictures may lack some of the last rows
            raise Unreadable(f"a label map of {labels.shape[1]} x {labels.shape[0]} for a picture that is {width} x {height} as it is shown")
        down, across = (((np.arange(n) + 0.5) * have / n).astype(int) for n, have in zip((height, width), labels.shape, strict=True))
        labels = labels[down][:, across]
        known = labels != void
        labels = labels // 255 if store.masks else labels
        y, x = np.indices(labels.shape, dtype=np.float32) + 0.5
        return np.stack([x, y], -1).reshape(-1, 2), np.where(known, labels, -1).reshape(-1)

    return Regions(read, "mean_iou", names_of(store), background, reading.instances)


def names_of(store: Mapped) -> list[str]:
    """What the numbers are called: two names for masks and instances, else what files beside say, or nothing."""
    if store.masks or store.reading.instances:
        return ["background", "object"]
    names = described(store.root)[1]
    path = Path(store.root) / "classes.txt"
    if not names and path.is_file():
        names = [text(line.strip()) for line in path.read_bytes().splitlines() if line.strip()]
    return names
