"""Video: which frames a clip has and when they are on screen, what little is decoded for it, and what damaged files say."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manyviews.data import video
from manyviews.data.dataset import Data, Unreadable
from manyviews.data.video import Clip, decode, facts, looks_like_video, open_video, read
from manyviews.errors import InputError

av = pytest.importorskip("av")

SIDE = 32
CODECS = {".mp4": "libx264", ".mkv": "libx264", ".webm": "libvpx", ".avi": "mpeg4", ".mov": "mjpeg", ".flv": "libx264", ".gif": "gif"}


def numbered(n: int, side: int = SIDE) -> np.ndarray:
    """A picture that shows n in squares: twelve bits, four in a row."""
    bits = np.array([n >> b & 1 for b in range(12)] + [0] * 4, dtype=np.uint8).reshape(4, 4)
    return np.kron(255 * bits, np.ones((side // 4, side // 4), np.uint8))[:, :, None].repeat(3, 2)


def number(picture: np.ndarray) -> int:
    side = picture.shape[0] // 4
    bright = (
        picture[: 4 * side, : 4 * side, 0].reshape(4, side, 4, side)[:, side // 4 : -(side // 4) or None, :, side // 4 : -(side // 4) or None].mean((1, 3))
        > 128
    )
    return int((bright.ravel()[:12] << np.arange(12)).sum())


def film(
    path: Path, times: Sequence[float], options: dict[str, str] | None = None, container: dict[str, str] | None = None, side: int = SIDE, turn: int = 0
) -> Path:
    """A file whose frame n shows n from times[n] on, in seconds."""
    unit = Fraction(1, 25) if path.suffix in (".avi", ".gif") else Fraction(1, 1000)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options=container or {}) as out:
        stream = out.add_stream(CODECS[path.suffix], rate=25, options=options or {})
        stream.width = stream.height = side
        stream.pix_fmt = {".mov": "yuvj420p", ".gif": "rgb8"}.get(path.suffix, "yuv420p")
        stream.codec_context.time_base = unit
        if turn:
            stream.set_display_rotation(turn)
        for n, t in enumerate(times):
            frame = av.VideoFrame.from_ndarray(numbered(n, side), format="rgb24")
            frame.pts, frame.time_base = round(t / unit), unit
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return path


def even(count: int) -> list[float]:
    return [n / 25 for n in range(count)]


def shown(clip: Clip) -> list[int]:
    return [number(picture) for picture in read(clip)[0]]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The frames that were decoded, as they are."""
    seen: list[int] = []
    plain = video.Film.decoded

    def counted(self: video.Film):  # type: ignore[no-untyped-def]
        for frame in plain(self):
            seen.append(frame.pts)
            yield frame

    monkeypatch.setattr(video.Film, "decoded", counted)
    return seen


# --- which frames ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".webm", ".avi", ".mov", ".gif"])
def test_a_clip_has_the_middles_of_equal_parts_and_their_times(tmp_path: Path, ending: str) -> None:
    path = film(tmp_path / f"x{ending}", even(100))
    assert facts(path) == pytest.approx((4.0, 25.0), rel=0.01)
    for frames in (1, 3, 16, 100):
        expected = [int((i + 0.5) * 100 / frames) for i in range(frames)]
        pictures, times = read(Clip(path, frames))
        assert pictures.dtype == np.uint8 and pictures.shape == (frames, SIDE, SIDE, 3)
        assert [number(p) for p in pictures] == expected
        np.testing.assert_allclose(times, np.array(expected) / 25, atol=6e-4)
    assert shown(Clip(path, 5, span=0.2)) == [48, 49, 50, 51, 52]  # in the middle
    assert shown(Clip(path).at(2.0, frames=6, stride=2 / 25)) == [50, 52, 54, 56, 58, 60]
    assert shown(Clip(path).at(0.0, frames=3, stride=1 / 25)) == [0, 1, 2]
    assert shown(Clip(path, 200))[::2] == list(range(100))


def test_frames_of_unequal_length_count_for_as_long_as_they_are_on_screen(tmp_path: Path) -> None:
    lengths = np.random.default_rng(0).choice([0.02, 0.04, 0.1, 0.5], 60)
    times = np.concatenate([[0], np.cumsum(lengths)[:-1]]).round(3)
    for ending in (".mp4", ".mkv"):
        path = film(tmp_path / f"x{ending}", times.tolist(), {"g": "12"})
        for clip in (Clip(path, 40, span=4.0), Clip(path, 50, span=5.0, start=1.0)):
            moments = clip.moments(facts(path)[0])
            expected = np.searchsorted(times, moments + 5e-4, side="right") - 1
            pictures, found = read(clip)
            assert [number(p) for p in pictures] == expected.tolist()
            np.testing.assert_allclose(found, times[expected], atol=1e-3)


@pytest.mark.parametrize("options", [{"g": "10", "bf": "3"}, {"g": "30", "bf": "2", "x264-params": "open-gop=1"}, {"g": "250"}, {"g": "1"}])
def test_jumps_land_on_the_right_frame_whatever_the_keyframes_are(tmp_path: Path, options: dict[str, str]) -> None:
    rng = np.random.default_rng(0)
    for ending in (".mp4", ".mkv"):
        path = film(tmp_path / f"x{ending}", even(120), options)
        for _ in range(12):
            start, stride = int(rng.integers(0, 100)), int(rng.integers(1, 6))
            expected = list(range(start, 120, stride))[:4]
            assert shown(Clip(path).at(start / 25, len(expected), stride / 25)) == expected


def test_films_that_begin_late_count_from_their_first_frame(tmp_path: Path) -> None:
    path = film(tmp_path / "x.mkv", [3 + t for t in even(50)])
    assert facts(path)[0] == pytest.approx(2.0, abs=0.05)
    assert shown(Clip(path, 50)) == list(range(50))
    assert read(Clip(path, 1).at(1.0, 1, 0.04))[1][0] == pytest.approx(1.0, abs=1e-3)


def test_a_clip_that_runs_over_the_end_stays_on_the_last_frame_and_one_beyond_it_is_unreadable(tmp_path: Path) -> None:
    path = film(tmp_path / "x.mp4", even(50))
    assert shown(Clip(path).at(1.84, frames=6, stride=0.04)) == [46, 47, 48, 49, 49, 49]
    with pytest.raises(Unreadable, match=r"can be read up to 2\.00 s, of 2\.14 s asked for"):
        read(Clip(path).at(1.94, frames=6, stride=0.04))
    with pytest.raises(Unreadable, match="asked for"):
        read(Clip(path).at(9.0, frames=2, stride=0.04))


def test_two_clips_at_an_interval_come_from_one_handle(tmp_path: Path) -> None:
    film(tmp_path / "x.mp4", even(100))
    clip = open_video(tmp_path, frames=4).store.raw(0)
    seconds, rate = facts(clip)
    v, w = (decode(clip.at(start, 4, 1 / rate), pixels=16) for start in (0.4, 0.4 + seconds / 2))
    assert [number(p) for p in v] == [10, 11, 12, 13] and [number(p) for p in w] == [60, 61, 62, 63]
    assert v.shape == (4, 16, 16, 3)


# --- how much is decoded, and how large -----------------------------------------------------------------------------------------------------


def test_of_a_long_film_only_what_lies_between_keyframes_and_wanted_frames_is_decoded(tmp_path: Path, decoded: list[int]) -> None:
    for ending in (".mp4", ".mkv"):
        path = film(tmp_path / f"x{ending}", even(1000), {"g": "10", "bf": "0"})
        decoded.clear()
        assert shown(Clip(path, 8)) == [62, 187, 312, 437, 562, 687, 812, 937]
        assert len(decoded) < 8 * 14
        decoded.clear()
        assert shown(Clip(path).at(30.0, 4, 0.04)) == [750, 751, 752, 753]
        assert len(decoded) < 30


def test_without_an_index_too_what_is_far_is_jumped_to(tmp_path: Path, decoded: list[int]) -> None:
    flv = film(tmp_path / "x.flv", even(1500), {"g": "25", "bf": "0"})
    mkv = film(tmp_path / "x.mkv", even(1500), {"g": "25", "bf": "0"})
    mkv.write_bytes(mkv.read_bytes()[: int(mkv.stat().st_size * 0.95)])  # its index comes last
    for path in (flv, mkv):
        decoded.clear()
        assert shown(Clip(path).at(50.0, 3, 0.04)) == [1250, 1251, 1252]
        assert len(decoded) < 200


def test_where_there_is_one_keyframe_only_nothing_is_decoded_twice(tmp_path: Path, decoded: list[int]) -> None:
    for ending in (".mp4", ".mkv", ".flv"):
        path = film(tmp_path / f"x{ending}", even(800), {"g": "1000", "bf": "0", "sc_threshold": "0"})
        decoded.clear()
        assert shown(Clip(path, 4)) == [100, 300, 500, 700] or ending == ".flv"
        assert len(decoded) < (2.2 if ending == ".flv" else 1.1) * 800


def test_a_film_that_does_not_say_how_long_it_is_is_measured(tmp_path: Path) -> None:
    path = film(tmp_path / "x.mkv", even(60), container={"live": "1"})
    assert facts(path)[0] == pytest.approx(2.4, abs=0.05)
    assert shown(Clip(path, 60)) == list(range(60))


@pytest.mark.parametrize(("pixels", "side"), [(0, 64), (64, 64), (33, 64), (32, 32), (20, 21), (100, 64)])
def test_frames_are_reduced_by_a_whole_factor_and_never_below_what_is_asked(tmp_path: Path, pixels: int, side: int) -> None:
    path = film(tmp_path / "x.mp4", even(4), {"crf": "1"}, side=64)
    out = decode(Clip(path, 2), pixels)
    assert out.shape == (2, side, side, 3)
    if side in (32, 64):
        whole = np.stack([numbered(n, 64) for n in (1, 3)]).astype(float)
        factor = 64 // side
        means = whole.reshape(2, side, factor, side, factor, 3).mean((2, 4))
        assert np.abs(out - means).mean() < 8
    assert decode(Clip(path, 2), pixels, channels=1).shape == (2, side, side, 1)


def test_rotation_noted_by_the_camera_is_applied(tmp_path: Path) -> None:
    upright = read(Clip(film(tmp_path / "0.mp4", even(3)), 1))[0][0].astype(int)
    for turn in (90, 180, -90):
        turned = read(Clip(film(tmp_path / f"{turn}.mp4", even(3), turn=turn), 1))[0][0]
        assert np.abs(turned - np.rot90(upright, turn // 90)).mean() < 2


# --- damage ---------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".avi"])
def test_of_a_film_that_breaks_off_what_there_is_is_used_if_it_is_enough(tmp_path: Path, ending: str) -> None:
    path = film(tmp_path / f"x{ending}", even(200), {"g": "10"}, {"movflags": "faststart"} if ending == ".mp4" else {})
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * 0.8)])
    numbers = shown(Clip(path, 10))
    last = numbers[-1]
    assert 100 < last < 190 and np.ptp(np.diff(numbers)) <= 1 and numbers[0] <= 10  # evenly over what there is
    path.write_bytes(raw[: int(len(raw) * 0.45)])
    with pytest.raises(Unreadable, match="can be read up to"):
        read(Clip(path, 10))


@pytest.mark.parametrize("ending", [".mp4", ".avi"])
def test_damage_in_the_middle_is_passed_over(tmp_path: Path, ending: str) -> None:
    path = film(tmp_path / f"x{ending}", even(100), {"g": "10"})
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 200] = bytes(200)
    path.write_bytes(raw)
    numbers = shown(Clip(path, 20))
    assert len(numbers) == 20 and sum(n == int((i + 0.5) * 5) for i, n in enumerate(numbers)) >= 14 and numbers[-1] == 97


def test_files_that_are_no_film_say_why(tmp_path: Path) -> None:
    cut = film(tmp_path / "cut.mp4", even(20))
    cut.write_bytes(cut.read_bytes()[:-400])  # without its table of contents, which comes last
    (tmp_path / "text.mp4").write_text("no film")
    (tmp_path / "empty.mp4").write_bytes(b"")
    with av.open(str(tmp_path / "sound.mkv"), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate, frame.pts = 8000, 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    for name, reason in (("cut", "Invalid data|End of file"), ("text", "Invalid data"), ("empty", "Invalid data|End of file"), ("none", "No such file")):
        with pytest.raises(Unreadable, match=reason):
            read(Clip(tmp_path / f"{name}.mp4"))
    with pytest.raises(Unreadable, match="no video stream"):
        read(Clip(tmp_path / "sound.mkv"))


def test_a_film_without_frames_says_so(tmp_path: Path) -> None:
    path = film(tmp_path / "x.avi", even(20))
    raw = path.read_bytes()
    path.write_bytes(raw[: raw.index(b"movi") + 4])
    with pytest.raises(Unreadable, match="no frames"):
        read(Clip(path))


def test_one_picture_is_a_film_that_stands_still(tmp_path: Path) -> None:
    assert shown(Clip(film(tmp_path / "x.mp4", [0.0]), 3)) == [0, 0, 0]
    assert shown(Clip(film(tmp_path / "x.gif", [0.0]), 3)) == [0, 0, 0]


# --- folders of frames and arrays -----------------------------------------------------------------------------------------------------------


def folder_of(place: Path, numbers: Sequence[int], name: str = "frame_{}.png") -> Path:
    place.mkdir(parents=True, exist_ok=True)
    for n in numbers:
        Image.fromarray(numbered(n)).save(place / name.format(n))
    return place


def test_folders_of_frames_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    place = folder_of(tmp_path / "x", range(12))
    assert shown(Clip(place, 12)) == list(range(12))
    assert shown(Clip(place, 4)) == [1, 4, 7, 10]
    assert facts(place) == (12 / video.RATE, video.RATE)
    assert shown(Clip(place).at(5 / video.RATE, 3, 2 / video.RATE)) == [5, 7, 9]
    assert decode(Clip(place, 2), 16).shape == (2, 16, 16, 3)


def test_frames_that_cannot_be_read_are_replaced_by_the_ones_before_if_they_are_few(tmp_path: Path) -> None:
    place = folder_of(tmp_path / "x", range(8))
    for n in (0, 5):
        (place / f"frame_{n}.png").write_bytes(b"bad")
    assert shown(Clip(place, 8)) == [1, 1, 2, 3, 4, 4, 6, 7]
    for n in (1, 2, 3):
        (place / f"frame_{n}.png").write_bytes(b"bad")
    with pytest.raises(Unreadable, match="5 of 8 frames cannot be read: not a picture"):
        read(Clip(place, 8))
    Image.new("RGB", (8, 8)).save(folder_of(tmp_path / "y", range(4)) / "frame_2.png")
    with pytest.raises(Unreadable, match="frames of different sizes"):
        read(Clip(tmp_path / "y", 4))
    (tmp_path / "empty").mkdir()
    with pytest.raises(Unreadable, match="no frames"):
        read(Clip(tmp_path / "empty"))


def test_arrays_are_videos(tmp_path: Path) -> None:
    x = np.stack([numbered(n) for n in range(20)])
    assert [number(p) for p in decode(x)] == [int((i + 0.5) * 20 / 16) for i in range(16)]
    assert decode(x[..., 0], channels=1).shape == (16, SIDE, SIDE, 1)
    np.save(tmp_path / "one.npy", x)
    assert open_video(tmp_path / "one.npy", frames=5)[0].shape == (5, SIDE, SIDE, 3)
    np.save(tmp_path / "many.npy", np.stack([x, x[::-1]]))
    data = open_video(tmp_path / "many.npy", frames=4)
    assert len(data) == 2 and [number(p) for p in data[1]] == [17, 12, 7, 2]
    assert video.from_array(np.stack([x[:8], x[:8]]))[0].shape[0] == 8  # not more than there are
    with pytest.raises(InputError, match=r"has the shape \(20, 32, 32, 3\); videos are"):
        video.from_array(x)
    with pytest.raises(Unreadable, match="is not a video"):
        decode(np.zeros((4, 4)))
    (tmp_path / "bad.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match="cannot be read as an array"):
        open_video(tmp_path / "bad.npy")


# --- opening --------------------------------------------------------------------------------------------------------------------------------


def names(data: Data) -> list[str]:
    return [data.name(i) for i in range(len(data))]


def test_class_folders_of_films_give_labels_and_bad_ones_are_quarantined(tmp_path: Path) -> None:
    for name in ("run/1.mp4", "run/2.mkv", "jump/3.avi", "jump/4.mp4"):
        film(tmp_path / name, even(20))
    (tmp_path / "run/5.mp4").write_bytes(b"bad")
    data = open_video(tmp_path, frames=6)
    assert list(data.classes) == ["jump", "run"] and data.labels is not None and data.labels.tolist() == [0, 0, 1, 1, 1]
    assert data.describe() == f"5 videos from folder {tmp_path}, 2 classes" and data.modality == "video" and data.form == {"frames": 6}
    view = data.batch(np.arange(4))
    assert view.x.shape == (4, 6, SIDE, SIDE, 3)
    with pytest.raises(Unreadable):
        data[4]
    assert data.bad[4].startswith("Invalid data")


def test_folders_of_frames_are_videos_named_by_their_folder_and_masks_are_none(tmp_path: Path) -> None:
    for place in ("walk/a", "walk/b", "sit/c", "sit/d"):
        folder_of(tmp_path / "classes" / place, range(4))
    data = open_video(tmp_path / "classes")
    assert sorted(names(data)) == ["sit/c", "sit/d", "walk/a", "walk/b"] and list(data.classes) == ["sit", "walk"]
    for clip in ("camel", "car"):
        folder_of(tmp_path / "davis" / clip / "frames", range(4))
        folder_of(tmp_path / "davis" / clip / "masks", range(4))
    data = open_video(tmp_path / "davis")
    assert sorted(names(data)) == ["camel/frames", "car/frames"] and data.labels is None
    assert names(open_video(tmp_path / "davis/car/frames")) == ["."]
    assert [number(p) for p in open_video(tmp_path / "davis/car/frames", frames=4)[0]] == [0, 1, 2, 3]


def test_lists_and_single_films_are_opened(tmp_path: Path) -> None:
    film(tmp_path / "x.mp4", even(10))
    folder_of(tmp_path / "y", range(4))
    (tmp_path / "list.csv").write_text("path,label\nx.mp4,film\ny,frames\n")
    data = open_video(tmp_path / "list.csv", frames=4)
    assert list(data.classes) == ["film", "frames"] and data[0].shape == data[1].shape
    assert names(open_video(tmp_path / "x.mp4")) == ["x.mp4"]


def test_what_cannot_be_opened_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no videos; looked for, at any depth: \.mp4 .* folders of pictures"):
        open_video(tmp_path)
    (tmp_path / "x.mp4").write_bytes(b"bad")
    with pytest.raises(InputError, match=r"none of the first videos .*\n  x\.mp4: Invalid data"):
        open_video(tmp_path)
    with pytest.raises(InputError, match="frames=0"):
        open_video(tmp_path, frames=0)


def test_a_missing_library_is_named_with_the_way_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    film(tmp_path / "x.mp4", even(4))
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(InputError, match=r"needs PyAV: pip install 'manyviews\[video\]'"):
        open_video(tmp_path)


def test_the_fingerprint_changes_with_the_clip(tmp_path: Path) -> None:
    film(tmp_path / "x.mp4", even(10))
    made = [open_video(tmp_path, **o) for o in ({}, {}, {"frames": 8}, {"span": 0.2})]  # type: ignore[arg-type]
    assert len({data.fingerprint() for data in made}) == 3


def test_what_looks_like_video(tmp_path: Path) -> None:
    folder_of(tmp_path / "frames", range(3))
    film(tmp_path / "films/a/x.mp4", even(2))
    assert looks_like_video(tmp_path / "films") and looks_like_video(tmp_path / "films/a/x.mp4")
    assert not looks_like_video(tmp_path / "frames") and not looks_like_video(tmp_path / "nowhere.png")
