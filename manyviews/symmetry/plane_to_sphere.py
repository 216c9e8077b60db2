"""Steerable kernels on pictures, into representations of the plane's turns and, induced, of all rotations: the layers of `induced_pose`.

A kernel that respects turns obeys W(R p) = rho_out(R) W(p) rho_in(R)^-1. No turn leaves a point off the centre where it is, so that W is free along one ray:
W(p) = rho_out(angle of p) M(|p|) rho_in(angle of p)^-1, here with M a sum of free matrices times Gaussian rings; the centre takes the mean over all angles.
With rho_out the restriction of Wigner matrices to turns about the line of sight, this is the most general linear map from fields on the plane to features of
SO(3). Of a field that is no picture, at the centre alone, it takes frequency k to each degree l >= k, in two ways where k > 0 (Frobenius reciprocity).

Pictures have x right and y down; the world has y up and looks against z. A turn of the picture from x to y is one of the world about z, from y to x. Harmonics
here have the line of sight as their y axis, about which turns are simple: `SIGHT` takes world coordinates to theirs.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.errors import InputError
from manyviews.groups import Acting, Cyclic, Representation, affine, direct_sum, harmonics, irrep, lie, so2, wigner
from manyviews.groups.group import Group

SIGHT = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], dtype=torch.float64)  # (x, y, z) -> (y, z, x)


def frequencies(most: int, group: Group = so2) -> Representation:
    """Functions on the circle up to frequency `most`: 2 most + 1 numbers."""

    def of(m: Tensor) -> Tensor:
        return whole.of(m)

    whole = direct_sum(*(irrep(so2, k) for k in range(most + 1)))
    return Representation(group, f"frequencies to {most}", 2 * most + 1, of)


def sphere(degree: int, group: Group = so2) -> Representation:
    """Functions on the sphere up to a degree, (degree + 1)^2 numbers, under turns of the picture."""

    def of(m: Tensor) -> Tensor:
        angle = -torch.atan2(m[:, 1, 0], m[:, 0, 0])
        turn = lie.turn_space(F.pad(angle.double()[:, None], (1, 1)))
        return torch.stack([torch.block_diag(*blocks) for blocks in zip(*(wigner(k, turn) for k in range(degree + 1)), strict=True)]).to(m.dtype)

    return Representation(group, f"degrees to {degree}", (degree + 1) ** 2, of)


class Steerable(nn.Module):
    """Fields of `inside` copies of rep_in, (batch, inside, dim_in, height, width), to fields of `outside` copies of rep_out.

    side: of the kernel, in pixels. padding: pixels of 0 around. rings: how many radii weights are free at; None: about one for each pixel of the radius.
    """

    every_out: Tensor

    def __init__(self, rep_in: Representation, inside: int, rep_out: Representation, outside: int, side: int, padding: int = 0, rings: int | None = None):
        super().__init__()
        if side < 1:
            raise InputError(f"a steerable kernel of {side} pixels; expected 1 or more")
        self.rep_in, self.rep_out, self.padding = rep_in, rep_out, padding
        line = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
        y, x = (a.flatten() for a in torch.meshgrid(line, line, indexing="ij"))
        radius, angle = torch.hypot(x, y), torch.atan2(y, x)
        count = rings or (side + 1) // 2
        centres = torch.linspace(0 if side % 2 else 0.5, max((side - 1) / 2, 0.5), count, dtype=torch.float64)
        shape = (-(radius[:, None] - centres).square() / (2 * 0.6**2 * max(1.0, (side / 2 / count) ** 2))).exp()
        shape = shape * (radius <= side / 2 + 0.01)[:, None] / shape.square().sum().sqrt()
        self.side, self.off = side, radius > 0
        self.register_buffer("shape", shape, persistent=False)
        self.register_buffer("out_turns", self.turns(rep_out, angle), persistent=False)
        self.register_buffer("in_turns", self.turns(rep_in, angle), persistent=False)
        every = torch.linspace(0, 2 * math.pi, 4 * (rep_in.dim + rep_out.dim) + 1, dtype=torch.float64)[:-1]
        self.register_buffer("every_out", self.turns(rep_out, every), persistent=False)
        self.register_buffer("every_in", self.turns(rep_in, every), persistent=False)
        self.free = nn.Parameter(torch.randn(count, outside, rep_out.dim, inside, rep_in.dim) * math.sqrt(1 / (inside * rep_in.dim)))

    @staticmethod
    def turns(rep: Representation, angle: Float[Tensor, "angles"]) -> Float[Tensor, "angles dim dim"]:
        return rep.of(affine(lie.turn_plane(angle)).matrix)

    def kernel(self) -> Float[Tensor, "outside out inside in_ side side"]:
        with torch.autocast(self.free.device.type, enabled=False):
            shape, a, b = (t.to(self.free.dtype) for t in (self.shape, self.out_turns, self.in_turns))
            m = torch.einsum("pr,roaib->poaib", shape, self.free)
            turned = torch.einsum("pca,poaib,pdb->poicd", a, m, b)
            if not bool(self.off.all()):
                a, b = self.every_out.to(m.dtype), self.every_in.to(m.dtype)
                middle = torch.einsum("nca,oaib,ndb->oicd", a, m[len(m) // 2], b) / len(a)
                turned = torch.where(self.off.to(m.device).view(-1, 1, 1, 1, 1), turned, middle)
            return turned.permute(1, 3, 2, 4, 0).unflatten(-1, (self.side, self.side))

    def forward(self, x: Float[Tensor, "batch inside in_ height width"]) -> Float[Tensor, "batch outside out high wide"]:
        k = self.kernel()
        return F.conv2d(x.flatten(1, 2), k.flatten(0, 1).flatten(1, 2), padding=self.padding).unflatten(1, k.shape[:2])


class Pointwise(nn.Module):
    """Batch normalisation and GELU of the functions on the circle that fields are, taken at even angles: exact for as many turns."""

    waves: Tensor

    def __init__(self, channels: int, most: int):
        super().__init__()
        count = 4 * -(-(2 * most + 2) // 4) if most else 1
        angle = 2 * math.pi * torch.arange(count, dtype=torch.float64) / count
        waves = [torch.ones_like(angle)[None]] + [math.sqrt(2) * torch.stack([(k * angle).cos(), (k * angle).sin()]) for k in range(1, most + 1)]
        self.register_buffer("waves", torch.cat(waves), persistent=False)  # (numbers, angles); their products have mean 0 or 1
        self.norm = nn.BatchNorm3d(channels)

    def forward(self, x: Float[Tensor, "batch channels numbers height width"]) -> Float[Tensor, "batch channels numbers height width"]:
        waves = self.waves.to(x.dtype)
        y = F.gelu(self.norm(torch.einsum("bckhw,kn->bcnhw", x, waves)))
        return torch.einsum("bcnhw,kn->bckhw", y, waves) / waves.shape[1]


class Orthographic(nn.Module):
    """The projection of Image to Sphere (Klee et al., arXiv:2302.13926): a picture lies on the half sphere that is seen, the rest is 0. Nothing is learned.

    cover: the share of the picture's half side at which the sphere's rim is.
    """

    values: Tensor

    def __init__(self, side: int, degree: int, cover: float = 0.9):
        super().__init__()
        line = (torch.arange(side, dtype=torch.float64) - (side - 1) / 2) / (side / 2) / cover
        y, x = (a.flatten() for a in torch.meshgrid(line, line, indexing="ij"))
        inside = torch.hypot(x, y) < 1
        depth = (1 - x.square() - y.square()).clamp(min=1e-3).sqrt()
        at = torch.stack([x, -y, depth], -1) @ SIGHT.T  # the world's, then the harmonics'
        at = F.normalize(at, dim=-1)
        values = torch.cat([math.sqrt(2 * k + 1) * harmonics(k, at) for k in range(degree + 1)], -1)
        area = torch.where(inside, 1 / depth, 0.0).clamp(max=4.0)  # of the sphere, behind a pixel
        self.register_buffer("values", values * (area / area.sum())[:, None], persistent=False)

    def forward(self, x: Float[Tensor, "batch channels 1 side side"]) -> Float[Tensor, "batch channels numbers"]:
        return x.flatten(2) @ self.values.to(x.dtype)


@dataclasses.dataclass(frozen=True)
class Fields:
    """(batch, channels, dim, height, width): places move, and the vectors at them."""

    rep: Representation
    shape: tuple[int, ...]  # channels, height, width

    @property
    def group(self) -> Group:
        return self.rep.group

    def act(self, g: Any, x: Tensor) -> Tensor:
        moved = self.group.act(g, x.flatten(1, 2), "images").view_as(x)
        return self.rep.act(g, moved.movedim(2, -1).contiguous()).movedim(-1, 2)

    def draw(self, count: int, generator: torch.Generator | None, dtype: torch.dtype) -> Tensor:
        c, h, w = self.shape
        return torch.randn(count, c, self.rep.dim, h, w, generator=generator, dtype=torch.float64).to(dtype)


class At(nn.Module):
    """A layer with its spaces."""

    def __init__(self, layer: nn.Module, in_rep: Any, out_rep: Any, exact: bool = True, squeeze: bool = False):
        super().__init__()
        self.layer, self.in_rep, self.out_rep, self.exact, self.squeeze = layer, in_rep, out_rep, exact, squeeze

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x[..., None, None])[..., 0, 0] if self.squeeze else self.layer(x)


def layers() -> dict[str, nn.Module]:
    """On pictures under quarter turns; of a field at one place under all turns."""
    from manyviews.groups import Fields as Vectors

    c4, k1, k2, d3 = Cyclic(4), frequencies(1), frequencies(2), sphere(3)
    one, two, three = (frequencies(1, c4), frequencies(2, c4), sphere(3, c4))
    found: dict[str, nn.Module] = {
        "convolution": At(Steerable(k1, 2, k2, 3, 5, 2), Fields(one, (2, 8, 8)), Fields(two, (3, 8, 8))),
        "induced from a picture": At(Steerable(k2, 2, d3, 3, 8), Fields(two, (2, 8, 8)), Fields(three, (3, 1, 1))),
        "induced from one place": At(Steerable(k2, 2, d3, 3, 1), Vectors(k2, (2,)), Vectors(d3, (3,)), squeeze=True),
        "pointwise": At(Pointwise(2, 2), Fields(two, (2, 8, 8)), Fields(two, (2, 8, 8))),
        "orthographic": At(nn.Sequential(Lifted(), Orthographic(8, 3)), Acting(c4, "images", (2, 8, 8)), Vectors(three, (2,))),
    }
    return found


class Lifted(nn.Module):
    """Pictures as fields of numbers that do not turn."""

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels 1 height width"]:
        return x[:, :, None]
