"""The levels of an encoder's features, from fine to coarse, as it is in evaluation; and which of them to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.contracts import Tokens, View

Levels = Callable[[View], list[Tokens]]


def levels_of(encoder: nn.Module) -> Levels:
    """The pyramid of an encoder, or its tokens' features where it has none, as it is in evaluation. Raises InputError where it has neither."""

    def levels(view: View) -> list[Tokens]:
        training = encoder.training
        encoder.eval()
        try:
            return encoder.pyramid(view)  # type: ignore[operator]
        finally:
            encoder.train(training)

    return levels


def coarsest(levels: Sequence[Tokens], least: int) -> Tokens:
    """The last level, of levels from fine to coarse, that has `least` parts, or as many as any."""
    enough = min(least, max(level.x.shape[1] for level in levels))
    return next(level for level in reversed(levels) if level.x.shape[1] >= enough)


def cells_of(x: Float[Tensor, "batch channels *sides"]) -> Tokens:
    """What stands for the input itself, place by place: each pixel or voxel, and where it is (x first), from 0 to 1 along each side."""
    axes = torch.meshgrid(*((torch.arange(n, device=x.device) + 0.5) / n for n in x.shape[2:]), indexing="ij")
    where = torch.stack(axes[::-1], -1).reshape(1, -1, len(axes)).expand(len(x), -1, -1)
    return Tokens(torch.cat([x.flatten(2).mT, where], -1), where)
