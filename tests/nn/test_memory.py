"""Memory that is used again, and only when nobody looks at it any more."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from manyviews.nn import memory

SHAPE = (3, 300, 400)


@pytest.fixture(autouse=True)
def nothing_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_waiting", {})


def place(a: np.ndarray) -> int:
    return a.__array_interface__["data"][0]


def test_memory_comes_back_when_the_last_array_is_gone() -> None:
    a = memory.empty(SHAPE, np.float32)
    first = place(a)
    del a
    assert place(memory.empty(SHAPE, np.float32)) == first


def test_views_of_views_and_tensors_keep_their_memory() -> None:
    a = memory.empty(SHAPE, np.float32)
    a[:] = 7
    part = a[1:].reshape(-1)[5:].view(np.int32).view(np.float32)
    tensor = torch.from_numpy(memory.empty(SHAPE, np.float32)).fill_(8)[1].flatten()[3:]
    del a
    for _ in range(3):
        memory.empty(SHAPE, np.float32)[:] = 9
    assert (part == 7).all() and bool((tensor == 8).all())


def test_arrays_are_writable_of_their_type_and_do_not_overlap() -> None:
    arrays = [memory.empty((k, 1000, 90), np.uint16) for k in (3, 4, 3)]
    for k, a in enumerate(arrays):
        a[:] = k
    assert [(a.dtype, a.shape[0], int(a.min()), int(a.max())) for a in arrays] == [(np.uint16, n, k, k) for k, n in enumerate((3, 4, 3))]


def test_no_more_is_held_than_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "HELD", 3 << 20)
    arrays = [memory.empty((1 << 20,), np.uint8) for _ in range(10)]
    del arrays
    assert sum(size * len(blocks) for size, blocks in memory._waiting.items()) <= 3 << 20


def test_small_arrays_are_plain_ones() -> None:
    assert memory.empty((10, 10), np.float64).base is None
    assert memory.empty((0, 5), np.uint8).shape == (0, 5)
