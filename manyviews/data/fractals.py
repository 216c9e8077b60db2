"""Fractals: pictures of iterated function systems, made as they are read; a class is a system, and a picture may show several.

Anderson, Farrell, "Improving Fractal Pre-training", WACV 2022, arXiv:2110.03091; what it improves on: Kataoka et al., "Pre-training without Natural
Images" (FractalDB), ACCV 2020, arXiv:2101.08515.

Departs from the paper in that pictures have 64 pixels, not 224, unless `side` says otherwise, and as many points a pixel as theirs: 2 for one fractal,
8 for several; in that each fractal of a picture is played anew and at the size it is shown in, where their loader keeps 512 of them at half the side and
resizes them; and in that a picture always shows its own class, so that classes are balanced, where theirs draws all of them. Systems have 2 to 4
maps, as in their program that makes the data; other defaults of their code go to 7, as FractalDB's do. A hue turns at most once over a fractal,
where in OpenCV's units theirs turns 1.4 times; the 3 x 3 mark of a point is never empty. `sampling="uniform"` is FractalDB's search, its filling rate
of 0.2 taken over 128 x 128 cells with 6,250 points, a sixteenth of theirs in both.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import re
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from manyviews.counters import Counter
from manyviews.data.dataset import Data
from manyviews.data.images import decode
from manyviews.errors import InputError

MAPS = {"svd": (2, 4), "uniform": (2, 7)}  # fewest and most
FILLED = 0.2  # share of the cells that a uniform system must hit
SIZES = (0.15, 0.6)  # of several fractals: least and largest share of the picture's side
EXPECTED = {"jitter": "true or false", "sizes": f"two shares of the side, as in {SIZES[0]}-{SIZES[1]}"}  # where it is not a whole number


def fractals(
    classes: int = 1000,
    images: int = 1000,
    side: int = 64,
    instances: int = 1,
    sampling: str = "svd",
    jitter: bool | None = None,
    seed: int = 0,
    sizes: tuple[float, float] = (0.15, 0.6),
) -> Data:
    """`classes` systems with `images` pictures each, in the order of the classes; nothing is stored, and (seed, row) decides a picture.

    classes: systems, each a class of its own. images: pictures of each class. side: of the pictures, in pixels. instances: up to so many fractals in a
    picture; from 2 on it has 1 to `instances` of them, and column `labels` (rows, instances) says of which classes, -1 for none.
    sampling: "svd" draws well-conditioned systems; "uniform" draws all numbers from [-1, 1] until something fills the picture.
    jitter: whether each picture changes its systems a little; None: as in the paper, for one fractal and not for several. seed: of everything.
    sizes: least and largest side of each of several fractals, as a share of the picture's, above 0 and at most 1; one alone fills the picture.
    """
    least = {"classes": (classes, 2), "images": (images, 1), "side": (side, 8), "instances": (instances, 1), "seed": (seed, 0)}
    problems = [f"fractals: {name}={value}; it must be at least {low}" for name, (value, low) in least.items() if value < low]
    if sampling not in MAPS:
        problems.append(f"fractals: sampling={sampling}; there are {', '.join(MAPS)}")
    if not 0 < sizes[0] <= sizes[1] <= 1:
        problems.append(f"fractals: sizes={between(sizes)}; expected shares of the side, 0 < least <= largest <= 1, as in {between(SIZES)}")
    elif sizes != SIZES and instances == 1:
        problems.append(f"fractals: sizes={between(sizes)}; one fractal fills the picture; say instances=2 or more")
    if problems:
        raise InputError(*problems)
    rows = torch.arange(classes * images)
    shown = np.full((len(rows), instances), -1, np.int32)
    shown[:, 0] = rows // images
    if instances > 1:
        counter = Counter(seed, 0)
        others = (counter.uniform("class", rows, instances - 1) * classes).int().numpy()
        count = (counter.uniform("count", rows, 1) * instances).int().numpy()  # beside its own
        shown[:, 1:] = np.where(np.arange(instances - 1) < count, others, -1)
    store = Fractals(Settings(classes, images, side, instances, sampling, instances == 1 if jitter is None else jitter, seed, sizes), shown)
    columns = {"label": shown[:, 0].astype(np.int64), "duplicate_of": np.arange(len(rows))} | ({"labels": shown} if instances > 1 else {})
    return Data(store, decode, "images", columns, [f"fractal_{k:0{len(str(classes - 1))}d}" for k in range(classes)])


def between(sizes: tuple[float, float]) -> str:
    return "-".join(f"{share:g}" for share in sizes)


def by_name(text: str) -> Data:
    """`fractals:1000,images=100,instances=5,sizes=0.3-0.8`: the number of classes and any other argument of `fractals`. Raises InputError."""
    arguments = inspect.signature(fractals).parameters
    offered = [f"{name}={between(SIZES) if name == 'sizes' else p.default}" for name, p in arguments.items()]
    given: dict[str, Any] = {}
    problems = []
    for k, part in enumerate(filter(None, text.split(","))):
        name, equals, value = part.partition("=")
        name, value = (name.strip(), value.strip()) if equals else ("classes", part.strip())
        if name not in arguments or (not equals and k):
            problems.append(f"fractals: {part!r} is not understood; there are {', '.join(offered)}")
        elif name == "sampling":
            given[name] = value
        elif name == "jitter" and value.lower() in ("true", "false"):
            given[name] = value.lower() == "true"
        elif name == "sizes" and re.fullmatch(r"\d*\.?\d+-\d*\.?\d+", value):
            low, high = map(float, value.split("-"))
            given[name] = (low, high)
        elif name not in EXPECTED and value.isdecimal():
            given[name] = int(value)
        else:
            problems.append(f"fractals: {name}={value}; expected {EXPECTED.get(name, 'a whole number')}")
    if problems:
        raise InputError(*problems)
    return fractals(**given)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What decides every picture."""

    classes: int
    images: int
    side: int
    instances: int
    sampling: str
    jitter: bool
    seed: int
    sizes: tuple[float, float] = dataclasses.field(default=SIZES, repr=False)


class Fractals:
    """A store whose samples are painted when they are asked for, from any thread."""

    def __init__(self, settings: Settings, shown: np.ndarray):
        self.settings, self.shown = settings, shown
        self.states = Counter(settings.seed, 0).bits("picture", torch.arange(len(shown)), 1)[:, 0].numpy().view(np.uint64)
        self.systems, self.sizes = systems(settings.classes, settings.sampling, settings.seed)

    def __len__(self) -> int:
        return len(self.shown)

    def raw(self, row: int) -> np.ndarray:
        from manyviews.data import fractal_kernels

        s = self.settings
        state = self.states[row : row + 1].copy()
        return fractal_kernels.picture(self.systems, self.sizes, self.shown[row], s.instances > 1, *s.sizes, s.side, s.jitter, state)

    def name(self, row: int) -> str:
        return f"fractal_{row // self.settings.images}/{row % self.settings.images}"

    def describe(self) -> str:
        s = self.settings
        several = f", up to {s.instances} in a picture" if s.instances > 1 else ""
        return f"fractals of {s.classes:,} systems ({s.sampling} sampling, seed {s.seed}{several})"

    def fingerprint(self) -> str:
        own = "" if self.settings.sizes == SIZES else f"/{self.settings.sizes}"  # so that sets of the usual sizes keep the name they always had
        return hashlib.sha256(f"fractals/1/{self.settings}{own}".encode()).hexdigest()


# --- systems ----------------------------------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=8)
def systems(count: int, sampling: str, seed: int) -> tuple[Float[np.ndarray, "classes maps 2 3"], np.ndarray]:
    """The systems of so many classes, filled up with zeros, and their numbers of maps. The k-th depends on (seed, k) alone."""
    found, sizes = np.zeros((count, MAPS[sampling][1], 2, 3)), np.zeros(count, np.int64)
    for k in range(count):
        rng = np.random.default_rng([seed, k])
        system = well_conditioned(int(rng.integers(*MAPS["svd"], endpoint=True)), rng) if sampling == "svd" else searched(rng)
        found[k, : len(system)], sizes[k] = system, len(system)
    return found, sizes


def well_conditioned(maps: int, rng: np.random.Generator) -> Float[np.ndarray, "maps 2 3"]:
    """Contractions U diag(s1, s2) V with U, V uniform among rotations and reflections, shifts uniform in [-1, 1], and sum s1 + 2 s2 in [(5 + N)/2, (6 + N)/2].

    N is the number of maps: a smaller sum gives dust, a larger one a blot.
    """
    s = singular_values(maps, rng.uniform((5 + maps) / 2, (6 + maps) / 2), rng)
    u, v = orthogonal(maps, rng), orthogonal(maps, rng)
    return np.concatenate([u * s[:, None] @ v, rng.uniform(-1, 1, (maps, 2, 1))], 2)


def singular_values(maps: int, total: float, rng: np.random.Generator) -> Float[np.ndarray, "maps 2"]:
    """1 >= s1 >= s2 >= 0 of each map with sum s1 + 2 s2 = total, one after the other uniform in what leaves the rest possible. 0 <= total <= 3 maps."""
    s = np.empty((maps, 2))
    for k in range(maps):
        room = 3.0 * (maps - 1 - k)  # that the maps after this one can take at most
        if room:
            s1 = rng.uniform(max(0.0, (total - room) / 3), min(1.0, total))
            s2 = rng.uniform(max(0.0, (total - room - s1) / 2), min(s1, (total - s1) / 2))
        else:
            s2 = rng.uniform(max(0.0, (total - 1) / 2), total / 3)
            s1 = total - 2 * s2
        s[k] = s1, s2
        total -= s1 + 2 * s2
    return s


def orthogonal(count: int, rng: np.random.Generator) -> Float[np.ndarray, "count 2 2"]:
    """Rotations by any angle, each axis mirrored or not."""
    angle = rng.uniform(-np.pi, np.pi, count)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).transpose(2, 0, 1)
    return turn * rng.choice([-1.0, 1.0], (count, 1, 2))


def searched(rng: np.random.Generator) -> Float[np.ndarray, "maps 2 3"]:
    """FractalDB's: all numbers uniform in [-1, 1], drawn until the points stay finite and fill enough of their bounding box."""
    from manyviews.data import fractal_kernels

    mark = np.zeros((3, 3), dtype=bool)
    mark[1, 1] = True
    while True:
        system = rng.uniform(-1, 1, (int(rng.integers(*MAPS["uniform"], endpoint=True)), 2, 3))
        points = fractal_kernels.chaos(system, 6250, rng.integers(0, 1 << 63, 1).astype(np.uint64))
        if np.abs(points).max() < 1e6:  # false for NaN too
            centre, extent = fractal_kernels.bounds(points)
            if (fractal_kernels.density(points, centre, extent, 128, mark) > 0).mean() >= FILLED:
                return system
