"""Pictures among volumes: a folder that has both, of which pictures become grey volumes of depth 1. The column `flat` says which they are.

data = open_data("EYES?pictures=yes", "volumes")       # .png, .jpg ... and .nii, .mha, DICOM ... at any depth
data.columns["flat"]                                   # 1: a picture, 0: a volume
"""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from manyviews.data import folder, images
from manyviews.data.dataset import Data
from manyviews.errors import InputError


def with_pictures(volumes: Data, path: Path) -> Data:
    """The volumes, then the pictures of the same folder. Raises InputError where there is none.

    Labels are kept where both have them, split where both have one; classes are those of both, by name.
    """
    found = folder.folder(path, images.SUFFIXES) if path.is_dir() else None
    if found is None:
        raise InputError(f"{path} has no pictures beside its volumes; leave ?pictures=yes away")
    files, columns, classes = found
    count = len(volumes), len(files)
    both: dict[str, np.ndarray] = {"flat": np.repeat([0, 1], count)}
    names = sorted({*volumes.classes, *classes})
    if "label" in columns and volumes.labels is not None:
        parts = [np.array([names.index(c) for c in own] + [-1])[labels] for own, labels in ((volumes.classes, volumes.labels), (classes, columns["label"]))]
        both["label"] = np.concatenate(parts)
    if "split" in columns and "split" in volumes.columns:
        both["split"] = np.concatenate([volumes.columns["split"], columns["split"]])
    said = ", ".join(filter(None, [volumes.said, f"{count[1]:,} of them pictures"]))
    store, kept = Both(volumes, files), names if "label" in both else []
    return dataclasses.replace(volumes, store=store, decode=store.decode, columns=both, classes=kept, rows=None, channels=1, said=said, bad={}, seen=None)


class Both:
    """A store of the rows of volumes, then of pictures."""

    def __init__(self, volumes: Data, files: folder.Files):
        self.volumes, self.files = volumes, files

    def __len__(self) -> int:
        return len(self.volumes) + len(self.files)

    def raw(self, row: int) -> tuple[bool, Any]:
        """Whether it is a picture, and what its own store has."""
        first = len(self.volumes)
        return (True, self.files.raw(row - first)) if row >= first else (False, self.volumes.store.raw(self.volumes.row(row)))

    def decode(self, raw: tuple[bool, Any], pixels: int = 0, channels: int = 0, bits: int = 0) -> np.ndarray:
        """(depth, height, width, channels) in [0, 1], of a picture with depth 1. Raises Unreadable."""
        picture, content = raw
        if not picture:
            return self.volumes.decode(content, pixels, channels, bits)
        grey = images.decode(content, pixels, 1, 16).astype(np.float32)[None] / 65535
        return np.repeat(grey, channels, 3) if channels > 1 else grey

    def name(self, row: int) -> str:
        return self.files.name(row - len(self.volumes)) if row >= len(self.volumes) else self.volumes.name(row)

    def describe(self) -> str:
        return self.volumes.store.describe()

    def fingerprint(self) -> str:
        return hashlib.sha256(f"flat_volumes/1/{self.volumes.fingerprint()}/{self.files.fingerprint()}".encode()).hexdigest()
