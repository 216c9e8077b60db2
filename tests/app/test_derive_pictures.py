"""`manyviews derive` where pictures are made: an .npz that pretraining reads as it is."""

import numpy as np
import pytest
from PIL import Image

from manyviews.app.cli import main
from manyviews.data.opening import open_data


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    for c in ("cat", "dog"):
        (tmp_path / "photos" / c).mkdir(parents=True)
        for k in range(6):
            coarse = rng.integers(0, 255, (4, 5, 3), dtype=np.uint8)
            Image.fromarray(coarse).resize((40, 32), Image.Resampling.BILINEAR).save(tmp_path / "photos" / c / f"{k}.png")
    return tmp_path / "photos"


def test_generated_pictures_go_into_a_file_that_pretraining_pairs_with_the_originals(photos, tmp_path, capsys):
    out = tmp_path / "pairs.npz"
    words = ["derive", "genview", f"{photos}", "--using", "untrained:resnet_micro", "--out", f"{out}", "--set", "generator=autoencoder", "steps=2"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert f"{out}: 12 pictures with generated, foreground, noise, quality" in said and "so that a pair weighs" in said
    data = open_data(str(out))
    assert len(data) == 12 and data[0].shape == (32, 32, 3) and list(data.classes) == ["cat", "dog"]
    assert data.columns["generated"].shape == (12, 32, 32, 3) and data.columns["generated"].dtype == np.uint8
    given = data.batch(np.arange(4)).given
    assert {"generated", "quality", "label"} <= set(given)
    run = ["--size", "16", "--batch", "6", "--steps", "2", "--quiet", "--out", f"{tmp_path / 'run'}", "--set", "hidden=16"]
    assert main(["pretrain", f"{out}", "--method", "simclr", "--encoder", "resnet_micro", "--views", "generated", *run]) == 0


def test_what_is_missing_is_told_at_once(photos, capsys):
    assert main(["derive", "genview", f"{photos}", "--out", "pairs.csv", "--set", "stepps=2"]) == 2
    said = capsys.readouterr().err
    assert "genview needs --using RUN" in said and "name a .npz file" in said and "did you mean steps" in said
