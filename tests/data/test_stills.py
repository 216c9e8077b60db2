"""Pictures from films: which moments become rows, which clip each is of, how little is read for it, and what bad clips do."""

from pathlib import Path

import numpy as np
import pytest
from test_video import decoded, even, film, folder_of, number  # noqa: F401

from manyviews.data import stills as module
from manyviews.data import video
from manyviews.data.dataset import Data, Unreadable
from manyviews.data.opening import open_data
from manyviews.data.splits import split
from manyviews.data.stills import stills
from manyviews.data.video import RATE, open_video
from manyviews.errors import InputError


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYVIEWS_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Films of 2 and of 1.4 seconds, with 25 frames a second, that show the frames' numbers."""
    film(tmp_path / "clips/run/1.mp4", even(50))
    film(tmp_path / "clips/jump/2.mkv", even(35))
    return tmp_path / "clips"


def numbers(data: Data) -> list[int]:
    return [number(data[i]) for i in range(len(data))]


def times(data: Data) -> list[float]:
    return data.columns["time"].astype(float).round(4).tolist()


# --- which pictures -------------------------------------------------------------------------------------------------------------------------


def test_a_folder_of_clips_read_as_pictures_has_a_row_for_every_half_second_with_its_track_and_time(clips: Path) -> None:
    data = open_data(f"{clips}?pictures=yes")
    assert data.modality == "images" and data[0].shape == (32, 32, 3) and data[0].dtype == np.uint8
    assert data.columns["track"].tolist() == [0, 0, 1, 1, 1, 1] and times(data) == [0.25, 0.75, 0.25, 0.75, 1.25, 1.75]
    assert numbers(data) == [6, 18, 6, 18, 31, 43], "what is on screen in the middle of each half second"
    assert [data.name(i) for i in (0, 5)] == ["jump/2.mkv at 0.250 s", "run/1.mp4 at 1.750 s"]
    assert data.describe() == f"6 images from 2 clips, 0.5 s apart, folder {clips}"
    assert data.batch(np.array([1, 4])).given["track"].tolist() == [0, 1]


def test_pictures_are_as_far_apart_as_is_said_but_no_frame_comes_twice(clips: Path) -> None:
    assert times(open_data(f"{clips}/run?pictures=yes&every=1")) == [0.5, 1.5]
    assert numbers(open_data(f"{clips}/run?pictures=yes&every=0.001")) == list(range(50))
    whole = open_data(f"{clips}?every=60&pictures=yes")
    assert times(whole) == [0.7, 1.0] and whole.columns["track"].tolist() == [0, 1], "of a shorter clip its middle"


def test_folders_of_frames_are_clips_too_whether_or_not_it_is_said_that_they_are_video(tmp_path: Path) -> None:
    for clip, count in (("seq1", 30), ("seq2", 3)):
        folder_of(tmp_path / clip, range(1, count + 1), "{:04d}.png")
    folder_of(tmp_path / "labels/seq1", range(1, 31), "{:04d}.png")
    for modality in (None, "images", "video"):
        data = open_data(f"{tmp_path}?pictures=yes&every=0.4", modality)
        assert data.columns["track"].tolist() == [0, 0, 0, 1] and data.labels is None
        assert numbers(data) == [6, 16, 26, 2] and times(data) == [0.2, 0.6, 1.0, 0.06]
    assert numbers(open_data(f"{tmp_path}/seq2?pictures=yes&every={1 / RATE}")) == [1, 2, 3]
    assert "track" not in open_data(tmp_path).columns, "as they were where nothing is said"


def test_what_is_known_of_a_clip_is_known_of_its_pictures(tmp_path: Path) -> None:
    for name in ("train/run/1", "train/jump/2", "test/run/3", "test/jump/4"):
        film(tmp_path / f"{name}.mp4", even(26))
    data = open_data(f"{tmp_path}?pictures=yes")
    assert list(data.classes) == ["jump", "run"] and data.labels is not None
    assert sorted(zip(data.columns["split"], data.labels, strict=True)) == sorted([(s, k) for s in ("train", "test") for k in (0, 1)] * 2)
    (tmp_path / "list.csv").write_text("path,label,camera\ntrain/run/1.mp4,run,2\ntest/jump/4.mp4,jump,5\ntrain/jump/2.mp4,jump,5\ntest/run/3.mp4,run,2\n")
    data = open_data(f"{tmp_path}/list.csv?pictures=yes", "video")
    assert data.columns["camera"].tolist() == [2, 2, 5, 5, 5, 5, 2, 2] and data.columns["track"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    (tmp_path / "own.csv").write_text("path,track\ntrain/run/1.mp4,7\ntest/jump/4.mp4,7\n")
    assert open_data(f"{tmp_path}/own.csv?pictures=yes", "video").columns["track"].tolist() == [7] * 4, "two films of one thing"


def test_arrays_of_videos_and_selections_of_clips_give_pictures(tmp_path: Path, clips: Path) -> None:
    x = np.arange(2 * 20 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 20, 4, 4, 3)
    np.save(tmp_path / "many.npy", x)
    data = open_data(f"{tmp_path}/many.npy?pictures=yes&every=0.4", "video")
    assert data.columns["track"].tolist() == [0, 0, 1, 1]
    np.testing.assert_array_equal(data[3], x[1, 15])
    chosen = stills(open_video(clips).select(np.array([1])))
    assert numbers(chosen) == [6, 18, 31, 43] and chosen.name(0) == "run/1.mp4 at 0.250 s"


def test_pictures_of_one_clip_are_all_for_training_or_all_for_testing(tmp_path: Path) -> None:
    for k in range(6):
        film(tmp_path / f"{'ab'[k % 2]}/{k}.mp4", even(50))
    train, test = split(open_data(f"{tmp_path}?pictures=yes"), 0)
    assert not {*train.columns["track"]} & {*test.columns["track"]} and len(test) == 8


# --- how much is read -----------------------------------------------------------------------------------------------------------------------


def test_counting_decodes_a_frame_of_each_clip_and_is_not_done_again_while_files_stay(
    clips: Path,
    decoded: list[int],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    films = open_video(clips)
    decoded.clear()
    first = stills(films)
    assert len(decoded) == 2
    assert stills(films).fingerprint() == first.fingerprint() and len(decoded) == 2
    film(clips / "run/1.mp4", even(60))
    assert len(stills(films)) == len(first) and len(stills(films, 0.4)) == 3 + 6 and len(decoded) == 4
    monkeypatch.setattr(module, "cached", lambda key, work: work())
    assert stills(films).fingerprint() == first.fingerprint()


def test_a_late_picture_is_jumped_to(tmp_path: Path, decoded: list[int]) -> None:  # noqa: F811
    film(tmp_path / "x.mp4", even(500), {"g": "25"})
    data = open_data(f"{tmp_path}?pictures=yes&every=1")
    decoded.clear()
    assert number(data[18]) == 18 * 25 + 12 and len(decoded) < 40
    assert [number(data[i]) for i in (3, 19, 0)] == [3 * 25 + 12, 19 * 25 + 12, 12], "in any order"


def test_the_fingerprint_changes_with_the_distance_and_the_clips(clips: Path) -> None:
    made = [open_data(f"{clips}?pictures=yes&every={every}").fingerprint() for every in (0.5, 0.5, 0.4)]
    film(clips / "run/3.mp4", even(10))
    assert made[0] == made[1] and len({*made, open_data(f"{clips}?pictures=yes").fingerprint()}) == 3


def test_pictures_are_reduced_and_brought_to_the_channels_that_are_asked(tmp_path: Path) -> None:
    film(tmp_path / "x.mp4", even(30), side=64)
    data = open_data(f"{tmp_path}?pictures=yes")
    assert data.reduced(20).in_channels(1)[0].shape == (21, 21, 1) and number(data.reduced(32)[0]) == 6


# --- what is bad ----------------------------------------------------------------------------------------------------------------------------


def test_clips_that_cannot_be_read_are_one_unreadable_row_each(tmp_path: Path) -> None:
    for k in range(9):
        film(tmp_path / f"{k}.avi", even(50))
    raw = (tmp_path / "8.avi").read_bytes()
    (tmp_path / "8.avi").write_bytes(raw[: raw.index(b"movi") + 4])  # says that it lasts 2 seconds, and has no frame
    (tmp_path / "9.mp4").write_bytes(b"no film")
    data = open_data(f"{tmp_path}?pictures=yes")
    assert len(data) == 8 * 4 + 2 and data.columns["track"].tolist()[-3:] == [7, 8, 9] and times(data)[-2:] == [0, 0]
    for row, reason in ((32, "no frames"), (33, "Invalid data")):
        with pytest.raises(Unreadable, match=reason):
            data[row]
    assert len(data.batch(np.arange(34))) == 32 and {*data.bad} == {32, 33}


def test_an_empty_folder_in_a_list_of_clips_is_an_unreadable_row(tmp_path: Path) -> None:
    folder_of(tmp_path / "full", range(25))
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.csv").write_text("path,track\nfull,1\nempty,2\nmissing,3\n")
    data = open_data(f"{tmp_path}/list.csv?pictures=yes", "video")
    assert data.columns["track"].tolist() == [1, 1, 2, 3]
    for row, reason in ((2, "no frames"), (3, "No such file")):
        with pytest.raises(Unreadable, match=reason):
            data[row]


def test_a_film_that_breaks_off_has_the_pictures_up_to_there(tmp_path: Path) -> None:
    whole = film(tmp_path / "x.mkv", even(200), {"g": "25"})
    whole.write_bytes(whole.read_bytes()[: int(0.7 * whole.stat().st_size)])
    data = open_data(f"{tmp_path}?pictures=yes")
    assert len(data) == 16
    readable = data.batch(np.arange(16)).index.tolist() if data.max_bad >= 1 else [i for i in range(16) if data._read([i])[0] is not None]
    assert readable == list(range(len(readable))) and 8 <= len(readable) < 16
    assert all(why.startswith("it can be read up to") for why in data.bad.values())


def test_a_length_that_cannot_be_is_not_believed(clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    films = open_video(clips)
    monkeypatch.setattr(module, "cached", lambda key, work: work())
    for seconds in (1e12, float("nan"), -3.0):
        monkeypatch.setattr(video.Film, "length", lambda self, seconds=seconds: seconds)
        assert len(stills(films)) == 2


def test_what_cannot_be_meant_says_what_can(clips: Path, tmp_path: Path) -> None:
    for said, expected in (
        ("pictures=yes&every=0", "every=0: .*above 0"),
        ("pictures=yes&every=-1", "every=-1: .*above 0"),
        ("pictures=yes&every=nan", "every=nan: .*above 0"),
        ("pictures=yes&every=often", "every=often.*expected a number"),
        ("pictures=maybe", "pictures=maybe.*expected yes or no"),
        ("every=2", "pictures=yes&every=2"),
        ("pictures=yes&frames=8&span=2", "frames and span of clips"),
        ("picture=yes", r"one of frames, span, pictures, every; did you mean pictures\?"),
    ):
        with pytest.raises(InputError, match=expected):
            open_data(f"{clips}?{said}")
    folder_of(tmp_path / "photos/a", range(3))
    with pytest.raises(InputError, match=r"one of pictures, every, void, background, instances; did you mean every\?"):
        open_data(f"{tmp_path}/photos?evry=2")
    with pytest.raises(InputError, match="pictures=yes&every=2"):
        open_data(f"{tmp_path}/photos?every=2")
    assert len(open_data(f"{tmp_path}/photos?pictures=no")) == 3 and open_data(f"{clips}?pictures=no").modality == "video"
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="has no videos"):
        open_data(f"{tmp_path}/none?pictures=yes")
    (tmp_path / "bad.mp4").write_bytes(b"no film")
    with pytest.raises(InputError, match="none of the first videos"):
        open_data(f"{tmp_path}/bad.mp4?pictures=yes")
