"""Graphs: many, each of them a sample, or one whose nodes are the samples.

    graph:MUTAG  graph:cora?split=0  NODES/ (nodes.csv, edges.csv)  wisconsin.npz?split=3  MUTAG/ (MUTAG_A.txt ...)

A sample is a `Graph` or a `Node` of one (`manyviews.data.graph_batch`); a batch is a `Graphs`. Edges are made to go both ways; loops and repetitions are
left out, and counted. Nodes with kinds get these as features, one-hot. Nodes with nothing get their degree, one-hot, DEGREES - 1 and more as one, so that all
such data is of one form. Of one graph the labels of nodes whose split is train travel with every batch (`Graphs.columns`), those of others do not.

What a path may say after `?`, as KEY=VALUE joined by `&`: name (which set of a folder), split (which of several published splits or folds, from 0),
features (given, kinds, degree), directed (yes: edges as they are), hops and most (of one graph: batches are what lies within so many hops of the samples,
with at most so many neighbours of each node, 0: all; by default all of a graph up to WHOLE nodes, else 2 hops and 10), seed (of the choice of neighbours).
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from jaxtyping import Float, Int

from manyviews.data import graph_sets
from manyviews.data.dataset import Data, Unreadable
from manyviews.data.graph_batch import Around, Graph, Graphs, Node, Union, Whole
from manyviews.data.graph_files import Found, one_hot
from manyviews.data.labels import label_column, split_column
from manyviews.data.locating import chosen, natural, one_of, whether
from manyviews.errors import InputError

DEGREES = 64  # numbers of the one-hot degree
WHOLE, HOPS, MOST = 20_000, 2, 10
TOKENS = 32  # of a node's surroundings
LARGEST = 256  # nodes of a graph that become tokens, where nothing is said
KEYS: dict[str, Callable[[str], Any]] = {
    "name": unquote,
    "split": natural,
    "features": one_of("given", "kinds", "degree"),
    "directed": whether,
    "hops": natural,
    "most": natural,
    "seed": natural,
}
looks_like_graphs = graph_sets.looks_like_graphs


@dataclasses.dataclass(frozen=True)
class Options:
    """What was said after the path."""

    name: str = ""
    split: int | None = None
    features: str = ""
    directed: bool = False
    hops: int | None = None
    most: int | None = None
    seed: int = 0


def parted(path: Path | str) -> tuple[Path, Options]:
    """The place, and what is said after `?`. Raises InputError for words that are not known."""
    place, given = chosen(path, KEYS)
    return place, Options(**given)


# --- stores -------------------------------------------------------------------------------------------------------------------------------------


class Many:
    """Graphs side by side in arrays; edges name nodes through all of them."""

    def __init__(
        self, x: np.ndarray, edges: np.ndarray, edge_x: np.ndarray | None, starts: np.ndarray, names: Sequence[str], what: str, bad: Mapping[int, str]
    ):
        self.x, self.edges, self.edge_x, self.starts, self.names, self.what, self.bad = x, edges, edge_x, starts, names, what, bad
        self.first = np.searchsorted(edges[0], starts)  # of each graph its first edge: edges are in the order of their sources

    def __len__(self) -> int:
        return len(self.starts) - 1

    def raw(self, row: int) -> Graph:
        if row in self.bad:
            raise Unreadable(self.bad[row])
        nodes, edges = slice(self.starts[row], self.starts[row + 1]), slice(self.first[row], self.first[row + 1])
        return Graph(self.x[nodes], self.edges[:, edges] - self.starts[row], None if self.edge_x is None else self.edge_x[edges])

    def name(self, row: int) -> str:
        return str(self.names[row]) if len(self.names) else f"graph {row}"

    def describe(self) -> str:
        return self.what

    def fingerprint(self) -> str:
        return digest(self.x, self.edges, self.edge_x, self.starts)


class Nodes:
    """The nodes of one graph."""

    def __init__(self, whole: Whole, names: Sequence[str], what: str):
        self.whole, self.names, self.what = whole, names, what

    def __len__(self) -> int:
        return len(self.whole.graph)

    def raw(self, row: int) -> Node:
        return Node(self.whole, row)

    def name(self, row: int) -> str:
        return str(self.names[row]) if len(self.names) else f"node {row}"

    def describe(self) -> str:
        return self.what

    def fingerprint(self) -> str:
        return digest(self.whole.graph.x, self.whole.graph.edges, self.whole.graph.edge_x)


def digest(*arrays: np.ndarray | None) -> str:
    h = hashlib.sha256()
    for a in arrays:
        h.update(f"{None if a is None else (a.shape, a.dtype)}".encode() + (b"" if a is None else np.ascontiguousarray(a).tobytes()))
    return h.hexdigest()


def decode(raw: Graph | Node, pixels: int = 0, channels: int = 0, bits: int = 0) -> Graph | Node:
    """A sample as it is; `channels`, where it is not 0, must be what each node has. Raises Unreadable."""
    x = raw.x if isinstance(raw, Graph) else raw.whole.graph.x
    if channels and x.shape[1] != channels:
        raise Unreadable(f"its nodes have {x.shape[1]:,} features, and {channels:,} are expected: an encoder knows no others than those it was trained with")
    if isinstance(raw, Graph):
        if not len(x):
            raise Unreadable("a graph without nodes")
        if not np.isfinite(x).all() or (raw.edge_x is not None and not np.isfinite(raw.edge_x).all()):
            raise Unreadable("a feature is no finite number")
    return raw


def natural_size(samples: Sequence[Graph | Node]) -> int:
    """Nodes that become tokens: as many as the largest of some graphs has, in steps of 8, at most LARGEST; TOKENS for a node and what surrounds it."""
    sizes = [len(sample) for sample in samples if isinstance(sample, Graph)]
    return min(LARGEST, -(-max(sizes) // 8) * 8) if sizes else TOKENS


# --- opening ------------------------------------------------------------------------------------------------------------------------------------


def open_graphs(path: Path | str) -> Data:
    """The graphs of a file or folder. Raises InputError with what was looked for."""
    place, options = parted(path)
    found, name = graph_sets.read(place, options.name)
    return opened(found, name, options)


def by_name(name: str) -> Data:
    """`graph:NAME`: below $MANYVIEWS_DATA, else downloaded by torch_geometric. Raises InputError."""
    place, options = parted(name)
    found, what = graph_sets.named(str(place))
    return opened(found, what, options)


def from_array(source: Any) -> Data:
    """torch_geometric's data (one graph, a list of graphs, a data set) or a mapping of arrays: edges, x, label, split. Raises InputError."""
    return opened(*graph_sets.of_object(source), Options())


def opened(found: Found, what: str, options: Options) -> Data:
    """Edges tidied, features made, the split chosen."""
    if not found.nodes:
        raise InputError(f"{what} has no nodes")
    edges, edge_x, said = tidy(found.edges, found.nodes, found.edge_x, options.directed)
    x, how = features(found, edges, options.features, what)
    samples = found.nodes if found.starts is None else len(found.starts) - 1
    columns, classes = label_column(found.labels, found.classes) if found.labels is not None else ({}, [])
    split, note = split_of(found, options.split, samples, what)
    columns |= split
    told = ", ".join(filter(None, [how, f"{edges.shape[1] // (1 if options.directed else 2):,} edges", *said, note]))
    common: dict[str, Any] = {"columns": columns, "classes": classes, "channels": x.shape[1], "bits": 0, "said": told}
    width = 0 if edge_x is None else edge_x.shape[1]
    form = {"samples": "graphs" if found.starts is not None else "nodes", "weighted": found.weighted, "edges": width}
    if found.starts is not None:
        store = Many(x, edges, edge_x, found.starts, found.names, what, found.bad)
        return Data(store, decode, "graphs", bad=dict(found.bad), form=form, collate=union(x.shape[1], form), **common)
    wrong = np.flatnonzero(~np.isfinite(x).all(1))
    if len(wrong):
        names = [str(found.names[k]) if len(found.names) else str(k) for k in wrong[:5]]
        raise InputError(f"{what}: {len(wrong):,} nodes have features that are no finite numbers ({', '.join(names)}), and all that is near sees them")
    whole = Whole(Graph(x, edges, edge_x), known(columns, samples), options.seed)
    hops = options.hops if options.hops is not None else HOPS if samples > WHOLE else 0
    most = options.most if options.most is not None else MOST if samples > WHOLE and options.hops is None else 0
    if hops:
        common["said"] += f", batches of what lies within {hops} hops" + (f" by {most} neighbours at most" if most else "")
    return Data(Nodes(whole, found.names, what), decode, "graphs", form=form, collate=Around(whole, hops, most, found.weighted), **common)


def tidy(
    edges: Int[np.ndarray, "2 edges"], nodes: int, edge_x: np.ndarray | None, directed: bool
) -> tuple[Int[np.ndarray, "2 some"], np.ndarray | None, list[str]]:
    """Edges in order, both ways unless `directed`, without loops and repetitions; of an edge that is there twice, the first counts. And what was left out."""
    loops = edges[0] == edges[1]
    edges, edge_x = edges[:, ~loops], None if edge_x is None else edge_x[~loops]
    key = edges[0] * nodes + edges[1]
    single, at = np.unique(key, return_index=True)
    repeated = len(key) - len(single)
    if not directed:
        both = np.concatenate([single, edges[1][at] * nodes + edges[0][at]])
        single, order = np.unique(both, return_index=True)
        at = at[order % max(1, len(at))]
    out = np.stack([single // nodes, single % nodes])
    left = {"loop": int(loops.sum()), "repeated edge": repeated}
    said = [f"{count:,} {name}{'s' if count > 1 else ''} left out" for name, count in left.items() if count]
    return out, None if edge_x is None else np.ascontiguousarray(edge_x[at], np.float32), said


def features(found: Found, edges: np.ndarray, wanted: str, what: str) -> tuple[Float[np.ndarray, "nodes channels"], str]:
    """What nodes are told by, and what that is. Raises InputError for what there is not."""
    there = {"given": found.x, "kinds": found.tags}
    if wanted in there and there[wanted] is None:
        raise InputError(f"{what}: features={wanted}: there are none; there is {', '.join([k for k, v in there.items() if v is not None] + ['degree'])}")
    use = wanted or ("kinds" if found.tags is not None else "given" if found.x is not None else "degree")
    if use == "kinds" and found.tags is not None:
        x = one_hot(found.tags)
        return x, f"{x.shape[1]} kinds of nodes"
    if use == "given" and found.x is not None:
        return np.ascontiguousarray(found.x, np.float32), f"{found.x.shape[1]:,} features a node"
    return one_hot(np.bincount(edges[1], minlength=found.nodes), DEGREES), "degrees as features"


def union(channels: int, form: Mapping[str, Any]) -> Union:
    """What makes a batch of graphs, for an encoder of that form."""
    return Union(channels, int(form.get("edges", 0)), bool(form.get("weighted", False)))


def held(samples: Sequence[Graph], channels: int, form: Mapping[str, Any]) -> Graphs:
    """Graphs as a View holds them."""
    return union(channels, form)(samples)


def split_of(found: Found, wanted: int | None, samples: int, what: str) -> tuple[dict[str, np.ndarray], str]:
    """The column of the split that was asked for, or the first; a fold only where it was asked for. Raises InputError."""
    count = len(found.splits) or (0 if found.folds is None else int(found.folds.max()) + 1)
    if wanted is not None and wanted >= count:
        raise InputError(f"{what}: split={wanted}: " + (f"there are {count}, from 0" if count else "no splits came with it"))
    if found.splits:
        words = found.splits[wanted or 0]
        if "" in words:  # nodes that are in no part
            return {"split": words}, f"split {wanted or 0} of {count}" if count > 1 else ""
        return split_column(words), f"split {wanted or 0} of {count}" if count > 1 else ""
    if found.folds is not None and wanted is not None:
        return {"split": np.where(found.folds == wanted, "test", "train").astype(object)}, f"fold {wanted} of {count}"
    return {}, f"{count} folds are published: ?split=0 to {count - 1}" if count else ""


def known(columns: Mapping[str, np.ndarray], nodes: int) -> dict[str, np.ndarray]:
    """The labels that training may see, -1 for all others; and which nodes are for training."""
    if "label" not in columns or "split" not in columns:
        return {}
    train = columns["split"] == "train"
    return {"label": np.where(train, columns["label"], -1).astype(np.int64), "train": np.asarray(train, bool)}
