"""Pictures side by side in one, with what lies where: for questions about places when no segmented data is at hand."""

from __future__ import annotations

import dataclasses

import numpy as np

from manyviews.data import arrays
from manyviews.data.dataset import Data


def collage(data: Data, count: int, grid: int = 2, side: int = 16, seed: int = 0) -> Data:
    """`count` pictures of `grid` x `grid` cells of `side` pixels, each cell a random picture of `data` (decoded and kept, labelled), shrunk by averaging.

    Columns: `label`, that of the upper left cell, and `cells`, (count, grid * grid) labels in reading order.
    """
    assert isinstance(data.kept, np.ndarray) and data.labels is not None, "collages are made of kept, labelled pictures of one size"
    step = data.kept.shape[1] // side
    if step < 1:
        raise ValueError(f"cells of {side} pixels from pictures of {data.kept.shape[1]}; take a smaller side")
    small = data.kept[:, : step * side, : step * side].reshape(len(data), side, step, side, step, -1).mean((2, 4)).round().astype(np.uint8)
    rows = np.random.default_rng([seed, grid, side]).integers(0, len(data), (count, grid, grid))
    pictures = small[rows].transpose(0, 1, 3, 2, 4, 5).reshape(count, grid * side, grid * side, small.shape[-1])
    cells = data.labels[rows].reshape(count, -1)
    store = arrays.Array(pictures, f"{count:,} collages of {data.store.describe()}")
    return dataclasses.replace(
        data, store=store, rows=None, columns={"label": cells[:, 0].copy(), "cells": cells}, kept=pictures, pixels=0, bad={}, seen=None, said=""
    )
