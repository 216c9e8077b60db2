"""TinvNN: points are first brought to coordinates that keep all distances and no pose, found by multi-dimensional scaling; any network may follow.

Zhang, Wang, Zhang, Cui, Zhu, "Revisiting Transformation Invariant Geometric Deep Learning: Are Initial Representations All You Need?", arXiv:2112.12345
(later "... An Initial Representation Perspective").

Departs from the paper, of which the abstract alone could be read, and no code: what scaling leaves open is settled here by odd moments of the cloud (see
`principal_axes`), or by averaging the network over all signs (`signs="average"`); scale is taken out by the farthest point, so that clouds fill the unit ball
that networks expect. Clouds whose coordinates are known are scaled by their covariance, which gives the same numbers as the distances of all pairs do, for far
less work.
"""

from __future__ import annotations

import dataclasses
import itertools

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from manyviews.contracts import Encoder, Tokens, View
from manyviews.errors import InputError
from manyviews.groups import Acting, Fields, WithShifts, e, se, similarity, trivial

MODALITY = "points"
EQUAL = 1e-4  # difference of eigenvalues, relative to the largest, below which they are one
NOTHING = 1e-3  # share of m_r that tells a direction from rounding
MOMENTS = 3


def tinvnn_pointnet(channels: int = 3, size: int = 1024) -> Encoder:
    """TinvNN (arXiv:2112.12345) before PointNet: 1,024 numbers a cloud, invariant to shifts, rotations, reflections and scale."""
    from manyviews.backbones.pointnet import PointNet

    return TinvNN(PointNet(channels))


def tinvnn_dgcnn(channels: int = 3, size: int = 1024) -> Encoder:
    """TinvNN (arXiv:2112.12345) before DGCNN: 2,048 numbers a cloud, invariant to shifts, rotations, reflections and scale."""
    from manyviews.backbones.dgcnn import DGCNN

    return TinvNN(DGCNN(channels))


def tinvnn_micro(channels: int = 3, size: int = 1024) -> Encoder:
    """TinvNN (arXiv:2112.12345) before the maximum of a perceptron shared by all points, 256 wide: for a CPU in minutes."""
    from manyviews.backbones.pointnet import SmallPointNet

    return TinvNN(SmallPointNet(channels))


# --- initial representations ----------------------------------------------------------------------------------------------------------------------


def multidimensional_scaling(squared: Float[Tensor, "batch points points"], axes: int) -> Float[Tensor, "batch points axes"]:
    """Coordinates whose squared distances D these are, or come nearest to; centred, along principal axes, the longest first, with any signs.

    -1/2 J D J = U L U^T, where J takes out the mean, is the matrix of products of centred points: they are the rows of U L^(1/2).
    The cube of the number of points: for clouds whose coordinates are known `invariant_coordinates` gives the same in one pass over them.
    """
    if not 1 <= axes <= squared.shape[1]:
        raise InputError(f"{axes} coordinates of {squared.shape[1]} points: there are from 1 to as many as points")
    b = -0.5 * (squared - squared.mean(1, keepdim=True) - squared.mean(2, keepdim=True) + squared.mean((1, 2), keepdim=True))
    values, vectors = torch.linalg.eigh(b.float() if b.dtype in (torch.float16, torch.bfloat16) else b)
    return (vectors[..., -axes:] * values[:, None, -axes:].clamp(min=0).sqrt()).flip(-1).to(squared.dtype)


@torch.no_grad()
def principal_axes(
    x: Float[Tensor, "batch points axes"], exists: Bool[Tensor, "batch points"] | None = None, canonical: bool = True
) -> Float[Tensor, "batch axes axes"]:
    """The principal axes of centred clouds as columns, the longest first; with `canonical` turned as the moments of the cloud say, else as they come.

    Either sense of an axis is as good, and where eigenvalues are equal so is any basis of their eigenspace. With `canonical`, axis k is the projection of
    m_r = sum |x|^(2r) x onto the eigenspace less the axes before it, for the first r = 1, 2, 3 where that is not nothing. As m_r turns with the cloud, whatever
    the order of its points, coordinates along the axes are invariant exactly. Where all m_r vanish, as for clouds that are their own image under x -> -x, the
    sense stays open, and only a mean over signs is invariant.
    """
    x = x.double() if x.device.type != "mps" else x.float()
    if exists is not None:
        x = x * exists[..., None]
    x = x / x.abs().amax((1, 2), keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
    values, u = torch.linalg.eigh(x.mT @ x)
    values, u = values.flip(-1), u.flip(-1)
    if not canonical:
        return u
    top = values[:, :1].clamp(min=torch.finfo(x.dtype).tiny)
    steps = (values[:, :-1] - values[:, 1:] > EQUAL * top).cumsum(1)
    space = torch.cat([torch.zeros_like(steps[:, :1]), steps], 1)  # the number of each axis's eigenspace
    square = x.square().sum(-1, keepdim=True)
    moments = torch.stack([(square**r * x).sum(1) for r in range(1, MOMENTS + 1)], 1)
    largest = torch.stack([(square**r * square.sqrt()).sum((1, 2)) for r in range(1, MOMENTS + 1)], 1)[..., None]
    moments = moments / largest.clamp(min=torch.finfo(x.dtype).tiny)
    found: list[Tensor] = []
    for k in range(x.shape[-1]):
        same = (space == space[:, k : k + 1]).to(x.dtype)
        left = (u * same[:, None]) @ u.mT
        for i, axis in enumerate(found):
            left = left - same[:, i, None, None] * axis[:, :, None] * axis[:, None]
        candidates = torch.cat([moments @ left, 10 * NOTHING * left], 1)  # what is left itself, where no moment has a share in it
        length = candidates.norm(dim=-1)
        there = length > NOTHING
        there[:, MOMENTS:] = length[:, MOMENTS:] >= length[:, MOMENTS:].amax(1, keepdim=True)
        first = there.int().argmax(1)
        found.append(nn.functional.normalize(candidates[torch.arange(len(x), device=x.device), first], dim=-1))
    return torch.stack(found, -1)


def invariant_coordinates(
    x: Float[Tensor, "batch points axes"],
    exists: Bool[Tensor, "batch points"] | None = None,
    canonical: bool = True,
    reflections: bool = True,
    scale: bool = True,
) -> tuple[Float[Tensor, "batch points axes"], Float[Tensor, "batch axes axes"], Float[Tensor, "batch 1 axes"], Float[Tensor, "batch 1 1"]]:
    """The initial representation of clouds, and the axes (columns), centres and sizes that made it: x = size * new @ axes^T + centre.

    No gradient passes through the axes. reflections: False keeps left and right apart. scale: False leaves clouds as large as they are.
    """
    real = torch.ones_like(x[..., :1]) if exists is None else exists[..., None].to(x.dtype)
    x = x if exists is None else x.where(exists[..., None], 0.0)
    centre = x.sum(1, keepdim=True) / real.sum(1, keepdim=True).clamp(min=1)
    centred = (x - centre) * real
    axes = principal_axes(centred, exists, canonical)
    if not reflections:
        hand = torch.linalg.det(axes).sign()
        axes = torch.cat([axes[..., :-1], axes[..., -1:] * hand[:, None, None]], -1)
    axes = axes.to(x.dtype)
    size = torch.ones_like(centre[..., :1])
    if scale:
        radius = centred.square().sum(-1).amax(1)
        size = torch.where(radius > 0, radius.where(radius > 0, 1.0).sqrt(), 1.0)[:, None, None]
    with torch.autocast(x.device.type, enabled=False):
        return centred @ axes / size, axes, centre, size


def sign_choices(axes: int, reflections: bool) -> Float[Tensor, "choices axes"]:
    """All ways to turn axes around, or those of an even number of them."""
    every = torch.tensor(list(itertools.product((1.0, -1.0), repeat=axes)))
    return every if reflections else every[every.prod(1) > 0]


# --- networks -----------------------------------------------------------------------------------------------------------------------------------


class TinvNN(Encoder):
    """`encoder` sees clouds in their invariant coordinates; normals turn with them, other columns stay.

    signs: "moments" (one pass), "average" (the mean over all signs: 8 passes, 4 without reflections), or "any", as the eigenvectors come: plain PCA.
    reflections, scale: whether mirror images, and clouds of other sizes, are the same.
    """

    axes = 3

    def __init__(self, encoder: Encoder, signs: str = "moments", reflections: bool = True, scale: bool = True):
        super().__init__()
        if signs not in ("moments", "average", "any"):
            raise InputError(f"signs are chosen by 'moments', 'average' or 'any', not by {signs!r}")
        self.encoder, self.signs, self.reflections, self.scale = encoder, signs, reflections, scale
        self.dim, self.widths = encoder.dim, encoder.widths
        self.choices = sign_choices(3, reflections) if signs == "average" else torch.ones(1, 3)

    def seen(self, view: View) -> tuple[View, Tensor, Tensor, Tensor]:
        """The clouds as the network sees them, choice after choice of signs; and their axes, centres and sizes."""
        x, choices = view.x, self.choices.to(view.x)
        p, axes, centre, size = invariant_coordinates(x[..., :3], None, self.signs == "moments", self.reflections, self.scale)
        columns = [(choices[:, None, None] * p).flatten(0, 1)]
        if x.shape[-1] >= 6:
            columns.append((choices[:, None, None] * (x[..., 3:6] @ axes)).flatten(0, 1))
        columns.append(x[..., 3 * len(columns) :].repeat(len(choices), 1, 1))
        given = {name: value.repeat(len(choices), *[1] * (value.dim() - 1)) for name, value in view.given.items()}
        return View(torch.cat(columns, -1), view.index.repeat(len(choices)), None, given), axes, centre, size

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        return self.encoder(self.seen(view)[0]).unflatten(0, (len(self.choices), -1)).mean(0)

    def pyramid(self, view: View) -> list[Tokens]:
        """The encoder's levels, with places in the frame of the view."""
        seen, axes, centre, size = self.seen(view)
        found, batch = [], len(view)
        for level in self.encoder.pyramid(seen):
            where = size * (level.where[:batch] * self.choices[:1].to(axes)) @ axes.mT + centre
            x = level.x.unflatten(0, (len(self.choices), batch)).mean(0)
            rest = {name: None if (part := getattr(level, name)) is None else part[:batch] for name in ("content", "exists", "parent", "extent")}
            found.append(dataclasses.replace(level, x=x, where=where, **rest))
        return found


class OfPoints(nn.Module):
    """An encoder as a map of points."""

    def __init__(self, encoder: TinvNN, group: WithShifts):
        super().__init__()
        self.encoder, self.in_rep, self.out_rep = encoder, Acting(group, "points", (24, 3)), trivial(group, encoder.dim)

    def forward(self, x: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch dim"]:
        return self.encoder(View(x, torch.arange(len(x))))


class Coordinates(nn.Module):
    """The initial representation as a map of points."""

    def __init__(self, axes: int = 3):
        super().__init__()
        group = similarity(axes)
        self.in_rep, self.out_rep = Acting(group, "points", (24, axes)), Fields(trivial(group, axes), (24,))

    def forward(self, x: Float[Tensor, "batch points axes"]) -> Float[Tensor, "batch points axes"]:
        return invariant_coordinates(x)[0]


def layers() -> dict[str, nn.Module]:
    from manyviews.backbones.pointnet import SmallPointNet

    return {
        "coordinates": Coordinates(),
        "coordinates of the plane": Coordinates(2),
        "moments": OfPoints(TinvNN(SmallPointNet()), similarity(3)),
        "moments, sizes and mirror images apart": OfPoints(TinvNN(SmallPointNet(), reflections=False, scale=False), se(3)),
        "average": OfPoints(TinvNN(SmallPointNet(), "average", scale=False), e(3)),
        "average, mirror images apart": OfPoints(TinvNN(SmallPointNet(), "average", reflections=False), similarity(3)),
    }
