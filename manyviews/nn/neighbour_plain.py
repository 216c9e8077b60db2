"""`manyviews.nn.neighbours` in plain PyTorch, on any device: what its compiled kernels are held to.

Squared distances are sums in the order of the (up to three) axes, each product and sum rounded, so that every implementation finds the same ties.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch._higher_order_ops.scan import scan

CHUNK = 1 << 23  # distances at a time


def recorded() -> bool:
    """Whether operations are being written down, for TorchScript or ONNX: numbers are not known then, and bits cannot be looked at."""
    return torch.jit.is_tracing() or torch.compiler.is_exporting()


def squared(a: Float[Tensor, "*#shape axes"], b: Float[Tensor, "*#shape axes"]) -> Float[Tensor, "*shape"]:
    """Squared distances, of broadcast points."""
    return sum((p - q).square() for p, q in zip(a.unbind(-1), b.unbind(-1), strict=True))  # type: ignore[return-value]


def table(queries: Float[Tensor, "batch queries axes"], points: Float[Tensor, "batch points axes"]) -> Float[Tensor, "batch queries points"]:
    """All squared distances. Of features, by PyTorch's own sum over many axes; never by a product of matrices, which loses small distances."""
    if points.shape[2] > 3 and not recorded():
        return torch.cdist(queries, points, compute_mode="donot_use_mm_for_euclid_dist").square()
    return squared(queries[:, :, None], points[:, None])


def parts_of(queries: Float[Tensor, "batch queries axes"], points: Float[Tensor, "batch points axes"]) -> tuple[Float[Tensor, "batch _ axes"], ...]:
    """Queries, CHUNK distances at a time; all at once where the batch is not known yet."""
    return (queries,) if recorded() else queries.split(max(1, CHUNK // max(1, points.shape[:2].numel())), 1)


def counts(points: Float[Tensor, "batch points axes"], exists: Bool[Tensor, "batch points"] | None) -> Int[Tensor, "batch"]:
    """How many points each cloud has."""
    return points.new_full(points.shape[:1], points.shape[1], dtype=torch.long) if exists is None else exists.sum(1)


def farthest(
    points: Float[Tensor, "batch points axes"], exists: Bool[Tensor, "batch points"] | None, start: Int[Tensor, "batch"], count: int
) -> Int[Tensor, "batch {count}"]:
    """Rows of points, each the farthest from those before it; when all are chosen they come again."""
    near = points.new_full(points.shape[:2], torch.inf)
    if exists is not None:
        points, near = points.masked_fill(~exists[..., None], 0), near.masked_fill(~exists, -1)
    again = range(min(count, points.shape[1]) - 1)

    def further(state: tuple[Tensor, Tensor], _: object) -> tuple[tuple[Tensor, Tensor], Tensor]:
        near, at = state
        near = torch.minimum(near, squared(points, points.gather(1, at[..., None].expand(-1, -1, points.shape[2])))).scatter(1, at, -1)
        at = near.argmax(1, keepdim=True)
        return (near, at), at.clone()

    state, chosen = (near, start[:, None]), [start[:, None]]
    if torch.compiler.is_exporting() and again:  # a loop of the graph; written out, hundreds of rounds take minutes
        chosen.append(scan(further, state, torch.arange(len(again), device=points.device))[1][..., 0].T)
    else:
        for _ in again:
            state, at = further(state, None)
            chosen.append(at)
    return repeated(torch.cat(chosen, 1), count, points, exists)


def repeated(
    chosen: Int[Tensor, "batch chosen"], count: int, points: Float[Tensor, "batch points axes"], exists: Bool[Tensor, "batch points"] | None
) -> Int[Tensor, "batch {count}"]:
    """`count` rows of those chosen: as many as each cloud has points, then they come again."""
    return chosen.gather(1, torch.arange(count, device=points.device) % counts(points, exists)[:, None])


def smallest(q: Float[Tensor, "batch queries points"], k: int) -> tuple[Float[Tensor, "batch queries {k}"], Int[Tensor, "batch queries {k}"]]:
    """The k smallest numbers and their places, of equal ones the first; numbers are not negative."""
    if k == 1:
        place = q.argmin(2, keepdim=True)
    elif recorded():
        place = q.topk(k, largest=False).indices
    elif q.dtype == torch.float32:  # bits of such a number are in its order: number and place make one integer that no other equals
        both = q.view(torch.int32).long() << 32 | torch.arange(q.shape[2], device=q.device)
        place = both.topk(k, largest=False).values & 0xFFFFFFFF
    else:
        place = q.sort(stable=True).indices[..., :k]
    return q.gather(2, place), place


def nearest(
    queries: Float[Tensor, "batch queries axes"], points: Float[Tensor, "batch points axes"], exists: Bool[Tensor, "batch points"] | None, k: int
) -> tuple[Float[Tensor, "batch queries {k}"], Int[Tensor, "batch queries {k}"]]:
    """Distances and rows of the nearest points, nearest first; where there are fewer than k they come again."""
    found = []
    for some in parts_of(queries, points):
        q = table(some, points)
        if exists is not None:
            q = q.masked_fill(~exists[:, None], torch.inf)
        found.append(smallest(q, min(k, points.shape[1])))
    q, rows = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
    turn = (torch.arange(k, device=points.device) % counts(points, exists)[:, None])[:, None].expand(-1, queries.shape[1], -1)
    return q.gather(2, turn).sqrt(), rows.gather(2, turn)


def inside(
    queries: Float[Tensor, "batch queries axes"],
    points: Float[Tensor, "batch points axes"],
    exists: Bool[Tensor, "batch points"] | None,
    radius: float,
    k: int,
) -> tuple[Int[Tensor, "batch queries {k}"], Int[Tensor, "batch queries"]]:
    """The first k points, in the order of their rows, at most `radius` away, and how many; the nearest where there is none. The rest repeats the first."""
    found, n = [], points.shape[1]
    row, square = torch.arange(n, device=points.device), torch.tensor(radius, dtype=points.dtype, device=points.device).square()
    for some in parts_of(queries, points):
        q = table(some, points)
        if exists is not None:
            q = q.masked_fill(~exists[:, None], torch.inf)
        rows = torch.where(q <= square, row, n).topk(min(k, n), largest=False).values
        rows = torch.nn.functional.pad(rows, (0, k - rows.shape[2]), value=n)
        first = torch.where(rows[..., :1] < n, rows[..., :1], q.argmin(2, keepdim=True))
        found.append((torch.where(rows < n, rows, first), (rows < n).sum(2)))
    rows, count = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
    return rows, count
