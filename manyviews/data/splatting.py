"""Point clouds, drawn as small discs that face the camera, and what multi-view methods make of them: depth pictures from several sides.

A `Cloud` goes wherever a `Mesh` does in `manyviews.data.rendering`. `depth_pictures` are what networks that were trained on pictures see of a cloud, as in
Zhang et al., "PointCLIP: Point Cloud Understanding by CLIP", CVPR 2022, arXiv:2112.02413, and Zhang et al., "Learning 3D Representations from 2D
Pre-trained Models via Image-to-Point Masked Autoencoders" (I2P-MAE), CVPR 2023, arXiv:2212.06785.

Departs from I2P-MAE in that a pixel shows the nearest point, where theirs adds up the coordinates of all points within two pixels and takes the sigmoid; and in
that all sides have one scale, where theirs fits each.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Float64, Shaped, UInt8

from manyviews.data import rasterising
from manyviews.data.mesh_files import GREY, in_unit_ball
from manyviews.data.poses import AXES
from manyviews.data.rendering import Camera, Views, render


@dataclasses.dataclass(frozen=True, eq=False)
class Cloud:
    """Points, each a disc of one radius. Raises ValueError for what cannot be drawn."""

    points: Float64[np.ndarray, "points 3"]
    colours: UInt8[np.ndarray, "points 3 3"]  # red, green, blue, three times over: a point's corners are itself
    normals: Float32[np.ndarray, "normals 3 3"]  # likewise; (0, 3, 3) where there are none: then discs are lit as they face the camera
    spread: float = 0.03  # the discs' radius, in units of the points

    def __post_init__(self) -> None:
        if not len(self.points):
            raise ValueError("no points")
        if not np.isfinite(self.points).all():
            raise ValueError(f"{(~np.isfinite(self.points).all(1)).sum():,} of its {len(self.points):,} points are not finite")
        if not self.spread >= 0:
            raise ValueError(f"discs of radius {self.spread}; expected 0 or more")

    @functools.cached_property
    def radius(self) -> float:
        """Of the smallest ball around the origin that holds it."""
        return float(np.linalg.norm(self.points, axis=1).max()) + self.spread

    @property
    def nbytes(self) -> int:
        return self.points.nbytes + self.colours.nbytes + self.normals.nbytes

    def normalised(self) -> Cloud:
        """Moved and scaled into the unit ball; the discs' radius stays what it is."""
        return dataclasses.replace(self, points=in_unit_ball(self.points))

    def draw(self, matrix: Float64[np.ndarray, "4 4"], eye: Float64[np.ndarray, "4"], focal: float, cells: int, depth: Any, hit: Any, where: Any) -> None:
        """See `manyviews.data.rasterising`; discs are at least a pixel wide."""
        normals = np.ascontiguousarray(self.normals[:, 0])
        rasterising.discs(self.points, normals, matrix, eye, focal, self.spread, 0.5 * cells, depth, hit)


def cloud_of(points: Any, colours: Any = GREY, normals: Any = None, spread: float = 0.03) -> Cloud:
    """A cloud of arrays of any numbers. colours: 0 to 255, one (3,) or one a point (points, 3). normals: (points, 3) or none. Raises ValueError."""
    points = np.array(points, np.float64).reshape(-1, 3)
    given = np.asarray(colours)
    corners = np.broadcast_to(given[:, None] if given.ndim == 2 else given, (len(points), 3, 3))
    upright = np.zeros((0, 3, 3), np.float32) if normals is None else np.repeat(np.asarray(normals, np.float32)[:, None], 3, 1)
    if len(upright) not in (0, len(points)):
        raise ValueError(f"{len(upright):,} normals for {len(points):,} points")
    return Cloud(points, np.array(corners, np.uint8), upright, spread)


def cloud_of_columns(columns: Shaped[np.ndarray, "points columns"], spread: float) -> Cloud:
    """A cloud of an array as `manyviews.data.points` has it: x y z, from 6 columns on normals (all zeros: not known), from 9 on colours in [0, 1]."""
    many = columns.shape[1]
    normals = columns[:, 3:6] if many >= 6 and columns[:, 3:6].any() else None
    return cloud_of(columns[:, :3], np.clip(255 * columns[:, 6:9] + 0.5, 0, 255) if many >= 9 else GREY, normals, spread)


def depth_pictures(
    points: Float[np.ndarray, "points 3"], poses: Float[np.ndarray, "views 3 3"] = AXES, side: int = 224, spread: float = 0.02
) -> tuple[Float32[np.ndarray, "views side side"], Views]:
    """Orthographic views of a cloud in the unit ball (I2P-MAE's three sides, if nothing is said), and where each was taken from.

    Brightness falls from 1 at the near side of the ball to 0.1 at the far one; 0 where there is no point. `Views.project` says to which pixel a point belongs.
    """
    camera = Camera(height=side, width=side, extent=2 * (1 + spread))
    views = render(cloud_of(points, spread=spread), poses, camera, colour=False)
    return brightness(views.depth, camera), views


def brightness(depth: Float32[np.ndarray, "*views height width"], camera: Camera) -> Float32[np.ndarray, "*views height width"]:
    """Depth as a picture of the unit ball around the camera's target: 1 at its near side, 0.1 at its far one and beyond, 0 where nothing is."""
    near = camera.distance - 1
    return np.where(np.isfinite(depth), np.clip(1 - 0.45 * (np.where(np.isfinite(depth), depth, 0) - near), 0.1, 1), 0).astype(np.float32)
