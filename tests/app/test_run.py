"""A run's folder: what counts as one, who may write to it, what its rows say."""

from __future__ import annotations

import csv
import json
import multiprocessing
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import manyviews as mv
from manyviews.app.logs import Logs
from manyviews.app.run import Run, lock, read_metrics
from manyviews.errors import InputError
from manyviews.train.checkpoint import load_checkpoint


def test_a_run_holds_all_that_is_needed_to_repeat_it(tiny_run: Path) -> None:
    config = json.loads((tiny_run / "run.json").read_text())
    assert {"options", "recipe", "hyperparameters", "data", "command", "versions", "machine", "started"} <= set(config)
    assert config["options"]["seed"] == 0 and config["options"]["steps"] == 6 and config["options"]["settings"] == {"hidden": 32}
    assert config["hyperparameters"]["hidden"] == 32 and config["hyperparameters"]["temperature"] == 0.1
    assert config["data"]["fingerprint"] and config["versions"]["torch"] == torch.__version__
    assert {"encoder.safetensors", "last.ckpt", "metrics.jsonl", "metrics.csv", "quarantine.csv", "tensorboard"} <= {p.name for p in tiny_run.iterdir()}


def test_every_step_is_logged_alike_as_json_lines_csv_and_tensorboard(tiny_run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = read_metrics(tiny_run)
    assert [row["step"] for row in rows] == list(range(7))
    assert "probe" in rows[0] and "loss" not in rows[0], "the untrained encoder's probe comes first"
    assert all({"loss", "lr", "samples_per_second", "waiting"} <= set(row) for row in rows[1:])
    with open(tiny_run / "metrics.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in table[1:]] == [row["loss"] for row in rows[1:]]
    events = EventAccumulator(str(tiny_run / "tensorboard")).Reload()
    assert [e.value for e in events.Scalars("loss")] == pytest.approx([row["loss"] for row in rows[1:]])


def test_the_checkpoint_names_its_data_and_its_step(tiny_run: Path) -> None:
    state = load_checkpoint(tiny_run / "last.ckpt")
    assert state["step"] == 6 and state["fingerprint"] == Run(tiny_run).config["data"]["fingerprint"]
    assert state["best"] == max(row["probe"] for row in read_metrics(tiny_run)[1:] if "probe" in row)


@pytest.mark.parametrize(
    ("content", "said"), [(None, "is not a run"), ("{", "is damaged"), ("[]", "no options"), ('{"options": {"data": "x", "rubbish": 1}}', "rubbish")]
)
def test_a_folder_that_is_no_run_is_refused_with_the_reason(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(InputError, match=said):
        _ = mv.Run(tmp_path).options


def hold(folder: Path, ready: object, done: object) -> None:
    with lock(folder):
        ready.set()  # type: ignore[attr-defined]
        done.wait(20)  # type: ignore[attr-defined]


def test_two_processes_do_not_write_to_one_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=hold, args=(tmp_path, ready, done))
    other.start()
    try:
        assert ready.wait(20)
        with pytest.raises(InputError, match="written by another process"), lock(tmp_path):
            pass
    finally:
        done.set()
        other.join()
    with lock(tmp_path):
        pass


def test_rows_after_the_checkpoint_are_dropped_and_half_a_line_is_no_row(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    lines = [json.dumps({"step": k, "loss": float(k)}) for k in range(1, 6)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 6, "lo')
    assert [row["step"] for row in read_metrics(tmp_path)] == [1, 2, 3, 4, 5]
    with Logs(tmp_path, 3) as logs:
        logs({"step": 4, "loss": 40.0})
        logs({"step": 5, "loss": 50.0, "probe": 0.5})
        logs({"step": 6, "loss": float("nan")})
    rows = read_metrics(tmp_path)
    assert [(row["step"], row["loss"]) for row in rows] == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 40.0), (5, 50.0), (6, None)]
    with open(tmp_path / "metrics.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["loss"] for row in table] == ["1.0", "2.0", "3.0", "40.0", "50.0", "nan"] and table[4]["probe"] == "0.5"


class Recorder:
    """Stands for the wandb and mlflow modules and writes down what they are called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple, dict]] = []

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **options: Any) -> Recorder:
            self.calls.append((name, arguments, options))
            return self

        return call


@pytest.mark.parametrize(("name", "logged"), [("wandb", "log"), ("mlflow", "log_metrics")])
def test_steps_also_go_to_where_they_are_asked_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, logged: str) -> None:
    recorder = Recorder()
    monkeypatch.setitem(sys.modules, name, recorder)  # type: ignore[arg-type]
    (tmp_path / "run.json").write_text("{}")
    for start in (0, 1):
        with Logs(tmp_path, start, name, {"seed": 3}) as logs:
            logs({"step": start + 1, "loss": 2.0})
    sent = [(arguments[0], options["step"]) for call, arguments, options in recorder.calls if call == logged]
    assert sent == [({"loss": 2.0}, 1), ({"loss": 2.0}, 2)]
    if name == "wandb":
        first, second = (options for call, _, options in recorder.calls if call == "init")
        assert first["id"] == second["id"] and first["config"] == {"seed": 3} and [call for call, *_ in recorder.calls].count("finish") == 2
