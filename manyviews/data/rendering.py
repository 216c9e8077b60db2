"""Views of meshes and point clouds with known poses: colour, depth, normals and mask, on the CPU.

    views = render(mesh, uniform_rotations, Camera(height=64, width=64), Light(), Backdrop())

Frames are right-handed. The world has y up; the camera that nothing is said of stands at (0, 0, 3) and looks at the origin, so that x goes right and z
comes towards it. A pose takes the object's frame to the world. The camera's frame has x right, y down and z into the picture; depth is its z. Pixels are
(column, row) from the upper left corner of the picture, which is (0, 0): the first pixel's middle is (0.5, 0.5). Angles are radians, lengths the object's.

Triangles are drawn one after the other into a z-buffer (`manyviews.data.rasterising`): at the sizes that networks see this takes less time than rays
through Embree, needs no tree over the triangles first, and threads run side by side. Colours are mixed as they are stored, without gamma.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Shaped, UInt8

from manyviews.data import rasterising
from manyviews.errors import InputError

Vector = tuple[float | int, float | int, float | int]
T = TypeVar("T")


def cross(a: Vector | Shaped[np.ndarray, "3"], b: Vector | Shaped[np.ndarray, "3"]) -> Float64[np.ndarray, "3"]:
    """Of two vectors; NumPy's own takes ten times as long for so few."""
    return np.array([a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]], float)


@runtime_checkable
class Surface(Protocol):
    """What can be rendered: a `Mesh` or a `Cloud`."""

    @property
    def colours(self) -> UInt8[np.ndarray, "parts 3 3"]: ...

    @property
    def normals(self) -> Float32[np.ndarray, "normals 3 3"]: ...

    @property
    def radius(self) -> float: ...

    def draw(self, matrix: Any, eye: Any, focal: float, cells: int, depth: Any, hit: Any, where: Any) -> None: ...


@dataclasses.dataclass(frozen=True)
class Camera:
    """Where a picture is taken from, and how: in perspective, `fov` being the angle over its shorter side, or orthographic, that side showing `extent`."""

    position: Vector = (0.0, 0.0, 3.0)
    target: Vector = (0.0, 0.0, 0.0)
    up: Vector = (0.0, 1.0, 0.0)
    height: int = 64
    width: int = 64
    fov: float = math.radians(40)  # a unit ball just fits, seen from 3
    extent: float | None = None

    def __post_init__(self) -> None:
        problems = [f"a picture of {self.height} x {self.width} pixels; expected 1 or more"] if min(self.height, self.width) < 1 else []
        if self.extent is None and not 0 < self.fov < math.pi:
            problems.append(f"fov={self.fov} radians; expected more than 0 and less than pi")
        if self.extent is not None and not self.extent > 0:
            problems.append(f"extent={self.extent}; expected more than 0")
        ahead = np.subtract(self.target, self.position)
        if not np.linalg.norm(cross(ahead, self.up)) > 1e-9 * np.linalg.norm(ahead) * np.linalg.norm(self.up):
            problems.append(f"the camera at {self.position} looks at {self.target} with {self.up} upwards: these must be two places and not one line")
        if problems:
            raise InputError(*problems)

    @classmethod
    def around(cls, azimuth: float, elevation: float, distance: float = 3.0, **rest: Any) -> Camera:
        """Looks at the origin from `azimuth` about the vertical (0: from z; pi/2: from x) and `elevation` above the horizon, less than pi/2."""
        level = distance * math.cos(elevation)
        return cls((level * math.sin(azimuth), distance * math.sin(elevation), level * math.cos(azimuth)), **rest)

    @functools.cached_property
    def distance(self) -> float:
        return float(np.linalg.norm(np.subtract(self.target, self.position)))

    @functools.cached_property
    def extrinsics(self) -> Float64[np.ndarray, "4 4"]:
        """World to camera."""
        ahead = np.subtract(self.target, self.position) / self.distance
        right = cross(ahead, self.up)
        right /= np.linalg.norm(right)
        turn = np.stack([right, cross(ahead, right), ahead])
        return rigid(turn, -turn @ np.asarray(self.position, float))

    @functools.cached_property
    def intrinsics(self) -> Float64[np.ndarray, "3 4"]:
        """Camera to pixels: (w column, w row, w) of a point (x, y, z, 1); w is z in perspective, else 1."""
        f, row, column = self.focal, self.height / 2, self.width / 2
        if self.extent is None:
            return np.array([[f, 0, column, 0], [0, f, row, 0], [0, 0, 1, 0]])
        return np.array([[f, 0, 0, column], [0, f, 0, row], [0, 0, 0, 1]])

    @functools.cached_property
    def focal(self) -> float:
        """Pixels that one unit covers at w = 1."""
        shorter = min(self.height, self.width)
        return shorter / self.extent if self.extent is not None else shorter / (2 * math.tan(self.fov / 2))

    @functools.cached_property
    def eye(self) -> Float64[np.ndarray, "4"]:
        """Where rays come from, homogeneous: the position, or a direction with 0 at the end."""
        backwards = np.subtract(self.position, self.target) / self.distance
        return np.append(self.position, 1.0) if self.extent is None else np.append(backwards, 0.0)

    @functools.cached_property
    def rays(self) -> Float64[np.ndarray, "2 3 3"]:
        """Where in the world a pixel's ray starts and how it goes on with each unit of depth, both linear in (column, row, 1)."""
        f, turn = self.focal, self.extrinsics[:3, :3].T
        across = np.array([[1 / f, 0, -self.width / (2 * f)], [0, 1 / f, -self.height / (2 * f)], [0, 0, 0]])
        ahead, start = np.zeros((3, 3)), np.zeros((3, 3))
        ahead[2, 2], start[:, 2] = 1, self.position
        return np.stack([start, turn @ (across + ahead)]) if self.extent is None else np.stack([start + turn @ across, turn @ ahead])


@dataclasses.dataclass(frozen=True)
class Light:
    """One distant lamp and light from everywhere. A surface shows its colour times `ambient` + `colour` times the cosine at which the lamp meets it."""

    towards: Vector = (-0.4, 0.8, 0.7)  # from the object to the lamp, in the world
    colour: Vector = (0.7, 0.7, 0.7)
    ambient: Vector = (0.35, 0.35, 0.35)
    shadows: bool = False  # whether things keep the lamp's light from what is behind them


@dataclasses.dataclass(frozen=True)
class Backdrop:
    """What is behind the object: one colour in [0, 1] and, where `level` is given, a floor at that height, seen from above."""

    colour: Vector = (1.0, 1.0, 1.0)
    level: float | None = None
    floor: Vector = (0.6, 0.6, 0.6)


@dataclasses.dataclass(frozen=True)
class Views:
    """Pictures of one object and how they were taken. Depth and normals are those in the middle of each pixel, of the object alone."""

    colour: UInt8[np.ndarray, "colours height width 3"]
    depth: Float32[np.ndarray, "depths height width"]  # inf where there is no object
    normals: Float32[np.ndarray, "depths height width 3"]  # in the camera's frame, on the side that is seen; 0 where there is no object
    pose: Float64[np.ndarray, "views 4 4"]  # object to world
    extrinsics: Float64[np.ndarray, "views 4 4"]  # world to camera
    intrinsics: Float64[np.ndarray, "views 3 4"]  # camera to pixels

    @property
    def mask(self) -> Bool[np.ndarray, "depths height width"]:
        return np.isfinite(self.depth)

    def project(self, points: Float[np.ndarray, "points 3"]) -> tuple[Float64[np.ndarray, "views points 2"], Float64[np.ndarray, "views points"]]:
        """Pixels (column, row) and depths of points in the object's frame; hidden ones too."""
        seen = np.append(points, np.ones((len(points), 1)), 1) @ (self.extrinsics @ self.pose).transpose(0, 2, 1)
        pixels = seen @ self.intrinsics.transpose(0, 2, 1)
        return pixels[..., :2] / pixels[..., 2:], seen[..., 2]


def render(
    surface: Surface,
    poses: Float[np.ndarray, "views n n"],
    camera: Camera | Sequence[Camera] = Camera(),
    light: Light | Sequence[Light] = Light(),
    backdrop: Backdrop | Sequence[Backdrop] = Backdrop(),
    samples: int = 2,
    colour: bool = True,
    geometry: bool = True,
) -> Views:
    """The object in each pose: rotations (3, 3), or rotations with scale and shift (4, 4). Camera, light and backdrop: one, or a list with one a view.

    samples: squared, samples of colour in a pixel. colour, geometry: whether these are wanted; what is not wanted is there of no view.
    Raises InputError.
    """
    pose = homogeneous(poses)
    views, cameras = len(pose), one_each(camera, len(pose), "cameras")
    lights, backdrops = one_each(light, views, "lights"), one_each(backdrop, views, "backdrops")
    sizes = {(c.height, c.width) for c in (cameras or one_each(camera, 1, "cameras"))}
    if len(sizes) > 1 or samples < 1:
        raise InputError(f"pictures of the sizes {sorted(sizes)} with {samples} samples; expected one size for all, and a sample or more")
    height, width = sizes.pop()
    pictures = np.empty((views if colour else 0, height, width, 3), np.uint8)
    depth = np.empty((views if geometry else 0, height, width), np.float32)
    normals = np.zeros((views if geometry else 0, height, width, 3), np.float32)
    for k in range(views):
        drawn = None
        if geometry:
            drawn = draw(surface, pose[k], cameras[k], 1)
            depth[k] = drawn[0]
            turn = cameras[k].extrinsics[:3, :3] @ pose[k, :3, :3]
            rasterising.oriented(drawn[1], drawn[2], surface.normals, turn / np.cbrt(np.linalg.det(turn)), normals[k])
        if colour:
            drawn = drawn if drawn is not None and samples == 1 else draw(surface, pose[k], cameras[k], samples)
            paint(surface, pose[k], cameras[k], lights[k], backdrops[k], samples, drawn, pictures[k])
    extrinsics = np.array([c.extrinsics for c in cameras]).reshape(-1, 4, 4)
    return Views(pictures, depth, normals, pose, extrinsics, np.array([c.intrinsics for c in cameras]).reshape(-1, 3, 4))


# --- one view ---------------------------------------------------------------------------------------------------------------------------------

Drawn = tuple[np.ndarray, np.ndarray, np.ndarray]  # depth, hit and where, as in manyviews.data.rasterising


def draw(surface: Surface, pose: Float64[np.ndarray, "4 4"], camera: Camera, cells: int) -> Drawn:
    """What each of the cells x cells parts of every pixel shows."""
    height, width = cells * camera.height, cells * camera.width
    depth, hit = np.full((height, width), np.inf, np.float32), np.zeros((height, width), np.int32)
    where = np.zeros((height, width, 2), np.float32)
    seen = camera.extrinsics @ pose
    matrix = np.concatenate([np.diag([cells, cells, 1]) @ camera.intrinsics @ seen, seen[2:3]])
    scale = np.cbrt(np.linalg.det(pose[:3, :3]))
    surface.draw(matrix, np.linalg.inv(pose) @ camera.eye, cells * camera.focal * scale, cells, depth, hit, where)
    return depth, hit, where


def paint(surface: Surface, pose: Any, camera: Camera, light: Light, backdrop: Backdrop, samples: int, drawn: Drawn, picture: Any) -> None:
    """Light, floor and background on what was drawn, averaged into the picture."""
    depth, hit, where = drawn
    towards = np.asarray(light.towards, float) / np.linalg.norm(light.towards)
    lamp, ambient, floor = np.asarray(light.colour, float), np.asarray(light.ambient, float), 255 * np.asarray(backdrop.floor, float)
    dark = np.zeros(hit.shape, np.bool_)
    rays = camera.rays @ np.diag([1 / samples, 1 / samples, 1])
    if backdrop.level is not None:
        rasterising.floor(float(backdrop.level), rays, depth, hit)
    if light.shadows:
        above = light_camera(surface, pose, towards, max(hit.shape))
        light_depth = draw(surface, pose, above, 1)[0]
        matrix = np.concatenate([above.intrinsics @ above.extrinsics, above.extrinsics[2:3]])
        rasterising.shadows(rays, depth, hit, matrix, light_depth, 0.01 * (above.extent or 1.0), dark)
    ground, behind = np.stack([floor * (ambient + lamp * max(0.0, towards[1])), floor * ambient]), 255 * np.asarray(backdrop.colour, float)
    local = np.linalg.inv(pose[:3, :3]) @ towards
    local /= np.linalg.norm(local)
    facing = float(-camera.extrinsics[2, :3] @ towards)
    rasterising.shaded(hit, where, dark, surface.colours, surface.normals, local, facing, lamp, ambient, behind, ground, samples, picture)


def light_camera(surface: Surface, pose: Any, towards: Any, side: int) -> Camera:
    """Sees what a lamp in this direction sees of the object."""
    radius = surface.radius * float(np.cbrt(np.linalg.det(pose[:3, :3])))
    middle = pose[:3, 3]
    up = (0.0, 1.0, 0.0) if abs(towards[1]) < 0.9 else (1.0, 0.0, 0.0)
    return Camera(tuple(middle + 2 * radius * towards), tuple(middle), up, side, side, extent=2.05 * radius)


# --- arguments --------------------------------------------------------------------------------------------------------------------------------


def rigid(turn: Float[np.ndarray, "3 3"], shift: Float[np.ndarray, "3"]) -> Float64[np.ndarray, "4 4"]:
    """x -> turn x + shift."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = turn, shift
    return matrix


def homogeneous(poses: Float[np.ndarray, "..."]) -> Float64[np.ndarray, "views 4 4"]:
    """Poses as (views, 4, 4). Raises InputError unless each is a rotation, a scale and a shift."""
    poses = np.asarray(poses, float)
    if poses.ndim != 3 or poses.shape[1:] not in ((3, 3), (4, 4)):
        raise InputError(f"poses of the shape {poses.shape}; expected (views, 3, 3) or (views, 4, 4)")
    whole = np.tile(np.eye(4), (len(poses), 1, 1))
    whole[:, : poses.shape[1], : poses.shape[2]] = poses
    linear = np.where(np.isfinite(whole), whole, 0)[:, :3, :3]
    size = np.cbrt(np.linalg.det(linear))
    error = np.abs(linear @ linear.transpose(0, 2, 1) - size[:, None, None] ** 2 * np.eye(3)).max((1, 2))
    bad = np.flatnonzero(~((size > 0) & (error <= 1e-4 * size**2) & np.isfinite(whole).all((1, 2)) & (whole[:, 3] == [0, 0, 0, 1]).all(1)))
    if len(bad):
        raise InputError(f"pose {bad[0]} is no rotation with scale and shift (mirroring and shearing are none either); {len(bad):,} of {len(poses):,} are not")
    return whole


def one_each(given: T | Sequence[T], views: int, what: str) -> list[T]:
    """The same for each view, or as given. Raises InputError."""
    several = list(given) if isinstance(given, Sequence) else [given] * views
    if len(several) != views:
        raise InputError(f"{len(several):,} {what} for {views:,} views; expected one, or one a view")
    return several
