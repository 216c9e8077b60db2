"""Frames that data gives itself: of points their principal axes, of graphs their nodes in the order of the Laplacian's eigenvectors.

    frames = principal_frames(points)                     # (batch, n, 3): 8 frames a cloud, R = [+-v1, +-v2, +-v3], t the mean
    y = frames.seen(points)                               # R^T (x - t) in every frame: (batch, 8, n, 3), the same set of 8 wherever the cloud is moved
    frames.returned(y).mean(-3)                           # R y + t, averaged

Where two eigenvalues are equal (collinear, coincident, symmetric clouds) the axes are not unique and no finite frame is: what is taken then is some orthonormal
basis, which is finite and has no bad gradient, but need not move with the cloud. `ambiguous` says for which clouds that is so, `strict=True` raises. Where the
equal eigenvalues are 0 (points on a line, all in one place) nothing is lost in space as long as points alone are seen: they have no coordinate along the
axes that are left open, and what a network returns along them cancels in the mean over signs. Vectors may point there; then it is lost too.
Eigenvectors carry no gradient (that of nearly equal eigenvalues has no bound); the mean does.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from manyviews.counters import Counter
from manyviews.errors import InputError

APART = 1e-4  # eigenvalues nearer than this share of the largest one are taken for equal
EMPTY = 1e-12  # the sum of weights below which nothing is there
ROUNDED = 2  # decimals at which entries of eigenvectors are compared, as the authors do
EQUAL = 1e-5  # eigenvalues of a Laplacian nearer than this, times its largest one, share an eigenspace


@dataclasses.dataclass(frozen=True)
class Frames:
    """For each cloud some frames (R, t): orthonormal axes in the columns of R, and an origin t, the same for all frames of a cloud."""

    axes: Float[Tensor, "*batch frames d d"]
    origin: Float[Tensor, "*batch d"]
    values: Float[Tensor, "*batch d"]  # the variances along the axes, largest first
    ambiguous: Bool[Tensor, "*batch"]  # whether two of them are equal

    @property
    def count(self) -> int:
        """How many frames a cloud has."""
        return self.axes.shape[-3]

    def seen(self, points: Float[Tensor, "*batch n d"]) -> Float[Tensor, "*batch frames n d"]:
        """Points in each frame's coordinates, R^T (x - t)."""
        return self.turned(points - self.origin[..., None, :])

    def turned(self, vectors: Float[Tensor, "*batch n d"]) -> Float[Tensor, "*batch frames n d"]:
        """Vectors in each frame's coordinates, R^T v."""
        return vectors[..., None, :, :] @ self.axes

    def returned(self, points: Float[Tensor, "*batch frames n d"]) -> Float[Tensor, "*batch frames n d"]:
        """Points from each frame's coordinates, R y + t."""
        return self.turned_back(points) + self.origin[..., None, None, :]

    def turned_back(self, vectors: Float[Tensor, "*batch frames n d"]) -> Float[Tensor, "*batch frames n d"]:
        """Vectors from each frame's coordinates, R w."""
        return vectors @ self.axes.mT


@functools.cache
def signs(d: int, proper: bool) -> tuple[tuple[float, ...], ...]:
    """All +1 and -1 of d axes; if `proper` only those whose product is 1."""
    every = itertools.product((1.0, -1.0), repeat=d)
    return tuple(row for row in every if not proper or row.count(-1.0) % 2 == 0)


def principal_frames(
    points: Float[Tensor, "*batch n d"],
    weights: Float[Tensor, "*batch weights"] | None = None,
    reflections: bool = True,
    shifts: bool = True,
    strict: bool = False,
    apart: float = APART,
) -> Frames:
    """The frames of clouds by principal axes: 2^d with `reflections` (for O(d), E(d)), else the 2^(d-1) of determinant 1 (SO(d), SE(d)).

    weights: of each point, 0 or more: a soft part, or which points exist; none: all alike. A cloud without weight has its origin at 0. shifts: whether the
    origin is the mean; else it is 0 and variances are about 0 (O(d), SO(d)). apart: eigenvalues nearer than this share of the largest are equal.
    strict: raise InputError naming the clouds where some are.
    """
    d = points.shape[-1]
    if points.dim() < 2 or d < 1 or points.shape[-2] < 1:
        raise InputError(f"frames are of clouds (..., points, axes) with one point and one axis or more, not {tuple(points.shape)}")
    if weights is not None and weights.shape[-1] != points.shape[-2]:
        raise InputError(f"{weights.shape[-1]} weights for {points.shape[-2]} points: each point needs one")
    share = points.new_full(points.shape[:-1], 1 / points.shape[-2]) if weights is None else normalised(weights)
    origin = (share[..., None] * points).sum(-2) if shifts else torch.zeros_like(points[..., 0, :])
    values, basis = axes_of(points - origin[..., None, :], share, not reflections)
    ambiguous = near(values, apart)
    if strict and bool(ambiguous.any()):
        raise InputError(unclear(values, ambiguous))
    turns = torch.tensor(signs(d, not reflections), dtype=basis.dtype, device=basis.device)
    return Frames((basis[..., None, :, :] * turns[:, None, :]).to(points.dtype), origin, values, ambiguous)


def normalised(weights: Float[Tensor, "*batch n"]) -> Float[Tensor, "*batch n"]:
    """Shares that sum to 1, or to 0 where there is no weight."""
    total = weights.sum(-1, keepdim=True)
    return weights / total.clamp(min=EMPTY)


@torch.no_grad()
def axes_of(
    centred: Float[Tensor, "*batch n d"], share: Float[Tensor, "*batch n"], proper: bool
) -> tuple[Float[Tensor, "*batch d"], Float[Tensor, "*batch d d"]]:
    """Eigenvalues and eigenvectors (columns) of the covariance, largest first; if `proper`, of determinant 1. Never in less than float32.

    What is not finite gets the axes of space, so that the fault shows in the loss and not as an error of LAPACK.
    """
    with torch.autocast(centred.device.type, enabled=False):
        x = centred if centred.dtype == torch.float64 else centred.float()
        covariance = torch.nan_to_num((x * share.to(x.dtype)[..., None]).mT @ x, posinf=0.0, neginf=0.0)
        values, basis = torch.linalg.eigh(covariance)
        values, basis = values.flip(-1).clamp(min=0), basis.flip(-1)
        if proper:
            sign = torch.where(torch.linalg.det(basis) < 0, -1.0, 1.0).to(basis.dtype)
            basis = torch.cat([basis[..., :-1], basis[..., -1:] * sign[..., None, None]], -1)
    return values, basis


def near(values: Float[Tensor, "*batch d"], apart: float) -> Bool[Tensor, "*batch"]:
    """Whether two neighbouring eigenvalues are equal, on the scale of the largest."""
    gaps = values[..., :-1] - values[..., 1:]
    return (gaps <= apart * values[..., :1]).any(-1)


def unclear(values: Float[Tensor, "*batch d"], ambiguous: Bool[Tensor, "*batch"]) -> str:
    """Which clouds have no frame, and the first one's variances."""
    rows = ambiguous.nonzero().tolist()
    said = ", ".join("/".join(map(str, row)) or "0" for row in rows[:8]) + (" ..." if len(rows) > 8 else "")
    first = ", ".join(f"{value:.3g}" for value in values[ambiguous][0].tolist())
    return (
        f"cloud {said} of the batch: its principal axes are not unique (variances {first}: the cloud is collinear, coincident or symmetric), so that nothing "
        "fixes a frame; add vectors or points that break the symmetry, or ask without strict and look at Frames.ambiguous"
    )


# --- graphs -----------------------------------------------------------------------------------------------------------------------------------


def sorting_frames(
    adjacency: Float[Tensor, "batch nodes others"],
    samples: int = 10,
    counter: Counter | None = None,
    index: Int[Tensor, "batch"] | None = None,
    exists: Bool[Tensor, "batch nodes"] | None = None,
) -> tuple[Int[Tensor, "batch samples nodes"], Bool[Tensor, "batch"]]:
    """Orders of the nodes of undirected graphs that do not depend on how they were numbered, and for which graphs there is only one.

    Nodes are sorted by the lengths of their rows in the Laplacian's eigenspaces, those of small eigenvalues first, rounded to ROUNDED decimals. Nodes that
    are alike in all of them may come in any order: of all these orders `samples` are drawn, by `counter` for the rows `index` (none: always the same ones).
    Entry k of an order is the node that comes to place k. exists: False for padding, which comes last. Weights of edges are taken as they are.
    """
    batch, n = adjacency.shape[:2]
    if adjacency.dim() != 3 or adjacency.shape[2] != n:
        raise InputError(f"adjacency matrices are (batch, nodes, nodes), not {tuple(adjacency.shape)}")
    keys = spectral_keys(adjacency)
    if exists is not None:
        keys = torch.cat([(~exists[..., None]).to(keys.dtype), keys], -1)
    counter, index = counter or Counter(0, 0), torch.arange(batch, device=adjacency.device) if index is None else index
    order = torch.stack([counter.order(f"ties/{k}", index, n) for k in range(samples)], 1)
    keys = keys[:, None].expand(-1, samples, -1, -1)
    for column in reversed(range(keys.shape[-1])):  # stable sorts, the first key last: ties keep their random order
        order = order.gather(2, keys[..., column].gather(2, order).argsort(dim=2, stable=True))
    ranked = keys[:, 0].gather(1, order[:, 0, :, None].expand(-1, -1, keys.shape[-1]))
    tied = (ranked[:, 1:] == ranked[:, :-1]).all(-1)
    if exists is not None:
        tied &= exists.gather(1, order[:, 0])[:, 1:]
    return order, ~tied.any(-1)


@torch.no_grad()
def spectral_keys(adjacency: Float[Tensor, "batch nodes nodes"]) -> Float[Tensor, "batch nodes keys"]:
    """For every node and eigenvalue the length of the node's row in that eigenspace, rounded."""
    a = ((adjacency + adjacency.mT) / 2).double()
    laplacian = torch.diag_embed(a.sum(-1)) - a
    values, vectors = torch.linalg.eigh(laplacian)
    scale = values.abs().amax(-1, keepdim=True).clamp(min=1e-12)
    new = torch.nn.functional.pad(values[:, 1:] - values[:, :-1] > EQUAL * scale, (1, 0), value=False)
    space = new.long().cumsum(-1)[:, None].expand_as(vectors)
    lengths = torch.zeros_like(vectors).scatter_add_(2, space, vectors.square()).clamp(min=0).sqrt()
    return lengths.round(decimals=ROUNDED)
