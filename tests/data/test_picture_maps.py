"""Label maps beside pictures: which file is whose, and what the numbers mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from manyviews.counters import Counter
from manyviews.data.dataset import Data, Unreadable
from manyviews.data.opening import open_data
from manyviews.data.picture_maps import Mapped
from manyviews.data.regions import Regions, regions
from manyviews.errors import InputError
from manyviews.views import images


def write(path: Path, a: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(a).save(path)


def picture(height: int = 12, width: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def label(height: int = 12, width: int = 16, right: int = 2, void: int = 255) -> np.ndarray:
    """0 left of the middle, `right` beside it, and one place that is not known."""
    a = np.zeros((height, width), np.uint8)
    a[:, width // 2 :] = right
    a[0, 0] = void
    return a


def inside(data: Data) -> Regions:
    found = regions(data)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "seen,beside,split",
    [
        ("images/a.jpg", "labels/a.png", ""),
        ("images/a.png", "masks/a.png", ""),
        ("train/images/a.jpg", "train/labels/a.png", "train"),
        ("images/val/a.jpg", "annotations/val/a.png", "validation"),
        ("test/a.png", "testannot/a.png", "test"),
        ("JPEGImages/a.jpg", "SegmentationClass/a.png", ""),
        ("imagesTr/a.png", "labelsTr/a.tif", "train"),
        ("a.jpg", "a_mask.png", ""),
        ("road/a.jpg", "road/a-gt.bmp", ""),
    ],
)
def test_maps_are_found_beside_their_pictures_and_are_no_samples(tmp_path: Path, seen: str, beside: str, split: str) -> None:
    write(tmp_path / seen, picture())
    write(tmp_path / beside, label())
    seen_too = [seen]
    if split in ("validation", "test"):  # parts only beside a part to train on
        seen_too.append(seen.replace("val", "train").replace("test", "train"))
        write(tmp_path / seen_too[1], picture())
    data = open_data(tmp_path)
    assert sorted(data.name(i) for i in range(len(data))) == sorted(seen_too)
    assert "with 1 label map" in data.describe()
    row = [data.name(i) for i in range(len(data))].index(seen)
    assert split == "" or data.columns["split"][row] == split
    assert set(inside(data).read(row)[1]) == {-1, 0, 2}


def test_object_maps_of_voc_do_not_stand_for_classes(tmp_path: Path) -> None:
    write(tmp_path / "JPEGImages/a.jpg", picture())
    write(tmp_path / "SegmentationClass/a.png", label(right=5))
    write(tmp_path / "SegmentationObject/a.png", label(right=1))
    data = open_data(tmp_path)
    assert len(data) == 1 and set(inside(data).read(0)[1]) == {-1, 0, 5}


def test_classes_that_are_called_so_are_classes_still(tmp_path: Path) -> None:
    for k in range(3):
        write(tmp_path / f"hats/{k}.png", picture(seed=k))
        write(tmp_path / f"masks/{k + 5}.png", picture(seed=k + 5))
    data = open_data(tmp_path)
    assert data.classes == ["hats", "masks"] and len(data) == 6 and regions(data) is None


def test_photographs_are_no_maps_whatever_their_folder(tmp_path: Path) -> None:
    for name in ("images", "labels"):  # of bottles
        for k in range(3):
            write(tmp_path / name / f"{k}.jpg", picture(seed=k))
    assert len(open_data(tmp_path)) == 6


def test_numbers_lie_at_the_pixels_of_the_picture_as_it_is_handed_over(tmp_path: Path) -> None:
    write(tmp_path / "images/a.png", picture(24, 40))
    write(tmp_path / "labels/a.png", label(24, 40, right=3))
    data = open_data(tmp_path)
    for small in (data, data.reduced(6)):
        height, width = small[0].shape[:2]
        places, there = inside(small).read(0)
        assert places.shape == (height * width, 2)
        np.testing.assert_array_equal(there[1:] == 3, places[1:, 0] > width / 2)
    assert (height, width) == (6, 10)


def test_void_is_255_or_what_is_said(tmp_path: Path) -> None:
    write(tmp_path / "images/a.png", picture())
    write(tmp_path / "labels/a.png", label(right=11))
    assert set(inside(open_data(tmp_path)).read(0)[1]) == {-1, 0, 11}
    assert set(inside(open_data(f"{tmp_path}?void=11")).read(0)[1]) == {-1, 0, 255}


def test_maps_of_0_and_255_are_masks_of_objects(tmp_path: Path) -> None:
    for k in range(3):
        write(tmp_path / f"images/{k}.png", picture(seed=k))
        write(tmp_path / f"masks/{k}.png", label(right=255 if k else 0, void=0))
    found = inside(open_data(tmp_path))
    assert found.names == ["background", "object"] and found.background == 0
    assert set(found.read(0)[1]) == {0} and set(found.read(1)[1]) == {0, 1}
    write(tmp_path / "masks/0.png", label(right=1, void=0).astype(bool))  # of one bit
    assert set(inside(open_data(tmp_path)).read(0)[1]) == {0, 1}


def test_instances_are_objects_and_as_kinds_one(tmp_path: Path) -> None:
    write(tmp_path / "images/a.png", picture())
    write(tmp_path / "instances/a.png", label(right=7).astype(np.uint16) * 100)
    found = inside(open_data(f"{tmp_path}?instances=yes"))
    assert set(found.read(0)[1]) == {0, 700, 25500} and found.background == 0
    assert set(found.kinds.read(0)[1]) == {0, 1} and found.kinds.kinds is not found


def test_palettes_are_numbers_and_colours_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "images/a.png", picture())
    write(tmp_path / "images/b.png", picture())
    (tmp_path / "labels").mkdir()
    indexed = Image.frombytes("P", (16, 12), label(right=4).tobytes())
    indexed.putpalette(np.random.default_rng(0).permutation(256).repeat(3).tolist())
    indexed.save(tmp_path / "labels/a.png")
    write(tmp_path / "labels/b.png", picture())
    found = inside(open_data(tmp_path))
    assert set(found.read(0)[1]) == {-1, 0, 4}
    with pytest.raises(Unreadable, match="colours where numbers are expected"):
        found.read(1)


def test_a_map_of_another_picture_and_none_are_unreadable(tmp_path: Path) -> None:
    for name in "abc":
        write(tmp_path / f"images/{name}.png", picture())
    write(tmp_path / "labels/a.png", label())
    write(tmp_path / "labels/b.png", label(30, 10))
    (tmp_path / "labels/d.png").write_bytes(b"no picture")
    found = inside(open_data(tmp_path))
    with pytest.raises(Unreadable, match="10 x 30 for a picture that is 16 x 12"):
        found.read(1)
    with pytest.raises(Unreadable, match="no label map"):
        found.read(2)


def test_names_come_from_files_beside(tmp_path: Path) -> None:
    write(tmp_path / "images/a.png", picture())
    write(tmp_path / "labels/a.png", label())
    assert inside(open_data(tmp_path)).names == []
    (tmp_path / "classes.txt").write_text("sky\nroad\ncar\n")
    assert inside(open_data(tmp_path)).names == ["sky", "road", "car"]
    (tmp_path / "dataset.json").write_text('{"labels": {"0": "air", "2": "wheels"}}')
    assert inside(open_data(tmp_path)).names == ["air", "1", "wheels"]


def test_what_is_said_of_maps_needs_maps(tmp_path: Path) -> None:
    write(tmp_path / "a.png", picture())
    with pytest.raises(InputError, match="void after the .*has none; they lie in a folder of pictures"):
        open_data(f"{tmp_path}?void=3")
    with pytest.raises(InputError, match="'void=x'.*whole number"):
        open_data(f"{tmp_path}?void=x")
    with pytest.raises(InputError, match="label maps, and file .*a.png has none"):
        open_data(f"{tmp_path / 'a.png'}?void=3")
    np.savez(tmp_path / "many.npz", x=np.zeros((3, 8, 8, 3), np.uint8))
    with pytest.raises(InputError, match="label maps, and .*many.npz has none"):
        open_data(f"{tmp_path / 'many.npz'}?void=3")


def test_the_fingerprint_tells_what_was_said(tmp_path: Path) -> None:
    write(tmp_path / "images/a.png", picture())
    write(tmp_path / "labels/a.png", label())
    assert len({open_data(f"{tmp_path}{said}").fingerprint() for said in ("", "?void=3", "?background=0")}) == 3
    assert isinstance(open_data(tmp_path).store, Mapped)


def test_places_in_a_picture_are_where_the_view_has_them(tmp_path: Path) -> None:
    """The view's pixel nearest to a place is bright where the map has the thing, and places outside the centred square are not shown."""
    there = label(20, 32, right=1, void=0)
    write(tmp_path / "images/a.png", np.repeat(there[..., None] * 255, 3, 2))
    write(tmp_path / "labels/a.png", there)
    data = open_data(tmp_path)
    places, kinds = inside(data).read(0)
    view = images.plain(20)(data.batch(np.array([0])), Counter(0, 0))["v"]
    at = images.placed(view, torch.from_numpy(places)[None])[0]
    shown = ~at.isnan().any(1)
    np.testing.assert_array_equal(shown, np.abs(places[:, 0] - 16) < 10)
    column, row = (at[shown] * 20).long().clamp(0, 19).T
    np.testing.assert_array_equal(view.x[0, 0, row, column] > 0.5, kinds[shown.numpy()] == 1)
