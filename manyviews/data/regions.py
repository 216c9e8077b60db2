"""What lies where in a sample: the parts of a shape, the organs in a scan. It is read beside the sample, as every sample has places of its own.

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
    measure: str  # iou or dice: what they are compared by
    names: Sequence[str] = ()  # of the numbers, where they are known


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
