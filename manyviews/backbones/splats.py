"""Encoders of Gaussian splats, by name. They take views of `size` splats with the columns of `manyviews.data.splats`, or with centres alone (3 channels).

Names that end in `_micro` are for a CPU in minutes: 4 blocks, 96 wide. The others are the paper's: 12 blocks, 384 wide.
"""

from __future__ import annotations

from collections.abc import Sequence

from manyviews.backbones.points import groups
from manyviews.backbones.splat_groups import ALL, grouped
from manyviews.backbones.tokens import TokenEncoder
from manyviews.contracts import Encoder

SIZE = 1024  # splats, where nothing is said
CENTRE = ("centre",)


def splat_transformer(channels: int = 14, size: int = SIZE) -> Encoder:
    """Groups of splats with all their parameters, pooled, under a transformer of 12 blocks (Gaussian-MAE, arXiv:2408.10906): 22 million parameters."""
    return large(channels, size, ALL, CENTRE, True)


def splat_transformer_centres(channels: int = 14, size: int = SIZE) -> Encoder:
    """The same of centres alone, without splats pooling: a point transformer."""
    return large(channels, size, CENTRE, CENTRE, False)


def splat_transformer_unpooled(channels: int = 14, size: int = SIZE) -> Encoder:
    """The same of all parameters, without splats pooling."""
    return large(channels, size, ALL, CENTRE, False)


def splat_transformer_by_features(channels: int = 14, size: int = SIZE) -> Encoder:
    """The same of all parameters, in groups of splats that are alike in all of them, without splats pooling."""
    return large(channels, size, ALL, ALL, False)


def splat_transformer_micro(channels: int = 14, size: int = SIZE) -> Encoder:
    """Groups of splats with all their parameters, pooled, under a transformer of 4 blocks, 96 wide."""
    return micro(channels, size, ALL, CENTRE, True)


def splat_transformer_centres_micro(channels: int = 14, size: int = SIZE) -> Encoder:
    """The same of centres alone, without splats pooling: a point transformer."""
    return micro(channels, size, CENTRE, CENTRE, False)


def splat_transformer_unpooled_micro(channels: int = 14, size: int = SIZE) -> Encoder:
    """The same of all parameters, without splats pooling."""
    return micro(channels, size, ALL, CENTRE, False)


def splat_transformer_by_features_micro(channels: int = 14, size: int = SIZE) -> Encoder:
    """The same of all parameters, in groups of splats that are alike in all of them, without splats pooling."""
    return micro(channels, size, ALL, ALL, False)


def large(channels: int, size: int, embed: Sequence[str], by: Sequence[str], pooling: bool) -> TokenEncoder:
    return grouped(channels, 384, 12, 6, *groups(size), embed, by, pooling)


def micro(channels: int, size: int, embed: Sequence[str], by: Sequence[str], pooling: bool) -> TokenEncoder:
    return grouped(channels, 96, 4, 3, *groups(size, 32), embed, by, pooling)


def natural(size: int) -> str:
    """What this machine can train."""
    import torch

    return "splat_transformer" if torch.cuda.is_available() else "splat_transformer_micro"
