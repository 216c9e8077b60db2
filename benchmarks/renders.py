"""Renders: how many views a second are made, beside rays cast by Embree with the same shading.

    MANYVIEWS_DATA=... python benchmarks/renders.py    # a minute; kaykit_cc0 and shapes69 where they are there, else made-up meshes
    python benchmarks/renders.py --small               # a few views, a few seconds

Views of 64 pixels; "4 samples" and "1 sample" are of colour in a pixel. "core" counts processor time of one thread, so that other work on the machine
matters little; "two threads" is time on the clock, as a training's readers do it: run it on a quiet machine. Both have the meshes at hand; "read" has them
read from their files first, for 12 views each, in processor time of one thread. Embree's side casts one ray a sample and is shaded by our own kernel; its
trees over the triangles count in "read" alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from manyviews.data import rasterising
from manyviews.data.mesh_files import Mesh, read
from manyviews.data.poses import uniform
from manyviews.data.rendering import Camera
from manyviews.data.renders import renders

GOAL = 1500  # views of 64 pixels a second, on two cores
VIEWS = 12


def made_up(folder: Path) -> Path:
    """Files of 320 to 20,480 triangles."""
    import trimesh

    for k in range(12):
        mesh = trimesh.creation.icosphere(2 + k % 4)
        mesh.vertices *= 1 + 0.5 * np.sin(5 * mesh.vertices[:, [1, 2, 0]] + k)
        mesh.export(folder / f"{k}.ply")
    return folder


def sources(folder: Path) -> dict[str, Path]:
    """Name -> folder of meshes."""
    found = {"made-up": made_up(folder)}
    root = Path(os.environ.get("MANYVIEWS_DATA", ""))
    for name, place in {"kaykit_cc0": "kaykit_cc0", "shapes69": "shapes69/meshes/test"}.items():
        if os.environ.get("MANYVIEWS_DATA") and (root / place).is_dir():
            found[name] = root / place
    return found


class Embree:
    """The same views through embreex."""

    def __init__(self, mesh: Mesh, samples: int):
        from embreex import rtcore_scene
        from embreex.mesh_construction import TriangleMesh

        self.mesh, self.camera, self.samples = mesh, Camera(), samples
        self.scene = rtcore_scene.EmbreeScene()
        TriangleMesh(self.scene, mesh.vertices.astype(np.float32), mesh.faces)
        self.scene.run(np.zeros((1, 3), np.float32), np.ones((1, 3), np.float32))  # builds the tree
        side = 64 * samples
        column, row = np.meshgrid((np.arange(side) + 0.5) / samples, (np.arange(side) + 0.5) / samples)
        cells = np.stack([column, row, np.ones_like(row)], -1).reshape(-1, 3)
        self.start, self.ahead = (cells @ a.T for a in self.camera.rays)

    def view(self, turn: np.ndarray, picture: np.ndarray) -> None:
        start, ahead = (np.ascontiguousarray(a @ turn, np.float32) for a in (self.start, self.ahead))
        found = self.scene.run(start, ahead, output=True)
        back = np.einsum("ij,ij->i", found["Ng"], ahead) > 0
        hit = np.where(back, -(found["primID"] + 1), found["primID"] + 1).astype(np.int32)
        side = 64 * self.samples
        where = np.stack([found["u"], found["v"]], 1).reshape(side, side, 2)
        light, even, white = turn.T @ np.array([-0.4, 0.8, 0.7]) / 1.136, np.full(3, 0.7), np.full(3, 255.0)
        dark, ground = np.zeros((side, side), np.bool_), np.zeros((2, 3))
        hit = hit.reshape(side, side)
        rasterising.shaded(hit, where, dark, self.mesh.colours, self.mesh.normals, light, 0.0, even, even / 2, white, ground, self.samples, picture)


def rate(work: Callable[[], Any], count: int, clock: Callable[[], float]) -> float:
    start = clock()
    work()
    return count / (clock() - start)


def ours(folder: Path, objects: int, **settings: Any) -> dict[str, float]:
    """Views a second of the first `objects` meshes."""
    data = renders(folder, views=VIEWS, **settings)
    rows = np.arange(min(len(data), objects * VIEWS))
    cold = rate(lambda: [data.store.raw(row) for row in rows.tolist()], len(rows), time.process_time)
    warm = rate(lambda: [data.store.raw(row) for row in rows.tolist()], len(rows), time.process_time)
    with ThreadPoolExecutor(2) as pool:
        parts = [part.tolist() for part in np.array_split(rows, max(2, len(rows) // 64))]
        two = rate(lambda: list(pool.map(lambda part: [data.store.raw(row) for row in part], parts)), len(rows), time.perf_counter)
    return {"core": warm, "two threads": two, "read": cold}


def beside(folder: Path, objects: int, samples: int) -> dict[str, float]:
    """The same through Embree, on one thread."""
    files = renders(folder, views=VIEWS).store.objects.store  # type: ignore[attr-defined]
    paths = [files.raw(row) for row in range(min(len(files), objects))]
    turns, picture = uniform(np.arange(len(paths)), VIEWS, 0), np.empty((64, 64, 3), np.uint8)
    scenes: list[Embree] = []

    def views() -> None:
        for scene, own in zip(scenes, turns, strict=True):
            for turn in own:
                scene.view(turn, picture)

    start = time.process_time()
    scenes += [Embree(read(path).normalised(), samples) for path in paths]
    before = time.process_time() - start
    count = len(paths) * VIEWS
    warm = rate(views, count, time.process_time)
    return {"core": warm, "read": count / (before + count / warm)}


def measure(rounds: int, objects: int) -> dict[str, dict[str, float]]:
    """Name -> rates, medians over rounds; both sides take turns."""
    sides: dict[str, Callable[[Path], dict[str, float]]] = {
        "4 samples": lambda folder: ours(folder, objects),
        "4 samples, Embree": lambda folder: beside(folder, objects, 2),
        "1 sample": lambda folder: ours(folder, objects, samples=1),
        "1 sample, Embree": lambda folder: beside(folder, objects, 1),
        "depth": lambda folder: ours(folder, objects, shows="depth"),
        "3diebench, with shadows": lambda folder: ours(folder, objects, look="3diebench", poses="half_turns"),
    }
    table = {}
    with tempfile.TemporaryDirectory() as temporary:
        for place, folder in sources(Path(temporary)).items():
            for side in sides.values():
                side(folder)  # compiles, and finds out which files are the same
            found = [{name: side(folder) for name, side in sides.items()} for _ in range(rounds)]
            for name in sides:
                table[f"{place}: {name}"] = {key: statistics.median(f[name][key] for f in found) for key in found[0][name]}
    return table


def main(argv: list[str] | None = None) -> dict[str, dict[str, float]]:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a few views: shows that it runs, measures little")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the table there as well")
    args = parser.parse_args(argv)
    table = measure(1 if args.small else args.rounds, 2 if args.small else 48)
    print(f"{'views a second':40s} {'core':>8s} {'two threads':>12s} {'read':>8s}   goal {GOAL:,} on two cores")
    for name, row in table.items():
        print(
            f"{name:40s} "
            + " ".join(f"{row[key]:{width},.0f}" if key in row else " " * width for key, width in (("core", 8), ("two threads", 12), ("read", 8)))
        )
    if args.json:
        args.json.write_text(json.dumps(table, indent=2), encoding="utf-8")
    return table


if __name__ == "__main__":
    main()
