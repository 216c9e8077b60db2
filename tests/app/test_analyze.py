"""`manyviews analyze`: what is inside a run."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import manyviews as mv
from manyviews.app.analyze import analyses, analyze, last, see
from manyviews.app.cli import main
from manyviews.data.opening import open_data
from manyviews.errors import InputError
from manyviews.views.finding import raw


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def test_features_are_probed_before_and_after_the_head_beside_untrained_and_raw_input(run: Path, pictures: Path) -> None:
    found = analyze("projection_head", run, pictures, quiet=True)
    assert list(found.scores) == ["trained", "untrained", "raw input"]
    both = ["linear before the head", "knn before the head", "linear after the head", "knn after the head"]
    assert [list(row) for row in found.scores.values()] == [both, both, both[:2]]
    rows = [found.scores[who][measure].value for who in ("trained", "untrained") for measure in both]
    assert len(set(rows)) > 1, "before and after, trained and untrained are different features"
    saved = json.loads((run / "projection_head.json").read_text())
    assert saved["scores"]["trained"]["knn after the head"] == dataclasses.asdict(found.scores["trained"]["knn after the head"])
    assert saved["about"]["step"] == 6


def test_encoder_and_head_are_those_of_the_last_step(run: Path, pictures: Path) -> None:
    method, step = last(mv.Run(run), open_data(pictures))
    state = torch.load(run / "last.ckpt", weights_only=True)
    assert step == state["step"] == 6
    assert all(torch.equal(value, state["module"][name]) for name, value in method.state_dict().items())


def test_where_rows_have_groups_the_worst_of_them_is_measured_too(run: Path, pictures: Path) -> None:
    data = open_data(pictures)
    data = data.with_columns(group=np.where(np.arange(len(data)) % 3 == 0, "night", "day"))
    row = analyze("projection-head", run, data, quiet=True, save=False).scores["trained"]
    assert [m for m in row if m.startswith("DFR")] == ["DFR, worst group, before the head", "DFR, worst group, after the head"]
    assert not (run / "projection_head.json").exists()


def test_groups_may_be_any_column_of_a_list_of_files(run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    files = sorted(pictures.rglob("*.png"))
    for name, values in (("words", ["night", "day", ""]), ("parts", ["0.5", "1.5", ""])):
        lines = [f"{path},{path.parent.name},{values[k % 3]}" for k, path in enumerate(files)]
        (tmp_path / f"{name}.csv").write_text("\n".join([f"path,label,{name}", *lines]))
        assert main(["analyze", "projection_head", str(run), str(tmp_path / f"{name}.csv"), "--groups", name]) == 0
        assert "DFR, worst group, after the head" in capsys.readouterr().out
    part = open_data(tmp_path / "parts.csv")
    _, groups = see(raw("images"), part, 16, "cpu", "parts")
    assert groups is not None and groups.tolist() == [0, 1, -1] * 12, "an empty cell is no group"


def test_groups_that_are_not_there_are_an_error_with_those_that_are(run: Path, pictures: Path, capsys: pytest.CaptureFixture) -> None:
    data = open_data(pictures)
    data = data.with_columns(camera=np.arange(len(data)), corners=np.zeros((len(data), 4)))
    with pytest.raises(InputError, match=r"--groups Camera: .* no such column of groups; did you mean camera\? There is label, camera$"):
        analyze("projection_head", run, data, groups="Camera")
    with pytest.raises(InputError, match="--groups corners: "):
        analyze("projection_head", run, data, groups="corners")
    assert main(["analyze", "projection_head", str(run), str(pictures), "--groups", "track"]) == 2
    assert "--groups track" in capsys.readouterr().err


def test_from_the_command_line_it_prints_a_table_and_writes_a_file(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["analyze", "projection_head", str(run), "--out", str(tmp_path / "found.json")]) == 0
    said = capsys.readouterr().out
    assert "linear after the head" in said and "raw input" in said and "step 6" in said
    assert json.loads((tmp_path / "found.json").read_text())["about"]["analysis"] == "projection_head"


def test_what_cannot_be_looked_at_is_said(run: Path, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no analysis 'projectionhead'; did you mean projection_head\?"):
        analyze("projectionhead", run, pictures)
    with pytest.raises(InputError, match="is not a run"):
        analyze("projection_head", tmp_path, pictures)
    with pytest.raises(InputError, match="labels"):
        analyze("projection_head", run, np.zeros((9, 16, 16, 3), np.uint8))
    (run / "last.ckpt").unlink()
    with pytest.raises(InputError, match="no checkpoint"):
        analyze("projection_head", run, pictures, quiet=True)


def test_a_method_without_a_projector_says_so(run: Path, pictures: Path) -> None:
    config = json.loads((run / "run.json").read_text())
    config["options"].update(method="supervised", settings={})
    (run / "run.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="no projector"):
        analyze("projection_head", run, pictures, quiet=True)


def test_files_without_an_entry_function_are_no_analyses() -> None:
    assert "projection_head" in analyses() and "saliency" not in analyses()
