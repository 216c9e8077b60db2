"""The built-in set of pictures with captions: two coloured shapes beside or above one another, and a sentence that says so.

"a red circle above a blue square", or, of the same picture, "a blue square below a red circle": 6 colours, 5 shapes, 4 relations. Places, sizes, shades and
the grey of the background vary. A fifth of the pairs of objects is never seen in training: test pictures show nothing else, so that their captions are new
sentences of known words. The class is the first object in reading order (the left or upper one), one of 30. 4,000 pictures to train on and 1,000 to test,
32 x 32. Nothing is downloaded and nothing is stored: the same pictures are made on every machine in a second.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int, UInt8

from manyviews.data.arrays import Array
from manyviews.data.dataset import Data
from manyviews.data.pair_files import Column
from manyviews.data.pairs import Both, as_pairs, caption

TRAIN, TEST, SIDE, FINE, SEED = 4000, 1000, 32, 2, 20260
COLOURS = {
    "red": (215, 40, 40), "green": (40, 160, 60), "blue": (50, 80, 220), "yellow": (235, 205, 40), "purple": (150, 60, 180), "orange": (240, 130, 30),
}  # fmt: skip
SHAPES = ("circle", "square", "triangle", "cross", "ring")
OBJECTS = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]
RELATIONS = (("left of", "right of"), ("above", "below"))  # as the first object, and as the second, is named first


def held_out() -> Bool[np.ndarray, "objects objects"]:
    """Which pairs of objects, in either order, are for testing alone."""
    pairs = np.array(list(itertools.combinations(range(len(OBJECTS)), 2)))
    chosen = pairs[np.random.default_rng(SEED).permutation(len(pairs))[: len(pairs) // 5]]
    out = np.zeros((len(OBJECTS),) * 2, dtype=bool)
    out[chosen[:, 0], chosen[:, 1]] = out[chosen[:, 1], chosen[:, 0]] = True
    return out


def compositions(test: bool, count: int, rng: np.random.Generator) -> Int[np.ndarray, "count 3"]:
    """(first object, second object, relation) of pictures, of the pairs that are for testing or of the others."""
    allowed = held_out() if test else ~held_out() & ~np.eye(len(OBJECTS), dtype=bool)
    pairs = np.argwhere(allowed)
    return np.concatenate([pairs[rng.integers(0, len(pairs), count)], rng.integers(0, 2, (count, 1))], 1)


def sentence(first: int, second: int, relation: int, turned: bool = False) -> str:
    """The caption; turned: as the second object is named first."""
    a, b = (OBJECTS[k] for k in ((second, first) if turned else (first, second)))
    return f"{article(a)} {RELATIONS[relation][turned]} {article(b)}"


def article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def drawn(what: Int[np.ndarray, "count 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "count side side 3"]:
    """The pictures: the two objects on either side of the middle, FINE ** 2 samples a pixel."""
    count, fine = len(what), SIDE * FINE
    axis = (np.arange(fine, dtype=np.float32) + 0.5) / fine * 2 - 1
    along = rng.uniform(0.42, 0.55, (count, 2)) * (-1, 1)
    across = rng.uniform(-0.45, 0.45, (count, 2))
    x = np.where(what[:, 2:] == 0, along, across).astype(np.float32)
    y = np.where(what[:, 2:] == 0, across, along).astype(np.float32)
    radius = rng.uniform(0.28, 0.4, (count, 2)).astype(np.float32)
    background = rng.uniform(90, 255, (count, 1, 1, 1)).astype(np.float32)
    picture = background + rng.normal(0, 4, (count, SIDE, SIDE, 3)).astype(np.float32)
    palette = np.array([*COLOURS.values()])
    for k in range(2):
        u = (axis[None, None, :] - x[:, k, None, None]) / radius[:, k, None, None]
        v = (axis[None, :, None] - y[:, k, None, None]) / radius[:, k, None, None]
        colour = (palette[what[:, k] // len(SHAPES)] * rng.uniform(0.75, 1.1, (count, 1)) + rng.normal(0, 8, (count, 3))).astype(np.float32)
        inside = np.empty((count, fine, fine), dtype=bool)
        for s in range(len(SHAPES)):
            rows = np.flatnonzero(what[:, k] % len(SHAPES) == s)
            inside[rows] = covered(s, u[rows], v[rows])
        share = inside.reshape(count, SIDE, FINE, SIDE, FINE).mean((2, 4), dtype=np.float32)[..., None]  # of each pixel
        picture += share * (colour[:, None, None] - background)  # the objects never overlap
    return np.clip(picture, 0, 255).astype(np.uint8)


def covered(shape: int, u: Float[np.ndarray, "count 1 width"], v: Float[np.ndarray, "count height 1"]) -> Bool[np.ndarray, "count height width"]:
    """Where a shape of radius 1 around the origin is; v points down."""
    distance = u * u + v * v
    if SHAPES[shape] == "circle":
        return distance < 1
    if SHAPES[shape] == "ring":
        return (distance < 1) & (distance > 0.3)
    if SHAPES[shape] == "square":
        return np.maximum(abs(u), abs(v)) < 0.85
    if SHAPES[shape] == "cross":
        return np.minimum(abs(u), abs(v)) + 0 * distance < np.where(np.maximum(abs(u), abs(v)) < 1, 0.3, 0)
    return (v < 0.75) & (abs(u) < (v + 1) * 0.55)


@functools.lru_cache(maxsize=1)
def every() -> tuple[np.ndarray, list[str], np.ndarray, np.ndarray]:
    """All pictures, their captions, their compositions, and their split."""
    found = []
    for test, count in ((False, TRAIN), (True, TEST)):
        rng = np.random.default_rng([SEED, test])
        what = compositions(test, count, rng)
        captions = [sentence(a, b, r, bool(turn)) for (a, b, r), turn in zip(what.tolist(), rng.integers(0, 2, count), strict=True)]
        found.append((np.concatenate([drawn(part, rng) for part in np.array_split(what, 8)]), captions, what))
    pictures, captions, what = zip(*found, strict=True)
    split = np.array(["train"] * TRAIN + ["test"] * TEST)
    return np.concatenate(pictures), [*captions[0], *captions[1]], np.concatenate(what), split


def builtin_pairs() -> Data:
    """The pairs with labels and a split; the columns first, second and relation say what is in each picture."""
    pictures, captions, what, split = every()
    store = Both(Array(pictures, "the built-in set of pairs"), Column(pa.array(captions)), "the built-in set of pairs")
    columns = {"label": what[:, 0], "split": split, "first": what[:, 0], "second": what[:, 1], "relation": what[:, 2]}
    return as_pairs(store, columns, OBJECTS)


def questions(data: Data) -> dict[str, Any]:
    """What `manyviews.evaluate.caption_choice` asks: groups of texts that say the same, each picture's own, and sentences with the objects exchanged.

    Of this set: about every pair of objects in `data` the eight sentences of either order, relation and wording, and, where both objects have the same
    article, as the first word of a text has a token of its own, `right` and `wrong` about `rows`. Of any other set: its captions, and nothing exchanged.
    """
    if "first" not in data.columns:
        texts = [caption(data, i) for i in range(len(data))]
        names = sorted(set(texts))
        return {"groups": [[name] for name in names], "own": np.array([names.index(text) for text in texts])}
    what = list(zip(*(data.columns[name].tolist() for name in ("first", "second", "relation")), strict=True))
    own = [(min(a, b), max(a, b)) for a, b, _ in what]
    pairs = sorted(set(own))
    groups = [[sentence(*both, r, turned) for both in ((a, b), (b, a)) for r in (0, 1) for turned in (False, True)] for a, b in pairs]
    rows = [i for i, (a, b, _) in enumerate(what) if article(OBJECTS[a]).split()[0] == article(OBJECTS[b]).split()[0]]
    right, wrong = [sentence(*what[i]) for i in rows], [sentence(what[i][1], what[i][0], what[i][2]) for i in rows]
    return {"groups": groups, "own": np.array([pairs.index(pair) for pair in own]), "rows": np.array(rows), "right": right, "wrong": wrong}
