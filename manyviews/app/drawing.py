"""How a sample is shown to a person: (height, width, 3) of 8 bits, whatever it is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

SIDE = 128  # of what is drawn here


def drawn(sample: Any, modality: str) -> UInt8[np.ndarray, "height width 3"]:
    """A decoded sample as a picture."""
    return DRAWERS.get(modality, strip)(sample)


def picture(a: np.ndarray) -> UInt8[np.ndarray, "height width 3"]:
    """Of other than 8 bits and three channels: scaled, grey repeated, the first three."""
    if a.dtype == np.uint16:
        a = (a >> 8).astype(np.uint8)
    elif a.dtype.kind == "f":
        a = (255 * a.clip(0, 1) + 0.5).astype(np.uint8)
    return np.repeat(a[:, :, :1], 3, 2) if a.shape[2] < 3 else a[:, :, :3]


def cloud(points: Float[np.ndarray, "points channels"]) -> UInt8[np.ndarray, "side side 3"]:
    """Seen from the front, half to the right and above, the nearer the brighter; y is up."""
    p = points[:, :3].astype(np.float64) - points[:, :3].mean(0)
    p /= max(float(np.linalg.norm(p, axis=1).max()), 1e-12)
    c, s, tilt = math.cos(0.6), math.sin(0.6), 0.4
    x, y, z = p[:, 0] * c + p[:, 2] * s, p[:, 1], -p[:, 0] * s + p[:, 2] * c
    y, z = y * math.cos(tilt) - z * math.sin(tilt), y * math.sin(tilt) + z * math.cos(tilt)
    sheet = np.full((SIDE, SIDE, 3), 250, np.uint8)
    order = np.argsort(z)  # the nearest last
    row, column = ((1 - y) * (SIDE - 4) / 2).astype(int)[order], ((x + 1) * (SIDE - 4) / 2).astype(int)[order]
    near = ((z[order] + 1) / 2)[:, None]
    colour = (near * (20, 60, 160) + (1 - near) * (190, 205, 225)).astype(np.uint8)
    for down in range(3):
        for right in range(3):
            sheet[row + down, column + right] = colour
    return sheet


def slices(volume: Float[np.ndarray, "depth height width channels"]) -> UInt8[np.ndarray, "side side 3"]:
    """The middle slices across depth, height and width, and their mean over depth, as a square of four."""
    d, h, w = (n // 2 for n in volume.shape[:3])
    v = volume.astype(np.float32) / (255 if volume.dtype == np.uint8 else 1)
    return tiled([v[d], v[:, h], v[:, :, w], v.mean(0)])


def frames(video: UInt8[np.ndarray, "time height width channels"]) -> UInt8[np.ndarray, "side side 3"]:
    """Four frames in the order of reading, evenly spaced."""
    return tiled([video[k] for k in np.linspace(0, len(video) - 1, 4).round().astype(int)])


def strip(values: Any) -> UInt8[np.ndarray, "side side 3"]:
    """Numbers as cells of a square in the order of reading, from blue (low, by rank) to yellow (high); what is missing is grey."""
    a = np.asarray(getattr(values, "x", values), np.float64).ravel()[:4096]
    side = max(1, math.ceil(math.sqrt(len(a))))
    known = np.isfinite(a)
    rank = np.zeros(len(a))
    rank[known] = a[known].argsort().argsort() / max(1, known.sum() - 1)
    cells = np.full((side * side, 3), 225.0)
    cells[: len(a)] = np.where(known[:, None], rank[:, None] * (250, 215, 60) + (1 - rank[:, None]) * (40, 60, 140), 160)
    return enlarged(cells.reshape(side, side, 3).astype(np.uint8), SIDE)


def tiled(parts: list[np.ndarray]) -> UInt8[np.ndarray, "side side 3"]:
    """Four pictures as one square."""
    a, b, c, d = (enlarged(picture(part), SIDE // 2) for part in parts)
    return np.concatenate([np.concatenate([a, b], 1), np.concatenate([c, d], 1)])


def enlarged(a: UInt8[np.ndarray, "height width 3"], side: int) -> UInt8[np.ndarray, "{side} {side} 3"]:
    """Stretched to a square, each pixel the nearest."""
    rows, columns = (np.arange(side) * n // side for n in a.shape[:2])
    return a[rows][:, columns]


def of_pair(pair: Any) -> UInt8[np.ndarray, "height width 3"]:
    """The picture of a picture with its caption."""
    return picture(pair.image)


DRAWERS = {"images": picture, "renders": picture, "points": cloud, "splats": cloud, "volumes": slices, "video": frames, "pairs": of_pair}
