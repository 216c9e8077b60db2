"""From data to a run: what is chosen, what is refused, what is saved when something goes wrong."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import manyviews as mv
from manyviews.app import between, launch, options
from manyviews.app.cli import main
from manyviews.app.options import Options, resolve
from manyviews.app.pretrain import pretrain, repeat
from manyviews.app.run import read_metrics
from manyviews.contracts import Encoder, View
from manyviews.errors import InputError
from manyviews.train import checkpoint
from manyviews.train.fit import Diverged

TINY: dict[str, Any] = {"method": "simclr", "encoder": "resnet_micro", "size": 16, "batch": 12, "hidden": 16, "precision": "32", "quiet": True}


def encoder_of(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "encoder.safetensors")


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


# --- what is chosen -----------------------------------------------------------------------------------------------------------------------------


def test_what_is_left_open_is_chosen_and_said(pictures: Path) -> None:
    data, chosen, reasons = resolve(Options(str(pictures)))
    assert (chosen.method, chosen.size) == ("simclr", 20) and chosen.encoder in ("resnet_micro", "resnet18_small")
    assert chosen.batch == 36 and chosen.steps == 100 and len(data) == 36
    assert [word in " ".join(reasons) for word in ("--method", "--encoder", "--size", "36 samples")] == [True] * 4
    assert Path(chosen.data).is_absolute()


def test_epochs_are_counted_in_samples() -> None:
    _, chosen, _ = resolve(Options("builtin", epochs=2, batch=100))
    assert chosen.steps == 77  # 2 * 3840 / 100, rounded up


def test_only_the_training_split_is_learned_from() -> None:
    data, _, _ = resolve(Options("builtin"))
    assert set(data.columns["split"]) == {"train"}


# --- what is refused ----------------------------------------------------------------------------------------------------------------------------


def test_everything_that_is_wrong_is_told_at_once_with_the_nearest_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(
        f"pretrain {tmp_path / 'nowhere'} --method simcrl --encoder resnet_mico --batch many --lr -1 --warmup 2 --steps 0 --seed -3 --precision 12 "
        f"--views simcl --optimizer lard --strategy dp --devices 999 --out {tmp_path / 'run'} --set temperature".split()
    )
    said = capsys.readouterr().err
    assert code == 2
    for words in (
        "nowhere", "simclr", "resnet_micro", "--batch many: expected a whole number", "--lr -1.0: must be at least 0", "--warmup 2.0: a share",
        "--steps 0: must be at least 1", "--seed -3", "--precision 12", "--views simcl", "lars", "--strategy dp", "--devices 999", "expected NAME=VALUE",
    ):  # fmt: skip
        assert words in said, words
    assert "Traceback" not in said and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"settings": {"temprature": 0.2}}, "temperature"),
        ({"settings": {"temperature": "hot"}}, "expected float"),
        ({"batch": 10, "accumulate": 4}, "multiple of 4"),
        ({"lr": float("nan")}, "--lr nan"),
        ({"log": "mlflow"}, "pip install"),
        ({"views": "dino"}, "takes the views v, w"),
        ({"method": "mae", "hidden": None}, "vit_micro"),
        ({"weights": "no/such/file.pt"}, "no/such/file.pt"),
    ],
)
def test_what_cannot_be_is_refused_before_a_folder_is_made(pictures: Path, tmp_path: Path, given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        wanted = {**TINY, "steps": 2, **given}
        pretrain(pictures, out=tmp_path / "run", **{name: value for name, value in wanted.items() if value is not None})
    assert not (tmp_path / "run").exists()


def test_a_finished_run_is_not_written_over(pictures: Path, tiny_run: Path) -> None:
    with pytest.raises(InputError, match="--resume"):
        pretrain(pictures, out=tiny_run, steps=1, **TINY)


def test_a_folder_where_nothing_was_saved_yet_may_be_used_again(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    assert pretrain(pictures, out=tmp_path, steps=1, **TINY).options.steps == 1


def test_resume_takes_no_other_options(tiny_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "--resume", str(tiny_run), "--lr", "0.1", "--batch", "8"]) == 2
    assert "without --batch, --lr" in capsys.readouterr().err


def test_one_sample_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least two"):
        pretrain(np.zeros((1, 16, 16, 3), np.uint8), out=tmp_path / "run", steps=1, **TINY)


# --- repeating ----------------------------------------------------------------------------------------------------------------------------------


def test_repeating_a_run_json_gives_the_same_bits(tiny_run: Path, tmp_path: Path) -> None:
    again = repeat(tiny_run / "run.json", {}, tmp_path / "again", quiet=True)
    assert same(encoder_of(tiny_run), encoder_of(again.path))
    first, second = ([row["loss"] for row in read_metrics(run)[1:]] for run in (tiny_run, again.path))
    assert first == second


def test_a_repeated_run_can_be_changed(tiny_run: Path, tmp_path: Path) -> None:
    assert main(["pretrain", "--from", str(tiny_run), "--out", str(tmp_path / "a"), "--steps", "2", "--set", "temperature=0.5", "--quiet"]) == 0
    changed = mv.Run(tmp_path / "a").options
    assert (changed.steps, changed.settings) == (2, {"hidden": 32, "temperature": 0.5})


def test_an_array_can_be_learned_from_and_continued_from_python(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 255, (20, 16, 16, 3), dtype=np.uint8)
    run = pretrain(x, out=tmp_path / "run", steps=2, **TINY)
    assert run.options.data == "<given>"
    with pytest.raises(InputError, match="given in Python"):
        run.resume(quiet=True)
    assert run.resume(x, quiet=True).path == run.path
    with pytest.raises(InputError, match="fingerprint"):
        run.resume(x[:18], quiet=True)


# --- what is saved when something goes wrong ----------------------------------------------------------------------------------------------------


def test_a_rate_that_blows_up_stops_with_the_views_saved_and_advice(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"not finite.*try a smaller --lr.*diverged\.safetensors"):
        pretrain(pictures, out=tmp_path / "run", steps=40, lr=1e30, optimizer="sgd", warmup=0.0, **TINY)
    views = load_file(tmp_path / "run" / "diverged.safetensors")
    assert views["v.x"].shape == (12, 3, 16, 16) and views["v.index"].shape == (12,)


def test_a_collapsed_encoder_stops_the_run_with_the_views_saved_and_advice(pictures: Path, tmp_path: Path) -> None:
    class Same(between.Probe):
        """Looks at an encoder that gives every picture the same vector from step 2 on."""

        def __call__(self, encoder: Any, device: str = "cpu") -> dict[str, float]:
            if self.looks:
                encoder = Constant(encoder.dim)
            self.looks += 1
            return super().__call__(encoder, device)

        looks = 0

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(between, "Probe", Same)
        with pytest.raises(Diverged, match=r"try .*diverged\.safetensors"):
            pretrain(pictures, out=tmp_path / "run", steps=6, probe_every=2, **TINY)
    assert load_file(tmp_path / "run" / "diverged.safetensors")["w.x"].shape == (12, 3, 16, 16)
    assert not (tmp_path / "run" / "encoder.safetensors").exists() and not (tmp_path / "run" / "last.ckpt").exists()


class Constant(Encoder):
    """A collapsed encoder."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, view: View) -> torch.Tensor:
        return torch.ones(len(view), self.dim)


def test_diverging_is_exit_status_1_without_a_traceback(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"pretrain {pictures} --method simclr --encoder resnet_micro --size 16 --batch 12 --steps 40 --lr 1e30 --optimizer sgd --warmup 0 --quiet"
    with pytest.raises(SystemExit) as caught:
        main([*words.split(), "--out", str(tmp_path / "run"), "--set", "hidden=16"])
    assert caught.value.code == 1 and "--lr" in capsys.readouterr().err


def test_useless_weights_do_not_replace_a_good_checkpoint(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = between.Between.save

    def poisoned(looks: Any, step: Any) -> None:
        if step.number == 4:
            next(looks.method.parameters()).data.fill_(float("nan"))
        honest(looks, step)

    monkeypatch.setattr(between.Between, "save", poisoned)
    with pytest.raises(Diverged, match="after step 4"):
        pretrain(pictures, out=tmp_path / "run", steps=6, probe_every=6, save_every=2, **TINY)
    assert checkpoint.load_checkpoint(tmp_path / "run" / "last.ckpt")["step"] == 2


def test_a_full_disk_loses_nothing_that_was_saved(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    honest, calls = os.replace, []

    def full(source: Any, target: Any) -> None:
        if str(target).endswith("last.ckpt"):
            calls.append(target)
            if len(calls) == 2:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        honest(source, target)

    monkeypatch.setattr(os, "replace", full)
    words = f"pretrain {pictures} --method simclr --encoder resnet_micro --size 16 --batch 12 --steps 6 --save-every 2 --probe-every 6 --precision 32 --quiet"
    assert main([*words.split(), "--out", str(tmp_path / "run"), "--set", "hidden=16"]) == 1
    assert "disk is full" in capsys.readouterr().err
    assert checkpoint.load_checkpoint(tmp_path / "run" / "last.ckpt")["step"] == 2
    monkeypatch.undo()
    whole = pretrain(pictures, out=tmp_path / "whole", steps=6, save_every=2, probe_every=6, **TINY)
    mv.Run(tmp_path / "run").resume(quiet=True)
    assert same(encoder_of(tmp_path / "run"), encoder_of(whole.path))


@pytest.mark.parametrize(("number", "error"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)])
def test_an_interrupted_run_is_saved_and_goes_on_to_the_same_bits(
    pictures: Path, tmp_path: Path, number: int, error: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = between.Between.__call__

    def interrupted(looks: Any, step: Any) -> None:
        honest(looks, step)
        if step.number == 3:
            os.kill(os.getpid(), number)

    settings = {**TINY, "steps": 8, "probe_every": 8}
    whole = pretrain(pictures, out=tmp_path / "whole", **settings)
    with monkeypatch.context() as patched:
        patched.setattr(between.Between, "__call__", interrupted)
        with pytest.raises(error) as caught:
            pretrain(pictures, out=tmp_path / "run", **settings)
    if error is SystemExit:
        assert caught.value.code == 143
    assert checkpoint.load_checkpoint(tmp_path / "run" / "last.ckpt")["step"] == 4
    assert signal.getsignal(number) is not None and not isinstance(signal.getsignal(number), type(launch.Stop().note))
    mv.Run(tmp_path / "run").resume(quiet=True)
    assert same(encoder_of(tmp_path / "run"), encoder_of(whole.path))


def test_training_in_a_thread_leaves_signals_alone(pictures: Path, tmp_path: Path) -> None:
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(pretrain(pictures, out=tmp_path / "run", steps=1, **TINY)))
    thread.start()
    thread.join()
    assert results and results[0].path.exists()


# --- options and processes ----------------------------------------------------------------------------------------------------------------------


def test_every_option_has_help_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["pretrain", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    for name in (*options.FIELDS, "resume", "from", "out", "set"):
        assert (options.flag(name) if name in options.FIELDS else f"--{name}") in said
    assert "--as" in said


def test_weights_of_a_run_are_where_another_one_starts(pictures: Path, tiny_run: Path, tmp_path: Path) -> None:
    run = pretrain(pictures, out=tmp_path / "run", steps=1, lr=0.0, weights=str(tiny_run), **TINY)
    before, after = encoder_of(tiny_run), encoder_of(run.path)
    assert all(torch.equal(before[key], after[key]) for key in before if "running" not in key and "num_batches" not in key)


def test_the_encoder_can_be_compiled(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.nn.Module] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, *a, **k: asked.append(self))
    pretrain(pictures, out=tmp_path / "run", steps=1, compile=True, **TINY)
    assert len(asked) == 1


@pytest.mark.slow
def test_several_processes_work_from_a_script_which_runs_only_once(pictures: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import manyviews as mv\n"
        f"where = {str(pictures)!r}, 'simclr', 'resnet_micro', {str(tmp_path / 'run')!r}\n"
        "run = mv.pretrain(*where, devices=2, steps=3, size=16, batch=12, hidden=16, precision='32', quiet=True)\n"
        "print('rows', len(run.metrics))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["rows", "4"]


@pytest.mark.slow
def test_torchrun_starts_the_processes_and_one_of_them_writes(pictures: Path, tmp_path: Path) -> None:
    words = f"pretrain {pictures} --method simclr --encoder resnet_micro --size 16 --batch 12 --steps 3 --precision 32 --set hidden=16"
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "-m",
        "manyviews",
        *words.split(),
        "--out",
        str(tmp_path / "run"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("3 steps in") == 1 and len(read_metrics(tmp_path / "run")) == 4
    assert mv.Run(tmp_path / "run").config["machine"]["processes"] == 2
