"""Gaussian splats: the published formats, the inverse bit for bit, what bad files do, and what folders say."""

import struct
from pathlib import Path

import numpy as np
import pytest

from manyviews.data import ply, splats
from manyviews.data.dataset import Unreadable
from manyviews.data.splats import decode, looks_like_splats, open_splats, to_channels, usual, write
from manyviews.errors import InputError


def stored(count: int, degree: int = 0, seed: int = 0) -> dict[str, np.ndarray]:
    """What a file holds: logits, logarithms, quaternions of any length, in the order of the authors' code."""
    rng = np.random.default_rng(seed)
    rest = 3 * ((degree + 1) ** 2 - 1)
    names = ["x", "y", "z", "nx", "ny", "nz", *(f"f_dc_{k}" for k in range(3)), *(f"f_rest_{k}" for k in range(rest)), "opacity",
             *(f"scale_{k}" for k in range(3)), *(f"rot_{k}" for k in range(4))]  # fmt: skip
    columns = {name: rng.normal(size=count).astype(np.float32) for name in names}
    for k in range(3):
        columns[f"scale_{k}"] = (3 * columns[f"scale_{k}"] - 4).astype(np.float32)
    columns["opacity"] = (4 * columns["opacity"]).astype(np.float32)
    return columns


def test_a_file_is_activated_as_the_authors_do() -> None:
    columns = stored(30, degree=2)
    found = decode(ply.written(columns))
    assert found.shape == (30, 38) and found.dtype == np.float32
    for k in range(30):
        own = {name: float(column[k]) for name, column in columns.items()}
        q = np.array([own[f"rot_{j}"] for j in range(4)])
        q = q / np.linalg.norm(q) * np.sign(q[0])
        slow = [own["x"], own["y"], own["z"], 1 / (1 + np.exp(-own["opacity"])), *(np.exp(own[f"scale_{j}"]) for j in range(3)), *q]
        slow += [own[f"f_dc_{j}"] for j in range(3)] + [own[f"f_rest_{j}"] for j in range(24)]
        assert np.allclose(found[k], slow, rtol=1e-6)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_what_is_written_is_read_back_bit_for_bit(tmp_path: Path, degree: int) -> None:
    columns = stored(20_000, degree)
    columns["opacity"][:2000] = np.linspace(-120, 120, 2000)  # beyond what float32 can tell from 0 and 1
    columns["scale_0"][:2000] = np.linspace(-120, 79, 2000)
    columns["scale_1"][:20_000] = np.linspace(-1, 1, 20_000)
    columns["opacity"][2000:] = np.linspace(-3, 3, 18_000)
    splats_ = decode(ply.written(columns))
    write(tmp_path / "a.ply", splats_)
    again = decode((tmp_path / "a.ply").read_bytes())
    assert again.tobytes() == splats_.tobytes()
    write(tmp_path / "b.ply", again)
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()


def test_a_written_file_has_the_properties_that_viewers_expect_in_their_order(tmp_path: Path) -> None:
    write(tmp_path / "a.ply", decode(ply.written(stored(5, degree=3))))
    _, elements, _ = ply.header((tmp_path / "a.ply").read_bytes())
    assert [p.name for p in elements[0].properties] == list(stored(1, degree=3)) and {p.type for p in elements[0].properties} == {"f4"}
    with pytest.raises(InputError, match="splats of shape"):
        write(tmp_path / "b.ply", np.zeros((4, 15), np.float32))
    with pytest.raises(InputError, match="must be finite"):
        write(tmp_path / "b.ply", np.full((4, 14), np.nan, np.float32))
    assert not (tmp_path / "b.ply").exists()


def test_quaternions_have_one_sign_and_length_one_and_zeros_mean_no_rotation() -> None:
    q = np.array([[-2.0, 0, 0, 0], [0, -3, 0, 0], [0, 0, 0, 0], [1, -1, 1, -1], [-1, 1, 0, 0]])
    half = 0.5**0.5
    assert np.allclose(splats.unit(q), [[1, 0, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0.5, -0.5, 0.5, -0.5], [half, -half, 0, 0]])


def test_records_of_32_bytes_are_read() -> None:
    raw = struct.pack("<6f8B", 1, 2, 3, 0.1, 0.2, 0.3, 255, 0, 51, 204, 128, 0, 128, 128)
    found = decode(raw + raw)
    colour = (np.array([255, 0, 51]) / 255 - 0.5) / 0.28209479177387814
    assert found.shape == (2, 14) and np.allclose(found[1], [1, 2, 3, 0.8, 0.1, 0.2, 0.3, 0, 1, 0, 0, *colour], atol=1e-6)


def test_harmonics_are_filled_with_zeros_or_cut_colour_by_colour() -> None:
    full = decode(ply.written(stored(7, degree=2)))
    low, high = to_channels(full, 23), to_channels(full, 59)
    rest = full[:, 14:].reshape(7, 3, 8)
    assert np.array_equal(low[:, 14:].reshape(7, 3, 3), rest[:, :, :3]) and np.array_equal(low[:, :14], full[:, :14])
    assert np.array_equal(high[:, 14:].reshape(7, 3, 15)[:, :, :8], rest) and not high[:, 14:].reshape(7, 3, 15)[:, :, 8:].any()
    assert np.array_equal(decode(ply.written(stored(7, degree=2)), channels=14), full[:, :14])
    assert np.array_equal(to_channels(full, 3), full[:, :3])
    with pytest.raises(Unreadable, match="20 columns; splats have 3"):
        to_channels(full, 20)
    assert usual([full, low]) == (38, "1 of 2 looked at have fewer harmonics, filled with zeros") and usual([low]) == (23, "")


def test_splats_that_are_not_finite_are_left_out_and_of_many_the_same_are_kept() -> None:
    columns = stored(500)
    columns["y"][3], columns["scale_1"][4], columns["rot_2"][5], columns["f_dc_0"][6], columns["opacity"][7] = np.nan, 200, np.inf, np.nan, np.nan
    whole = decode(ply.written(columns))
    assert len(whole) == 495 and np.isfinite(whole).all()
    few, more = decode(ply.written(columns), 20), decode(ply.written(columns), 100)
    assert np.array_equal(few, decode(ply.written(columns), 20)) and {r.tobytes() for r in few} < {r.tobytes() for r in more} < {r.tobytes() for r in whole}
    assert np.array_equal(decode(whole, 20), decode(whole, 20)) and len(decode(whole, 20)) == 20


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"", "empty file"),
        (b"x" * 33, "33 bytes, neither a .ply nor whole records of 32"),
        (ply.written({name: np.zeros(2, np.float32) for name in ("x", "y", "z", "opacity")}), "have no scale_0, scale_1"),
        (ply.written({**stored(3), "f_rest_0": np.zeros(3, np.float32)}), "1 numbers f_rest"),
        (ply.written(stored(3))[:-9], "ends after 2 of the 3"),
        (ply.written(stored(0)), "no splats"),
        (ply.written({**stored(3), "x": np.full(3, np.nan, np.float32)}), "none of its 3 splats"),
        (struct.pack("<6f8B", np.nan, *[1] * 13), "none of its 1 splats"),
        (struct.pack("<6f8B", 1, 1, 1, -1, *[1] * 10), "none of its 1 splats"),
    ],
)
def test_bad_files_are_unreadable_with_the_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        decode(raw)
    with pytest.raises(Unreadable, match="splats have 14"):
        decode(np.zeros((4, 15), np.float32))


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def test_of_a_run_the_last_iteration_is_taken_and_not_its_first_points(tmp_path: Path) -> None:
    for scene in ("garden", "room"):
        for n in (7000, 30000):
            put(tmp_path / scene / f"point_cloud/iteration_{n}/point_cloud.ply", ply.written(stored(9, degree=1)))
        put(tmp_path / scene / "input.ply", ply.written({name: np.zeros(3, np.float32) for name in "xyz"}))
    data = open_splats(tmp_path)
    assert [data.name(i) for i in range(len(data))] == [f"{scene}/point_cloud/iteration_30000/point_cloud.ply" for scene in ("garden", "room")]
    assert data.labels is None and data.channels == 23 and data[0].shape == (9, 23) and data.modality == "splats"
    assert looks_like_splats(tmp_path) and len(open_splats(tmp_path / "room")) == 1


def test_folders_of_classes_and_of_shapesplat_say_classes_and_splits(tmp_path: Path) -> None:
    for name in ("lamp/train/lamp_0001", "lamp/test/lamp_0002", "sofa/train/sofa_0001"):
        put(tmp_path / "a" / name / "point_cloud.ply", ply.written(stored(9)))
    data = open_splats(tmp_path / "a")
    assert list(data.classes) == ["lamp", "sofa"] and data.columns["split"].tolist() == ["test", "train", "train"]
    for name in ("02691156-1a04e3eab45ca15dd86060f189eb133", "03636649-15238270f4f59a011b17743c18fb63dc", "03636649-295ba9410657325f9d7f638b2b2e0564"):
        put(tmp_path / "b/shapesplat_ply" / f"{name}.ply", ply.written(stored(9)))
    put(tmp_path / "b/train.txt", b"02691156-1a04e3eab45ca15dd86060f189eb133.ply\n03636649-15238270f4f59a011b17743c18fb63dc.ply\n")
    put(tmp_path / "b/test.txt", b"03636649-295ba9410657325f9d7f638b2b2e0564.ply\n")
    data = open_splats(tmp_path / "b")
    assert list(data.classes) == ["airplane", "lamp"] and data.labels is not None and data.labels.tolist() == [0, 1, 1]
    assert data.columns["split"].tolist() == ["train", "train", "test"] and data[2].shape == (9, 14)


def test_splats_are_recognised_by_their_header(tmp_path: Path) -> None:
    put(tmp_path / "a.ply", ply.written(stored(2)))
    put(tmp_path / "b.ply", ply.written({name: np.zeros(3, np.float32) for name in "xyz"}))
    put(tmp_path / "c.splat", bytes(64))
    put(tmp_path / "d.splat", bytes(65))
    put(tmp_path / "e.txt", b"1 2 3\n")
    put(tmp_path / "f.ply", b"")
    assert {path.name for path in tmp_path.iterdir() if looks_like_splats(path)} == {"a.ply", "c.splat"}
    assert not looks_like_splats(tmp_path / "nowhere")
    with pytest.raises(InputError, match="splats are read from"):
        open_splats(tmp_path / "e.txt")
    with pytest.raises(InputError, match="none of the first files"):
        open_splats(tmp_path / "b.ply")
    assert len(open_splats(tmp_path / "a.ply")) == 1
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="has no splats"):
        open_splats(tmp_path / "none")
