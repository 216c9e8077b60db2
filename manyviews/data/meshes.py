"""Triangle meshes, seen as points of their surface: .off, .obj and .stl through trimesh, and the faces of a .ply."""

from __future__ import annotations

import functools
import io
import logging
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from manyviews.data import ply
from manyviews.data.dataset import Unreadable
from manyviews.data.point_files import COLOURS, NORMALS, POSITIONS, Columns, lightness, named, text

SAMPLED = 2048  # points of a surface where nobody says how many


def of_file(raw: Any, kind: str, count: int, key: int) -> Columns:
    """`count` points of the surface in a file of trimesh's `kind` (off, obj, stl, stl_ascii), or its vertices where there are no faces. Raises Unreadable."""
    if kind == "obj" and b"\nf" not in raw[:]:
        return loose(raw)
    options: dict[str, Any] = {"skip_materials": True, "group_material": False} if kind == "obj" else {}
    try:
        mesh: Any = reader().load_mesh(io.BytesIO(raw), file_type=kind, process=False, **options)
        vertices, triangles = np.asarray(mesh.vertices, np.float64).reshape(-1, 3), np.asarray(mesh.faces, np.int64).reshape(-1, 3)
        shown = mesh.visual.kind
        colours = mesh.visual.vertex_colors if shown == "vertex" else mesh.visual.face_colors if shown == "face" else None
    except Exception as error:  # trimesh raises many kinds on damaged files
        raise Unreadable(f"{kind.upper()[:3]}: {type(error).__name__}: {error}") from None
    if not len(triangles):
        return dict(zip(POSITIONS, vertices.T, strict=True))
    return sampled(vertices, triangles, count, key, None if colours is None else lightness(np.asarray(colours)[:, :3]), shown == "face")


@functools.cache
def reader() -> ModuleType:
    """trimesh, kept from printing what it logs of damaged files: the reason is raised."""
    import trimesh

    logging.getLogger("trimesh").addHandler(logging.NullHandler())
    return trimesh


def loose(raw: Any) -> Columns:
    """The vertices of an .obj without faces; six numbers are a position and a colour. Raises Unreadable."""
    lines = [line[2:] for line in raw[:].splitlines() if line[:2] in (b"v ", b"v\t")]
    if not lines:
        raise Unreadable("OBJ: no vertices")
    return text(b"\n".join(lines))


def of_ply(elements: Mapping[str, Mapping[str, Any]], count: int, key: int) -> Columns:
    """The vertices of a .ply, or, where it has faces, `count` points of its surface. Raises Unreadable."""
    columns = named(elements.get("vertex", {}))
    missing = [axis for axis in POSITIONS if axis not in columns]
    if missing:
        raise Unreadable(f"PLY: the vertices have no {' '.join(missing)}")
    triangles, owners = ply.triangles(elements.get("face", {}))
    if not len(triangles) or not len(columns["x"]):
        return columns
    by_face = named(elements["face"])
    source = columns if "red" in columns else {name: by_face[name][owners] for name in COLOURS if name in by_face}
    colours = np.stack([lightness(source[name]) for name in COLOURS], 1) if all(name in source for name in COLOURS) else None
    vertices = np.stack([columns[axis] for axis in POSITIONS], 1).astype(np.float64)
    return sampled(vertices, triangles, count, key, colours, "red" not in columns)


def sampled(
    vertices: Float[np.ndarray, "vertices 3"],
    triangles: Int[np.ndarray, "triangles 3"],
    count: int,
    key: int,
    colours: Float[np.ndarray, "coloured 3"] | None = None,
    by_triangle: bool = False,
) -> Columns:
    """Points drawn uniformly from the surface, with the normal of their triangle, by `key`; of a larger `count` the first are the same. Raises Unreadable.

    colours: of the vertices, to be interpolated, or of the triangles.
    """
    if triangles.min() < 0 or triangles.max() >= len(vertices):
        wrong = int(triangles.max() if triangles.max() >= len(vertices) else triangles.min())
        raise Unreadable(f"a face refers to vertex {wrong:,} of {len(vertices):,}")
    corners = vertices[triangles]
    edge, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    across = np.cross(edge, other)
    area = np.linalg.norm(across, axis=1)
    area[~np.isfinite(area)] = 0
    total = np.cumsum(area)
    if not total[-1] > 0:
        raise Unreadable(f"none of its {len(triangles):,} triangles has an area")
    draws = np.random.default_rng(key).random((count, 3))
    which = np.searchsorted(total, draws[:, 0] * total[-1], side="right").clip(max=int(np.flatnonzero(area)[-1]))
    root = np.sqrt(draws[:, 1])
    weights = np.stack([1 - root, root * (1 - draws[:, 2]), root * draws[:, 2]], 1)  # of the three corners
    points = np.einsum("pk,pkc->pc", weights, corners[which])
    columns = dict(zip(POSITIONS + NORMALS, np.concatenate([points, across[which] / area[which, None]], 1).T, strict=True))
    if colours is not None:
        shown = colours[which] if by_triangle else np.einsum("pk,pkc->pc", weights, colours[triangles[which]])
        columns |= dict(zip(COLOURS, shown.T, strict=True))
    return columns
