"""Volumes: what formats and layouts give, which way is up, how large voxels are, what numbers become, and what damaged files say."""

import gzip
import io
import itertools
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from manyviews.data import volumes
from manyviews.data.dataset import Data, Unreadable
from manyviews.data.volumes import Scan, decode, decode_labels, looks_like_volumes, masks, open_volumes
from manyviews.errors import InputError

nib = pytest.importorskip("nibabel")
nrrd = pytest.importorskip("nrrd")
pydicom = pytest.importorskip("pydicom")

RANGE = (0.0, 100.0)


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYVIEWS_CACHE", str(tmp_path_factory.mktemp("cache")))


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 100, shape).astype(np.float32)


def nifti(path: Path, x: np.ndarray, affine: np.ndarray | None = None, **header: object) -> Path:
    """Writes x (i, j, k ...)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(x, np.eye(4) if affine is None else affine)
    for name, value in header.items():
        image.header[name] = value
    nib.save(image, path)
    return path


def plain(path: Path, **options: object) -> np.ndarray:
    """(depth, height, width) with 0 .. 100 as 0 .. 1, times 100."""
    return 100 * decode(Scan((path,), window=RANGE, **options))[..., 0]  # type: ignore[arg-type]


def says(path: Path, reason: str, **options: object) -> None:
    with pytest.raises(Unreadable, match=reason):
        decode(Scan((path,), **options))  # type: ignore[arg-type]


# --- which way is up, and how large a voxel is ----------------------------------------------------------------------------------------------


def test_all_48_ways_to_store_a_volume_give_the_same_array(tmp_path: Path) -> None:
    x = noise(5, 6, 7)  # to the right, the front, the head
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            affine = np.eye(4)
            affine[:3, :3] = 0
            for a, world in enumerate(axes):
                affine[world, a] = signs[a]
            stored = x.transpose(axes)[tuple(slice(None, None, s) for s in signs)]
            path = nifti(tmp_path / "x.nii", stored, affine)
            np.testing.assert_allclose(plain(path), x.transpose(2, 1, 0), atol=1e-4)
            whole, half = (decode(Scan((path,), window=RANGE), pixels)[..., 0] for pixels in (0, 2))
            np.testing.assert_allclose(half, whole[:6, :6, :4].reshape(3, 2, 3, 2, 2, 2).mean((1, 3, 5)), atol=1e-5)


def test_oblique_scans_keep_their_grid(tmp_path: Path) -> None:
    x, angle = noise(4, 5, 6), 0.3
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    np.testing.assert_allclose(plain(nifti(tmp_path / "x.nii.gz", x, affine)), x.transpose(2, 1, 0), atol=1e-4)


def test_anisotropic_voxels_become_cubes_in_which_a_ball_is_round(tmp_path: Path) -> None:
    step = np.array([1.0, 2.0, 3.0])
    shape = (60, 30, 20)
    place = (np.indices(shape).reshape(3, -1).T + 0.5) * step - 30
    ball = (100.0 * (np.linalg.norm(place, axis=1) < 20)).reshape(shape).astype(np.float32)
    path = nifti(tmp_path / "x.nii", ball, np.diag([*step, 1]))
    for pixels, side in ((0, 60), (30, 30), (20, 20), (59, 60), (31, 60)):
        x = decode(Scan((path,), window=RANGE), pixels)[..., 0]
        assert x.shape == (side,) * 3
        places = np.indices(x.shape).reshape(3, -1) * (60 / side)
        spread = np.sqrt(np.cov(places, aweights=x.ravel()).diagonal())
        np.testing.assert_allclose(spread, 20 / np.sqrt(5), rtol=0.05)


def slow_means(a: np.ndarray, ratio: float) -> np.ndarray:
    """Means of the last axis over stretches of `ratio`, from a piecewise constant function on a fine grid."""
    fine = np.repeat(a, 1000, -1)
    ends = [round(1000 * ratio * n) for n in range(int(a.shape[-1] / ratio) + 1)]
    return np.stack([fine[..., s:e].mean(-1) for s, e in itertools.pairwise(ends)], -1)


@pytest.mark.parametrize("ratio", [1.5, 2.0, 2.75, 6.9])
def test_larger_voxels_are_means_over_what_they_cover(tmp_path: Path, ratio: float) -> None:
    x = noise(4, 3, 14)
    path = nifti(tmp_path / "x.nii", x)
    expected = slow_means(x, ratio).transpose(2, 1, 0)
    np.testing.assert_allclose(plain(path, spacing=(ratio, 1.0, 1.0)), expected, rtol=2e-3)
    sideways = nifti(tmp_path / "y.nii", x.transpose(2, 0, 1), np.eye(4)[:, [2, 0, 1, 3]])
    np.testing.assert_allclose(plain(sideways, spacing=(ratio, 1.0, 1.0)), expected, rtol=2e-3)


def test_smaller_voxels_lie_on_the_line_between_their_neighbours(tmp_path: Path) -> None:
    ramp = np.broadcast_to(np.arange(10, dtype=np.float32), (3, 4, 10)).copy()
    x = plain(nifti(tmp_path / "x.nii", ramp), spacing=(0.25, 1.0, 1.0))
    assert x.shape == (40, 4, 3)
    np.testing.assert_allclose(x[:, 0, 0], np.clip((np.arange(40) + 0.5) / 4 - 0.5, 0, 9), atol=1e-4)


def test_given_millimetres_hold_whatever_is_asked_for_and_whatever_unit_the_file_has(tmp_path: Path) -> None:
    for units, scale in ((0, 1.0), (2, 1.0), (1, 0.001), (3, 1000.0)):
        path = nifti(tmp_path / "x.nii", noise(20, 20, 20), np.diag([scale, scale, scale, 1]))
        image = nib.load(path)
        image.header["xyzt_units"] = units
        nib.save(image, tmp_path / "y.nii")
        assert decode(Scan((tmp_path / "y.nii",), spacing=(2.0, 4.0, 5.0)), pixels=20).shape == (10, 5, 4, 1)


def test_the_shorter_side_never_has_less_than_is_asked_for(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        shape, step = rng.integers(4, 40, 3), rng.choice([0.5, 0.7, 0.998, 1.0, 1.003, 2.5], 3)
        path, pixels = nifti(tmp_path / "x.nii", noise(*shape), np.diag([*step, 1])), int(rng.integers(1, 12))
        whole, part = (min(decode(Scan((path,)), p).shape[:3]) for p in (0, pixels))
        assert part >= min(pixels, whole) and (part < 2 * pixels or whole < 2 * pixels)


def test_sheared_grids_are_refused_unless_the_scanner_knew_better(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[1, 2] = np.tan(np.radians(15))
    path = nifti(tmp_path / "x.nii", noise(4, 5, 6), affine)
    says(path, r"sheared: two of its axes are at 75\.0 degrees .* resample")
    image = nib.load(path)
    image.set_qform(np.diag([2.0, 1, 1, 1]), 1)
    image.set_sform(affine, 2)
    nib.save(image, tmp_path / "y.nii")
    assert decode(Scan((tmp_path / "y.nii",))).shape == (6, 5, 8, 1)


def test_a_broken_geometry_is_said(tmp_path: Path) -> None:
    good = nifti(tmp_path / "x.nii", noise(4, 5, 6)).read_bytes()
    for bad in (0.0, np.nan):
        (tmp_path / "x.nii").write_bytes(good[:296] + np.full(4, bad, "<f4").tobytes() + good[312:])
        says(tmp_path / "x.nii", "geometry is broken")


# --- numbers --------------------------------------------------------------------------------------------------------------------------------


def test_slope_and_intercept_count_and_a_scan_with_air_is_seen_as_ct(tmp_path: Path) -> None:
    stored = np.random.default_rng(0).integers(0, 3000, (8, 8, 8)).astype(np.int16)
    stored[:2] = 24
    image = nib.Nifti1Image(stored, np.eye(4))
    image.header.set_slope_inter(1.0, -1024.0)
    nib.save(image, tmp_path / "x.nii")
    expected = np.clip((stored.astype(float) - 1024 + 1000) / 2000, 0, 1).transpose(2, 1, 0)
    np.testing.assert_allclose(decode(tmp_path / "x.nii")[..., 0], expected, atol=1e-6)
    other = decode(Scan((tmp_path / "x.nii",), modality="not CT"))
    assert np.abs(other[..., 0] - expected).max() > 0.1


def test_other_scans_are_scaled_by_their_own_percentiles_so_that_gain_and_offset_do_not_matter(tmp_path: Path) -> None:
    x = noise(12, 12, 12)
    first = decode(nifti(tmp_path / "x.nii", x))
    np.testing.assert_allclose(decode(nifti(tmp_path / "y.nii", 7 * x + 300)), first, atol=1e-4)
    low, high = np.percentile(x, (0.5, 99.5))
    np.testing.assert_allclose(first[..., 0], np.clip((x.transpose(2, 1, 0) - low) / (high - low), 0, 1), atol=1e-5)


def test_the_window_does_not_depend_on_how_much_is_asked_for(tmp_path: Path) -> None:
    path = nifti(tmp_path / "x.nii", np.kron(noise(16, 16, 16), np.ones((2, 2, 2), np.float32)))
    np.testing.assert_allclose(decode(path, 16), decode(path)[::2, ::2, ::2], atol=1e-5)


def test_constant_volumes_and_numbers_that_are_none_are_harmless(tmp_path: Path) -> None:
    assert not decode(nifti(tmp_path / "x.nii", np.full((4, 4, 4), 7.0, np.float32))).any()
    x = noise(4, 5, 6)
    x[0], x[1] = np.nan, np.inf
    out = decode(nifti(tmp_path / "y.nii", x))
    assert np.isfinite(out).all() and not out[:, :, :2].any() and out[:, :, 2:].mean() > 0.3
    spot = np.zeros((16, 16, 16), np.float32)
    spot[3, 3, 3] = 5  # too little for the percentiles
    assert decode(nifti(tmp_path / "z.nii", spot)).max() == 1


def test_channels_are_repeated_or_averaged_or_refused(tmp_path: Path) -> None:
    path = nifti(tmp_path / "x.nii", noise(4, 5, 6))
    assert decode(path, channels=3).shape == (6, 5, 4, 3)
    colour = np.zeros((4, 5, 6), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    colour["G"][1] = 200
    colour["B"][2] = 100
    out = decode(nifti(tmp_path / "y.nii", colour))
    assert out.shape == (6, 5, 4, 3) and out[..., 1, 1].min() == 1 and out[..., 2, 2].min() == 1 and not out[..., 0].any()
    assert decode(tmp_path / "y.nii", channels=1).shape == (6, 5, 4, 1)
    with pytest.raises(Unreadable, match="3 channels where 2 are expected"):
        decode(tmp_path / "y.nii", channels=2)


# --- damaged and unusual files --------------------------------------------------------------------------------------------------------------


def test_broken_headers_say_what_is_wrong(tmp_path: Path) -> None:
    good = nifti(tmp_path / "good.nii", noise(4, 5, 6)).read_bytes()
    for at, change, reason in (
        (0, b"\0\0\0\0", "not NIfTI"),
        (344, b"xx1\0", "not NIfTI"),
        (344, b"ni1\0", r"another file \(\.img\)"),
        (42, b"\xff\xff", "a header of -1 x 5 x 6"),
        (40, b"\x02\x00", "a header of 4 x 5 voxels"),
        (70, b"\x99\x00", "153"),
        (46, b"\xff\x7f", "truncated"),
    ):
        (tmp_path / "x.nii").write_bytes(good[:at] + change + good[at + len(change) :])
        says(tmp_path / "x.nii", reason)
    for raw, reason in ((b"", "not NIfTI"), (b"hello", "not NIfTI"), (good[:-50], "truncated: it ends in plane 6 of 6"), (good[:360], "plane 1 of 6")):
        (tmp_path / "x.nii").write_bytes(raw)
        says(tmp_path / "x.nii", reason)
    says(tmp_path / "none.nii", "No such file")
    says(nifti(tmp_path / "c.nii", noise(4, 5, 6).astype(np.complex64)), "complex64")
    says(nifti(tmp_path / "p.nii", noise(4, 5, 1)), "4 x 5 x 1 voxels are a picture")


def test_truncated_or_damaged_compression_is_unreadable_and_plain_files_may_be_called_gz(tmp_path: Path) -> None:
    packed = nifti(tmp_path / "good.nii.gz", noise(20, 20, 20)).read_bytes()
    (tmp_path / "x.nii.gz").write_bytes(packed[: len(packed) // 2])
    says(tmp_path / "x.nii.gz", "truncated")
    (tmp_path / "y.nii.gz").write_bytes(packed[:500] + bytes(200) + packed[700:])
    says(tmp_path / "y.nii.gz", "CRC check failed|Error")
    (tmp_path / "z.nii.gz").write_bytes(gzip.decompress(packed))
    assert decode(tmp_path / "z.nii.gz").shape == (20, 20, 20, 1)


def test_big_endian_and_nifti_2_files_are_read(tmp_path: Path) -> None:
    x = noise(4, 5, 6)
    nib.save(nib.Nifti2Image(x, np.eye(4)), tmp_path / "x.nii")
    np.testing.assert_allclose(plain(tmp_path / "x.nii"), x.transpose(2, 1, 0), atol=1e-4)
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.float32)
    nib.save(nib.Nifti1Image(x, np.eye(4), header), tmp_path / "y.nii")
    np.testing.assert_allclose(plain(tmp_path / "y.nii"), x.transpose(2, 1, 0), atol=1e-4)


def test_little_memory_is_used_where_little_is_asked_for(tmp_path: Path) -> None:
    path = nifti(tmp_path / "x.nii", np.zeros((4, 4, 4), np.int16))
    raw = bytearray(path.read_bytes()[:352])
    raw[42:48] = np.array([256, 256, 256], "<i2").tobytes()
    with open(path, "wb") as file:  # 32 MB of zeros, as a hole in the file
        file.write(raw)
        file.truncate(352 + 2 * 256**3)
    tracemalloc.start()
    assert decode(path, 32).shape == (32, 32, 32, 1)
    assert tracemalloc.get_traced_memory()[1] < 6 << 20
    tracemalloc.stop()


def test_results_too_large_to_hold_are_refused(tmp_path: Path) -> None:
    says(nifti(tmp_path / "x.nii", noise(20, 20, 20)), "2000 x 2000 x 2000 voxels are more than the .* coarser spacing", spacing=(0.01,) * 3)


# --- several volumes in a file --------------------------------------------------------------------------------------------------------------


def test_a_series_among_volumes_is_refused_with_the_way_out(tmp_path: Path) -> None:
    for i in range(3):
        nifti(tmp_path / f"{i}.nii", noise(4, 5, 6))
    x = noise(4, 5, 6, 7)
    nifti(tmp_path / "series.nii", x)
    data = open_volumes(tmp_path)
    assert data.channels == 1 and data.said == ""
    with pytest.raises(Unreadable, match=r"7 volumes where one is meant; open_volumes\(path, fourth='first'\)"):
        data[3]
    first = open_volumes(tmp_path, fourth="first", window=RANGE)[3]
    np.testing.assert_allclose(100 * first[..., 0], x[..., 0].transpose(2, 1, 0), atol=1e-4)
    assert open_volumes(tmp_path, fourth="channels").in_channels(0)[3].shape == (6, 5, 4, 7)
    assert nifti(tmp_path / "one.nii", x[..., :1]) and decode(tmp_path / "one.nii").shape == (6, 5, 4, 1)


def test_a_set_of_series_gives_the_first_of_each_and_one_of_contrasts_channels(tmp_path: Path) -> None:
    x = noise(4, 5, 6, 4)
    for i in range(2):
        nifti(tmp_path / f"time/{i}.nii.gz", x, xyzt_units=2 | 8)
        nifti(tmp_path / f"contrasts/{i}.nii.gz", x)
    data = open_volumes(tmp_path / "time", window=RANGE)
    assert data.channels == 1 and "the first of the 4 volumes of a file" in data.describe()
    np.testing.assert_allclose(100 * data[0][..., 0], x[..., 0].transpose(2, 1, 0), atol=1e-4)
    data = open_volumes(tmp_path / "contrasts", window=RANGE)
    assert data.channels == 4 and "the 4 volumes of a file as channels" in data.describe()
    np.testing.assert_allclose(100 * data[0], x.transpose(2, 1, 0, 3), atol=1e-4)
    (tmp_path / "time/dataset.json").write_text(json.dumps({"modality": {str(i): f"T{i}" for i in range(4)}}))
    assert open_volumes(tmp_path / "time").channels == 4
    with pytest.raises(InputError, match="'first', 'channels'"):
        open_volumes(tmp_path / "time", fourth="last")


# --- layouts, labels and label maps ---------------------------------------------------------------------------------------------------------


def names(data: Data) -> list[str]:
    return [data.name(i) for i in range(len(data))]


def test_class_and_split_folders_are_those_of_images_and_folders_of_patients_are_no_classes(tmp_path: Path) -> None:
    for name in ("train/a/1", "train/a/2", "train/b/3", "test/a/4", "test/b/5"):
        nifti(tmp_path / f"classes/{name}.nii.gz", noise(4, 4, 4))
    data = open_volumes(tmp_path / "classes")
    assert list(data.classes) == ["a", "b"] and data.labels is not None
    assert sorted(zip(names(data), data.labels.tolist(), strict=True))[0] == ("test/a/4.nii.gz", 0)
    assert (data.columns["split"] == "train").sum() == 3
    for patient in "xyz":
        nifti(tmp_path / f"patients/{patient}/scan.nii.gz", noise(4, 4, 4))
    assert open_volumes(tmp_path / "patients").labels is None


def test_a_decathlon_task_has_label_maps_a_split_and_its_kind_of_scan(tmp_path: Path) -> None:
    for i in range(3):
        nifti(tmp_path / f"imagesTr/liver_{i}.nii.gz", noise(6, 6, 6, seed=i) - 60)
        nifti(tmp_path / f"labelsTr/liver_{i}.nii.gz", (noise(6, 6, 6, seed=i) > 50).astype(np.uint8))
    nifti(tmp_path / "imagesTs/liver_9.nii.gz", noise(6, 6, 6))
    about = {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver"}, "training": [], "test": []}
    (tmp_path / "dataset.json").write_text(json.dumps(about))
    data = open_volumes(tmp_path)
    assert names(data) == [f"imagesTr/liver_{i}.nii.gz" for i in range(3)] + ["imagesTs/liver_9.nii.gz"]
    assert data.columns["split"].tolist() == ["train"] * 3 + ["test"] and data.labels is None
    assert "3 with label maps" in data.describe()
    np.testing.assert_allclose(data[1][..., 0], (noise(6, 6, 6, seed=1).transpose(2, 1, 0) - 60 + 1000) / 2000, atol=1e-5)
    maps = masks(data)
    assert list(maps.classes) == ["background", "liver"] and len(maps) == len(data)
    for i in range(3):
        assert maps[i].dtype == np.int16
        np.testing.assert_array_equal(maps[i][..., 0], noise(6, 6, 6, seed=i).transpose(2, 1, 0) > 50)
    with pytest.raises(Unreadable, match="no label map"):
        maps[3]
    assert masks(data.select(np.array([2])))[0].sum() == maps[2].sum()
    np.testing.assert_allclose(open_volumes(tmp_path / "imagesTr")[1], data[1])  # known to be CT there too


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/a.nii.gz", "labels/a.nii.gz"),
        ("train/image/a.nii", "train/mask/a.nii.gz"),
        ("a.nii.gz", "a_seg.nii.gz"),
        ("p1/a_frame01.nii.gz", "p1/a_frame01_gt.nii.gz"),
        ("imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz"),
        ("p1/p1_t1.nii.gz", "p1/p1_seg.nii.gz"),
        ("images/a.nrrd", "labels/a.nii.gz"),
    ],
)
def test_label_maps_are_found_beside_their_volumes(tmp_path: Path, image: str, label: str) -> None:
    x = noise(4, 5, 6)
    for k in range(2):
        path = tmp_path / image.replace("a", "b" * k + "a", 1) if "/" not in image else tmp_path / image
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".nrrd":
            nrrd.write(str(path), x)
        else:
            nifti(path, x)
    nifti(tmp_path / label, (x > 50).astype(np.int16))
    data = open_volumes(tmp_path)
    row = names(data).index(image)
    np.testing.assert_array_equal(masks(data)[row][..., 0], x.transpose(2, 1, 0) > 50)
    assert label not in names(data)


def test_names_that_only_look_like_label_maps_are_volumes(tmp_path: Path) -> None:
    for name in ("masks/1", "masks/2", "hats/3", "hats/4"):
        nifti(tmp_path / f"{name}.nii", noise(4, 4, 4))
    data = open_volumes(tmp_path)
    assert len(data) == 4 and list(data.classes) == ["hats", "masks"]
    with pytest.raises(InputError, match="no label maps; they lie in labelsTr"):
        masks(data)


def test_label_maps_follow_their_volume_to_other_voxels_by_majority(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 3, (8, 9, 6)).astype(np.uint8)
    path = nifti(tmp_path / "x.nii", labels)
    out = decode_labels(path, 3)[..., 0]
    assert out.shape == decode(path, 3).shape[:3] == (3, 4, 4)
    blocks = labels[:8, :8].reshape(4, 2, 4, 2, 3, 2).transpose(4, 2, 0, 1, 3, 5).reshape(3, 4, 4, 8)
    np.testing.assert_array_equal(out, np.apply_along_axis(lambda b: np.bincount(b, minlength=3).argmax(), 3, blocks))
    thick = nifti(tmp_path / "y.nii", labels, np.diag([1.0, 1, 2, 1]))
    np.testing.assert_array_equal(decode_labels(path)[..., 0], labels.transpose(2, 1, 0))
    assert set(np.unique(decode_labels(thick))) <= {0, 1, 2} and decode_labels(thick).shape == (12, 9, 8, 1)


def test_label_maps_that_do_not_fit_their_volume_say_so(tmp_path: Path) -> None:
    image = Scan((nifti(tmp_path / "x.nii", noise(4, 5, 6)),))
    for label, affine, reason in (
        (np.zeros((4, 5, 7), np.uint8), np.eye(4), r"a label map of \(4, 5, 7\), 1 channels, for an image of \(4, 5, 6\)"),
        (np.zeros((4, 5, 6), np.uint8), np.diag([-1.0, 1, 1, 1]), "axes are not those of its image"),
        (noise(4, 5, 6), np.eye(4), "labels are whole numbers"),
    ):
        with pytest.raises(Unreadable, match=reason):
            decode_labels(Scan((nifti(tmp_path / "y.nii", label, affine),), image=image))


def test_lists_single_files_and_arrays_are_opened(tmp_path: Path) -> None:
    for i in range(4):
        nifti(tmp_path / f"{i}.nii.gz", noise(4, 5, 6, seed=i))
    (tmp_path / "list.csv").write_text("path,label\n0.nii.gz,well\n1.nii.gz,ill\n")
    data = open_volumes(tmp_path / "list.csv")
    assert len(data) == 2 and list(data.classes) == ["ill", "well"] and data[1].shape == (6, 5, 4, 1)
    assert names(open_volumes(tmp_path / "2.nii.gz")) == ["2.nii.gz"]
    x = noise(3, 6, 5, 40)
    np.save(tmp_path / "many.npy", x)
    data = open_volumes(tmp_path / "many.npy")
    assert len(data) == 3 and data[0].shape == (6, 5, 40, 1)
    np.testing.assert_array_equal(volumes.from_array(x[..., None])[2], data[2])
    np.savez(tmp_path / "set.npz", x_train=x, y_train=[0, 1, 0], x_test=x[:1], y_test=[1])
    data = open_volumes(tmp_path / "set.npz")
    assert data.labels is not None and data.labels.tolist() == [0, 1, 0, 1] and data.columns["split"][-1] == "test"
    np.save(tmp_path / "one.npy", x[..., :3])  # depth, height, width, channels
    assert open_volumes(tmp_path / "one.npy")[0].shape == (3, 6, 5, 3)
    for bad in (np.zeros(3), np.zeros((2, 3, 4, 5), complex)):
        with pytest.raises(InputError, match="volumes are numbers"):
            volumes.from_array(bad)
    (tmp_path / "bad.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match="cannot be read as an array"):
        open_volumes(tmp_path / "bad.npy")


def test_folders_without_volumes_or_with_bad_ones_only_say_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no volumes; looked for, at any depth: \.nii .* DICOM"):
        open_volumes(tmp_path)
    (tmp_path / "x.nii").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"none of the first volumes .*\n  x\.nii: not NIfTI"):
        open_volumes(tmp_path)
    with pytest.raises(InputError, match="above 0"):
        open_volumes(tmp_path, spacing=-1.0)


def test_what_looks_like_volumes(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/1.png").write_bytes(b"png")
    assert not looks_like_volumes(tmp_path / "photos") and not looks_like_volumes(tmp_path / "photos/1.png")
    nifti(tmp_path / "study/a/b/x.nii.gz", noise(4, 4, 4))
    assert looks_like_volumes(tmp_path / "study") and looks_like_volumes(tmp_path / "study/a/b/x.nii.gz")
    write_series(tmp_path / "dicom/p/s", noise(4, 5, 6), ending="")
    assert looks_like_volumes(tmp_path / "dicom")
    assert not looks_like_volumes(tmp_path / "nowhere")


def test_the_fingerprint_changes_with_what_is_read_and_how(tmp_path: Path) -> None:
    for i in range(2):
        nifti(tmp_path / f"images/{i}.nii", noise(4, 4, 4))
        nifti(tmp_path / f"labels/{i}.nii", np.zeros((4, 4, 4), np.uint8))
    prints = {open_volumes(tmp_path, **o).fingerprint() for o in ({}, {"spacing": 2.0}, {"window": (0.0, 1.0)}, {"fourth": "first"})}  # type: ignore[arg-type]
    data = open_volumes(tmp_path)
    assert len(prints | {masks(data).fingerprint()}) == 5 and data.fingerprint() in prints


def test_a_missing_library_is_named_with_the_way_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nifti(tmp_path / "x.nii", noise(4, 4, 4))
    monkeypatch.setitem(__import__("sys").modules, "nibabel", None)
    with pytest.raises(InputError, match=r"needs nibabel: pip install 'manyviews\[volumes\]'"):
        open_volumes(tmp_path)


# --- NRRD and MetaImage ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
def test_nrrd_is_turned_from_its_space_to_ours(tmp_path: Path, encoding: str) -> None:
    x = np.random.default_rng(0).integers(-9, 100, (4, 5, 6)).astype(np.int16)
    header = {"space": "left-posterior-superior", "space directions": np.diag([1.0, 1.0, 2.0]), "encoding": encoding}
    nrrd.write(str(tmp_path / "x.nrrd"), x, header)
    expected = np.clip(x[::-1, ::-1].transpose(2, 1, 0), 0, 100)
    np.testing.assert_allclose(plain(tmp_path / "x.nrrd", spacing=(2.0, 1.0, 1.0)), expected, atol=1e-4)
    assert decode(tmp_path / "x.nrrd").shape == (12, 5, 4, 1)


def test_nrrd_axes_without_directions_are_channels_or_volumes(tmp_path: Path) -> None:
    x, blank = noise(3, 4, 5, 6), [np.nan] * 3
    nrrd.write(str(tmp_path / "x.nrrd"), x, {"space": "RAS", "space directions": np.array([blank, *np.eye(3)]), "kinds": ["vector", *["domain"] * 3]})
    np.testing.assert_allclose(100 * decode(Scan((tmp_path / "x.nrrd",), window=RANGE)), x.transpose(3, 2, 1, 0), atol=1e-4)
    nrrd.write(str(tmp_path / "y.nrrd"), x.transpose(1, 2, 3, 0), {"space": "RAS", "space directions": np.array([*np.eye(3), blank])})
    says(tmp_path / "y.nrrd", "3 volumes where one is meant")
    nrrd.write(str(tmp_path / "z.nrrd"), noise(4, 5, 6))
    assert decode(tmp_path / "z.nrrd").shape == (6, 5, 4, 1)
    nrrd.write(str(tmp_path / "p.nrrd"), noise(4, 5))
    says(tmp_path / "p.nrrd", "a volume has three")
    (tmp_path / "bad.nrrd").write_bytes(b"NRRD0004\ntype: nonsense\n")
    says(tmp_path / "bad.nrrd", "")


@pytest.mark.parametrize("name", ["short", "signed short int", "int16", "MET_SHORT", "unsigned char", "uint8", "MET_UCHAR", "float", "MET_DOUBLE", "uint64"])
def test_types_have_many_names(name: str) -> None:
    expected = {"s": "i2", "i": "i2", "f": "f4"}.get(name[0], {"MET_SHORT": "i2", "MET_DOUBLE": "f8", "uint64": "u8"}.get(name, "u1"))
    assert volumes.number_type(name, little=True) == np.dtype("<" + expected)


@pytest.mark.parametrize("packed", [False, True])
def test_metaimage_is_turned_from_its_space_to_ours(tmp_path: Path, packed: bool) -> None:
    import zlib

    x = np.random.default_rng(0).integers(0, 100, (6, 5, 4)).astype("<u2")  # k, j, i
    turn = "0 1 0 -1 0 0 0 0 1"  # i runs to the back, j to the right
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        f"CompressedData = {packed}",
        f"TransformMatrix = {turn}",
    ]
    lines += ["Offset = 0 0 0", "ElementSpacing = 1 1 2", "DimSize = 4 5 6", "ElementType = MET_USHORT"]
    raw = zlib.compress(x.tobytes()) if packed else x.tobytes()
    (tmp_path / "x.mha").write_bytes("\n".join([*lines, "ElementDataFile = LOCAL\n"]).encode() + raw)
    expected = x.transpose(0, 2, 1)[:, ::-1]  # depth, height to the front, width to the right
    np.testing.assert_allclose(plain(tmp_path / "x.mha", spacing=(2.0, 1.0, 1.0)), expected, atol=1e-4)
    (tmp_path / "x.mhd").write_text("\n".join([*lines, "ElementDataFile = x.raw\n"]))
    (tmp_path / "x.raw").write_bytes(raw)
    np.testing.assert_array_equal(decode(tmp_path / "x.mhd"), decode(tmp_path / "x.mha"))
    (tmp_path / "x.raw").write_bytes(raw[:-20])
    says(tmp_path / "x.mhd", "truncated")
    (tmp_path / "y.mha").write_bytes(b"nothing at all")
    says(tmp_path / "y.mha", "not MetaImage")


# --- DICOM ----------------------------------------------------------------------------------------------------------------------------------


def write_series(
    place: Path, x: np.ndarray, turn: tuple[float, ...] = (1, 0, 0, 0, 1, 0), step: float = 2.0, ending: str = ".dcm", modality: str = "MR", seed: int = 0
) -> list[Path]:
    """Slices of x (i, j, k), k along the normal, under names that say nothing of their order; returns their paths by k."""
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    place.mkdir(parents=True, exist_ok=True)
    series, normal, paths = generate_uid(), np.cross(turn[:3], turn[3:]), []
    for k, name in enumerate(np.random.default_rng(seed).permutation(x.shape[2])):
        meta = pydicom.dataset.FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ExplicitVRLittleEndian, MRImageStorage, generate_uid()
        d = pydicom.dataset.FileDataset("", {}, file_meta=meta, preamble=bytes(128))
        d.SOPClassUID, d.SOPInstanceUID, d.SeriesInstanceUID, d.Modality = MRImageStorage, meta.MediaStorageSOPInstanceUID, series, modality
        d.Columns, d.Rows = x.shape[:2]
        d.PixelSpacing, d.ImageOrientationPatient, d.ImagePositionPatient = [1.5, 1.0], list(turn), [float(v) for v in 10 + k * step * normal]
        d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation, d.SamplesPerPixel, d.PhotometricInterpretation = 16, 12, 11, 0, 1, "MONOCHROME2"
        d.PixelData = np.ascontiguousarray(x[:, :, k].T.astype("<u2")).tobytes()
        paths.append(place / f"IM{name:04d}{ending}")
        d.save_as(paths[-1], enforce_file_format=True)
    return paths


def change(path: Path, **tags: object) -> None:
    d = pydicom.dcmread(path)
    for name, value in tags.items():
        if value is None:
            delattr(d, name)
        else:
            setattr(d, name, value)
    d.save_as(path)


def grey(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 100, shape).astype(np.uint16)


@pytest.mark.parametrize(
    "turn", [(1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1), (-1, 0, 0, 0, 1, 0)], ids=["axial", "coronal", "sagittal", "from below"]
)
def test_a_series_is_the_volume_that_its_positions_say(tmp_path: Path, turn: tuple[float, ...]) -> None:
    x = grey(4, 5, 6)
    write_series(tmp_path / "dicom/patient", x, turn)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([np.array(turn[:3]) * 1.0, np.array(turn[3:]) * 1.5, 2.0 * np.cross(turn[:3], turn[3:])], 1) * [[-1], [-1], [1]]
    path = nifti(tmp_path / "x.nii", x, affine)  # the same in another format
    data = open_volumes(tmp_path / "dicom", window=RANGE)
    assert names(data) == ["patient"] and data.describe().startswith("1 volumes from folder")
    np.testing.assert_allclose(data[0], decode(Scan((path,), window=RANGE)), atol=1e-5)
    np.testing.assert_allclose(
        open_volumes(tmp_path / "dicom", spacing=1.0, window=RANGE)[0], decode(Scan((path,), spacing=(1.0, 1.0, 1.0), window=RANGE)), atol=1e-5
    )


def test_series_are_told_apart_by_their_number_and_their_folder_and_need_no_ending(tmp_path: Path) -> None:
    for c, i in itertools.product("ab", range(2)):
        write_series(tmp_path / f"{c}/p{i}", grey(4, 5, 6), ending="")
    write_series(tmp_path / "b/p1", grey(4, 5, 3), seed=1, ending=".second")
    (tmp_path / "b/notes.txt").write_text("no scan")
    data = open_volumes(tmp_path)
    assert len(data) == 5 and list(data.classes) == ["a", "b"] and data.labels is not None and data.labels.tolist() == [0, 0, 1, 1, 1]
    assert names(data)[:3] == ["a/p0", "a/p1", "b/p0"] and names(data)[3].startswith("b/p1/1.2.")
    assert sorted(data[i].shape[0] for i in range(5)) == sorted([12, 12, 12, 12, 6])


def test_each_slice_has_its_own_slope_and_low_may_be_bright(tmp_path: Path) -> None:
    x = grey(4, 5, 3)
    paths = write_series(tmp_path, x)
    for k, path in enumerate(paths):
        change(path, RescaleSlope=k + 1.0, RescaleIntercept=-5.0)
    got = 100 * open_volumes(tmp_path, spacing=(2.0, 1.5, 1.0), window=RANGE)[0][..., 0]
    np.testing.assert_allclose(got, np.clip(x[::-1, ::-1].transpose(2, 1, 0) * np.array([1.0, 2, 3])[:, None, None] - 5, 0, 100), atol=1e-3)
    for path in paths:
        change(path, RescaleSlope=1.0, RescaleIntercept=-4000.0, PhotometricInterpretation="MONOCHROME1")
    got = 100 * open_volumes(tmp_path, spacing=(2.0, 1.5, 1.0), window=RANGE)[0][..., 0]
    np.testing.assert_allclose(got, np.clip(95.0 - x[::-1, ::-1].transpose(2, 1, 0), 0, None), atol=1e-3)


def test_dicom_says_itself_whether_it_is_ct(tmp_path: Path) -> None:
    x = grey(4, 5, 6)
    write_series(tmp_path / "ct", x, modality="CT")
    write_series(tmp_path / "mr", x)
    np.testing.assert_allclose(open_volumes(tmp_path / "ct", spacing=(2.0, 1.5, 1.0))[0][..., 0], (x[::-1, ::-1].transpose(2, 1, 0) + 1000) / 2000, atol=1e-5)
    assert open_volumes(tmp_path / "mr", spacing=(2.0, 1.5, 1.0))[0].max() == 1


def test_series_that_are_no_regular_grid_say_why(tmp_path: Path) -> None:
    def reason(said: str, k: list[int], count: int = 12, **tags: object) -> None:
        place = tmp_path / str(len(list(tmp_path.iterdir())))
        paths = write_series(place, grey(4, 5, count))
        for i in k:
            change(paths[i], **tags) if tags else paths[i].unlink()
        says(next(place.iterdir()), "one slice is no volume")  # a file alone
        with pytest.raises(Unreadable, match=said):
            decode(Scan(tuple(place.iterdir())))

    reason(r"about 1 of 12 slices are missing, the first of them after slice 5, at 18\.0 mm", [5])
    reason("about 3 of 12 slices are missing", [1, 2, 10])
    reason("slices of 2 orientations", [3], ImageOrientationPatient=[1, 0, 0, 0, 0, 1])
    reason("slices of 2 sizes: 11 of 4 x 5 pixels of 1 x 1.5 mm, 1 of 4 x 5 pixels of 1 x 3 mm", [3], PixelSpacing=[3, 1])
    reason("2 of 12 slices lie where others do: a series in time", [3], ImagePositionPatient=[10, 10, 14])
    reason("uneven steps: 1.2 to 2.8 mm apart, or shifted", [4], ImagePositionPatient=[10, 10, 18.8])
    reason("shifted sideways", [4], ImagePositionPatient=[13, 10, 18])
    reason("1 of 12 slices have no ImagePositionPatient", [3], ImagePositionPatient=None)
    reason("several frames in one file .* dcm2niix", [3], NumberOfFrames=7)
    reason("pictures in colour", [3], SamplesPerPixel=3)
    reason("no volume", list(range(1, 12)))


def test_a_tilted_gantry_is_sheared_and_rounded_positions_are_even(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "tilted", grey(4, 5, 6))
    for k, path in enumerate(paths):
        change(path, ImagePositionPatient=[0, k * 0.7, k * 2.0])
    with pytest.raises(Unreadable, match="tilted gantry"):
        decode(Scan(tuple(paths)))
    for k, path in enumerate(paths):
        change(path, ImagePositionPatient=[0, 0, round(k * 1.25, 1)])
    assert decode(Scan(tuple(paths))).shape[0] == 7


def test_a_slice_that_is_there_twice_counts_once_and_files_that_cannot_be_read_are_listed(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "p", grey(4, 5, 6))
    (tmp_path / "p/copy.dcm").write_bytes(paths[2].read_bytes())
    (tmp_path / "p/bad.dcm").write_bytes(b"nothing")
    data = open_volumes(tmp_path)
    assert len(data) == 2 and data[names(data).index(next(n for n in names(data) if "bad" not in n))].shape[0] == 12
    with pytest.raises(Unreadable, match="DICOM"):
        data[next(i for i, n in enumerate(names(data)) if "bad" in n)]


def test_compressed_slices_are_read_where_a_decoder_is_there_and_named_where_not(tmp_path: Path) -> None:
    x = grey(4, 5, 6)
    paths = write_series(tmp_path, x)
    plainly = decode(Scan(tuple(paths)))
    for path in paths:
        d = pydicom.dcmread(path)
        d.compress(pydicom.uid.RLELossless)
        d.save_as(path)
    np.testing.assert_array_equal(decode(Scan(tuple(paths))), plainly)
    d = pydicom.dcmread(paths[0])
    d.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
    d.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + bytes(60)])
    d.save_as(paths[0])
    with pytest.raises(Unreadable, match=rf"{paths[0].name}, JPEG 2000 Image Compression \(Lossless Only\): "):
        decode(Scan(tuple(paths)))


def test_arrays_in_memory_and_bytes_of_nonsense(tmp_path: Path) -> None:
    x = noise(4, 5, 6)
    low, high = np.percentile(x, (0.5, 99.5))
    np.testing.assert_allclose(decode(x)[..., 0], np.clip((x - low) / (high - low), 0, 1), atol=1e-5)
    assert decode(x.astype(np.uint8), 2).shape == (2, 2, 3, 1)
    with pytest.raises(Unreadable, match="is not a volume"):
        decode(np.zeros((4, 5)))
    buffer = io.BytesIO()
    np.save(buffer, x.astype(object), allow_pickle=True)
    (tmp_path / "x.npy").write_bytes(buffer.getvalue())
    says(tmp_path / "x.npy", "")
