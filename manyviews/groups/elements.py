"""Elements of symmetry groups, and what they do. An element is a batch: one transformation a sample, with the named parameters that made it.

`w @ v` applies v first. What has no inverse (greyscale, blur) says so when asked for one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Affine:
    """Maps of points p -> A p + b as homogeneous matrices, one a sample. Pictures: pixel units, x right, y down, the corner at 0."""

    matrix: Float[Tensor, "batch n n"]
    parameters: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)

    def __matmul__(self, first: Affine) -> Affine:
        return Affine(self.matrix @ first.matrix)

    def inverse(self) -> Affine:
        return Affine(torch.linalg.inv(self.matrix))

    def __getitem__(self, rows: slice | Tensor) -> Affine:
        """The elements of some samples."""
        return Affine(self.matrix[rows], {k: v[rows] for k, v in self.parameters.items()})

    def act(self, points: Float[Tensor, "batch count axes"]) -> Float[Tensor, "batch count axes"]:
        """The images of points."""
        return points @ self.matrix[:, :-1, :-1].mT + self.matrix[:, None, :-1, -1]

    def to(self, device: torch.device | str, **options: Any) -> Affine:
        return Affine(self.matrix.to(device, **options), {k: v.to(device, **options) for k, v in self.parameters.items()})


@dataclasses.dataclass(frozen=True)
class Colour:
    """Maps of colours c -> M c + b, one (channels, channels + 1) matrix a sample."""

    matrix: Float[Tensor, "batch channels channels_and_1"]
    parameters: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)

    def __matmul__(self, first: Colour) -> Colour:
        return Colour(self.homogeneous()[:, :-1] @ first.homogeneous())

    def homogeneous(self) -> Float[Tensor, "batch n n"]:
        last = torch.zeros_like(self.matrix[:, :1])
        last[..., -1] = 1
        return torch.cat([self.matrix, last], 1)

    def inverse(self) -> Colour:
        """Raises ValueError where a sample's map is not invertible: greyscale has no inverse."""
        full = self.homogeneous()
        if (torch.linalg.svdvals(full)[:, -1] < 1e-6).any():
            raise ValueError("a colour map of this batch drops a dimension (greyscale, or zero contrast) and has no inverse")
        return Colour(torch.linalg.inv(full)[:, :-1])

    def __getitem__(self, rows: slice | Tensor) -> Colour:
        """The elements of some samples."""
        return Colour(self.matrix[rows], {k: v[rows] for k, v in self.parameters.items()})

    def act(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
        """The images of pictures' colours, not clamped."""
        m, flat = self.matrix.to(x.dtype), x.flatten(2)
        out = m[:, :, -1:].expand(-1, -1, flat.shape[2])
        for channel in range(flat.shape[1]):  # term by term: a product of matrices may round otherwise in another batch
            out = torch.addcmul(out, m[:, :, channel, None], flat[:, channel, None])
        return out.view(x.shape)

    def to(self, device: torch.device | str, **options: Any) -> Colour:
        return Colour(self.matrix.to(device, **options), {k: v.to(device, **options) for k, v in self.parameters.items()})


@dataclasses.dataclass(frozen=True)
class Quarter:
    """Quarter turns of square pictures, one number of them a sample, from x (right) to y (up): 1 takes the right edge to the top."""

    turns: Int[Tensor, "batch"]

    def __matmul__(self, first: Quarter) -> Quarter:
        return Quarter((self.turns + first.turns) % 4)

    def inverse(self) -> Quarter:
        return Quarter(-self.turns % 4)

    def __getitem__(self, rows: slice | Tensor) -> Quarter:
        """The elements of some samples."""
        return Quarter(self.turns[rows])

    @property
    def parameters(self) -> dict[str, Tensor]:
        return {"turns": self.turns % 4}

    def act(self, x: Float[Tensor, "batch channels side side"]) -> Float[Tensor, "batch channels side side"]:
        """The pictures turned: pixels change places and nothing else."""
        out = x.clone()
        for k in range(1, 4):
            rows = (self.turns % 4 == k).nonzero()[:, 0]
            out[rows] = x[rows].rot90(k, (2, 3))
        return out

    def to(self, device: torch.device | str, **options: Any) -> Quarter:
        return Quarter(self.turns.to(device, **options))


@dataclasses.dataclass(frozen=True)
class Permutation:
    """Permutations of n things, one a sample: what is at place i goes to place order[i]."""

    order: Int[Tensor, "batch n"]

    def __matmul__(self, first: Permutation) -> Permutation:
        batch = max(len(self.order), len(first.order))
        order, inner = self.order.expand(batch, -1), first.order.expand(batch, -1)
        return Permutation(order.gather(1, inner))

    def inverse(self) -> Permutation:
        return Permutation(self.order.argsort(1))

    def __getitem__(self, rows: slice | Tensor) -> Permutation:
        """The elements of some samples."""
        return Permutation(self.order[rows])

    @property
    def parameters(self) -> dict[str, Tensor]:
        return {"order": self.order}

    @property
    def matrix(self) -> Float[Tensor, "batch n n"]:
        """The matrices P with (P x)[order[i]] = x[i], in PyTorch's default float type."""
        one = torch.eye(self.order.shape[1], device=self.order.device)
        return one[self.order].mT

    def act(self, x: Shaped[Tensor, "batch n *rest"], dim: int = 1) -> Shaped[Tensor, "batch n *rest"]:
        """The things in their new places along `dim`."""
        back = self.order.argsort(1).expand(len(x), -1)
        shape = [1] * x.dim()
        shape[0], shape[dim] = back.shape
        return x.gather(dim, back.reshape(shape).expand(x.shape))

    def to(self, device: torch.device | str, **options: Any) -> Permutation:
        """On another device; numbers of places stay whole, whatever float type is asked for."""
        return Permutation(self.order.to(device, **{k: v for k, v in options.items() if k != "dtype"}))


@dataclasses.dataclass(frozen=True)
class Picture:
    """What happened to a picture: where its points went, what its colours became, and what was lost (names -> how much, a number a sample)."""

    geometry: Affine
    colour: Colour | None = None
    lost: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)

    def __matmul__(self, first: Picture) -> Picture:
        pair = [c for c in (self.colour, first.colour) if c is not None]
        colour = pair[0] @ pair[1] if len(pair) == 2 else (pair[0] if pair else None)
        both = {name: torch.maximum(first.lost[name], self.lost[name]) for name in first.lost.keys() & self.lost.keys()}
        return Picture(self.geometry @ first.geometry, colour, {**first.lost, **self.lost, **both})

    def inverse(self) -> Picture:
        """Raises ValueError where something was lost (blur, solarize) or the colours have no way back; `geometry.inverse()` always exists."""
        lossy = [name for name, amount in self.lost.items() if bool((amount != 0).any())]
        if lossy:
            raise ValueError(f"{', '.join(lossy)} cannot be undone; use g.geometry.inverse() for where points came from")
        return Picture(self.geometry.inverse(), self.colour.inverse() if self.colour is not None else None)

    def __getitem__(self, rows: slice | Tensor) -> Picture:
        """The elements of some samples."""
        return Picture(self.geometry[rows], self.colour[rows] if self.colour is not None else None, {k: v[rows] for k, v in self.lost.items()})

    @property
    def parameters(self) -> dict[str, Tensor]:
        colour = self.colour.parameters if self.colour is not None else {}
        return {**self.geometry.parameters, **colour, **self.lost}

    def to(self, device: torch.device | str, **options: Any) -> Picture:
        lost = {k: v.to(device, **options) for k, v in self.lost.items()}
        return Picture(self.geometry.to(device, **options), self.colour.to(device, **options) if self.colour is not None else None, lost)


def rotations_about(axis: int, angle: Float[Tensor, "batch"]) -> Float[Tensor, "batch 3 3"]:
    """Rotations by `angle` (radians) about a coordinate axis, from the next axis to the one after it."""
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out = torch.eye(3, dtype=angle.dtype, device=angle.device).repeat(len(angle), 1, 1)
    out[:, i, i], out[:, j, j] = angle.cos(), angle.cos()
    out[:, i, j], out[:, j, i] = -angle.sin(), angle.sin()
    return out


def rotations_from(quaternion: Float[Tensor, "batch 4"]) -> Float[Tensor, "batch 3 3"]:
    """Rotations of quaternions (w, x, y, z) of any length; of normal numbers uniform on SO(3)."""
    w, x, y, z = torch.nn.functional.normalize(quaternion, dim=1).unbind(1)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def matrices(rows: list[list[Tensor | float | int]], like: Tensor) -> Float[Tensor, "batch n m"]:
    """(batch, n, m) matrices from a nested list of numbers and (batch,) tensors."""
    out = like.new_zeros(len(like), len(rows), len(rows[0]))
    for i, row in enumerate(rows):
        for j, entry in enumerate(row):
            if isinstance(entry, Tensor) or entry:
                out[:, i, j] = entry
    return out
