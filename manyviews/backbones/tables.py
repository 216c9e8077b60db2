"""Encoders of rows of a table, by name. What the columns are comes with the form of the data; without one, `size` standardised numbers are expected.

Gorishniy et al., "Revisiting Deep Learning Models for Tabular Data", NeurIPS 2021, arXiv:2106.11959: the FT-Transformer and the residual MLP. A column has
its own vectors in the token, so there is no position beside it. A missing value is a learned token of its column, not a token that is not there: that a value
is missing says something, and all rows keep as many tokens. Numbers are standardised by the form and cut at ten deviations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manyviews.contracts import Encoder

SIZE = 16  # columns, where nothing is said


def ft_transformer(channels: int = 0, size: int = SIZE, form: Mapping[str, Any] | None = None) -> Encoder:
    """A token a column under a transformer of 3 blocks, 192 wide, 8 heads (FT-Transformer, arXiv:2106.11959): 1.3 million parameters."""
    from manyviews.backbones.ft_transformer import FTTransformer

    return FTTransformer(form, size, 192, 3, 8)


def ft_transformer_micro(channels: int = 0, size: int = SIZE, form: Mapping[str, Any] | None = None) -> Encoder:
    """A token a column under a transformer of 3 blocks, 48 wide, 4 heads: for a CPU in minutes."""
    from manyviews.backbones.ft_transformer import FTTransformer

    return FTTransformer(form, size, 48, 3, 4)


def resnet_mlp(channels: int = 0, size: int = SIZE, form: Mapping[str, Any] | None = None) -> Encoder:
    """Two residual blocks of a perceptron, 192 wide (the ResNet of arXiv:2106.11959): 0.3 million parameters and the categories'; no tokens."""
    from manyviews.backbones.ft_transformer import ResidualMLP

    return ResidualMLP(form, size, 192, 2)


def natural(size: int) -> str:
    """What this machine can train."""
    import torch

    return "ft_transformer" if torch.cuda.is_available() else "ft_transformer_micro"
