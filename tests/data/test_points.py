"""Clouds of points: what each goes through, the columns of a set, what folders say, and what is recognised."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from point_samples import cube, pcd_file, random_cloud, write, xyz_ply

from manyviews.data import clouds, ply, points
from manyviews.data.dataset import Data, Unreadable
from manyviews.data.points import decode, looks_like_points, open_points, usual
from manyviews.errors import InputError

# --- what every cloud goes through ----------------------------------------------------------------------------------------------------------------


def test_points_that_are_not_finite_are_left_out_and_normals_that_are_not_become_unknown() -> None:
    cloud = random_cloud(10, 9)
    cloud[2, 0], cloud[3, 1], cloud[4, 2], cloud[5, 4], cloud[6, 7] = np.nan, np.inf, 1e30, np.nan, np.nan
    found = decode(xyz_ply(cloud))
    assert len(found) == 7 and np.isfinite(found).all()
    assert np.array_equal(found[:, :3], cloud[[0, 1, 5, 6, 7, 8, 9], :3])
    assert (found[2, 3:6] == 0).all() and found[3, 7] == 0.5


def test_a_cloud_without_finite_points_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="none of its 7 points has finite coordinates"):
        decode(np.full((7, 3), np.nan))
    with pytest.raises(Unreadable, match="no points"):
        decode(np.zeros((0, 3)))


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_one_point_and_identical_points_are_clouds_too(count: int, kind: type) -> None:
    cloud = np.tile(np.array([[1, 2, 3]], kind), (count, 1))
    assert np.array_equal(decode(cloud), cloud) and np.array_equal(decode(cloud, 3), cloud[:3])


def test_normals_are_made_unit_and_all_zeros_are_no_normals() -> None:
    cloud = random_cloud(20, 6)
    scaled = np.concatenate([cloud[:, :3], 5 * cloud[:, 3:]], 1)
    scaled[0, 3:] = 0
    found = decode(xyz_ply(scaled))
    assert np.allclose(found[1:, 3:], cloud[1:, 3:], atol=1e-6) and (found[0, 3:] == 0).all()
    scaled[:, 3:] = 0
    assert decode(xyz_ply(scaled)).shape == (20, 3)


def test_of_more_points_the_same_ones_are_kept_in_order_and_fewer_are_among_more() -> None:
    cloud = random_cloud(5000)
    raw = xyz_ply(cloud)
    few, more = decode(raw, 100), decode(raw, 1000)
    assert np.array_equal(few, decode(raw, 100)) and few.shape == (100, 3)
    place = {row.tobytes(): k for k, row in enumerate(cloud)}
    at_few, at_more = ([place[row.tobytes()] for row in kept] for kept in (few, more))
    assert at_few == sorted(set(at_few)) and set(at_few) < set(at_more)
    assert abs(np.mean(at_more) - 2500) < 3 * 5000 / 12**0.5 / 1000**0.5  # spread over the file
    assert np.array_equal(decode(raw, 5000), cloud) and np.array_equal(decode(raw), cloud)
    other = decode(xyz_ply(cloud + 1), 100) - 1
    assert not np.allclose(other, few, atol=1e-3)  # another content, another choice


def test_points_far_from_the_origin_are_moved_before_their_digits_are_lost() -> None:
    where = np.random.default_rng(0).random((200, 3)) * 50
    far = where + np.array([4_500_000, 5_400_000, 0])
    assert np.allclose(decode(far), where - (where.min(0) + where.max(0)) / 2, atol=1e-5)
    assert {row.tobytes() for row in decode(far, 20)} < {row.tobytes() for row in decode(far)}  # fewer points are moved by as much
    assert np.allclose(decode(where + 100), where + 100, atol=1e-4)  # near enough: as it is


def test_columns_are_filled_or_cut_to_what_is_asked_for() -> None:
    plain, full = decode(random_cloud(10)), decode(random_cloud(10, 9))
    assert np.array_equal(decode(random_cloud(10), channels=9)[:, 3:], [[0, 0, 0, 0.5, 0.5, 0.5]] * 10)
    assert np.array_equal(clouds.to_channels(plain, 6)[:, :3], plain) and not clouds.to_channels(plain, 6)[:, 3:].any()
    assert np.array_equal(clouds.to_channels(full, 6), full[:, :6]) and np.array_equal(clouds.to_channels(full, 3), full[:, :3])
    with pytest.raises(Unreadable, match="points have 3"):
        decode(random_cloud(10), channels=4)


def test_a_feature_that_some_clouds_lack_is_dropped_from_all_and_said() -> None:
    plain, normal, full = (decode(random_cloud(10, n)) for n in (3, 6, 9))
    coloured = full.copy()
    coloured[:, 3:6] = 0
    assert usual([full, full]) == (9, "") and usual([normal]) == (6, "") and usual([plain]) == (3, "")
    assert usual([full, normal, normal]) == (6, "colours dropped: 2 of 3 clouds looked at have none")
    assert usual([full, plain]) == (3, "normals dropped: 1 of 2 clouds looked at have none; colours dropped: 1 of 2 clouds looked at have none")
    assert usual([full, coloured]) == (9, "normals are zeros in 1 of 2 clouds looked at") and usual([coloured]) == (9, "")


# --- folders and files ----------------------------------------------------------------------------------------------------------------------------


def names(data: Data) -> list[str]:
    return [data.name(i) for i in range(len(data))]


def test_folders_say_classes_and_splits(tmp_path: Path) -> None:
    for name in ("train/cup/1.ply", "train/pot/2.xyz", "test/cup/3.npy"):
        write(tmp_path / "a" / name, xyz_ply(random_cloud()) if name.endswith("ply") else b"1 2 3\n4 5 6\n7 8 9\n")
    np.save(tmp_path / "a/test/cup/3.npy", random_cloud())
    data = open_points(tmp_path / "a")
    assert list(data.classes) == ["cup", "pot"] and data.labels is not None and data.labels.tolist() == [0, 0, 1]
    assert dict(zip(names(data), data.columns["split"], strict=True)) == {"train/cup/1.ply": "train", "train/pot/2.xyz": "train", "test/cup/3.npy": "test"}
    assert data.modality == "points" and data.channels == 3 and all(data[i].shape[1] == 3 for i in range(3))
    for name in ("cup/train/1.off", "cup/test/2.off", "pot/train/3.off"):
        write(tmp_path / "b" / name, cube("off"))
    data = open_points(tmp_path / "b")
    assert list(data.classes) == ["cup", "pot"] and data.columns["split"].tolist() == ["test", "train", "train"] and data.channels == 6


def test_texts_are_clouds_where_there_is_nothing_else_and_notes_beside_folders_are_passed_over(tmp_path: Path) -> None:
    for name in ("cup/1.txt", "pot/2.txt"):
        write(tmp_path / name, "0 0 0\n1 1 1\n")
    write(tmp_path / "README.txt", "Clouds of cups and pots.")
    data = open_points(tmp_path)
    assert names(data) == ["cup/1.txt", "pot/2.txt"] and list(data.classes) == ["cup", "pot"]
    write(tmp_path / "cup/3.ply", xyz_ply(random_cloud()))
    assert names(open_points(tmp_path)) == ["cup/3.ply"]


def test_unreadable_files_are_listed_with_their_reason(tmp_path: Path) -> None:
    for k in range(8):
        write(tmp_path / f"{k}.ply", xyz_ply(random_cloud(seed=k)))
    write(tmp_path / "7.ply", b"ply\nnonsense")
    data = open_points(tmp_path)
    batch = data.batch(np.arange(8))
    assert len(batch) == 7 and data.bad == {7: "PLY: the header has no end"}
    for k in range(8):
        write(tmp_path / f"{k}.ply", b"ply\nnonsense")
    with pytest.raises(InputError, match="none of the first clouds looked at"):
        open_points(tmp_path)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no point clouds; looked for, at any depth: .ply"):
        open_points(tmp_path)
    write(tmp_path / "a.doc", b"x")
    with pytest.raises(InputError, match="points are read from .ply"):
        open_points(tmp_path / "a.doc")


def test_clouds_of_equal_size_make_a_tensor_and_others_a_list(tmp_path: Path) -> None:
    for k in range(3):
        np.save(tmp_path / f"{k}.npy", random_cloud(50 + 10 * k))
    data = open_points(tmp_path)
    assert data.reduced(40).batch(np.arange(3)).x.shape == (3, 40, 3)
    assert [len(x) for x in data.batch(np.arange(3)).x] == [50, 60, 70]


def test_a_mapped_file_is_read_as_any_other_and_one_that_vanished_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {
        "a.ply": xyz_ply(random_cloud(500, 9)),
        "b.off": cube("off"),
        "c.xyz": b"1 2 3\n4 5 6\n",
        "d.pcd": pcd_file("binary", random_cloud(9), np.arange(9), np.ones((9, 3))),
    }
    for name, raw in content.items():
        write(tmp_path / name, raw)
    np.save(tmp_path / "e.npy", random_cloud(500))
    wanted = [open_points(tmp_path).reduced(100)[i] for i in range(5)]
    monkeypatch.setattr(clouds, "MAPPED_FROM", 0)
    data = open_points(tmp_path).reduced(100)
    assert not isinstance(data.store.raw(0), bytes)
    for i in range(5):
        assert np.array_equal(data[i], wanted[i])
    (tmp_path / "a.ply").unlink()
    with pytest.raises(Unreadable, match="No such file"):
        data[0]


def test_a_file_of_many_clouds_has_many_rows(tmp_path: Path) -> None:
    many = np.stack([random_cloud(64, 6, seed=k) for k in range(5)])
    np.save(tmp_path / "a.npy", many)
    data = open_points(tmp_path / "a.npy")
    assert len(data) == 5 and np.allclose(data[3], many[3], atol=1e-6) and data.name(3) == "a.npy:3"
    assert len(open_points(tmp_path)) == 5  # the only file of its folder
    np.savez(tmp_path / "b.npz", x_train=many[:3], y_train=["cup", "pot", "cup"], x_test=many[3:], y_test=["pot", "pot"])
    data = open_points(tmp_path / "b.npz")
    assert list(data.classes) == ["cup", "pot"] and data.labels is not None and data.labels.tolist() == [0, 1, 0, 1, 1]
    assert data.columns["split"].tolist() == ["train"] * 3 + ["test"] * 2
    np.savez(tmp_path / "b.npz", points=many, label=[1, 2])
    with pytest.raises(InputError, match="5 clouds, and label for 2"):
        open_points(tmp_path / "b.npz")
    np.savez(tmp_path / "b.npz", points=many[..., :2])
    with pytest.raises(InputError, match=r"points of shape \(5, 64, 2\)"):
        open_points(tmp_path / "b.npz")


def test_arrays_and_lists_in_memory_are_data_too(tmp_path: Path) -> None:
    many = np.stack([random_cloud(30, 6, seed=k) for k in range(3)])
    assert np.allclose(points.from_array(many)[2], many[2], atol=1e-6) and len(points.from_array(many[0])) == 1
    data = points.from_array([random_cloud(20), random_cloud(30)])
    assert [len(data[i]) for i in range(2)] == [20, 30] and data.name(1) == "cloud 1:0"
    np.save(tmp_path / "a.npy", many[0])
    assert np.allclose(points.from_array([str(tmp_path / "a.npy")])[0], many[0], atol=1e-6)
    for wrong, reason in ((np.zeros(5), "points of shape"), ([], "is empty"), (["a", "b"], "none of the first clouds")):
        with pytest.raises(InputError, match=reason):
            points.from_array(wrong)


@pytest.mark.parametrize("how", [{}, {"compression": "gzip", "chunks": (2, 8, 3)}])
def test_hdf5_files_are_mapped_where_they_are_not_compressed(tmp_path: Path, how: dict) -> None:
    h5py = pytest.importorskip("h5py")
    many = np.stack([random_cloud(64, 6, seed=k) for k in range(5)])
    for name, rows in {"part_train0.h5": slice(0, 2), "part_train1.h5": slice(2, 4), "part_test0.h5": slice(4, 5)}.items():
        with h5py.File(tmp_path / name, "w") as file:
            file.create_dataset("data", data=many[rows, :, :3], **({**how, "chunks": (1, 8, 3)} if how else {}))
            file.create_dataset("normal", data=many[rows, :, 3:])
            file.create_dataset("label", data=np.arange(5)[rows, None] % 2)
    data = open_points(tmp_path)
    assert len(data) == 5 and data.channels == 6 and data.labels is not None and sorted(data.labels) == [0, 0, 0, 1, 1]
    assert data.columns["split"].tolist() == ["test", "train", "train", "train", "train"]
    assert isinstance(data.store.blocks[0][1]["points"], np.memmap) != bool(how)  # type: ignore[attr-defined]
    for i, k in enumerate((4, 0, 1, 2, 3)):
        assert np.allclose(data[i], many[k], atol=1e-6)
    assert data.fingerprint() == open_points(tmp_path).fingerprint()
    assert looks_like_points(tmp_path) and looks_like_points(tmp_path / "part_test0.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["weights"] = np.zeros(3)
    with pytest.raises(InputError, match="has no points"):
        open_points(tmp_path / "other.h5")
    assert not looks_like_points(tmp_path / "other.h5")
    write(tmp_path / "bad.h5", b"\x89HDF")
    with pytest.raises(InputError, match="cannot be read as HDF5"):
        open_points(tmp_path / "bad.h5")


def test_a_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.h5", b"\x89HDF")
    write(tmp_path / "a.las", b"LASF" + bytes(300))
    for package, name in (("h5py", "a.h5"), ("laspy", "a.las")):
        monkeypatch.setitem(sys.modules, package, None)
        assert looks_like_points(tmp_path / name)
        with pytest.raises(InputError, match=rf"need {package}: pip install 'manyviews\[points\]'"):
            open_points(tmp_path / name)


def test_parts_are_those_of_the_points_that_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYVIEWS_CACHE", str(tmp_path / "cache"))
    cloud = random_cloud(300)
    cloud[::7, 1] = np.nan
    part = (cloud[:, 0] > 0).astype(int)
    for k, count in enumerate((300, 80)):
        np.savez(tmp_path / f"{k}.npz", points=cloud[:count], part=part[:count])
    data = open_points(tmp_path).reduced(100)
    for i in range(2):
        assert np.array_equal(points.parts(data, i), data[i][:, 0] > 0)
    column = points.with_parts(data).columns["part"]
    assert column.shape == (2, 100) and np.array_equal(column[0], data[0][:, 0] > 0) and (column[1, len(data[1]) :] == -1).all()
    with pytest.raises(Unreadable, match="no parts"):
        np.savez(tmp_path / "0.npz", points=cloud)
        points.parts(open_points(tmp_path / "0.npz"), 0)


def test_clouds_are_recognised_by_endings_and_by_headers_where_those_tell_nothing(tmp_path: Path) -> None:
    from PIL import Image

    np.save(tmp_path / "cloud.npy", random_cloud())
    np.save(tmp_path / "clouds.npy", np.zeros((4, 50, 6), np.float32))
    np.save(tmp_path / "pictures.npy", np.zeros((4, 32, 32, 3), np.uint8))
    np.save(tmp_path / "masks.npy", np.zeros((4, 32, 32), np.float32))
    np.savez(tmp_path / "clouds.npz", x_train=np.zeros((4, 50, 3)), y_train=np.zeros(4))
    np.savez(tmp_path / "pictures.npz", x=np.zeros((4, 32, 32, 3)))
    write(tmp_path / "cloud.ply", xyz_ply(random_cloud()))
    write(tmp_path / "splats.ply", ply.written({name: np.zeros(2, np.float32) for name in ("x", "y", "z", "opacity", "scale_0", "rot_0")}))
    write(tmp_path / "cloud.txt", "# x y z\n0.1 0.2 0.3\n")
    write(tmp_path / "list.txt", "train/1.png\n")
    write(tmp_path / "cloud.csv", "x,y,z\n0,1,2\n")
    write(tmp_path / "table.csv", "1.0,2.0,3.0\n")
    write(tmp_path / "diamonds.csv", "carat,depth,x,y,z\n1,2,3,4,5\n")
    write(tmp_path / "mesh.off", cube("off"))
    write(tmp_path / "empty.npz", b"")
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    looks = {path.name for path in tmp_path.iterdir() if looks_like_points(path)}
    assert looks == {"cloud.npy", "clouds.npy", "clouds.npz", "cloud.ply", "cloud.txt", "cloud.csv", "mesh.off"}
    for name, content, wanted in (("meshes/a/1.obj", b"v 0 0 0\n", True), ("notes/list.txt", b"a b c\n", False), ("numbers/c/1.txt", b"1 2 3 4 5 6\n", True)):
        write(tmp_path / "folders" / name, content)
        assert looks_like_points(tmp_path / "folders" / name.split("/")[0]) == wanted, name
    for k in range(2):
        Image.new("RGB", (8, 8)).save(tmp_path / f"folders/meshes/{k}.png")
    assert not looks_like_points(tmp_path / "folders/meshes") and not looks_like_points(tmp_path / "nowhere")  # textures outnumber the mesh


def test_a_pipe_is_no_cloud_and_is_never_read(tmp_path: Path) -> None:
    for name in ("a.ply", "b.txt", "c.npy"):
        os.mkfifo(tmp_path / name)
        assert not looks_like_points(tmp_path / name)
    assert not looks_like_points(tmp_path)
    for name in ("a.ply", "c.npy"):
        with pytest.raises(InputError, match="a pipe or device, not a file"):
            open_points(tmp_path / name)


def test_a_store_of_clouds_reads_from_many_threads(tmp_path: Path) -> None:
    for k in range(40):
        write(tmp_path / f"{k:02d}.ply", xyz_ply(random_cloud(seed=k)))
    data = open_points(tmp_path)
    found = list(data.batches([np.arange(k, k + 8) for k in range(0, 40, 8)], threads=4))
    assert np.array_equal(np.concatenate([batch.x.numpy() for batch in found]), np.stack([random_cloud(seed=k) for k in range(40)]))
