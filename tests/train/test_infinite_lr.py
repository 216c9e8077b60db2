"""The infinite schedules phase by phase, and that a run keeps what the next task starts from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from manyviews.app.pretrain import pretrain
from manyviews.app.run import read_metrics
from manyviews.train.checkpoint import load_checkpoint
from manyviews.train.infinite_lr import INFINITE, infinite_lr, infinite_lr_inverse_sqrt, infinite_lr_linear, infinite_lr_next, plateau_step
from manyviews.train.optimizers import SCHEDULES


def papers(t: int, total: int, task: int, cooldown: str) -> float:
    """The rate in iteration t of `total` (a multiple of 20), for a highest rate of 1."""
    warm, cooled, constant, end = total // 20, total * 3 // 10, total * 8 // 10, total
    if task == 0 and t < warm:
        return t / warm
    if task == 0 and t < cooled:
        done = (t - warm) / (cooled - warm)
        if cooldown == "cosine":
            return 0.25 + (1 - 0.25) / 2 * (1 + math.cos(math.pi * done))
        if cooldown == "linear":
            return 1 - 0.75 * done
        fallen = [1 / math.sqrt(1 + 10 * s) - 1 for s in (done, 1.0)]
        return 1 + (0.25 - 1) * fallen[0] / fallen[1]
    if t <= constant:
        return 0.25
    k = math.log(0.25 / 0.01) / (end - constant)
    return 0.25 * math.exp(-k * (t - constant))


@pytest.mark.parametrize(
    ("schedule", "task", "cooldown"),
    [(infinite_lr, 0, "cosine"), (infinite_lr_inverse_sqrt, 0, "inverse_sqrt"), (infinite_lr_linear, 0, "linear"), (infinite_lr_next, 1, "")],
    ids=["cosine", "inverse_sqrt", "linear", "next"],
)
def test_every_phase_is_the_papers(schedule: Any, task: int, cooldown: str) -> None:
    for t in range(201):
        assert math.isclose(schedule(t / 200), papers(t, 200, task, cooldown), abs_tol=1e-9), t


@pytest.mark.parametrize("name", INFINITE)
def test_it_never_jumps_and_never_rises_after_the_warm_up(name: str) -> None:
    rates = [SCHEDULES[name](t / 5000, 0.05, 0.0) for t in range(5001)]
    assert max(abs(a - b) for a, b in zip(rates[1:], rates[:-1], strict=True)) < 0.005
    assert rates[250:] == sorted(rates[250:], reverse=True)
    assert rates[-1] == pytest.approx(0.01) and SCHEDULES[name](1.0, 0.05, 0.1) == pytest.approx(0.1)


def test_the_next_task_begins_where_the_last_constant_phase_ended_without_a_warm_up() -> None:
    assert infinite_lr(0.8, 0.05) == infinite_lr_next(0.0, 0.05) == infinite_lr_next(0.8, 0.05) == 0.25


def test_a_long_warm_up_leaves_the_cool_down_out_and_none_starts_at_the_top() -> None:
    assert infinite_lr(0.0, 0.0) == 1.0
    assert infinite_lr(0.29, 0.3) == pytest.approx(0.29 / 0.3) and infinite_lr(0.31, 0.3) == 0.25


@pytest.mark.parametrize("steps", [3, 7, 10, 64, 99, 1000])
@pytest.mark.parametrize("name", INFINITE)
def test_the_plateau_ends_with_the_last_step_of_the_constant_rate(name: str, steps: int) -> None:
    rates = [SCHEDULES[name]((number + 0.5) / steps, 0.05, 0.0) for number in range(steps)]
    assert plateau_step(name, steps) == max(number + 1 for number, rate in enumerate(rates) if rate == 0.25)
    assert plateau_step("cosine", steps) == plateau_step("constant", steps) == 0


# --- runs -------------------------------------------------------------------------------------------------------------------------------------

TINY: dict[str, Any] = {"method": "simclr", "encoder": "resnet_micro", "size": 16, "batch": 12, "hidden": 16, "precision": "32", "quiet": True, "lr": 0.01}


@pytest.fixture(scope="module")
def first_task(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten steps, the constant phase over after the eighth."""
    out = tmp_path_factory.mktemp("infinite") / "run"
    pretrain(pictures, out=out, steps=10, save_every=10, probe_every=10, schedule="infinite_lr", warmup=0.1, **TINY)
    return out


def test_a_run_keeps_encoder_and_checkpoint_of_the_end_of_the_constant_phase(first_task: Path, pictures: Path, tmp_path: Path) -> None:
    kept, last = load_checkpoint(first_task / "plateau.ckpt"), load_checkpoint(first_task / "last.ckpt")
    encoder = load_file(first_task / "plateau.safetensors")
    assert (kept["step"], last["step"]) == (8, 10)
    assert all(torch.equal(tensor, kept["module"][f"encoder.{name}"]) for name, tensor in encoder.items())
    assert any(not torch.equal(kept["module"][name], tensor) for name, tensor in last["module"].items())


def test_keeping_it_does_not_change_the_training(first_task: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from manyviews.app import between

    monkeypatch.setattr(between, "plateau_step", lambda schedule, steps: 0)
    pretrain(pictures, out=tmp_path / "run", steps=10, save_every=10, probe_every=10, schedule="infinite_lr", warmup=0.1, **TINY)
    assert not (tmp_path / "run" / "plateau.ckpt").exists()
    a, b = (load_checkpoint(folder / "last.ckpt")["module"] for folder in (first_task, tmp_path / "run"))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_the_next_task_goes_on_from_there_at_the_constant_rate(first_task: Path, pictures: Path, tmp_path: Path) -> None:
    out, weights = tmp_path / "next", str(first_task / "plateau.safetensors")
    pretrain(pictures, out=out, steps=5, schedule="infinite_lr_next", weights=weights, **TINY)
    rates = [row["lr"] for row in read_metrics(out) if row["step"]]
    assert rates == pytest.approx([0.0025] * 4 + [0.01 * infinite_lr_next(0.9)])
    assert load_checkpoint(out / "plateau.ckpt")["step"] == 4
    pretrain(pictures, out=tmp_path / "still", steps=1, schedule="infinite_lr_next", weights=weights, **{**TINY, "lr": 0.0})
    start, after = load_file(first_task / "plateau.safetensors"), load_file(tmp_path / "still" / "plateau.safetensors")
    assert all(torch.equal(start[name], after[name]) for name in start if "running" not in name and "num_batches" not in name)
