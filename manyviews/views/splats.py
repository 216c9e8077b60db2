"""Views of Gaussian splats: those of point clouds (`manyviews.views.points`), acting on all that a splat is.

A map p -> A p + b takes a splat's centre to its image and its covariance C = R S S R^T to A C A^T, whose axes and lengths are the new rotation and scales. Of
several ways to name the axes the one is taken that moves them least: under turns and one factor for all axes, R becomes Q R, and S is multiplied. Opacity and
the mean colour stay. What depends on the direction of sight (harmonics of degree 1 and more) turns by the orthogonal part of A, exactly for turns and mirrors.
`Paint` maps what is seen from every direction, c -> M c + b: the mean colour so, harmonics of degree 1 and more by M. Nothing is clamped, as in a renderer,
which clamps last.
Columns are those of `manyviews.data.splats`; (batch, splats, 3) is a cloud of centres alone.

    policy = find_policy("simclr", 512, "splats")
    views = policy(samples, Counter(seed=0, step=0))       # samples.x: float (batch, splats, 14 or more), or a list of such
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from manyviews.contracts import View
from manyviews.data.splats import COLOUR, HARMONIC, OPACITY, REST, ROTATION, SCALE
from manyviews.groups import Affine, Colour, rotations_from
from manyviews.groups.lie import quaternions
from manyviews.views import points
from manyviews.views.harmonics import turned
from manyviews.views.points import Cloud, Crop, CutOut, Jitter, Paint, Scale, Shift, Turn, mapped
from manyviews.views.policy import Policy

THINNEST = 1e-6  # of a splat's largest scale, its smallest counts as at least that: float32 knows no axis of less
SWEEPS = 5  # of rotations in the three planes: the angles left fall to their third power with each
ALIKE = 1e-6  # cosine of two axes that count as perpendicular


@dataclasses.dataclass(frozen=True)
class Splats(Cloud):
    """One view: its number of splats and the changes that make it."""

    def act(self, g: Affine, x: Float[Tensor, "batch splats channels"]) -> Float[Tensor, "batch splats channels"]:
        return acted(g, x)

    def colours(self, x: Float[Tensor, "batch splats channels"]) -> Float[Tensor, "batch splats 3"] | None:
        """Mean colours over all directions."""
        return 0.5 + HARMONIC * x[..., COLOUR] if x.shape[-1] > 3 else None

    def painted(self, colour: Colour, x: Float[Tensor, "batch splats channels"]) -> Float[Tensor, "batch splats channels"]:
        """With what is seen from every direction mapped."""
        mean = (mapped(colour, 0.5 + HARMONIC * x[..., COLOUR]) - 0.5) / HARMONIC
        rest = torch.einsum("bij,bnjk->bnik", colour.matrix[:, :, :3].to(x.dtype), x[..., REST].unflatten(-1, (3, -1))).flatten(-2)
        return torch.cat([x[..., : COLOUR.start], mean, rest], -1)


def acted(g: Affine, x: Float[Tensor, "batch splats channels"]) -> Float[Tensor, "batch splats channels"]:
    """Splats moved."""
    centre = g.act(x[..., :3])
    if x.shape[-1] == 3:
        return centre
    linear = g.matrix[:, :3, :3]
    scale, rotation = reshaped(linear, x[..., SCALE], x[..., ROTATION])
    return torch.cat([centre, x[..., OPACITY], scale, rotation, x[..., COLOUR], seen_from(linear, x[..., REST])], -1)


def reshaped(
    linear: Float[Tensor, "batch 3 3"], scale: Float[Tensor, "batch splats 3"], rotation: Float[Tensor, "batch splats 4"]
) -> tuple[Float[Tensor, "batch splats 3"], Float[Tensor, "batch splats 4"]]:
    """Scales and quaternions of the ellipsoids A R S, whose semi-axes are its columns once those are perpendicular."""
    size = linear.abs().amax((1, 2))[:, None, None].clamp(min=1e-30)  # squares of what follows must not vanish, whatever the unit
    linear = linear[:, None] / size[..., None]
    largest = scale.amax(-1, keepdim=True).clamp(min=1e-30)
    own = (scale / largest).clamp(min=THINNEST)
    axes = linear @ rotations_from(rotation.flatten(0, 1)).view(*rotation.shape[:2], 3, 3)
    columns = perpendicular(list((axes * own[..., None, :]).unbind(-1)))
    length = torch.stack([column.norm(dim=-1) for column in columns], -1)
    axes = torch.stack(columns, -1) / length.clamp(min=1e-30)[..., None, :]
    mirrored = torch.linalg.det(linear) < 0  # three axes with their opposites are the same ellipsoid, and a rotation again
    return length * largest * size, quaternions_from(torch.where(mirrored[..., None, None], -axes, axes))


def perpendicular(columns: list[Float[Tensor, "*batch 3"]]) -> list[Float[Tensor, "*batch 3"]]:
    """Columns of M V with V a rotation that makes them perpendicular: the method of Hestenes (1958), which begins where they are and moves them no more than
    it must."""
    for _ in range(SWEEPS):
        for i, j in ((0, 1), (0, 2), (1, 2)):
            a, b = columns[i], columns[j]
            aa, ab, bb = (a * a).sum(-1, keepdim=True), (a * b).sum(-1, keepdim=True), (b * b).sum(-1, keepdim=True)
            root = (bb - aa).abs() + ((bb - aa).square() + 4 * ab.square()).sqrt()
            tangent = torch.where(bb < aa, -2.0, 2.0) * ab / root.clamp(min=1e-38)
            tangent = torch.where(ab.square() <= ALIKE**2 * aa * bb, 0.0, tangent)
            cosine = (1 + tangent.square()).rsqrt()
            columns[i], columns[j] = cosine * (a - tangent * b), cosine * (tangent * a + b)
    return columns


def quaternions_from(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternions (w, x, y, z) of rotations, the first number that is not 0 positive."""
    q = quaternions(rotation)
    first = q.gather(-1, (q != 0).int().argmax(-1, keepdim=True))
    return torch.where(first < 0, -q, q)


def seen_from(linear: Float[Tensor, "batch 3 3"], rest: Float[Tensor, "batch splats columns"]) -> Float[Tensor, "batch splats columns"]:
    """Harmonics of degree 1 and more, colour by colour, turned by the orthogonal matrix nearest to A."""
    if not rest.shape[-1]:
        return rest
    u, _, v = torch.linalg.svd(linear)
    colours, found, at, degree = rest.unflatten(-1, (3, -1)), [], 0, 1
    while at < colours.shape[-1]:
        band = colours[..., at : at + 2 * degree + 1]
        found.append(torch.einsum("bij,bnkj->bnki", turned(degree, u @ v), band))
        at, degree = at + 2 * degree + 1, degree + 1
    return torch.cat(found, -1).flatten(-2)


# --- policies ---------------------------------------------------------------------------------------------------------------------------------


def plain(size: int) -> Policy:
    """In the unit ball, thinned evenly: for evaluation."""
    return Policy({"v": Splats(size, (), even=True)})


def weak(size: int) -> Splats:
    """As Gaussian-MAE (Ma et al. 2024, arXiv:2408.10906) means to train: factors in [2/3, 3/2] for each axis and shifts of up to 0.2.

    The authors multiply the three scales by the three factors whichever way a splat lies; their released code as it is changes nothing.
    """
    return Splats(size, (Scale(2 / 3, 1.5, each=True), Shift(0.2)))


def strong(size: int) -> Splats:
    """Turned about the vertical (y), stretched, shifted, cropped, cut out, shaken and painted, as clouds are."""
    return Splats(size, (Turn(1), Scale(0.8, 1.25, each=True), Shift(0.1), Crop(0.5, 1.0), CutOut(0.2), Jitter(0.01, 0.05), Paint()))


def local(size: int) -> Splats:
    """A smaller piece with fewer splats."""
    return Splats(max(32, size // 4), (Turn(1), Scale(0.8, 1.25, each=True), Shift(0.1), Crop(0.15, 0.4), Jitter(0.01, 0.05), Paint()))


def gaussian_mae(size: int) -> Policy:
    """The one view that Gaussian-MAE restores."""
    return Policy({"v": weak(size)})


def rotated(size: int) -> Policy:
    """Two views under any rotation: for objects without an upright."""
    changes = strong(size).changes[1:]
    return Policy({role: Splats(size, (Turn(None), *changes)) for role in ("v", "w")})


def kept_colours(size: int) -> Policy:
    """Two views whose colours stay as they are: where colour is what tells."""
    return Policy({role: Splats(size, strong(size).changes[:-1]) for role in ("v", "w")})


def raw(view: View) -> Float[Tensor, "batch numbers"]:
    """What stands for the input itself: the share of splats in each cell of an 8 x 8 x 8 grid over [-1, 1], and mean and spread of every other column."""
    counts, other = points.raw(view), view.x[..., 3:].float()
    return torch.cat([counts, other.mean(1), other.std(1, correction=0)], 1)
