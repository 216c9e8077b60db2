"""Methods of several stages: all of them run, each goes on where it was stopped, and what is derived between them is the same for all processes."""

from __future__ import annotations

import dataclasses
import functools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from test_resume import assert_equal_checkpoints, command, finish, kill_after

import manyviews as mv
from manyviews.app import between, launch, training
from manyviews.app.evidence.arena import Arena
from manyviews.app.evidence.bench import Bench
from manyviews.app.preparing import Tools
from manyviews.app.pretrain import pretrain
from manyviews.app.run import read_metrics
from manyviews.contracts import Method
from manyviews.data.opening import open_data
from manyviews.errors import InputError
from manyviews.train.checkpoint import load_checkpoint, save_checkpoint

STEPS = 6
TINY: dict[str, Any] = {"encoder": "resnet_micro", "size": 16, "batch": 8, "precision": "32", "quiet": True, "steps": STEPS, "probe_every": STEPS}
SETTINGS: dict[str, dict[str, Any]] = {
    "g_simclr": {"hidden": 16, "bottleneck": 8, "out": 8, "clusters": 8, "width": 4, "autoencoder": 0.5},
    "transitive_invariance": {"hidden": 16, "out": 8, "cluster_size": 12, "pretext_share": 0.5},
}
FIRST = {"g_simclr": "autoencoder", "transitive_invariance": "context"}
TIMINGS = {"seconds", "waiting", "samples_per_second"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that nothing is in yet."""
    monkeypatch.setenv("MANYVIEWS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def array() -> np.ndarray:
    """32 smooth pictures of 16 pixels."""
    return np.random.default_rng(0).integers(0, 255, (32, 4, 4, 3)).repeat(4, 1).repeat(4, 2).astype(np.uint8)


def run(method: str, out: Path, **options: Any) -> mv.Run:
    return pretrain(array(), method, out=out, settings=SETTINGS[method], **{**TINY, **options})


def content(folder: Path, method: str) -> dict[str, Any]:
    """Everything that a run leaves, apart from times: the last checkpoint, the best encoder, the rows of every stage."""
    from safetensors.torch import load_file

    stages = (FIRST[method], "")
    rows = {stage: [{key: row[key] for key in row.keys() - TIMINGS} for row in read_metrics(folder / stage)] for stage in stages}
    return {"checkpoint": load_checkpoint(folder / "last.ckpt"), "encoder": load_file(folder / "encoder.safetensors"), "rows": rows}


@functools.cache
def uninterrupted(method: str, folder: Path) -> dict[str, Any]:
    """What a run without a stop leaves."""
    return content(run(method, folder / method).path, method)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where runs are that several tests look at."""
    return tmp_path_factory.mktemp("shared")


def stopping(kind: type, step: int, patched: pytest.MonkeyPatch) -> None:
    """Control-C, in the stage that `kind` looks after, once that step is done."""
    honest: Callable[..., None] = kind.__call__

    def interrupted(looks: Any, done: Any) -> None:
        honest(looks, done)
        if done.number == step:
            os.kill(os.getpid(), signal.SIGINT)

    patched.setattr(kind, "__call__", interrupted)


@pytest.mark.parametrize("method", SETTINGS)
def test_all_stages_run_each_for_its_share_with_rows_of_its_own(method: str, shared: Path) -> None:
    left = uninterrupted(method, shared)
    first, own = left["rows"][FIRST[method]], left["rows"][""]
    assert [row["step"] for row in first] == list(range(1, STEPS // 2 + 1))
    assert [row["step"] for row in own] == list(range(STEPS + 1))
    assert not {*first[0]} & {*own[-1]} - {"step", "epoch", "lr", "loss"}
    assert (left["checkpoint"]["stage"], left["checkpoint"]["step"]) == ("", STEPS)


@pytest.mark.parametrize("method", SETTINGS)
@pytest.mark.parametrize(("kind", "step", "saved"), [(between.Before, 1, 2), (between.Before, 2, 3), (between.Between, 3, 4)])
def test_a_run_stopped_in_any_stage_goes_on_to_the_same_bits(method: str, kind: type, step: int, saved: int, tmp_path: Path, shared: Path) -> None:
    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        stopping(kind, step, patched)
        run(method, tmp_path / "run")
    state = load_checkpoint(tmp_path / "run" / "last.ckpt")
    assert (state["stage"], state["step"]) == (FIRST[method] if kind is between.Before else "", saved)
    mv.Run(tmp_path / "run").resume(array(), quiet=True)
    assert_equal_checkpoints(content(tmp_path / "run", method), uninterrupted(method, shared))


@pytest.mark.parametrize("method", SETTINGS)
def test_what_was_derived_is_derived_again_where_the_cache_was_emptied(method: str, tmp_path: Path, shared: Path, cache: Path) -> None:
    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        stopping(between.Between, 3, patched)
        run(method, tmp_path / "run")
    files = list(cache.iterdir())
    assert files
    for file in files:
        file.unlink()
    mv.Run(tmp_path / "run").resume(array(), quiet=True)
    assert list(cache.iterdir()) and len(files) == len(list(cache.iterdir()))
    assert_equal_checkpoints(content(tmp_path / "run", method), uninterrupted(method, shared))


def test_a_run_that_died_between_two_stages_does_not_train_the_first_again(tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = uninterrupted("g_simclr", shared)

    def die(*_: Any) -> None:
        raise MemoryError

    with monkeypatch.context() as patched, pytest.raises(MemoryError):
        patched.setattr(Tools, "embed", die)
        patched.setenv("MANYVIEWS_CACHE", str(tmp_path / "another"))
        run("g_simclr", tmp_path / "run", save_every=1000)
    state = load_checkpoint(tmp_path / "run" / "last.ckpt")
    assert (state["stage"], state["step"]) == ("autoencoder", STEPS // 2)
    seen: list[int] = []
    monkeypatch.setattr(between.Before, "__call__", lambda looks, step: seen.append(step.number))
    mv.Run(tmp_path / "run").resume(array(), quiet=True)
    assert not seen
    assert_equal_checkpoints(content(tmp_path / "run", "g_simclr"), whole)


def test_a_checkpoint_of_a_stage_that_there_is_no_longer_is_refused(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patched, pytest.raises(KeyboardInterrupt):
        stopping(between.Before, 1, patched)
        run("g_simclr", tmp_path / "run")
    file = tmp_path / "run" / "last.ckpt"
    save_checkpoint(file, {**load_checkpoint(file), "stage": "tokenizer"})
    with pytest.raises(InputError, match="'tokenizer' that g_simclr no longer has"):
        mv.Run(tmp_path / "run").resume(array(), quiet=True)


def test_weights_are_not_shared_out_over_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "make_fabric", lambda *_: Fabric(accelerator="cpu", devices=1))
    with pytest.raises(InputError, match="g_simclr trains in several stages, which --strategy fsdp cannot; take --strategy ddp"):
        run("g_simclr", tmp_path / "run", strategy="fsdp")
    assert not (tmp_path / "run").exists()


def test_the_views_of_a_stages_own_recipe_are_checked_before_it_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from manyviews.methods.contrast.g_simclr import Autoencoder

    monkeypatch.setattr(Autoencoder, "recipe", dataclasses.replace(Autoencoder.recipe, views="simclr"))
    with pytest.raises(InputError, match="Autoencoder takes the views v, and the policy makes v, w"):
        run("g_simclr", tmp_path / "run")
    assert not (tmp_path / "run" / "encoder.safetensors").exists()


@pytest.mark.parametrize("method", SETTINGS)
def test_a_claims_arm_trains_all_stages(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"method": method, "encoder": "resnet_micro", "size": 16, "steps": 4, "batch": 8, "lr": 1e-3, "settings": SETTINGS[method]}
    bench = Bench(Arena("builtin", rows=40, train=20, test=20), words, seed=0, precision="32-true")
    derived: list[str] = []
    honest = Tools.derive
    monkeypatch.setattr(Tools, "derive", lambda tools, data, name, compute: derived.append(name) or honest(tools, data, name, compute))
    trained = bench.pretrain()
    start = training.build_method(method, bench.encoder(), bench.pretraining, **SETTINGS[method])[0]
    changed = {name for name, p in trained.state_dict().items() if not torch.equal(p.cpu(), start.state_dict()[name])}
    assert len(derived) == 1 and {name.split(".")[0] for name in changed} >= {"encoder", "projector", "weak" if FIRST[method] == "context" else "autoencoder"}
    assert isinstance(trained, Method) and bench.seconds > 0
    assert set(bench.probes(trained.exported)) == {"knn", "linear"}


def different_columns(fabric: Any) -> tuple[list[int], list[int], int]:
    """What two processes that cannot agree get for a column, and for rows."""
    data, tools, rank = open_data(array()).keep(), Tools(16), fabric.global_rank
    os.environ["MANYVIEWS_CACHE"] = f"/nowhere/{rank}"
    labelled = tools.derive(data, "column", lambda data: {"cluster": np.arange(len(data)) + 100 * rank})
    fewer = tools.derive(data, "rows", lambda data: np.arange(3) + 10 * rank)
    del os.environ["MANYVIEWS_CACHE"]
    return labelled.columns["cluster"].tolist(), [fewer.row(i) for i in range(len(fewer))], int(fewer[2].sum())


def test_what_the_first_process_derives_counts_for_all(pair: Any) -> None:
    expected = (list(range(32)), [0, 1, 2], int(array()[2].sum()))
    assert pair(different_columns) == [expected, expected]


@pytest.mark.slow
@pytest.mark.parametrize("method", ["g_simclr"])
def test_two_processes_killed_in_both_stages_go_on_to_the_same_bits(method: str, pictures: Path, tmp_path: Path) -> None:
    words = f"{pictures} --method {method} --encoder resnet_micro --size 16 --batch 12 --steps 20 --precision 32 --devices 2 --quiet --save-every 2"
    words += " --probe-every 10 --set " + " ".join(f"{name}={value}" for name, value in SETTINGS[method].items())
    whole, part = tmp_path / "whole", tmp_path / "run"
    finish(command(*words.split(), "--out", str(whole)))
    kill_after(command(*words.split(), "--out", str(part)), part / FIRST[method], 3)
    kill_after(command("--resume", str(part), "--quiet"), part, 5)
    finish(command("--resume", str(part), "--quiet"))
    assert_equal_checkpoints(content(part, method), content(whole, method))
