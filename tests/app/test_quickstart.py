"""The main job, in small."""

import json

import numpy as np
import pytest

from manyviews.app.cli import main
from manyviews.data.opening import open_data


def test_the_built_in_pictures_are_the_same_every_time():
    data = open_data("builtin")
    assert len(data) == 4800 and len(data.classes) == 24
    assert data.store.samples.shape == (4800, 32, 32, 3)
    assert (np.bincount(data.labels) == 200).all()
    assert (data.columns["split"] == "train").sum() == 3840


@pytest.mark.slow
def test_quickstart_makes_a_run_that_can_be_evaluated(tmp_path, capsys):
    assert main(["quickstart", "--out", str(tmp_path / "run"), "--steps", "4"]) == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text())["options"]["steps"] == 4
    said = capsys.readouterr().out
    assert "untrained" in said and "raw input" in said and "knn" in said
