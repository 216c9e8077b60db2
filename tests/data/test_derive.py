"""Work done once on a whole set, its cache, exact duplicates, and splits that respect them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manyviews.data import images
from manyviews.data.arrays import Array
from manyviews.data.dataset import Data
from manyviews.data.derive import cached, derive, duplicates
from manyviews.data.opening import open_data
from manyviews.data.splits import split
from manyviews.errors import InputError


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("MANYVIEWS_CACHE", str(folder))
    return folder


def pictures(numbers: list[int], labels: list[int] | None = None, **columns: np.ndarray) -> Data:
    """One picture a number; equal numbers are equal pictures."""
    x = np.array([np.random.default_rng(n).integers(0, 256, (6, 6, 3)) for n in numbers]).astype(np.uint8)
    given = columns if labels is None else {**columns, "label": np.array(labels)}
    return Data(Array(x, "made up"), images.decode, columns=given, classes=[str(k) for k in range(max(labels or [0]) + 1)])


# --- derive -----------------------------------------------------------------------------------------------------------------------------------


def test_columns_are_added_and_computed_once() -> None:
    calls = []

    def means(data: Data) -> dict[str, np.ndarray]:
        calls.append(1)
        return {"mean": np.array([data[i].mean() for i in range(len(data))])}

    data = pictures([1, 2, 3], [0, 1, 0])
    first, again = derive(data, "means", means), derive(data, "means", means)
    assert len(calls) == 1
    np.testing.assert_array_equal(first.columns["mean"], again.columns["mean"])
    assert first.batch(np.array([2])).given["mean"].item() == pytest.approx(data[2].mean())
    derive(data, "other", means), derive(pictures([1, 2, 4], [0, 1, 0]), "means", means), derive(data.select(np.array([1])), "means", means)
    assert len(calls) == 4


def test_rows_are_selected_by_mask_or_number() -> None:
    data = pictures([1, 2, 3, 4], [0, 1, 2, 3])
    for which in (np.array([False, True, False, True]), np.array([1, 3])):
        for _ in range(2):  # computed, then from the cache
            assert derive(data, f"odd/{which.dtype}", lambda d, which=which: which).labels.tolist() == [1, 3]  # type: ignore[union-attr]


def test_a_damaged_or_closed_cache_costs_only_time(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cached("k", lambda: {"a": np.arange(3)})["a"].tolist() == [0, 1, 2]
    assert cached("k", lambda: pytest.fail("not cached"))["a"].tolist() == [0, 1, 2]
    for content in (b"", b"junk", next(cache.iterdir()).read_bytes()[:60]):
        next(cache.iterdir()).write_bytes(content)
        assert cached("k", lambda: {"a": np.arange(4)})["a"].tolist() == [0, 1, 2, 3]
    (cache / "file").touch()
    monkeypatch.setenv("MANYVIEWS_CACHE", str(cache / "file"))
    assert cached("k", lambda: {"a": np.arange(5)})["a"].tolist() == [0, 1, 2, 3, 4]


def test_work_that_fails_leaves_nothing_in_the_cache(cache: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        cached("k", lambda: {"a": np.array(1 // 0)})
    with pytest.raises(ValueError, match="Python objects cannot be cached: a"):
        cached("k", lambda: {"a": np.array([{}], dtype=object)})
    assert [*cache.iterdir()] == []


# --- duplicates -------------------------------------------------------------------------------------------------------------------------------


def test_duplicates_point_to_the_first_of_their_kind() -> None:
    numbers = [5, 7, 5, 9, 7, 5]
    assert duplicates(pictures(numbers))["duplicate_of"].tolist() == [numbers.index(n) for n in numbers]


def test_equal_pictures_in_different_files_are_duplicates_and_unreadable_ones_are_not(tmp_path: Path) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    other = picture.copy()
    other.putpixel((39, 39), (1, 2, 3))
    for name, p in (("a.png", picture), ("b.bmp", picture), ("c.tif", other), ("d.png", other), ("e.png", picture.transpose(Image.Transpose.ROTATE_90))):
        p.save(tmp_path / name)
    (tmp_path / "x.png").write_bytes(b"broken")
    (tmp_path / "y.png").write_bytes(b"broken")
    data = open_data([*sorted(tmp_path.glob("*.*")), *[tmp_path / "a.png"] * 20])
    assert duplicates(data.reduced(8))["duplicate_of"].tolist() == [0, 0, 2, 2, 4, 5, 6, *[0] * 20]


# --- splits -----------------------------------------------------------------------------------------------------------------------------------


def rows(data: Data) -> list[int]:
    return [data.row(i) for i in range(len(data))]


def test_a_fifth_of_each_class_is_held_out() -> None:
    labels = [0] * 50 + [1] * 30 + [2] * 5
    train, test = split(pictures([*range(85)], labels), seed=0)
    assert test.labels is not None and np.bincount(test.labels).tolist() == [10, 6, 1]
    assert sorted(rows(train) + rows(test)) == [*range(85)]
    assert test.said == train.said == "20% held out by seed 0, each class in proportion, no exact duplicates" and test.said in test.describe()


def test_the_seed_decides_and_nothing_else() -> None:
    data = pictures([*range(40)], [k % 2 for k in range(40)])
    first = [rows(part) for part in split(data, 1)]
    assert [rows(part) for part in split(pictures([*range(40)], [k % 2 for k in range(40)]), 1)] == first
    assert [rows(part) for part in split(data, 2)] != first


def test_exact_duplicates_stay_on_one_side() -> None:
    numbers = [k // 3 for k in range(60)]
    for seed in range(10):
        train, test = split(pictures(numbers, [n % 2 for n in numbers]), seed)
        assert not {numbers[i] for i in rows(train)} & {numbers[i] for i in rows(test)}
        assert test.labels is not None and np.bincount(test.labels).tolist() == [6, 6]
        assert "40 exact duplicates kept on one side" in test.said


def test_rows_of_one_track_stay_on_one_side_whatever_duplicates_there_are() -> None:
    track = np.repeat([7, 3, 9, 20, 11, 5], 10)
    numbers = [0 if k % 10 == 0 else k for k in range(60)]  # all begin with the same picture
    for seed in range(5):
        train, test = split(pictures(numbers, [k // 30 for k in range(60)], track=track), seed)
        assert not {*train.columns["track"]} & {*test.columns["track"]}
        assert test.labels is not None and np.bincount(test.labels).tolist() == [10, 10], "a track of each class"
        assert test.said == f"33% held out by seed {seed}, each class in proportion, each of 6 tracks on one side"


@pytest.mark.parametrize("nothing", [-1.0, np.nan])
def test_rows_without_a_track_stay_beside_their_duplicates_alone(nothing: float) -> None:
    numbers, track = [k // 2 for k in range(40)], np.where(np.arange(40) < 20, np.arange(40) // 10, nothing)
    for seed in range(10):
        train, test = split(pictures(numbers, track=track), seed)
        for side in (train, test):
            assert all(i ^ 1 in rows(side) for i in rows(side))
        assert len({*rows(test)} & {*range(10)}) in (0, 10) and "each of 2 tracks" in test.said
    train, test = split(pictures([*range(25)], track=np.full(25, nothing)), 0)
    assert (len(train), len(test)) == (20, 5) and "track" not in test.said, "no row has one"


def test_tracks_may_have_names_and_too_few_of_them_are_said() -> None:
    train, test = split(pictures([*range(20)], track=np.repeat(["b", "a"], 10)), 0)
    assert {*train.columns["track"]} & {*test.columns["track"]} == set() and len(test) == 10
    with pytest.raises(InputError, match=r"\(20 \+ 0\); more samples of more tracks are needed"):
        split(pictures([*range(20)], [k // 10 for k in range(20)], track=np.arange(20) // 10), 0)


def test_a_duplicate_under_another_label_stays_with_the_first() -> None:
    train, test = split(pictures([0, 0, *range(1, 19)], [0, 1, *[k % 2 for k in range(18)]]), 3)
    assert {0, 1} <= set(rows(train)) or {0, 1} <= set(rows(test))


def test_without_labels_a_fifth_is_held_out() -> None:
    train, test = split(pictures([*range(25)]), 0)
    assert (len(train), len(test)) == (20, 5) and "class" not in test.said


def test_a_class_of_one_sample_is_trained_on() -> None:
    train, test = split(pictures([*range(11)], [0] * 5 + [1] * 5 + [2]), 0)
    assert 10 in rows(train) and len(test) == 2


def test_the_datas_own_split_is_honoured_and_validation_stands_in_for_test() -> None:
    def own(*names: str) -> Data:
        return pictures([*range(len(names))], [k % 2 for k in range(len(names))], split=np.array(names, dtype=object))

    train, test = split(own("test", "train", "validation", "train", "test"), 0)
    assert (rows(train), rows(test)) == ([1, 3], [0, 4]) and test.said == "split as the data says: 2 train, 2 test"
    train, test = split(own("train", "validation", "train"), 0)
    assert (rows(train), rows(test)) == ([0, 2], [1]) and "1 validation" in test.said
    train, test = split(own(*["train"] * 10), 0)  # nothing to test on: a fifth is held out
    assert len(test) == 2


def test_rows_of_unknown_class_are_left_out() -> None:
    train, test = split(pictures([*range(12)], [0] * 5 + [1] * 5 + [-1, -1]), 0)
    assert sorted(rows(train) + rows(test)) == [*range(10)]


def test_labels_of_one_class_are_refused_where_a_classifier_needs_two(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", x=np.zeros((5, 4, 4), np.uint8), y=np.full(5, 3))
    data = open_data(tmp_path / "one.npz")
    assert list(data.classes) == ["3"]
    with pytest.raises(InputError, match="only the class '3'; a classifier needs two classes or more: give each class a folder"):
        split(data, 0)


def test_too_few_rows_to_split_are_refused() -> None:
    with pytest.raises(InputError, match=r"cannot be split .* \(1 \+ 0\); more samples are needed"):
        split(pictures([1]), 0)
    with pytest.raises(InputError, match="more samples"):
        split(pictures([1, 2], [0, 1]), 0)


def test_the_built_in_set_is_split_as_it_says() -> None:
    train, test = split(open_data("builtin"), 0)
    assert (len(train), len(test)) == (3840, 960)
