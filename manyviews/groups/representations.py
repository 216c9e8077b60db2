"""Linear representations of groups: a matrix for each element, products to products.

    rep = irrep(so3, 2)                       # 5 x 5 Wigner D matrices
    rep.matrix(g), rep.dim                    # (batch, dim, dim)
    big = 8 * trivial(so3) + 4 * standard(so3) + rep * rep.dual()
    big.act(g, features)                      # (batch, ..., dim)

They are functions of an element's matrix alone, so that gradients pass, and rows of a batch may be any elements.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.errors import InputError
from manyviews.groups.elements import Affine, Colour, Permutation
from manyviews.groups.finite import LISTED, Finite, Symmetric
from manyviews.groups.group import Element, Group, OfPoints
from manyviews.groups.linear import GL, Conformal, Scaling
from manyviews.groups.motions import WithShifts

Matrices = Callable[[Float[Tensor, "batch n n"]], Float[Tensor, "batch dim dim"]]


def plain_matrix(g: Element, dtype: torch.dtype | None = None) -> Float[Tensor, "batch n n"]:
    """An element as a square matrix: homogeneous for maps of points, 3 x 3 for colours, of zeros and ones for permutations."""
    matrix = g.matrix[:, :, :-1] if isinstance(g, Colour) else g.matrix
    return matrix if dtype is None else matrix.to(dtype)


@dataclasses.dataclass(frozen=True)
class Representation:
    """A representation of `group` by real (dim, dim) matrices. `orthogonal`: whether they keep lengths."""

    group: Group
    name: str
    dim: int
    of: Matrices = dataclasses.field(compare=False, repr=False)
    parts: tuple[Representation, ...] = dataclasses.field(default=(), compare=False, repr=False)  # of a direct sum
    orthogonal: bool = True

    def matrix(self, g: Element, dtype: torch.dtype | None = None) -> Float[Tensor, "batch dim dim"]:
        """The matrices of elements, in their float type or in `dtype`."""
        return self.of(plain_matrix(g, dtype))

    def act(self, g: Element, x: Float[Tensor, "batch *rest dim"]) -> Float[Tensor, "batch *rest dim"]:
        """Vectors (along the last axis) mapped by their sample's matrix."""
        if x.shape[-1] != self.dim:
            raise InputError(f"{self.name} of {self.group.name} acts on {self.dim} numbers, not {x.shape[-1]}")
        m = self.matrix(g, x.dtype)
        return (x.reshape(len(x), -1, self.dim) @ m.mT).reshape(x.shape)

    def draw(self, count: int, generator: torch.Generator | None, dtype: torch.dtype) -> Float[Tensor, "count dim"]:
        """Random vectors to try a map on."""
        return torch.randn(count, self.dim, generator=generator, dtype=torch.float64).to(dtype)

    def dual(self) -> Representation:
        """What linear functions of the vectors do: the inverse transpose. Orthogonal ones are their own."""
        if self.orthogonal:
            return self
        if self.parts:
            return direct_sum(*(part.dual() for part in self.parts))
        return Representation(self.group, f"dual({self.name})", self.dim, lambda m: torch.linalg.inv(self.of(m)).mT, (), False)

    def __add__(self, other: Representation) -> Representation:
        return direct_sum(self, other)

    def __mul__(self, other: Representation) -> Representation:
        return tensor_product(self, other)

    def __rmul__(self, times: int) -> Representation:
        """`4 * rep`: the direct sum of so many."""
        return direct_sum(*[self] * times)


def same_group(*reps: Representation) -> Group:
    if not reps:
        raise InputError("a direct sum or product needs one representation or more")
    if any(rep.group != reps[0].group for rep in reps):
        raise InputError(f"representations of different groups do not go together: {', '.join(dict.fromkeys(rep.group.name for rep in reps))}")
    return reps[0].group


def direct_sum(*reps: Representation) -> Representation:
    """Vectors side by side, each under its own representation."""
    group = same_group(*reps)
    parts = tuple(part for rep in reps for part in (rep.parts or (rep,)))
    dim = sum(part.dim for part in parts)

    def of(m: Tensor) -> Tensor:
        blocks = {part: part.of(m) for part in dict.fromkeys(parts)}
        out, at = m.new_zeros(len(m), dim, dim), 0
        for part in parts:
            out[:, at : at + part.dim, at : at + part.dim] = blocks[part]
            at += part.dim
        return out

    names = [f"{parts.count(part)} {part.name}" if parts.count(part) > 1 else part.name for part in dict.fromkeys(parts)]
    return Representation(group, " + ".join(names), dim, of, parts, all(part.orthogonal for part in parts))


def tensor_product(a: Representation, b: Representation) -> Representation:
    """Products of the numbers of both, those of the second one running fastest (Kronecker)."""
    group = same_group(a, b)

    def of(m: Tensor) -> Tensor:
        return torch.einsum("bij,bkl->bikjl", a.of(m), b.of(m)).flatten(3).flatten(1, 2)

    return Representation(group, f"({a.name}) x ({b.name})", a.dim * b.dim, of, (), a.orthogonal and b.orthogonal)


def trivial(group: Group, dim: int = 1) -> Representation:
    """Numbers that do not change."""
    one = Representation(group, "trivial", 1, lambda m: m.new_ones(len(m), 1, 1))
    return one if dim == 1 else direct_sum(*[one] * dim)


def standard(group: Group) -> Representation:
    """The group as it is given: vectors for maps of points, colours for hue, n numbers for permutations. Where there are shifts they have an own number, 1."""
    if isinstance(group, WithShifts):
        n = group.axes + 1
        return Representation(group, "standard", n, lambda m: m, (), False)
    if isinstance(group, OfPoints):
        return Representation(group, "standard", group.axes, lambda m: m[:, :-1, :-1], (), keeps_lengths(group))
    return Representation(group, "standard", group.n if isinstance(group, Symmetric) else 3, lambda m: m)


def directions(group: Group) -> Representation:
    """Vectors under the linear part: shifts do nothing to them."""
    if not isinstance(group, OfPoints):
        raise InputError(f"{group.name} does not move points; standard({group.name}) is there")
    return Representation(group, "directions", group.axes, lambda m: m[:, :-1, :-1], (), keeps_lengths(group))


def determinant(group: Group) -> Representation:
    """One number, times the determinant of the linear part (the sign, for permutations): pseudoscalars."""
    linear = isinstance(group, OfPoints)
    return Representation(
        group, "determinant", 1, lambda m: torch.linalg.det(m[:, :-1, :-1] if linear else m)[:, None, None], (), not linear or keeps_lengths(group)
    )


def keeps_lengths(group: Group) -> bool:
    """Whether the linear part is orthogonal."""
    part = group.part if isinstance(group, WithShifts) else group
    return not isinstance(part, Scaling | Conformal | GL)


def regular(group: Group) -> Representation:
    """Functions on a finite group: what stands at h comes to stand at g h."""
    if not isinstance(group, Finite | Symmetric) or group.order is None:
        raise InputError(f"{group.name} is not finite: its regular representation has no end; irreps(group, most) are a part of it")
    if group.order > LISTED:
        raise InputError(
            f"the regular representation of {group.name} has more than {LISTED} dimensions, which is the most here; standard and irreps are smaller"
        )
    size = group.order

    def of(m: Tensor) -> Tensor:
        to = (permuted(group, m) if isinstance(group, Symmetric) else turned(group, m)).view(len(m), 1, size)
        return m.new_zeros(len(m), size, size).scatter(1, to, 1.0)

    return Representation(group, "regular", size, of)


def turned(group: Finite, m: Float[Tensor, "batch n n"]) -> Int[Tensor, "products"]:
    """The numbers of all products g h, for each g all h."""
    return group.number(Affine((m[:, None] @ group.elements(m.dtype, m.device).matrix).flatten(0, 1)))


def permuted(group: Symmetric, m: Float[Tensor, "batch n n"]) -> Int[Tensor, "products"]:
    """The same for permutations."""
    every = group.elements(device=m.device)
    g, h = m.argmax(1).repeat_interleave(len(every.order), 0), every.order.repeat(len(m), 1)
    return group.number(Permutation(g) @ Permutation(h))
