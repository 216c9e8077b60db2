"""The built-in view sets: the shapes of the built-in clouds as solid meshes, each seen from eight random sides in 32 x 32 pixels. The kind is the class.

20 training and 5 test objects of each of the 20 kinds, in changing proportions (see `manyviews.data.builtin_points`), in a studio with one lamp, without
colours of their own. Which side a picture shows is not told. Nothing is downloaded and nothing is stored: all are rendered in about three seconds.
"""

from __future__ import annotations

import functools

import numpy as np

from manyviews.data import builtin_points as shapes
from manyviews.data import mesh_files, renders
from manyviews.data.dataset import Data

TRAIN, TEST, VIEWS, SIDE = 20, 5, 8, 32


class Solids:
    """A store of meshes."""

    def __len__(self) -> int:
        return len(shapes.KINDS) * (TRAIN + TEST)

    def raw(self, row: int) -> mesh_files.Mesh:
        return solid(*divmod(row, TRAIN + TEST))

    def name(self, row: int) -> str:
        kind, number = divmod(row, TRAIN + TEST)
        return f"{shapes.KINDS[kind].__name__} {number}"

    def describe(self) -> str:
        return "the built-in set of shapes"

    def fingerprint(self) -> str:
        return f"solids/1/{shapes.SEED}/{TRAIN}/{TEST}"


@functools.lru_cache(maxsize=1024)
def solid(kind: int, number: int) -> mesh_files.Mesh:
    """One mesh of a kind."""
    r = np.random.default_rng([shapes.SEED, kind, number])
    triangles = shapes.KINDS[kind](r) @ shapes.pose(r).T
    return mesh_files.mesh_of(triangles.reshape(-1, 3), np.arange(3 * len(triangles)).reshape(-1, 3))


def builtin_solids() -> Data:
    """The meshes with labels and a split."""
    kinds = len(shapes.KINDS)
    columns = {"label": np.repeat(np.arange(kinds), TRAIN + TEST), "split": np.tile(np.array(["train"] * TRAIN + ["test"] * TEST, dtype=object), kinds)}
    return Data(Solids(), mesh_files.decode, "meshes", columns, [kind.__name__ for kind in shapes.KINDS])


def builtin_view_sets() -> Data:
    """The rendered sets with labels and a split."""
    return renders.view_sets(renders.renders(builtin_solids(), views=VIEWS, side=SIDE))
