"""Groups of groups: what an encoder with levels hands to methods that hide some of them, and how a choice at one level becomes one at the next finer.

An encoder has levels where it has `levels(view) -> list[Level]`, from fine to coarse, and `encode_levels(levels, visible) -> list[(batch, groups, width)]`,
whose features of groups that are not visible are zero and influence nothing; `widths` and `contents` say how wide each level's features are, and how many
numbers each group's content has. Groups may share members, and some may belong to none.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Level:
    """Groups of one resolution. Their members are points at the finest level, and at the others groups of the next finer one."""

    where: Float[Tensor, "batch groups axes"]  # centres, in the view's frame
    content: Tensor  # (batch, groups, ...): what there is to predict of each; of sets, the members' places relative to the centre
    rows: Int[Tensor, "batch groups members"] | None = None  # of the members in the finer level; None at the finest
    x: Any = None  # at the finest, what the encoder makes its groups of
    exists: Bool[Tensor, "batch groups"] | None = None  # False where padded; None: all are real


def back_project(visible: Bool[Tensor, "batch groups"], rows: Int[Tensor, "batch groups members"], count: int) -> Bool[Tensor, "batch {count}"]:
    """Which of the `count` groups of the finer level are visible: the members of visible groups, and no others."""
    marks = visible[..., None].expand_as(rows).flatten(1).int()
    return torch.zeros(len(rows), count, dtype=torch.int32, device=rows.device).scatter_add_(1, rows.flatten(1), marks) > 0


def compact(visible: Bool[Tensor, "batch groups"]) -> tuple[Int[Tensor, "batch most"], Bool[Tensor, "batch most"]]:
    """The rows of visible groups, in order, as many for each sample as the one with most of them has; and which of these are no padding."""
    count = visible.sum(1)
    rows = visible.int().argsort(dim=1, descending=True, stable=True)[:, : int(count.max())]
    return rows, torch.arange(rows.shape[1], device=rows.device) < count[:, None]


def scattered(
    full: Float[Tensor, "batch groups dim"], rows: Int[Tensor, "batch most"], there: Bool[Tensor, "batch most"], t: Float[Tensor, "batch most dim"]
) -> Float[Tensor, "batch groups dim"]:
    """`full` with `t` in the rows that are no padding."""
    at = rows[..., None].expand(-1, -1, full.shape[-1])
    return full.scatter(1, at, torch.where(there[..., None], t.to(full.dtype), full.gather(1, at)))
