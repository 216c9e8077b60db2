"""Who starts the processes, who speaks, and weights that are shared out."""

from __future__ import annotations

import copy
import dataclasses
import signal
import subprocess
import sys
from typing import Any

import pytest
import torch
from test_contract import BATCH, SIZE, build, labelled_pictures

from manyviews.app import launch
from manyviews.train.checkpoint import whole
from manyviews.train.fit import fit
from manyviews.views import images

CLEAN = ("TORCHELASTIC_RUN_ID", "LOCAL_RANK", "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_STEP_NUM_NODES")


@pytest.mark.parametrize(
    ("environment", "outside", "first"),
    [
        ({}, None, True),
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}, None, False),  # Fabric started it
        ({"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8", "RANK": "0", "LOCAL_RANK": "0"}, (4, 2), True),
        ({"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8", "RANK": "4", "LOCAL_RANK": "0"}, (4, 2), False),
        ({"SLURM_STEP_NUM_TASKS": "6", "SLURM_STEP_NUM_NODES": "3", "SLURM_PROCID": "2"}, (2, 3), False),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, None, True),  # a job of one task is a machine like any other
    ],
)
def test_torchrun_and_slurm_are_recognised_by_what_they_set(
    environment: dict[str, str], outside: tuple[int, int] | None, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in CLEAN:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert launch.from_outside() == outside and launch.is_first() == first


def test_the_first_signal_is_noted_and_the_second_acts() -> None:
    before = signal.getsignal(signal.SIGINT)
    with launch.Stop() as stop:
        assert not stop
        signal.raise_signal(signal.SIGINT)
        assert stop and stop.signal == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_a_failure_of_the_processes_is_an_error_here() -> None:
    with pytest.raises(RuntimeError, match="status 2"):
        launch.in_processes(["pretrain", "--no-such-option"])


def test_no_torch_is_loaded_for_help() -> None:
    code = "import sys; from manyviews.app.cli import main\ntry: main(['pretrain', '--help'])\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def with_strategy(fabric: Any, strategy: str) -> tuple[list[float], dict[str, torch.Tensor], list[float]]:
    """Losses and weights of four steps of BYOL on a transformer, and the losses of a clone that goes on from its second step."""
    if strategy == "fsdp":
        fabric = launch.make_fabric(2, "32-true", "fsdp")
    policy = images.byol(SIZE)

    def run(method: Any, recipe: Any, resume: Any = None) -> Any:
        recipe = dataclasses.replace(recipe, optimizer="lamb", lr=1e-3, clip=1.0)
        return fit(method, labelled_pictures(), policy, steps=4, batch=BATCH, recipe=recipe, threads=0, fabric=fabric, resume=resume)

    method, recipe = build("byol", "tiny_vit")
    losses, states = [], []
    for step in run(method, recipe):
        losses.append(step.loss)
        states.append(copy.deepcopy(step.checkpoint()))
    clone, recipe = build("byol", "tiny_vit", seed=1)
    later = [step.loss for step in run(clone, recipe, fabric.broadcast(states[1]))]
    return losses, {name: t.detach().clone() for name, t in whole(method).items()}, later


def test_weights_that_are_shared_out_learn_what_whole_ones_do(pair: Any) -> None:
    plain, _ = pair(with_strategy, "ddp")
    shared, other = pair(with_strategy, "fsdp")
    assert shared[0] == other[0] == pytest.approx(plain[0], rel=1e-4)
    assert shared[2] == shared[0][2:], "a sharded fit did not go on exactly"
    assert shared[1].keys() == plain[1].keys()
    for name, t in shared[1].items():
        assert torch.equal(t, other[1][name])
        torch.testing.assert_close(t, plain[1][name], rtol=1e-3, atol=1e-4)
