"""The data that a claim is checked on: what is trained on, what the probes learn from, what is tested."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable

import numpy as np

from manyviews.app.evidence.fingerprints import code_hash
from manyviews.data.dataset import Data
from manyviews.data.derive import cached
from manyviews.data.opening import open_data
from manyviews.data.splits import split
from manyviews.views.finding import find_policy


@dataclasses.dataclass(frozen=True)
class Arena:
    """Rows of a data set that `open_data` finds, the same for all arms and seeds.

    rows, train, test: at most so many to pretrain on, to fit probes on (of the same rows) and to test on, chosen once at random; 0: all.
    prepare: `prepare(data, part) -> data` changes both parts ("train", "test") before anything is chosen, such as the classes kept; in a claim's file.
    """

    source: str
    rows: int = 0
    train: int = 5000
    test: int = 2000
    name: str = ""  # where one claim has two arenas of one source
    prepare: Callable[[Data, str], Data] | None = None

    @property
    def title(self) -> str:
        return self.name or self.source

    def describe(self) -> dict[str, object]:
        """What decides the rows, as plain values."""
        code = code_hash(inspect.getsource(self.prepare)) if self.prepare else ""
        return {"source": self.source, "rows": self.rows, "train": self.train, "test": self.test, "prepare": code}

    def open(self, size: int) -> tuple[Data, Data, Data]:
        """To pretrain on, to fit probes on, to test on: decoded, in memory, no larger than `size` asks for. Raises InputError where the data is absent."""
        train, test = split(open_data(self.source), seed=0)
        if self.prepare is not None:
            train, test = self.prepare(train, "train"), self.prepare(test, "test")
        train, test = some(train, self.rows), some(test, self.test)
        pixels = finest(size, train.modality)
        train, test = (kept(part.reduced(pixels)) for part in (train, test))
        return train, some(train, self.train), test


def finest(size: int, modality: str) -> int:
    """How finely samples are kept for views of `size`: what usual views need."""
    return find_policy("simclr", size, modality).pixels if modality != "images" or size <= 64 else 2 * size


def some(data: Data, count: int) -> Data:
    """Up to `count` rows, drawn once and for all, in their order."""
    if not count or len(data) <= count:
        return data
    return data.select(np.sort(np.random.default_rng(0).permutation(len(data))[:count]))


def kept(data: Data) -> Data:
    """The decoded samples, from the cache where they are there."""
    whole: list[Data] = []

    def decode() -> dict[str, np.ndarray]:
        whole.append(data.keep(1 << 33, threads=1))
        return {"samples": whole[0].kept} if isinstance(whole[0].kept, np.ndarray) else {}

    found = cached(f"arena/{data.fingerprint()}/{data.pixels}/{data.channels}/{data.bits}", decode)
    if whole or "samples" not in found:
        return whole[0] if whole else data.keep(1 << 33, threads=1)
    return dataclasses.replace(data, kept=found["samples"])
