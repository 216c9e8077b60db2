"""What every symmetry group can do, and the two ways to be a group of maps of points: linear, and linear with shifts.

    so3 = find("so3")
    g = so3.sample(8, Counter(seed=0, step=0))          # an Affine of 8 elements: uniform (Haar), each with its named parameters
    so3.act(g, cloud), g @ h, so3.inverse(g), so3.log(g), so3.distance(g, h)
    weak = so3.at(0.3)                                  # a sampler: 0 is the identity exactly, 1 the full distribution

With one source of random numbers the elements of two strengths differ in strength alone: each walks away from the identity as the strength grows.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.groups import actions
from manyviews.groups.elements import Affine, Colour, Permutation

Element = Affine | Colour | Permutation
Source = Counter | torch.Generator | None


@dataclasses.dataclass(frozen=True)
class Draws:
    """Random numbers of one sampling, by name: float32 numbers, so that elements are the same in every float type."""

    rows: Int[Tensor, "batch"]
    source: Source
    name: str
    dtype: torch.dtype

    def uniform(self, what: str, *shape: int) -> Float[Tensor, "batch *shape"]:
        """In [0, 1)."""
        if isinstance(self.source, Counter):
            return self.source.uniform(f"{self.name}/{what}", self.rows, *shape).to(self.dtype)
        return self._drawn(torch.rand, shape)

    def normal(self, what: str, *shape: int) -> Float[Tensor, "batch *shape"]:
        if isinstance(self.source, Counter):
            return self.source.normal(f"{self.name}/{what}", self.rows, *shape).to(self.dtype)
        return self._drawn(torch.randn, shape)

    def order(self, what: str, n: int) -> Int[Tensor, "batch n"]:
        """Random permutations."""
        if isinstance(self.source, Counter):
            return self.source.order(f"{self.name}/{what}", self.rows, n)
        return self._drawn(torch.rand, (n,), torch.float64).argsort(1)

    def _drawn(self, how: Callable[..., Tensor], shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        generator = self.source if isinstance(self.source, torch.Generator) else None
        where = generator.device if generator is not None else self.rows.device
        return how(len(self.rows), *shape, generator=generator, device=where, dtype=dtype).to(self.rows.device, self.dtype if dtype == torch.float32 else dtype)


@dataclasses.dataclass(frozen=True)
class Group(abc.ABC):
    """A symmetry group. Elements come in batches; `g @ h` applies h first."""

    dim: ClassVar[int] = 0  # of the Lie algebra; 0 where the group is discrete
    order: ClassVar[int | None] = None  # how many elements; None: without end
    haar: ClassVar[bool] = False  # whether samples of strength 1 are uniform on the group

    @property
    @abc.abstractmethod
    def name(self) -> str: ...

    @property
    @abc.abstractmethod
    def about(self) -> str:
        """What its elements are, as a noun phrase."""

    @property
    def sampling(self) -> str:
        """The distribution of samples, in words."""
        return "uniform on the group (Haar)"

    @property
    @abc.abstractmethod
    def modalities(self) -> tuple[str, ...]:
        """What it acts on: names of `actions.MODALITIES`."""

    # --- what each kind of group fills in

    @abc.abstractmethod
    def identity(self, count: int = 1, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Any: ...

    @abc.abstractmethod
    def drawn(self, draws: Draws, strength: float) -> Any:
        """Elements of `draws`, without parameters."""

    @abc.abstractmethod
    def faults(self, g: Any) -> dict[str, Bool[Tensor, "batch"]]:
        """What can be wrong with an element -> the rows where it is."""

    @abc.abstractmethod
    def parameters(self, g: Any) -> dict[str, Tensor]:
        """Named parameters: angles in radians, axes, shifts in units of the points, factors."""

    @abc.abstractmethod
    def distance(self, g: Any, h: Any) -> Float[Tensor, "batch"]:
        """How far apart elements are."""

    def exp(self, coordinates: Float[Tensor, "batch dim"]) -> Any:
        """The elements of Lie algebra coordinates."""
        raise InputError(f"{self.name} is discrete and has no exponential")

    def log(self, g: Any) -> Float[Tensor, "batch dim"]:
        """Coordinates whose exponential is g. Raises InputError where there are none."""
        raise InputError(f"{self.name} is discrete and has no logarithm")

    def components(self) -> list[Any]:
        """Elements that, with those near the identity, make all the others: one a further component, of one row in float64."""
        return []

    # --- the same for all

    def sample(
        self,
        rows: int | Int[Tensor, "batch"],
        source: Source = None,
        strength: float = 1.0,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        name: str = "g",
    ) -> Any:
        """Random elements with their parameters. `rows`: how many, or the samples' rows in their data set, which a Counter's numbers depend on; `name` tells
        several draws of one Counter apart. `strength` 0 gives the identity exactly, 1 the full distribution (`sampling` says which)."""
        if not 0 <= strength <= 1:
            raise InputError(f"strength is a number from 0 (the identity) to 1, not {strength}")
        if isinstance(rows, int):
            rows = torch.arange(rows, device=device)
        draws = Draws(rows.to(device) if device is not None else rows, source, f"{self.name}/{name}", dtype or torch.get_default_dtype())
        g = self.drawn(draws, strength)
        return g if isinstance(g, Permutation) else dataclasses.replace(g, parameters=self.parameters(g))

    def at(self, strength: float) -> Callable[..., Any]:
        """A sampler of one strength: `group.at(0.2)(count, counter)`, for curves from the identity to the full group."""
        return functools.partial(self.sample, strength=strength)

    def compose(self, g: Any, h: Any) -> Any:
        """h first, then g."""
        return g @ h

    def inverse(self, g: Any) -> Any:
        return g.inverse()

    def contains(self, g: Any) -> Bool[Tensor, "batch"]:
        """Which rows are elements, within rounding."""
        return ~torch.stack(list(self.faults(g).values())).any(0)

    def check(self, g: Any) -> None:
        """Raises InputError that says which rows are no elements, and why."""
        wrong = {fault: rows.nonzero()[:, 0].tolist() for fault, rows in self.faults(g).items() if bool(rows.any())}
        if wrong:
            said = [f"row {', '.join(map(str, rows[:8]))}{' ...' if len(rows) > 8 else ''} {fault}" for fault, rows in wrong.items()]
            raise InputError(*(f"not in {self.name} ({self.about}): {problem}" for problem in said))

    def act(self, g: Any, x: Any, modality: str = "points", **options: Any) -> Any:
        """What g does to x: `actions.MODALITIES` says what x is for each modality. Raises InputError where the group cannot act on it."""
        if modality not in self.modalities:
            raise InputError(actions.refusal(self.name, modality, self.modalities))
        return actions.MODALITIES[modality](g, x, **options)

    def generators(self) -> list[Any]:
        """Elements, of one row each in float64, whose products come as near as one likes to all that a representation can tell apart."""
        steps = torch.eye(self.dim, dtype=torch.float64)
        return [*(self.exp(size * step[None]) for size in (1.0, 2**-0.5) for step in steps), *self.components()]


def tolerance(dtype: torch.dtype) -> float:
    """How far a product of many elements may be from the group by rounding."""
    return 1e-4 if torch.finfo(dtype).eps > 1e-10 else 1e-9


def affine(linear: Float[Tensor, "batch n n"], shift: Float[Tensor, "batch n"] | None = None) -> Affine:
    """p -> A p + b as one homogeneous matrix."""
    right = linear.new_zeros(*linear.shape[:-1], 1) if shift is None else shift[..., None]
    last = torch.nn.functional.pad(linear.new_zeros(len(linear), 1, linear.shape[-1]), (0, 1), value=1.0)
    return Affine(torch.cat([torch.cat([linear, right], -1), last], -2))


def linear_of(g: Affine) -> Float[Tensor, "batch n n"]:
    return g.matrix[:, :-1, :-1]


def eye(count: int, n: int, dtype: torch.dtype | None, device: torch.device | str | None) -> Float[Tensor, "count n n"]:
    return torch.eye(n, dtype=dtype, device=device).repeat(count, 1, 1)


@dataclasses.dataclass(frozen=True)
class OfPoints(Group):
    """Groups of maps of points in `axes` dimensions; elements are `Affine`."""

    axes: int = 2

    @property
    def modalities(self) -> tuple[str, ...]:
        return ("points", "vectors", "normals", "clouds", "graphs", *{2: ("images",), 3: ("volumes",)}.get(self.axes, ()))

    def identity(self, count: int = 1, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Affine:
        return Affine(eye(count, self.axes + 1, dtype, device))

    def shape_faults(self, g: Affine) -> None:
        n = self.axes + 1
        if not isinstance(g, Affine) or g.matrix.shape[-2:] != (n, n):
            got = tuple(g.matrix.shape[-2:]) if hasattr(g, "matrix") else type(g).__name__
            raise InputError(f"elements of {self.name} are Affine with {n} x {n} homogeneous matrices, not {got}; affine(A, b) makes them")


@dataclasses.dataclass(frozen=True)
class Linear(OfPoints):
    """Linear maps: the origin stays. Subclasses speak of the (batch, axes, axes) matrices alone."""

    @abc.abstractmethod
    def drawn_linear(self, draws: Draws, strength: float) -> Float[Tensor, "batch n n"]: ...

    def exp_linear(self, v: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch n n"]:
        raise InputError(f"{self.name} is discrete and has no exponential")

    def log_linear(self, a: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch dim"]:
        raise InputError(f"{self.name} is discrete and has no logarithm")

    def generator_linear(self, v: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch n n"]:
        """The matrix of Lie algebra coordinates: exp_linear is its exponential."""
        return v.new_zeros(len(v), self.axes, self.axes)

    @abc.abstractmethod
    def faults_linear(self, a: Float[Tensor, "batch n n"]) -> dict[str, Bool[Tensor, "batch"]]: ...

    @abc.abstractmethod
    def parameters_linear(self, a: Float[Tensor, "batch n n"]) -> dict[str, Tensor]: ...

    @abc.abstractmethod
    def size_linear(self, a: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch"]:
        """The distance from the identity."""

    def inverse_linear(self, a: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch n n"]:
        return torch.linalg.inv(a)

    def drawn(self, draws: Draws, strength: float) -> Affine:
        return affine(self.drawn_linear(draws, strength))

    def exp(self, coordinates: Float[Tensor, "batch dim"]) -> Affine:
        width_checked(self, coordinates)
        return affine(self.exp_linear(coordinates))

    def log(self, g: Affine) -> Float[Tensor, "batch dim"]:
        self.check(g)
        return self.log_linear(linear_of(g))

    def faults(self, g: Affine) -> dict[str, Bool[Tensor, "batch"]]:
        self.shape_faults(g)
        return {**homogeneous_faults(g), "moves the origin": shifted(g), **self.faults_linear(linear_of(g))}

    def parameters(self, g: Affine) -> dict[str, Tensor]:
        return self.parameters_linear(linear_of(g))

    def distance(self, g: Affine, h: Affine) -> Float[Tensor, "batch"]:
        return self.size_linear(self.inverse_linear(linear_of(g)) @ linear_of(h))

    def inverse(self, g: Affine) -> Affine:
        return affine(self.inverse_linear(linear_of(g)))


def width_checked(group: Group, coordinates: Tensor) -> None:
    if coordinates.shape[-1] != group.dim:
        raise InputError(f"{group.name} has {group.dim} Lie algebra coordinates, not {coordinates.shape[-1]}")


def homogeneous_faults(g: Affine) -> Mapping[str, Bool[Tensor, "batch"]]:
    last = torch.zeros_like(g.matrix[:, -1])
    last[:, -1] = 1
    finite = torch.isfinite(g.matrix).all((1, 2))
    return {"is not finite": ~finite, "has a last row that is not 0 ... 0 1": ((g.matrix[:, -1] - last).abs() > tolerance(g.matrix.dtype)).any(1)}


def shifted(g: Affine) -> Bool[Tensor, "batch"]:
    return (g.matrix[:, :-1, -1].abs() > tolerance(g.matrix.dtype)).any(1)
