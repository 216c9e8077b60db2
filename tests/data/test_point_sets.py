"""Published sets of clouds: small files in the layouts that their authors give out."""

import json
from pathlib import Path

import numpy as np
import pytest

from manyviews.data import point_sets
from manyviews.data.points import looks_like_points, open_points, with_parts
from manyviews.errors import InputError


def cloud(seed: int, columns: int = 3, count: int = 40) -> np.ndarray:
    a = np.random.default_rng(seed).normal(size=(count, columns)).astype(np.float32)
    if columns > 3:
        a[:, 3:6] /= np.linalg.norm(a[:, 3:6], axis=1, keepdims=True)
    return a


def put(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def h5(path: Path, **arrays: np.ndarray) -> None:
    h5py = pytest.importorskip("h5py")
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for name, a in arrays.items():
            file[name] = a


def lines(table: np.ndarray, separator: str) -> str:
    return "\n".join(separator.join(f"{v:.6f}" for v in row) for row in table) + "\n"


def test_modelnet_as_off_files_has_its_classes_and_split(tmp_path: Path) -> None:
    mesh = "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
    for name in ("airplane/train/airplane_0001.off", "airplane/test/airplane_0627.off", "night_stand/train/night_stand_0001.off"):
        put(tmp_path / name, mesh.replace("OFF\n", "OFF") if "0627" in name else mesh)  # some headers lack the line's end
    data = open_points(tmp_path)
    assert list(data.classes) == ["airplane", "night_stand"] and data.columns["split"].tolist() == ["test", "train", "train"]
    assert data[0].shape == (2048, 6) and looks_like_points(tmp_path)
    assert point_sets.modelnet(tmp_path)[0].describe().startswith("ModelNet in")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="modelnet:.*no .off files"):
        point_sets.modelnet(tmp_path / "empty")


def test_modelnet_as_hdf5_has_normals_and_the_published_order_of_classes(tmp_path: Path) -> None:
    put(tmp_path / "shape_names.txt", "airplane\nbathtub\nbed\n")
    put(tmp_path / "train_files.txt", "data/modelnet40_ply_hdf5_2048/ply_data_train0.h5\n")
    for name, labels in (("train0", [2, 0]), ("train1", [0]), ("test0", [1, 2])):
        a = np.stack([cloud(k, 6) for k in labels])
        h5(
            tmp_path / f"ply_data_{name}.h5",
            data=a[..., :3],
            normal=a[..., 3:],
            label=np.array(labels, np.uint8)[:, None],
            faceId=np.zeros((len(a), 40), np.int32),
        )
    data = open_points(tmp_path)
    assert list(data.classes) == ["airplane", "bathtub", "bed"] and data.labels is not None and data.labels.tolist() == [1, 2, 2, 0, 0]
    assert data.columns["split"].tolist() == ["test"] * 2 + ["train"] * 3 and np.allclose(data[1], cloud(2, 6), atol=1e-6)
    assert looks_like_points(tmp_path) and "ModelNet" in data.describe()


@pytest.mark.parametrize("n", [40, 10])
def test_modelnet_resampled_follows_its_lists(tmp_path: Path, n: int) -> None:
    put(tmp_path / f"modelnet{n}_shape_names.txt", "bathtub\nnight_stand\n")
    put(tmp_path / f"modelnet{n}_train.txt", "bathtub_0001\nnight_stand_0001\n")
    put(tmp_path / f"modelnet{n}_test.txt", "night_stand_0201\n")
    for k, name in enumerate(("bathtub/bathtub_0001", "night_stand/night_stand_0001", "night_stand/night_stand_0201", "bathtub/bathtub_0999")):
        put(tmp_path / f"{name}.txt", lines(cloud(k, 6), ","))
    data = open_points(tmp_path)
    assert [data.name(i) for i in range(3)] == ["bathtub/bathtub_0001.txt", "night_stand/night_stand_0001.txt", "night_stand/night_stand_0201.txt"]
    assert data.labels is not None and data.labels.tolist() == [0, 1, 1] and data.columns["split"].tolist() == ["train", "train", "test"]
    assert np.allclose(data[2], cloud(2, 6), atol=2e-6) and len(data) == 3


def scans(root: Path) -> None:
    for k, name in enumerate(("main_split/{}_objectdataset", "main_split/{}_objectdataset_augmentedrot_scale75", "main_split_nobg/{}_objectdataset")):
        for part, count in (("training", 3), ("test", 2)):
            data = np.full((count, 40, 3), k, np.float32) + cloud(0)
            h5(root / (name.format(part) + ".h5"), data=data, label=np.arange(count), mask=np.full((count, 40), -1))


def test_scanobjectnn_has_three_variants_of_which_the_hardest_is_taken(tmp_path: Path) -> None:
    scans(tmp_path / "h5_files")
    data = open_points(tmp_path)
    assert "PB_T50_RS" in data.describe() and np.allclose(data[0], cloud(0) + 1) and data.columns["split"].tolist() == ["train"] * 3 + ["test"] * 2
    assert list(data.classes)[:3] == ["bag", "bin", "box"] and len(data.classes) == 15
    assert data.labels is not None and data.labels.tolist() == [0, 1, 2, 0, 1] and data.columns["mask"].shape == (5, 40)
    for variant, k in (("OBJ_BG", 0), ("PB_T50_RS", 1), ("OBJ_ONLY", 2)):
        store, _, _ = point_sets.scanobjectnn(tmp_path, variant)
        assert variant in store.describe() and np.allclose(store.raw(0)["points"], cloud(0) + k)
    assert "OBJ_ONLY" in open_points(tmp_path / "h5_files/main_split_nobg").describe()
    store, _, _ = point_sets.scanobjectnn(tmp_path / "h5_files/main_split/training_objectdataset.h5")
    assert "OBJ_BG" in store.describe() and len(store) == 5
    with pytest.raises(InputError, match="variant 'OBJ'; there are PB_T50_RS, OBJ_BG, OBJ_ONLY"):
        point_sets.scanobjectnn(tmp_path, "OBJ")
    with pytest.raises(InputError, match="no files of PB_T50_RS; found main_split_nobg/training_objectdataset.h5"):
        point_sets.scanobjectnn(tmp_path / "h5_files/main_split_nobg", "PB_T50_RS")


def test_scanobjectnn_without_its_test_file_says_so(tmp_path: Path) -> None:
    scans(tmp_path)
    (tmp_path / "main_split_nobg/test_objectdataset.h5").unlink()
    assert "without test_objectdataset.h5" in point_sets.scanobjectnn(tmp_path, "OBJ_ONLY")[0].describe()


def test_shapenetpart_as_text_has_categories_a_split_and_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYVIEWS_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "set"
    put(root / "synsetoffset2category.txt", "Airplane\t02691156\nMug\t03797390\n")
    parts = {}
    for k, (name, split) in enumerate((("02691156/a1", "train"), ("03797390/b1", "val"), ("03797390/b2", "test"), ("03797390/left_out", ""))):
        parts[name] = np.random.default_rng(k).integers(0, 4, (40 - k, 1))
        put(root / f"{name}.txt", lines(np.concatenate([cloud(k, 6)[: 40 - k], parts[name]], 1), " "))
        if split:
            put(root / f"train_test_split/shuffled_{split}_file_list.json", json.dumps([f"shape_data/{name}"]))
    data = open_points(root)
    assert list(data.classes) == ["Airplane", "Mug"] and data.labels is not None and data.labels.tolist() == [0, 1, 1] and len(data) == 3
    assert data.columns["split"].tolist() == ["train", "validation", "test"] and data[1].shape == (39, 6)
    column = with_parts(data).columns["part"]
    assert np.array_equal(column[1, :39], parts["03797390/b1"][:, 0]) and column[1, 39] == -1
    assert np.array_equal(with_parts(data.reduced(10)).columns["part"][0], [parts["02691156/a1"][row, 0] for row in kept(data, 0)])
    put(root / "train_test_split/shuffled_train_file_list.json", "{")
    with pytest.raises(InputError, match="is no list of names"):
        open_points(root)


def kept(data, i: int) -> list[int]:
    place = {row.tobytes(): k for k, row in enumerate(data[i])}
    return [place[row.tobytes()] for row in data.reduced(10)[i]]


def test_shapenetpart_as_hdf5_has_parts_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYVIEWS_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "set"
    put(root / "all_object_categories.txt", "Airplane\t02691156\nBag\t02773838\n")
    for name, count in (("ply_data_train0", 2), ("ply_data_val0", 1), ("ply_data_test0", 1)):
        h5(
            root / f"{name}.h5",
            data=np.stack([cloud(k) for k in range(count)]),
            label=np.ones((count, 1), np.uint8),
            pid=np.tile(np.arange(40) % 4, (count, 1)),
        )
    data = open_points(root)
    assert list(data.classes) == ["Airplane", "Bag"] and data.columns["split"].tolist() == ["test", "train", "train", "validation"]
    assert np.array_equal(with_parts(data).columns["part"], np.tile(np.arange(40) % 4, (4, 1)))


def test_shapenet_is_labelled_by_the_names_of_its_files(tmp_path: Path) -> None:
    for k, name in enumerate(("02691156-1a04e3eab45ca15dd86060f189eb133", "03797390-aa", "99999999-bb")):
        (tmp_path / "shapenet_pc").mkdir(exist_ok=True)
        np.save(tmp_path / "shapenet_pc" / f"{name}.npy", cloud(k))
    put(tmp_path / "ShapeNet-55/train.txt", "02691156-1a04e3eab45ca15dd86060f189eb133.npy\n99999999-bb.npy\n")
    put(tmp_path / "ShapeNet-55/test.txt", "03797390-aa.npy\n")
    data = open_points(tmp_path)
    assert data.labels is not None and [data.classes[k] for k in data.labels] == ["airplane", "mug", "99999999"]
    assert data.columns["split"].tolist() == ["train", "test", "train"] and np.allclose(data[1], cloud(1))
    assert len(open_points(tmp_path / "shapenet_pc")) == 3
    with pytest.raises(InputError, match="no files named like"):
        point_sets.shapenet(tmp_path / "ShapeNet-55")


def test_lists_that_cannot_be_read_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "modelnet40_train.txt").write_bytes(b"\xff\xfe\n")
    with pytest.raises(InputError, match="cannot be read"):
        open_points(tmp_path)
    put(tmp_path / "b/synsetoffset2category.txt", "Airplane\n")
    with pytest.raises(InputError, match="cannot be read"):
        open_points(tmp_path / "b")
    put(tmp_path / "b/synsetoffset2category.txt", "Airplane\t02691156\n")
    with pytest.raises(InputError, match="has no train_test_split"):
        open_points(tmp_path / "b")


def test_other_folders_are_none_of_them(tmp_path: Path) -> None:
    put(tmp_path / "cup/1.xyz", "0 0 0\n1 1 1\n")
    assert not any(recognised(tmp_path) or recognised(tmp_path / "nowhere") for recognised, _ in point_sets.PUBLISHED.values())
