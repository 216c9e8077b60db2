"""The built-in set of graphs: six ways to join nodes, which are the classes. Nodes have no features but their degree.

random: as many edges as nodes and a half, anywhere. hubs: each new node joined to one or two by how many edges they have. ring: neighbours on a circle, a
tenth of the edges moved. grid: rows and columns. tree: each new node joined to one before it. groups: two to four groups, dense inside. Every graph has 12 to
40 nodes; of all edges a share of up to 0.15 is lost and as many are put anywhere, so that trees have rings and grids have holes, and numbers of edges overlap.
80 training and 20 test graphs a kind. Nothing is downloaded or stored: the same graphs are made on every machine in less than a second.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from manyviews.data.dataset import Data
from manyviews.data.graph_files import Found
from manyviews.data.graphs import Options, opened

TRAIN, TEST, SEED = 80, 20, 20252
LEAST, MOST = 12, 40  # nodes
MOVED = 0.15  # of the edges, at most
Edges = Int[np.ndarray, "edges 2"]
Random = np.random.Generator


def anywhere(r: Random, nodes: int, count: int) -> Edges:
    """Edges between any two nodes."""
    first = r.integers(0, nodes, count)
    return np.stack([first, (first + r.integers(1, nodes, count)) % nodes], 1)


def random(r: Random, nodes: int) -> Edges:
    return anywhere(r, nodes, int(nodes * r.uniform(1.2, 1.8)))


def hubs(r: Random, nodes: int) -> Edges:
    ends = [0, 1]
    edges = [(0, 1)]
    for new in range(2, nodes):
        for old in {ends[k] for k in r.integers(0, len(ends), 1 + int(r.uniform() < 0.5))}:
            edges.append((new, old))
            ends += [new, old]
    return np.array(edges)


def ring(r: Random, nodes: int) -> Edges:
    around = np.arange(nodes)
    steps = [np.stack([around, (around + step) % nodes], 1) for step in (1, 2)]
    edges = np.concatenate([steps[0], steps[1][r.uniform(size=nodes) < r.uniform(0.3, 0.8)]])
    moved = r.uniform(size=len(edges)) < 0.1
    edges[moved, 1] = r.integers(0, nodes, moved.sum())
    return edges


def grid(r: Random, nodes: int) -> Edges:
    wide = int(r.integers(3, 1 + int(np.sqrt(nodes)) + 1))
    here = np.arange(nodes)
    right, down = here[(here % wide < wide - 1) & (here + 1 < nodes)], here[here + wide < nodes]
    return np.concatenate([np.stack([right, right + 1], 1), np.stack([down, down + wide], 1)])


def tree(r: Random, nodes: int) -> Edges:
    new = np.arange(1, nodes)
    return np.stack([new, (new * r.uniform(size=nodes - 1)).astype(int)], 1)


def groups(r: Random, nodes: int) -> Edges:
    group = np.sort(r.integers(0, r.integers(2, 5), nodes))
    pairs = np.stack(np.triu_indices(nodes, 1), 1)
    same = group[pairs[:, 0]] == group[pairs[:, 1]]
    inside = min(0.9, nodes * r.uniform(1.2, 1.7) / max(1, same.sum()))
    return pairs[r.uniform(size=len(pairs)) < np.where(same, inside, 1 / nodes / 3)]


KINDS: list[Callable[[Random, int], Edges]] = [random, hubs, ring, grid, tree, groups]


def graph(kind: int, number: int) -> tuple[int, Edges]:
    """One graph of a kind: how many nodes, and its edges once each, nodes in any order."""
    r = np.random.default_rng([SEED, kind, number])
    nodes = int(r.integers(LEAST, MOST + 1))
    edges = KINDS[kind](r, nodes)
    lost = r.uniform(size=len(edges)) < r.uniform(0, MOVED)
    edges = np.concatenate([edges[~lost], anywhere(r, nodes, int(lost.sum()))])
    return nodes, r.permutation(nodes)[edges]


@functools.lru_cache(maxsize=1)
def every() -> Found:
    """All graphs, their kinds, and their split."""
    count = TRAIN + TEST
    made = [graph(kind, number) for kind in range(len(KINDS)) for number in range(count)]
    starts = np.concatenate([[0], np.cumsum([nodes for nodes, _ in made])])
    edges = np.concatenate([edges + start for (_, edges), start in zip(made, starts)]).T
    split = np.tile(np.array(["train"] * TRAIN + ["test"] * TEST, object), len(KINDS))
    return Found(int(starts[-1]), edges, starts=starts, labels=np.repeat(np.arange(len(KINDS)), count), classes=[k.__name__ for k in KINDS], splits=[split])


def builtin_graphs() -> Data:
    """The graphs with labels and a split."""
    return opened(every(), "the built-in set of graphs", Options())
