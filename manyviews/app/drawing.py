"""How a sample is shown to a person: (height, width, 3) of 8 bits, whatever it is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

HARMONIC = 0.28209479177387814  # of degree 0, as in manyviews.data.splats
SIDE = 128  # of what is drawn here
C, S, TC, TS = math.cos(0.6), math.sin(0.6), math.cos(0.4), math.sin(0.4)
SEEN = np.array([[C, 0, S], [S * TS, TC, -C * TS], [-S * TC, TS, C * TC]])  # rows: right, up, towards the eye, of who looks half from the right and above


def drawn(sample: Any, modality: str, form: Mapping[str, Any] | None = None) -> UInt8[np.ndarray, "height width 3"]:
    """A decoded sample as a picture. form: that of its data, without which a text is numbers."""
    return written(sample, form) if modality == "text" and form else DRAWERS.get(modality, strip)(sample)


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
    x, y, z = (p @ SEEN.T / max(float(np.linalg.norm(p, axis=1).max()), 1e-12)).T
    sheet = np.full((SIDE, SIDE, 3), 250, np.uint8)
    order = np.argsort(z)  # the nearest last
    row, column = ((1 - y) * (SIDE - 4) / 2).astype(int)[order], ((x + 1) * (SIDE - 4) / 2).astype(int)[order]
    near = ((z[order] + 1) / 2)[:, None]
    colour = (near * (20, 60, 160) + (1 - near) * (190, 205, 225)).astype(np.uint8)
    for down in range(3):
        for right in range(3):
            sheet[row + down, column + right] = colour
    return sheet


def splatted(splats: Float[np.ndarray, "splats columns"]) -> UInt8[np.ndarray, "side side 3"]:
    """From where `cloud` looks: each splat that is not faint as the ellipse of its standard deviation, in its own colour. Of many, 4,096."""
    from scipy.spatial.transform import Rotation

    if splats.shape[1] == 3:
        return cloud(splats)
    splats = splats[:: max(1, math.ceil(len(splats) / 4096))].astype(np.float64)
    splats = splats[splats[:, 3] >= min(0.3, splats[:, 3].max())]
    p = (splats[:, :3] - np.median(splats[:, :3], 0)) @ SEEN.T
    pixels = (SIDE - 4) / 2 / max(float(np.quantile(np.linalg.norm(p, axis=1), 0.99)), 1e-12)  # a unit's; a few splats may lie far out
    order = np.argsort(p[:, 2])  # the nearest last
    p, splats = p[order], splats[order]
    half = (SEEN @ Rotation.from_quat(splats[:, [8, 9, 10, 7]]).as_matrix())[:, :2] * (pixels * splats[:, None, 4:7])
    rr, uu, ru = ((half[:, i] * half[:, j]).sum(1) + 0.3 * (i == j) for i, j in ((0, 0), (1, 1), (0, 1)))  # in pixels, at least about one wide
    step = np.stack(np.meshgrid(np.arange(-6, 7), np.arange(-6, 7)), -1).reshape(-1, 2)
    place = SIDE / 2 + pixels * p[:, :2] * (1, -1)
    cell = place.astype(int)[:, None] + step
    right, down = (cell + 0.5 - place[:, None]).transpose(2, 0, 1)
    inside = uu[:, None] * right**2 + rr[:, None] * down**2 + 2 * ru[:, None] * right * down <= (rr * uu - ru**2)[:, None]
    shown = inside & (cell >= 0).all(2) & (cell < SIDE).all(2)
    colour = (255 * (0.5 + HARMONIC * splats[:, 11:14]).clip(0, 1)).astype(np.uint8)
    sheet = np.full((SIDE, SIDE, 3), 250, np.uint8)
    sheet[cell[shown][:, 1], cell[shown][:, 0]] = np.repeat(colour, shown.sum(1), 0)  # of several the last stays
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


def network(sample: Any) -> UInt8[np.ndarray, "side side 3"]:
    """A graph, or what surrounds a node, laid out by springs (Fruchterman and Reingold 1991) from fixed places; the node that is meant is red."""
    graph = sample if hasattr(sample, "edges") else sample.around()
    n, (a, b) = min(len(graph), 200), np.asarray(graph.edges)
    a, b = a[(a < n) & (b < n)], b[(a < n) & (b < n)]
    place, ideal = np.random.default_rng(0).uniform(-1, 1, (n, 2)), 1 / math.sqrt(n)
    for heat in np.linspace(0.2, 0.002, 60):
        apart = place[:, None] - place
        distance = np.sqrt((apart**2).sum(-1)).clip(1e-3)
        force = (apart * (ideal / distance)[..., None] ** 2).sum(1) - 2 * place  # what nothing holds stays near
        pull = (place[a] - place[b]) * np.sqrt(((place[a] - place[b]) ** 2).sum(1))[:, None] / ideal
        np.add.at(force, a, -pull)
        length = np.sqrt((force**2).sum(1))[:, None].clip(1e-9)
        place = place + force / length * np.minimum(length, heat)
    place -= (place.min(0) + place.max(0)) / 2
    at = ((place / max(float(np.abs(place).max()), 1e-9) * 0.92 + 1) * (SIDE - 1) / 2)[:, ::-1]
    sheet = np.full((SIDE, SIDE, 3), 250, np.uint8)
    along = np.linspace(0, 1, SIDE)[:, None, None]
    row, column = (at[a] * along + at[b] * (1 - along)).round().astype(int).reshape(-1, 2).T
    sheet[row, column] = (190, 205, 225)
    for k, (y, x) in enumerate(at.round().astype(int)):
        colour = (200, 60, 30) if k == getattr(graph, "root", None) else (20, 60, 160)
        sheet[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3] = colour
    return sheet


def tiled(parts: list[np.ndarray]) -> UInt8[np.ndarray, "side side 3"]:
    """Four pictures as one square."""
    a, b, c, d = (enlarged(picture(part), SIDE // 2) for part in parts)
    return np.concatenate([np.concatenate([a, b], 1), np.concatenate([c, d], 1)])


def enlarged(a: UInt8[np.ndarray, "height width 3"], side: int) -> UInt8[np.ndarray, "{side} {side} 3"]:
    """Stretched to a square, each pixel the nearest."""
    rows, columns = (np.arange(side) * n // side for n in a.shape[:2])
    return a[rows][:, columns]


def written(sample: Any, form: Mapping[str, Any]) -> UInt8[np.ndarray, "side side 3"]:
    """The first words of a text, as many as there is place for."""
    from PIL import Image, ImageDraw, ImageFont

    from manyviews.data.text import words_in

    sheet = Image.new("RGB", (SIDE, SIDE), (250, 250, 250))
    font, pen = ImageFont.load_default(14), ImageDraw.Draw(sheet)
    lines: list[str] = []
    for word in "".join(c if c.isprintable() else "?" for c in words_in(sample[:64], form)).split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and pen.textlength(longer, font) <= SIDE - 8:
            lines[-1] = longer
        else:
            lines.append(word)
    for k, line in enumerate(lines[: SIDE // 16]):
        pen.text((4, 2 + 15 * k), line, fill=(20, 60, 160), font=font)
    return np.asarray(sheet)


def of_pair(pair: Any) -> UInt8[np.ndarray, "height width 3"]:
    """The picture of a picture with its caption."""
    return picture(pair.image)


DRAWERS = {
    "images": picture,
    "renders": picture,
    "points": cloud,
    "splats": splatted,
    "volumes": slices,
    "video": frames,
    "view_sets": frames,
    "pairs": of_pair,
    "graphs": network,
}
