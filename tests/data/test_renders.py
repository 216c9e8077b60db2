"""Renders as data: poses, columns, what decides a picture, splits by object, what cannot be read, sets of views, and clouds."""

import colorsys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import trimesh

from manyviews.data import renders as module
from manyviews.data.arrays import Array
from manyviews.data.dataset import Data, Store, Unreadable
from manyviews.data.images import decode
from manyviews.data.mesh_files import meshes
from manyviews.data.poses import POSES, about, dodecahedron, ring, seen_from, uniform, upright
from manyviews.data.rendering import Camera, render
from manyviews.data.renders import by_name, renders, view_sets
from manyviews.data.splits import split
from manyviews.errors import InputError


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYVIEWS_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """Five boxes, two of them the same, and five balls."""
    for k in range(5):
        (tmp_path / "box").mkdir(exist_ok=True)
        (tmp_path / "ball").mkdir(exist_ok=True)
        trimesh.creation.box((1, 2 + k % 4, 4)).export(tmp_path / f"box/{k}.ply")
        trimesh.creation.icosphere(1, 1 + k).export(tmp_path / f"ball/{k}.off")
    return tmp_path


# --- poses --------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", POSES)
def test_poses_are_rotations_that_more_views_and_objects_leave_as_they_are(name: str) -> None:
    many = POSES[name](np.arange(6), 8, 3)
    assert many.shape == (6, 8, 3, 3)
    np.testing.assert_allclose(many @ many.swapaxes(-1, -2), np.broadcast_to(np.eye(3), many.shape), atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(many), 1, atol=1e-6)
    np.testing.assert_array_equal(POSES[name](np.array([4, 1]), 8, 3), many[[4, 1]])
    if name != "ring":
        np.testing.assert_array_equal(POSES[name](np.arange(6), 5, 3), many[:, :5])
    if name not in ("ring", "dodecahedron"):
        assert len(np.unique(many.round(6).reshape(48, 9), axis=0)) == 48
        assert not np.array_equal(POSES[name](np.arange(6), 8, 4), many)


def test_uniform_rotations_are_uniform() -> None:
    turns = uniform(np.arange(4000), 5, 0).reshape(-1, 3, 3)
    assert np.abs(turns.mean(0)).max() < 0.015
    trace = np.clip((turns.trace(axis1=1, axis2=2) - 1) / 2, -1, 1)
    angle = np.sort(np.arccos(trace))
    expected = (angle - np.sin(angle)) / np.pi  # of the angle of a uniform rotation
    assert np.abs(expected - (np.arange(len(angle)) + 0.5) / len(angle)).max() < 0.015


def test_upright_objects_stay_upright_and_are_seen_from_above() -> None:
    turns = upright(np.arange(2000), 1, 0)[:, 0]
    side = turns[:, 2]  # the object's direction that faces the camera
    assert side[:, 1].min() >= -1e-9 and side[:, 1].max() <= np.sin(np.pi / 3) + 1e-6
    assert abs(side[:, 1].mean() - np.sin(np.pi / 3) / 2) < 0.02 and np.abs(side[:, [0, 2]].mean(0)).max() < 0.05
    np.testing.assert_allclose(turns[:, 0, 1], 0, atol=1e-7)  # up stays in the picture's vertical


def test_half_turns_reach_as_far_as_their_angles() -> None:
    angle = np.pi * (module.drawn("rotation", np.arange(5), 3, 3, 0) - 0.5)
    assert np.abs(angle).max() <= np.pi / 2
    expected = about(1, angle[..., 2]) @ about(2, angle[..., 1]) @ about(0, angle[..., 0])
    np.testing.assert_array_equal(POSES["half_turns"](np.arange(5), 3, 0), expected)


def test_a_ring_goes_around_the_vertical_in_equal_steps() -> None:
    side = ring(np.arange(1), 12, 0)[0, :, 2]
    np.testing.assert_allclose(side[:, 1], 0.5, atol=1e-12)
    azimuth = np.unwrap(np.arctan2(side[:, 0], side[:, 2]))
    np.testing.assert_allclose(np.diff(azimuth), np.pi / 6, atol=1e-12)


def test_a_dodecahedron_has_twenty_corners_each_with_three_nearest() -> None:
    side = dodecahedron(np.arange(1), 20, 0)[0, :, 2]
    cosine = side @ side.T - 2 * np.eye(20)
    nearest = np.sqrt(5) / 3
    assert cosine.max() == pytest.approx(nearest) and (np.abs(cosine - nearest) < 1e-9).sum() == 60
    with pytest.raises(InputError, match="20 corners"):
        dodecahedron(np.arange(1), 21, 0)


def test_a_direction_is_brought_before_the_camera_with_y_upwards() -> None:
    directions = np.array([[1.0, 0, 0], [0, 0, -2], [1, 1, 1], [0, 1, 0], [0, -3, 0]])
    turns = seen_from(directions)
    np.testing.assert_allclose(
        np.einsum("nij,nj->ni", turns, directions / np.linalg.norm(directions, axis=1, keepdims=True)), np.tile([0, 0, 1], (5, 1)), atol=1e-12
    )
    assert (turns[:3, 1, 1] > 0).all()
    np.testing.assert_allclose(np.linalg.det(turns), 1)


# --- the data set -------------------------------------------------------------------------------------------------------------------------------


def test_a_row_is_an_object_and_a_view_with_columns_that_say_which(shapes: Path) -> None:
    data = renders(shapes, views=4, side=32)
    assert isinstance(data.store, Store) and len(data) == 40 and data.modality == "images"
    assert data.labels is not None and [data.classes[k] for k in data.labels] == ["ball"] * 20 + ["box"] * 20
    assert data.columns["object"].tolist() == [k for k in range(10) for _ in range(4)]
    assert data.columns["view"].tolist() == [0, 1, 2, 3] * 10
    assert data.columns["rotation"].shape == (40, 3, 3) and data.columns["rotation"].dtype == np.float32
    assert data[0].shape == (32, 32, 3) and data[0].dtype == np.uint8
    assert data.name(5) == "ball/1.off, view 1"
    assert data.describe().startswith("40 images from 4 studio colour views each of 10 meshes from folder")
    view = data.batch(np.array([3, 9]))
    assert view.given["rotation"].shape == (2, 3, 3) and view.given["object"].tolist() == [0, 2] and view.x.shape == (2, 32, 32, 3)


def test_the_picture_is_that_of_the_object_in_the_rotation_of_its_row(shapes: Path) -> None:
    data = renders(shapes, views=3, side=40)
    files = meshes(shapes)
    for row in (0, 7, 29):
        mesh = files.decode(files.store.raw(row // 3)).normalised()
        expected = render(mesh, data.columns["rotation"][row : row + 1], Camera(height=40, width=40)).colour[0]
        np.testing.assert_array_equal(data[row], expected)


def test_seed_object_and_view_decide_a_picture_and_nothing_else(shapes: Path) -> None:
    data = renders(shapes, views=4, side=24, look="3diebench")
    first = [data[i] for i in range(40)]
    again = renders(shapes, views=4, side=24, look="3diebench")
    with ThreadPoolExecutor(4) as pool:
        for i, a in zip(reversed(range(40)), pool.map(again.__getitem__, reversed(range(40))), strict=True):
            np.testing.assert_array_equal(a, first[i])
    more = renders(shapes, views=6, side=24, look="3diebench")
    for k in range(10):
        np.testing.assert_array_equal(more[6 * k + 3], first[4 * k + 3])
    part = renders(meshes(shapes).select(np.array([8, 2])), views=4, side=24, look="3diebench")
    np.testing.assert_array_equal(part[1], first[33])
    assert part.columns["object"].tolist() == [8] * 4 + [2] * 4
    assert not np.array_equal(renders(shapes, views=4, side=24, look="3diebench", seed=1)[0], first[0])


def test_keeping_all_gives_what_reading_gives(shapes: Path) -> None:
    data = renders(shapes, views=4, side=16)
    kept = data.keep()
    assert isinstance(kept.kept, np.ndarray) and kept.kept.shape == (40, 16, 16, 3)
    for i in range(0, 40, 7):
        np.testing.assert_array_equal(kept.kept[i], data[i])


def test_what_is_shown(shapes: Path) -> None:
    same = {"views": 2, "side": 32, "samples": 1}
    colour, depth, normals, mask = (renders(shapes, shows=shows, **same).keep().kept for shows in ("colour", "depth", "normals", "mask"))
    inside = mask[..., 0] == 255
    assert depth.shape[-1] == mask.shape[-1] == 3 and set(np.unique(mask)) == {0, 255}  # brought to three channels
    np.testing.assert_array_equal(inside, depth[..., 0] > 0)
    np.testing.assert_array_equal(inside, (colour != 255).any(-1))
    assert depth[inside].min() >= 25 and (normals[~inside] == 128).all()
    length = np.linalg.norm((normals[inside].astype(float) - 127.5) / 127.5, axis=1)
    assert np.abs(length - 1).max() < 0.02 and normals[inside][:, 2].min() > 90  # z towards the viewer
    smooth = renders(shapes, smooth=True, **same)
    assert not np.array_equal(smooth[0], colour[0])


def test_the_look_of_3diebench_varies_floor_and_lamp_within_its_ranges(shapes: Path) -> None:
    data = renders(shapes, views=30, side=32, look="3diebench", poses="half_turns")
    light, hue, floor = (data.columns[name] for name in ("light", "light_hue", "floor_hue"))
    np.testing.assert_allclose(np.linalg.norm(light, axis=1), 1, atol=1e-6)
    assert light[:, 1].min() >= np.cos(np.pi / 4) - 1e-6 and light[:, 1].max() > 0.99
    for u in (hue, floor):
        assert u.min() >= 0 and u.max() < 1 and abs(u.mean() - 0.5) < 0.07 and abs(u.std() - 12**-0.5) < 0.04
    assert abs(np.corrcoef(hue, floor)[0, 1]) < 0.15
    corner = np.stack([data[i][0, 0] for i in range(60)]) / 255
    expected = []
    for i in range(60):
        ground, lamp = (np.array(colorsys.hsv_to_rgb(float(h), s, v)) for h, s, v in ((floor[i], 0.6, 0.6), (hue[i], 1, 0.8)))
        expected.append(ground * (0.4 + lamp * light[i, 1]))
    error = np.abs(corner - np.minimum(expected, 1)).max(1)
    assert (error < 0.01).mean() > 0.9  # a shadow may reach the corner


def test_given_rotations_are_the_same_for_every_object(shapes: Path) -> None:
    turns = about(1, np.array([0.0, 1.0]))
    data = renders(shapes, poses=turns, side=16)
    assert len(data) == 20
    np.testing.assert_allclose(data.columns["rotation"].reshape(10, 2, 3, 3), np.tile(turns, (10, 1, 1, 1)), atol=1e-6)
    assert data.fingerprint() != renders(shapes, poses=turns[::-1].copy(), side=16).fingerprint()


def test_settings_and_files_make_another_set(shapes: Path) -> None:
    same = {"views": 2, "side": 16}
    changed = [{}, {"seed": 1}, {"smooth": True}, {"look": "3diebench"}, {"shows": "depth"}, {"samples": 1}, {"poses": "ring"}]
    prints = {renders(shapes, **same, **more).fingerprint() for more in changed}
    trimesh.creation.box((1, 1, 1)).export(shapes / "box/9.ply")
    assert len(prints | {renders(shapes, **same).fingerprint()}) == 8


# --- splits -------------------------------------------------------------------------------------------------------------------------------------


def test_all_views_of_an_object_and_of_its_duplicates_are_on_one_side(shapes: Path) -> None:
    for seed in range(4):
        train, test = split(renders(shapes, views=3, side=16, seed=seed), 0)
        left, right = set(train.columns["object"]), set(test.columns["object"])
        assert len(left) + len(right) == 10 and not left & right and len(right) >= 2
        assert ({5, 9} <= left) or ({5, 9} <= right)  # boxes 0 and 4 are the same file
        assert set(test.labels) == {0, 1}  # type: ignore[arg-type]


def test_split_folders_and_other_columns_are_kept(tmp_path: Path) -> None:
    for name in ("train/a/1", "train/b/2", "test/a/3", "test/b/4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        trimesh.creation.box((1, 2, 3)).export(tmp_path / f"{name}.ply")
    data = renders(meshes(tmp_path).with_columns(age=np.arange(4.0)), views=2, side=16)
    assert data.columns["split"].tolist() == ["test"] * 4 + ["train"] * 4
    assert data.columns["age"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_one_object_or_one_class_has_no_problem(shapes: Path) -> None:
    assert "split" not in renders(shapes / "box/0.ply", views=3, side=16).columns
    data = renders(meshes(shapes).select(np.arange(5)), views=2, side=16)
    assert (data.columns["split"] == "test").sum() in (2, 4) and len(data.classes) == 2


# --- what cannot be read ------------------------------------------------------------------------------------------------------------------------


def test_a_mesh_that_cannot_be_read_costs_its_views_and_says_why(shapes: Path) -> None:
    (shapes / "ball/2.off").write_text("no mesh")
    data = renders(shapes, views=3, side=16)
    for row in (6, 7, 8, 7):
        with pytest.raises(Unreadable, match="no .off file that can be read"):
            data[row]
    view = data.batch(np.arange(12))
    assert view.index.tolist() == [0, 1, 2, 3, 4, 5, 9, 10, 11] and sorted(data.bad) == [6, 7, 8]


def test_a_broken_file_is_read_once_for_all_its_views(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr(module.mesh_files.Files, "raw", lambda self, row: read.append(row) or Path("missing.ply"))
    store = renders(meshes(shapes).with_columns(split=np.full(10, "train", object)), views=3, side=16).store
    for row in range(6):
        with pytest.raises(Unreadable, match="No such file"):
            store.raw(row)
    assert read == [0, 1]


def test_objects_are_forgotten_when_there_is_no_room(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = renders(shapes, views=2, side=16).store
    pictures = [store.raw(row) for row in range(20)]
    assert len(store.at_hand) == 10  # type: ignore[attr-defined]
    monkeypatch.setattr(module, "BUDGET", 5_000)
    small = renders(shapes, views=2, side=16).store
    with ThreadPoolExecutor(4) as pool:
        for a, b in zip(pool.map(small.raw, range(20)), pictures, strict=True):
            np.testing.assert_array_equal(a, b)
    assert 1 <= len(small.at_hand) < 4  # type: ignore[attr-defined]
    assert small.size == sum(map(module.weight, small.at_hand.values()))  # type: ignore[attr-defined]


def test_everything_wrong_is_said(shapes: Path) -> None:
    with pytest.raises(InputError) as error:
        renders(shapes, views=0, side=2, poses="around", look="film", shows="everything", samples=0, seed=-1)
    assert len(error.value.problems) == 7 and "there are uniform, upright" in str(error.value)
    with pytest.raises(InputError, match="has no meshes"):
        renders(shapes / "nowhere")


# --- by name ------------------------------------------------------------------------------------------------------------------------------------


def test_a_name_says_the_folder_and_any_other_argument(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYVIEWS_DATA", str(shapes.parent))
    data = by_name(f"{shapes.name},views=3, side=16,look=3diebench,smooth=true,spread=0.1")
    assert data.fingerprint() == renders(shapes, views=3, side=16, look="3diebench", smooth=True, spread=0.1).fingerprint()
    with pytest.raises(InputError) as error:
        by_name(f"{shapes},views=many,colour=red,smooth=2,ring")
    assert len(error.value.problems) == 4 and "smooth=2; expected true or false" in str(error.value)


# --- clouds and sets ----------------------------------------------------------------------------------------------------------------------------


def clouds() -> Data:
    points = np.random.default_rng(0).normal(size=(6, 500, 3)).astype(np.float32)
    return Data(Array(points, "clouds"), lambda raw, *_: raw, "points", {"label": np.array([0, 0, 0, 1, 1, 1])}, ["a", "b"])


def test_clouds_are_rendered_like_meshes() -> None:
    data = renders(clouds(), views=2, side=32, shows="depth", poses="ring", spread=0.04)
    assert len(data) == 12 and data.columns["label"].tolist() == [0] * 6 + [1] * 6 and "split" in data.columns
    assert data.describe().startswith("12 images from 2 studio depth views each of 6 points from clouds")
    assert (data[0] > 0).mean() > 0.1 and data[0].max() > 200
    assert not np.array_equal(data[0], data[1])


def test_a_set_has_all_views_of_an_object(shapes: Path) -> None:
    data = renders(shapes, views=4, side=16)
    sets = view_sets(data)
    assert len(sets) == 10 and sets.modality == "view_sets" and isinstance(sets.store, Store)
    assert sets[3].shape == (4, 16, 16, 3)
    np.testing.assert_array_equal(sets[3], np.stack([data[i] for i in range(12, 16)]))
    assert sets.labels is not None and sets.labels.tolist() == [0] * 5 + [1] * 5 and sets.columns["object"].tolist() == list(range(10))
    assert sets.columns["rotation"].shape == (10, 4, 3, 3) and sets.columns["view"].shape == (10, 4)
    assert sets.keep().kept.shape == (10, 4, 16, 16, 3)  # type: ignore[union-attr]
    train, test = split(sets, 0)
    assert len(train) + len(test) == 10
    kept = view_sets(data.keep())
    np.testing.assert_array_equal(kept[3], sets[3])


def test_sets_of_a_selection_keep_its_objects(shapes: Path) -> None:
    data = renders(shapes, views=4, side=16)
    chosen = data.select(np.isin(data.columns["object"], [2, 7]) & (data.columns["view"] > 0))
    sets = view_sets(chosen)
    assert sets.columns["object"].tolist() == [2, 7] and sets[1].shape == (3, 16, 16, 3)
    np.testing.assert_array_equal(sets[1][0], data[29])
    with pytest.raises(InputError, match="from 2 to 3 views"):
        view_sets(chosen.select(np.arange(5)))


def test_sets_need_to_know_their_objects() -> None:
    with pytest.raises(InputError, match="no column `object`"):
        view_sets(Data(Array(np.zeros((3, 4, 4, 3), np.uint8), "an array"), decode))


def test_a_set_with_a_view_that_cannot_be_read_cannot_be_read(shapes: Path) -> None:
    (shapes / "ball/0.off").write_text("no mesh")
    sets = view_sets(renders(shapes, views=2, side=16))
    with pytest.raises(Unreadable, match="no .off file"):
        sets[0]
    assert sets[1].shape == (2, 16, 16, 3)
