"""The built-in video: one patterned thing in eight kinds of motion before a still background. The motion is the class.

The motions are to and fro along a line that is level, upright or slanting, along a circle, a turn on the spot, a growth, a shrinking, and trembling. None
becomes another when a film is mirrored, as views of video do. Each film draws the shape, two colours and their pattern, a background, place, size, speed,
phase and direction, so that no single frame tells the motion. 80 training and 20 test films a motion, 16 frames of 32 x 32. Nothing is downloaded and
nothing is stored: the same films are made on every machine.
"""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import Float32

from manyviews.data.dataset import Data
from manyviews.data.video import VideoArray, decode

MOTIONS = ("level", "upright", "slanting", "circling", "turning", "growing", "shrinking", "trembling")
TRAIN, TEST, TIME, SIDE, SEED = 80, 20, 16, 32, 20242


def paths(motion: str, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Place (count, time, 2), angle (count, time) and size (count, time) of the thing; the picture is [-1, 1] x [-1, 1]."""
    time = np.linspace(-1, 1, TIME)
    sign, phase, speed = rng.choice([-1, 1], (count, 1)), rng.uniform(0, 2 * np.pi, (count, 1)), rng.uniform(0.8, 1.3, (count, 1))
    place = rng.uniform(-0.25, 0.25, (count, 1, 2)) + np.zeros((count, TIME, 2))
    angle = rng.uniform(0, 2 * np.pi, (count, 1)) + np.zeros((count, TIME))
    size = rng.uniform(0.32, 0.48, (count, 1)) + np.zeros((count, TIME))
    swing = 0.42 * np.sin(sign * 2.2 * speed * time + phase)
    if motion == "level":
        place[..., 0] += swing
    elif motion == "upright":
        place[..., 1] += swing
    elif motion == "slanting":
        place += 0.75 * swing[..., None] * np.stack([np.ones((count, 1)), rng.choice([-1, 1], (count, 1))], -1)
    elif motion == "circling":
        turn = sign * 2.2 * speed * time + phase
        place += 0.4 * np.stack([np.cos(turn), np.sin(turn)], -1)
    elif motion == "turning":
        angle += sign * 1.6 * speed * time
    elif motion == "trembling":
        place += rng.normal(0, 0.09, place.shape)
    else:
        size *= np.exp((0.45 if motion == "growing" else -0.45) * speed * time)
    return place.astype(np.float32), angle.astype(np.float32), size.astype(np.float32)


def thing(p: Float32[np.ndarray, "2 count time pixels"], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """How much of each pixel is the thing, whose size is 1, and which of its two colours: both 0 .. 1, (count, time, pixels)."""
    x, y = p
    count = x.shape[0]

    def drawn(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, (count, 1, 1)).astype(np.float32)

    squared = x * x + y * y + 1e-6
    lobes, depth = rng.integers(0, 3, (count, 1, 1)), drawn(0.15, 0.35)  # the radius goes with the cosine of twice or three times the angle, or with none
    wave = np.where(lobes == 1, (x * x - y * y) / squared, np.where(lobes == 2, (x * x * x - 3 * x * y * y) / (squared * np.sqrt(squared)), 0))
    edge = 1 + depth * wave - np.sqrt(squared)
    stripes = np.sin(drawn(2.0, 5.0) * x + drawn(-3.0, 3.0) * y + drawn(0.0, 6.3))
    return np.clip(4 * edge + 0.5, 0, 1), np.clip(3 * stripes + 0.5, 0, 1)


def films_of(motion: str, count: int, seed: list[int]) -> np.ndarray:
    """uint8 (count, time, side, side, 3)."""
    rng = np.random.default_rng(seed)
    return filmed(*paths(motion, count, rng), rng)


def filmed(
    place: Float32[np.ndarray, "count time 2"], angle: Float32[np.ndarray, "count time"], size: Float32[np.ndarray, "count time"], rng: np.random.Generator
) -> np.ndarray:
    """Things that move so, uint8 (count, time, side, side, 3): what they look like is drawn."""
    count = len(place)
    axis = ((np.arange(SIDE) + 0.5) / SIDE * 2 - 1).astype(np.float32)
    y, x = (a.ravel() for a in np.meshgrid(axis, axis, indexing="ij"))
    dx, dy = x - place[..., :1], y - place[..., 1:]
    cos, sin = np.cos(angle)[..., None] / size[..., None], np.sin(angle)[..., None] / size[..., None]
    there, second = thing(np.stack([cos * dx + sin * dy, cos * dy - sin * dx]), rng)
    colours = rng.uniform(0, 1, (3, count, 1, 3)).astype(np.float32)
    slope = rng.uniform(-0.2, 0.2, (count, 2, 3)).astype(np.float32)
    background = (colours[0] + np.einsum("ap,nac->npc", np.stack([x, y]), slope))[:, None]
    film = colours[1][:, None] + second[..., None] * (colours[2] - colours[1])[:, None]
    film -= background
    film *= there[..., None]
    film += background
    film += rng.normal(0, 0.03, (count, 1, SIDE * SIDE, 3)).astype(np.float32)  # grain that stands still: what moves is the thing alone
    return (255 * np.clip(film, 0, 1) + 0.5).astype(np.uint8).reshape(count, TIME, SIDE, SIDE, 3)


@functools.lru_cache(maxsize=1)
def made() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All films, their motions, and their split."""
    films = np.concatenate([films_of(motion, TRAIN + TEST, [SEED, k]) for k, motion in enumerate(MOTIONS)])
    return films, np.repeat(np.arange(len(MOTIONS)), TRAIN + TEST), np.array((["train"] * TRAIN + ["test"] * TEST) * len(MOTIONS))


def builtin_video() -> Data:
    """800 films with labels and a split."""
    films, labels, splits = made()
    store = VideoArray(films, "the built-in video", frames=TIME)
    return Data(store, decode, "video", {"label": labels, "split": splits}, MOTIONS, form={"frames": TIME})
