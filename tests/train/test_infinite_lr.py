"""The infinite schedules phase by phase, and that a run keeps what the next task starts from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from manyviews.app.cli import main
from manyviews.app.options import Options, check_values
from manyviews.app.pretrain import pretrain
from manyviews.app.run import read_metrics
from manyviews.errors import InputError
from manyviews.train.checkpoint import load_checkpoint
from manyviews.train.infinite_lr import INFINITE, infinite_lr, infinite_lr_inverse_sqrt, infinite_lr_linear, infinite_lr_next, plateau_step
from manyviews.train.optimizers import SCHEDULES, find_schedule


def papers(
    t: int, total: int, task: int, cooldown: str, cooldown_ratio: float = 0.3, constant_ratio: float = 0.8, constant_lr: float = 0.25, min_lr: float = 0.01
) -> float:
    """The rate in iteration t of `total` (a multiple of 20), for a highest rate of 1."""
    warm, cooled, constant, end = total // 20, round(total * cooldown_ratio), round(total * constant_ratio), total
    if task == 0 and t < warm:
        return t / warm
    if task == 0 and t < cooled:
        done = (t - warm) / (cooled - warm)
        if cooldown == "cosine":
            return constant_lr + (1 - constant_lr) / 2 * (1 + math.cos(math.pi * done))
        if cooldown == "linear":
            return 1 - (1 - constant_lr) * done
        fallen = [1 / math.sqrt(1 + 10 * s) - 1 for s in (done, 1.0)]
        return 1 + (constant_lr - 1) * fallen[0] / fallen[1]
    if t <= constant:
        return constant_lr
    k = math.log(constant_lr / min_lr) / (end - constant)
    return constant_lr * math.exp(-k * (t - constant))


@pytest.mark.parametrize(
    ("schedule", "task", "cooldown"),
    [(infinite_lr, 0, "cosine"), (infinite_lr_inverse_sqrt, 0, "inverse_sqrt"), (infinite_lr_linear, 0, "linear"), (infinite_lr_next, 1, "")],
    ids=["cosine", "inverse_sqrt", "linear", "next"],
)
def test_every_phase_is_the_papers(schedule: Any, task: int, cooldown: str) -> None:
    for t in range(201):
        assert math.isclose(schedule(t / 200), papers(t, 200, task, cooldown), abs_tol=1e-9), t


@pytest.mark.parametrize(
    ("name", "task", "cooldown"),
    [("infinite_lr", 0, "cosine"), ("infinite_lr_inverse_sqrt", 0, "inverse_sqrt"), ("infinite_lr_linear", 0, "linear"), ("infinite_lr_next", 1, "")],
)
@pytest.mark.parametrize("parameters", [(0.5, 0.8, 0.75, 0.05), (0.1, 0.6, 0.5, 0.1)], ids=["authors", "others"])
def test_phases_are_those_that_are_named_with_the_schedule(name: str, task: int, cooldown: str, parameters: tuple[float, ...]) -> None:
    words = dict(zip(("cooldown", "plateau", "constant", "least"), parameters, strict=True))
    schedule = find_schedule(f"{name}:{','.join(f'{key}={value}' for key, value in words.items() if task == 0 or key != 'cooldown')}")
    for t in range(201):
        for final_lr in (0.0, 0.001):  # what is named with the schedule is not overruled by a method's recipe
            assert math.isclose(schedule(t / 200, 0.05, final_lr), papers(t, 200, task, cooldown, *parameters), abs_tol=1e-9), t


def test_a_schedule_without_parameters_is_what_it_was() -> None:
    for name, function in SCHEDULES.items():
        for text in (name, f"{name}:") if name in INFINITE else (name,):
            assert all(find_schedule(text)(t / 50, 0.05, 0.001) == function(t / 50, 0.05, 0.001) for t in range(51))


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("infinite", ["schedule infinite: not one of cosine, constant, infinite_lr"]),
        ("cosine:least=0.1", ["schedule cosine:least=0.1: cosine has no parameters"]),
        (
            "infinite_lr:constnt=0.5,least=low",
            ["'constnt=0.5' is not understood; infinite_lr has cooldown, plateau, constant, least (did you mean constant?)", "least=low; expected a number"],
        ),
        ("infinite_lr:constant=0,least=nan,plateau=1.5,cooldown=-1", ["plateau=1.5", "cooldown=-1", "constant=0;", "least=nan"]),
        ("infinite_lr:constant=0.1,least=0.2", ["least=0.2; a share of the highest rate, above 0 and at most constant (0.1)"]),
        ("infinite_lr:plateau=0.2", ["cooldown=0.3; the share of the training at which the cool-down ends, from 0 to plateau (0.2)"]),
        ("infinite_lr_next:cooldown=0.5", ["'cooldown=0.5' is not understood; infinite_lr_next has plateau, constant, least"]),
        ("infinite_lr:0.5", ["'0.5' is not understood"]),
    ],
)
def test_everything_wrong_with_a_schedule_is_said(text: str, problems: list[str]) -> None:
    said = check_values(Options(data="builtin", schedule=text))
    assert len(said) == len(problems) and all(s.startswith(f"--schedule {text}: ") for s in said)
    assert all(problem in s for problem, s in zip(problems, said, strict=True))
    with pytest.raises(InputError) as error:
        find_schedule(text)
    assert [f"--{problem}" for problem in error.value.problems] == said
    assert check_values(Options(data="builtin", schedule="infinite_lr_next:plateau=0.2")) == check_values(Options(data="builtin")) == []


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
    for share in (0.35, 0.55, 0.285, 0.7, 1.0):
        text = f"{name}:plateau={share},constant=0.5" + ("" if name == "infinite_lr_next" else ",cooldown=0.2")
        rates = [find_schedule(text)((number + 0.5) / steps, 0.05, 0.0) for number in range(steps)]
        assert plateau_step(text, steps) == max((number + 1 for number, rate in enumerate(rates) if rate == 0.5), default=1)


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


def test_a_run_takes_its_phases_from_the_command_line_and_keeps_the_end_of_its_own_constant_phase(pictures: Path, tmp_path: Path) -> None:
    schedule = "infinite_lr:constant=0.5,cooldown=0.2,plateau=0.6,least=0.1"
    words = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items() if name not in ("quiet", "hidden")]
    run = [*words, "--quiet", "--set", "hidden=16", "--warmup=0", f"--schedule={schedule}", "--steps=10", "--save-every=10", "--probe-every=10"]
    assert main(["pretrain", str(pictures), "--out", str(tmp_path / "run"), *run]) == 0
    rates = [row["lr"] for row in read_metrics(tmp_path / "run") if row["step"]]
    assert rates == pytest.approx([0.01 * find_schedule(schedule)((number + 0.5) / 10, 0.0, 0.0) for number in range(10)])
    assert rates[2:6] == pytest.approx([0.005] * 4) and rates[9] < 0.0014
    assert load_checkpoint(tmp_path / "run" / "plateau.ckpt")["step"] == 6
