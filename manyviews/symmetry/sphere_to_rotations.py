"""Functions on the sphere and on SO(3), in harmonics up to a degree, and a grid of rotations to take them at: the layers of `induced_pose` in space.

The grid has equal shares of SO(3): the directions of HEALPix, and angles about them (Yershova et al., 2010). A function on SO(3) is its numbers before the
entries of Wigner's matrices, degree by degree. Convolutions are exact; a nonlinearity is taken on the grid, which is finite, and so only nearly respects turns.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.errors import InputError
from manyviews.groups import Fields as Vectors
from manyviews.groups import Representation, lie, so3, wigner
from manyviews.symmetry.plane_to_sphere import SIGHT, At

# --- rotations --------------------------------------------------------------------------------------------------------------------------------


def directions(nside: int) -> Float[Tensor, "pixels 3"]:
    """The centres of HEALPix' 12 nside^2 pixels of equal area, ring by ring (Gorski et al., 2005), with the rings about y; float64."""
    rings = []
    for i in range(1, 4 * nside):
        cap = min(i, 4 * nside - i)
        if cap < nside:
            count, start, height = 4 * cap, 0.5, (1 - cap * cap / (3 * nside * nside)) * (1 if i < nside else -1)
        else:
            count, start, height = 4 * nside, 0.5 * ((i - nside + 1) % 2), 4 / 3 - 2 * i / (3 * nside)
        angle = 2 * math.pi * (torch.arange(count, dtype=torch.float64) + start) / count
        width = math.sqrt(1 - height * height)
        rings.append(torch.stack([width * angle.sin(), torch.full_like(angle, height), width * angle.cos()], -1))
    return torch.cat(rings)


@functools.cache
def rotations(level: int) -> Float[Tensor, "rotations 3 3"]:
    """72 times 8^level rotations that share SO(3) evenly: each of HEALPix' directions of nside 2^level, and 6 nside angles about y before; float64."""
    if not 0 <= level <= 5:
        raise InputError(f"induced_pose: a grid of level {level}; there are 0 to 5")
    nside = 2**level
    d = directions(nside)
    y = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    tilt = torch.atan2(d[:, [0, 2]].norm(dim=1), d[:, 1])
    to = lie.turn_space(torch.atan2(d[:, 0], d[:, 2])[:, None] * y) @ lie.turn_space(tilt[:, None] * torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64))
    about = lie.turn_space(2 * math.pi * torch.arange(6 * nside, dtype=torch.float64)[:, None] / (6 * nside) * y)
    return (to[:, None] @ about).flatten(0, 1)


def waves(rotation: Float[Tensor, "rotations 3 3"], degree: int) -> Float[Tensor, "rotations numbers"]:
    """Matrix entries up to a degree, with mean square 1 over SO(3), of rotations from an object's frame to the world."""
    r = SIGHT.to(rotation) @ rotation
    return torch.cat([math.sqrt(2 * k + 1) * wigner(k, r).flatten(1) for k in range(degree + 1)], 1)


def angles(a: Float[Tensor, "batch 3 3"], b: Float[Tensor, "batch 3 3"]) -> Float[Tensor, "batch"]:
    """Between rotations, in degrees."""
    return torch.rad2deg(lie.log_space(a.double().mT @ b.double()).norm(dim=-1))


# --- layers in space --------------------------------------------------------------------------------------------------------------------------


class SphereToRotations(nn.Module):
    """Functions on the sphere to functions on SO(3): of each degree the outer product with free numbers."""

    def __init__(self, inside: int, outside: int, degree: int):
        super().__init__()
        self.degree = degree
        self.free = nn.ParameterList(torch.randn(inside, outside, 2 * k + 1) / math.sqrt(inside * (2 * k + 1)) for k in range(degree + 1))

    def forward(self, x: Float[Tensor, "batch inside numbers"]) -> Float[Tensor, "batch outside waves"]:
        parts = x.split([2 * k + 1 for k in range(self.degree + 1)], -1)
        return torch.cat([torch.einsum("bim,ion->bomn", part, w).flatten(2) for part, w in zip(parts, self.free, strict=True)], -1)


class OnRotations(nn.Module):
    """Convolution of functions on SO(3): of each degree a product of matrices."""

    def __init__(self, inside: int, outside: int, degree: int):
        super().__init__()
        self.degree = degree
        self.free = nn.ParameterList(torch.randn(inside, outside, 2 * k + 1, 2 * k + 1) / math.sqrt(inside * (2 * k + 1)) for k in range(degree + 1))

    def forward(self, x: Float[Tensor, "batch inside waves"]) -> Float[Tensor, "batch outside waves"]:
        parts = x.split([(2 * k + 1) ** 2 for k in range(self.degree + 1)], -1)
        found = [torch.einsum("bimn,ionp->bomp", part.unflatten(-1, (w.shape[-1], -1)), w).flatten(2) for part, w in zip(parts, self.free, strict=True)]
        return torch.cat(found, -1)


class Rectified(nn.Module):
    """ReLU of functions on SO(3), taken at a grid of rotations."""

    table: Tensor

    def __init__(self, degree: int, level: int = 1):
        super().__init__()
        self.register_buffer("table", waves(rotations(level), degree), persistent=False)

    def forward(self, x: Float[Tensor, "batch channels waves"]) -> Float[Tensor, "batch channels waves"]:
        table = self.table.to(x.dtype)
        return F.relu(x @ table.T) @ table / len(table)


def layers() -> dict[str, nn.Module]:
    """Layers on the sphere and on SO(3)."""

    def of(m: Tensor) -> Tensor:
        return torch.stack([torch.block_diag(*blocks) for blocks in zip(*(wigner(k, m[:, :-1, :-1]) for k in range(3)), strict=True)])

    def of_rows(m: Tensor) -> Tensor:
        parts = (torch.kron(wigner(k, row[None, :-1, :-1])[0], torch.eye(2 * k + 1, dtype=m.dtype)) for row in m for k in range(3))
        every = list(parts)
        return torch.stack([torch.block_diag(*every[i : i + 3]) for i in range(0, len(every), 3)])

    ball, space = Representation(so3, "degrees to 2", 9, of), Representation(so3, "waves to 2", 35, of_rows)
    return {
        "sphere to rotations": At(SphereToRotations(2, 3, 2), Vectors(ball, (2,)), Vectors(space, (3,))),
        "on rotations": At(OnRotations(2, 3, 2), Vectors(space, (2,)), Vectors(space, (3,))),
        "rectified": At(Rectified(2), Vectors(space, (2,)), Vectors(space, (2,)), exact=False),
    }
