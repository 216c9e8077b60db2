"""`manyviews embed`: one vector a sample, in a Parquet file that says which encoder made it.

Columns: path (what the data set calls the sample), index (its row there), vector (fixed_size_list<float32>), label where there are any. Key
`manyviews` of the file's metadata is a JSON object: run, hash of the encoder, architecture, size, channels, dim, data, fingerprint, classes.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from manyviews.app.model import Model, load
from manyviews.app.options import GIVEN
from manyviews.data.dataset import Data
from manyviews.data.opening import open_data
from manyviews.errors import InputError
from manyviews.evaluate.features import extract
from manyviews.train.checkpoint import atomic

KEY = b"manyviews"
GROUP = 8192  # rows of a row group: all that is held at a time


@dataclasses.dataclass
class Vectors:
    """Embedded samples: in memory, or in a Parquet file that is read a row group at a time."""

    metadata: dict[str, Any]
    path: Path | None = None
    held: pa.Table | None = None
    skipped: int = 0  # samples that could not be read
    quarantine: Path | None = None  # where they are listed

    def __len__(self) -> int:
        return self.held.num_rows if self.held is not None else self._file.metadata.num_rows

    @functools.cached_property
    def _file(self) -> pq.ParquetFile:
        return pq.ParquetFile(self.path)

    @property
    def table(self) -> pa.Table:
        """Everything at once, as an Arrow table (`.to_pandas()` gives a data frame)."""
        return self.held if self.held is not None else self._file.read()

    @property
    def vectors(self) -> np.ndarray:
        """(rows, dim) float32, everything at once."""
        return np.concatenate([x for _, x in self.groups()]) if len(self) else np.empty((0, self.metadata["dim"]), np.float32)

    @functools.cached_property
    def starts(self) -> list[int]:
        """The first row of each row group, and the number of rows."""
        counts = [len(self)] if self.held is not None else [self._file.metadata.row_group(k).num_rows for k in range(self._file.num_row_groups)]
        return np.cumsum([0, *counts]).tolist()

    def group(self, k: int, columns: list[str] | None = None) -> pa.Table:
        if self.held is not None:
            return self.held.select(columns) if columns else self.held
        return self._file.read_row_group(k, columns)

    def groups(self) -> Iterator[tuple[int, np.ndarray]]:
        """The first row and the (rows, dim) vectors of each row group."""
        for k, start in enumerate(self.starts[:-1]):
            column = self.group(k, ["vector"]).column("vector").combine_chunks()
            yield start, column.flatten().to_numpy().reshape(len(column), -1)

    def find(self, name: str) -> int | None:
        """The row of this file whose path is `name`."""
        for k, start in enumerate(self.starts[:-1]):
            hit = pc.index(self.group(k, ["path"]).column("path"), name).as_py()
            if hit >= 0:
                return start + hit
        return None

    def rows(self, wanted: list[int]) -> list[dict[str, Any]]:
        """Some rows as dicts, in the order asked for."""
        found: dict[int, dict[str, Any]] = {}
        for k, (start, end) in enumerate(itertools.pairwise(self.starts)):
            if here := sorted({row for row in wanted if start <= row < end}):
                found.update(zip(here, self.group(k).take([row - start for row in here]).to_pylist(), strict=True))
        return [found[row] for row in wanted]


def read_vectors(path: str | Path) -> Vectors:
    """A file that `embed` wrote. Raises InputError for any other."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"no vectors at {path}; `manyviews embed RUN DATA --out {path}` makes them")
    try:
        schema = pq.read_schema(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} is not a whole Parquet file: {error}") from None
    if KEY not in (schema.metadata or {}) or "vector" not in schema.names:
        raise InputError(f"{path} was not written by `manyviews embed`: it does not say which encoder its vectors are from")
    return Vectors(json.loads(schema.metadata[KEY]), path)


def embed(model: str | Path | Model, data: Any, out: str | Path | None = None, *, batch: int = 256, threads: int = 2, max_bad: float = 0.2) -> Vectors:
    """Embeddings of the readable samples of `data`, in float32; in memory, or streamed to `out`, which is written whole or not at all.

    Samples that cannot be read are skipped, counted and listed in OUT.quarantine.csv. Raises InputError when they are more than `max_bad`.
    """
    if isinstance(data, str) and data == GIVEN:
        raise InputError("this run was trained on data given in Python, of which it keeps no copy; say what to embed")
    given = str(model.name) if isinstance(model, Model) else str(model)
    model = model if isinstance(model, Model) else load(model, device="cuda" if torch.cuda.is_available() else "cpu")
    source = str(data) if isinstance(data, str | Path) else ""
    data = dataclasses.replace(model.reading(open_data(data, model.modality)), max_bad=max_bad).in_channels(model.channels)
    schema = schema_of(model, data, anchored(given), anchored(source))
    parts = stream(model, data, schema, batch, threads)
    if out is None:
        held = pa.Table.from_batches(list(parts), schema)
        check(held.num_rows, data)
        return Vectors(meta(schema), None, held, len(data) - held.num_rows)
    out = Path(out).expanduser()
    with atomic(out) as temporary:
        with pq.ParquetWriter(temporary, schema, compression="zstd", use_dictionary=["label"] if "label" in schema.names else False) as writer:
            waiting, count = schema.empty_table(), 0
            for part in parts:
                waiting, count = pa.concat_tables([waiting, pa.Table.from_batches([part])]), count + len(part)
                if waiting.num_rows >= GROUP:
                    writer.write_table(waiting, row_group_size=waiting.num_rows)
                    waiting = waiting.slice(0, 0)
            if waiting.num_rows:
                writer.write_table(waiting)
        check(count, data)
    listed = out.with_suffix(".quarantine.csv")
    write_quarantine(listed, data) if data.bad else listed.unlink(missing_ok=True)
    return Vectors(meta(schema), out, None, len(data) - count, listed if data.bad else None)


def stream(model: Model, data: Data, schema: pa.Schema, batch: int, threads: int) -> Iterator[pa.RecordBatch]:
    """The vectors of each batch as they come. Raises InputError when one is not finite."""
    policy = model.policy
    order = (np.arange(i, min(i + batch, len(data))) for i in range(0, len(data), batch))
    reader = data.reduced(max(data.pixels, policy.pixels))

    for samples in reader.batches(order, threads):
        if not len(samples):
            continue
        x, index = (a.numpy() for a in extract(model.encoder, [samples], policy, model.device))
        wrong = ~np.isfinite(x).all(1)
        if wrong.any():
            raise InputError(
                f"the vector of {data.name(int(index[wrong.argmax()]))} is not finite: the encoder has diverged; take an earlier checkpoint or train it again"
            )
        columns = [pa.array([data.name(int(i)) for i in index], pa.string()), pa.array(index, pa.int64())]
        columns.append(pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1), pa.float32()), x.shape[1]))
        if "label" in schema.names:
            columns.append(pa.array([label_name(data, int(i)) for i in index], pa.string()))
        yield pa.record_batch(columns, schema=schema)


def schema_of(model: Model, data: Data, run: str, source: str) -> pa.Schema:
    """The columns, and in the metadata where they come from."""
    dim = model.encoder.dim
    about = {
        "run": run, "hash": model.hash(), "architecture": model.architecture, "size": model.size, "channels": model.channels, "modality": model.modality,
        "dim": dim, "data": source, "described": data.describe(), "fingerprint": data.fingerprint(), "classes": list(data.classes),
    }  # fmt: skip
    fields = [pa.field("path", pa.string()), pa.field("index", pa.int64()), pa.field("vector", pa.list_(pa.float32(), dim))]
    if data.labels is not None:
        fields.append(pa.field("label", pa.string()))
    return pa.schema(fields, {KEY: json.dumps(about).encode()})


def meta(schema: pa.Schema) -> dict[str, Any]:
    return json.loads(schema.metadata[KEY])


def check(rows: int, data: Data) -> None:
    """Raises InputError when too few samples could be read."""
    data.check_bad()
    if not rows:
        raise InputError(f"there is nothing to embed: {data.describe()} has no readable sample")


def label_name(data: Data, i: int) -> str | None:
    """The name of sample i's class; None where it is not known."""
    label = -1 if data.labels is None else int(data.labels[i])
    return None if label < 0 else str(data.classes[label]) if label < len(data.classes) else str(label)


def anchored(source: str) -> str:
    """An existing path as an absolute one, so that it is found again from elsewhere; names (builtin, timm:...) as they are."""
    return str(Path(source).expanduser().resolve()) if source and source != "builtin" and Path(source).expanduser().exists() else source


def write_quarantine(path: Path, data: Data) -> None:
    """What could not be read, and why."""
    with atomic(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["sample", "reason"])
        writer.writerows((data.store.name(row), why) for row, why in sorted(data.bad.items()))
