"""What lies where in a sample: the parts of a shape, the organs in a scan, the things in a picture. It is read beside the sample, as every sample has places
of its own.

A modality's file that knows such things has a function `regions(data) -> Regions | None`.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Int

from manyviews.data.dataset import Data, Unreadable

LOOKED = 8  # samples that are looked at to find out whether there are any


@dataclasses.dataclass(frozen=True)
class Regions:
    """`read(i)`: places of sample i in its own frame, and the number of what is there, -1 where that is not known. Raises Unreadable."""

    read: Callable[[int], tuple[Float[np.ndarray, "places axes"], Int[np.ndarray, "places"]]]
    measure: str  # iou (of parts of shapes), dice or mean_iou: what they are compared by
    names: Sequence[str] = ()  # of the numbers, where they are known
    background: int | None = None  # the number of what is no object
    instances: bool = False  # whether numbers above 0 count the objects of a sample; else they are kinds of things

    @property
    def kinds(self) -> Regions:
        """The same where numbers mean the same in all samples: of objects that are counted, that there is one."""
        if not self.instances:
            return self

        def read(i: int) -> tuple[np.ndarray, np.ndarray]:
            places, there = self.read(i)
            return places, np.minimum(there, 1)

        return dataclasses.replace(self, read=read, instances=False)


def regions(data: Data) -> Regions | None:
    """What lies where in the samples of `data`; None where nothing is said, for the first ones at least."""
    found = getattr(importlib.import_module(f"manyviews.data.{data.modality}"), "regions", None)
    beside: Regions | None = found(data) if found else None
    if beside is None:
        return None
    for i in range(min(LOOKED, len(data))):
        try:
            beside.read(i)
        except Unreadable:
            continue
        return beside
    return None
