"""The built-in data set: 24 made-up objects, seen under changing pose, light and background. The object is the class.

Each object is two to four primitive solids put together once, by a fixed seed. Each view draws a rotation (yaw up to 0.8 rad, tilt up to 0.4 rad), a
size and a place in the picture, a light direction, colours and a background colour. Rays are cast by Embree, four a pixel; 160 training and 40 test
views an object, 32 x 32. Nothing is downloaded and nothing is stored: the same pictures are made on every machine in a few seconds.
"""

from __future__ import annotations

import functools

import numpy as np

from manyviews.data.arrays import Array
from manyviews.data.dataset import Data
from manyviews.data.images import decode

OBJECTS, TRAIN, TEST, SIDE, SEED = 24, 160, 40, 32, 20240


def solids(rng: np.random.Generator) -> list:
    """Two to four boxes, cylinders, cones, spheres, capsules and rings around a common centre."""
    import trimesh
    from trimesh import creation

    makers = [
        lambda: creation.box(extents=rng.uniform(0.3, 1.1, 3)),
        lambda: creation.cylinder(radius=rng.uniform(0.15, 0.45), height=rng.uniform(0.3, 1.2), sections=24),
        lambda: creation.cone(radius=rng.uniform(0.25, 0.55), height=rng.uniform(0.4, 1.2), sections=24),
        lambda: creation.icosphere(subdivisions=2, radius=rng.uniform(0.2, 0.5)),
        lambda: creation.capsule(radius=rng.uniform(0.12, 0.3), height=rng.uniform(0.4, 1.0), count=(12, 12)),
        lambda: creation.torus(major_radius=rng.uniform(0.3, 0.55), minor_radius=rng.uniform(0.08, 0.16), major_sections=20, minor_sections=10),
    ]
    parts = []
    for kind in rng.permutation(len(makers))[: rng.integers(2, 5)]:
        mesh = makers[kind]()
        mesh.apply_transform(trimesh.transformations.random_rotation_matrix(rng.random(3)))
        mesh.apply_translation(rng.uniform(-0.45, 0.45, 3))
        parts.append(mesh)
    centre = np.mean([m.centroid for m in parts], 0)
    radius = max(np.linalg.norm(m.vertices - centre, axis=1).max() for m in parts)
    for mesh in parts:
        mesh.apply_translation(-centre)
        mesh.apply_scale(1 / radius)
    return parts


def rotations(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 3, 3): a yaw of up to 0.8 rad about the vertical, then a tilt of up to 0.4 rad about a horizontal axis."""
    yaw, tilt = rng.uniform(-0.8, 0.8, count), rng.uniform(-0.4, 0.4, count)
    zero, one = np.zeros(count), np.ones(count)
    about_y = np.array([[np.cos(yaw), zero, np.sin(yaw)], [zero, one, zero], [-np.sin(yaw), zero, np.cos(yaw)]])
    about_x = np.array([[one, zero, zero], [zero, np.cos(tilt), -np.sin(tilt)], [zero, np.sin(tilt), np.cos(tilt)]])
    return np.einsum("ijn,jkn->nik", about_x, about_y)


def render(parts: list, rng: np.random.Generator, count: int, side: int) -> np.ndarray:
    """uint8 (count, side, side, 3): orthographic views of one object, shaded by one light and some ambience."""
    from embreex import rtcore_scene
    from embreex.mesh_construction import TriangleMesh

    scene = rtcore_scene.EmbreeScene()
    triangles = np.concatenate([m.triangles for m in parts])
    owner = np.concatenate([np.full(len(m.faces), k) for k, m in enumerate(parts)])
    normals = np.concatenate([m.face_normals for m in parts])
    TriangleMesh(scene, np.ascontiguousarray(triangles, dtype=np.float32))

    fine = 2 * side
    axis = (np.arange(fine) + 0.5) / fine * 2.2 - 1.1
    px, py = np.meshgrid(axis, -axis)
    pixels = np.stack([px, py, np.full_like(px, 3.0)], -1).reshape(-1, 3)
    turn = rotations(rng, count)
    light = rng.normal((0, 0.8, 1.5), size=(count, 3))
    light /= np.linalg.norm(light, axis=1, keepdims=True)
    colours = np.clip(rng.uniform(0.25, 1, (count, 1, 3)) + rng.normal(0, 0.08, (count, len(parts), 3)), 0, 1)
    background = rng.uniform(0, 1, (count, 3))
    zoom = rng.uniform(1.0, 1.2, count)
    shift = rng.uniform(-1, 1, (count, 2)) * (1.1 * zoom - 1.0)[:, None]
    views = np.empty((count, side, side, 3), np.uint8)
    for k in range(count):
        origins = (pixels * [zoom[k], zoom[k], 1] + [*shift[k], 0]) @ turn[k]  # rays in the object's frame: the transpose of the rotation
        towards = np.broadcast_to(np.array([0.0, 0, -1]) @ turn[k], origins.shape)
        hit = scene.run(np.ascontiguousarray(origins, np.float32), np.ascontiguousarray(towards, np.float32))
        there = hit >= 0
        shade = np.abs(normals[hit] @ turn[k].T @ light[k]) * 0.75 + 0.25
        colour = np.tile(background[k], (fine * fine, 1))
        colour[there] = (colours[k][owner[hit]] * shade[:, None])[there]
        views[k] = (255 * colour).reshape(side, 2, side, 2, 3).mean((1, 3)) + 0.5
    return views


@functools.lru_cache(maxsize=1)
def pictures() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All views, their objects, and their split."""
    views, labels, splits = [], [], []
    for k in range(OBJECTS):
        rng = np.random.default_rng([SEED, k])
        views.append(render(solids(rng), rng, TRAIN + TEST, SIDE))
        labels.append(np.full(TRAIN + TEST, k))
        splits.append(np.array(["train"] * TRAIN + ["test"] * TEST))
    return np.concatenate(views), np.concatenate(labels), np.concatenate(splits)


def builtin() -> Data:
    """4,800 pictures with labels and a split."""
    views, labels, splits = pictures()
    names = [f"object_{k:02d}" for k in range(OBJECTS)]
    return Data(Array(views, "the built-in set"), decode, "images", {"label": labels, "split": splits}, names)
