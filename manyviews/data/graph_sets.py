"""Where sets of graphs are: in a file or a folder, below $MANYVIEWS_DATA by name, with torch_geometric, or in its objects.

Names are compared without regard to case and to what is no letter or digit: IMDB-BINARY is IMDBBINARY.npz. Arrays come before pickles.
"""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from manyviews.data import graph_csv, graph_files, graph_pickles
from manyviews.data.derive import cache_folder
from manyviews.data.graph_files import INDICATOR, Found
from manyviews.data.labels import text
from manyviews.errors import InputError

NETWORKS = (".graphml", ".gml")
LOOKED_AT = 100  # .npz files of a folder
DEPTH = 3  # folders below $MANYVIEWS_DATA that are looked into
NODE_SETS = {  # name -> class of torch_geometric.datasets, and what it is asked for
    **{name: ("Planetoid", name) for name in ("Cora", "CiteSeer", "PubMed")},
    **{name: ("WebKB", name) for name in ("Cornell", "Texas", "Wisconsin")},
    **{name: ("WikipediaNetwork", name.lower()) for name in ("Chameleon", "Squirrel")},
    **{f"Coauthor-{name}": ("Coauthor", name) for name in ("CS", "Physics")},
    **{f"Amazon-{name}": ("Amazon", name) for name in ("Computers", "Photo")},
    "Cora_ML": ("CitationFull", "Cora_ML"), "DBLP": ("CitationFull", "DBLP"), "film": ("Actor", ""), "Actor": ("Actor", ""), "PolBlogs": ("PolBlogs", ""),
    "WikiCS": ("WikiCS", ""),
}  # fmt: skip


def plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def looks_like_graphs(path: Path) -> bool:
    """Whether a file or folder holds graphs, by names."""
    if path.is_dir():
        return any(True for _ in sets_in(path))
    return path.suffix.lower() in NETWORKS or (path.suffix.lower() == ".npz" and path.is_file() and graph_files.holds_graphs(path))


def sets_in(folder: Path) -> Iterator[tuple[str, Path]]:
    """The sets in a folder: their names, and the file or folder that `read` takes."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
    except OSError:
        return
    if "nodes.csv" in names and "edges.csv" in names:
        yield folder.name, folder / "nodes.csv"
    arrays = 0
    for name in names:
        path = folder / name
        if name.lower().endswith(".npz") and arrays < LOOKED_AT:
            arrays += 1
            if graph_files.holds_graphs(path):
                yield path.stem, path
        elif path.suffix.lower() in NETWORKS:
            yield path.stem, path
        elif name.endswith(INDICATOR) and f"{name.removesuffix(INDICATOR)}_A.txt" in names:
            yield name.removesuffix(INDICATOR), path
        elif name.startswith("ind.") and name.endswith(".graph"):
            yield name[4:-6], path


def read(path: Path, name: str = "") -> tuple[Found, str]:
    """What a file holds, or the set of that name in a folder, and what it is called. Raises InputError."""
    if path.is_dir():
        there: dict[str, tuple[str, Path]] = {}
        for own, inside in sorted(sets_in(path), key=lambda item: item[1].suffix == ".graph"):
            there.setdefault(plain(own), (own, inside))
        names = ", ".join(own for own, _ in there.values())
        if not there:
            raise InputError(f"{text(str(path))} has no graphs; looked for .npz with edges, NAME_A.txt, nodes.csv with edges.csv, ind.NAME.graph, .graphml")
        if name and plain(name) not in there:
            raise InputError(f"{text(str(path))} has no set {name!r}; there is {names}")
        if not name and len(there) > 1:
            raise InputError(f"{text(str(path))} has several sets; name one of them, as in ?name={next(iter(there.values()))[0]}: {names}")
        _, path = there[plain(name)] if name else next(iter(there.values()))
    what, file = text(path.stem), path.name
    if not path.is_file():
        raise InputError(f"no graphs at {text(str(path))}")
    if file == "nodes.csv":
        return graph_csv.from_csv(path.parent), f"graph {text(path.parent.name)}"
    if file.endswith(INDICATOR):
        return graph_files.from_tu(path.parent, file.removesuffix(INDICATOR)), text(file.removesuffix(INDICATOR))
    if file.startswith("ind.") and file.endswith(".graph"):
        return graph_pickles.from_planetoid(path.parent, file[4:-6]), f"graph {text(file[4:-6])}"
    if path.suffix.lower() in NETWORKS:
        return of_network(path), f"graph {what}"
    found = graph_files.from_npz(path)
    return found, what if found.starts is not None else f"graph {what}"


def of_network(path: Path) -> Found:
    """A file of networkx. Raises InputError."""
    try:
        import networkx
    except ImportError:
        raise InputError(f"{text(str(path))}: {path.suffix} files need networkx: pip install 'manyviews[graphs]'") from None
    try:
        graph = networkx.read_graphml(path) if path.suffix.lower() == ".graphml" else networkx.read_gml(path)
    except Exception as error:
        raise InputError(f"{text(str(path))} cannot be read: {type(error).__name__}: {error}") from None
    names = list(graph.nodes)
    place = {name: k for k, name in enumerate(names)}
    facts = [{str(key).lower(): value for key, value in graph.nodes[name].items()} for name in names]
    keys = sorted(set().union(*facts)) if facts else []
    label, split = (next((key for key in keys if key in wanted), None) for wanted in (graph_csv.LABEL, graph_csv.SPLIT))
    numeric = [key for key in keys if key not in (label, split) and all(isinstance(fact.get(key, 0), int | float) for fact in facts)]
    edges = np.array([(place[a], place[b]) for a, b in graph.edges()], np.int64).reshape(-1, 2).T
    x = np.array([[fact.get(key, np.nan) for key in numeric] for fact in facts], np.float32) if numeric else None
    splits = [np.array([str(fact.get(split, "")) for fact in facts], object)] if split else []
    return Found(
        len(names), edges, x=x, labels=[fact.get(label) for fact in facts] if label else None, splits=splits, names=[text(str(name)) for name in names]
    )


# --- by name ------------------------------------------------------------------------------------------------------------------------------------


def named(name: str) -> tuple[Found, str]:
    """The set of that name below $MANYVIEWS_DATA, else as torch_geometric downloads it. Raises InputError."""
    if Path(name).expanduser().exists():
        return read(Path(name).expanduser())
    root = Path(os.environ["MANYVIEWS_DATA"]).expanduser() if os.environ.get("MANYVIEWS_DATA") else None
    there = [(own, path) for own, path in below(root, DEPTH)] if root else []
    fitting = sorted((path.suffix == ".graph", len(path.parts), str(path), path) for own, path in there if plain(own) == plain(name))
    if fitting:
        return read(fitting[0][-1])
    return downloaded(name, [own for own, _ in there], root)


def below(folder: Path, depth: int) -> Iterator[tuple[str, Path]]:
    """The sets in a folder and in those below it; folders with very many entries are passed over."""
    yield from sets_in(folder)
    try:
        inside = [entry.path for entry, _ in zip(os.scandir(folder), range(1000), strict=False) if entry.is_dir() and not entry.name.startswith(".")]
    except OSError:
        return
    for path in sorted(inside) if depth > 1 else []:
        yield from below(Path(path), depth - 1)


def downloaded(name: str, there: Sequence[str], root: Path | None) -> tuple[Found, str]:
    """By torch_geometric, below $MANYVIEWS_DATA or else in the cache. Raises InputError with the nearest names."""
    own = next((known for known in NODE_SETS if plain(known) == plain(name)), None)
    near = difflib.get_close_matches(name, [*there, *NODE_SETS], 3, 0.6)
    hint = f"; the nearest are {', '.join(near)}" if near else ""
    looked = f"no graphs called {name!r} below $MANYVIEWS_DATA{f' ({root})' if root else ', which is not set'}{hint}"
    try:
        from torch_geometric import datasets
    except ImportError:
        raise InputError(f"{looked}; to download them: pip install 'manyviews[graphs]'") from None
    place = (root or cache_folder()) / "torch_geometric"
    before = place.exists()
    try:
        if own is not None:
            kind, asked = NODE_SETS[own]
            made = getattr(datasets, kind)(str(place / own if not asked else place), *([asked] if asked else []))
        else:
            made = datasets.TUDataset(str(place), name, use_node_attr=True)
    except Exception as error:  # whatever a download can end in
        shutil.rmtree(place / name if before else place, ignore_errors=True)
        raise InputError(f"{looked}; torch_geometric cannot download it: {type(error).__name__}: {error}") from None
    return of_object(made)[0], name


# --- objects of torch_geometric -----------------------------------------------------------------------------------------------------------------


def of_object(source: Any) -> tuple[Found, str]:
    """Raises InputError."""
    if isinstance(source, Mapping):
        return graph_files.of_one({str(k): np.asarray(v) for k, v in source.items()}, "given arrays"), "graph given as arrays"
    graphs = [source] if hasattr(source, "edge_index") and not isinstance(source, Sequence | torch.utils.data.Dataset) else list(source)
    if not graphs or not all(hasattr(graph, "edge_index") for graph in graphs):
        raise InputError(f"data of type {type(source).__name__} is not understood as graphs; give a path, arrays, or torch_geometric's Data")
    if len(graphs) == 1:
        return of_nodes(graphs[0]), "graph given as an object"
    widths = {None if graph.x is None else tuple(graph.x.shape[1:]) for graph in graphs}
    if len(widths) > 1:
        raise InputError(f"graphs given as objects have nodes of different widths: {', '.join(map(str, widths))}")
    sizes = np.array([graph.num_nodes for graph in graphs], np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    edges = np.concatenate([graph.edge_index.numpy() + start for graph, start in zip(graphs, starts)], 1)
    labels = None if any(graph.y is None or graph.y.numel() != 1 for graph in graphs) else np.array([graph.y.item() for graph in graphs])
    own = [graph.edge_attr.numpy().reshape(graph.num_edges, -1) for graph in graphs if getattr(graph, "edge_attr", None) is not None]
    edge_x = np.concatenate(own).astype(np.float32) if len(own) == len(graphs) else None
    x = None if graphs[0].x is None else np.concatenate([graph.x.numpy() for graph in graphs]).astype(np.float32)
    return Found(int(starts[-1]), edges, None, x, edge_x, False, starts, labels), "graphs given as objects"


def of_nodes(graph: Any) -> Found:
    """One graph; masks of several columns are several splits."""
    nodes = int(graph.num_nodes)
    masks = {part: getattr(graph, f"{name}_mask", None) for part, name in {"train": "train", "validation": "val", "test": "test"}.items()}
    splits = []
    if masks["train"] is not None:
        columns = {part: mask.numpy().reshape(nodes, -1) for part, mask in masks.items() if mask is not None}
        for k in range(columns["train"].shape[1]):
            words = np.full(nodes, "", object)
            for part, mask in columns.items():
                words[mask[:, min(k, mask.shape[1] - 1)]] = part
            splits.append(words)
    labels = None if graph.y is None or graph.y.dim() != 1 else graph.y.numpy()
    x = None if graph.x is None else graph.x.numpy().astype(np.float32)
    return Found(nodes, graph.edge_index.numpy().astype(np.int64), x=x, labels=labels, splits=splits)
