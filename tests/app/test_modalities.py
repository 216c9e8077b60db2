"""Every modality goes the one way: found by name, trained, measured, embedded, searched, shown, saved and loaded."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from manyviews.app.building import build_method
from manyviews.app.drawing import drawn
from manyviews.app.embed import embed
from manyviews.app.evaluate import evaluate
from manyviews.app.export import export
from manyviews.app.matrix import PARTS
from manyviews.app.model import load
from manyviews.app.neighbours import neighbours
from manyviews.app.pretrain import pretrain
from manyviews.app.report import report
from manyviews.backbones.building import build_encoder, modality_of
from manyviews.data.dataset import Data
from manyviews.data.kinds import MODALITIES
from manyviews.data.opening import open_data
from manyviews.errors import InputError
from manyviews.train.fit import fit
from manyviews.views.finding import find_policy

OTHERS = [m for m in MODALITIES if m != "images"]
METHODS = ("simclr", "byol", "vicreg", "moco_v3", "dino", "ibot", "mae", "point_mae", "gaussian_mae", "t_jepa", "supervised")
SMALL = {"hidden": 32, "out": 16, "bottleneck": 8, "dim": 48, "depth": 1, "heads": 2, "predictor_depth": 1}


@pytest.fixture(scope="module")
def few() -> dict[str, Data]:
    """Forty rows of each built-in set, every eighth for testing."""
    found = {}
    for modality in OTHERS:
        data = open_data(f"builtin:{modality}")
        rows = np.random.default_rng(0).permutation(len(data))[:40]
        found[modality] = data.select(rows).with_columns(split=np.where(np.arange(40) % 4 == 0, "test", "train"), label=np.arange(40) % 3)
    return found


@pytest.mark.parametrize("modality", OTHERS)
def test_a_modality_goes_the_whole_way(modality: str, few: dict[str, Data], tmp_path: Path) -> None:
    encoder, size = PARTS[modality]
    data = few[modality]
    run = pretrain(
        data,
        "simclr",
        encoder,
        tmp_path / "run",
        steps=2,
        batch=8,
        size=size,
        precision="32-true",
        settings={"hidden": 16, "out": 8},
        probe_every=2,
        quiet=True,
    )
    assert run.config["options"]["modality"] == modality
    model = load(tmp_path / "run")
    assert (model.modality, model.size, model.architecture) == (modality, size, encoder)
    scores = evaluate(model, data, only=["knn"], quiet=True).scores
    assert list(scores) == ["trained", "untrained", "raw input"] and all(0 <= row["knn"].value <= 1 for row in scores.values())
    vectors = embed(model, data)
    assert vectors.vectors.shape == (40, model.encoder.dim) and np.isfinite(vectors.vectors).all()
    again = load(tmp_path / "run/encoder.safetensors")
    assert again.hash() == model.hash() and np.array_equal(embed(again, data).vectors, vectors.vectors)
    assert load(export(model, "safetensors", tmp_path / "out.safetensors")).hash() == model.hash()
    assert model([data[5]]).shape == (1, model.encoder.dim) and np.isfinite(model([data[5]])).all()
    near = neighbours(vectors, vectors.metadata and vectors.rows([3])[0]["path"], k=3)
    assert len(near.rows) == 3
    assert drawn(data[0], modality).dtype == np.uint8 and drawn(data[0], modality).shape[2] == 3
    page = report(tmp_path / "run", data=data, samples=30)
    assert page.stat().st_size > 30_000


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("modality", OTHERS)
def test_methods_run_unchanged_on_every_modality(modality: str, method: str, few: dict[str, Data]) -> None:
    from manyviews.app.catalogue import methods

    name, size = PARTS[modality]
    data = few[modality]
    encoder = build_encoder(name, data.channels or 3, size, seed=0, form=data.form)
    settings = {key: value for key, value in SMALL.items() if key in methods()[method].parameters}
    torch.manual_seed(0)
    try:
        built, recipe = build_method(method, encoder, data, **settings)
    except InputError as error:
        assert modality in ("pairs", "view_sets"), error  # the two towers together have no parts, and those of a set no places
        pytest.skip(str(error))
    policy = find_policy(recipe.views, size, modality)
    steps = list(fit(built, data, policy, steps=2, batch=8, recipe=recipe, threads=0, fabric=Fabric(accelerator="cpu", devices=1)))
    assert all(math.isfinite(step.loss) for step in steps)
    touched = [key for key, p in built.encoder.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)]
    assert len(touched) > 3


def test_encoders_of_one_modality_are_refused_for_another(tmp_path: Path) -> None:
    assert modality_of("pointnet") == "points" and modality_of("resnet18") == "images"
    with pytest.raises(InputError, match="--encoder pointnet takes points, and the data is images; there are resnet_nano"):
        pretrain("builtin", "simclr", "pointnet", tmp_path / "run", steps=1, quiet=True)
    with pytest.raises(InputError, match="robustness is measured of images, and this is a model of points"):
        evaluate("untrained:pointnet", "builtin:points", only=["robustness"], quiet=True)
