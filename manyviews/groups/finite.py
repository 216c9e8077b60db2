"""Groups without a path between their elements: mirrors, cyclic and dihedral groups of the plane, permutations."""

from __future__ import annotations

import abc
import dataclasses
import itertools
import math
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from manyviews.errors import InputError
from manyviews.groups import lie
from manyviews.groups.elements import Affine, Permutation
from manyviews.groups.group import Draws, Group, Linear, affine, linear_of
from manyviews.groups.orthogonal import improper, orthogonal_faults

LISTED = 720  # elements of a group that are listed one by one, at most


@dataclasses.dataclass(frozen=True)
class Finite(Linear):
    """Linear groups of finitely many elements, which are numbered from the identity, 0."""

    haar: ClassVar[bool] = True

    @abc.abstractmethod
    def numbered(self, number: Int[Tensor, "batch"], dtype: torch.dtype | None = None) -> Float[Tensor, "batch n n"]:
        """The matrices of elements by their numbers."""

    @abc.abstractmethod
    def number(self, g: Affine) -> Int[Tensor, "batch"]:
        """The numbers of elements."""

    def elements(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Affine:
        """All elements, in the order of their numbers."""
        assert self.order is not None
        return affine(self.numbered(torch.arange(self.order, device=device), dtype))

    def inverse_linear(self, a: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch n n"]:
        return a.mT

    def generators(self) -> list[Any]:
        every = self.elements(torch.float64)
        return [every[k : k + 1] for k in range(1, len(every.matrix))]


@dataclasses.dataclass(frozen=True)
class Flips(Finite):
    """The identity and the mirror image along one axis."""

    axis: int = 0
    order: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if not 0 <= self.axis < self.axes:
            raise InputError(f"there is no axis {self.axis} in {self.axes} dimensions")

    @property
    def name(self) -> str:
        return f"flip_{'xyz'[self.axis] if self.axis < 3 else self.axis}{'' if self.axes == 2 else self.axes}"

    @property
    def about(self) -> str:
        return f"the mirror image along axis {self.axis} in {self.axes} dimensions, and the identity"

    @property
    def sampling(self) -> str:
        return "mirrored with probability strength / 2: uniform at strength 1"

    def numbered(self, number: Int[Tensor, "batch"], dtype: torch.dtype | None = None) -> Float[Tensor, "batch n n"]:
        one = torch.ones(len(number), self.axes, dtype=dtype or torch.get_default_dtype(), device=number.device)
        one[:, self.axis] = 1 - 2 * number.to(one.dtype)
        return torch.diag_embed(one)

    def number(self, g: Affine) -> Int[Tensor, "batch"]:
        return improper(linear_of(g)).long()

    def drawn_linear(self, draws: Draws, strength: float) -> Float[Tensor, "batch n n"]:
        return self.numbered((draws.uniform("mirrored") < strength / 2).long(), draws.dtype)

    def faults_linear(self, a: Float[Tensor, "batch n n"]) -> dict[str, Bool[Tensor, "batch"]]:
        return {"is neither the identity nor the mirror": ~((a - self.numbered(improper(a).long(), a.dtype)).abs().amax((1, 2)) <= 1e-6)}

    def parameters_linear(self, a: Float[Tensor, "batch n n"]) -> dict[str, Tensor]:
        return {"mirrored": improper(a).to(a.dtype)}

    def size_linear(self, a: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch"]:
        """1 for the mirror, 0 for the identity."""
        return improper(a).to(a.dtype)


@dataclasses.dataclass(frozen=True)
class Cyclic(Finite):
    """C_n: turns of the plane by multiples of 2 pi / n; element k turns by k of them, from x to y."""

    axes: int = dataclasses.field(default=2, init=False)
    n: int = 4

    def __post_init__(self) -> None:
        if self.n < 1:
            raise InputError(f"the number of turns is 1 or more, not {self.n}")

    @property
    def name(self) -> str:
        return f"c{self.n}"

    @property
    def about(self) -> str:
        return f"turns of the plane by multiples of 1/{self.n} of a full turn"

    @property
    def sampling(self) -> str:
        return "uniform among the turns by at most strength times half a turn: on the whole group at strength 1"

    @property
    def order(self) -> int:  # type: ignore[override]
        return self.n

    def numbered(self, number: Int[Tensor, "batch"], dtype: torch.dtype | None = None) -> Float[Tensor, "batch n n"]:
        """Quarter turns are whole numbers exactly."""
        k = number % self.n
        matrix = lie.turn_plane(k.double() * (2 * math.pi / self.n))
        exact = (4 * k) % self.n == 0
        return torch.where(exact[:, None, None], matrix.round() + 0.0, matrix).to(dtype or torch.get_default_dtype())

    def turns(self, a: Float[Tensor, "batch n n"]) -> Int[Tensor, "batch"]:
        """Turns of a matrix whose first column is that of a rotation."""
        angle = torch.atan2(a[:, 1, 0], a[:, 0, 0])
        return (angle * self.n / (2 * math.pi)).round().long() % self.n

    def number(self, g: Affine) -> Int[Tensor, "batch"]:
        return self.turns(linear_of(g))

    def drawn_turns(self, draws: Draws, strength: float) -> Int[Tensor, "batch"]:
        most = math.floor(strength * self.n / 2 + 1e-9)
        count = min(2 * most + 1, self.n)
        return ((draws.uniform("turns") * count).long() - most) % self.n

    def drawn_linear(self, draws: Draws, strength: float) -> Float[Tensor, "batch n n"]:
        return self.numbered(self.drawn_turns(draws, strength), draws.dtype)

    def faults_linear(self, a: Float[Tensor, "batch n n"]) -> dict[str, Bool[Tensor, "batch"]]:
        nearest = self.numbered(self.number(affine(a)), a.dtype)
        other = ~((a - nearest).abs().amax((1, 2)) <= 1e-4)
        return {
            **orthogonal_faults(a),
            "is improper (determinant below 0: a reflection)": improper(a),
            f"turns by no multiple of 1/{self.n}": other & ~improper(a),
        }

    def parameters_linear(self, a: Float[Tensor, "batch n n"]) -> dict[str, Tensor]:
        return {"angle": lie.log_plane(a), "turns": self.turns(a)}

    def size_linear(self, a: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch"]:
        return lie.log_plane(a).abs()


@dataclasses.dataclass(frozen=True)
class Dihedral(Cyclic):
    """D_n: the turns of C_n, and each after y -> -y; of 2 n elements, n and more are those."""

    @property
    def name(self) -> str:
        return f"d{self.n}"

    @property
    def about(self) -> str:
        return f"turns of the plane by multiples of 1/{self.n} of a full turn, and reflections"

    @property
    def sampling(self) -> str:
        return super().sampling + "; reflected with probability strength / 2"

    @property
    def order(self) -> int:  # type: ignore[override]
        return 2 * self.n

    def numbered(self, number: Int[Tensor, "batch"], dtype: torch.dtype | None = None) -> Float[Tensor, "batch n n"]:
        a = super().numbered(number, dtype)
        reflected = a * a.new_tensor([1.0, -1.0])
        return torch.where((number >= self.n)[:, None, None], reflected, a) + 0.0

    def number(self, g: Affine) -> Int[Tensor, "batch"]:
        a = linear_of(g)
        return self.turns(a) + self.n * improper(a)

    def drawn_linear(self, draws: Draws, strength: float) -> Float[Tensor, "batch n n"]:
        reflected = draws.uniform("reflected") < strength / 2
        return self.numbered(self.drawn_turns(draws, strength) + self.n * reflected, draws.dtype)

    def faults_linear(self, a: Float[Tensor, "batch n n"]) -> dict[str, Bool[Tensor, "batch"]]:
        other = ~((a - self.numbered(self.number(affine(a)), a.dtype)).abs().amax((1, 2)) <= 1e-4)
        return {**orthogonal_faults(a), f"is no turn by a multiple of 1/{self.n}, reflected or not": other}

    def parameters_linear(self, a: Float[Tensor, "batch n n"]) -> dict[str, Tensor]:
        turned = torch.where(improper(a)[:, None, None], a * a.new_tensor([1.0, -1.0]), a)
        return {"angle": lie.log_plane(turned), "turns": self.turns(a), "reflected": improper(a).to(a.dtype)}

    def size_linear(self, a: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch"]:
        return torch.where(improper(a), torch.inf, lie.log_plane(a).abs())


@dataclasses.dataclass(frozen=True)
class Symmetric(Group):
    """S_n: permutations of n things. Elements are `Permutation`."""

    n: int = 3
    haar: ClassVar[bool] = True
    modalities: ClassVar[tuple[str, ...]] = ("things", "graphs")

    def __post_init__(self) -> None:
        if self.n < 1:
            raise InputError(f"there are permutations of 1 thing or more, not of {self.n}")

    @property
    def name(self) -> str:
        return f"s{self.n}"

    @property
    def about(self) -> str:
        return f"permutations of {self.n} things"

    @property
    def sampling(self) -> str:
        return "a random share of the things, as large as the strength, is shuffled: uniform at strength 1"

    @property
    def order(self) -> int:  # type: ignore[override]
        return math.factorial(self.n)

    def identity(self, count: int = 1, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Permutation:
        return Permutation(torch.arange(self.n, device=device).repeat(count, 1))

    def drawn(self, draws: Draws, strength: float) -> Permutation:
        """The first things of one random order go to one another's places, in another random order."""
        chosen = draws.order("which", self.n)
        moved = round(strength * self.n)
        order = draws.order("order", self.n)[:, :moved].argsort(1)
        out = torch.arange(self.n, device=chosen.device).repeat(len(chosen), 1)
        return Permutation(out.scatter(1, chosen[:, :moved], chosen[:, :moved].gather(1, order)))

    def faults(self, g: Permutation) -> dict[str, Bool[Tensor, "batch"]]:
        if not isinstance(g, Permutation) or g.order.shape[1] != self.n:
            raise InputError(f"elements of {self.name} are Permutation with {self.n} places, not {type(g).__name__}")
        places = torch.arange(self.n, device=g.order.device)
        return {"names a place twice, or one that is not there": (g.order.sort(1).values != places).any(1)}

    def parameters(self, g: Permutation) -> dict[str, Tensor]:
        return {"order": g.order}

    def distance(self, g: Permutation, h: Permutation) -> Float[Tensor, "batch"]:
        """How many exchanges of two things lead from one to the other: n less the number of cycles."""
        p = (g.inverse() @ h).order
        first = torch.arange(self.n, device=p.device).expand_as(p)
        for _ in range(max(1, self.n).bit_length()):  # the smallest place of each cycle, over twice as many steps each time
            first, p = torch.minimum(first, first.gather(1, p)), p.gather(1, p)
        return (self.n - (first == torch.arange(self.n, device=p.device)).sum(1)).to(torch.get_default_dtype())

    def elements(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Permutation:
        """All elements, in lexicographic order."""
        if self.order > LISTED:
            raise InputError(f"{self.name} has {self.n}! elements; those of groups of at most {LISTED} are listed")
        return Permutation(torch.tensor(list(itertools.permutations(range(self.n))), device=device))

    def number(self, g: Permutation) -> Int[Tensor, "batch"]:
        """The place of elements in `elements`: how many later places are smaller, in the base of factorials."""
        order = g.order
        smaller = (order[:, :, None] > order[:, None, :]).triu(1).sum(2)
        weights = torch.tensor([math.factorial(self.n - 1 - k) for k in range(self.n)], device=order.device)
        return (smaller * weights).sum(1)

    def generators(self) -> list[Permutation]:
        """An exchange of neighbours, and the cycle."""
        if self.n == 1:
            return [self.identity()]
        swap = torch.arange(self.n)
        swap[:2] = torch.tensor([1, 0])
        return [Permutation(swap[None]), Permutation(torch.arange(self.n).roll(-1)[None])]
