"""L-BFGS for many smooth problems at once, in plain PyTorch.

Liu and Nocedal, "On the limited memory BFGS method for large scale optimization", Mathematical Programming 45, 1989; the two-loop recursion and
the weak Wolfe conditions as in Nocedal and Wright, "Numerical Optimization", 2006, Alg. 7.4 and Eq. (3.6). Problems share each evaluation, so
that one product of matrices serves all; each has its own step, and leaves when its gradient is small.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

SUFFICIENT, CURVATURE = 1e-4, 0.9
Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # (w of some problems, their numbers) -> values (float64), gradients
Precondition = Callable[[Tensor, Tensor], Tensor]  # (gradients, the problems' numbers) -> about the inverse Hessian times them


@dataclasses.dataclass(frozen=True)
class Minimum:
    """Where it ended: arguments, values, and whether every entry of the gradient is within the tolerance."""

    w: Float[Tensor, "problems ..."]
    value: Float[Tensor, "problems"]
    converged: Bool[Tensor, "problems"]
    evaluations: int


def minimize(
    objective: Objective,
    start: Float[Tensor, "problems ..."],
    tolerance: float = 1e-4,
    steps: int = 300,
    memory: int = 10,
    precondition: Precondition | None = None,
    noise: float = 1e-7,
) -> Minimum:
    """Minimizes from `start` until the largest entry of each gradient is at most `tolerance`, or `steps` are done, or nothing gets better.

    noise: how far values may be off, relatively; some steps that gain less than this in all, and do not make the gradient smaller, are the end.
    """
    patience, trials = (6, 12) if noise < 1e-6 else (3, 4)
    shape = start.shape[1:]
    solution, which = start.clone().flatten(1), torch.arange(len(start))
    w = solution.clone()
    value, gradient = evaluate(objective, w, which, shape)
    values, converged, evaluations = value.clone(), torch.zeros(len(start), dtype=torch.bool), 1
    history: list[tuple[Tensor, Tensor, Tensor]] = []  # (s, y, 1 / s.y) of each of the last steps
    failed = torch.zeros(len(start), dtype=torch.bool)
    lowest, flattest, since = value.clone(), gradient.abs().amax(1), torch.zeros(len(start))
    for _ in range(steps + 1):
        small = gradient.abs().amax(1) <= tolerance
        leave = small | failed
        if leave.any():
            solution[which[leave]], values[which[leave]], converged[which[leave]] = w[leave], value[leave], small[leave]
            stay = ~leave
            w, value, gradient, which = w[stay], value[stay], gradient[stay], which[stay]
            lowest, flattest, since = lowest[stay], flattest[stay], since[stay]
            history = [(s[stay], y[stay], r[stay]) for s, y, r in history]
        if not len(which):
            break
        direction = -two_loops(gradient, history, lambda g: precondition(g.unflatten(1, shape), which).flatten(1) if precondition else g)  # noqa: B023
        if not history and precondition is None:
            direction = direction / gradient.abs().sum(1, keepdim=True).clamp(min=1)
        new, new_value, new_gradient, failed, count = search(objective, w, value, gradient, direction, which, shape, noise, trials)
        evaluations += count
        s, y = new - w, new_gradient - gradient
        sy = (s * y).sum(1)
        history = [*history[max(0, len(history) - memory + 1) :], (s, y, torch.where(sy > 1e-10 * (y * y).sum(1), 1 / sy, 0.0))]
        w, value, gradient = new, new_value, new_gradient
        largest = gradient.abs().amax(1)
        better = (value < lowest - noise * lowest.abs()) | (largest < 0.9 * flattest)
        lowest, flattest, since = torch.minimum(value, lowest), torch.minimum(largest, flattest), torch.where(better, 0, since + 1)
        failed |= since >= patience
    else:
        solution[which], values[which] = w, value
    return Minimum(solution.unflatten(1, shape), values, converged, evaluations)


def evaluate(objective: Objective, w: Tensor, which: Tensor, shape: torch.Size) -> tuple[Tensor, Tensor]:
    value, gradient = objective(w.unflatten(1, shape), which)
    return value.double(), gradient.flatten(1)


def two_loops(
    gradient: Float[Tensor, "problems n"], history: list[tuple[Tensor, Tensor, Tensor]], initial: Callable[[Tensor], Tensor]
) -> Float[Tensor, "problems n"]:
    """The inverse Hessian that `history` tells of, times the gradient; pairs with 1 / s.y = 0 are passed over."""
    q, alphas = gradient, []
    for s, y, r in reversed(history):
        alpha = r * (s * q).sum(1)
        q = q - alpha[:, None] * y
        alphas.append(alpha)
    q = initial(q)
    if history:
        s, y, r = history[-1]
        scale = (s * y).sum(1) / (y * initial(y)).sum(1)
        q = torch.where((r > 0) & scale.isfinite(), scale, 1.0)[:, None] * q
    for (s, y, r), alpha in zip(history, reversed(alphas), strict=True):
        q = q + (alpha - r * (y * q).sum(1))[:, None] * s
    return q


def search(
    objective: Objective,
    w: Float[Tensor, "problems n"],
    value: Float[Tensor, "problems"],
    gradient: Float[Tensor, "problems n"],
    direction: Float[Tensor, "problems n"],
    which: Int[Tensor, "problems"],
    shape: torch.Size,
    noise: float,
    trials: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    """A step that meets the weak Wolfe conditions, or the best found: new w, value, gradient, which problems got nowhere, evaluations."""
    slope = (gradient * direction).sum(1).double()
    step, low = torch.ones_like(value), torch.zeros_like(value)
    high = torch.full_like(value, torch.inf)
    best, best_value, best_gradient = w.clone(), value.clone(), gradient.clone()
    open_ = torch.arange(len(w))
    moved = torch.zeros(len(w), dtype=torch.bool)
    count = 0
    while len(open_) and count < trials:
        count += 1
        t = step[open_]
        trial = w[open_] + t[:, None].float() * direction[open_]
        found, slopes = evaluate(objective, trial, which[open_], shape)
        enough = found <= value[open_] + SUFFICIENT * t * slope[open_] + noise * value[open_].abs()
        flat = (slopes * direction[open_]).sum(1).double() >= CURVATURE * slope[open_]
        take = open_[enough]  # lower than before: good enough if nothing better comes
        best[take], best_value[take], best_gradient[take], moved[take] = trial[enough], found[enough], slopes[enough], True
        high[open_[~enough]] = t[~enough]
        low[open_[enough & ~flat]] = t[enough & ~flat]
        parabola = -slope[open_] * t.square() / (2 * (found - value[open_] - slope[open_] * t))
        width = high[open_] - low[open_]
        inside = torch.where(parabola.isfinite(), parabola, torch.zeros_like(t)).clamp(low[open_] + 0.1 * width, low[open_] + 0.5 * width)
        step[open_] = torch.where(width.isfinite(), inside, 4 * t)
        open_ = open_[~(enough & flat)]
    return best, best_value, best_gradient, ~moved, count
