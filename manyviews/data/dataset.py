"""A data set: rows that can be read in any order, the columns that came with them, and what could not be read.

A `Store` knows where the samples are (a folder, tar shards, an array ...) and hands out row i undecoded. A modality's reader
(`manyviews.data.images.decode`) turns that into arrays. `Data` is both, with a selection of rows and columns such as the label.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from manyviews.errors import InputError
from manyviews.contracts import View
from manyviews.data.loading import prefetch


class Unreadable(ValueError):
    """A sample that cannot be decoded; the message is the reason that the quarantine shows."""


class Store(Protocol):
    """Where samples are. Rows are read at random, from many threads at once."""

    def __len__(self) -> int: ...

    def raw(self, row: int) -> Any:
        """The undecoded sample: bytes, or an array. Raises Unreadable."""

    def name(self, row: int) -> str:
        """What a person calls the row: a path, a key."""

    def describe(self) -> str:
        """What this is, as half a sentence."""

    def fingerprint(self) -> str:
        """Changes when the content does, as far as names, sizes and times tell."""


@dataclasses.dataclass
class Data:
    """Rows of a store. `columns` has one entry per row of this selection: label, split, whatever was derived."""

    store: Store
    decode: Callable[[Any, int], np.ndarray]  # (raw, wanted side) -> array; raises Unreadable
    modality: str = "images"
    columns: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    classes: Sequence[str] = ()
    rows: np.ndarray | None = None  # of the store; None: all
    pixels: int = 0  # the shorter side that readers need at least, 0: everything
    said: str = ""  # what was decided on the way (a split, duplicates), for the one-line description
    bad: dict[int, str] = dataclasses.field(default_factory=dict)  # the store's row -> why it could not be read
    kept: list | None = None  # decoded samples of this selection, once `keep` was called

    def __len__(self) -> int:
        return len(self.store) if self.rows is None else len(self.rows)

    def row(self, i: int) -> int:
        return int(i) if self.rows is None else int(self.rows[i])

    def name(self, i: int) -> str:
        return self.store.name(self.row(i))

    def __getitem__(self, i: int) -> np.ndarray:
        """Sample i, decoded. Raises Unreadable, and remembers why."""
        row = self.row(i)
        if row in self.bad:
            raise Unreadable(self.bad[row])
        if self.kept is not None:
            return self.kept[i]
        try:
            return self.decode(self.store.raw(row), self.pixels)
        except Unreadable as reason:
            self.bad[row] = str(reason)
        except (OSError, ValueError, MemoryError, RuntimeError) as error:
            self.bad[row] = f"{type(error).__name__}: {error}"
        raise Unreadable(self.bad[row])

    @property
    def labels(self) -> np.ndarray | None:
        """Class numbers, or None."""
        return self.columns.get("label")

    def select(self, which: np.ndarray, said: str = "") -> Data:
        """The rows `which` (numbers or a mask) of this selection."""
        which = np.flatnonzero(which) if which.dtype == bool else which
        rows = np.arange(len(self.store))[which] if self.rows is None else self.rows[which]
        kept = None if self.kept is None else [self.kept[i] for i in which]
        columns = {k: v[which] for k, v in self.columns.items()}
        return dataclasses.replace(self, rows=rows, columns=columns, kept=kept, said=said or self.said)

    def with_columns(self, **columns: np.ndarray) -> Data:
        for key, column in columns.items():
            if len(column) != len(self):
                raise ValueError(f"column {key!r} has {len(column)} entries for {len(self)} rows")
        return dataclasses.replace(self, columns={**self.columns, **columns})

    def reduced(self, pixels: int) -> Data:
        """The same data, handed over no larger than a shorter side of `pixels` asks for."""
        return self if pixels == self.pixels else dataclasses.replace(self, pixels=pixels, kept=None)

    def readable(self) -> Data:
        """Without the rows found unreadable so far."""
        if not self.bad:
            return self
        return self.select(np.array([self.row(i) not in self.bad for i in range(len(self))], dtype=bool))

    def describe(self) -> str:
        parts = [f"{len(self):,} {self.modality} from {self.store.describe()}"]
        if self.labels is not None:
            parts.append(f"{len(self.classes)} classes")
        if "split" in self.columns:
            names, counts = np.unique(self.columns["split"], return_counts=True)
            parts.append(" + ".join(f"{n:,} {s}" for s, n in zip(names, counts, strict=True)))
        return ", ".join(parts + ([self.said] if self.said else []))

    def fingerprint(self) -> str:
        """A hash of the store, the selection and the columns."""
        h = hashlib.sha256(self.store.fingerprint().encode())
        for name, column in sorted(self.columns.items()):
            h.update(name.encode() + np.ascontiguousarray(column).astype("U" if column.dtype.kind in "UO" else column.dtype).tobytes())
        if self.rows is not None:
            h.update(np.ascontiguousarray(self.rows).tobytes())
        return h.hexdigest()[:16]

    def keep(self, budget: int = 1 << 30, threads: int = 2) -> Data:
        """Decode everything once and keep it, if that takes less than `budget` bytes; decided on the first samples."""
        if self.kept is not None or not len(self):
            return self
        probe = []
        for i in range(min(len(self), 64)):
            try:
                probe.append(self[i].nbytes)
            except Unreadable:
                continue
        if not probe or np.mean(probe) * len(self) > budget:
            return self
        samples: list = []
        for chunk in prefetch(lambda i: self._read(range(i, min(i + 256, len(self)))), range(0, len(self), 256), threads):
            samples += chunk
        return dataclasses.replace(self, kept=samples)

    def _read(self, wanted: Iterable[int]) -> list[np.ndarray | None]:
        samples: list[np.ndarray | None] = []
        for i in wanted:
            try:
                samples.append(self[i])
            except Unreadable:
                samples.append(None)
        return samples

    def batch(self, wanted: np.ndarray, substitute: bool = False) -> View:
        """Samples `wanted` as a View; unreadable ones are left out, or, to `substitute`, replaced by others that the row alone decides."""
        samples, index = [], []
        for i in wanted:
            i = int(i)
            for attempt in range(64 if substitute else 1):
                try:
                    sample = self[i]
                except Unreadable:
                    i = (i * 0x9E3779B1 + attempt + 1) % len(self)
                    continue
                samples.append(sample)
                index.append(i)
                break
        rows = np.asarray(index, dtype=np.int64)
        given = {k: torch.from_numpy(np.ascontiguousarray(v[rows])) for k, v in self.columns.items() if v.dtype.kind in "iufb"}
        return View(stack(samples), torch.from_numpy(rows), None, given)

    def batches(self, order: Iterable[np.ndarray], threads: int = 2, substitute: bool = False) -> Iterator[View]:
        """The batches of `order`, in that order, read ahead by threads."""
        return prefetch(lambda wanted: self.batch(wanted, substitute), order, threads)

    def check_bad(self, limit: float = 0.2) -> None:
        """Raises InputError when more than `limit` of the rows are known to be unreadable."""
        if len(self.bad) > limit * len(self.store):
            some = [f"  {self.store.name(row)}: {why}" for row, why in list(self.bad.items())[:5]]
            raise InputError(
                f"{len(self.bad):,} of {len(self.store):,} samples cannot be read, more than the {limit:.0%} that --max-bad allows; the first:\n" + "\n".join(some)
            )


def stack(samples: list[np.ndarray]) -> Tensor | list[Tensor]:
    """One tensor where all shapes agree, else a list."""
    tensors = [torch.from_numpy(np.ascontiguousarray(a)) for a in samples]
    return torch.stack(tensors) if tensors and len({t.shape for t in tensors}) == 1 else tensors
