"""Real spherical harmonics and the matrices by which rotations mix them (Wigner D matrices), ordered and signed as in e3nn (Geiger and Smidt,
arXiv:2207.09453).

Of degree l there are 2 l + 1, from m = -l to l, sines of the angle about the y axis before cosines; here their squares add up to 1 on the sphere, and those of
degree 1 are x, y, z themselves, so that D of degree 1 is the rotation matrix. D of degree l is what D of degree l - 1 times the rotation does to the one part
of the tensor product that has this degree: products of matrix entries, exact and smooth at every rotation.
"""

from __future__ import annotations

import functools
import math

import torch
from jaxtyping import Float
from torch import Tensor

from manyviews.errors import InputError

LARGEST = 32  # degree up to which the bases are found to 1e-11 and better


def harmonics(degree: int, directions: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch orders"]:
    """The harmonics of one degree at unit vectors: f(R d) = D(R) f(d)."""
    if not 0 <= degree <= LARGEST:
        raise InputError(f"harmonics have a degree from 0 to {LARGEST} here, not {degree}")
    x, y, z = directions.unbind(-1)
    sine, cosine = [torch.zeros_like(x)], [torch.ones_like(x)]
    for _ in range(degree):  # of m times the angle about y, times the distance from y to the power m
        sine, cosine = [*sine, z * sine[-1] + x * cosine[-1]], [*cosine, z * cosine[-1] - x * sine[-1]]
    along = [legendre(degree, m, y) for m in range(degree + 1)]
    return torch.stack([along[-m] * sine[-m] if m < 0 else along[m] * cosine[m] for m in range(-degree, degree + 1)], -1)


def legendre(degree: int, m: int, y: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """The associated Legendre function without its power of sqrt(1 - y^2), scaled so that squares of all orders add up to 1."""
    before, now = torch.zeros_like(y), torch.full_like(y, math.sqrt(2 if m else 1) * math.sqrt(math.prod((2 * k - 1) / (2 * k) for k in range(1, m + 1))))
    for k in range(m + 1, degree + 1):
        up, down = math.sqrt(k * k - m * m), math.sqrt((k - 1) ** 2 - m * m)
        before, now = now, ((2 * k - 1) * y * now - down * before) / up
    return now


@functools.cache
def top_part(degree: int) -> Float[Tensor, "orders products"]:
    """An orthonormal basis of degree l in the products of degree l - 1 with x, y, z (rows), in float64: the Clebsch-Gordan coefficients."""
    count = 8 * (2 * degree + 1)
    k = torch.arange(count, dtype=torch.float64) + 0.5
    height, angle = 1 - 2 * k / count, math.pi * (1 + math.sqrt(5)) * k
    radius = (1 - height.square()).sqrt()
    directions = torch.stack([angle.cos() * radius, height, angle.sin() * radius], -1)
    products = (harmonics(degree - 1, directions)[:, :, None] * directions[:, None]).flatten(1)
    found = (torch.linalg.pinv(products, rtol=1e-10) @ harmonics(degree, directions)).T  # the least solution is an equivariant map
    u, _, v = torch.linalg.svd(found, full_matrices=False)
    return u @ v


def wigner(degree: int, rotation: Float[Tensor, "batch 3 3"]) -> Float[Tensor, "batch orders orders"]:
    """The orthogonal matrices D with harmonics(R d) = D(R) harmonics(d), found in float64 and given in the type of the rotations."""
    if not 0 <= degree <= LARGEST:
        raise InputError(f"D matrices have a degree from 0 to {LARGEST} here, not {degree}")
    r = rotation.double()
    d = r if degree else r.new_ones(len(r), 1, 1)
    for step in range(2, degree + 1):
        c = top_part(step).to(r.device)
        both = torch.einsum("bij,bkl->bikjl", d, r).flatten(3).flatten(1, 2)
        d = c @ both @ c.T
    return d.to(rotation.dtype)
