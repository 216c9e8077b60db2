"""Encoders of graphs by name. Nodes have `channels` numbers each; `size` is how many nodes become tokens, and means nothing to networks that pass messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manyviews.contracts import Encoder

SIZE = 32  # nodes, where nothing is said


def gcn(channels: int = 1, size: int = SIZE, form: Mapping[str, Any] | None = None) -> Encoder:
    """Graph convolutions (GCN, arXiv:1609.02907): 2 layers, 256 wide; of a graph the mean of its nodes."""
    from manyviews.backbones.message_passing import GCN

    return GCN(channels, 256)


def gcn_micro(channels: int = 1, size: int = SIZE, form: Mapping[str, Any] | None = None) -> Encoder:
    """Graph convolutions: 2 layers, 64 wide; for a CPU in minutes."""
    from manyviews.backbones.message_passing import GCN

    return GCN(channels, 64)


def gin(channels: int = 1, size: int = SIZE, form: Mapping[str, Any] | None = None) -> Encoder:
    """Graph isomorphism network (GIN, arXiv:1810.00826): 5 layers, 64 wide; the sums of all layers side by side."""
    from manyviews.backbones.message_passing import GIN

    return GIN(channels, 64, 5)


def gin_micro(channels: int = 1, size: int = SIZE, form: Mapping[str, Any] | None = None) -> Encoder:
    """Graph isomorphism network: 3 layers, 32 wide; for a CPU in minutes."""
    from manyviews.backbones.message_passing import GIN

    return GIN(channels, 32, 3)


def gat(channels: int = 1, size: int = SIZE, form: Mapping[str, Any] | None = None) -> Encoder:
    """Graph attention (GAT, arXiv:1710.10903): 2 layers, 256 wide, 8 heads; uses features of edges."""
    from manyviews.backbones.message_passing import GAT, edge_channels

    return GAT(channels, 256, 8, edge_channels=edge_channels(form))


def gat_micro(channels: int = 1, size: int = SIZE, form: Mapping[str, Any] | None = None) -> Encoder:
    """Graph attention: 2 layers, 64 wide, 4 heads; for a CPU in minutes."""
    from manyviews.backbones.message_passing import GAT, edge_channels

    return GAT(channels, 64, 4, edge_channels=edge_channels(form))


def graph_transformer(channels: int = 1, size: int = SIZE, form: Mapping[str, Any] | None = None) -> Encoder:
    """Nodes as tokens, placed by random walks, under a transformer of 6 blocks, 256 wide: 5 million parameters."""
    from manyviews.backbones.graph_nodes import graph_tokens

    return graph_tokens(channels, size, 256, 6, 8)


def graph_transformer_micro(channels: int = 1, size: int = SIZE, form: Mapping[str, Any] | None = None) -> Encoder:
    """Nodes as tokens, placed by random walks, under a transformer of 3 blocks, 96 wide: for a CPU in minutes."""
    from manyviews.backbones.graph_nodes import graph_tokens

    return graph_tokens(channels, size, 96, 3, 4)


def natural(size: int) -> str:
    """What this machine can train."""
    import torch

    return "gin" if torch.cuda.is_available() else "gin_micro"
