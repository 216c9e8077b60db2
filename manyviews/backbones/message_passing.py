"""Networks that pass messages along edges: every node's features become a function of its own and its neighbours', layer by layer.

Kipf and Welling, "Semi-Supervised Classification with Graph Convolutional Networks", ICLR 2017, arXiv:1609.02907 (gcn);
Xu et al., "How Powerful are Graph Neural Networks?", ICLR 2019, arXiv:1810.00826 (gin);
Velickovic et al., "Graph Attention Networks", ICLR 2018, arXiv:1710.10903 (gat). The layers are torch_geometric's.
A graph's embedding is the mean of its nodes' last features (gcn, gat) or, as in the paper, the sums of those of all layers side by side (gin); a node's is
its own row.
Departs from the papers: widths are those that learning without labels uses, batch normalisation stands behind every layer of all three, and none drops
anything out by itself unless asked to, as views already do; gcn uses the weights of edges, and gat their features, where there are any.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.contracts import Encoder, Tokens, View
from manyviews.data.graph_batch import Graphs
from manyviews.errors import InputError


def layers_of() -> Any:
    """torch_geometric's layers. Raises InputError where it is not installed."""
    try:
        from torch_geometric import nn as found
    except ImportError:
        raise InputError("networks on graphs need torch_geometric: pip install 'manyviews[graphs]'") from None
    return found


class Rows(nn.BatchNorm1d):
    """Batch normalisation over nodes; a lone node, of which there is no variance, is normalised as in evaluation."""

    def forward(self, input: Tensor) -> Tensor:
        if self.training and len(input) < 2:
            return nn.functional.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(input)


class MessagePassing(Encoder):
    """Layers, each followed by a normalisation and an activation. `nodes` gives the features of every node, for what is about nodes."""

    def __init__(
        self, convolutions: list[nn.Module], widths: list[int], activation: nn.Module, readout: str = "mean", every: bool = False, dropout: float = 0.0
    ):
        super().__init__()
        self.convolutions = nn.ModuleList(convolutions)
        self.norms = nn.ModuleList(Rows(width) for width in widths)
        self.activation, self.dropout = activation, nn.Dropout(dropout)
        self.readout, self.every, self.widths = readout, every, widths
        self.dim = sum(widths) if every else widths[-1]

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        graphs: Graphs = view.x
        t = self.nodes(graphs)
        if graphs.roots is not None:
            return t[graphs.roots]
        total = t.new_zeros(graphs.graphs, t.shape[1], dtype=torch.float32).index_add_(0, graphs.owner, t.float())
        return total / graphs.sizes.clamp(min=1)[:, None] if self.readout == "mean" else total

    def nodes(self, graphs: Graphs) -> Float[Tensor, "nodes dim"]:
        """Of every node the features of the last layer, or of all side by side."""
        levels = self.levels(graphs)
        return torch.cat(levels, 1) if self.every else levels[-1]

    def levels(self, graphs: Graphs) -> list[Float[Tensor, "nodes width"]]:
        t, levels = graphs.x, []
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            t = self.activation(norm(self.message(convolution, self.dropout(t), graphs)))
            levels.append(t)
        return levels

    def message(self, convolution: nn.Module, t: Tensor, graphs: Graphs) -> Tensor:
        """One layer."""
        return convolution(t, graphs.edges)

    def pyramid(self, view: View) -> list[Tokens]:
        raise InputError(f"{type(self).__name__} has a level a layer and no feature pyramid of parts; take --encoder graph_transformer_micro")


class GCN(MessagePassing):
    """Each node the sum of its own and its neighbours' features over the roots of both degrees, times a matrix."""

    def __init__(self, channels: int, width: int = 256, depth: int = 2, dropout: float = 0.0):
        convolution = layers_of().GCNConv
        super().__init__([convolution(width if k else channels, width) for k in range(depth)], [width] * depth, nn.ReLU(), dropout=dropout)

    def message(self, convolution: nn.Module, t: Tensor, graphs: Graphs) -> Tensor:
        return convolution(t, graphs.edges, graphs.weight)


class GIN(MessagePassing):
    """Each node a perceptron of the sum of its own features, (1 + a learned epsilon) times, and its neighbours'."""

    def __init__(self, channels: int, width: int = 64, depth: int = 5, dropout: float = 0.0):
        convolution = layers_of().GINConv

        def perceptron(a: int) -> nn.Sequential:
            return nn.Sequential(nn.Linear(a, width), Rows(width), nn.ReLU(), nn.Linear(width, width))

        made = [convolution(perceptron(width if k else channels), train_eps=True) for k in range(depth)]
        super().__init__(made, [width] * depth, nn.ReLU(), "sum", True, dropout)


class GAT(MessagePassing):
    """Each node the mean of its own and its neighbours' features by learned weights, for several heads; the last layer's heads are averaged."""

    def __init__(self, channels: int, width: int = 256, heads: int = 8, depth: int = 2, edge_channels: int = 0, dropout: float = 0.0):
        convolution = layers_of().GATConv
        own = edge_channels or None
        made = [convolution(width if k else channels, width // heads, heads, dropout=dropout, edge_dim=own) for k in range(depth - 1)]
        made.append(convolution(width if depth > 1 else channels, width, heads, concat=False, dropout=dropout, edge_dim=own))
        super().__init__(made, [width] * depth, nn.ELU(), dropout=dropout)
        self.edge_channels = edge_channels

    def message(self, convolution: nn.Module, t: Tensor, graphs: Graphs) -> Tensor:
        return convolution(t, graphs.edges, graphs.edge_x) if self.edge_channels else convolution(t, graphs.edges)


def edge_channels(form: Mapping[str, Any] | None) -> int:
    """How many numbers an edge has, by the form of the data."""
    return int((form or {}).get("edges", 0))
