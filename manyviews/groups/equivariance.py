"""Maps that respect a group: all linear ones between two representations, and how far any other one is from it.

An equivariant layer has `in_rep` and `out_rep`, and f(in_rep(g) x) = out_rep(g) f(x). Each is a `Representation`, or, for what is no vector, an `Acting`
(a modality under the group's action), or `Together` (several inputs). `check_layer` tries it.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.errors import InputError
from manyviews.groups.elements import Affine, Colour, Permutation
from manyviews.groups.group import Element, Group
from manyviews.groups.representations import Representation, same_group

LARGEST = 1024  # unknowns of one linear system; direct sums are taken apart first
LIMITS = {torch.float64: 1e-9, torch.float32: 1e-3}  # of the worst relative error of exactly equivariant layers


class Space(Protocol):
    """Where a group acts, and from where inputs can be drawn."""

    @property
    def group(self) -> Group: ...

    def act(self, g: Any, x: Any) -> Any: ...

    def draw(self, count: int, generator: torch.Generator | None, dtype: torch.dtype) -> Any: ...


@runtime_checkable
class Equivariant(Protocol):
    """What equivariant layers have. One that is so only approximately says `exact = False`."""

    in_rep: Any
    out_rep: Any

    def __call__(self, *x: Any) -> Any: ...


@dataclasses.dataclass(frozen=True)
class Acting:
    """Inputs of one modality under the group's action, (batch, *shape) each."""

    group: Group
    modality: str
    shape: tuple[int, ...]

    def act(self, g: Any, x: Any) -> Any:
        return self.group.act(g, x, self.modality)

    def draw(self, count: int, generator: torch.Generator | None, dtype: torch.dtype) -> Tensor:
        return torch.randn(count, *self.shape, generator=generator, dtype=torch.float64).to(dtype)


@dataclasses.dataclass(frozen=True)
class Fields:
    """Many vectors a sample under one representation: (batch, *shape, dim), such as the features of all points."""

    rep: Representation
    shape: tuple[int, ...]

    @property
    def group(self) -> Group:
        return self.rep.group

    def act(self, g: Any, x: Any) -> Any:
        return self.rep.act(g, x)

    def draw(self, count: int, generator: torch.Generator | None, dtype: torch.dtype) -> Tensor:
        return torch.randn(count, *self.shape, self.rep.dim, generator=generator, dtype=torch.float64).to(dtype)


@dataclasses.dataclass(frozen=True)
class Together:
    """Several inputs, or outputs, at once: positions and features."""

    parts: tuple[Any, ...]

    @property
    def group(self) -> Group:
        return self.parts[0].group

    def act(self, g: Any, x: Any) -> tuple[Any, ...]:
        return tuple(part.act(g, value) for part, value in zip(self.parts, x, strict=True))

    def draw(self, count: int, generator: torch.Generator | None, dtype: torch.dtype) -> tuple[Any, ...]:
        return tuple(part.draw(count, generator, dtype) for part in self.parts)


# --- linear maps ------------------------------------------------------------------------------------------------------------------------------


def intertwiners(rep_in: Representation, rep_out: Representation) -> Float[Tensor, "maps out in"]:
    """An orthonormal basis, in float64, of the linear maps W with rep_out(g) W = W rep_in(g) for all g; none where there is only 0.

    The null space is found from elements that generate the group, one after the other, for each pair of parts of direct sums.
    """
    same_group(rep_in, rep_out)
    found, row = [], 0
    for out in rep_out.parts or (rep_out,):
        column = 0
        for source in rep_in.parts or (rep_in,):
            for w in pair(source, out):
                whole = w.new_zeros(rep_out.dim, rep_in.dim)
                whole[row : row + out.dim, column : column + source.dim] = w
                found.append(whole)
            column += source.dim
        row += out.dim
    return torch.stack(found) if found else torch.zeros(0, rep_out.dim, rep_in.dim, dtype=torch.float64)


def pair(rep_in: Representation, rep_out: Representation) -> Float[Tensor, "maps out in"]:
    """`intertwiners` of two representations that are no direct sums."""
    size = rep_in.dim * rep_out.dim
    if size > LARGEST:
        raise InputError(f"{size} unknowns between {rep_in.name} and {rep_out.name}; {LARGEST} is the most: write them as direct sums of smaller ones")
    basis = torch.eye(size, dtype=torch.float64)
    for g in rep_in.group.generators():
        if not basis.shape[1]:
            break
        a, b = rep_in.matrix(g, torch.float64)[0], rep_out.matrix(g, torch.float64)[0].contiguous()
        one_in, one_out = (torch.eye(rep.dim, dtype=torch.float64) for rep in (rep_in, rep_out))
        change = torch.kron(b, one_in) - torch.kron(one_out, a.T.contiguous())
        _, values, v = torch.linalg.svd(change @ basis)
        still = torch.cat([values, values.new_zeros(len(v) - len(values))]) < 1e-9 * max(1.0, float(a.norm() + b.norm()))
        basis = basis @ v[still].T
    return basis.T.reshape(-1, rep_out.dim, rep_in.dim)


# --- any map ----------------------------------------------------------------------------------------------------------------------------------


def is_equivariant(
    f: Callable[..., Any], rep_in: Any, rep_out: Any, samples: int = 16, seed: int = 0, dtype: torch.dtype = torch.float64, strength: float = 1.0
) -> float:
    """The worst relative error |f(rep_in(g) x) - rep_out(g) f(x)| over random x and g, relative to the typical length of f(x): 0 where f is equivariant.

    Raises InputError where nothing can be said: f gives NaN, nothing but 0, or something of another shape.
    """
    generator = torch.Generator().manual_seed(seed)
    g = cast(rep_in.group.sample(samples, generator, strength, torch.float64), dtype)
    x = rep_in.draw(samples, generator, dtype)
    together = isinstance(x, tuple)
    with torch.no_grad():
        moved = rep_in.act(g, x)
        plain, seen = (f(*x), f(*moved)) if together else (f(x), f(moved))
        expected = rep_out.act(g, plain)
    pairs = list(zip(expected, seen, strict=True)) if isinstance(seen, tuple) else [(expected, seen)]
    return max(worst(a, b) for a, b in pairs)


def worst(expected: Tensor, seen: Tensor) -> float:
    if expected.shape != seen.shape:
        raise InputError(f"f(x) has the shape {tuple(expected.shape)} and f(g x) {tuple(seen.shape)}")
    a, b = expected.double().flatten(1), seen.double().flatten(1)
    if not bool(torch.isfinite(a).all() and torch.isfinite(b).all()):
        raise InputError("the map gives NaN or infinity")
    typical = float(a.norm(dim=1).square().mean().sqrt())
    if typical == 0:
        raise InputError("the map gives nothing but 0, which is equivariant and says nothing: give its weights other values")
    return float((a - b).norm(dim=1).max()) / typical


def cast(g: Element, dtype: torch.dtype) -> Element:
    """The same elements in another float type."""
    if isinstance(g, Permutation):
        return g
    return Affine(g.matrix.to(dtype)) if isinstance(g, Affine) else Colour(g.matrix.to(dtype))


def check_layer(layer: Any, samples: int = 16, seed: int = 0, strength: float = 1.0) -> dict[torch.dtype, float]:
    """The worst relative errors of a layer with `in_rep` and `out_rep`, in float64 and float32, in evaluation mode; the layer itself stays as it is.

    Raises InputError above `LIMITS`, unless the layer says `exact = False`.
    """
    if not (hasattr(layer, "in_rep") and hasattr(layer, "out_rep")):
        raise InputError(f"{type(layer).__name__} does not say in_rep and out_rep, which equivariant layers do")
    errors = {}
    for dtype in LIMITS:
        f = copy.deepcopy(layer).to(dtype).eval() if isinstance(layer, nn.Module) else layer
        errors[dtype] = is_equivariant(f, layer.in_rep, layer.out_rep, samples, seed, dtype, strength)
    wrong = [f"{error:.2g} in {str(dtype)[6:]} (at most {LIMITS[dtype]:g})" for dtype, error in errors.items() if error > LIMITS[dtype]]
    if wrong and getattr(layer, "exact", True):
        raise InputError(f"{type(layer).__name__} is not equivariant under {layer.in_rep.group.name}: it is off by {', '.join(wrong)}")
    return errors
