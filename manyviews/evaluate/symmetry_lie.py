"""The Lie derivative: how an embedding changes under an infinitesimal transformation, after what a representation says is undone.

Gruver et al., "The Lie Derivative for Measuring Learned Equivariance", ICLR 2023, arXiv:2210.02984. For an element xi of the Lie algebra,
L_xi f(x) = d/dt at t = 0 of rho(exp(-t xi)) f(exp(t xi) x), which is zero for all xi and x exactly where f is equivariant under the connected group.
Departs from the paper: the norm is relative to the spread of the embeddings, so that encoders of different scales can be compared; and the derivative is
taken in forward mode, by double backward, or by central differences, whichever the encoder's operations have.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.errors import InputError
from manyviews.evaluate.scores import Score
from manyviews.evaluate.symmetry_scores import collapsed, ratio, squares
from manyviews.evaluate.symmetry_tuples import in_full_precision

MODES = ("forward", "double backward", "differences")
Curve = Callable[[Tensor], Float[Tensor, "batch dim"]]


@dataclasses.dataclass(frozen=True)
class LieNorm:
    """sqrt(E|L_xi f|^2 / E|f - mean f|^2), the mean over the directions xi, and how the derivatives were taken."""

    score: Score
    each: tuple[float, ...]
    mode: str


def forward_mode(curve: Curve, zero: Float[Tensor, ""]) -> Float[Tensor, "batch dim"]:
    return torch.func.jvp(curve, (zero,), (torch.ones_like(zero),))[1]


def double_backward(curve: Curve, zero: Float[Tensor, ""]) -> Float[Tensor, "batch dim"]:
    """d/dt curve(t) as the derivative of v -> d/dt <curve(t), v>, which is linear in v."""
    t = zero.clone().requires_grad_(True)
    z = curve(t)
    v = torch.zeros_like(z, requires_grad=True)
    (slope,) = torch.autograd.grad(z, t, v, create_graph=True)
    return torch.autograd.grad(slope, v)[0]


def differences(curve: Curve, zero: Float[Tensor, ""]) -> Float[Tensor, "batch dim"]:
    """Central differences with the step that balances the error of rounding and of the third derivative."""
    step = torch.finfo(zero.dtype).eps ** (1 / 3)
    with torch.no_grad():
        return (curve(zero + step) - curve(zero - step)) / (2 * step)


WAYS: dict[str, Callable[[Curve, Tensor], Tensor]] = dict(zip(MODES, (forward_mode, double_backward, differences), strict=True))


def derivative(curve: Curve, dtype: torch.dtype, device: torch.device | str = "cpu", mode: str | None = None) -> tuple[Float[Tensor, "batch dim"], str]:
    """d/dt curve(t) at 0 and how it was found. Where automatic differentiation says zero, differences have the last word: the encoder may be detached."""
    zero = torch.zeros((), dtype=dtype, device=device)
    if mode is not None:
        if mode not in WAYS:
            raise InputError(f"no way {mode!r} to take a derivative; there are {', '.join(MODES)}")
        return WAYS[mode](curve, zero).detach(), mode
    for name in MODES[:2]:
        try:
            found = WAYS[name](curve, zero).detach()
        except (RuntimeError, NotImplementedError):  # an operation of the encoder without this derivative
            continue
        if found.isfinite().all() and found.any():
            return found, name
    return differences(curve, zero), "differences"


def lie_norm(
    encoder: Callable[[Any], Float[Tensor, "batch dim"]],
    flow: Callable[[Any, Tensor], Any],
    directions: Sequence[Any],
    x: Any,
    undo: Callable[[Any, Tensor, Float[Tensor, "batch dim"]], Float[Tensor, "batch dim"]] | None = None,
    objects: Int[Tensor, "batch"] | None = None,
    mode: str | None = None,
    seed: int = 0,
) -> LieNorm:
    """The relative Lie-derivative norm; 0 is exactly equivariant (without `undo`: invariant), in units of spreads of the embedding per unit of t.

    flow(xi, t): exp(t xi) x as the encoder takes it, differentiable in the scalar t. undo(xi, t, z): rho(exp(-t xi)) z; None: rho is trivial.
    """
    with in_full_precision(encoder, gradient=True):
        with torch.no_grad():
            z = encoder(x)
        if z.dtype not in (torch.float32, torch.float64):
            raise InputError(f"the encoder gives {str(z.dtype).removeprefix('torch.')}; a derivative is taken in float32 or float64")
        if collapsed(z):
            raise InputError("the encoder is collapsed: it gives one vector for all samples, so its Lie derivative relative to their spread is 0 / 0")
        ways, found = set(), []
        for xi in directions:

            def curve(t: Tensor, xi: Any = xi) -> Tensor:
                moved = encoder(flow(xi, t))
                return moved if undo is None else undo(xi, t, moved)

            slope, way = derivative(curve, z.dtype, z.device, mode)
            found.append(squares(slope).cpu())
            ways.add(way)
    spread = squares(z - z.mean(0)).cpu()
    own = torch.arange(len(z)) if objects is None else objects.cpu()
    each = [ratio(f, spread, own, seed) for f in found]
    score = Score(*(sum(getattr(s, part) ** 0.5 for s in each) / len(each) for part in ("value", "low", "high")))
    return LieNorm(score, tuple(s.value**0.5 for s in each), " and ".join(sorted(ways)))
