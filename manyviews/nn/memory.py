"""Large arrays that are used again. A fresh one costs a page fault for every 4 kB, which takes longer than to decode a JPEG into it.

Memory comes back by itself when the last array or tensor that shares it is gone; up to HELD bytes of it wait for the next call.
"""

from __future__ import annotations

import math
import weakref
from collections import deque

import numpy as np
from numpy.typing import DTypeLike

SMALLEST, HELD = 1 << 18, 1 << 29
_waiting: dict[int, deque[np.ndarray]] = {}  # by size; nothing is locked, as memory may come back in the midst of anything


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """`numpy.empty`, on memory that was used before where there is some."""
    kind = np.dtype(dtype)
    count = math.prod(shape) * kind.itemsize
    if count < SMALLEST:
        return np.empty(shape, kind)
    grain = 1 << (count.bit_length() - 4)  # sizes are rounded up by at most an eighth
    size = -(-count // grain) * grain
    try:
        block = _waiting[size].pop()
    except (KeyError, IndexError):
        block = np.empty(size, np.uint8)
    lent = np.frombuffer(block.data[:count], kind)  # over a memoryview: views of views then refer to this array, and keep it
    weakref.finalize(lent, _come_back, block).atexit = False
    return lent.reshape(shape)


def _come_back(block: np.ndarray) -> None:
    if block.nbytes + sum(size * len(blocks) for size, blocks in list(_waiting.items())) <= HELD:
        _waiting.setdefault(block.nbytes, deque()).append(block)
