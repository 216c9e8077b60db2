"""What is measured of which data: parts of shapes, organs in scans, pictures and captions, rows of tables; and what is refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manyviews.app.choosing import able
from manyviews.app.evaluate import evaluate
from manyviews.app.model import load
from manyviews.data.opening import open_data
from manyviews.data.regions import regions
from manyviews.errors import InputError


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """Two categories of boxes: the upper part is 4 of a tall one, and 7 of a wide one."""
    rng = np.random.default_rng(0)
    for k in range(12):
        for name, size, part in (("tall", (1, 3, 1), 4), ("wide", (3, 1, 1), 7)):
            points = rng.uniform(-1, 1, (128, 3)) * size
            (tmp_path / name).mkdir(exist_ok=True)
            np.savez(tmp_path / name / f"{k:02d}.npz", points=points.astype(np.float32), part=np.where(points[:, 1] > 0, part, 0).astype(np.uint8))
    return tmp_path


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Bright balls in a dark box, anywhere in it, and where they are."""
    nibabel = pytest.importorskip("nibabel")
    rng = np.random.default_rng(0)
    grid = np.stack(np.indices((12, 12, 12)), -1)
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for k in range(10):
        ball = ((grid - rng.uniform(3, 9, 3)) ** 2).sum(-1) < 9
        for name, x in (("images", ball + rng.normal(0, 0.05, ball.shape)), ("labels", ball)):
            nibabel.save(nibabel.Nifti1Image(x.astype(np.float32 if name == "images" else np.uint8), np.eye(4)), tmp_path / name / f"scan_{k}.nii.gz")
    return tmp_path


def test_parts_of_shapes_are_found_at_their_points(shapes: Path) -> None:
    data = open_data(shapes, "points")
    inside = regions(data)
    assert inside is not None and inside.measure == "iou"
    places, parts = inside.read(0)
    np.testing.assert_array_equal(parts > 0, places[:, 1] > 0)


def test_parts_of_shapes_are_segmented_where_the_encoder_has_features_of_parts(shapes: Path) -> None:
    found = evaluate("untrained:point_transformer_micro", open_data(shapes, "points"), only="segmentation", size=64, quiet=True)
    assert list(found.scores["trained"]) == ["part mIoU", "part mIoU by category"]
    assert found.scores["raw input"]["part mIoU"].value > 0.8, "y tells the parts apart"
    blind = load("untrained:pointnet", 64)
    blind.encoder.widths = []
    with pytest.raises(InputError, match="features of parts, and pointnet"):
        evaluate(blind, open_data(shapes, "points"), only="segmentation", quiet=True)


def test_organs_are_segmented_though_no_scan_has_a_label(scans: Path) -> None:
    data = open_data(scans, "volumes")
    assert data.labels is None
    found = evaluate("untrained:vit3d_micro", data, size=12, quiet=True)
    assert list(found.scores["trained"]) == ["Dice"] and found.scores["raw input"]["Dice"].value > 0.9, "the balls are bright"
    with pytest.raises(InputError, match="needs samples that say what lies where"):
        evaluate("untrained:vit3d_micro", open_data("builtin:volumes").select(np.arange(20)), only="segmentation", size=12, quiet=True)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """A bright and a dark thing on grey, anywhere, and which is where."""
    rng = np.random.default_rng(0)
    y, x = np.indices((32, 32))
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for k in range(12):
        things = np.zeros((32, 32), np.uint8)
        for number, column in ((1, rng.uniform(6, 12)), (2, rng.uniform(20, 26))):
            things[(x - column) ** 2 + (y - rng.uniform(8, 24)) ** 2 < 25] = number
        shown = np.array([128, 240, 20])[things] + rng.integers(-8, 8, things.shape)
        Image.fromarray(np.repeat(shown[..., None].astype(np.uint8), 3, 2)).save(tmp_path / f"images/{k}.png")
        Image.fromarray(things).save(tmp_path / f"labels/{k}.png")
    (tmp_path / "classes.txt").write_text("nothing\nbright\ndark\n")
    return tmp_path


def test_things_in_pictures_are_segmented_and_found_from_a_prompt(scenes: Path) -> None:
    found = evaluate("untrained:resnet_nano", open_data(f"{scenes}?background=0"), only=["segmentation", "prompt_patch"], size=32, quiet=True)
    of_trained, raw = found.scores["trained"], found.scores["raw input"]
    assert list(raw) == ["mIoU", "right places", "IoU nothing", "IoU bright", "IoU dark", "IoU from a prompt", "overlap of similarities"]
    assert list(of_trained) == list(raw) and raw["mIoU"].value > 0.9, "brightness tells them"
    default = evaluate("untrained:resnet_nano", open_data(scenes), size=32, quiet=True)
    assert "mIoU" in default.scores["trained"] and "IoU from a prompt" not in default.scores["trained"]


@pytest.mark.parametrize("kind,encoder", [("shapes", "point_transformer_micro"), ("scans", "vit3d_micro")])
def test_parts_and_organs_are_prompted_too(kind: str, encoder: str, request: pytest.FixtureRequest) -> None:
    data = open_data(request.getfixturevalue(kind), {"shapes": "points", "scans": "volumes"}[kind])
    found = evaluate(f"untrained:{encoder}", data, only="prompt_patch", size=64 if kind == "shapes" else 12, quiet=True)
    assert 0 < found.scores["trained"]["IoU from a prompt"].value <= 1
    assert ("overlap of similarities" in found.scores["trained"]) == (kind == "shapes"), "of scans the background is no object"


def test_places_in_a_scan_are_where_the_view_has_them(scans: Path) -> None:
    """The view's voxel nearest to a place is bright where the label map has the ball."""
    import torch

    from manyviews.counters import Counter
    from manyviews.views import volumes

    data = open_data(scans, "volumes")
    inside = regions(data)
    assert inside is not None
    places, there = inside.read(3)
    view = volumes.plain(12)(data.batch(np.array([3])), Counter(0, 0))["v"]
    at = (volumes.placed(view, torch.from_numpy(places)[None].float())[0] * 12).long().clamp(0, 11)
    seen = view.x[0, 0, at[:, 2], at[:, 1], at[:, 0]]
    assert ((seen > 0.5).numpy() == (there > 0)).mean() > 0.99


def test_pairs_without_labels_are_looked_up_in_each_other() -> None:
    data = open_data("builtin:pairs").select(np.arange(40))
    bare = data.with_columns(split=np.where(np.arange(40) % 2, "test", "train"))
    bare.columns.pop("label", None)  # type: ignore[attr-defined]
    found = evaluate("untrained:two_towers_nano", bare, quiet=True)
    assert set(found.scores["trained"]) == {f"{way} R@{k}" for way in ("image to text", "text to image") for k in (1, 5, 10)}
    assert not found.scores["raw input"]


def test_an_encoder_of_pairs_names_the_classes_of_pictures_alone(tmp_path: Path) -> None:
    from manyviews.app.pretrain import pretrain

    run = pretrain("builtin:pairs", "clip", "two_towers_nano", out=tmp_path / "run", steps=1, batch=4, quiet=True)
    rng = np.random.default_rng(0)
    for name in ("red", "green"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for k in range(6):
            Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(tmp_path / "pictures" / name / f"{k}.png")
    found = evaluate(run.path, str(tmp_path / "pictures"), only=["knn", "zero_shot"], quiet=True)
    assert set(found.scores["trained"]) == {"knn", "zero-shot"} and set(found.scores["raw input"]) == {"knn"}
    with pytest.raises(InputError, match="recall needs pictures with captions"):
        evaluate(run.path, str(tmp_path / "pictures"), only="recall", quiet=True)


def test_trees_stand_beside_an_encoder_of_tables() -> None:
    data = open_data("builtin:tables").select(np.arange(300))
    found = evaluate("untrained:ft_transformer_micro", data, only="boosted_trees", quiet=True)
    assert found.scores["raw input"]["boosted trees"].value > 0.25, "six classes"


def test_classes_that_few_shot_trials_can_take_are_counted() -> None:
    data = dataclasses.replace(open_data("builtin:points").select(np.arange(40)), columns={"label": np.repeat([0, 1, 2, 3], [12, 13, 14, 1])})
    assert able(data) == 2
    assert able(data.with_columns(split=np.where(np.arange(40) % 2, "test", "train"))) == 0
