"""Layers of points that are equivariant to each part's own motion: one network for all parts, averaged over the frames of each (see `apen`).

Parts are hard: each point is in one. Where a part has no unique frame (fewer than three points, or points on a line), vectors are 0 to it: in what is
seen of its points alone the choice of axes cancels, but vectors could point where no axis is fixed.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from manyviews.backbones.pointnet import shared
from manyviews.groups import Affine, Fields, Group, Together, find, trivial
from manyviews.nn.frames import principal_frames
from manyviews.nn.neighbours import group

FAR = 1e3  # what is added to squared distances between parts


class Partition(NamedTuple):
    """A part for each point, and how sure that is. `weight` is 1, with the gradient of the probability."""

    part: Int[Tensor, "batch n"]
    weight: Float[Tensor, "batch n"]
    probability: Float[Tensor, "batch n parts"]

    def onehot(self) -> Float[Tensor, "batch parts n"]:
        return F.one_hot(self.part, self.probability.shape[-1]).to(self.probability.dtype).mT


def given_partition(part: Int[Tensor, "batch n"], parts: int, dtype: torch.dtype = torch.float32) -> Partition:
    """What is known for certain."""
    return Partition(part, torch.ones_like(part, dtype=dtype), F.one_hot(part, parts).to(dtype))


class Said(NamedTuple):
    """What a layer says of each point: numbers that stay, vectors that turn with the point's part, and where it thinks the part's centre is."""

    scalars: Float[Tensor, "batch n scalars"]
    vectors: Float[Tensor, "batch n vectors 3"]
    votes: Float[Tensor, "batch n 3"]


class Piecewise(nn.Module):
    """One network of points for all parts, each in its own frames, averaged over them: exactly equivariant to motions of the parts it is given.

    inside, outside: (scalars, vectors) a point. width: of the perceptrons. near: of how many nearest points of the part each point sees the places.
    reflections: whether parts may be mirrored (8 frames) or not (4).
    """

    def __init__(self, inside: tuple[int, int], outside: tuple[int, int], width: int = 64, near: int = 10, reflections: bool = False):
        super().__init__()
        self.near, self.reflections, self.outside = near, reflections, outside
        self.local = shared(3 + 3 * near + inside[0] + 3 * inside[1], width, width, 2 * width)
        self.deep = shared(4 * width, 2 * width, width)
        self.last = nn.Linear(width, outside[0] + 3 * outside[1] + 3)

    def forward(
        self,
        points: Float[Tensor, "batch n 3"],
        partition: Partition,
        scalars: Float[Tensor, "batch n scalars"] | None = None,
        vectors: Float[Tensor, "batch n vectors 3"] | None = None,
    ) -> Said:
        onehot = partition.onehot()
        frames = principal_frames(points[:, None].expand(-1, onehot.shape[1], -1, -1), onehot, self.reflections)
        turn = at_points(frames.axes, partition.part)  # (batch, n, frames, 3, 3): of each point the frames of its part
        centred = points - at_points(frames.origin, partition.part)
        if vectors is not None:
            vectors = vectors * (~at_points(frames.ambiguous, partition.part))[..., None, None]
        seen = [centred[:, :, None], self.neighbours(points, partition.part) - points[:, :, None]]
        turned = torch.cat([*seen, *([] if vectors is None else [vectors])], 2)[:, :, None] @ turn
        kept = [] if scalars is None else [scalars[:, :, None].expand(-1, -1, frames.count, -1)]
        t = self.local(torch.cat([turned.flatten(-2), *kept], -1))
        out = self.last(self.deep(torch.cat([t, at_points(pooled(t, onehot), partition.part)], -1))) * partition.weight[..., None, None]
        count, many = self.outside
        arrows = (out[..., count:].unflatten(-1, (many + 1, 3)) @ turn.mT).mean(2)
        return Said(out[..., :count].mean(2), arrows[:, :, :many], points + arrows[:, :, many])

    def neighbours(self, points: Float[Tensor, "batch n 3"], part: Int[Tensor, "batch n"]) -> Float[Tensor, "batch n near 3"]:
        """The nearest points of the same part; the point itself where there are too few."""
        other = part[:, :, None] != part[:, None]
        square = squares(points, points) + FAR**2 * other
        rows = square.topk(min(self.near, points.shape[1]), largest=False).indices
        own = torch.arange(points.shape[1], device=points.device)[:, None].expand_as(rows)
        rows = torch.where(other.gather(2, rows), own, rows)
        rows = F.pad(rows, (0, self.near - rows.shape[2]), mode="replicate") if rows.shape[2] < self.near else rows
        return group(points, rows)


def squares(a: Float[Tensor, "batch n 3"], b: Float[Tensor, "batch m 3"]) -> Float[Tensor, "batch n m"]:
    """Squared distances, axis by axis: exact where they are small, and no array is larger than what is returned."""
    x, y, z = ((a[:, :, None, k] - b[:, None, :, k]).square() for k in range(3))
    return x + y + z


def at_points(x: Shaped[Tensor, "batch parts *rest"], part: Int[Tensor, "batch n"]) -> Shaped[Tensor, "batch n *rest"]:
    """What each point's part has."""
    return x[torch.arange(len(x), device=x.device)[:, None], part]


def pooled(t: Float[Tensor, "batch n *rest"], onehot: Float[Tensor, "batch parts n"]) -> Float[Tensor, "batch parts *rest"]:
    """The mean over each part's points; 0 for parts without any."""
    mean = (onehot @ t.flatten(2)) / onehot.sum(-1).clamp(min=1)[..., None]
    return mean.unflatten(2, t.shape[2:])


# --- for the test of all layers ---


@dataclasses.dataclass(frozen=True)
class Pieces:
    """Points or vectors of two parts, one after the other, each half moved by its own element: the second half by that of the next sample."""

    group: Group
    modality: str
    shape: tuple[int, ...]

    def act(self, g: Affine, x: Tensor) -> Tensor:
        half = x.shape[1] // 2
        other = Affine(g.matrix.roll(1, 0))
        moved = [self.group.act(element, part.flatten(1, -2), self.modality).view_as(part) for element, part in ((g, x[:, :half]), (other, x[:, half:]))]
        return torch.cat(moved, 1)

    def draw(self, count: int, generator: torch.Generator | None, dtype: torch.dtype) -> Tensor:
        return torch.randn(count, *self.shape, generator=generator, dtype=torch.float64).to(dtype)


class WithTruth(nn.Module):
    """A layer whose points are of two parts, one after the other."""

    def __init__(self, reflections: bool, n: int = 12):
        super().__init__()
        self.layer, group = Piecewise((2, 2), (3, 2), 16, 4, reflections), find("e3" if reflections else "se3")
        points, vectors = Pieces(group, "points", (n, 3)), Pieces(group, "vectors", (n, 2, 3))
        self.in_rep = Together((points, Fields(trivial(group, 2), (n,)), vectors))
        self.out_rep = Together((Fields(trivial(group, 3), (n,)), vectors, points))

    def forward(self, points: Tensor, scalars: Tensor, vectors: Tensor) -> tuple[Tensor, ...]:
        part = (torch.arange(points.shape[1], device=points.device) >= points.shape[1] // 2).long().expand(len(points), -1)
        return tuple(self.layer(points, given_partition(part, 2, points.dtype), scalars, vectors))


def layers() -> dict[str, nn.Module]:
    return {"se3": WithTruth(False), "e3": WithTruth(True)}
