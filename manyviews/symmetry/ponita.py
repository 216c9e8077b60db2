"""PONITA: convolutions over positions and orientations, with weights shared between all pairs of them that a rigid motion takes to one another.

Bekkers, Vadgama, Hesselink, van der Linden, Romero, "Fast, Expressive SE(n) Equivariant Networks through Weight-Sharing in Position-Orientation Space",
ICLR 2024, arXiv:2310.02970.

Departs from the paper: the orientations are corners of regular bodies (4, 6, 8, 12, 20; other counts lie on a spiral) instead of ones that repelled each other
from a random start; each monomial of the kernels' features comes once; in the plane the bi-invariant of two orientations is the whole angle between them (its
cosine and sine), not the cosine alone; kernels are calibrated before the first batch goes through, not after it. Points encoders are ours: the paper has none.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from manyviews.contracts import Encoder, Tokens, View
from manyviews.errors import InputError
from manyviews.groups import Acting, Cyclic, Fields, Group, Together, directions, e, se, trivial
from manyviews.nn.continuous_kernels import kernel_basis, length, window
from manyviews.nn.distributed import rank_mean
from manyviews.nn.neighbours import farthest_point_sampling, group, knn
from manyviews.nn.orientations import frames_on, vectors_on

MODALITY = "points"
ROWS = 16384  # pairs of edges and orientations that go through the kernels at once on a CPU: they stay in the cache


def ponita(channels: int = 3, size: int = 1024) -> Encoder:
    """PONITA (arXiv:2310.02970) over R^3 x S^2: 256 of the points with 20 orientations, 16 neighbours each; 5 layers, 128 wide."""
    return PonitaPoints(channels, min(256, size), 16, width=128, depth=5, orientations=20, basis=256)


def ponita_micro(channels: int = 3, size: int = 1024) -> Encoder:
    """PONITA (arXiv:2310.02970) over R^3 x S^2: 96 of the points with 12 orientations, 12 neighbours each; 3 layers, 32 wide: for a CPU in minutes."""
    return PonitaPoints(channels, min(96, size), 12, width=32, depth=3, orientations=12, basis=32)


def between_points(away: Float[Tensor, "nodes near axes"], grid: Float[Tensor, "grids count arms axes"] | None) -> Float[Tensor, "nodes near count numbers"]:
    """What a rigid motion leaves of x_j - x_i seen from orientation o: its length (no orientations), <x, o> and |x - <x, o> o|, or all coordinates."""
    if grid is None:
        return length(away)[..., None, None]
    along = (away[:, :, None, None] * grid[:, None]).sum(-1)  # no product of matrices, which autocast would round
    if grid.shape[2] > 1:
        return along
    across = away[:, :, None] - along * grid[:, None, :, 0]
    return torch.cat([along, length(across)[..., None]], -1)


def between_orientations(grid: Float[Tensor, "grids count arms axes"]) -> Float[Tensor, "grids receiving sending numbers"]:
    """The same of two orientations: <o, o'>, or the first axes of one frame as seen from the other, which tell the last one."""
    return torch.einsum("gpma,gona->gpomn", grid[:, :, : max(1, grid.shape[2] - 1)], grid).flatten(3)


class SeparableConvolution(nn.Module):
    """Depthwise over the neighbours for each orientation, then depthwise over the orientations of each node, then a bias."""

    calibrated: Tensor

    def __init__(self, width: int, basis: int, oriented: bool):
        super().__init__()
        self.spatial = nn.Linear(basis, width, bias=False)
        self.spherical = nn.Linear(basis, width, bias=False) if oriented else None
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("calibrated", torch.tensor(False))

    def forward(
        self, f: Float[Tensor, "nodes count width"], rows: Int[Tensor, "nodes near"], basis: Tensor, turned: Tensor | None, real: Tensor | None
    ) -> Float[Tensor, "nodes count width"]:
        if self.training and not self.calibrated:
            self.calibrate(f, rows, basis, turned, real)
        return self.over_orientations(self.over_neighbours(f, rows, basis), turned) + self.bias

    def over_neighbours(self, f: Tensor, rows: Tensor, basis: Float[Tensor, "nodes near count basis"]) -> Tensor:
        """sum_j k(x_j - x_i seen from o) f(x_j, o)."""
        # Where gradients are asked for all nodes go at once: the gradient of each part would be as large as all of f.
        at_once, flat, found = len(rows) if torch.is_grad_enabled() else several(rows, f.shape[1]), f.flatten(1), []
        for some, among in zip(basis.split(at_once), rows.split(at_once), strict=True):
            found.append((self.spatial(some) * F.embedding(among, flat).view(*among.shape, *f.shape[1:])).sum(1))
        return torch.cat(found)

    def over_orientations(self, f: Tensor, turned: Float[Tensor, "grids count count basis"] | None) -> Tensor:
        """The mean over o' of k(o, o') f(x, o')."""
        if self.spherical is None or turned is None:
            return f
        kernel = self.spherical(turned)
        return torch.einsum("gnoc,gpoc->gnpc", f.unflatten(0, (len(kernel), -1)), kernel).flatten(0, 1) / f.shape[1]

    @torch.no_grad()
    def calibrate(self, f: Tensor, rows: Tensor, basis: Tensor, turned: Tensor | None, real: Tensor | None) -> None:
        """Scales the kernels so that either convolution gives what is as spread as its input, over the first batch of all ranks."""
        one = self.over_neighbours(f, rows, basis)
        two = self.over_orientations(one, turned)
        spread = torch.stack([(a if real is None else a[real]).float().var(correction=0) for a in (f, one, two)])
        spread = rank_mean(spread, 0.0)[:3].sqrt()
        ratio = torch.where((spread[:-1] > 1e-6) & (spread[1:] > 1e-6), spread[:-1] / spread[1:], 1.0)
        self.spatial.weight.mul_(ratio[0])
        if self.spherical is not None:
            self.spherical.weight.mul_(ratio[1])
        self.calibrated.fill_(True)


class Block(nn.Module):
    """ConvNeXt: convolution, normalisation, two pointwise layers `widening` times as wide between them, LayerScale, and what came in added."""

    def __init__(self, width: int, basis: int, oriented: bool, widening: int, layer_scale: float):
        super().__init__()
        self.convolution = SeparableConvolution(width, basis, oriented)
        self.pointwise = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, widening * width), nn.GELU(), nn.Linear(widening * width, width))
        self.scale = nn.Parameter(torch.full((width,), layer_scale)) if layer_scale else None

    def forward(self, f: Tensor, *where: Tensor | None) -> Tensor:
        new = self.pointwise(self.convolution(f, *where))
        return f + (new if self.scale is None else self.scale * new)


class Ponita(nn.Module):
    """Scalars and vectors at points in, `out` scalars and `out_vectors` vectors a point out.

    Exact: over positions, under E(n). With orientations, under E(n) where the grid turns with the points (`grid` can be given); with the network's own grid,
    under shifts and the grid's finite group (the icosahedron's 120 elements for 12 and 20 orientations, the cube's 48 for 6 and 8, the tetrahedron's 24 for 4,
    C_n in the plane), and otherwise up to what so few samples of the sphere leave: `exact` is False. Training under random rotations, as the paper does, helps.

    scalars, vectors: how many of either come in at each point.
    space: "positions" (R^n: distances alone, scalars alone), "sphere" (R^n x S^(n-1)) or "motions" (SE(n)); in the plane the last two are the same.
    width, depth, basis, degree, widening: channels, layers, kernel functions, degree of their polynomials, widening of the pointwise layers.
    layer_scale: LayerScale at first; 0: none. radius: neighbours beyond it count nothing; None: all count. unit: the length that kernels see as 1.
    """

    def __init__(
        self, scalars: int, vectors: int = 0, out: int = 1, out_vectors: int = 0, *, width: int = 128, depth: int = 5, space: str = "sphere",
        orientations: int = 20, axes: int = 3, basis: int = 256, degree: int = 3, widening: int = 4, layer_scale: float = 1e-6,
        radius: float | None = None, unit: float = 1.0,
    ):  # fmt: skip
        super().__init__()
        check(space, axes, scalars=scalars, vectors=vectors, out=out, out_vectors=out_vectors)
        self.out, self.out_vectors, self.radius, self.unit = out, out_vectors, radius, unit
        self.grid = None if space == "positions" else vectors_on(orientations)[:, None] if (space, axes) == ("sphere", 3) else frames_on(orientations, axes)
        arms = 0 if self.grid is None else self.grid.shape[1]
        self.spatial = kernel_basis((1, 2, 2, 3)[arms], degree, width, basis)
        self.spherical = kernel_basis(max(1, arms - 1) * arms, degree, width, basis) if arms else None
        self.embed = nn.Linear(scalars + vectors * arms, width, bias=False)
        self.blocks = nn.ModuleList(Block(width, basis, bool(arms), widening, layer_scale) for _ in range(depth))
        self.readouts = nn.ModuleList(nn.Linear(width, out + out_vectors * arms) for _ in range(depth))
        self.exact = self.grid is None or axes == 2
        moves: Group = Cyclic(n=orientations) if arms == 2 else se(axes) if arms == 3 else e(axes)
        into = Acting(moves, "points", (6, axes)), *fields(moves, scalars, vectors)
        outof = fields(moves, out, out_vectors)
        self.in_rep, self.out_rep = Together(into), Together(outof) if len(outof) > 1 else outof[0]

    def forward(
        self,
        x: Float[Tensor, "batch nodes axes"],
        scalars: Float[Tensor, "batch nodes scalars"],
        vectors: Float[Tensor, "batch nodes vectors axes"] | None = None,
        rows: Int[Tensor, "batch nodes near"] | None = None,
        there: Bool[Tensor, "batch nodes near"] | None = None,
        exists: Bool[Tensor, "batch nodes"] | None = None,
        grid: Float[Tensor, "batch count arms axes"] | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Scalars (batch, nodes, out), and, where there are any, vectors (batch, nodes, out_vectors, axes).

        rows: whom each point hears, itself among them (None: all); there: which of these count (`nn.neighbour_table` makes both of a list of edges).
        exists: False where clouds are padded; what comes out there is 0. grid: orientations for each cloud instead of the network's own.
        """
        if exists is not None:
            x, scalars = x.where(exists[..., None], 0.0), scalars.where(exists[..., None], 0.0)
            vectors = None if vectors is None else vectors.where(exists[..., None, None], 0.0)
        grids = grid if grid is not None else None if self.grid is None else self.grid.to(x)[None]
        flat, basis = self.neighbourhoods(x, rows, there, exists, grids)
        turned = self.spherical(between_orientations(grids)) if self.spherical is not None and grids is not None else None
        f = self.embed(lifted(scalars, vectors, grids))
        real, read = None if exists is None else exists.flatten(), torch.zeros((), dtype=x.dtype, device=x.device)
        for block, readout in zip(self.blocks, self.readouts, strict=True):
            f = block(f, flat, basis, turned, real)
            read = read + readout(f) / len(self.blocks)
        return self.read(read.unflatten(0, x.shape[:2]), grids, exists)

    def neighbourhoods(self, x: Tensor, rows: Tensor | None, there: Tensor | None, exists: Tensor | None, grids: Tensor | None) -> tuple[Tensor, Tensor]:
        """Whom all nodes of the batch hear (nodes, near), and the kernel functions there (nodes, near, count, basis)."""
        batch, n = x.shape[:2]
        if rows is None:
            rows = torch.arange(n, device=x.device).expand(batch, n, n)
        if exists is not None:
            real = exists.gather(1, rows.flatten(1)).view_as(rows)
            there = real if there is None else there & real
        flat = (rows + n * torch.arange(batch, device=x.device)[:, None, None]).flatten(0, 1)
        away = (F.embedding(flat, x.flatten(0, 1)) - x.flatten(0, 1)[:, None]) / self.unit
        weight = None if self.radius is None else window(length(away) * (self.unit / self.radius))
        if there is not None:
            weight = there.flatten(0, 1).to(x.dtype) if weight is None else weight * there.flatten(0, 1)
        own = grids if grids is None or len(grids) == 1 else grids.repeat_interleave(n, 0)
        at_once, found = several(away, 1 if grids is None else grids.shape[1]), []
        for k in range(0, len(away), at_once):
            one = self.spatial(between_points(away[k : k + at_once], own if own is None or len(own) == 1 else own[k : k + at_once]))
            found.append(one if weight is None else one * weight[k : k + at_once, :, None, None])
        return flat, torch.cat(found)

    def read(self, read: Tensor, grids: Tensor | None, exists: Tensor | None) -> Tensor | tuple[Tensor, Tensor]:
        """Scalars are means over the orientations, vectors means of the orientations, each times its number."""
        if exists is not None:
            read = read * exists[..., None, None]
        scalars = read[..., : self.out].mean(2)
        if grids is None or not self.out_vectors:
            return scalars
        weights = read[..., self.out :].unflatten(-1, (self.out_vectors, -1))
        return scalars, torch.einsum("bnovm,boma->bnva", weights, grids.expand(len(weights), -1, -1, -1)) / grids.shape[1]


def several(x: Tensor, count: int) -> int:
    """Of how many nodes kernels are computed at once."""
    return len(x) if x.is_cuda else max(1, ROWS // max(1, x.shape[1] * count))


def fields(group: Group, scalars: int, vectors: int) -> tuple[Fields, ...]:
    """So many of either at six points."""
    return (*((Fields(trivial(group, scalars), (6,)),) if scalars else ()), *((Fields(directions(group), (6, vectors)),) if vectors else ()))


def lifted(scalars: Tensor, vectors: Tensor | None, grids: Float[Tensor, "grids count arms axes"] | None) -> Float[Tensor, "nodes count numbers"]:
    """Scalars the same at all orientations, vectors by their shares along them."""
    if grids is None:
        return scalars.flatten(0, 1)[:, None]
    found = [scalars[:, :, None].expand(-1, -1, grids.shape[1], -1)]
    if vectors is not None:
        found.append(torch.einsum("bnva,boma->bnovm", vectors, grids.expand(len(vectors), -1, -1, -1)).flatten(3))
    return torch.cat(found, -1).flatten(0, 1)


def check(space: str, axes: int, **counts: int) -> None:
    """Raises InputError with all that cannot be built."""
    wrong = [f"{name} is {count}; it must be 0 or more" for name, count in counts.items() if count < 0]
    if space not in ("positions", "sphere", "motions"):
        wrong.append(f"no space {space!r}; there are positions, sphere and motions")
    if axes not in (2, 3):
        wrong.append(f"{axes} axes: the plane (2) and space (3) are known")
    if space == "positions" and (counts["vectors"] or counts["out_vectors"]):
        wrong.append("over positions alone there are no vectors, in or out: give their lengths as scalars, or take space='sphere'")
    if counts["scalars"] + counts["vectors"] < 1:
        wrong.append("nothing comes in: give at least one scalar, such as 1 at every point")
    if counts["out"] + counts["out_vectors"] < 1:
        wrong.append("nothing comes out: ask for at least one scalar or vector")
    if wrong:
        raise InputError(*wrong)


class PonitaPoints(Encoder):
    """The mean over far apart points of what the network says there. The way from the centre comes in as a vector, so do normals; colours as scalars."""

    axes = 3

    def __init__(self, channels: int, points: int, near: int, width: int, depth: int, orientations: int, basis: int):
        super().__init__()
        normals = channels >= 6
        self.points, self.near, self.normals, self.dim, self.widths = points, near, normals, width, [width]
        self.network = Ponita(
            channels - 2 - 3 * normals, 1 + normals, width, width=width, depth=depth, orientations=orientations, basis=basis, layer_scale=0.0,
            unit=math.sqrt(near / points),
        )  # fmt: skip

    def pyramid(self, view: View) -> list[Tokens]:
        p = view.x[..., :3]
        chosen = group(view.x, farthest_point_sampling(p, min(self.points, p.shape[1])))
        where, rest = chosen[..., :3], chosen[..., 6 if self.normals else 3 :]
        rows = knn(where, where, min(self.near, where.shape[1]))[1]
        vectors = torch.stack([where - p.mean(1, keepdim=True), *([chosen[..., 3:6]] if self.normals else [])], 2)
        return [Tokens(self.network(where, torch.cat([torch.ones_like(where[..., :1]), rest], -1), vectors, rows), where)]

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        return self.pyramid(view)[0].x.mean(1)


class GridGiven(nn.Module):
    """A network of the orientations as well: what it gives turns with the points where they do so too."""

    def __init__(self, network: Ponita):
        super().__init__()
        assert network.grid is not None
        self.network, self.out_rep = network, network.out_rep
        self.in_rep = Together((*network.in_rep.parts, Fields(directions(network.in_rep.group), tuple(network.grid.shape[:2]))))

    def forward(self, x: Tensor, scalars: Tensor, vectors: Tensor, grid: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return self.network(x, scalars, vectors, grid=grid)


def layers() -> dict[str, nn.Module]:
    small = functools.partial(Ponita, width=8, depth=2, basis=8, layer_scale=0.0)
    return {
        "positions": small(3, 0, 4, space="positions"),
        "positions of the plane": small(3, 0, 4, space="positions", axes=2),
        "orientations": small(2, 2, 3, 2),
        "orientations given": GridGiven(small(2, 2, 3, 2)),
        "motions": small(2, 2, 3, 2, space="motions", orientations=12),
        "motions given": GridGiven(small(2, 2, 3, 2, space="motions", orientations=12)),
        "motions of the plane": small(2, 2, 3, 2, orientations=8, axes=2),
    }
