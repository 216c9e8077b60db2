"""Who is near whom in point clouds: farthest points, nearest points, balls, groups, distances between clouds, voxels.

Clouds are (batch, points, axes) floats; those of different lengths are padded, `exists` (batch, points) says which points are real, and the rest may
hold anything. Coordinates of fewer than 32 bits count as float32. InputError for NaN and infinite coordinates and for fewer points than asked for.

`neighbour_plain` says in PyTorch what is meant, and runs on any device. On the CPU, for up to three axes, the compiled `neighbour_kernels`,
`neighbour_farthest` and, for large clouds, `neighbour_tree` choose the same points; farthest points on CUDA come from `neighbour_triton` where that
runs. Everything is deterministic: of points equally far the one of the lowest row comes first.
"""

from __future__ import annotations

import functools
import importlib
import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from manyviews.errors import InputError
from manyviews.nn import neighbour_plain as plain
from manyviews.nn.compiled import shared
from manyviews.nn.neighbour_input import checked, enough, starts

SMALL = 4096  # points up to which Chamfer distances compare all with all
FARTHEST_VOXEL = 1 << 31  # voxels from the origin


def farthest_point_sampling(
    points: Float[Tensor, "batch points axes"],
    count: int,
    start: int | Int[Tensor, "batch"] | None = None,
    exists: Bool[Tensor, "batch points"] | None = None,
    repeat: bool = False,
) -> Int[Tensor, "batch {count}"]:
    """Rows of `count` points of each cloud: the start (None: its first point), then always the point farthest from those chosen.

    No row comes twice, not even where points are identical. A cloud of fewer points is an error, or its rows come again in the same order (`repeat`).
    Eldar et al. 1997; Qi et al. 2017, arXiv:1706.02413.
    """
    points = checked({"points": exists}, points=points)[0].detach()
    enough(points, exists, count, repeat)
    first = starts(points, exists, start)
    if (fast := kernels("neighbour_farthest", points)) is not None:
        chosen = np.empty((len(points), count), np.int64)
        given = (*arrays(points, exists), first.numpy(), chosen, fast.worth_a_tree(count))
        shared(lambda i, j: fast.farthest(*given, i, j), len(points))
        return torch.from_numpy(chosen)
    if (fast := kernels("neighbour_triton", points)) is not None and fast.fits(points):
        return fast.farthest(points, exists, first, count)
    return plain.farthest(points, exists, first, count)


def knn(
    queries: Float[Tensor, "batch queries axes"],
    points: Float[Tensor, "batch points axes"],
    k: int,
    exists: Bool[Tensor, "batch points"] | None = None,
    repeat: bool = False,
) -> tuple[Float[Tensor, "batch queries {k}"], Int[Tensor, "batch queries {k}"]]:
    """Distances and rows of the k nearest points of each query, nearest first; exact. A query that is one of the points finds itself.

    A cloud of fewer points is an error, or its points come again in the same order (`repeat`). Distances carry no gradient.
    """
    queries, points = (x.detach() for x in checked({"points": exists}, queries=queries, points=points))
    enough(points, exists, k, repeat)
    return nearest(queries, points, exists, k)


def ball_query(
    queries: Float[Tensor, "batch queries axes"],
    points: Float[Tensor, "batch points axes"],
    radius: float,
    k: int,
    exists: Bool[Tensor, "batch points"] | None = None,
) -> tuple[Int[Tensor, "batch queries {k}"], Bool[Tensor, "batch queries {k}"]]:
    """Rows of the first k points, in their order in the cloud, at most `radius` away from each query; and which of these are such points.

    Where there are fewer the first one stands in for the rest, as in PointNet++ (Qi et al. 2017, arXiv:1706.02413); where there is none, the nearest
    point does, and nothing is said to be in the ball.
    """
    queries, points = (x.detach() for x in checked({"points": exists}, queries=queries, points=points))
    if not 0 <= radius < math.inf:
        raise InputError(f"a ball of radius {radius}: it must be a finite number from 0 on, in the units of the points")
    enough(points, exists, k, repeat=True)
    rows, found = within(queries, points, exists, radius, k)
    return rows, torch.arange(k, device=rows.device) < found[..., None]


def group(features: Shaped[Tensor, "batch points dim"], rows: Int[Tensor, "batch *groups"]) -> Shaped[Tensor, "batch *groups dim"]:
    """The features at the given rows of each cloud; gradients add up in the same order every time."""
    batch, n = features.shape[:2]
    first = torch.arange(batch, device=rows.device).mul(n).view(-1, *[1] * (rows.dim() - 1))
    places = torch.where((rows >= 0) & (rows < n), rows + first, batch * n)  # outside of all, lest a neighbour's features be read
    try:
        return F.embedding(places, features.flatten(0, 1))
    except IndexError:
        raise InputError(f"rows from {int(rows.min())} to {int(rows.max())} of clouds of {n} points: rows count from 0 to {n - 1}") from None


def inverse_distance_interpolation(
    queries: Float[Tensor, "batch queries axes"],
    points: Float[Tensor, "batch points axes"],
    features: Float[Tensor, "batch points dim"],
    k: int = 3,
    exists: Bool[Tensor, "batch points"] | None = None,
) -> Float[Tensor, "batch queries dim"]:
    """Features at the queries: the mean of those of the k nearest points (all, where a cloud has fewer), weighted by 1 / distance^2.

    At a point itself, its features. Gradients reach the features alone. Shepard 1968; feature propagation of Qi et al. 2017, arXiv:1706.02413.
    """
    distances, rows = knn(queries, points, k, exists, repeat=True)
    least = distances[..., :1]
    weights = torch.where(distances > least, (least / distances).square(), 1.0)
    weights = weights * (torch.arange(k, device=rows.device) < plain.counts(points, exists)[:, None])[:, None]
    weights = (weights / weights.sum(-1, keepdim=True)).to(features.dtype)
    return (weights[..., None] * group(features, rows)).sum(-2)


def chamfer(
    a: Float[Tensor, "batch points_a axes"],
    b: Float[Tensor, "batch points_b axes"],
    squared: bool = True,
    exists_a: Bool[Tensor, "batch points_a"] | None = None,
    exists_b: Bool[Tensor, "batch points_b"] | None = None,
) -> Float[Tensor, "batch"]:
    """Mean distance of a point of `a` to the nearest of `b`, plus the same from `b` to `a`; squared distances, or distances. 0 where a cloud is empty.

    Differentiable once. Where points coincide the gradient of a distance counts as 0. Fan et al. 2017, arXiv:1612.00603. Some halve the sum.
    """
    a, b = checked({"a": exists_a, "b": exists_b}, a=a, b=b)
    if min(a.shape[1], b.shape[1]) == 0:
        return 0 * (a.flatten(1).sum(1) + b.flatten(1).sum(1))
    if max(a.shape[1], b.shape[1]) <= SMALL and kernels("neighbour_kernels", a) is not None:
        return Chamfer.apply(padded(a), padded(b), exists_a, exists_b, squared)
    return one_way(a, b, exists_a, exists_b, squared) + one_way(b, a, exists_b, exists_a, squared)


def earth_movers_distance(a: Float[Tensor, "batch points_a axes"], b: Float[Tensor, "batch points_b axes"], squared: bool = False) -> Float[Tensor, "batch"]:
    """Mean distance between matched points under the matching, one to one, that makes it least; of squared distances, if asked for.

    The gradient is that of the matched distances. Exact, in about cubic time: milliseconds for 64 groups of 32 points, a second for 2048 points.
    """
    a, b = checked({}, a=a, b=b)
    if a.shape[1] != b.shape[1]:
        counts = f"{a.shape[1]} points cannot be matched with {b.shape[1]} one to one"
        raise InputError(f"{counts}; choose as many of both, e.g. with farthest_point_sampling, or use chamfer")
    from scipy.optimize import linear_sum_assignment

    with torch.no_grad():
        cost = torch.cdist(a.double(), b.double(), compute_mode="donot_use_mm_for_euclid_dist")
        costs = (cost.square() if squared else cost).cpu().numpy()
    rows = np.stack([linear_sum_assignment(cost)[1] for cost in costs]) if len(costs) else np.empty((0, a.shape[1]), np.int64)
    return length(plain.squared(a, group(b, torch.from_numpy(rows).to(a.device))), squared).mean(1)


def voxelise(
    points: Float[Tensor, "batch points axes"], size: float, exists: Bool[Tensor, "batch points"] | None = None
) -> tuple[Int[Tensor, "voxels coordinates"], Int[Tensor, "batch points"], Int[Tensor, "voxels"]]:
    """The voxels that hold points, which of them each point is in (-1: padding), and how many points each holds.

    A voxel is (cloud, x, y, z ...), where coordinate c is from c size to (c + 1) size; voxels are sorted.
    """
    (points,) = checked({"points": exists}, points=points)
    if not 0 < size < math.inf:
        raise InputError(f"voxels of size {size}: it must be a finite number above 0, in the units of the points")
    cloud = torch.arange(len(points), device=points.device)[:, None].expand(points.shape[:2])
    real = torch.ones_like(cloud, dtype=torch.bool) if exists is None else exists
    cells = (points.detach()[real] / size).floor()
    if bool((cells.abs() >= FARTHEST_VOXEL).any()):
        raise InputError(f"points lie 2^31 or more voxels of size {size} from the origin; take larger voxels, or subtract the mean of the points first")
    voxel = torch.cat([cloud[real][:, None], cells.long()], 1)
    number, inverse = numbered(voxel), torch.full_like(cloud, -1)
    _, inverse[real], held = number.unique(return_inverse=True, return_counts=True)
    voxels = voxel.new_empty(len(held), voxel.shape[1])
    voxels[inverse[real]] = voxel
    return voxels, inverse, held


# --- who computes it --------------------------------------------------------------------------------------------------------------------------


@functools.cache
def module(name: str) -> Any:
    """A module of kernels, or None where its compiler is not installed."""
    try:
        return importlib.import_module(f"manyviews.nn.{name}")
    except ImportError:
        return None


def kernels(name: str, x: Float[Tensor, "batch points axes"]) -> Any:
    """The kernels for such points; None: PyTorch does it, as it must where its operations are being written down."""
    if plain.recorded():
        return None
    return module(name) if x.shape[2] <= 3 and x.device.type == ("cuda" if name == "neighbour_triton" else "cpu") else None


def padded(x: Float[Tensor, "batch points axes"]) -> Float[Tensor, "batch points 3"]:
    """With three axes; the new ones are 0."""
    return F.pad(x, (0, 3 - x.shape[2])) if x.shape[2] < 3 else x


def arrays(points: Float[Tensor, "batch points axes"], exists: Bool[Tensor, "batch points"] | None) -> tuple[np.ndarray, np.ndarray]:
    """Points of three axes, and which exist (nothing: all), as the kernels want them."""
    return padded(points).detach().contiguous().numpy(), np.empty((0, 0), np.bool_) if exists is None else exists.contiguous().numpy()


def nearest(queries: Tensor, points: Tensor, exists: Tensor | None, k: int) -> tuple[Tensor, Tensor]:
    """Distances and rows of the nearest points; where there are fewer than k they come again."""
    if kernels("neighbour_kernels", points) is None:
        return plain.nearest(queries, points, exists, k)
    q, (p, e) = arrays(queries, None)[0], arrays(points, exists)
    distances, rows = np.empty((*q.shape[:2], k), p.dtype), np.empty((*q.shape[:2], k), np.int64)
    tree = module("neighbour_tree")
    if tree.worth_planting(p.shape[1], q.shape[1], k):
        for c in range(len(p)):
            shared(functools.partial(tree.nearest, tree.plant(p, e, c), p[c], q[c], distances[c], rows[c]), q.shape[1])
    else:
        shared(functools.partial(module("neighbour_kernels").nearest, q, p, e, distances, rows), len(q) * q.shape[1])
    return torch.from_numpy(distances), torch.from_numpy(rows)


def within(queries: Tensor, points: Tensor, exists: Tensor | None, radius: float, k: int) -> tuple[Tensor, Tensor]:
    """Rows of the first k points in a ball, and how many there are; the nearest where there is none."""
    if kernels("neighbour_kernels", points) is None:
        return plain.inside(queries, points, exists, radius, k)
    q, (p, e) = arrays(queries, None)[0], arrays(points, exists)
    rows, found, square = np.empty((*q.shape[:2], k), np.int64), np.empty(q.shape[:2], np.int64), np.square(p.dtype.type(radius))
    tree = module("neighbour_tree")
    if tree.worth_planting(p.shape[1], q.shape[1], k):
        for c in range(len(p)):
            shared(functools.partial(tree.inside, tree.plant(p, e, c), q[c], square, rows[c], found[c]), q.shape[1])
    else:
        shared(functools.partial(module("neighbour_kernels").inside, q, p, e, square, rows, found), len(q) * q.shape[1])
    return torch.from_numpy(rows), torch.from_numpy(found)


class Chamfer(torch.autograd.Function):
    """Chamfer distances by the compiled kernel, which computes the gradients along with them."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, exists_a: Tensor | None, exists_b: Tensor | None, squared: bool) -> Tensor:
        values, room = a.new_empty(len(a)), len(a) if any(ctx.needs_input_grad) else 0
        grad_a, grad_b = a.new_zeros(room, *a.shape[1:]), b.new_zeros(room, *b.shape[1:])
        (p, e), (q, f) = arrays(a, exists_a), arrays(b, exists_b)
        given = (p, q, e, f, squared, values.numpy(), grad_a.numpy(), grad_b.numpy())
        shared(functools.partial(module("neighbour_kernels").chamfer, *given), len(a))
        ctx.save_for_backward(grad_a, grad_b)
        return values

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return *(grad[:, None, None] * g for g in ctx.saved_tensors), None, None, None


def one_way(a: Tensor, b: Tensor, exists_a: Tensor | None, exists_b: Tensor | None, squared: bool) -> Float[Tensor, "batch"]:
    """Mean distance of a point of `a` to the nearest of `b`; 0 where one of them is empty."""
    n, m = plain.counts(a, exists_a), plain.counts(b, exists_b)
    weights = a.new_ones(a.shape[:2]) if exists_a is None else exists_a.to(a.dtype)
    weights = weights * ((m > 0) / n.clamp(min=1))[:, None].to(a.dtype)
    a = a if exists_a is None else a.masked_fill(~exists_a[..., None], 0)
    b = b if exists_b is None else b.masked_fill(~exists_b[..., None], 0)
    rows = nearest(a.detach(), b.detach(), None if exists_b is None else exists_b | (m == 0)[:, None], 1)[1]
    return (weights * length(plain.squared(a, group(b, rows[..., 0])), squared)).sum(1)


def length(square: Float[Tensor, "*shape"], squared: bool) -> Float[Tensor, "*shape"]:
    """The number, or its root, whose gradient at 0 is 0 here."""
    return square if squared else torch.where(square > 0, square.where(square > 0, 1.0).sqrt(), 0.0)


def numbered(voxels: Int[Tensor, "points coordinates"]) -> Int[Tensor, "points"]:
    """A number for each, in their order; equal for equal ones."""
    if not len(voxels):
        return voxels[:, 0]
    number, largest = voxels[:, 0], int(voxels[:, 0].max())
    for c in voxels.unbind(1)[1:]:
        low, high = (int(end) for end in c.aminmax())
        if (largest + 1) * (high - low + 1) >= 1 << 63:
            number = number.unique(return_inverse=True)[1]
            largest = int(number.max())
        number, largest = number * (high - low + 1) + c - low, (largest + 1) * (high - low + 1) - 1
    return number
