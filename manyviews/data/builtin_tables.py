"""The built-in table: 3,000 rows of 16 columns with latent classes, made by a fixed seed.

Each row has one of six classes and two hidden causes, which are standard normal. The class is the kind of relation that holds between the causes and the
columns: which of them rises, falls or turns with which, and which words are usual. So no column alone tells the class, and a linear classifier of the raw
values tells less than their relations do. Ten numbers (two of them skewed, three of noise alone), four columns of words (one with 40 of them, one of noise),
a yes and no, and a date; one value in twenty is missing, more often so in one class. 2,400 rows are for training, 600 for testing.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from manyviews.data.dataset import Data
from manyviews.data.table_files import Options
from manyviews.data.tables import from_array

CLASSES, ROWS, TEST, SEED = 6, 3000, 600, 20251
MISSING = 0.05
WORDS = {"shape": ["round", "flat", "long", "hollow"], "origin": [f"place {k}" for k in range(40)], "grade": ["low", "middle", "high"]}


def numbers(r: np.random.Generator, label: np.ndarray, a: np.ndarray, b: np.ndarray) -> dict[str, np.ndarray]:
    """Six relations of two causes, and noise. What a class changes is signs, phases and which cause a column follows."""
    angle = 2 * np.pi * label / CLASSES
    turned, across = np.cos(angle) * a + np.sin(angle) * b, np.cos(angle) * b - np.sin(angle) * a
    noise = functools.partial(r.normal, 0, 0.3, ROWS)
    return {
        "length": 30 + 8 * (a + noise()),
        "width": 12 + 3 * (b + noise()),
        "weight": np.exp(1 + 0.6 * (turned + noise())),
        "flow": np.exp(0.8 * (across + noise())),
        "balance": turned * across + noise(),
        "swing": np.sin(2 * a + angle) + noise(),
        "contrast": np.where(label % 2, 1, -1) * a * b + noise(),
        "static 1": r.normal(0, 1, ROWS),
        "static 2": r.uniform(0, 1000, ROWS),
        "static 3": r.poisson(3, ROWS).astype(float),
    }


def described(r: np.random.Generator, label: np.ndarray, a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    """Words whose usual choice depends on the class and on the signs of the causes."""
    quadrant = 2 * (a > 0) + (b > 0)

    def chosen(name: str, usual: np.ndarray, share: float) -> list[str]:
        count = len(WORDS[name])
        pick = np.where(r.uniform(size=ROWS) < share, usual % count, r.integers(0, count, ROWS))
        return [WORDS[name][k] for k in pick]

    day = np.datetime64("2020-01-01") + (400 + 90 * (a - b) + r.normal(0, 60, ROWS)).astype("timedelta64[D]")
    return {
        "shape": chosen("shape", quadrant + label, 0.7),
        "origin": chosen("origin", 7 * label + r.integers(0, 20, ROWS), 0.7),
        "grade": chosen("grade", (turned_up(a, label) + label).astype(int), 0.6),
        "batch": [f"b{k}" for k in r.integers(0, 12, ROWS)],
        "sealed": (r.uniform(size=ROWS) < np.where((a > b) ^ (label % 3 == 0), 0.85, 0.15)).tolist(),
        "made": day.tolist(),
    }


def turned_up(a: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Which third of its range the first cause is in, counted from below or, in every second class, from above."""
    third = np.digitize(a, [-0.43, 0.43])
    return np.where(label % 2, 2 - third, third)


@functools.lru_cache(maxsize=1)
def columns() -> dict[str, Any]:
    r = np.random.default_rng(SEED)
    label = r.permutation(np.arange(ROWS) % CLASSES)
    a, b = r.normal(size=(2, ROWS))
    table: dict[str, Any] = {**numbers(r, label, a, b), **described(r, label, a, b)}
    share = MISSING * np.where(label == 0, 2.0, 0.8)
    for name, values in table.items():
        lost = r.uniform(size=ROWS) < share
        table[name] = [None if gone else v for gone, v in zip(lost, values, strict=True)]
    table["label"] = [f"kind {k}" for k in label]
    table["split"] = ["train"] * (ROWS - TEST) + ["test"] * TEST
    return table


def builtin_tables() -> Data:
    """The rows with labels and a split."""
    data = from_array(columns(), Options(label="label", split="split"))
    data.store.what = "the built-in table"  # type: ignore[attr-defined]
    return data
