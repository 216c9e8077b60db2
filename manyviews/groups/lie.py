"""Exponentials and logarithms of matrices, batched and differentiable, in the float type of what they get.

Rotations have closed forms that hold at every angle: the exponential is Rodrigues' formula with series around 0, the logarithm takes the unit quaternion,
of which the largest number is never small, so that neither angles near 0 nor near pi lose digits. Any other logarithm is found by inverse scaling and squaring
(Higham, "Functions of Matrices", SIAM 2008, chapter 11): square roots until the matrix is near 1, then a Pade approximant, here as a sum of resolvents.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from manyviews.errors import InputError

ROOTS, STEPS = 40, 60  # square roots taken at most, and steps for each
NEAR = 0.25  # norm of A - 1 from which on the approximant is exact to float64


def sinc(square: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """sin(a) / a of a^2, with all derivatives at 0."""
    near = square < 1e-3
    angle = torch.where(near, 1.0, square).sqrt()
    series = 1 - square / 6 * (1 - square / 20 * (1 - square / 42))
    return torch.where(near, series, angle.sin() / angle)


def skew(v: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The matrices W with W p = v x p."""
    x, y, z = v.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack([torch.stack(row, -1) for row in ([o, -z, y], [z, o, -x], [-y, x, o])], -2)


def turn_plane(angle: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch 2 2"]:
    """Rotations of the plane by `angle` (radians), from x to y."""
    c, s = angle.cos(), angle.sin()
    return torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)


def turn_space(v: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotations about v by |v| radians: 1 + sin(a)/a W + (1 - cos a)/a^2 W^2; exactly 1 at 0."""
    square, w = v.square().sum(-1)[..., None, None], skew(v)
    return torch.eye(3, dtype=v.dtype, device=v.device) + sinc(square) * w + sinc(square / 4).square() / 2 * (w @ w)


def quaternions(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternions (w, x, y, z), w not negative. Of the rows of 4 q q^T the one with the largest diagonal is q, up to its length."""
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in rotation.unbind(-2))
    rows = [
        [1 + a + e + i, h - f, c - g, d - b],
        [h - f, 1 + a - e - i, b + d, c + g],
        [c - g, b + d, 1 - a + e - i, f + h],
        [d - b, c + g, f + h, 1 - a - e + i],
    ]
    product = torch.stack([torch.stack(row, -1) for row in rows], -2)
    which = product.diagonal(dim1=-2, dim2=-1).argmax(-1)
    q = torch.nn.functional.normalize(product.gather(-2, which[..., None, None].expand(*which.shape, 1, 4))[..., 0, :], dim=-1)
    return torch.where(q[..., :1] < 0, -q, q)


def relative_quaternion(first: Float[Tensor, "*batch 4"], second: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
    """conj(q1) q2, (w, x, y, z), the body-frame one, with whatever sign the product has."""
    w, v = first[..., :1], -first[..., 1:]
    a, b = second[..., :1], second[..., 1:]
    return torch.cat([w * a - (v * b).sum(-1, keepdim=True), w * b + a * v + torch.linalg.cross(v, b)], -1)


def vector_of(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3"]:
    """Axis times angle (at most pi) of unit quaternions with w not negative."""
    w, v = quaternion[..., 0], quaternion[..., 1:]
    square = v.square().sum(-1)
    near = square < 1e-4
    length = torch.where(near, 1.0, square).sqrt()
    series = 2 * (1 + square / 6 + 3 * square**2 / 40 + 15 * square**3 / 336)
    return v * torch.where(near, series, 2 * torch.atan2(length, w) / length)[..., None]


def log_space(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Axis times angle in [0, pi] of rotations. At pi exactly both signs are right, and one of them is given."""
    return vector_of(quaternions(rotation))


def log_plane(rotation: Float[Tensor, "*batch 2 2"]) -> Float[Tensor, "*batch"]:
    """The angle in (-pi, pi] of rotations of the plane."""
    return torch.atan2(rotation[..., 1, 0] - rotation[..., 0, 1], rotation[..., 0, 0] + rotation[..., 1, 1])


def average_of(generator: Float[Tensor, "*batch n n"]) -> Float[Tensor, "*batch n n"]:
    """The integral of exp(t W) over t from 0 to 1: what takes a velocity to the shift that it makes on the way."""
    n = generator.shape[-1]
    one = torch.eye(n, dtype=generator.dtype, device=generator.device).expand_as(generator)
    top = torch.cat([generator, one], -1)
    return torch.linalg.matrix_exp(torch.cat([top, torch.zeros_like(top)], -2))[..., :n, n:]


# --- any matrix -------------------------------------------------------------------------------------------------------------------------------


def has_log(matrix: Float[Tensor, "batch n n"]) -> Bool[Tensor, "batch"]:
    """Whether there is a principal logarithm: no eigenvalue is 0 or a negative number."""
    values = torch.linalg.eigvals(matrix.detach().double())
    size = values.abs()
    negative = (values.real <= 0) & (values.imag.abs() <= 1e-7 * size)
    return ~(negative | (size <= 1e-14 * size.amax(-1, keepdim=True))).any(-1)


def log_matrix(matrix: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch n n"]:
    """The principal logarithm, found in float64. Raises InputError, with the rows, where there is none."""
    if not bool(torch.isfinite(matrix).all()):
        raise InputError("a matrix with NaN or infinity has no logarithm")
    there = has_log(matrix)
    if not bool(there.all()):
        rows = ", ".join(map(str, (~there).nonzero()[:, 0].tolist()[:8]))
        raise InputError(f"no real logarithm of row {rows}: an eigenvalue is zero or negative; take polar(), or elements nearer to the identity")
    a, scale = matrix.double(), 1.0
    one = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
    for _ in range(ROOTS):
        if float(torch.linalg.matrix_norm(a.detach() - one).max() if len(a) else 0.0) < NEAR:
            break
        a, scale = root(a), 2 * scale
    nodes, weights = resolvents()
    x = a - one
    parts = [weight * torch.linalg.solve(one + node * x, x) for node, weight in zip(nodes, weights, strict=True)]
    return (scale * sum(parts)).to(matrix.dtype)


def root(matrix: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch n n"]:
    """Principal square roots, by the iteration of Denman and Beavers (1976), scaled by determinants until it is near."""
    y, z = matrix, torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device).expand_as(matrix)
    n = matrix.shape[-1]
    for _ in range(STEPS):
        scale = (torch.linalg.det(y.detach()) * torch.linalg.det(z.detach())).abs().clamp(min=1e-300) ** (-1 / (2 * n))
        scale = torch.where((scale - 1).abs() < 1e-2, 1.0, scale)[:, None, None]
        before = y
        y, z = (scale * y + torch.linalg.inv(scale * z)) / 2, (scale * z + torch.linalg.inv(scale * y)) / 2
        if float(((y - before).detach().abs().amax((1, 2)) / y.detach().abs().amax((1, 2))).max()) < 1e-10:  # the next one squares it
            break
    return y


@functools.cache
def resolvents(count: int = 9) -> tuple[list[float], list[float]]:
    """Nodes and weights of Gauss and Legendre on [0, 1]: log(1 + X) = integral of X (1 + t X)^-1, exactly the diagonal Pade approximant."""
    nodes, weights = np.polynomial.legendre.leggauss(count)
    return ((nodes + 1) / 2).tolist(), (weights / 2).tolist()


def polar(matrix: Float[Tensor, "batch n n"]) -> tuple[Float[Tensor, "batch n n"], Float[Tensor, "batch n n"]]:
    """R and S with A = R exp(S), R orthogonal, S symmetric: unique for every invertible A, and smooth also where singular values are equal."""
    s = log_matrix(matrix.double().mT @ matrix.double()) / 2
    s = (s + s.mT) / 2
    return (matrix.double() @ torch.linalg.matrix_exp(-s)).to(matrix.dtype), s.to(matrix.dtype)
