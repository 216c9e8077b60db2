"""The modality splats: opened by name, by header and from arrays; the built-in set and splats on clouds."""

from pathlib import Path

import numpy as np
import pytest

from manyviews.data import builtin_splats as built
from manyviews.data import splats
from manyviews.data.arrays import Array
from manyviews.data.builtin_splats import as_splats, builtin_splats
from manyviews.data.dataset import Data, Unreadable
from manyviews.data.opening import open_data
from manyviews.data.points import from_array as clouds_of
from manyviews.data.splats import OPACITY, POSITION, ROTATION, SCALE, natural_size
from manyviews.errors import InputError


def some(count: int, columns: int = 14, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    a = rng.uniform(0.1, 0.9, (count, columns)).astype(np.float32)
    a[:, ROTATION] = splats.unit(rng.normal(size=(count, 4)))
    return a


def sphere(count: int = 900) -> np.ndarray:
    """Points of a sphere of radius 2 about (5, 0, 0), and normals."""
    n = np.random.default_rng(0).normal(size=(count, 3))
    n /= np.linalg.norm(n, axis=1, keepdims=True)
    return np.concatenate([2 * n + (5, 0, 0), n], 1).astype(np.float32)


def matrices(q: np.ndarray) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_quat(q[:, [1, 2, 3, 0]]).as_matrix()


def test_files_are_recognised_by_their_header_and_clouds_stay_clouds(tmp_path: Path) -> None:
    for name in ("chair/chair_0001", "lamp/lamp_0001"):
        (tmp_path / "splats" / name).mkdir(parents=True)
        (tmp_path / "clouds" / name).mkdir(parents=True)
        splats.write(tmp_path / "splats" / name / "point_cloud.ply", some(40))
        corners = "\n".join(" ".join(map(str, p)) for p in some(40)[:, :3])
        (tmp_path / "clouds" / name / "a.ply").write_text(
            f"ply\nformat ascii 1.0\nelement vertex 40\nproperty float x\nproperty float y\nproperty float z\nend_header\n{corners}\n"
        )
    (tmp_path / "shapesplat").mkdir()
    for name in ("02691156-1a04e3eab45ca15dd86060f189eb133", "03636649-15238270f4f59a011b17743c18fb63dc"):
        splats.write(tmp_path / "shapesplat" / f"{name}.ply", some(40, 23))
    found = {name: open_data(str(tmp_path / name)) for name in ("splats", "clouds", "shapesplat")}
    assert {name: data.modality for name, data in found.items()} == {"splats": "splats", "clouds": "points", "shapesplat": "splats"}
    assert list(found["splats"].classes) == ["chair", "lamp"] and found["splats"][1].shape == (40, 14)
    assert list(found["shapesplat"].classes) == ["airplane", "lamp"] and found["shapesplat"].channels == 23
    assert open_data(str(tmp_path / "splats"), "splats").modality == "splats"


def test_arrays_are_splats_where_they_have_their_columns() -> None:
    one, many, mixed = splats.from_array(some(30)), splats.from_array(np.stack([some(30), some(30)])), splats.from_array([some(30), some(20, 23)])
    assert (len(one), len(many), len(mixed)) == (1, 2, 2) and one[0].shape == (30, 14)
    assert mixed.channels == 23 and mixed[0].shape == (30, 23) and not mixed[0][:, 14:].any() and "fewer harmonics" in mixed.said
    assert np.array_equal(many[1], some(30)) and open_data([some(30)], "splats").fingerprint() == splats.from_array([some(30)]).fingerprint()
    for wrong in (np.zeros((5, 13)), [], [some(4), np.zeros(14)]):
        with pytest.raises(InputError, match=r"splats in arrays of shape .*expected \(splats, columns\) each, \[14, 23, 38, 59, 86\] columns"):
            splats.from_array(wrong)


def test_a_view_has_as_many_splats_as_half_of_the_samples_have_up_to_1024() -> None:
    assert natural_size([some(100), some(300), some(200)]) == 200
    assert natural_size([some(5000)]) == natural_size([]) == 1024 and natural_size([some(3)]) == 32


def test_there_are_400_and_200_objects_of_20_kinds_that_are_as_they_ever_were() -> None:
    data = builtin_splats()
    assert len(data) == 600 and len(data.classes) == 20 and data.labels is not None and np.bincount(data.labels).tolist() == [30] * 20
    assert [(data.columns["split"] == name).sum() for name in ("train", "test")] == [400, 200]
    a = data[3]
    assert a.shape == (512, 14) and a.dtype == np.float32 and np.isfinite(a).all() and "the built-in set of splats" in data.describe()
    assert np.array_equal(a, data[3]) and not np.array_equal(a, data[4])
    assert np.array_equal(built.decode(built.surfaces()[0][3]), a)
    assert data.reduced(100)[3].shape == (100, 14) and data.in_channels(3)[3].shape == (512, 3)
    assert np.allclose(np.linalg.norm(a[:, ROTATION], axis=1), 1, atol=1e-5) and (a[:, ROTATION][:, 0] >= 0).all()
    assert (a[:, SCALE] > 0).all() and (a[:, OPACITY] > 0).all() and (a[:, OPACITY] < 1).all()
    assert np.allclose(a[0, :11], [-0.746, 0.087, -0.103, 0.911, 0.021, 0.108, 0.202, 0.946, 0.321, -0.022, -0.033], atol=2e-3)
    assert np.allclose([np.abs(data[i]).mean() for i in (0, 150, 300, 599)], [0.352, 0.324, 0.415, 0.351], atol=2e-3)


def test_splats_are_flat_and_lie_along_the_surface_as_far_apart_as_they_reach() -> None:
    cloud = sphere()
    a = built.covered(cloud, 7)
    solid = a[:, 3] > 0.6
    towards = (a[:, POSITION] - (5, 0, 0)) / 2
    on = solid & (np.abs(np.linalg.norm(towards, axis=1) - 1) < 1e-4)
    assert on.sum() > 400
    axes, thin = matrices(a[on][:, ROTATION]), a[on][:, SCALE].argmin(1)
    normal = np.take_along_axis(axes, thin[:, None, None], 2)[..., 0]
    assert np.median(np.abs((normal * towards[on]).sum(1))) > 0.999  # a few are longer across than along: extents vary
    extent = np.sort(a[on][:, SCALE], axis=1)
    assert 0.05 < np.median(extent[:, 0] / extent[:, 1]) < 0.2
    assert 0.5 < np.median(extent[:, 1:]) / np.sqrt(4 * np.pi * 4 / on.sum()) < 1.5


def test_no_other_naming_of_the_axes_turns_a_splat_less() -> None:
    from scipy.spatial.transform import Rotation

    a = built.covered(sphere(), 7)
    turns = Rotation.create_group("O").as_matrix()
    traces = np.einsum("nij,kji->nk", matrices(a[:, ROTATION]), turns)  # the larger, the smaller the angle
    assert np.allclose(traces.max(1), np.einsum("nii->n", matrices(a[:, ROTATION])), atol=1e-5)


def test_clouds_with_normals_are_covered_and_others_are_refused() -> None:
    data = as_splats(clouds_of(np.stack([sphere(), sphere()])))
    assert data.modality == "splats" and data.channels == 14 and data[0].shape == (512, 14)
    evenly = as_splats(data, spread_evenly=True)
    assert evenly.channels == 3 and evenly[0].shape == (512, 3) and evenly.reduced(50)[0].shape == (50, 3)
    assert np.allclose(np.linalg.norm(evenly[0] - (5, 0, 0), axis=1), 2, atol=1e-4)
    few = as_splats(clouds_of(sphere(20)[None]))[0]
    assert few.shape == (32, 14) and np.isfinite(few).all()
    with pytest.raises(Unreadable, match="without normals"):
        as_splats(Data(Array(sphere()[None, :, :3], "an array"), splats.decode, "points"))[0]
    with pytest.raises(InputError, match="not on images"):
        as_splats(Data(Array(np.zeros((1, 8, 8, 3), np.uint8), "an array"), splats.decode))
