"""What encoders ignore and keep track of, asked of encoders of which it is known."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from manyviews.app import measures
from manyviews.app import symmetry as module
from manyviews.app.evaluate import evaluate
from manyviews.app.symmetry import TRANSFORMATIONS, symmetry
from manyviews.contracts import View
from manyviews.data.opening import open_data
from manyviews.errors import InputError

FEW = (0.0, 0.5, 1.0)


def pictures() -> Iterator[View]:
    """Forty of one colour each, with a brighter square somewhere."""
    rng = np.random.default_rng(0)
    x = np.repeat(np.repeat(rng.uniform(0.3, 0.7, (40, 3, 1, 1)), 16, 2), 16, 3)
    for k, (row, column) in enumerate(rng.integers(2, 10, (40, 2))):
        x[k, :, row : row + 4, column : column + 4] += 0.2
    yield View(torch.from_numpy(x).float(), torch.arange(40))


def clouds() -> Iterator[View]:
    x = torch.randn(40, 64, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 0.5, 0.2])
    yield View(x, torch.arange(40))


def test_the_mean_colour_ignores_places_and_keeps_track_of_hue() -> None:
    found = symmetry(lambda view: view.x.mean((2, 3)), pictures, "images", strengths=FEW)
    assert list(found) == [t.name for t in TRANSFORMATIONS["images"]]
    assert found["rotation"].verdict.startswith("invariant") and found["rotation"].scores["invariance"].value > 1 - 1e-5
    assert found["hue"].scores["invariance"].value < 0.6 and found["hue"].scores["explained by a linear map"].value > 0.99


def test_sorted_distances_of_points_ignore_rotations_and_not_scalings() -> None:
    def encoder(view: View) -> torch.Tensor:
        return torch.cdist(view.x.double(), view.x.double()).flatten(1).sort(1).values[:, 64::256].float()

    found = symmetry(encoder, clouds, "points", strengths=FEW)
    assert found["rotation"].scores["invariance"].value > 1 - 1e-9 and "invariant" in found["rotation"].verdict
    assert found["scaling"].scores["R2, perceptron"].value > 0.9


def test_coordinates_of_points_turn_with_them() -> None:
    found = symmetry(lambda view: view.x[:, 0], clouds, "points", strengths=(0.0, 0.25, 0.5, 0.75, 1.0))["rotation"]
    assert found.scores["invariance"].value < 0.5 and found.scores["explained by a linear map"].value > 0.9
    assert found.scores["explained by a linear map"].value > found.scores["explained by identity"].value + 0.3


def test_grey_pictures_have_no_hue() -> None:
    def grey() -> Iterator[View]:
        for view in pictures():
            yield View(view.x[:, :1], view.index)

    assert "hue" not in symmetry(lambda view: view.x.flatten(1), grey, "images", channels=1, strengths=FEW)


def test_evaluate_measures_it_beside_the_untrained_encoder_and_the_input(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "STRENGTHS", FEW)
    monkeypatch.setattr(measures, "SAMPLES", 12)
    data = open_data("builtin").select(np.arange(60))
    found = evaluate("untrained:resnet_nano", data, only="symmetry", size=16, quiet=True)
    assert list(found.scores) == ["trained", "untrained", "raw input"]
    assert "rotation: invariance" in found.scores["trained"] and found.scores["trained"] == found.scores["untrained"]
    found.save(tmp_path / "scores.json")
    saved = json.loads((tmp_path / "scores.json").read_text())["symmetry"]["trained"]["rotation"]
    assert [at for at, _ in saved["curves"]["moved"]] == list(FEW) and saved["verdict"]


def test_an_encoder_that_gives_one_vector_is_told_and_so_is_data_without_transformations() -> None:
    constant = symmetry(lambda view: torch.ones(len(view), 4), clouds, "points", strengths=FEW)
    assert all("collapsed, not invariant" in found.verdict for found in constant.values())
    with pytest.raises(InputError, match="symmetry is measured of images and points and volumes, and this is a model of tables"):
        evaluate("untrained:ft_transformer_micro", "builtin:tables", only="symmetry", quiet=True)
