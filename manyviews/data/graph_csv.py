"""A folder with nodes.csv and edges.csv: one graph whose nodes are the samples, or many graphs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from jaxtyping import Float

from manyviews.data.graph_files import Found
from manyviews.data.labels import text
from manyviews.errors import InputError

ID, GRAPH, SOURCE, TARGET = ("node", "id", "node_id", "name"), ("graph", "graph_id"), ("source", "src", "from"), ("target", "dst", "to")
LABEL, SPLIT = ("label", "class", "y", "target"), ("split", "subset")


def from_csv(folder: Path) -> Found:
    """nodes.csv: a name (node or id; else the row), numbers, maybe label and split, or graph; edges.csv: source, target, maybe weight. Raises InputError.

    With a column `graph`, there are many graphs, names of nodes count within each, and graphs.csv (graph, label, split) may say what each is.
    """
    nodes, edges = table(folder / "nodes.csv"), table(folder / "edges.csv")
    key, of_graph = first(nodes, ID), first(nodes, GRAPH)
    ends = [first(edges, SOURCE), first(edges, TARGET)]
    problems = [f"{text(str(folder))}/edges.csv has no column {names[0]!r}" for names, end in zip((SOURCE, TARGET), ends) if end is None]
    if of_graph is not None and first(edges, GRAPH) is None:
        problems.append(f"{text(str(folder))}/edges.csv has no column 'graph', which nodes.csv has")
    if problems:
        raise InputError(*problems)
    owner = cells(nodes, of_graph) if of_graph else np.full(nodes.num_rows, "", object)
    names = cells(nodes, key) if key else np.array([str(k) for k in range(nodes.num_rows)], object)
    graphs, number = np.unique(owner.astype(str), return_inverse=True)
    order = np.argsort(number, kind="stable")
    place = {(owner[k], names[k]): row for row, k in enumerate(order.tolist())}
    if len(place) < nodes.num_rows:
        (_, twice), count = Counter(zip(owner, names, strict=True)).most_common(1)[0]
        raise InputError(f"{text(str(folder))}/nodes.csv: the node {twice!r} is there {count} times")
    inside = cells(edges, first(edges, GRAPH)) if of_graph else np.full(edges.num_rows, "", object)
    pairs = [[place.get((g, v), -1) for g, v in zip(inside, cells(edges, end), strict=True)] for end in ends]
    joined = np.array(pairs, np.int64).reshape(2, -1)
    missing = np.flatnonzero((joined < 0).any(0))
    if len(missing):
        raise InputError(f"{text(str(folder))}/edges.csv, line {missing[0] + 2}: nodes.csv has no such node ({len(missing):,} such lines)")
    weight = edges.column("weight").to_numpy().astype(np.float32) if "weight" in edges.column_names else None
    found = Found(nodes.num_rows, joined, edge_x=None if weight is None else weight[:, None], weighted=weight is not None)
    found.x = features(nodes.take(pa.array(order)), {key, of_graph, first(nodes, LABEL), first(nodes, SPLIT)}, folder)
    about = nodes
    if of_graph:
        found.starts = np.searchsorted(number[order], np.arange(len(graphs) + 1))
        found.names, about = graphs.tolist(), sorted_as(graphs.tolist(), folder / "graphs.csv")
    else:
        found.names = names.tolist() if key else ()
    label, split = first(about, LABEL), first(about, SPLIT)
    found.labels = pa.array(about.column(label).to_pylist()) if label else None
    found.splits = [np.array([str(v) for v in about.column(split).to_pylist()], object)] if split else []
    return found


def table(path: Path) -> pa.Table:
    """Raises InputError."""
    try:
        found = pyarrow.csv.read_csv(path, convert_options=pyarrow.csv.ConvertOptions(strings_can_be_null=True))
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{text(str(path))} cannot be read: {error}") from None
    return found.rename_columns([name.strip().lower() for name in found.column_names])


def first(table: pa.Table, names: Sequence[str]) -> str | None:
    """The first of some names that a table has a column of."""
    return next((name for name in names if name in table.column_names), None)


def cells(table: pa.Table, name: str | None) -> np.ndarray:
    """A column as texts."""
    return np.array([text(value) for value in table.column(name).to_pylist()], object)


def sorted_as(graphs: list[str], path: Path) -> pa.Table:
    """The rows of graphs.csv in the order of the graphs; empty where there is no such file."""
    if not path.is_file():
        return pa.table({"graph": graphs})
    found = table(path)
    key = first(found, GRAPH) or found.column_names[0]
    rows = {name: k for k, name in enumerate(cells(found, key))}
    return found.take(pa.array([rows.get(name) for name in graphs], pa.int64()))


def features(nodes: pa.Table, but: set[str | None], folder: Path) -> Float[np.ndarray, "nodes channels"] | None:
    """The columns of numbers. Raises InputError for texts."""
    names = [name for name in nodes.column_names if name not in but]
    texts = [name for name in names if not (pa.types.is_integer(t := nodes.schema.field(name).type) or pa.types.is_floating(t) or pa.types.is_boolean(t))]
    if texts:
        raise InputError(f"{text(str(folder))}/nodes.csv: features are numbers, and {', '.join(map(repr, texts[:5]))} hold{'s' * (len(texts) == 1)} texts")
    return np.stack([nodes.column(name).cast(pa.float32(), safe=False).to_numpy() for name in names], 1) if names else None
