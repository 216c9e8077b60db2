"""Planetoid's original files, ind.NAME.x and the others, which are pickles of Python 2.

A pickle names functions and has them called. Here none is: every name that these files use stands for a record of what it was to be called with, any other name
is an error, and arrays are made from the records' bytes as whole numbers and floats alone. So a file can do nothing but say numbers.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from manyviews.data.graph_files import Found
from manyviews.data.labels import text
from manyviews.errors import InputError

PARTS = ("x", "tx", "allx", "y", "ty", "ally", "graph", "test.index")
NAMES = {
    "numpy ndarray", "numpy dtype", "numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct", "scipy.sparse.csr csr_matrix",
    "scipy.sparse._csr csr_matrix", "collections defaultdict", "__builtin__ list", "builtins list", "copy_reg _reconstructor", "__builtin__ object",
    "_codecs encode",
}  # fmt: skip
VALIDATION = 500  # nodes after those with labels, as everybody takes them


class Record(dict):
    """What was said of an object: the arguments that would make it, its state, and the entries put in."""

    def __new__(cls, *args: Any) -> Record:
        made = super().__new__(cls)
        made.args, made.state = args, None  # type: ignore[attr-defined]
        return made

    def __init__(self, *args: Any):
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        self.state = state


class Reader(pickle.Unpickler):
    """Admits the names of NAMES, each as a record."""

    def find_class(self, module: str, name: str) -> Any:
        if f"{module} {name}" not in NAMES:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no file of numbers needs")
        return type(name, (Record,), {})


def content(path: Path) -> Any:
    """Records, lists and numbers. Raises InputError."""
    try:
        return Reader(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except (OSError, pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, MemoryError) as error:
        raise InputError(f"{text(str(path))} cannot be read as one of Planetoid's files: {error}") from None


def array(record: Any) -> np.ndarray:
    """The array of numbers that a record tells of. Raises ValueError."""
    if type(record).__name__ not in ("_reconstruct", "ndarray") or not isinstance(record.state, tuple) or len(record.state) != 5:
        raise ValueError(f"{type(record).__name__} is no array")
    _, shape, kind, columns_first, raw = record.state
    code, order = str(kind.args[0]), str(kind.state[1])
    if code[:1] not in "biuf" or order not in "<>|=":
        raise ValueError(f"an array of {code}, which is no kind of number")
    if isinstance(raw, Record):  # Python 3 writes bytes for Python 2 as a text to be encoded
        raw = raw.args[0]  # type: ignore[attr-defined]
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    return np.frombuffer(raw, np.dtype(order.replace("|", "=") + code)).reshape(shape, order="F" if columns_first else "C")


def matrix(record: Any) -> Float[np.ndarray, "rows columns"]:
    """A sparse matrix by rows, or an array, as one of float32. Raises ValueError."""
    state = record.state if isinstance(record.state, dict) else None
    if state is None:
        return array(record).astype(np.float32)
    shape = state.get("_shape") or state["shape"]
    start, column, values = (array(state[name]) for name in ("indptr", "indices", "data"))
    out = np.zeros(tuple(int(n) for n in shape), np.float32)
    np.add.at(out, (np.repeat(np.arange(len(start) - 1), np.diff(start)), column), values)
    return out


def from_planetoid(folder: Path, name: str) -> Found:
    """The graph of ind.NAME.*; nodes for testing that have no features have zeros, and no label. Raises InputError."""
    files = {part: folder / f"ind.{name}.{part}" for part in PARTS}
    missing = [path.name for path in files.values() if not path.is_file()]
    if missing:
        raise InputError(f"{text(str(folder))} lacks {', '.join(missing)}")
    try:
        x, tx, allx, _, ty, ally = (matrix(content(files[part])) for part in PARTS[:6])
        test = np.array([int(line) for line in files["test.index"].read_text().split()], np.int64)
        links = content(files["graph"])
        pairs = np.array([(int(node), int(other)) for node, others in links.items() for other in others], np.int64).reshape(-1, 2).T
        nodes = max(len(links), int(test.max()) + 1)
        features = np.zeros((nodes, allx.shape[1]), np.float32)
        features[: len(allx)], features[test] = allx, tx
        labels = np.full(nodes, -1)
        labels[: len(ally)], labels[test] = one(ally), one(ty)
        if pairs.min(initial=0) < 0 or pairs.max(initial=-1) >= nodes or len(test) != len(tx):
            raise ValueError(f"edges name nodes beyond the {nodes:,} that there are, or the test nodes are not as many as ind.{name}.tx has")
    except InputError:
        raise
    except (ValueError, IndexError, AttributeError, KeyError, TypeError, MemoryError) as error:
        raise InputError(f"{text(str(folder))}/ind.{name}.*: the files do not fit together: {error}") from None
    split = np.full(nodes, "", object)
    split[: len(x)], split[len(x) : len(x) + VALIDATION], split[test] = "train", "validation", "test"
    return Found(nodes, pairs, x=features, labels=labels, splits=[split])


def one(rows: Float[np.ndarray, "nodes classes"]) -> np.ndarray:
    """The class of each row with a one in it; -1 where there is none."""
    return np.where(rows.any(1), rows.argmax(1), -1)
