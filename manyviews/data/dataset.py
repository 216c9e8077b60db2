"""A data set: rows that can be read in any order, the columns that came with them, and what could not be read.

A `Store` knows where the samples are (a folder, tar shards, an array ...) and hands out row i undecoded. A modality's reader
(`manyviews.data.images.decode`) turns that into arrays. `Data` is both, with a selection of rows and columns such as the label.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from manyviews.contracts import View
from manyviews.data.loading import prefetch
from manyviews.errors import InputError
from manyviews.nn import memory

UNITS = {
    "points": "clouds",
    "splats": "objects",
    "view_sets": "sets of views",
    "video": "videos",
    "tables": "rows",
    "text": "texts",
}  # what samples are called, where not as their modality


@dataclasses.dataclass
class Data:
    """Rows of a store. `columns` has one entry per row of this selection: label (-1: not known), split, whatever was derived."""

    store: Store
    decode: Callable[..., Any]  # (raw, pixels, channels, bits) -> array; raises Unreadable
    modality: str = "images"
    columns: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    classes: Sequence[str] = ()
    rows: np.ndarray | None = None  # of the store; None: all
    pixels: int = 0  # the shorter side that readers need at least, 0: everything
    channels: int = 3  # that every sample is brought to, 0: as they are
    bits: int = 8  # a number: 8 (uint8) or 16 (uint16), 0: as they are
    said: str = ""  # what was decided on the way (a split, duplicates), for the one-line description
    bad: dict[int, str] = dataclasses.field(default_factory=dict)  # the store's row -> why it could not be read
    max_bad: float = 0.2  # more than this share of unreadable rows is an error
    seen: np.ndarray | None = None  # which of the store's rows were looked at
    form: dict[str, Any] = dataclasses.field(default_factory=dict)  # what else an encoder must know, as plain values: the columns of a table
    collate: Callable[[list], Any] | None = None  # samples -> what a View holds; None: one tensor where all shapes agree, else a list
    kept: np.ndarray | list | None = None  # decoded samples of this selection, once `keep` was called

    def __post_init__(self) -> None:
        if self.seen is None:
            self.seen = np.zeros(len(self.store), dtype=bool)

    def __len__(self) -> int:
        return len(self.store) if self.rows is None else len(self.rows)

    def row(self, i: int) -> int:
        return int(i) if self.rows is None else int(self.rows[i])

    def name(self, i: int) -> str:
        return self.store.name(self.row(i))

    def __getitem__(self, i: int) -> Any:
        """Sample i, decoded. Raises Unreadable, and remembers why."""
        row = self.row(i)
        if row in self.bad:
            raise Unreadable(self.bad[row])
        if self.kept is not None:
            return self.kept[i]
        self.seen[row] = True  # type: ignore[index]
        try:
            return self.decode(self.store.raw(row), self.pixels, self.channels, self.bits)
        except Unreadable as reason:
            self.bad[row] = str(reason)
        except (OSError, ValueError, MemoryError, RuntimeError) as error:
            self.bad[row] = f"{type(error).__name__}: {error}"
        raise Unreadable(self.bad[row])

    @property
    def labels(self) -> np.ndarray | None:
        """Class numbers, or None."""
        return self.columns.get("label")

    # --- other rows, columns, forms ---------------------------------------------------------------------------------------------------------

    def select(self, which: np.ndarray, said: str = "") -> Data:
        """The rows `which` (numbers or a mask) of this selection."""
        which = np.flatnonzero(which) if which.dtype == bool else which
        rows = which.astype(np.int64) if self.rows is None else self.rows[which]
        kept = self.kept[which] if isinstance(self.kept, np.ndarray) else None if self.kept is None else [self.kept[i] for i in which]
        columns = {k: v[which] for k, v in self.columns.items()}
        return dataclasses.replace(self, rows=rows, columns=columns, kept=kept, said=said or self.said)

    def with_columns(self, **columns: np.ndarray) -> Data:
        for key, column in columns.items():
            if len(column) != len(self):
                raise ValueError(f"column {key!r} has {len(column)} entries for {len(self)} rows")
        return dataclasses.replace(self, columns={**self.columns, **columns})

    def reduced(self, pixels: int) -> Data:
        """The same data, handed over no larger than a shorter side of `pixels` asks for; 0: in full."""
        return self if pixels == self.pixels else dataclasses.replace(self, pixels=pixels, kept=None)

    def in_channels(self, channels: int) -> Data:
        """The same data with every sample brought to this many channels: what an encoder takes."""
        return self if channels == self.channels else dataclasses.replace(self, channels=channels, kept=None)

    def readable(self) -> Data:
        """Without the rows found unreadable so far."""
        if not self.bad:
            return self
        rows = np.arange(len(self)) if self.rows is None else self.rows
        return self.select(~np.isin(rows, np.fromiter(list(self.bad), np.int64)))

    # --- what it is -------------------------------------------------------------------------------------------------------------------------

    def describe(self) -> str:
        """One line."""
        parts = [f"{len(self):,} {self.form.get('samples') or UNITS.get(self.modality, self.modality)} from {self.store.describe()}"]
        if self.labels is not None:
            parts.append(f"{len(self.classes):,} class{'es' if len(self.classes) != 1 else ''}")
        if "split" in self.columns:
            counts = {s: int((self.columns["split"] == s).sum()) for s in ("train", "validation", "test")}
            parts.append(" + ".join(f"{n:,} {s}" for s, n in counts.items() if n))
        if self.channels not in (0, 3) and self.modality == "images":
            parts.append(f"{self.channels} channel{'s' if self.channels > 1 else ' (grey)'}")
        if self.bits == 16:
            parts.append("16 bits")
        return ", ".join(parts + ([self.said] if self.said else []))

    def fingerprint(self) -> str:
        """A hash of the store, the selection and the columns."""
        h = hashlib.sha256(self.store.fingerprint().encode())
        for name, column in sorted(self.columns.items()):
            h.update(name.encode())
            for i in range(0, len(column), 65536):
                part = column[i : i + 65536]
                h.update("\0".join(map(str, part)).encode() if part.dtype.kind in "UO" else np.ascontiguousarray(part).tobytes())
        if self.rows is not None:
            h.update(np.ascontiguousarray(self.rows).tobytes())
        return h.hexdigest()[:16]

    # --- reading ----------------------------------------------------------------------------------------------------------------------------

    def look(self, count: int) -> list[Any]:
        """The readable ones of up to `count` samples spread over the rows."""
        rows = np.linspace(0, len(self) - 1, min(len(self), count)).astype(int).tolist()
        return [sample for sample in self._read(rows) if sample is not None]

    def keep(self, budget: int = 1 << 30, threads: int = 2) -> Data:
        """Decode everything once and keep it, if that takes less than `budget` bytes; decided on some samples."""
        probe = [] if self.kept is not None else self.look(64)
        if not probe or np.mean([a.nbytes for a in probe]) * len(self) > budget:
            return self
        samples: np.ndarray | list = [None] * len(self) if self.collate else np.zeros((len(self), *probe[0].shape), probe[0].dtype)
        i = 0

        def some(start: int) -> list[Any]:
            return self._read(range(start, min(start + 256, len(self))))

        for found in prefetch(some, range(0, len(self), 256), threads):
            self.check_bad()
            for sample in found:
                if isinstance(samples, np.ndarray) and sample is not None and sample.shape != samples.shape[1:]:
                    samples = list(samples)  # pictures of several shapes
                if sample is not None:
                    samples[i] = sample
                i += 1
        return dataclasses.replace(self, kept=samples)

    def _read(self, wanted: Iterable[int]) -> list[Any]:
        samples: list[Any] = []
        for i in wanted:
            try:
                samples.append(self[i])
            except Unreadable:
                samples.append(None)
        return samples

    def batch(self, wanted: np.ndarray, substitute: bool = False) -> View:
        """Samples `wanted` as a View; unreadable ones are left out, or, to `substitute`, replaced by others that the row alone decides.

        Raises InputError when too many are unreadable (`check_bad`).
        """
        if isinstance(self.kept, np.ndarray) and not self.bad and self.collate is None:
            return self._view(torch.from_numpy(self.kept[wanted]), np.asarray(wanted, dtype=np.int64))
        samples, index, known = [], [], len(self.bad)
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
        if len(self.bad) > known:
            self.check_bad()
        if substitute and len(wanted) and not samples:
            raise InputError(f"no sample that can be read was found in {self.store.describe()}; the first failures:\n" + self._failures())
        return self._view((self.collate or stack)(samples), np.asarray(index, dtype=np.int64))

    def _view(self, x: Any, rows: np.ndarray) -> View:
        given = {k: torch.from_numpy(np.ascontiguousarray(v[rows])) for k, v in self.columns.items() if v.dtype.kind in "iufb"}
        return View(x, torch.from_numpy(rows), None, given)

    def batches(self, order: Iterable[np.ndarray], threads: int = 2, substitute: bool = False) -> Iterator[View]:
        """The batches of `order`, in that order, read ahead by threads."""
        return prefetch(lambda wanted: self.batch(wanted, substitute), order, threads)

    def check_bad(self, limit: float | None = None) -> None:
        """Raises InputError when more than `limit` (default: max_bad) of the rows looked at are unreadable.

        Before all were looked at, only when chance cannot explain it (three standard deviations, at least 20 rows).
        """
        limit = self.max_bad if limit is None else limit
        bad, looked = len(self.bad), int(np.count_nonzero(self.seen))  # type: ignore[arg-type]
        slack = 0.0 if looked >= len(self) else 3 * (looked * limit * (1 - limit)) ** 0.5
        if bad and looked >= min(20, len(self)) and bad > limit * looked + slack:
            raise InputError(
                f"{bad:,} of the {looked:,} samples looked at in {self.store.describe()} cannot be read, more than the {limit:.0%} that --max-bad allows; "
                f"the first:\n{self._failures()}"
            )

    def _failures(self, count: int = 5) -> str:
        return "\n".join(f"  {self.store.name(row)}: {why}" for row, why in list(self.bad.items())[:count])


@runtime_checkable
class Store(Protocol):
    """Where samples are. Rows are read at random, from many threads and forked processes at once."""

    def __len__(self) -> int: ...

    def raw(self, row: int) -> Any:
        """The undecoded sample: bytes, or an array. Raises Unreadable."""

    def name(self, row: int) -> str:
        """What a person calls the row: a path, a key. It can be printed: bytes that are no text show as \\xNN."""

    def describe(self) -> str:
        """What this is, as half a sentence."""

    def fingerprint(self) -> str:
        """Changes when the content does, as far as names, sizes and times tell."""


class Unreadable(ValueError):
    """A sample that cannot be decoded; the message is the reason that the quarantine shows."""


def stack(samples: list[np.ndarray]) -> Tensor | list[Tensor]:
    """One tensor where all shapes agree, else a list."""
    if len({(a.shape, a.dtype) for a in samples}) == 1:
        return torch.from_numpy(np.stack(samples, out=memory.empty((len(samples), *samples[0].shape), samples[0].dtype)))
    return [torch.from_numpy(np.ascontiguousarray(a)) for a in samples]
