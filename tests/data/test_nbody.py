"""Charged particles: the law against a slow loop, its symmetries, and the data set."""

import numpy as np
import pytest
import torch

from manyviews.counters import Counter
from manyviews.data.nbody import as_they_are, moved, nbody, simulate, taken_apart
from manyviews.errors import InputError


def slow(x, v, c, steps):
    """One system, as the law is written."""
    x, v = x.copy(), v.copy()
    for _ in range(steps):
        force = np.zeros_like(x)
        for i in range(len(x)):
            for j in range(len(x)):
                if i != j:
                    force[i] += c[i] * c[j] * (x[i] - x[j]) / np.linalg.norm(x[i] - x[j]) ** 3
        for i in range(len(x)):
            v[i] += 0.001 * force[i] * min(1.0, 100.0 / np.linalg.norm(force[i]))
        x += 0.001 * v
    return x, v


def system(n=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((1, n, 3)), rng.standard_normal((1, n, 3)), np.array([[1.0, -1.0, 1.0, -1.0, 1.0][:n]])


def test_particles_move_as_a_slow_loop_says():
    x, v, c = system()
    found, speed = moved(x, v, c, 60)
    expected = slow(x[0], v[0], c[0], 60)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-10)
    np.testing.assert_allclose(speed[0], expected[1], rtol=1e-10)


def test_two_opposite_charges_at_rest_approach_each_other_and_equal_ones_part():
    x, v = np.array([[[0.0, 0, 0], [1, 0, 0]]]), np.zeros((1, 2, 3))
    assert np.ptp(moved(x, v, np.array([[1.0, -1.0]]), 100)[0][0, :, 0]) < 1
    assert np.ptp(moved(x, v, np.array([[1.0, 1.0]]), 100)[0][0, :, 0]) > 1


def test_momentum_is_kept_where_no_force_is_cut():
    x, v, c = system()
    _, speed = moved(3 * x, v, c, 200)
    np.testing.assert_allclose(speed.sum(1), v.sum(1), atol=1e-10)


def test_the_law_is_the_same_in_every_frame_also_where_forces_are_cut():
    x, v, c = system()
    x *= 0.05  # forces of some hundreds
    turn, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))
    shift = np.array([1.0, 2, 3])
    there, _ = moved(x @ turn.T + shift, v @ turn.T, c, 50)
    here, _ = moved(x, v, c, 50)
    np.testing.assert_allclose(there, here @ turn.T + shift + 0.0, atol=1e-6)


def test_a_seed_decides_all_and_fewer_systems_are_the_first_of_more():
    a, b, other = simulate(6, 0, steps=20, unseen=30), simulate(3, 0, steps=20, unseen=30), simulate(3, 1, steps=20, unseen=30)
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x[:3], y)
    assert not np.allclose(b.positions, other.positions)
    assert a.positions.dtype == np.float32 and set(np.unique(a.charges)) <= {-1.0, 1.0}


def test_what_is_seen_moves_to_what_is_asked():
    bodies = simulate(4, 0, steps=40, unseen=10)
    later, _ = moved(bodies.positions, bodies.velocities, bodies.charges, 40)
    np.testing.assert_allclose(later, bodies.later, atol=1e-3)


def test_what_cannot_be_simulated_is_said_all_at_once():
    with pytest.raises(InputError) as error:
        simulate(0, 0, particles=1, steps=0)
    assert len(error.value.problems) == 3


def test_systems_are_a_data_set_of_clouds_with_what_is_asked():
    data = nbody(6, 4, steps=20)
    view = data.batch(np.array([1, 7]))
    assert view.x.shape == (2, 5, 7) and view.given["later"].shape == (2, 5, 3)
    assert list(data.columns["split"]) == ["train"] * 6 + ["test"] * 4
    x, v, c = taken_apart(view.x)
    assert x.shape == v.shape == (2, 5, 3) and torch.equal(c.abs(), torch.ones(2, 5))
    assert as_they_are(view, Counter(0, 0))["v"] is view
    assert "10 systems" in data.describe() and "6 train" in data.describe()
    assert data.fingerprint() != nbody(6, 4, seed=1, steps=20).fingerprint()
