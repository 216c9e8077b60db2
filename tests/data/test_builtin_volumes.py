"""The built-in volumes and films: what is promised of them, and that their class is what the docstring says and nothing else."""

import numpy as np
import pytest

from manyviews.data import builtin_video, builtin_volumes
from manyviews.data.dataset import Data
from manyviews.data.splits import split


@pytest.fixture(scope="module")
def volumes() -> Data:
    return builtin_volumes.builtin_volumes()


@pytest.fixture(scope="module")
def films() -> Data:
    return builtin_video.builtin_video()


def nearest(train: np.ndarray, test: np.ndarray, train_labels: np.ndarray, test_labels: np.ndarray) -> float:
    """Share of test samples whose nearest training sample is of their class."""
    distance = (train**2).sum(1) - 2 * test @ train.T
    return float((train_labels[distance.argmin(1)] == test_labels).mean())


def test_volumes_are_as_promised(volumes: Data) -> None:
    assert volumes.describe() == "1,024 volumes from the built-in volumes, 8 classes, 768 train + 256 test"
    x = volumes[5]
    assert x.shape == (24, 24, 24, 1) and x.dtype == np.float32 and x.min() == 0 and x.max() == 1
    assert volumes.reduced(12)[5].shape == (12, 12, 12, 1) and volumes.in_channels(3)[5].shape == (24, 24, 24, 3)
    train, test = split(volumes, 0)
    assert all((np.bincount(part.labels) == n).all() for part, n in ((train, 96), (test, 32)) if part.labels is not None)


def test_films_are_as_promised(films: Data) -> None:
    assert films.describe() == "800 videos from the built-in video, 8 classes, 640 train + 160 test"
    assert films[5].shape == (16, 32, 32, 3) and films[5].dtype == np.uint8 and films.reduced(16)[5].shape == (16, 16, 16, 3)
    np.testing.assert_array_equal(films[5], films.store.samples[5])  # type: ignore[attr-defined]
    assert films.form == {"frames": 16}


def test_the_same_is_made_every_time(volumes: Data, films: Data) -> None:
    again = builtin_volumes.volumes_of("ring", 128, 24, [builtin_volumes.SEED, 2])
    np.testing.assert_array_equal(again, volumes.store.samples[256:384])  # type: ignore[attr-defined]
    np.testing.assert_array_equal(builtin_video.films_of("level", 100, [builtin_video.SEED, 0]), films.store.samples[:100])  # type: ignore[attr-defined]


def test_no_two_samples_are_the_same(volumes: Data, films: Data) -> None:
    for data in (volumes, films):
        samples = data.store.samples  # type: ignore[attr-defined]
        assert len({a.tobytes() for a in samples}) == len(samples)


def test_rotations_are_rotations() -> None:
    turns = builtin_volumes.rotations(np.random.default_rng(0), 1000)
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.broadcast_to(np.eye(3), turns.shape), atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(turns), 1, atol=1e-5)
    assert np.abs(turns.mean(0)).max() < 0.06  # none is favoured


@pytest.mark.parametrize("kind", builtin_volumes.KINDS)
def test_solids_are_where_their_distance_is_negative(kind: str) -> None:
    axis = np.linspace(-1.2, 1.2, 25, dtype=np.float32)
    p = np.stack(np.meshgrid(axis, axis, axis, indexing="ij")).reshape(3, 1, -1)
    d = builtin_volumes.distance(kind, p, np.full((1, 1), 0.5, np.float32)).reshape(25, 25, 25)
    assert 0.01 < (d < 0).mean() < 0.15
    edges = np.concatenate([d[[0, -1]].ravel(), d[:, [0, -1]].ravel(), d[:, :, [0, -1]].ravel()])
    assert (edges > 0).all()
    assert (d[12, 12, 12] > 0) == (kind in ("shell", "ring", "pair"))


def test_voxels_one_by_one_tell_little_of_the_kind_of_a_volume(volumes: Data) -> None:
    samples, labels = volumes.store.samples.reshape(1024, -1)[:, ::97].astype(np.float64), volumes.labels  # type: ignore[attr-defined]
    train = volumes.columns["split"] == "train"
    assert labels is not None and nearest(samples[train], samples[~train], labels[train], labels[~train]) < 0.45


def test_no_frame_tells_the_motion_and_what_changes_between_frames_does(films: Data) -> None:
    samples, labels = films.store.samples, films.labels  # type: ignore[attr-defined]
    train = films.columns["split"] == "train"
    assert labels is not None
    for frame in (0, 8, 15):
        x = samples[:, frame, ::2, ::2].reshape(800, -1) / 255.0
        assert nearest(x[train], x[~train], labels[train], labels[~train]) < 0.3
    change = np.abs(np.diff(samples.astype(np.float32) / 255, axis=1)).mean(4)
    x = np.concatenate([change.mean(1)[:, ::4, ::4].reshape(800, -1), change.mean((2, 3))], 1).astype(np.float64)
    assert nearest(x[train], x[~train], labels[train], labels[~train]) > 0.5


def test_paths_are_what_their_names_say() -> None:
    def moved(motion: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        place, angle, size = builtin_video.paths(motion, 50, np.random.default_rng(0))
        return np.ptp(place, axis=1), np.ptp(angle, axis=1), size[:, -1] / size[:, 0]

    still = {motion: moved(motion) for motion in builtin_video.MOTIONS}
    assert (still["level"][0] > [0.1, -1]).all() and not still["level"][0][:, 1].any()
    assert not still["upright"][0][:, 0].any()
    np.testing.assert_allclose(still["slanting"][0][:, 0], still["slanting"][0][:, 1], rtol=1e-4)
    for motion, (place, angle, growth) in still.items():
        assert place.any() == (motion in ("level", "upright", "slanting", "circling", "trembling"))
        assert angle.any() == (motion == "turning")
        assert (growth > 1.5).all() == (motion == "growing") and (growth < 0.7).all() == (motion == "shrinking")
