"""Rotations and reflections: SO(n) and O(n) in two and three dimensions, turns of space about one axis, and turns of hue."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from manyviews.errors import InputError
from manyviews.groups import lie
from manyviews.groups.elements import Affine, Colour
from manyviews.groups.group import Draws, Group, Linear, affine, eye, tolerance, width_checked


def orthogonal_faults(a: Float[Tensor, "batch n n"]) -> dict[str, Bool[Tensor, "batch"]]:
    off = (a.mT @ a - torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)).abs().amax((1, 2))
    return {"is not orthogonal (A^T A is not 1)": ~(off <= tolerance(a.dtype))}


def improper(a: Float[Tensor, "batch n n"]) -> Bool[Tensor, "batch"]:
    """Which matrices exchange left and right."""
    return torch.linalg.det(a.detach()) < 0


def angle_axis(a: Float[Tensor, "batch n n"]) -> dict[str, Tensor]:
    """The angle of rotations, in the plane from x to y in (-pi, pi], in space in [0, pi] about `axis`, which is 0 at the identity."""
    if a.shape[-1] == 2:
        return {"angle": lie.log_plane(a)}
    v = lie.log_space(a)
    return {"angle": v.norm(dim=-1), "axis": torch.nn.functional.normalize(v, dim=-1)}


def angle_of(a: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch"]:
    """The angle of rotations, in [0, pi]."""
    return angle_axis(a)["angle"].abs()


@dataclasses.dataclass(frozen=True)
class SO(Linear):
    """Rotations about the origin, of the plane or of space. Coordinates: the angle, or axis times angle (radians)."""

    haar: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.axes not in (2, 3):
            raise InputError(f"rotations are here in 2 or 3 dimensions, not {self.axes}")

    @property
    def name(self) -> str:
        return f"so{self.axes}"

    @property
    def about(self) -> str:
        return f"rotations of {'the plane' if self.axes == 2 else 'space'}"

    @property
    def sampling(self) -> str:
        return "uniform (Haar), the angle times the strength"

    @property
    def dim(self) -> int:  # type: ignore[override]
        return 1 if self.axes == 2 else 3

    def drawn_linear(self, draws: Draws, strength: float) -> Float[Tensor, "batch n n"]:
        if self.axes == 2:
            return lie.turn_plane((2 * draws.uniform("angle") - 1) * math.pi * strength)
        q = torch.nn.functional.normalize(draws.normal("quaternion", 4), dim=-1)
        return lie.turn_space(lie.vector_of(torch.where(q[:, :1] < 0, -q, q)) * strength)

    def exp_linear(self, v: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch n n"]:
        return lie.turn_plane(v[:, 0]) if self.axes == 2 else lie.turn_space(v)

    def log_linear(self, a: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch dim"]:
        return lie.log_plane(a)[:, None] if self.axes == 2 else lie.log_space(a)

    def generator_linear(self, v: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch n n"]:
        return v[:, :, None] * v.new_tensor([[0.0, -1.0], [1.0, 0.0]]) if self.axes == 2 else lie.skew(v)

    def faults_linear(self, a: Float[Tensor, "batch n n"]) -> dict[str, Bool[Tensor, "batch"]]:
        return {**orthogonal_faults(a), "is improper (determinant below 0: a reflection)": improper(a)}

    def parameters_linear(self, a: Float[Tensor, "batch n n"]) -> dict[str, Tensor]:
        return angle_axis(a)

    def size_linear(self, a: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch"]:
        return angle_of(a)

    def inverse_linear(self, a: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch n n"]:
        return a.mT


@dataclasses.dataclass(frozen=True)
class O(SO):  # noqa: E742
    """Rotations and reflections. A reflecting element of the plane is y -> -y and then a rotation; of space, the inversion p -> -p and then a rotation."""

    @property
    def name(self) -> str:
        return f"o{self.axes}"

    @property
    def about(self) -> str:
        return f"rotations and reflections of {'the plane' if self.axes == 2 else 'space'}"

    @property
    def sampling(self) -> str:
        return "uniform (Haar), the angle times the strength; reflected with probability strength / 2"

    def reflection(self, like: Float[Tensor, "batch n n"]) -> Float[Tensor, "n n"]:
        return torch.diag(like.new_tensor([1.0, -1.0] if self.axes == 2 else [-1.0, -1.0, -1.0]))

    def proper(self, a: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch n n"]:
        """The rotations R, of elements that are R or R times the reflection."""
        return torch.where(improper(a)[:, None, None], a @ self.reflection(a), a)

    def drawn_linear(self, draws: Draws, strength: float) -> Float[Tensor, "batch n n"]:
        a = super().drawn_linear(draws, strength)
        return torch.where((draws.uniform("reflected") < strength / 2)[:, None, None], a @ self.reflection(a), a)

    def log_linear(self, a: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch dim"]:
        if bool(improper(a).any()):
            rows = ", ".join(map(str, improper(a).nonzero()[:, 0].tolist()[:8]))
            raise InputError(
                f"reflections have no logarithm in {self.name}: row {rows} cannot be reached from the identity; parameters() tells the rotation in it"
            )
        return super().log_linear(a)

    def faults_linear(self, a: Float[Tensor, "batch n n"]) -> dict[str, Bool[Tensor, "batch"]]:
        return orthogonal_faults(a)

    def parameters_linear(self, a: Float[Tensor, "batch n n"]) -> dict[str, Tensor]:
        return {**angle_axis(self.proper(a)), "reflected": improper(a).to(a.dtype)}

    def size_linear(self, a: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch"]:
        return torch.where(improper(a), torch.inf, angle_of(self.proper(a)))

    def components(self) -> list[Affine]:
        return [affine(self.reflection(eye(1, self.axes, torch.float64, None))[None])]


@dataclasses.dataclass(frozen=True)
class Axial(Linear):
    """Turns of space about one coordinate axis, from the next axis to the one after it: SO(2) as a part of SO(3)."""

    axes: int = dataclasses.field(default=3, init=False)
    axis: int = 1
    dim: ClassVar[int] = 1
    haar: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.axis not in (0, 1, 2):
            raise InputError(f"turns of space are about axis 0, 1 or 2, not {self.axis}")

    @property
    def name(self) -> str:
        return f"so2_about_{'xyz'[self.axis]}"

    @property
    def about(self) -> str:
        return f"rotations of space about the {'xyz'[self.axis]} axis"

    @property
    def sampling(self) -> str:
        return "uniform (Haar), the angle times the strength"

    def vector(self, angle: Float[Tensor, "batch"]) -> Float[Tensor, "batch 3"]:
        return angle[:, None] * torch.eye(3, dtype=angle.dtype, device=angle.device)[self.axis]

    def plane(self, a: Float[Tensor, "batch 3 3"]) -> Float[Tensor, "batch 2 2"]:
        """What happens in the two axes that turn."""
        i, j = (self.axis + 1) % 3, (self.axis + 2) % 3
        return a[:, [i, j]][:, :, [i, j]]

    def drawn_linear(self, draws: Draws, strength: float) -> Float[Tensor, "batch 3 3"]:
        return lie.turn_space(self.vector((2 * draws.uniform("angle") - 1) * math.pi * strength))

    def exp_linear(self, v: Float[Tensor, "batch 1"]) -> Float[Tensor, "batch 3 3"]:
        return lie.turn_space(self.vector(v[:, 0]))

    def log_linear(self, a: Float[Tensor, "batch 3 3"]) -> Float[Tensor, "batch 1"]:
        return lie.log_plane(self.plane(a))[:, None]

    def generator_linear(self, v: Float[Tensor, "batch 1"]) -> Float[Tensor, "batch 3 3"]:
        return lie.skew(self.vector(v[:, 0]))

    def faults_linear(self, a: Float[Tensor, "batch 3 3"]) -> dict[str, Bool[Tensor, "batch"]]:
        still = torch.eye(3, dtype=a.dtype, device=a.device)[self.axis]
        return {**SO(3).faults_linear(a), f"moves the {'xyz'[self.axis]} axis": ((a @ still - still).abs() > tolerance(a.dtype)).any(1)}

    def parameters_linear(self, a: Float[Tensor, "batch 3 3"]) -> dict[str, Tensor]:
        return {"angle": lie.log_plane(self.plane(a))}

    def size_linear(self, a: Float[Tensor, "batch 3 3"]) -> Float[Tensor, "batch"]:
        return lie.log_plane(self.plane(a)).abs()

    def inverse_linear(self, a: Float[Tensor, "batch 3 3"]) -> Float[Tensor, "batch 3 3"]:
        return a.mT


@dataclasses.dataclass(frozen=True)
class Hue(Group):
    """Turns of hue: rotations of red, green and blue about the grey axis; 2 pi / 3 takes red to green. Elements are `Colour`."""

    axes: ClassVar[int] = 3
    dim: ClassVar[int] = 1
    haar: ClassVar[bool] = True
    name: ClassVar[str] = "hue"
    about: ClassVar[str] = "rotations of red, green and blue about the grey axis"
    sampling: ClassVar[str] = "uniform (Haar), the angle times the strength"
    modalities: ClassVar[tuple[str, ...]] = ("colours", "images")

    def identity(self, count: int = 1, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> Colour:
        return Colour(eye(count, 4, dtype, device)[:, :-1])

    def drawn(self, draws: Draws, strength: float) -> Colour:
        return self.exp((2 * draws.uniform("angle") - 1)[:, None] * math.pi * strength)

    def exp(self, coordinates: Float[Tensor, "batch 1"]) -> Colour:
        width_checked(self, coordinates)
        return Colour(affine(lie.turn_space(coordinates.expand(-1, 3) / math.sqrt(3))).matrix[:, :-1])

    def log(self, g: Colour) -> Float[Tensor, "batch 1"]:
        """The angle in (-pi, pi]."""
        self.check(g)
        return self.angle(g)[:, None]

    def angle(self, g: Colour) -> Float[Tensor, "batch"]:
        a = g.matrix[:, :, :-1]
        sine = (a[:, 1, 0] - a[:, 0, 1] + a[:, 2, 1] - a[:, 1, 2] + a[:, 0, 2] - a[:, 2, 0]) / math.sqrt(3)
        return torch.atan2(sine, a.diagonal(dim1=1, dim2=2).sum(-1) - 1)

    def faults(self, g: Colour) -> dict[str, Bool[Tensor, "batch"]]:
        if not isinstance(g, Colour) or g.matrix.shape[-2:] != (3, 4):
            raise InputError(f"elements of hue are Colour with 3 x 4 matrices, not {type(g).__name__}")
        a, near = g.matrix[:, :, :-1], tolerance(g.matrix.dtype)
        changed = ((a.sum(-1) - 1).abs() > near).any(1) | (g.matrix[:, :, -1].abs() > near).any(1)
        return {**SO(3).faults_linear(a), "is not finite": ~torch.isfinite(g.matrix).all((1, 2)), "changes grey": changed}

    def parameters(self, g: Colour) -> dict[str, Tensor]:
        return {"hue": self.angle(g)}

    def distance(self, g: Colour, h: Colour) -> Float[Tensor, "batch"]:
        return self.angle(self.inverse(g) @ h).abs()

    def inverse(self, g: Colour) -> Colour:
        return Colour(affine(g.matrix[:, :, :-1].mT).matrix[:, :-1])
