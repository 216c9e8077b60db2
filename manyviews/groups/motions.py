"""Groups with shifts: translations, and a linear group together with them (SE(n), E(n), similarities, affine maps)."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from manyviews.errors import InputError
from manyviews.groups import lie
from manyviews.groups.elements import Affine
from manyviews.groups.group import Draws, Linear, OfPoints, affine, eye, homogeneous_faults, shifted, width_checked
from manyviews.groups.linear import GL, Conformal, parts_of
from manyviews.groups.orthogonal import SO, O


@dataclasses.dataclass(frozen=True)
class Still(Linear):
    """The group of nothing but the identity: translations are shifts after it."""

    dim: ClassVar[int] = 0
    order: ClassVar[int] = 1
    haar: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return f"still{self.axes}"

    @property
    def about(self) -> str:
        return "the identity alone"

    def drawn_linear(self, draws: Draws, strength: float) -> Float[Tensor, "batch n n"]:
        return eye(len(draws.rows), self.axes, draws.dtype, draws.rows.device)

    def exp_linear(self, v: Float[Tensor, "batch 0"]) -> Float[Tensor, "batch n n"]:
        return eye(len(v), self.axes, v.dtype, v.device)

    def log_linear(self, a: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch 0"]:
        return a.new_zeros(len(a), 0)

    def faults_linear(self, a: Float[Tensor, "batch n n"]) -> dict[str, Bool[Tensor, "batch"]]:
        one = torch.eye(self.axes, dtype=a.dtype, device=a.device)
        return {"does more than shift": ~((a - one).abs().amax((1, 2)) <= 1e-6)}

    def parameters_linear(self, a: Float[Tensor, "batch n n"]) -> dict[str, Tensor]:
        return {}

    def size_linear(self, a: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch"]:
        return a.new_zeros(len(a))


@dataclasses.dataclass(frozen=True)
class WithShifts(OfPoints):
    """Elements of `part`, a linear group, followed by shifts: p -> A p + b. Coordinates: those of A, then the velocity of the shift.

    `extent`: shifts are drawn from +-extent along each axis. For points the unit is theirs; for pictures and volumes half their shortest side.
    """

    part: Linear = dataclasses.field(default_factory=Still)
    extent: float = 0.5
    called: str = ""
    axes: int = dataclasses.field(default=0, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "axes", self.part.axes)

    @property
    def name(self) -> str:
        return self.called or f"{self.part.name}_with_shifts"

    @property
    def about(self) -> str:
        return f"translations in {self.axes} dimensions" if isinstance(self.part, Still) else f"{self.part.about}, followed by translations"

    @property
    def sampling(self) -> str:
        shift = f"shifts uniform in +-{self.extent:g} along each axis, times the strength"
        return shift if isinstance(self.part, Still) else f"{self.part.sampling}; {shift}"

    @property
    def dim(self) -> int:  # type: ignore[override]
        return self.part.dim + self.axes

    def drawn(self, draws: Draws, strength: float) -> Affine:
        shift = (2 * draws.uniform("shift", self.axes) - 1) * self.extent * strength
        return affine(self.part.drawn_linear(draws, strength), shift)

    def exp(self, coordinates: Float[Tensor, "batch dim"]) -> Affine:
        """Screws and spirals: the shift is the velocity's mean while the linear part grows."""
        width_checked(self, coordinates)
        v, velocity = coordinates[:, : self.part.dim], coordinates[:, self.part.dim :]
        if self.part.dim == 0:
            return affine(eye(len(v), self.axes, v.dtype, v.device), velocity)
        return affine(self.part.exp_linear(v), (lie.average_of(self.part.generator_linear(v)) @ velocity[..., None])[..., 0])

    def log(self, g: Affine) -> Float[Tensor, "batch dim"]:
        self.check(g)
        a, b = parts_of(g)
        if self.part.dim == 0:
            return b
        v = self.part.log_linear(a)
        velocity = torch.linalg.solve(lie.average_of(self.part.generator_linear(v)), b[..., None])[..., 0]
        return torch.cat([v, velocity], -1)

    def faults(self, g: Affine) -> dict[str, Bool[Tensor, "batch"]]:
        self.shape_faults(g)
        return {**homogeneous_faults(g), **self.part.faults_linear(parts_of(g)[0])}

    def parameters(self, g: Affine) -> dict[str, Tensor]:
        a, b = parts_of(g)
        return {**self.part.parameters_linear(a), "shift": b}

    def distance(self, g: Affine, h: Affine) -> Float[Tensor, "batch"]:
        """Of g^-1 h: the root of the linear part's distance squared plus |shift|^2, where radians and units of length count alike; of a map that stretches
        the mean of its shift's length and of that of the way back."""
        a, b = parts_of(self.inverse(g) @ h)
        back = (self.part.inverse_linear(a) @ b[..., None])[..., 0]
        return torch.hypot(self.part.size_linear(a), (b.norm(dim=-1) + back.norm(dim=-1)) / 2)

    def inverse(self, g: Affine) -> Affine:
        a, b = parts_of(g)
        back = self.part.inverse_linear(a)
        return affine(back, -(back @ b[..., None])[..., 0])

    def components(self) -> list[Affine]:
        return self.part.components()

    def generators(self) -> list[Any]:
        """Where the linear part is discrete its own elements, and a shift along each axis."""
        steps = torch.eye(self.axes, dtype=torch.float64)
        shifts = [affine(eye(1, self.axes, torch.float64, None), step[None]) for step in steps]
        return [*self.part.generators(), *shifts]

    def is_linear(self, g: Affine) -> Bool[Tensor, "batch"]:
        """Which elements do not shift."""
        return ~shifted(g)


def translation(axes: int, extent: float = 0.5) -> WithShifts:
    """T(n)."""
    if axes < 1:
        raise InputError(f"translations are in one dimension or more, not {axes}")
    return WithShifts(part=Still(axes), extent=extent, called=f"t{axes}")


def se(axes: int, extent: float = 0.5) -> WithShifts:
    """SE(n): rigid motions."""
    return WithShifts(part=SO(axes), extent=extent, called=f"se{axes}")


def e(axes: int, extent: float = 0.5) -> WithShifts:
    """E(n): rigid motions and reflections."""
    return WithShifts(part=O(axes), extent=extent, called=f"e{axes}")


def similarity(axes: int, extent: float = 0.5, most: float = 2.0) -> WithShifts:
    """Rotations, one factor and shifts."""
    return WithShifts(part=Conformal(axes, most), extent=extent, called=f"similarity{axes}")


def affine_group(axes: int, extent: float = 0.5, spread: float = 0.4) -> WithShifts:
    """GL+(n) and shifts."""
    return WithShifts(part=GL(axes, spread), extent=extent, called=f"affine{axes}")
