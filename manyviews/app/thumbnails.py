"""Small pictures for people: thumbnails, and finding the sample behind a name again."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from manyviews.app.drawing import drawn
from manyviews.app.drawing import picture as picture_of
from manyviews.data.dataset import Data, Unreadable
from manyviews.data.images import decode
from manyviews.data.opening import open_data
from manyviews.errors import InputError


def thumbnail(a: np.ndarray, side: int) -> Image.Image:
    """The centred square of (height, width, channels) at `side` pixels: shrunk smoothly, enlarged by whole pixels where that fits."""
    picture = Image.fromarray(np.ascontiguousarray(picture_of(a)))
    edge = min(picture.size)
    left, top = (picture.width - edge) // 2, (picture.height - edge) // 2
    way = Image.Resampling.NEAREST if side % edge == 0 else Image.Resampling.BICUBIC if edge < side else Image.Resampling.BOX
    if way is Image.Resampling.BOX and edge < 4 * side:
        way = Image.Resampling.LANCZOS
    return picture.crop((left, top, left + edge, top + edge)).resize((side, side), way)


def sprite(tiles: list[Image.Image], side: int, limit: int) -> dict[str, Any]:
    """All square tiles in one JPEG of at most `limit` bytes: its data URI, the number of columns, and the side of a tile, smaller where it must be."""
    columns = max(1, math.ceil(math.sqrt(len(tiles))))
    sheet = Image.new("RGB", (columns * side, max(1, math.ceil(len(tiles) / columns)) * side), (128, 128, 128))
    for k, tile in enumerate(tiles):
        sheet.paste(tile if tile.width == side else tile.resize((side, side), Image.Resampling.LANCZOS), (k % columns * side, k // columns * side))
    for quality in (88, 80, 70, 58, 45):
        file = io.BytesIO()
        sheet.save(file, "JPEG", quality=quality, subsampling=0 if side <= 40 else 2)
        if file.tell() <= limit or side <= 8:
            return {"uri": "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode(), "columns": columns, "side": side}
    return sprite(tiles, side * 3 // 4, limit)


class Originals:
    """The samples that a vector file was made from, by path where they are files, else by opening the data again."""

    def __init__(self, metadata: dict[str, Any]):
        self.source, self.fingerprint = metadata["data"], metadata["fingerprint"]
        self.modality = metadata.get("modality", "images")
        self.data: Data | None = None
        self.missing = "" if self.source else "the vectors do not say where their data is"

    def __call__(self, name: str, index: int) -> np.ndarray | None:
        """The sample as a picture, or None, and `missing` says why."""
        if self.modality == "images" and self.source and (file := Path(self.source) / name).is_file():
            try:
                return decode(file.read_bytes(), 512)
            except (Unreadable, OSError):
                return None
        if not self._open():
            return None
        try:
            assert self.data is not None
            return drawn(self.data[index], self.modality, self.data.form)
        except (Unreadable, IndexError):
            return None

    def _open(self) -> bool:
        if self.data is None and not self.missing:
            try:
                data = open_data(self.source, self.modality)
                if data.fingerprint() == self.fingerprint:
                    self.data = data
                else:
                    self.missing = f"{self.source} has changed since"
            except InputError as error:
                self.missing = str(error)
        return self.data is not None
