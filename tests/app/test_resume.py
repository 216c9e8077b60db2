"""A run that was killed goes on to the weights that it would have had, bit for bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from manyviews.app.run import read_metrics
from manyviews.train.checkpoint import load_checkpoint

STEPS = 24


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "manyviews", "pretrain", *words]


def finish(words: list[str]) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def kill_after(words: list[str], run: Path, step: int) -> None:
    """Starts it, and kills it with all its children once that step is in the log."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    started = time.monotonic()
    while process.poll() is None and max([row["step"] for row in read_metrics(run)], default=-1) < step:
        assert time.monotonic() - started < 250
        time.sleep(0.005)
    assert process.poll() is None, "it ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def assert_equal_checkpoints(a: object, b: object, where: str = "") -> None:
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where  # type: ignore[arg-type]
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where  # type: ignore[attr-defined]
        for key in a:
            assert_equal_checkpoints(a[key], b[key], f"{where}/{key}")  # type: ignore[index]
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where  # type: ignore[arg-type]
        for i, (x, y) in enumerate(zip(a, b, strict=True)):  # type: ignore[call-overload]
            assert_equal_checkpoints(x, y, f"{where}/{i}")
    else:
        assert a == b, where


@pytest.mark.slow
@pytest.mark.parametrize(("method", "devices", "precision"), [("moco_v2", 1, "bf16"), ("byol", 2, "32")])
def test_kill_9_at_random_steps_and_resume_gives_the_same_bits(pictures: Path, tmp_path: Path, method: str, devices: int, precision: str) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    words = f"{pictures} --method {method} --encoder resnet_micro --size 16 --batch 12 --steps {STEPS} --devices {devices} --precision {precision}"
    words += " --save-every 4 --probe-every 6 --quiet --set hidden=16 out=8" + (" queue=24" if method == "moco_v2" else "")
    finish(command(*words.split(), "--out", str(whole)))
    kills = sorted(random.Random(f"{method}{time.time()}").sample(range(1, STEPS - 2), 2))
    print("killed after steps", kills)
    kill_after(command(*words.split(), "--out", str(run)), run, kills[0])
    if (run / "last.ckpt").exists():
        assert load_checkpoint(run / "last.ckpt")["step"] <= STEPS
    kill_after(command("--resume", str(run), "--quiet"), run, kills[1])
    finish(command("--resume", str(run), "--quiet"))

    expected, found = load_file(whole / "encoder.safetensors"), load_file(run / "encoder.safetensors")
    assert_equal_checkpoints(expected, found, "encoder")
    assert_equal_checkpoints(load_checkpoint(whole / "last.ckpt"), load_checkpoint(run / "last.ckpt"), "last.ckpt")
    timings = {"seconds", "waiting", "samples_per_second"}
    rows = [[{key: row[key] for key in row.keys() - timings} for row in read_metrics(folder)] for folder in (whole, run)]
    assert rows[0] == rows[1] and [row["step"] for row in rows[1]] == list(range(STEPS + 1))
    lines = [line for line in (run / "metrics.jsonl").read_text().splitlines() if line]
    assert len(lines) == STEPS + 1, "a step that was done twice is logged once"


@pytest.mark.slow
def test_ctrl_c_saves_and_exits_130_and_sigterm_143(pictures: Path, tmp_path: Path) -> None:
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        run = tmp_path / str(status)
        words = f"{pictures} --method simclr --encoder resnet_micro --size 16 --batch 12 --steps 100000 --precision 32 --set hidden=16 --out {run}"
        process = subprocess.Popen(command(*words.split()), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True)
        started = time.monotonic()
        while max([row["step"] for row in read_metrics(run)], default=-1) < 2:
            assert process.poll() is None and time.monotonic() - started < 200
            time.sleep(0.05)
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == status and "--resume" in said
        assert load_checkpoint(run / "last.ckpt")["step"] == read_metrics(run)[-1]["step"]
