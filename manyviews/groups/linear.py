"""Linear groups that stretch: one factor for all directions, with rotations or without, GL+(n) and SL(n)."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from manyviews.errors import InputError
from manyviews.groups import lie
from manyviews.groups.elements import Affine
from manyviews.groups.group import Draws, Linear, affine, linear_of, tolerance
from manyviews.groups.orthogonal import SO, angle_axis, angle_of, improper


def factor_of(a: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch"]:
    """|det A|^(1/n)."""
    return torch.linalg.det(a).abs() ** (1 / a.shape[-1])


def not_a_factor(a: Float[Tensor, "batch n n"]) -> Bool[Tensor, "batch"]:
    factor = a.detach().diagonal(dim1=1, dim2=2).mean(-1)
    off = (a.detach() - torch.diag_embed(factor[:, None].expand(-1, a.shape[-1]))).abs().amax((1, 2))
    return ~(off <= tolerance(a.dtype) * factor.abs())


@dataclasses.dataclass(frozen=True)
class Scaling(Linear):
    """Positive factors, the same along all axes. The coordinate is the logarithm of the factor. `most`: the largest factor drawn, and 1 / most the smallest."""

    most: float = 2.0
    dim: ClassVar[int] = 1

    @property
    def name(self) -> str:
        return f"scaling{self.axes}"

    @property
    def about(self) -> str:
        return f"scalings by one positive factor in {self.axes} dimensions"

    @property
    def sampling(self) -> str:
        return f"the factor's logarithm is uniform between those of 1/{self.most:g} and {self.most:g}, times the strength"

    def drawn_linear(self, draws: Draws, strength: float) -> Float[Tensor, "batch n n"]:
        return self.exp_linear((2 * draws.uniform("factor", 1) - 1) * math.log(self.most) * strength)

    def exp_linear(self, v: Float[Tensor, "batch 1"]) -> Float[Tensor, "batch n n"]:
        return torch.diag_embed(v.exp().expand(-1, self.axes))

    def log_linear(self, a: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch 1"]:
        return self.parameters_linear(a)["factor"].log()[:, None]

    def generator_linear(self, v: Float[Tensor, "batch 1"]) -> Float[Tensor, "batch n n"]:
        return torch.diag_embed(v.expand(-1, self.axes))

    def faults_linear(self, a: Float[Tensor, "batch n n"]) -> dict[str, Bool[Tensor, "batch"]]:
        return {"is not one factor for all axes": not_a_factor(a), "has a factor that is not positive": ~(a[:, 0, 0] > 0)}

    def parameters_linear(self, a: Float[Tensor, "batch n n"]) -> dict[str, Tensor]:
        return {"factor": a.diagonal(dim1=1, dim2=2).mean(-1)}

    def size_linear(self, a: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch"]:
        """|log of the factor|."""
        return self.log_linear(a)[:, 0].abs()


@dataclasses.dataclass(frozen=True)
class Conformal(Linear):
    """Rotations times positive factors: the linear part of similarities. Coordinates: the rotation's, then the logarithm of the factor."""

    most: float = 2.0

    @property
    def name(self) -> str:
        return f"conformal{self.axes}"

    @property
    def about(self) -> str:
        return f"rotations and scalings of {'the plane' if self.axes == 2 else 'space'}"

    @property
    def parts(self) -> tuple[SO, Scaling]:
        return SO(self.axes), Scaling(self.axes, self.most)

    @property
    def sampling(self) -> str:
        return f"the rotation: {self.parts[0].sampling}; {self.parts[1].sampling}"

    @property
    def dim(self) -> int:  # type: ignore[override]
        return self.parts[0].dim + 1

    def drawn_linear(self, draws: Draws, strength: float) -> Float[Tensor, "batch n n"]:
        return self.parts[0].drawn_linear(draws, strength) @ self.parts[1].drawn_linear(draws, strength)

    def exp_linear(self, v: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch n n"]:
        return self.parts[0].exp_linear(v[:, :-1]) * v[:, -1:, None].exp()

    def log_linear(self, a: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch dim"]:
        factor = factor_of(a)
        return torch.cat([self.parts[0].log_linear(a / factor[:, None, None]), factor.log()[:, None]], -1)

    def generator_linear(self, v: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch n n"]:
        return self.parts[0].generator_linear(v[:, :-1]) + self.parts[1].generator_linear(v[:, -1:])

    def faults_linear(self, a: Float[Tensor, "batch n n"]) -> dict[str, Bool[Tensor, "batch"]]:
        return {"is not a rotation times a factor": not_a_factor(a.mT @ a), "is improper (determinant below 0: a reflection)": improper(a)}

    def parameters_linear(self, a: Float[Tensor, "batch n n"]) -> dict[str, Tensor]:
        factor = factor_of(a)
        return {**angle_axis(a / factor[:, None, None]), "factor": factor}

    def size_linear(self, a: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch"]:
        """The root of angle^2 + (log of the factor)^2."""
        p = self.parameters_linear(a)
        return torch.hypot(p["angle"], p["factor"].log())


@dataclasses.dataclass(frozen=True)
class GL(Linear):
    """GL+(n): linear maps of positive determinant. Coordinates: the entries of the logarithm, row by row, which not every element has.

    Every element is a rotation after a symmetric positive map, A = R exp(S) (`polar`); samples, parameters and distances are made of that.
    `spread`: the entries of S are drawn from +-spread.
    """

    spread: float = 0.4

    def __post_init__(self) -> None:
        SO(self.axes)

    @property
    def name(self) -> str:
        return f"gl{self.axes}"

    @property
    def about(self) -> str:
        return f"linear maps of {'the plane' if self.axes == 2 else 'space'} with positive determinant, GL+({self.axes})"

    @property
    def sampling(self) -> str:
        return (
            f"R exp(S): R uniform on SO({self.axes}), the angle times the strength; entries of the symmetric S uniform in +-{self.spread:g} times the strength"
        )

    @property
    def dim(self) -> int:  # type: ignore[override]
        return self.axes**2

    def symmetric(self, s: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch n n"]:
        """What S may be, of any matrix."""
        return (s.triu() + s.triu(1).mT).contiguous()

    def basis(self, like: Tensor) -> Float[Tensor, "dim n n"]:
        """Of the Lie algebra, orthonormal."""
        return torch.eye(self.axes**2, dtype=like.dtype, device=like.device).view(-1, self.axes, self.axes)

    def drawn_linear(self, draws: Draws, strength: float) -> Float[Tensor, "batch n n"]:
        r = SO(self.axes).drawn_linear(draws, strength)
        s = self.symmetric((2 * draws.uniform("stretch", self.axes, self.axes) - 1) * self.spread * strength)
        return r @ torch.linalg.matrix_exp(s)

    def exp_linear(self, v: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch n n"]:
        return torch.linalg.matrix_exp(self.generator_linear(v))

    def log_linear(self, a: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch dim"]:
        return torch.einsum("bij,dij->bd", lie.log_matrix(a), self.basis(a))

    def generator_linear(self, v: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch n n"]:
        return torch.einsum("bd,dij->bij", v, self.basis(v))

    def faults_linear(self, a: Float[Tensor, "batch n n"]) -> dict[str, Bool[Tensor, "batch"]]:
        values = torch.linalg.svdvals(torch.nan_to_num(a.detach()))
        return {
            "is singular": ~(values[:, -1] > 8 * torch.finfo(a.dtype).eps * values[:, 0]),
            "is improper (determinant below 0: a reflection)": improper(a),
        }

    def polar(self, g: Affine) -> tuple[Affine, Float[Tensor, "batch n n"]]:
        """The rotation R and the symmetric S of A = R exp(S): always there, unique and smooth."""
        self.check(g)
        r, s = lie.polar(linear_of(g))
        return affine(r), s

    def from_polar(self, rotation: Affine, s: Float[Tensor, "batch n n"]) -> Affine:
        """R exp(S)."""
        return affine(linear_of(rotation) @ torch.linalg.matrix_exp(s))

    def parameters_linear(self, a: Float[Tensor, "batch n n"]) -> dict[str, Tensor]:
        """Of the rotation in it, its `stretches` (singular values, largest first), and `factor`, the root of degree n of the determinant."""
        return {**angle_axis(lie.polar(a)[0]), "stretches": torch.linalg.svdvals(a), "factor": factor_of(a)}

    def size_linear(self, a: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch"]:
        """The root of angle^2 + |S|^2, of A = R exp(S): the same from either side, though no shortest path has that length."""
        r, s = lie.polar(a)
        return torch.hypot(angle_of(r), s.norm(dim=(1, 2)))


@dataclasses.dataclass(frozen=True)
class SL(GL):
    """SL(n): linear maps of determinant 1. As GL, with S and the logarithm free of trace: n^2 - 1 coordinates."""

    @property
    def name(self) -> str:
        return f"sl{self.axes}"

    @property
    def about(self) -> str:
        return f"linear maps of {'the plane' if self.axes == 2 else 'space'} with determinant 1, SL({self.axes})"

    @property
    def sampling(self) -> str:
        return super().sampling + ", less its trace"

    @property
    def dim(self) -> int:  # type: ignore[override]
        return self.axes**2 - 1

    def symmetric(self, s: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch n n"]:
        s = super().symmetric(s)
        return s - torch.diag_embed(s.diagonal(dim1=1, dim2=2).mean(-1, keepdim=True).expand(-1, self.axes))

    def basis(self, like: Tensor) -> Float[Tensor, "dim n n"]:
        """What is off the diagonal row by row, then 1 ... 1 -k on the diagonal."""
        n = self.axes
        off = [(i, j) for i in range(n) for j in range(n) if i != j]
        out = like.new_zeros(n * n - 1, n, n)
        for k, (i, j) in enumerate(off):
            out[k, i, j] = 1
        for k in range(1, n):
            row = [1.0] * k + [-float(k)] + [0.0] * (n - k - 1)
            out[len(off) + k - 1] = torch.diag(like.new_tensor(row)) / math.sqrt(k * k + k)
        return out

    def faults_linear(self, a: Float[Tensor, "batch n n"]) -> dict[str, Bool[Tensor, "batch"]]:
        return {**super().faults_linear(a), "has a determinant that is not 1": ~((torch.linalg.det(a) - 1).abs() <= 10 * tolerance(a.dtype))}


def parts_of(g: Affine) -> tuple[Float[Tensor, "batch n n"], Float[Tensor, "batch n"]]:
    """A and b of p -> A p + b."""
    if g.matrix.dim() != 3:
        raise InputError(f"an element is a batch of matrices, not {tuple(g.matrix.shape)}")
    return linear_of(g), g.matrix[:, :-1, -1]
