"""The built-in clouds: the same everywhere, what their kinds are, and that they cannot be told by simple numbers alone."""

import time

import numpy as np
import pytest

from manyviews.data import builtin_points as built
from manyviews.data.builtin_points import builtin_points


def test_there_are_1600_and_400_clouds_of_20_kinds_with_normals() -> None:
    data = builtin_points()
    assert len(data) == 2000 and len(data.classes) == 20 and data.labels is not None
    assert np.bincount(data.labels).tolist() == [100] * 20
    for kind in range(20):
        assert (data.columns["split"][data.labels == kind] == "train").sum() == 80
    cloud = data[123]
    assert cloud.shape == (1024, 6) and cloud.dtype == np.float32 and "the built-in set of points" in data.describe()
    assert np.allclose(np.linalg.norm(cloud[:, 3:], axis=1), 1, atol=1e-5) and np.isclose(np.linalg.norm(cloud[:, :3], axis=1).max(), 1, atol=1e-5)
    assert data.reduced(100).in_channels(3)[123].shape == (100, 3)


def test_every_cloud_is_as_it_ever_was() -> None:
    clouds, _, _ = built.every()
    assert np.isfinite(clouds).all() and np.array_equal(built.cloud(3, 50), clouds[350])
    assert np.allclose(clouds[350, :2], [[-0.321, -0.170, 0.252, -0.822, 0.074, 0.565], [0.284, 0.430, -0.081, 0.028, 0.630, 0.776]], atol=2e-3)
    means = [0.386, 0.380, 0.403, 0.395, 0.400, 0.388, 0.406, 0.385, 0.387, 0.413, 0.399, 0.364, 0.422, 0.386, 0.383, 0.367, 0.344, 0.343, 0.342, 0.371]
    assert np.allclose(np.abs(clouds[::100]).mean((1, 2)), means, atol=2e-3)


def test_no_two_clouds_are_alike() -> None:
    clouds, _, _ = built.every()
    assert len({cloud.tobytes() for cloud in clouds}) == len(clouds)


@pytest.mark.parametrize("kind", range(len(built.KINDS)))
def test_a_kind_is_a_surface_of_moderate_size(kind: int) -> None:
    for seed in range(5):
        triangles = built.KINDS[kind](np.random.default_rng(seed))
        area = np.linalg.norm(np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]), axis=1).sum() / 2
        extent = np.ptp(triangles.reshape(-1, 3), axis=0)
        assert np.isfinite(triangles).all() and 0.5 < area < 40 and (extent > 0.1).all() and (extent < 4).all()


def test_a_knot_a_ring_and_a_spring_are_round_tubes() -> None:
    triangles = built.ring(np.random.default_rng(0))
    corners = triangles.reshape(-1, 3)
    radius = np.hypot(np.hypot(corners[:, 0], corners[:, 1]) - 1, corners[:, 2])
    assert np.allclose(radius, radius[0], rtol=0.05)
    for kind in (built.knot, built.spring):
        edges = np.linalg.norm(np.diff(kind(np.random.default_rng(0)), axis=1), axis=2)
        assert edges.max() < 0.5  # no twist tears the tube


def test_numbers_that_no_rotation_changes_do_not_tell_the_kinds() -> None:
    clouds, labels, splits = built.every()
    where = clouds[:, :, :3].astype(np.float64)
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 1024, (2, 1000))
    pairs = np.sort(np.linalg.norm(where[:, a] - where[:, b], axis=2), 1)
    features = {
        "as they are": where[:, :256].reshape(len(where), -1),
        "distances from the centre": np.sort(np.linalg.norm(where, axis=2), 1),
        "of pairs": pairs,
    }
    train = splits == "train"
    scores = {}
    for name, x in features.items():
        near = ((x[~train] ** 2).sum(1)[:, None] + (x[train] ** 2).sum(1) - 2 * x[~train] @ x[train].T).argmin(1)
        scores[name] = (labels[train][near] == labels[~train]).mean()
    assert scores["as they are"] < 0.25 and max(scores.values()) < 0.6 and scores["of pairs"] > 0.2, scores


def test_it_takes_seconds_to_make() -> None:
    start = time.process_time()
    for number in range(100):
        built.cloud(number % 20, number)
    assert time.process_time() - start < 1  # a twentieth of all
