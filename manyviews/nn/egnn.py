"""EGNN: messages from distances, positions moved along differences: equivariant to rotations, reflections and shifts in any dimension.

Satorras, Hoogeboom, Welling, "E(n) Equivariant Graph Neural Networks", ICML 2021, arXiv:2102.09844.
Graphs are dense: every node hears every other of its graph, or those that `near` says.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from manyviews.groups import Acting, Fields, Together, e, trivial


def perceptron(inside: int, hidden: int, outside: int, last: bool = False) -> nn.Sequential:
    """Two linear layers with SiLU between them, and after them where `last`."""
    return nn.Sequential(nn.Linear(inside, hidden), nn.SiLU(), nn.Linear(hidden, outside), *([nn.SiLU()] if last else []))


class EGNNLayer(nn.Module):
    """Messages m_ij, then v_i <- phi_v(h_i) v_i + mean_j (x_i - x_j) phi_x(m_ij); x_i <- x_i + v_i; h_i <- h_i + phi_h(h_i, sum_j m_ij).

    width: of node features h. edge_channels: numbers a_ij of each pair. hidden: of all perceptrons; None: as `width`.
    Called without velocities there is no phi_v, and the mean alone moves the positions. `axes` only says where `in_rep` lives: any dimension will do.
    """

    def __init__(self, width: int, edge_channels: int = 0, hidden: int | None = None, axes: int = 3):
        super().__init__()
        hidden = hidden or width
        self.message = perceptron(2 * width + 1 + edge_channels, hidden, hidden, last=True)  # phi_e
        self.node = perceptron(width + hidden, hidden, width)  # phi_h
        last = nn.Linear(hidden, 1, bias=False)
        nn.init.xavier_uniform_(last.weight, gain=0.001)  # positions hardly move at first
        self.along = nn.Sequential(nn.Linear(hidden, hidden), nn.SiLU(), last)  # phi_x
        self.speed = perceptron(width, hidden, 1)  # phi_v
        parts = (Fields(trivial(e(axes), width), (5,)), Acting(e(axes), "points", (5, axes)), Acting(e(axes), "vectors", (5, axes)))
        self.in_rep = self.out_rep = Together(parts)

    def forward(
        self,
        h: Float[Tensor, "batch nodes width"],
        x: Float[Tensor, "batch nodes axes"],
        v: Float[Tensor, "batch nodes axes"] | None = None,
        edges: Float[Tensor, "batch nodes nodes edge_channels"] | None = None,
        near: Bool[Tensor, "batch nodes nodes"] | None = None,
    ) -> tuple[Tensor, ...]:
        """New h and x, and v where there is one. `edges[:, i, j]` and `near[:, i, j]` are about what node i hears from node j; a node does not hear itself."""
        n = x.shape[1]
        away = x[:, :, None] - x[:, None]  # (batch, i, j, axes)
        hears = ~torch.eye(n, dtype=torch.bool, device=x.device) if near is None else near & ~torch.eye(n, dtype=torch.bool, device=x.device)
        share = hears[..., None].to(x.dtype).expand(len(x), n, n, 1)
        pairs = [h[:, :, None].expand(-1, n, n, -1), h[:, None].expand(-1, n, n, -1), away.square().sum(-1, keepdim=True)]
        m = self.message(torch.cat(pairs if edges is None else [*pairs, edges], -1)) * share  # Eq. (3)
        moved = (away * self.along(m) * share).sum(2) / share.sum(2).clamp(min=1)
        new = moved if v is None else self.speed(h) * v + moved  # Eq. (7)
        h = h + self.node(torch.cat([h, m.sum(2)], -1))  # Eq. (6)
        return (h, x + new) if v is None else (h, x + new, new)


class EGNN(nn.Module):
    """Layers one after the other, on node features brought to `width`.

    channels: numbers a node, invariant. out: numbers a node in the end; 0: `width` of them. The other arguments are `EGNNLayer`'s.
    The paper's n-body network has width 64 and 4 layers, speeds |v| as features of nodes and products of charges and squared distances as those of edges.
    """

    def __init__(self, channels: int, width: int = 64, depth: int = 4, edge_channels: int = 0, out: int = 0, axes: int = 3):
        super().__init__()
        self.embed = nn.Linear(channels, width)
        self.layers = nn.ModuleList(EGNNLayer(width, edge_channels, axes=axes) for _ in range(depth))
        self.last = perceptron(width, width, out) if out else nn.Identity()
        space = Acting(e(axes), "points", (5, axes)), Acting(e(axes), "vectors", (5, axes))
        self.in_rep = Together((Fields(trivial(e(axes), channels), (5,)), *space))
        self.out_rep = Together((Fields(trivial(e(axes), out or width), (5,)), *space))

    def forward(
        self,
        h: Float[Tensor, "batch nodes channels"],
        x: Float[Tensor, "batch nodes axes"],
        v: Float[Tensor, "batch nodes axes"] | None = None,
        edges: Float[Tensor, "batch nodes nodes edge_channels"] | None = None,
        near: Bool[Tensor, "batch nodes nodes"] | None = None,
    ) -> tuple[Tensor, ...]:
        """Features and positions of nodes after all layers, and velocities where there were any."""
        h = self.embed(h)
        start = v  # what phi_v multiplies in every layer: v_init in Eq. (7)
        for layer in self.layers:
            h, x, *rest = layer(h, x, start, edges, near)
            v = rest[0] if rest else None
        return (self.last(h), x) if v is None else (self.last(h), x, v)
