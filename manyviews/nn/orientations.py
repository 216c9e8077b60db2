"""Grids of orientations: the rotations of regular bodies, their corners, and what is near enough to even where there is no such body."""

from __future__ import annotations

import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor

from manyviews.errors import InputError
from manyviews.groups import Cyclic
from manyviews.groups.lie import turn_space

GOLDEN = (1 + math.sqrt(5)) / 2
CORNERS = {4: (12, (1.0, 1.0, 1.0)), 6: (24, (0.0, 0.0, 1.0)), 8: (24, (1.0, 1.0, 1.0)), 12: (60, (0.0, 1.0, GOLDEN)), 20: (60, (1.0, 1.0, 1.0))}


@functools.cache
def turns(order: int) -> Float[Tensor, "order 3 3"]:
    """The rotations of the tetrahedron (12), the cube (24) or the icosahedron (60), in float64: all that two of them make."""
    third = (torch.ones(3, dtype=torch.float64) / math.sqrt(3), math.tau / 3)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    fifth = torch.tensor([0.0, 1.0, GOLDEN], dtype=torch.float64)
    other = {12: (up, math.pi), 24: (up, math.pi / 2), 60: (fifth / fifth.norm(), math.tau / 5)}[order]
    steps = torch.stack([turn_space(axis * angle) for axis, angle in (third, other)])
    found = torch.eye(3, dtype=torch.float64)[None]
    while len(found) < order:
        found = apart(torch.cat([found, (steps[:, None] @ found).flatten(0, 1)]))
    return found


def apart(x: Float[Tensor, "count *shape"]) -> Float[Tensor, "kept *shape"]:
    """The rows that are not those before them again."""
    same = (x.flatten(1)[:, None] - x.flatten(1)).abs().amax(2) < 1e-6
    return x[same.int().argmax(1) == torch.arange(len(x))]


def vectors_on(count: int) -> Float[Tensor, "count 3"]:
    """Unit vectors in float64: the corners of a regular body (4, 6, 8, 12 or 20), or places on a spiral, each with an equal share of the sphere."""
    if count < 1:
        raise InputError(f"a grid of {count} orientations: 1 is the least")
    if count in CORNERS:
        order, first = CORNERS[count]
        return apart(turns(order) @ torch.nn.functional.normalize(torch.tensor(first, dtype=torch.float64), dim=0))
    k = torch.arange(count, dtype=torch.float64)
    height, angle = 1 - (2 * k + 1) / count, math.tau * k / GOLDEN
    radius = (1 - height.square()).sqrt()
    return torch.stack([angle.cos() * radius, angle.sin() * radius, height], -1)


def frames_on(count: int, axes: int) -> Float[Tensor, "count axes axes"]:
    """Frames in float64, their axes as rows: `count` turns of the plane, or the 12, 24 or 60 rotations of a regular body. Raises InputError."""
    if axes == 2:
        return Cyclic(n=count).elements(torch.float64).matrix[:, :2, :2].mT
    if count not in (12, 24, 60):
        raise InputError(f"a grid of {count} rotations: there are those of the tetrahedron, the cube and the icosahedron, 12, 24 and 60")
    return turns(count).mT
