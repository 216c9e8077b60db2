"""Meshes: triangles with colours, and how .ply .off .obj .stl .glb .gltf files become them, through trimesh.

A file is what its ending says; one whose first bytes say something else is not read. Scenes are flattened, polygons cut into triangles, and triangles
without area dropped. Colours are those of faces or vertices; a texture is looked up at the corners (trimesh's `to_color`), so that what it paints inside
a triangle is lost; alpha is ignored. A material or texture that is missing costs only the colour. Meshes may have holes, several parts, edges of more
than two triangles, and triangles that run either way round: all of that can be rendered.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Float64, Int32, Shaped, UInt8

from manyviews.data import folder, rasterising
from manyviews.data.dataset import Data, Unreadable
from manyviews.errors import InputError

SUFFIXES = (".ply", ".off", ".obj", ".stl", ".glb", ".gltf")
LARGEST = 1 << 29  # bytes of one file
MOST = 10_000_000  # triangles
GREY = 178  # where there is no colour
logging.getLogger("trimesh").addHandler(logging.NullHandler())  # what it says of damaged files is in the reason; who listens still hears it


@dataclasses.dataclass(frozen=True, eq=False)
class Mesh:
    """Triangles of `vertices`; each corner has a colour. Raises ValueError for what cannot be drawn."""

    vertices: Float64[np.ndarray, "vertices 3"]
    faces: Int32[np.ndarray, "faces 3"]  # anticlockwise seen from outside, if they are in order at all
    colours: UInt8[np.ndarray, "faces 3 3"]  # red, green, blue of each corner
    smooth: bool = False  # normals that vary over a triangle, instead of its own

    def __post_init__(self) -> None:
        if not len(self.faces):
            raise ValueError("no triangles")
        if self.faces.min() < 0 or self.faces.max() >= len(self.vertices):
            raise ValueError(f"triangles of vertices {self.faces.min()} to {self.faces.max()}, where there are 0 to {len(self.vertices) - 1}")
        if len(self.colours) != len(self.faces):
            raise ValueError(f"colours of {len(self.colours):,} triangles for {len(self.faces):,}")
        if not np.isfinite(self.vertices).all():
            raise ValueError(f"{(~np.isfinite(self.vertices).all(1)).sum():,} of its {len(self.vertices):,} vertices are not finite")

    @functools.cached_property
    def normals(self) -> Float32[np.ndarray, "faces 3 3"]:
        """Of every corner, of length 1: the triangle's, or, where `smooth`, the mean over all triangles at that place, weighted by area."""
        across = crossed(self.vertices, self.faces)
        if self.smooth:
            _, place = np.unique(self.vertices, axis=0, return_inverse=True)
            corners = place.reshape(-1)[self.faces]
            sums = np.stack([np.bincount(corners.reshape(-1), np.repeat(across[:, k], 3)) for k in range(3)], 1)
            across = sums[corners].reshape(-1, 3)
        length = np.linalg.norm(across, axis=1, keepdims=True)
        unit = (across / np.where(length > 0, length, 1)).astype(np.float32)
        return unit.reshape(-1, 3, 3) if self.smooth else np.repeat(unit[:, None], 3, 1)

    @functools.cached_property
    def radius(self) -> float:
        """Of the smallest ball around the origin that holds it."""
        return float(np.linalg.norm(self.vertices, axis=1).max())

    @property
    def nbytes(self) -> int:
        """With its normals."""
        return self.vertices.nbytes + self.faces.nbytes + self.colours.nbytes + 36 * len(self.faces)

    def normalised(self) -> Mesh:
        """Moved and scaled into the unit ball: the middle of its bounding box lies at the origin, and its farthest vertex at 1."""
        return dataclasses.replace(self, vertices=in_unit_ball(self.vertices))

    def draw(self, matrix: Float64[np.ndarray, "4 4"], eye: Any, focal: float, cells: int, depth: Any, hit: Any, where: Any) -> None:
        """See `manyviews.data.rasterising`."""
        rasterising.triangles(self.vertices, self.faces, matrix, depth, hit, where)


def in_unit_ball(points: Float[np.ndarray, "points 3"]) -> Float64[np.ndarray, "points 3"]:
    """The middle of their bounding box at the origin, the farthest at 1."""
    moved = points.astype(np.float64) - (points.min(0) + points.max(0)) / 2
    radius = np.linalg.norm(moved, axis=1).max()
    return moved / radius if radius > 0 else moved


def crossed(vertices: Float[np.ndarray, "vertices 3"], faces: Int32[np.ndarray, "faces 3"]) -> Float[np.ndarray, "faces 3"]:
    """The normal of each triangle, twice its area long."""
    a, b, c = vertices[faces[:, 0]], vertices[faces[:, 1]], vertices[faces[:, 2]]
    return np.cross(b - a, c - a)


def mesh_of(vertices: Any, faces: Any, colours: Any = GREY) -> Mesh:
    """A mesh of arrays of any numbers, in the frame they are in. Raises ValueError where nothing that can be drawn is left.

    colours: 0 to 255; one (3,), one a vertex (vertices, 3), a face (faces, 1, 3) or a corner (faces, 3, 3). Vertices that no face has and faces without
    area are left out.
    """
    vertices, faces = np.array(vertices, np.float64).reshape(-1, 3), np.array(faces, np.int64).reshape(-1, 3)
    if len(faces) and (faces.min() < 0 or faces.max() >= len(vertices)):
        raise ValueError(f"triangles of vertices {faces.min()} to {faces.max()}, where there are 0 to {len(vertices) - 1}")
    given = np.asarray(colours)
    corners = given[faces] if given.ndim == 2 else np.broadcast_to(given, (len(faces), 3, 3))
    used, numbers = np.unique(faces, return_inverse=True)
    kept = Mesh(vertices[used], numbers.reshape(-1, 3).astype(np.int32), np.array(corners, np.uint8))
    moved = kept.vertices - kept.vertices[0]
    whole = crossed(moved / (np.abs(moved).max() or 1.0), kept.faces).any(1)
    if not whole.any():
        raise ValueError(f"none of its {len(faces):,} triangles has an area")
    return kept if whole.all() else dataclasses.replace(kept, faces=kept.faces[whole], colours=kept.colours[whole])


# --- files ------------------------------------------------------------------------------------------------------------------------------------


class Files(folder.Files):
    """Files that are read with what lies beside them, so that a sample is a path."""

    def raw(self, row: int) -> Path:
        return Path(os.fsdecode(os.path.join(self.prefix, self.paths[row].as_py())))


def meshes(path: Path | str) -> Data:
    """The meshes of a folder, or one; class folders are labels. A sample is a `Mesh` in its own frame. Raises InputError."""
    path = Path(path)
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return Data(Files(path.absolute().parent, folder.column([os.fsencode(path.name)]), f"file {path}"), decode, "meshes")
    found = folder.folder(path, SUFFIXES) if path.is_dir() else None
    if found is None:
        raise InputError(f"{path} has no meshes; looked for, at any depth: {' '.join(SUFFIXES)}")
    files, columns, classes = found
    return Data(Files(files.root, files.paths, files.what), decode, "meshes", columns, classes)


def decode(raw: Any, pixels: int = 0, channels: int = 0, bits: int = 0) -> Any:
    """A mesh file by its path, or a `Mesh`; the three numbers mean nothing here. Raises Unreadable."""
    return raw if isinstance(raw, Mesh) else read(Path(raw))


def file_bytes(raw: Any, pixels: int = 0, channels: int = 0, bits: int = 0) -> np.ndarray:
    """What is in a file, to tell which are the same. Raises Unreadable."""
    return np.frombuffer(content(Path(raw)), np.uint8)


def content(path: Path) -> bytes:
    """All bytes of a file. Raises Unreadable."""
    if path.is_file() and path.stat().st_size > LARGEST:
        raise Unreadable(f"a file of {path.stat().st_size / 1e9:.1f} GB; meshes of more than {LARGEST / 1e9:.1f} GB must be reduced first")
    return folder.content(path)


def read(path: Path) -> Mesh:
    """The mesh in a file, in its own frame and units. Raises Unreadable with the reason."""
    import trimesh

    kind, raw = path.suffix.lower().removeprefix("."), content(path)
    if not raw.strip():
        raise Unreadable("empty file")
    found = recognised(raw)
    if f".{kind}" not in SUFFIXES or (found and found != kind):
        is_ = f"what is in it is a .{found} file: rename it" if found else f"meshes end in {' '.join(SUFFIXES)}"
        raise Unreadable(f"named {path.suffix or 'without an ending'}, but {is_}")
    beside: Any = Beside(path.parent)
    try:
        return flattened(trimesh.load_scene(io.BytesIO(raw), file_type=kind, resolver=beside, process=False))
    except Unreadable:
        raise
    except Exception as error:  # readers of broken files fail in every way there is
        raise Unreadable(f"no .{kind} file that can be read: {type(error).__name__}: {error}"[:300]) from None


def recognised(raw: bytes) -> str:
    """The kind of mesh file that the first bytes show, or nothing."""
    start = raw[:1024].lstrip()
    if raw.startswith(b"glTF"):
        return "glb"
    if start.startswith((b"ply\n", b"ply\r")):
        return "ply"
    if start.startswith((b"OFF", b"COFF", b"NOFF")):
        return "off"
    if start.startswith(b"{") and b'"asset"' in raw:
        return "gltf"
    if len(raw) >= 84 and 84 + 50 * int.from_bytes(raw[80:84], "little") == len(raw):
        return "stl"
    if start.startswith(b"solid") and b"facet" in raw[:4096]:
        return "stl"
    return "obj" if start.startswith((b"mtllib ", b"v ", b"vn ", b"vt ")) else ""


class Beside:
    """Gives a reader the files that a mesh names, from its own folder and below it, and from nowhere else."""

    def __init__(self, home: Path):
        self.home = home.resolve()

    def get(self, name: str) -> bytes:
        """Raises FileNotFoundError. A path of another machine is looked up by its last part."""
        name = name.strip().replace("\\", "/")
        for candidate in (name, name.rsplit("/", 1)[-1]):
            path = (self.home / candidate).resolve()
            if path.is_relative_to(self.home) and path.is_file() and path.stat().st_size <= LARGEST:
                return path.read_bytes()
        raise FileNotFoundError(name)

    __getitem__ = get


def flattened(scene: Any) -> Mesh:
    """All triangles of a trimesh scene in one frame. Raises Unreadable."""
    import trimesh

    nodes = [scene.graph[name] for name in scene.graph.nodes_geometry]
    parts = [(matrix, scene.geometry[name]) for matrix, name in nodes if isinstance(scene.geometry[name], trimesh.Trimesh)]
    count = sum(len(part.faces) for _, part in parts)
    if count > MOST:
        raise Unreadable(f"{count:,} triangles; meshes of more than {MOST:,} must be reduced first")
    if not count:
        points = sum(len(getattr(g, "vertices", ())) for g in scene.geometry.values())
        raise Unreadable(f"{points:,} points without faces: a point cloud, no mesh" if points else "no triangles in it")
    vertices, faces, colours, start = [], [], [], 0
    for matrix, part in parts:
        vertices.append(part.vertices @ matrix[:3, :3].T + matrix[:3, 3])
        faces.append(np.asarray(part.faces) + start)
        colours.append(corner_colours(part))
        start += len(part.vertices)
    try:
        return mesh_of(np.concatenate(vertices), np.concatenate(faces), np.concatenate(colours))
    except ValueError as reason:
        raise Unreadable(str(reason)) from None


def corner_colours(part: Any) -> UInt8[np.ndarray, "faces 3 3"]:
    """Of each corner of each face of a trimesh; grey where nothing is known."""
    visual, colours = part.visual, None
    if visual.kind == "face":
        colours = np.asarray(visual.face_colors)[:, None, :3]
    elif visual.kind == "vertex":
        colours = np.asarray(visual.vertex_colors)[part.faces][..., :3]
    elif visual.kind == "texture":
        colours = painted(visual, part)
    return np.array(np.broadcast_to(GREY if colours is None else colours, (len(part.faces), 3, 3)), np.uint8)


def painted(visual: Any, part: Any) -> Shaped[np.ndarray, "..."] | None:
    """The texture at the corners of each face, or one colour of the material; None where the file gives neither."""
    looked_up = visual.material.to_color(visual.uv) if visual.uv is not None else None
    if looked_up is not None and np.shape(looked_up) == (len(part.vertices), 4):
        colours = np.asarray(looked_up)[part.faces][..., :3]
    else:
        colours = np.asarray(visual.material.main_color)[:3]
    stands_in = (colours == 100).all() or (colours == 102).all()  # what trimesh takes where nothing is said
    return None if stands_in else colours
