"""What may be asked of point clouds: the checks of `manyviews.nn.neighbours`. Clouds are (batch, points, axes), `exists` says which points are real."""

from __future__ import annotations

import functools

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from manyviews.errors import InputError
from manyviews.nn.neighbour_plain import counts, recorded


def checked(masks: dict[str, Tensor | None], **clouds: Tensor) -> list[Tensor]:
    """The clouds in one float type of at least 32 bits; `masks` say which points exist, by the clouds' names. Raises InputError with all problems."""
    first, problems = next(iter(clouds)), []
    for name, x in clouds.items():
        if x.dim() != 3:
            problems.append(f"{name} have shape {tuple(x.shape)}; (batch, points, axes) is needed, one cloud being {name}[None]")
            continue
        if not x.is_floating_point():
            problems.append(f"{name} are of type {x.dtype}; floats are needed: {name}.float()")
        mask, other = masks.get(name), clouds[first]
        if mask is not None and (mask.shape != x.shape[:2] or mask.dtype != torch.bool):
            problems.append(f"what exists of {name} is {mask.dtype} {tuple(mask.shape)}; torch.bool {tuple(x.shape[:2])} is needed, True where a point is real")
        elif x.is_floating_point() and (wrong := not_finite(x.detach(), mask)):
            problems.append(f"{name}: NaN or infinite coordinates in clouds {wrong}; drop those points, or say with a mask which points exist")
        if other.dim() == 3 and (x.shape[0], x.shape[2], x.device) != (other.shape[0], other.shape[2], other.device):
            one, two = (f"{y.shape[0]} clouds of {y.shape[2]} axes on {y.device}" for y in (other, x))
            problems.append(f"{first} are {one}, {name} are {two}; they must be as many, of as many axes, on one device")
    if problems:
        raise InputError(*problems)
    kind = functools.reduce(torch.promote_types, (x.dtype for x in clouds.values()), torch.float32)
    return [x.to(kind) for x in clouds.values()]


def not_finite(x: Float[Tensor, "batch points axes"], exists: Bool[Tensor, "batch points"] | None) -> str:
    """The first few clouds with points that are not finite, as text; empty: none."""
    if recorded() or bool(x.sum().isfinite()):  # true of most clouds, and quickly found
        return ""
    wrong = ~x.isfinite().all(2) if exists is None else exists & ~x.isfinite().all(2)
    rows = wrong.any(1).nonzero()[:, 0].tolist()
    return ", ".join(map(str, rows[:5])) + (f" and {len(rows) - 5} more" if len(rows) > 5 else "")


def enough(points: Tensor, exists: Tensor | None, count: int, repeat: bool) -> None:
    """Raises InputError where a cloud has fewer points than asked for, or none."""
    if count < 1:
        raise InputError(f"{count} points are asked for; ask for at least 1")
    if recorded():
        return
    most = counts(points, exists)
    fewest = int(most.min()) if len(most) else count
    if fewest < 1:
        raise InputError(f"cloud {int(most.argmin())} has no points; leave it out")
    if fewest < count and not repeat:
        raise InputError(f"cloud {int(most.argmin())} has {fewest} points, {count} are asked for; ask for fewer, or let points come again with repeat=True")


def starts(points: Tensor, exists: Tensor | None, start: int | Tensor | None) -> Int[Tensor, "batch"]:
    """The row each cloud starts from: as given, or its first point."""
    if start is None:
        return exists.int().argmax(1) if exists is not None else points.new_zeros(points.shape[:1], dtype=torch.long)
    first = torch.as_tensor(start, device=points.device).long().expand(len(points)).contiguous()
    real = (first >= 0) & (first < points.shape[1])
    if exists is not None:
        real = real & exists.gather(1, first.clamp(0, points.shape[1] - 1)[:, None])[:, 0]
    if not bool(real.all()):
        c = int(real.int().argmin())
        raise InputError(f"cloud {c} starts from row {int(first[c])}, where it has no point; give a row for each cloud, or none to start from the first point")
    return first
