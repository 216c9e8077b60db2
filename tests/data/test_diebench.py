"""3DIEBench: its angles against SciPy's, its layout read and written, its lists, and what is wrong with a folder that is not whole."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from manyviews.data.diebench import TO_Y_UP, diebench, latents_of, recognised, scenes, write
from manyviews.data.opening import open_data
from manyviews.data.renders import renders
from manyviews.errors import InputError

TETRAHEDRON = "OFF\n4 4 0\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 2 1\n3 0 1 3\n3 0 3 2\n3 1 2 3\n"


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    for name in ("a/1", "a/2", "a/3", "a/4", "b/1", "b/2", "b/3", "b/4"):
        file = tmp_path / "meshes" / f"{name}.off"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(TETRAHEDRON.replace("0 0 1\n3", f"0 0 {0.2 + len(list(file.parent.iterdir())) / 3}\n3"))
    return tmp_path / "meshes"


def latents(count: int = 50) -> np.ndarray:
    low, high = np.array([[-np.pi / 2] * 3 + [0] * 4, [np.pi / 2] * 3 + [1, np.pi / 4, 2 * np.pi, 1]])
    return np.random.default_rng(0).uniform(low, high, (count, 7))


def test_a_rotation_is_theirs_seen_with_y_up() -> None:
    found, there = scenes(latents())["rotation"], Rotation.from_euler("xyz", latents()[:, :3]).as_matrix()
    np.testing.assert_allclose(found, TO_Y_UP @ there @ TO_Y_UP.T, atol=1e-6)
    np.testing.assert_allclose(TO_Y_UP @ [0, 0, 1], [0, 1, 0])


def test_the_light_stands_where_they_have_it() -> None:
    theta, phi = latents()[:, 4], latents()[:, 5]
    light = scenes(latents())["light"]
    np.testing.assert_allclose(light[:, 1], np.cos(theta), atol=1e-6)
    np.testing.assert_allclose(np.arctan2(-light[:, 2], light[:, 0]) % (2 * np.pi), phi, atol=1e-5)


def test_columns_and_latent_files_say_the_same() -> None:
    np.testing.assert_allclose(latents_of(scenes(latents())), latents(), atol=1e-5)


def test_what_was_written_is_read_as_it_was(shapes: Path, tmp_path: Path) -> None:
    data = renders(shapes, views=3, side=16, look="3diebench", poses="half_turns")
    write(data, tmp_path / "bench", quality=100)
    again = open_data(tmp_path / "bench")
    assert recognised(tmp_path / "bench") and len(again) == len(data) and list(again.classes) == ["a", "b"]
    order = range(len(again))
    assert set(again.columns["split"]) == {"train", "test"}
    back = [f"{data.classes[data.labels[i]]}/{data.columns['object'][i]}" for i in range(len(data))]
    rows = [next(j for j in order if again.name(j) == f"{place}/image_{data.columns['view'][i]}.jpg") for i, place in enumerate(back)]
    for name in ("rotation", "light", "light_hue", "floor_hue"):
        np.testing.assert_allclose(again.columns[name][rows], data.columns[name], atol=1e-5)
    assert (again.columns["split"][rows] == data.columns["split"]).all()
    assert np.abs(again[rows[0]].astype(float) - data[0]).mean() < 4


def test_a_list_says_which_objects_there_are(shapes: Path, tmp_path: Path) -> None:
    write(renders(shapes, views=2, side=8, look="3diebench"), tmp_path / "bench")
    for name in ("train_images.npy", "val_images.npy"):
        (tmp_path / "bench" / name).unlink(missing_ok=True)
    assert "split" not in diebench(tmp_path / "bench")[1]
    np.save(tmp_path / "bench" / "train_images.npy", np.array(["/a/0", "/b/5"]))
    store, columns, _ = diebench(tmp_path / "bench")
    assert len(store) == 4 and set(columns["split"]) == {"train"}


def test_what_is_missing_or_broken_is_named(shapes: Path, tmp_path: Path) -> None:
    write(renders(shapes, views=2, side=8, look="3diebench"), tmp_path / "bench")
    with pytest.raises(InputError, match="has files"):
        write(renders(shapes, views=2, side=8, look="3diebench"), tmp_path / "bench")
    (tmp_path / "bench" / "val_images.npy").unlink(missing_ok=True)
    np.save(tmp_path / "bench" / "train_images.npy", np.array(["/a/0", "/c/9"]))
    with pytest.raises(InputError, match="1 of 2 objects of the lists are not there, such as c/9"):
        diebench(tmp_path / "bench")
    np.save(tmp_path / "bench" / "train_images.npy", np.array(["/a/0"]))
    np.save(tmp_path / "bench" / "val_images.npy", np.array(["/a/1"]))
    np.save(tmp_path / "bench" / "a" / "0" / "latent_1.npy", np.zeros(3))
    with pytest.raises(InputError, match=r"1 of 4 latent files cannot be used: a/0/latent_1.npy: \(3,\) numbers"):
        diebench(tmp_path / "bench")


def test_renders_of_another_look_are_refused(shapes: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="render it with look=3diebench"):
        write(renders(shapes, views=2, side=8), tmp_path / "bench")


def test_an_ordinary_folder_is_none(shapes: Path) -> None:
    assert not recognised(shapes) and not recognised(shapes / "nothing")
