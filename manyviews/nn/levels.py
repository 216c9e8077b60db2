"""The levels of an encoder's features, from fine to coarse, as it is in evaluation; and which of them to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

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
