"""`manyviews evaluate`, and the probe that looks on during training."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import manyviews as mv
from manyviews.app import measures as module
from manyviews.app.cli import main
from manyviews.app.evaluate import Evaluation, evaluate
from manyviews.app.measures import EVALUATORS
from manyviews.app.probe import Probe, affordable, collapsed
from manyviews.contracts import Encoder, View
from manyviews.data.opening import open_data
from manyviews.errors import InputError
from manyviews.evaluate.scores import Score
from manyviews.views import images


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


def test_every_measurement_has_all_three_columns_and_an_interval_around_it(run: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SEVERITIES", (5,))
    found = evaluate(run, pictures, quiet=True)
    assert list(found.scores) == ["trained", "untrained", "raw input"]
    measures = [list(row) for row in found.scores.values()]
    assert measures[0] == measures[1] == measures[2]
    for start in ("knn", "linear", "3-way 1-shot", "recall@1", "mAP", "10% of labels", "corrupted by jpeg"):
        assert any(m.startswith(start) for m in measures[0]), start
    assert all(0 <= s.low <= s.value <= s.high <= 1 for row in found.scores.values() for s in row.values())
    assert found.scores["raw input"]["linear"].value > 0.8, "colour alone tells these three classes apart"
    assert "95 %" not in found.table() and found.table().splitlines()[0].split() == ["trained", "untrained", "raw", "input"]


def test_the_same_question_has_the_same_answer_and_lies_in_the_runs_folder(run: Path, pictures: Path) -> None:
    first = evaluate(run, pictures, only=["knn"], quiet=True)
    again = evaluate(mv.Run(run), only="knn", quiet=True)
    assert first.scores == again.scores
    saved = json.loads((run / "evaluation.json").read_text())
    assert saved["scores"]["trained"]["knn"] == dataclasses.asdict(first.scores["trained"]["knn"])
    assert saved["about"]["hash"] == mv.load(run).hash()
    evaluate(run, pictures, only=["linear"], quiet=True)
    assert set(json.loads((run / "evaluation.json").read_text())["scores"]["trained"]) == {"knn", "linear"}, "earlier measures of the same stay"
    evaluate(run, pictures, only=["linear"], seed=1, quiet=True)
    assert set(json.loads((run / "evaluation.json").read_text())["scores"]["trained"]) == {"linear"}, "those of another split do not"


def test_the_untrained_column_is_the_architecture_with_seed_0(run: Path, pictures: Path) -> None:
    found = evaluate(run, pictures, only=["knn"], quiet=True)
    alone = evaluate("untrained:resnet_micro", pictures, only=["knn"], size=16, quiet=True)
    assert alone.scores["trained"] == alone.scores["untrained"] == found.scores["untrained"]


def test_unknown_names_are_all_answered_with_the_nearest(run: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), str(pictures), "--only", "knnn", "few_shots", "--precision", "8"]) == 2
    said = capsys.readouterr().err
    assert "'knnn'; did you mean knn?" in said and "did you mean few_shot" in said and "--precision 8" in said


def test_the_command_prints_the_table_on_stdout_and_progress_on_stderr(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), "--only", "knn", "--out", str(tmp_path / "scores.json")]) == 0
    said = capsys.readouterr()
    assert "knn" in said.out and "raw input" in said.out and "samples, knn" not in said.out
    assert "untrained: 36 samples, knn" in said.err
    assert "knn" in json.loads((tmp_path / "scores.json").read_text())["scores"]["raw input"]


def test_labels_are_needed_and_of_two_classes(run: Path, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs labels"):
        evaluate(run, np.zeros((10, 16, 16, 3), np.uint8), quiet=True)
    shutil.copytree(pictures / "discs", tmp_path / "one" / "discs")
    with pytest.raises(InputError, match="label|class"):
        evaluate(run, tmp_path / "one", quiet=True)
    data = open_data(pictures)
    with pytest.raises(InputError, match="class"):
        evaluate(run, data.with_columns(label=np.zeros(len(data), np.int64)), quiet=True)


def test_an_encoder_that_gives_nan_is_refused_with_a_sentence(run: Path, pictures: Path) -> None:
    model = mv.load(run)
    with torch.no_grad():
        for weight in model.encoder.parameters():
            weight.fill_(torch.nan)
    with pytest.raises(InputError, match="feature vectors are not finite"):
        evaluate(model, pictures, only=["knn"], quiet=True)


def test_validation_rows_choose_and_are_not_tested_on(run: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = open_data(pictures)
    splits = np.tile(["train", "train", "validation", "test"], 9)
    seen = {}
    monkeypatch.setitem(EVALUATORS, "knn", lambda case: seen.update(case=case) or {})
    evaluate(run, data.with_columns(split=splits), only=["knn"], quiet=True)
    assert [len(seen["case"].train), len(seen["case"].test), len(seen["case"].validation)] == [18, 9, 9]
    evaluate(run, data, only=["knn"], quiet=True)
    assert seen["case"].validation is None and len(seen["case"].train) + len(seen["case"].test) == 36


def test_validation_rows_that_are_tested_on_choose_nothing(run: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on the hub, where labels of test rows are kept back (-1)."""
    data = open_data(pictures)
    splits = np.tile(["train", "train", "validation", "test"], 9)
    seen = {}
    monkeypatch.setitem(EVALUATORS, "knn", lambda case: seen.update(case=case) or {})
    evaluate(run, data.with_columns(split=splits, label=np.where(splits == "test", -1, data.labels)), only=["knn"], quiet=True)
    assert len(seen["case"].train) == 18 and len(seen["case"].test) == 9 and seen["case"].validation is None


def test_that_the_run_had_learned_from_the_test_rows_is_said(run: Path, pictures: Path) -> None:
    data = open_data(pictures)
    note = "the run had learned from all of these samples, those tested on included"
    assert note in evaluate(run, data, only=["knn"], quiet=True).data
    assert note not in evaluate(run, data.select(np.arange(len(data)) % 2 == 0), only=["knn"], quiet=True).data
    assert note not in evaluate("untrained:resnet_micro", data, only=["knn"], size=16, quiet=True).data


def test_the_share_that_may_be_unreadable_is_the_users(run: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = shutil.copytree(pictures, tmp_path / "data")
    for k in range(8):
        for name in ("discs", "stripes"):
            (data / name / f"{k:02d}.png").write_bytes(b"no picture")
    assert main(["evaluate", str(run), str(data), "--only", "knn"]) == 2
    assert "more than the 20% that --max-bad allows" in capsys.readouterr().err
    assert main(["evaluate", str(run), str(data), "--only", "knn", "--max-bad", "0.6"]) == 0
    assert main(["evaluate", str(run), str(data), "--max-bad", "20"]) == 2
    assert "--max-bad 20.0: a share, from 0 to 1" in capsys.readouterr().err


def test_data_that_was_given_in_python_has_to_be_named(run: Path) -> None:
    config = json.loads((run / "run.json").read_text())
    config["options"]["data"] = "<given>"
    (run / "run.json").write_text(json.dumps(config))
    for ask in (lambda: evaluate(run, quiet=True), lambda: mv.Run(run).evaluate(quiet=True)):
        with pytest.raises(InputError, match="name the labelled data.*keeps no copy"):
            ask()


@pytest.mark.parametrize("there", [False, True])
def test_that_products_are_float32_where_there_is_no_bf16_is_said(
    there: bool, run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.import_module("manyviews.app.evaluate"), "has_bf16", lambda device: there)
    assert main(["evaluate", str(run), "--only", "knn", "--precision", "bf16"]) == 0
    assert ("this processor has no bf16" in capsys.readouterr().err) != there


def test_a_table_has_room_for_measures_that_only_some_have() -> None:
    score = Score(0.5, 0.25, 0.75)
    table = Evaluation("data", {"trained": {"knn": score, "omega": score}, "raw input": {"knn": score}}).table()
    assert [line.split()[0] for line in table.splitlines()[1:]] == ["knn", "omega"]


# --- the probe -------------------------------------------------------------------------------------------------------------------------------


class Pixels(Encoder):
    """Pixels, or always the same."""

    dim = 3 * 16 * 16

    def __init__(self, constant: float | None = None):
        super().__init__()
        self.constant = constant

    def forward(self, view: View) -> torch.Tensor:
        flat = view.x.flatten(1)
        return flat if self.constant is None else self.constant + 1e-5 * flat


def test_the_probe_repeats_and_sees_classes(pictures: Path) -> None:
    probe = Probe(open_data(pictures), 16, images.simclr(16))
    row = probe(Pixels())
    assert row == probe(Pixels()) and row["probe"] == row["knn"] > 0.6
    assert collapsed(row) is None


def test_without_labels_the_probe_is_rankme_beside_alignment_and_uniformity(pictures: Path) -> None:
    data = open_data(np.stack([a[:20, :20] for a in open_data(pictures).look(30)]))
    row = Probe(data, 16, images.simclr(16))(Pixels())
    assert set(row) == {"probe", "rankme", "spread", "uniformity", "alignment"}
    assert row["probe"] == row["rankme"] and 0 < row["alignment"] < 4
    assert "alignment" not in Probe(data, 16, images.mae(16))(Pixels()), "one view has nothing to agree with"
    assert "alignment" in Probe(data, 16, images.dino(16))(Pixels())


@pytest.mark.parametrize("constant", [1.0, float("nan")])
def test_a_collapsed_encoder_is_caught_with_a_way_out(pictures: Path, constant: float) -> None:
    sentence = collapsed(Probe(open_data(pictures), 16, images.simclr(16))(Pixels(constant)))
    assert sentence is not None and "try a lower --lr" in sentence


@pytest.mark.parametrize("name", ["resnet_micro", "resnet18_small", "vit_micro"])
def test_an_untrained_encoder_has_not_collapsed(pictures: Path, name: str) -> None:
    from manyviews.backbones.building import build_encoder

    assert collapsed(Probe(open_data(pictures), 16, images.simclr(16))(build_encoder(name, 3, 16, seed=0))) is None


def test_looks_take_a_fiftieth_of_the_work_where_they_can() -> None:
    assert affordable(steps=500, batch=256, looks=20) == 768
    assert affordable(steps=10**6, batch=256, looks=20) == 2000
    assert affordable(steps=10, batch=16, looks=10) == 256


def test_help_names_every_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert all(name in said for name in EVALUATORS)
    assert "prompt_patch (where segmentation is), linear_sgd, symmetry, symmetry_levels (of the encoder), lie_norm (default: " in said
    assert "what the data allows, but the last five)" in said
