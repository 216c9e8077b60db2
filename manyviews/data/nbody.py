"""Charged particles in space that attract and repel each other, simulated: where they will be is asked from where they are, how they move, and their charges.

The system of Kipf et al., "Neural Relational Inference for Interacting Systems", ICML 2018, arXiv:1802.04687, brought to three dimensions by Fuchs et al.,
"SE(3)-Transformers", NeurIPS 2020, arXiv:2006.10503, with the times of Satorras et al., "E(n) Equivariant Graph Neural Networks", ICML 2021, arXiv:2102.09844.
Places begin normal, speeds are 0.5 in any direction, charges are +1 or -1, masses 1. The force on i is the sum over j of c_i c_j (x_i - x_j) / |x_i - x_j|^3.
A step is 0.001: a kick by the force, then a drift. The first 3,100 steps are not seen; then what is seen is asked 1,000 steps, one unit of time, later.

    bodies = simulate(3000, seed=0)                       # bodies.positions (3000, 5, 3), .velocities, .charges (3000, 5), .later (3000, 5, 3)
    data = nbody(train=3000, test=2000)                   # samples (5, 7): x y z, velocity, charge; column `later` (5, 3) is what is asked
    for step in fit(network, data, as_they_are, ...): ... # loss(v): v.x (batch, 5, 7), v.given["later"] (batch, 5, 3)

Differs from the published generator: a force is kept below 100 by its length and not axis by axis, so that the law is exactly the same in every frame.
"""

from __future__ import annotations

from typing import NamedTuple, no_type_check

import numpy as np
from jaxtyping import Float
from torch import Tensor

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.data.arrays import Array
from manyviews.data.dataset import Data
from manyviews.errors import InputError

STEP = 0.001  # of time
STRONGEST = 100.0  # length of a force
SPEED = 0.5  # at first
UNSEEN = 3100  # steps before what is seen
CHANNELS = 7  # x y z, velocity, charge
USUAL = 5  # particles, with which places begin with a standard deviation of 1


class Bodies(NamedTuple):
    """What is seen of simulations, and what becomes of it; float32."""

    positions: Float[np.ndarray, "count particles 3"]
    velocities: Float[np.ndarray, "count particles 3"]
    charges: Float[np.ndarray, "count particles"]  # +1 or -1
    later: Float[np.ndarray, "count particles 3"]  # positions so many steps later


def simulate(count: int, seed: int, particles: int = 5, steps: int = 1000, unseen: int = UNSEEN) -> Bodies:
    """`count` systems of `particles`, decided by `seed`: those of a smaller count are the first of a larger one. Raises InputError.

    steps: of 0.001 of time between what is seen and what is asked. unseen: steps before what is seen. About 0.6 ms a system of 5 on one core.
    """
    checked(count, particles, steps, unseen)
    drawn = np.random.default_rng([seed, particles]).standard_normal((count, particles, CHANNELS))
    positions = drawn[..., :3] * (particles / USUAL) ** (1 / 3)
    velocities = SPEED * drawn[..., 3:6] / np.linalg.norm(drawn[..., 3:6], axis=-1, keepdims=True)
    charges = np.where(drawn[..., 6] < 0, -1.0, 1.0)
    x, v = moved(positions, velocities, charges, unseen)
    later, _ = moved(x, v, charges, steps)
    return Bodies(*(np.ascontiguousarray(a, np.float32) for a in (x, v, charges, later)))


def checked(count: int, particles: int, steps: int, unseen: int) -> None:
    """Raises InputError with all that is wrong."""
    wrong = [
        f"{name} is {value}; it must be {least} or more"
        for name, value, least in (("count", count, 1), ("particles", particles, 2), ("steps", steps, 1), ("unseen", unseen, 0))
        if value < least
    ]
    if wrong:
        raise InputError(*wrong)


def moved(
    positions: Float[np.ndarray, "count particles 3"],
    velocities: Float[np.ndarray, "count particles 3"],
    charges: Float[np.ndarray, "count particles"],
    steps: int,
) -> tuple[Float[np.ndarray, "count particles 3"], Float[np.ndarray, "count particles 3"]]:
    """Positions and velocities so many steps later, in float64."""
    from manyviews.nn.compiled import compiled, shared

    advance = compiled(advanced)
    x, v = np.array(positions, np.float64, order="C"), np.array(velocities, np.float64, order="C")
    c = np.ascontiguousarray(charges, np.float64)
    shared(lambda first, last: advance(x, v, c, steps, STEP, STRONGEST, first, last), len(x))
    return x, v


@no_type_check
def advanced(x, v, charges, steps, step, strongest, first, last):
    """Systems first..last-1 of x and v (count, particles, 3), changed where they are; compiled when first used."""
    n = x.shape[1]
    force = np.empty((n, 3))
    for s in range(first, last):
        for _ in range(steps):
            force[:] = 0
            for i in range(n):
                for j in range(i):
                    a, b, c = x[s, i, 0] - x[s, j, 0], x[s, i, 1] - x[s, j, 1], x[s, i, 2] - x[s, j, 2]
                    square = max(a * a + b * b + c * c, 1e-24)
                    f = charges[s, i] * charges[s, j] / (square * np.sqrt(square))
                    a, b, c = f * a, f * b, f * c
                    force[i, 0] += a
                    force[i, 1] += b
                    force[i, 2] += c
                    force[j, 0] -= a
                    force[j, 1] -= b
                    force[j, 2] -= c
            for i in range(n):
                length = np.sqrt(force[i, 0] ** 2 + force[i, 1] ** 2 + force[i, 2] ** 2)
                factor = step * min(1.0, strongest / max(length, 1e-12))
                for k in range(3):
                    v[s, i, k] += factor * force[i, k]
                    x[s, i, k] += step * v[s, i, k]


def nbody(train: int = 3000, test: int = 2000, seed: int = 0, particles: int = 5, steps: int = 1000) -> Data:
    """Simulations as a data set of clouds with seven columns, split into training and test, with the column `later`. Other seeds are other simulations."""
    bodies = simulate(train + test, seed, particles, steps)
    samples = np.concatenate([bodies.positions, bodies.velocities, bodies.charges[..., None]], -1)
    part = np.where(np.arange(train + test) < train, "train", "test")
    store = Array(samples, f"simulations of {particles} charged particles, {steps:,} steps ahead (seed {seed})")
    return Data(store, as_stored, "points", {"split": part, "later": bodies.later}, channels=CHANNELS, bits=0, form={"samples": "systems"})


def as_stored(raw: np.ndarray, pixels: int = 0, channels: int = 0, bits: int = 0) -> Float[np.ndarray, "particles 7"]:
    """A system is never thinned."""
    return raw


def as_they_are(samples: View, counter: Counter) -> dict[str, View]:
    """The policy that changes nothing: systems keep their units, unlike clouds, whose views lie in the unit ball."""
    return {"v": samples}


def taken_apart(
    x: Float[Tensor, "batch particles 7"],
) -> tuple[Float[Tensor, "batch particles 3"], Float[Tensor, "batch particles 3"], Float[Tensor, "batch particles"]]:
    """Positions, velocities and charges of a batch of samples."""
    return x[..., :3], x[..., 3:6], x[..., 6]
