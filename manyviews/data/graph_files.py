"""Files with graphs in them, as arrays: what was found, before anything is decided.

Read are the .npz layouts that are about (a list of edges or a sparse matrix of them, and features dense, sparse or packed), the text files of TU Dortmund
(NAME_A.txt ...). Beside these, `manyviews.data.graph_csv` reads nodes.csv with edges.csv, and `manyviews.data.graph_pickles` Planetoid's original files.
"""

from __future__ import annotations

import dataclasses
import io
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from manyviews.data.labels import text
from manyviews.errors import InputError

SPLITS = {1: "train", 2: "validation", 3: "test"}
EDGES = ("edges", "edge_index", "adj_indptr", "adj_matrix.indptr")
INDICATOR = "_graph_indicator.txt"


@dataclasses.dataclass
class Found:
    """What files say. Nodes are numbered through all graphs; `starts`: of each graph its first node, and the number of nodes; None: one graph."""

    nodes: int
    edges: Int[np.ndarray, "2 edges"]
    tags: Int[np.ndarray, "nodes"] | None = None  # kinds of nodes, 0, 1, ...
    x: Float[np.ndarray, "nodes channels"] | None = None
    edge_x: Float[np.ndarray, "edges edge_channels"] | None = None
    weighted: bool = False
    starts: Int[np.ndarray, "graphs_and_1"] | None = None
    labels: Any = None  # of each sample
    classes: Sequence[str] = ()
    splits: list[np.ndarray] = dataclasses.field(default_factory=list)  # published ones, each a text a sample
    folds: Int[np.ndarray, "graphs"] | None = None  # the fold in which each is for testing; -1: in none
    names: Sequence[str] = ()  # of the samples
    bad: dict[int, str] = dataclasses.field(default_factory=dict)  # graph -> why it cannot be used


def one_hot(tags: Int[np.ndarray, "rows"], width: int = 0) -> Float[np.ndarray, "rows width"]:
    """A row for each kind; kinds beyond the last count as the last."""
    width = width or int(tags.max(initial=0)) + 1
    out = np.zeros((len(tags), width), np.float32)
    out[np.arange(len(tags)), np.clip(tags, 0, width - 1)] = 1
    return out


# --- .npz ---------------------------------------------------------------------------------------------------------------------------------------


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    """Raises InputError for what is no .npz of plain arrays; arrays of Python objects are left out."""
    found = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            for name in file.files:
                try:
                    found[name.lower()] = file[name]
                except ValueError:  # objects, which are pickles
                    continue
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{text(str(path))} cannot be read as arrays: {error}") from None
    return found


def holds_graphs(path: Path) -> bool:
    """Whether a .npz has edges, by the names of its arrays."""
    try:
        with zipfile.ZipFile(path) as file:
            names = {name.removesuffix(".npy").lower() for name in file.namelist()}
    except (OSError, zipfile.BadZipFile):
        return False
    return not names.isdisjoint(EDGES)


def from_npz(path: Path) -> Found:
    """Raises InputError."""
    a, what = arrays_of(path), text(str(path))
    if not set(EDGES) & a.keys():
        raise InputError(f"{what} has {', '.join(a) or 'nothing'}; the edges of a graph are looked for under {', '.join(EDGES)}")
    try:
        found = of_many(a) if "node_off" in a else of_one(a, what)
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"{what}: its arrays do not fit together: {error}") from None
    found.classes = [text(name).strip().rsplit("/", 1)[-1] for name in a["class_names"]] if "class_names" in a else []
    return found


def of_many(a: Mapping[str, np.ndarray]) -> Found:
    """Many graphs in one file: kinds or features of nodes and edges within each graph, with where each graph begins among both."""
    starts, first = a["node_off"].astype(np.int64), a["edge_off"].astype(np.int64)
    sizes, edges = np.diff(starts), paired(a["edges"])
    owner = np.repeat(np.arange(len(sizes)), np.diff(first))
    if len(owner) != edges.shape[1] or (sizes < 0).any() or len(first) != len(starts):
        raise ValueError(f"{edges.shape[1]:,} edges, and offsets for {len(owner):,}")
    wrong = ((edges < 0) | (edges >= sizes[owner])).any(0)
    bad = {int(g): f"an edge names a node beyond its {sizes[g]:,}" for g in np.unique(owner[wrong])}
    return Found(
        int(starts[-1]), (edges + starts[owner])[:, ~wrong], tags(a, int(starts[-1])), dense(a), None, False, starts, a.get("label"),
        folds=a["fold10"].astype(np.int64) if "fold10" in a else None, splits=published(a, len(sizes)), bad=bad,
    )  # fmt: skip


def of_one(a: Mapping[str, np.ndarray], what: str) -> Found:
    """One graph whose nodes are the samples."""
    labels = next((a[name] for name in ("label", "labels", "y") if name in a), None)
    x, weights = dense(a), None
    if "edges" in a or "edge_index" in a:
        edges = paired(a["edges"]) if "edges" in a else paired(a["edge_index"].T)
        weights = a.get("weight")
    else:
        edges, weights = entries(a, "adj")
    nodes = len(x) if x is not None else len(labels) if labels is not None else int(a["nodes"]) if "nodes" in a else int(edges.max(initial=-1)) + 1
    beyond = np.flatnonzero(((edges < 0) | (edges >= nodes)).any(0))
    if len(beyond):
        raise InputError(
            f"{what}: edge {beyond[0]:,} joins nodes {edges[0, beyond[0]]} and {edges[1, beyond[0]]}, and there are {nodes:,} ({len(beyond):,} such)"
        )
    if labels is not None and len(labels) != nodes:
        raise ValueError(f"{nodes:,} nodes and {len(labels):,} labels")
    weighted = weights is not None and not (weights == 1).all()
    edge_x = np.asarray(weights, np.float32).reshape(-1, 1) if weighted and weights is not None else None
    names = [text(name).strip() for name in a["node_names"]] if "node_names" in a else ()
    return Found(nodes, edges, tags(a, nodes) if x is None else None, x, edge_x, weighted, None, labels, splits=published(a, nodes), names=names)


def paired(edges: Any) -> Int[np.ndarray, "2 edges"]:
    """Two rows, from two columns or two rows (of two edges or more; a square of two is two columns)."""
    edges = np.asarray(edges)
    if edges.ndim != 2 or 2 not in edges.shape or edges.dtype.kind not in "iu":
        raise ValueError(f"edges of shape {edges.shape} and type {edges.dtype}; expected whole numbers (2, edges) or (edges, 2)")
    return np.ascontiguousarray(edges if edges.shape[0] == 2 and edges.shape[1] != 2 else edges.T, np.int64)


def entries(a: Mapping[str, np.ndarray], name: str) -> tuple[Int[np.ndarray, "2 edges"], np.ndarray | None]:
    """The entries of a sparse matrix given by rows (NAME_indptr, NAME_indices, NAME_data), as pairs, and their values."""
    name = next(n for n in (f"{name}_", f"{name}_matrix.") if f"{n}indptr" in a)
    start, column = a[f"{name}indptr"].astype(np.int64), a[f"{name}indices"].astype(np.int64)
    return np.stack([np.repeat(np.arange(len(start) - 1), np.diff(start)), column]), a.get(f"{name}data")


def dense(a: Mapping[str, np.ndarray]) -> Float[np.ndarray, "nodes channels"] | None:
    """Features: x, as numbers or as bits packed in bytes with n_features; or a sparse matrix by rows."""
    if "x" in a:
        x = np.unpackbits(a["x"], axis=1)[:, : int(a["n_features"])] if "n_features" in a and a["x"].dtype == np.uint8 else a["x"]
        return np.ascontiguousarray(x, np.float32)
    for name in ("", "attr_", "attr_matrix."):
        if f"{name}indptr" in a:
            start, column, shape = a[f"{name}indptr"].astype(np.int64), a[f"{name}indices"].astype(np.int64), a[f"{name}shape"]
            x = np.zeros((int(shape[0]), int(shape[1])), np.float32)
            np.add.at(x, (np.repeat(np.arange(len(start) - 1), np.diff(start)), column), a.get(f"{name}data", np.ones(len(column))))
            return x
    return None


def tags(a: Mapping[str, np.ndarray], nodes: int) -> Int[np.ndarray, "nodes"] | None:
    """Kinds of nodes; nothing where all are of one kind, which says nothing."""
    kinds = a.get("node_tag")
    if kinds is not None and len(kinds) != nodes:
        raise ValueError(f"{nodes:,} nodes and {len(kinds):,} kinds of them")
    return None if kinds is None or not len(kinds) or (kinds == kinds[0]).all() else kinds.astype(np.int64)


def published(a: Mapping[str, np.ndarray], samples: int) -> list[np.ndarray]:
    """The splits of a file: rows of `split` (1 train, 2 validation, 3 test, or in words), or the rows named by train, val and test, or masks of them."""
    if "split" in a:
        rows = a["split"].reshape(-1, samples)
        return [np.array([SPLITS.get(v, "") if isinstance(v, int) else str(v) for v in row.tolist()], object) for row in rows]
    parts = {name: a[key] for name, keys in {"train": ("train", "train_mask"), "validation": ("val", "val_mask"), "test": ("test", "test_mask")}.items()
             for key in keys if key in a}  # fmt: skip
    if "train" not in parts:
        return []
    whole = np.full(samples, "", object)
    for name, rows in parts.items():
        whole[rows] = name
    return [whole]


# --- text files of TU Dortmund ------------------------------------------------------------------------------------------------------------------


def numbers(path: Path, width: int = 0) -> np.ndarray:
    """The lines of a text file, each so many numbers separated by commas. Raises InputError that names the line."""
    content = path.read_bytes().replace(b" ", b"").strip()
    if not content:
        return np.zeros((0, width or 1))
    try:
        a = np.loadtxt(io.BytesIO(content), delimiter=",", ndmin=2)
    except ValueError:
        a = np.zeros((0, 0))
    if len(a) and (not width or a.shape[1] == width) and len(a) == content.count(b"\n") + 1:
        return a
    for k, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        cells = line.split(",")
        try:
            _ = [float(cell) for cell in cells]
        except ValueError:
            raise InputError(f"{text(str(path))}, line {k}: {line[:60]!r} is not numbers separated by commas") from None
        width = width or len(cells)
        if len(cells) != width:
            raise InputError(f"{text(str(path))}, line {k}: {len(cells)} numbers, expected {width}")
    raise InputError(f"{text(str(path))} cannot be read as numbers")


def from_tu(folder: Path, name: str) -> Found:
    """NAME_A.txt (pairs of nodes, from 1), NAME_graph_indicator.txt (each node's graph), labels and attributes of all. Raises InputError."""

    def optional(part: str, count: int, what: str, width: int = 0) -> np.ndarray | None:
        path = folder / f"{name}_{part}.txt"
        if not path.is_file():
            return None
        a = numbers(path, width)
        if len(a) != count:
            raise InputError(f"{text(str(path))} has {len(a):,} lines for {count:,} {what}")
        return a

    of_node = numbers(folder / f"{name}{INDICATOR}", 1)[:, 0].astype(np.int64)
    edges = numbers(folder / f"{name}_A.txt", 2).astype(np.int64).T - 1
    nodes, graphs = len(of_node), int(of_node.max(initial=0))
    beyond = np.flatnonzero(((edges < 0) | (edges >= nodes)).any(0))
    if len(beyond):
        raise InputError(f"{text(str(folder / name))}_A.txt, line {beyond[0] + 1}: there is no such node; there are {nodes:,} ({len(beyond):,} such lines)")
    place = np.argsort(np.argsort(of_node, kind="stable"), kind="stable")  # nodes of a graph lie together
    across = of_node[edges[0]] != of_node[edges[1]]
    bad = {int(g) - 1: "an edge joins it to another graph" for g in np.unique(of_node[edges[:, across]])}
    sizes = np.bincount(of_node, minlength=graphs + 1)[1:]
    order = np.argsort(of_node, kind="stable")
    kinds, attributes = optional("node_labels", nodes, "nodes"), optional("node_attributes", nodes, "nodes")
    labels = optional("graph_labels", graphs, "graphs")
    tagged = None if kinds is None else (kinds[:, 0] - kinds[:, 0].min()).astype(np.int64)[order]
    edge_labels, edge_attributes = optional("edge_labels", edges.shape[1], "edges"), optional("edge_attributes", edges.shape[1], "edges")
    edge_x = None
    if edge_labels is not None:
        edge_x = one_hot((edge_labels[:, 0] - edge_labels[:, 0].min()).astype(np.int64))[~across]
    elif edge_attributes is not None:
        edge_x = edge_attributes.astype(np.float32)[~across]
    return Found(
        nodes, place[edges[:, ~across]], tagged, None if attributes is None else attributes[order].astype(np.float32), edge_x, False,
        np.concatenate([[0], np.cumsum(sizes)]), None if labels is None else class_values(labels[:, 0]), bad=bad,
    )  # fmt: skip


def class_values(values: np.ndarray) -> np.ndarray:
    """Classes -1 and 1 as texts: below 0 would mean that a label is not known."""
    whole = values.astype(np.int64)
    return whole if (whole >= 0).all() else np.array([str(v) for v in whole], object)
