"""Real spherical harmonics as files of Gaussian splats mean them, and what a turn does to a function that they make up.

Of degree l there are 2 l + 1, from m = -l to l, of norm 1 on the sphere: sines for m < 0, cosines for m > 0, with the sign (-1)^m. Those of one degree only
mix with one another when the sphere is turned or mirrored. Kerbl et al. 2023, arXiv:2308.04079, use degrees up to 3.
"""

from __future__ import annotations

import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor


def harmonics(degree: int, directions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch orders"]:
    """The harmonics of one degree at unit vectors."""
    x, y, z = directions.unbind(-1)
    legendre, cosine, sine = along_z(degree, z), [torch.ones_like(x)], [torch.zeros_like(x)]
    for _ in range(degree):  # of m times the angle about z, times the distance from z to the power m
        cosine, sine = [*cosine, x * cosine[-1] - y * sine[-1]], [*sine, x * sine[-1] + y * cosine[-1]]
    found = []
    for m in range(-degree, degree + 1):
        k = abs(m)
        norm = math.sqrt((2 if m else 1) * (2 * degree + 1) / (4 * math.pi) * math.factorial(degree - k) / math.factorial(degree + k))
        found.append((-1) ** k * norm * legendre[k] * (sine if m < 0 else cosine)[k])
    return torch.stack(found, -1)


def along_z(degree: int, z: Float[Tensor, "*batch"]) -> list[Float[Tensor, "*batch"]]:
    """The associated Legendre functions of one degree and orders 0 to it, without their powers of sqrt(1 - z^2)."""
    found = []
    for m in range(degree + 1):
        before, now = torch.zeros_like(z), torch.full_like(z, math.prod(range(1, 2 * m, 2)))
        for k in range(m + 1, degree + 1):
            before, now = now, (z * (2 * k - 1) * now - (k + m - 1) * before) / (k - m)
        found.append(now)
    return found


def turned(degree: int, rotation: Float[Tensor, "batch 3 3"]) -> Float[Tensor, "batch orders orders"]:
    """The matrices that take the coefficients of f to those of d -> f(R^-1 d), for rotations or reflections R.

    By the values at enough directions, which the harmonics of this degree fit exactly.
    """
    directions, fit = fitted(degree)
    moved = harmonics(degree, directions.to(rotation.device) @ rotation.double())
    return (fit.to(rotation.device) @ moved).to(rotation.dtype)


@functools.cache
def fitted(degree: int) -> tuple[Float[Tensor, "directions 3"], Float[Tensor, "orders directions"]]:
    """Directions spread over the sphere, and what makes coefficients of the values there."""
    count = 4 * (2 * degree + 1)
    k = torch.arange(count, dtype=torch.float64) + 0.5
    z, angle = 1 - 2 * k / count, math.pi * (1 + math.sqrt(5)) * k
    directions = torch.stack([angle.cos() * (1 - z * z).sqrt(), angle.sin() * (1 - z * z).sqrt(), z], -1)
    return directions, torch.linalg.pinv(harmonics(degree, directions))
