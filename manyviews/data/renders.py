"""Renders: pictures of meshes or point clouds from known sides, made as they are read. A row is an object and a view.

    data = renders("shapes", views=12)                    # a folder of meshes; class folders are labels
    data = renders("shapes", look="3diebench", poses="half_turns", views=50)
    sets = view_sets(data)                                # a row is an object with all its views

Every object is moved and scaled into the unit ball. Columns say what it is and how it is seen: `label`, `object`, `view`, `rotation` (rows, 3, 3: the
object's frame to the world, see `manyviews.data.rendering`), `split`, by object, and, where the look varies them, `light` (rows, 3: towards the lamp),
`light_hue` and `floor_hue` in [0, 1). What is random depends on (seed, object, view) alone, where an object is its row among the files.

The look "3diebench" has the ranges of Garrido, Najman, LeCun, "Self-supervised learning of Split Invariant Equivariant representations", ICML 2023,
arXiv:2302.10283: a camera 45 degrees above a floor whose hue is uniform (saturation and value 0.6), a lamp up to 45 degrees from the vertical whose hue is
uniform (saturation 1, value 0.8). Departs from it in that the lamp is far away and has no cone, in that light from all sides (0.4) stands for the sun,
and in that nothing reflects.
"""

from __future__ import annotations

import colorsys
import dataclasses
import hashlib
import inspect
import math
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from manyviews.data import images, mesh_files
from manyviews.data.dataset import Data, Unreadable
from manyviews.data.locating import located
from manyviews.data.poses import POSES, drawn
from manyviews.data.rendering import Backdrop, Camera, Light, Surface, render
from manyviews.data.splatting import brightness, cloud_of_columns
from manyviews.data.splits import split
from manyviews.errors import InputError

LOOKS = ("studio", "3diebench")
SHOWN = ("colour", "depth", "normals", "mask")
BUDGET = 1 << 29  # bytes of objects that are kept at hand


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides every picture, beside the rotations."""

    look: str
    shows: str
    side: int
    samples: int
    smooth: bool
    spread: float
    seed: int


def renders(
    source: Data | Path | str,
    views: int = 12,
    side: int = 64,
    poses: str | Float[np.ndarray, "views 3 3"] = "uniform",
    look: str = "studio",
    shows: str = "colour",
    seed: int = 0,
    samples: int = 2,
    smooth: bool = False,
    spread: float = 0.03,
) -> Data:
    """`views` pictures of every object, in the order of the objects; nothing is stored. Raises InputError.

    source: a folder of meshes, a mesh, or Data: `manyviews.data.mesh_files.meshes`, or clouds (points, 3 or 6 with normals or 9 with colours in [0, 1]).
    side: of the pictures, in pixels. poses: a name in manyviews.data.poses.POSES, or rotations that are the same for every object. look: "studio" has a white
    background and one lamp. shows: "colour", "depth" (nearer is brighter), "normals" or "mask". samples: squared, of colour in a pixel. smooth: whether
    meshes have no edges. spread: radius of a cloud's points.
    """
    count = views if isinstance(poses, str) else len(poses)
    least = {"views": (count, 1), "side": (side, 4), "samples": (samples, 1), "spread": (spread, 0), "seed": (seed, 0)}
    problems = [f"renders: {name}={value}; it must be at least {low}" for name, (value, low) in least.items() if value < low]
    named = {"look": (look, LOOKS), "shows": (shows, SHOWN), "poses": (poses if isinstance(poses, str) else "ring", tuple(POSES))}
    problems += [f"renders: {name}={value}; there are {', '.join(known)}" for name, (value, known) in named.items() if value not in known]
    if problems:
        raise InputError(*problems)
    objects = source if isinstance(source, Data) else mesh_files.meshes(source)
    numbers = np.arange(len(objects)) if objects.rows is None else np.asarray(objects.rows)
    rotation = POSES[poses](numbers, count, seed) if isinstance(poses, str) else np.tile(poses, (len(objects), 1, 1, 1))
    columns = {"object": np.repeat(numbers, count), "view": np.tile(np.arange(count), len(objects))}
    columns["rotation"] = rotation.reshape(-1, 3, 3).astype(np.float32)
    columns |= surroundings(look, numbers, count, seed)
    columns |= {name: np.repeat(column, count, 0) for name, column in by_object(objects, seed).items() if name not in columns}
    store = Renders(objects, count, columns, Settings(look, shows, side, samples, smooth, spread, seed))
    return Data(store, images.decode, "images", columns, objects.classes, max_bad=objects.max_bad)


def by_name(text: str) -> Data:
    """`FOLDER,views=12,look=3diebench`: a path, as `manyviews.data.locating.located` finds it, and any other argument of `renders`. Raises InputError."""
    arguments = {name: p.default for name, p in inspect.signature(renders).parameters.items() if name != "source"}
    place, *parts = text.split(",")
    given: dict[str, Any] = {}
    problems = []
    for part in filter(None, map(str.strip, parts)):
        name, equals, value = part.partition("=")
        if name not in arguments or not equals:
            problems.append(f"renders: {part!r} is not understood; there are {', '.join(f'{a}={default}' for a, default in arguments.items())}")
            continue
        kind = type(arguments[name])
        try:
            given[name] = {"true": True, "false": False}[value.lower()] if kind is bool else kind(value)
        except (KeyError, ValueError):
            problems.append(f"renders: {name}={value}; expected {'true or false' if kind is bool else 'a number'}")
    if problems:
        raise InputError(*problems)
    return renders(located(place), **given)


def by_object(objects: Data, seed: int) -> dict[str, np.ndarray]:
    """The objects' own columns, and a split of them where they have none and it can be made: those that are the same stay on one side."""
    columns = {name: column for name, column in objects.columns.items() if name != "duplicate_of"}
    if "split" in columns:
        return columns
    told: dict[str, np.ndarray] = {"place": np.arange(len(objects))}
    if objects.labels is not None and len(np.unique(objects.labels)) > 1:
        told["label"] = objects.labels
    decode = mesh_files.file_bytes if objects.decode is mesh_files.decode else objects.decode
    try:
        _, test = split(dataclasses.replace(objects, decode=decode, columns=told, bad={}, seen=None, kept=None), seed)
    except InputError:
        return columns
    side = np.full(len(objects), "train", dtype=object)
    side[test.columns["place"]] = "test"
    return columns | {"split": side}


def surroundings(look: str, objects: np.ndarray, views: int, seed: int) -> dict[str, np.ndarray]:
    """The columns of what a look varies."""
    if look == "studio":
        return {}
    u = drawn("surroundings", objects, views, 4, seed).reshape(-1, 4)
    tilt, turn = np.pi / 4 * u[:, 0], 2 * np.pi * u[:, 1]
    light = np.stack([np.sin(tilt) * np.sin(turn), np.cos(tilt), np.sin(tilt) * np.cos(turn)], 1)
    return {"light": light.astype(np.float32), "light_hue": u[:, 2].astype(np.float32), "floor_hue": u[:, 3].astype(np.float32)}


class Renders:
    """A store whose pictures are rendered when they are asked for, from any thread."""

    def __init__(self, objects: Data, views: int, columns: dict[str, np.ndarray], settings: Settings):
        self.objects, self.views, self.columns, self.settings = objects, views, columns, settings
        self.camera = camera_of(settings.look, settings.side)
        self.at_hand: OrderedDict[int, Surface | str] = OrderedDict()
        self.lock, self.size = threading.Lock(), 0

    def __len__(self) -> int:
        return self.views * len(self.objects)

    def raw(self, row: int) -> UInt8[np.ndarray, "side side channels"]:
        """The picture. Raises Unreadable where its object is."""
        s, surface = self.settings, self.surface(row // self.views)
        colour, pose = s.shows == "colour", self.columns["rotation"][row : row + 1]
        light, backdrop = self.scene(row)
        seen = render(surface, pose, self.camera, light, backdrop, s.samples, colour, not colour)
        if colour:
            return seen.colour[0]
        if s.shows == "depth":
            return (255 * brightness(seen.depth[0], self.camera) + 0.5).astype(np.uint8)[..., None]
        if s.shows == "mask":
            return 255 * seen.mask[0].astype(np.uint8)[..., None]
        facing = seen.normals[0] * [127.5, -127.5, -127.5] + 127.5  # as painters of normals have it: x right, y up, z to the viewer
        return np.where(seen.mask[0][..., None], facing + 0.5, 128).astype(np.uint8)

    def scene(self, row: int) -> tuple[Light, Backdrop]:
        """Light and backdrop of a picture."""
        if self.settings.look == "studio":
            return Light(), Backdrop()
        light, floor = self.columns["light"][row], self.columns["floor_hue"][row]
        lamp = colorsys.hsv_to_rgb(float(self.columns["light_hue"][row]), 1, 0.8)
        ground = colorsys.hsv_to_rgb(float(floor), 0.6, 0.6)
        return Light((float(light[0]), float(light[1]), float(light[2])), lamp, (0.4, 0.4, 0.4), shadows=True), Backdrop(ground, -2.0, ground)

    def surface(self, k: int) -> Surface:
        """Object k, normalised; kept at hand as long as there is room. Raises Unreadable."""
        with self.lock:
            found = self.at_hand.get(k)
            if found is not None:
                self.at_hand.move_to_end(k)
        if found is None:
            found = self.prepared(k)
            with self.lock:
                if k not in self.at_hand:
                    self.at_hand[k] = found
                    self.size += weight(found)
                while self.size > BUDGET and len(self.at_hand) > 1:
                    self.size -= weight(self.at_hand.popitem(last=False)[1])
        if isinstance(found, str):
            raise Unreadable(found)
        return found

    def prepared(self, k: int) -> Surface | str:
        """Object k, normalised, or why there is none."""
        try:
            if self.objects.decode is mesh_files.decode:
                mesh = mesh_files.decode(self.objects.store.raw(self.objects.row(k)))
                return dataclasses.replace(mesh.normalised(), smooth=self.settings.smooth)
            return cloud_of_columns(np.asarray(self.objects[k]), self.settings.spread).normalised()
        except (ValueError, IndexError) as reason:
            return str(reason)

    def name(self, row: int) -> str:
        return f"{self.objects.name(row // self.views)}, view {row % self.views}"

    def describe(self) -> str:
        s = self.settings
        return f"{self.views} {s.look} {s.shows} views each of {len(self.objects):,} {self.objects.modality} from {self.objects.store.describe()}"

    def fingerprint(self) -> str:
        h = hashlib.sha256(f"renders/1/{self.settings}/{self.views}/{self.objects.fingerprint()}".encode())
        h.update(np.ascontiguousarray(self.columns["rotation"]).tobytes())
        return h.hexdigest()


def weight(surface: Surface | str) -> int:
    """Bytes."""
    return getattr(surface, "nbytes", 0) + 1000


def camera_of(look: str, side: int) -> Camera:
    """Of a studio: the unit ball fills the picture. 3DIEBench's: from five radii away, 45 degrees up, through a lens of 50 mm before 36 mm."""
    if look == "studio":
        return Camera(height=side, width=side)
    return Camera.around(0.0, math.pi / 4, 5.0, height=side, width=side, fov=2 * math.atan(18 / 50))


# --- sets of views ----------------------------------------------------------------------------------------------------------------------------


def view_sets(data: Data) -> Data:
    """One row for each `object` of data: its samples (views, height, width, channels), in the order of the rows. Raises InputError.

    A column that is the same for all views of every object stays as it is; the others get an axis for the views.
    """
    if "object" not in data.columns:
        raise InputError(f"{data.describe()} has no column `object` that says which rows are views of one thing")
    _, first, member, counts = np.unique(data.columns["object"], return_index=True, return_inverse=True, return_counts=True)
    if counts.min() != counts.max():
        raise InputError(f"{data.describe()}: objects have from {counts.min()} to {counts.max()} views; a set needs as many of each")
    rows = np.argsort(member, kind="stable").reshape(len(first), -1)
    columns = {}
    for name, column in data.columns.items():
        grouped = column[rows]
        columns[name] = grouped[:, 0] if (grouped == grouped[:, :1]).all() else grouped
    return Data(Sets(data, rows), decode_sets, "view_sets", columns, data.classes, channels=data.channels, bits=data.bits, max_bad=data.max_bad)


class Sets:
    """A store of the rows of another data set, several at a time."""

    def __init__(self, data: Data, rows: np.ndarray):
        self.data, self.rows = data, rows

    def __len__(self) -> int:
        return len(self.rows)

    def raw(self, row: int) -> list[np.ndarray]:
        return [self.data[i] for i in self.rows[row].tolist()]

    def name(self, row: int) -> str:
        return f"{self.data.name(int(self.rows[row, 0]))} and {self.rows.shape[1] - 1} more"

    def describe(self) -> str:
        return f"sets of {self.rows.shape[1]}: {self.data.describe()}"

    def fingerprint(self) -> str:
        return hashlib.sha256(f"sets/1/{self.data.fingerprint()}".encode() + self.rows.tobytes()).hexdigest()


def decode_sets(raw: list[np.ndarray], pixels: int = 0, channels: int = 0, bits: int = 0) -> np.ndarray:
    """Pictures as one array (views, height, width, channels). Raises Unreadable."""
    pictures = [images.decode(a, pixels, channels, bits) for a in raw]
    if len({a.shape for a in pictures}) > 1:
        raise Unreadable(f"views of different sizes: {', '.join(str(a.shape) for a in pictures)}")
    return np.stack(pictures)
