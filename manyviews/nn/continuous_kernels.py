"""What continuous convolution kernels are made of: polynomials of coordinates, a perceptron of these, and a window that ends them smoothly."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn


def length(v: Float[Tensor, "*rows axes"]) -> Float[Tensor, "*rows"]:
    """With all derivatives 0 at 0, so that forces, which are gradients, can be trained."""
    square = v.square().sum(-1)
    return torch.where(square > 0, square.where(square > 0, 1.0).sqrt(), 0.0)


class Monomials(nn.Module):
    """All products of 1 to `degree` of the numbers, each once."""

    def __init__(self, degree: int):
        super().__init__()
        self.degree = degree

    def forward(self, x: Float[Tensor, "*rows numbers"]) -> Float[Tensor, "*rows monomials"]:
        single = x.unbind(-1)
        last = found = [(k, one) for k, one in enumerate(single)]
        for _ in range(self.degree - 1):
            last = [(k, product * single[k]) for first, product in last for k in range(first, len(single))]
            found = found + last
        return torch.stack([product for _, product in found], -1)


def kernel_basis(numbers: int, degree: int, width: int, basis: int) -> nn.Sequential:
    """The functions of bi-invariants whose sums are all kernels of a network."""
    monomials = math.comb(numbers + degree, degree) - 1
    return nn.Sequential(Monomials(degree), nn.Linear(monomials, width), nn.GELU(), nn.Linear(width, basis), nn.GELU())


def window(share: Float[Tensor, "*edges"], power: int = 6) -> Float[Tensor, "*edges"]:
    """1 at 0, 0 from 1 on, smooth: the envelope of Gasteiger et al., arXiv:2003.03123, Eq. (8)."""
    p, q = power, share.clamp(max=1)
    return 1 - q**p * ((p + 1) * (p + 2) / 2 - p * (p + 2) * q + p * (p + 1) / 2 * q.square())
