"""What may change in a graph: nodes and edges dropped or added, features hidden, a part cut out.

Every number is drawn for a graph, a node or an edge by what it is, so that it depends on nothing else in the batch, and the
two directions of an edge go together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from manyviews.counters import Counter
from manyviews.data.graph_batch import Graphs


@dataclasses.dataclass(frozen=True)
class DropNodes:
    """A `share` of the nodes, rounded down, with their edges, but never all; of one graph each node with that probability."""

    share: float = 0.2


@dataclasses.dataclass(frozen=True)
class DropEdges:
    """Each edge with probability `share`."""

    share: float = 0.2


@dataclasses.dataclass(frozen=True)
class PerturbEdges:
    """Each edge dropped with probability `share`, and a `share` of their number added between random nodes."""

    share: float = 0.2


@dataclasses.dataclass(frozen=True)
class MaskNodes:
    """Each node, with probability `share`, shows the mean of its graph instead of its features."""

    share: float = 0.2


@dataclasses.dataclass(frozen=True)
class MaskFeatures:
    """Each feature, with probability `share`, is 0 at all nodes of a graph."""

    share: float = 0.3


@dataclasses.dataclass(frozen=True)
class Subgraph:
    """A random node, and one by one random neighbours of what there is, until there is a `share` of the graph or all that hangs together.

    Of one graph whose nodes are the samples, nodes are dropped one by one, as `DropNodes` does.
    """

    share: float = 0.8


@dataclasses.dataclass(frozen=True)
class OneOf:
    """One of several changes, another for every sample."""

    changes: tuple[DropNodes | DropEdges | PerturbEdges | MaskNodes | MaskFeatures | Subgraph, ...]


Change = DropNodes | DropEdges | PerturbEdges | MaskNodes | MaskFeatures | Subgraph | OneOf


@dataclasses.dataclass(frozen=True)
class Draw:
    """Random numbers of one change, each for what it is about."""

    counter: Counter
    name: str
    index: Int[Tensor, "graphs"]  # what tells graphs apart: their samples' rows, or 0
    graphs: Graphs

    def within(self, name: str, graphs: Graphs) -> Draw:
        return dataclasses.replace(self, name=f"{self.name}/{name}", graphs=graphs)

    def of_graphs(self, name: str, *shape: int) -> Float[Tensor, "graphs *shape"]:
        return self.counter.uniform(f"{self.name}/{name}", self.index, *shape)

    @property
    def node(self) -> Int[Tensor, "nodes"]:
        """What tells nodes apart, whatever else is in the batch."""
        return (self.index[self.graphs.owner] << 32) + self.graphs.number

    def of_nodes(self, name: str) -> Float[Tensor, "nodes"]:
        return self.counter.uniform(f"{self.name}/{name}", self.node)

    def of_edges(self, name: str) -> Float[Tensor, "edges"]:
        """The same for both directions."""
        ends = self.node[self.graphs.edges]
        first = self.counter.bits(f"{self.name}/{name}/end", ends.amin(0))
        return self.counter.uniform(f"{self.name}/{name}", first + ends.amax(0))


# --- each takes the graphs of a draw, and which of them it is for ----------------------------------------------------------------------


def drop_nodes(change: DropNodes, draw: Draw, on: Bool[Tensor, "graphs"]) -> Graphs:
    graphs, u = draw.graphs, draw.of_nodes("nodes")
    if graphs.roots is not None:
        kept = (u >= change.share).index_fill(0, graphs.roots, True)
    else:
        gone = torch.minimum((change.share * graphs.sizes).floor(), graphs.sizes - 1.0)
        kept = rank(u, graphs.owner, graphs.starts) >= gone[graphs.owner]
    return graphs.with_nodes(kept | ~on[graphs.owner])


def rank(u: Float[Tensor, "nodes"], owner: Int[Tensor, "nodes"], starts: Int[Tensor, "graphs"]) -> Int[Tensor, "nodes"]:
    """How many nodes of its graph have a lower number than a node."""
    order = u.argsort(stable=True)
    order = order[owner[order].argsort(stable=True)]
    return torch.empty_like(order).scatter(0, order, torch.arange(len(order), device=order.device) - starts[owner])


def drop_edges(change: DropEdges | PerturbEdges, draw: Draw, on: Bool[Tensor, "graphs"]) -> Graphs:
    graphs = draw.graphs
    return graphs.with_edges((draw.of_edges("edges") >= change.share) | ~on[graphs.owner[graphs.edges[0]]])


def perturb_edges(change: PerturbEdges, draw: Draw, on: Bool[Tensor, "graphs"]) -> Graphs:
    graphs, less = draw.graphs, drop_edges(change, draw, on)
    there = torch.bincount(graphs.owner[graphs.edges[0]], minlength=graphs.graphs) / 2
    sizes = graphs.sizes
    count = (change.share * there).floor().long() * (sizes > 1) * on
    most = int(count.max()) if len(count) else 0
    if not most:
        return less
    u = draw.of_graphs("added", most, 2)
    first = (u[..., 0] * sizes[:, None]).long()
    second = (first + 1 + (u[..., 1] * (sizes[:, None] - 1)).long()) % sizes[:, None].clamp(min=1)
    real = torch.arange(most, device=count.device) < count[:, None]
    new = torch.stack([first[real], second[real]]) + graphs.starts.repeat_interleave(count)
    return with_added(less, torch.cat([new, new.flip(0)], 1))


def with_added(graphs: Graphs, new: Int[Tensor, "2 added"]) -> Graphs:
    """With further edges, those that are not there yet, whose features are 0 and whose weight is 1."""
    nodes = len(graphs.x)
    key, new_key = graphs.edges[0] * nodes + graphs.edges[1], (new[0] * nodes + new[1]).unique()
    new_key = new_key[~torch.isin(new_key, key)]
    edges = torch.cat([graphs.edges, torch.stack([new_key // nodes, new_key % nodes])], 1)
    edge_x = graphs.edge_x
    if edge_x is not None:
        own = edge_x.new_zeros(len(new_key), edge_x.shape[1])
        own[:, 0] = float(graphs.weighted)
        edge_x = torch.cat([edge_x, own])
    return dataclasses.replace(graphs, edges=edges, edge_x=edge_x)


def mask_nodes(change: MaskNodes, draw: Draw, on: Bool[Tensor, "graphs"]) -> Graphs:
    graphs = draw.graphs
    hidden = (draw.of_nodes("nodes") < change.share) & on[graphs.owner]
    return dataclasses.replace(graphs, x=torch.where(hidden[:, None], mean_of(graphs)[graphs.owner], graphs.x))


def mean_of(graphs: Graphs) -> Float[Tensor, "graphs channels"]:
    """Of the features of each graph's nodes."""
    total = graphs.x.new_zeros(graphs.graphs, graphs.x.shape[1]).index_add_(0, graphs.owner, graphs.x)
    return total / graphs.sizes.clamp(min=1)[:, None]


def mask_features(change: MaskFeatures, draw: Draw, on: Bool[Tensor, "graphs"]) -> Graphs:
    graphs = draw.graphs
    shown = (draw.of_graphs("features", graphs.x.shape[1]) >= change.share) | ~on[:, None]
    return dataclasses.replace(graphs, x=graphs.x * (shown if graphs.roots is not None else shown[graphs.owner]))


def cut_out(change: Subgraph, draw: Draw, on: Bool[Tensor, "graphs"]) -> Graphs:
    graphs = draw.graphs
    if graphs.roots is not None:
        return drop_nodes(DropNodes(1 - change.share), draw, on)
    inside = grown(draw, torch.where(on, (change.share * graphs.sizes).ceil().clamp(min=1), 0))
    return graphs.with_nodes(inside | ~on[graphs.owner])


def grown(draw: Draw, wanted: Float[Tensor, "graphs"]) -> Bool[Tensor, "nodes"]:
    """Of each graph a random node and random neighbours of what there is, one by one, until there are as many as wanted or no more. Graphs that are done
    are put aside.
    """
    every = torch.zeros(len(draw.graphs.x), dtype=torch.bool, device=wanted.device)
    rows, graphs, step = torch.arange(len(every), device=wanted.device), draw.graphs, 0
    inside = highest(draw.of_nodes("first"), graphs) & (wanted > 0)[graphs.owner]
    while True:
        every[rows[inside]] = True
        count = torch.bincount(graphs.owner[inside], minlength=graphs.graphs)
        source, target = graphs.edges
        beside = torch.zeros_like(inside).index_fill_(0, target[inside[source]], True) & ~inside & (count < wanted)[graphs.owner]
        growing = (torch.bincount(graphs.owner[beside], minlength=graphs.graphs) > 0)[graphs.owner]
        if not bool(growing.any()):
            return every
        if int(growing.sum()) < len(growing) // 2:
            rows, inside, beside, graphs = rows[growing], inside[growing], beside[growing], graphs.with_nodes(growing)
        u = dataclasses.replace(draw, graphs=graphs).of_nodes(f"next/{step}")
        inside = inside | highest(torch.where(beside, u, -1.0), graphs)
        step += 1


def highest(u: Float[Tensor, "nodes"], graphs: Graphs) -> Bool[Tensor, "nodes"]:
    """The node of each graph whose number is the highest and not below 0."""
    most = u.new_full((graphs.graphs,), -1.0).scatter_reduce_(0, graphs.owner, u, "amax")
    tied = (u == most[graphs.owner]) & (u >= 0)
    rows = torch.arange(len(u), device=u.device)
    first = torch.full((graphs.graphs,), len(u), device=u.device).scatter_reduce_(0, graphs.owner[tied], rows[tied], "amin")
    return rows == first[graphs.owner]


CHANGES: dict[type, Callable[[Any, Draw, Tensor], Graphs]] = {
    DropNodes: drop_nodes, DropEdges: drop_edges, PerturbEdges: perturb_edges, MaskNodes: mask_nodes, MaskFeatures: mask_features, Subgraph: cut_out,
}  # fmt: skip


def share_touched(option: Change, before: Graphs, after: Graphs) -> Float[Tensor, "graphs"]:
    """The share of nodes or edges that are gone, or, where features are hidden or edges moved, the share asked for."""
    if isinstance(option, MaskNodes | MaskFeatures | PerturbEdges):
        return torch.full((before.graphs,), option.share, device=before.x.device)
    if isinstance(option, DropNodes | Subgraph):
        return 1 - after.sizes / before.sizes.clamp(min=1)
    there, left = (torch.bincount(g.owner[g.edges[0]], minlength=g.graphs) for g in (before, after))
    return 1 - left / there.clamp(min=1)
