"""Graphs as samples and as batches: many graphs of which each is a sample, or one graph whose nodes are the samples.

Edges go from row 0 to row 1 of `edges`, and an undirected one is there in both directions. A batch of many graphs is their disjoint union. A batch of nodes
is the whole graph they lie in, or, of a large one, what lies within some hops of any of them; `roots` says which rows are the samples.
A network of L layers needs L + 1 hops to give a sample exactly what it gives in the whole graph: the last one tells the degrees of the nodes before it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from manyviews.counters import Counter


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """One graph. To NumPy it is one object without axes, whose content is that of all parts."""

    x: Float[np.ndarray, "nodes channels"]
    edges: Int[np.ndarray, "2 edges"]
    edge_x: Float[np.ndarray, "edges edge_channels"] | None = None
    root: int | None = None  # the node that is the sample, where not the whole graph is
    shape = ()
    dtype = np.dtype(object)

    def __len__(self) -> int:
        return len(self.x)

    @property
    def nbytes(self) -> int:
        return self.x.nbytes + self.edges.nbytes + (0 if self.edge_x is None else self.edge_x.nbytes) + 200

    def tobytes(self) -> bytes:
        parts = [np.array([*self.x.shape, *self.edges.shape]), self.x, self.edges, *([] if self.edge_x is None else [self.edge_x])]
        return b"".join(np.ascontiguousarray(part).tobytes() for part in parts)

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        """The bytes of all parts, which is what duplicates are told by."""
        return np.frombuffer(self.tobytes(), np.uint8)


class Whole:
    """A graph whose nodes are samples: its edges by the node that they lead to as well, and facts about its nodes, which travel with every batch."""

    def __init__(self, graph: Graph, columns: Mapping[str, np.ndarray] | None = None, seed: int = 0):
        self.graph, self.columns = graph, dict(columns or {})
        self.edge = np.lexsort((mixed(graph.edges, seed), graph.edges[1]))  # numbers of edges, target by target, in an order that the seed decides
        self.source = graph.edges[0][self.edge]
        self.starts = np.searchsorted(graph.edges[1][self.edge], np.arange(len(graph) + 1))
        self.key = graph.edges[0].astype(np.int64) * len(graph) + graph.edges[1]  # rises: edges are in order

    def arriving(self, nodes: Int[np.ndarray, "nodes"], most: int = 0) -> tuple[Int[np.ndarray, "edges"], Int[np.ndarray, "edges"]]:
        """Of the edges that lead to `nodes`, at most `most` to each (0: all): their sources, and their numbers."""
        count = self.starts[nodes + 1] - self.starts[nodes]
        if most:
            count = np.minimum(count, most)
        at = np.arange(count.sum()) + np.repeat(self.starts[nodes] - np.cumsum(count) + count, count)
        return self.source[at], self.edge[at]

    def within(self, roots: Int[np.ndarray, "roots"], hops: int, most: int = 0) -> tuple[Int[np.ndarray, "nodes"], Int[np.ndarray, "edges"]]:
        """The nodes within `hops` of any of `roots`, in order, and the numbers of the edges among them; at most `most` neighbours are taken of a node."""
        inside = np.zeros(len(self.graph), bool)
        frontier = np.unique(roots)
        inside[frontier] = True
        for _ in range(hops):
            frontier = np.unique(self.arriving(frontier, most)[0])
            frontier = frontier[~inside[frontier]]
            inside[frontier] = True
        nodes = np.flatnonzero(inside)
        source, edge = self.arriving(nodes, most)
        edge = edge[inside[source]]
        return nodes, np.union1d(edge, self.opposite(edge)) if most else np.sort(edge)

    def opposite(self, edge: Int[np.ndarray, "edges"]) -> Int[np.ndarray, "some"]:
        """The numbers of the edges that lead the other way, where there are such: what one end has taken, both have."""
        a, b = self.graph.edges[:, edge]
        wanted = b.astype(np.int64) * len(self.graph) + a
        at = np.searchsorted(self.key, wanted).clip(max=max(0, len(self.key) - 1))
        return at[self.key[at] == wanted] if len(self.key) else at


@dataclasses.dataclass(frozen=True, eq=False)
class Node:
    """One sample of a graph whose nodes are the samples. To NumPy it is its features and its neighbours."""

    whole: Whole
    row: int
    shape = ()
    dtype = np.dtype(object)
    nbytes = 100  # its graph is there once

    def tobytes(self) -> bytes:
        return self.whole.graph.x[self.row].tobytes() + np.sort(self.whole.arriving(np.array([self.row]))[0]).tobytes()

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.frombuffer(self.tobytes(), np.uint8)

    def around(self, hops: int = 2, most: int = 8) -> Graph:
        """The graph within some hops, with at most so many neighbours of each node."""
        nodes, edge = self.whole.within(np.array([self.row]), hops, most)
        graph = self.whole.graph
        return Graph(graph.x[nodes], np.searchsorted(nodes, graph.edges[:, edge]), None, int(np.searchsorted(nodes, self.row)))


def mixed(edges: Int[np.ndarray, "2 edges"], seed: int) -> Int[np.ndarray, "edges"]:
    """A number for each edge that looks random and depends on its two ends alone."""
    pair = torch.from_numpy(edges[0].astype(np.int64) * 0x1F123BB5 + edges[1])
    return Counter(seed, 0).bits("neighbours", pair).numpy()


@dataclasses.dataclass(frozen=True)
class Graphs:
    """A batch: what a View of graphs holds. `number` names a node within its graph, whatever a view has dropped, so that nodes are found again across views."""

    x: Float[Tensor, "nodes channels"]
    edges: Int[Tensor, "2 edges"]
    owner: Int[Tensor, "nodes"]  # the graph of each node: the sample's place in the batch, in order; 0 where the samples are nodes of one graph
    number: Int[Tensor, "nodes"]  # of many graphs from 0 in each; of one graph the row in its data set
    graphs: int
    roots: Int[Tensor, "batch"] | None = None  # the row of each sample's node; None: each graph is a sample
    edge_x: Float[Tensor, "edges edge_channels"] | None = None
    weighted: bool = False  # whether the first number of an edge is its weight
    columns: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)  # facts of each node: label (-1 where not known or not for training)

    def __len__(self) -> int:
        return self.graphs if self.roots is None else len(self.roots)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Graphs:
        def move(a: Any) -> Any:
            return a.to(device, non_blocking=non_blocking) if isinstance(a, Tensor) else a

        columns = {name: move(value) for name, value in self.columns.items()}
        parts = {f.name: move(getattr(self, f.name)) for f in dataclasses.fields(self) if f.name != "columns"}
        return Graphs(**parts, columns=columns)

    @property
    def weight(self) -> Float[Tensor, "edges"] | None:
        """Of each edge; None: all are equal."""
        return self.edge_x[:, 0] if self.weighted and self.edge_x is not None else None

    @property
    def sizes(self) -> Int[Tensor, "graphs"]:
        """The number of nodes of each graph."""
        return torch.bincount(self.owner, minlength=self.graphs)

    @property
    def starts(self) -> Int[Tensor, "graphs"]:
        """The row of each graph's first node."""
        return self.sizes.cumsum(0) - self.sizes

    @property
    def degree(self) -> Int[Tensor, "nodes"]:
        """The number of edges that arrive."""
        return torch.bincount(self.edges[1], minlength=len(self.x))

    def with_edges(self, kept: Bool[Tensor, "edges"]) -> Graphs:
        """The same nodes with some of the edges."""
        return dataclasses.replace(self, edges=self.edges[:, kept], edge_x=None if self.edge_x is None else self.edge_x[kept])

    def with_nodes(self, kept: Bool[Tensor, "nodes"]) -> Graphs:
        """Some of the nodes, all roots among them, and the edges between them."""
        place = kept.cumsum(0) - 1
        inside = kept[self.edges[0]] & kept[self.edges[1]]
        less = self.with_edges(inside)
        return dataclasses.replace(
            less, x=self.x[kept], edges=place[less.edges], owner=self.owner[kept], number=self.number[kept],
            roots=None if self.roots is None else place[self.roots], columns={name: value[kept] for name, value in self.columns.items()},
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Union:
    """`Data.collate` of many graphs: they lie side by side."""

    channels: int
    edge_channels: int = 0
    weighted: bool = False

    def __call__(self, samples: Sequence[Graph]) -> Graphs:
        sizes = np.array([len(graph) for graph in samples], np.int64)
        starts = np.cumsum(sizes) - sizes
        x = np.concatenate([graph.x for graph in samples]) if samples else np.zeros((0, self.channels), np.float32)
        edges = [np.asarray(graph.edges, np.int64) + start for graph, start in zip(samples, starts, strict=True)]
        edge_x = None
        if self.edge_channels:
            edge_x = torch.from_numpy(np.concatenate([np.zeros((0, self.edge_channels), np.float32), *(g.edge_x for g in samples if g.edge_x is not None)]))
        return Graphs(
            torch.from_numpy(np.ascontiguousarray(x, np.float32)), torch.from_numpy(np.concatenate([np.zeros((2, 0), np.int64), *edges], 1)),
            torch.from_numpy(np.repeat(np.arange(len(samples)), sizes)), torch.from_numpy(np.arange(sizes.sum()) - np.repeat(starts, sizes)),
            len(samples), None, edge_x, self.weighted,
        )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Around:
    """`Data.collate` of nodes of one graph: all of it, or, with `hops`, what is near; at most `most` neighbours of a node are taken, 0: all."""

    whole: Whole
    hops: int = 0
    most: int = 0
    weighted: bool = False

    def __call__(self, samples: Sequence[Node]) -> Graphs:
        graph = self.whole.graph
        roots = np.array([node.row for node in samples], np.int64)
        nodes, edge = self.whole.within(roots, self.hops, self.most) if self.hops else (np.arange(len(graph)), np.arange(graph.edges.shape[1]))
        every = not self.hops
        edges = graph.edges if every else np.searchsorted(nodes, graph.edges[:, edge])
        edge_x = graph.edge_x if every or graph.edge_x is None else graph.edge_x[edge]
        columns = {name: torch.from_numpy(np.ascontiguousarray(values[nodes])) for name, values in self.whole.columns.items()}
        return Graphs(
            torch.from_numpy(graph.x if every else graph.x[nodes]), torch.from_numpy(np.ascontiguousarray(edges, np.int64)),
            torch.zeros(len(nodes), dtype=torch.int64), torch.from_numpy(nodes), 1, torch.from_numpy(np.searchsorted(nodes, roots)),
            None if edge_x is None else torch.from_numpy(edge_x), self.weighted, columns,
        )  # fmt: skip
