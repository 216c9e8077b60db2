import numpy as np
import pytest
from PIL import Image

from manyviews.data.builtin_view_sets import TEST, TRAIN, VIEWS, builtin_view_sets
from manyviews.data.dataset import Store, Unreadable
from manyviews.data.opening import open_data
from manyviews.data.view_sets import from_array, looks_like_view_sets, natural_size, single_views
from manyviews.errors import InputError

CUBE = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\nf 1 3 4\nf 2 3 4\n"


def write(root, names, side=8):
    for k, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((side, side, 3), k, np.uint8)).save(path)
    return root


def opened(path):
    return open_data(path, "view_sets")


def test_a_folder_of_pictures_is_an_object(tmp_path):
    data = opened(write(tmp_path, ["cup/2.png", "cup/10.png", "cup/1.png", "pan/a.png", "pan/b.png"]))
    assert data.modality == "view_sets" and isinstance(data.store, Store)
    assert [data[i].shape for i in range(2)] == [(3, 8, 8, 3), (2, 8, 8, 3)]
    assert data[0][:, 0, 0, 0].tolist() == [2, 0, 1]  # by number, not by text
    assert data.labels is None and "sets of 2 to 3" in data.describe() and "and 2 more" in data.name(0)


def test_the_folder_above_an_object_is_its_class(tmp_path):
    data = opened(write(tmp_path, [f"{c}/{o}/{k}.png" for c in ("cup", "pan") for o in "ab" for k in range(2)]))
    assert len(data) == 4 and data.classes == ["cup", "pan"] and data.labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("layout", ["{c}/{s}/{c}_{o}_{k:03d}.png", "{s}/{c}/{c}_{o}_{k:03d}.png", "{s}/{c}/{o}/{k}.png"])
def test_splits_stand_anywhere_and_numbered_names_are_views_of_one_object(tmp_path, layout):
    objects = [(s, c, o) for s, o in (("train", "07"), ("train", "08"), ("test", "09"), ("test", "10")) for c in ("cup", "pan")]
    names = [layout.format(s=s, c=c, o=o, k=k) for s, c, o in objects for k in range(3)]
    data = opened(write(tmp_path, names))
    assert len(data) == 8 and data[0].shape == (3, 8, 8, 3) and data.classes == ["cup", "pan"]
    assert sorted(zip(data.columns["split"].tolist(), data.labels.tolist(), strict=True)) == sorted((s, int(c == "pan")) for s, c, _ in objects)


def test_meshes_are_rendered(tmp_path):
    for name in ("a/x.obj", "a/y.obj", "b/z.obj"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(CUBE)
    data = opened(f"{tmp_path}?views=3&side=16")
    assert len(data) == 3 and data[0].shape == (3, 16, 16, 3) and data.classes == ["a", "b"]
    assert opened(tmp_path)[0].shape == (12, 64, 64, 3)


def test_class_folders_of_pictures_stay_pictures_unless_sets_are_asked_for(tmp_path):
    write(tmp_path, [f"{c}/{k}.png" for c in ("cup", "pan") for k in range(3)])
    assert not looks_like_view_sets(tmp_path)
    assert open_data(tmp_path).modality == "images" and len(opened(tmp_path)) == 2


def test_an_unreadable_view_makes_its_object_unreadable_and_says_why(tmp_path):
    write(tmp_path, ["cup/1.png", "cup/2.png", "pan/1.png", "pan/2.png"])
    (tmp_path / "pan/2.png").write_bytes(b"no picture")
    data = opened(tmp_path)
    with pytest.raises(Unreadable, match="not a picture"):
        data[1]
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "pan/2.png")
    with pytest.raises(Unreadable, match="different sizes"):
        opened(tmp_path)[1]


def test_what_holds_no_sets_is_refused(tmp_path):
    with pytest.raises(InputError, match="no two pictures are of one object"):
        opened(write(tmp_path / "one", ["cup/a.png", "pan/b.png"]))
    (tmp_path / "note.txt").write_text("x")
    with pytest.raises(InputError, match="no folder of pictures or meshes"):
        opened(tmp_path / "note.txt")
    with pytest.raises(InputError, match=r"\(objects, views, height, width, channels\)"):
        from_array(np.zeros((2, 4, 4, 3), np.uint8))


def test_an_array_is_sets_and_their_single_views_keep_their_labels():
    x = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 6, 1), dtype=np.uint8)
    data = from_array(x).with_columns(label=np.array([2, 0, 1]))
    assert data.channels == 1 and np.array_equal(data[1], x[1])
    singles = single_views(data)
    assert singles.modality == "images" and len(singles) == 12 and singles.labels.tolist() == [2] * 4 + [0] * 4 + [1] * 4
    assert np.array_equal(singles[5], x[1, 1])


def test_single_views_of_unequal_sets_are_refused(tmp_path):
    with pytest.raises(InputError, match="other numbers of views"):
        single_views(opened(write(tmp_path, ["cup/1.png", "cup/2.png", "cup/3.png", "pan/1.png", "pan/2.png"])))


def test_the_built_in_sets_are_the_same_each_time():
    data = builtin_view_sets()
    assert len(data) == 20 * (TRAIN + TEST) and data[3].shape == (VIEWS, 32, 32, 3)
    assert np.array_equal(data[3], builtin_view_sets()[3]) and data.fingerprint() == builtin_view_sets().fingerprint()
    assert (data.columns["split"] == "test").sum() == 20 * TEST and np.bincount(data.labels).tolist() == [TRAIN + TEST] * 20
    assert len({data[3][k].tobytes() for k in range(VIEWS)}) == VIEWS


@pytest.mark.parametrize(("side", "size"), [(32, 32), (30, 28), (4, 8), (300, 64)])
def test_the_natural_size_is_the_pictures_own(side, size):
    import torch

    wanted = 224 if side > 64 and torch.cuda.is_available() else size
    assert natural_size([np.zeros((2, side, side, 3), np.uint8)]) == wanted
