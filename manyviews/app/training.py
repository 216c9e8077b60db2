"""One run: build what the options say, run the loop, and between its steps look, log and save."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import platform
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from manyviews.app import launch
from manyviews.app.between import CHECKPOINT, ENCODER, Before, Between
from manyviews.app.building import build_method, changed
from manyviews.app.catalogue import find_method
from manyviews.app.options import Options
from manyviews.app.preparing import Tools
from manyviews.app.run import Run, lock, versions
from manyviews.backbones.building import build_encoder
from manyviews.contracts import Method, Recipe
from manyviews.data.dataset import Data
from manyviews.errors import InputError
from manyviews.train.checkpoint import atomic
from manyviews.train.fit import Diverged, check_roles, fit
from manyviews.views.finding import find_policy


def train(options: Options, out: Path, data: Data, state: dict[str, Any] | None, quiet: bool, fresh: bool = True) -> Run:
    """The run in `out`, from `state` (a checkpoint) or from the first step."""
    fabric = launch.make_fabric(options.devices, options.precision, options.strategy)
    out = Path(fabric.broadcast(str(out)))  # a folder named by the time has as many names as there are processes
    method, recipe = assemble(options, data, quiet)
    policy = find_policy(recipe.views, options.size or 32, data.modality)
    check_roles(method, list(policy.roles))
    if options.strategy == "fsdp" and type(method).stages is not Method.stages:
        raise InputError(f"{options.method} trains in several stages, which --strategy fsdp cannot; take --strategy ddp")
    method.to(fabric.device)
    stop = launch.Stop()
    with claim(out, fabric, fresh):
        if fresh and fabric.is_global_zero:
            write_config(out, options, recipe, data, fabric)
        fingerprint = data.fingerprint()
        data = dataclasses.replace(data.reduced(policy.pixels).in_channels(options.channels or 3), max_bad=options.max_bad)
        data = data.keep(threads=max(1, options.workers or 0))
        if state is not None:
            method.load_state_dict(state["method"] if state["stage"] else state["module"])
        between: Between | Before | None = None
        for stage in method.stages(data, Tools(options.size or 32, fabric.device, options.workers or 0)):
            if state is not None and state["stage"] != stage.name:
                continue
            main = stage.trainable is method
            steps = options.steps or 1 if main else max(1, round(stage.share * (options.steps or 1)))
            before = stage.trainable.recipe
            own = (policy, recipe, options.lr) if main else (find_policy(before.views, options.size or 32, data.modality), before, None)
            between = (Between if main else Before)(options, out, stage, steps, fingerprint, method, policy, fabric, state, quiet)
            with between, stop, batch_saved(out, fabric):
                for step in fit(
                    stage.trainable, stage.data, own[0], steps=steps, batch=options.batch, recipe=own[1], lr=own[2], seed=options.seed, fabric=fabric,
                    threads=options.workers or 0, accumulate=options.accumulate, channels_last=options.strategy != "fsdp", compile=options.compile,
                    resume=state, stop=lambda: bool(stop),
                ):  # fmt: skip
                    between(step)
            state = None
            if between.stopped:
                break
    if between is None:
        raise InputError(f"{out / CHECKPOINT} is of a stage {state['stage'] if state else ''!r} that {options.method} no longer has; start a new run")
    if between.stopped and not between.finished:
        launch.say(f"stopped at step {between.last:,}; `manyviews pretrain --resume {out}` continues")
        launch.leave_as_one()
        raise KeyboardInterrupt if stop.signal == signal.SIGINT else SystemExit(143)
    launch.say(between.summary(), quiet)
    return Run(out)


@contextlib.contextmanager
def batch_saved(out: Path, fabric: Fabric) -> Iterator[None]:
    """The views at which training broke down are kept in a file, and the message names it."""
    try:
        yield
    except Diverged as error:
        file = out / ("diverged.safetensors" if fabric.is_global_zero else f"diverged-{fabric.global_rank}.safetensors")
        save_views(file, error.views)
        raise Diverged(f"{error}; the views are in {file}", error.views) from None


def assemble(options: Options, data: Data, quiet: bool = False) -> tuple[Method, Recipe]:
    """The method around its encoder, both with weights that the seed alone decides, and the recipe with the user's changes."""
    encoder = build_encoder(options.encoder, options.channels or 3, options.size or 32, seed=options.seed, form=data.form)
    if options.weights:
        from manyviews.backbones.pretrained import load_weights

        launch.say(load_weights(encoder, options.weights), quiet)
    torch.manual_seed(options.seed)
    method, recipe = build_method(options.method, encoder, data, **options.settings)
    return method, changed(recipe, vars(options))


@contextlib.contextmanager
def claim(out: Path, fabric: Fabric, fresh: bool) -> Iterator[None]:
    """Makes the folder and keeps other processes out. All processes of the run learn when that cannot be; the first one raises InputError."""
    problem = ""
    with contextlib.ExitStack() as stack:
        if fabric.is_global_zero:
            try:
                out.mkdir(parents=True, exist_ok=True)
                stack.enter_context(lock(out))
                if fresh and any((out / name).exists() for name in (ENCODER, CHECKPOINT)):
                    problem = f"{out} already holds a run; continue it with `manyviews pretrain --resume {out}`, or name another --out"
            except InputError as error:
                problem = str(error)
            except OSError as error:
                problem = f"--out {out}: {error.strerror}"
        problem = fabric.broadcast(problem)
        if problem:
            raise InputError(problem) if fabric.is_global_zero else SystemExit(0)
        yield


def write_config(out: Path, options: Options, recipe: Recipe, data: Data, fabric: Fabric) -> None:
    """run.json: everything needed to repeat the run."""
    config = {
        "options": dataclasses.asdict(options),
        "recipe": {**dataclasses.asdict(recipe), "lr": options.lr if options.lr is not None else recipe.lr * options.batch / 256},
        "hyperparameters": {**find_method(options.method).defaults(), **options.settings},
        "data": {"described": data.describe(), "fingerprint": data.fingerprint(), "classes": list(data.classes)},
        "command": sys.argv,
        "versions": versions(),
        "machine": {"device": device_name(fabric), "processes": fabric.world_size, "threads": torch.get_num_threads(), "platform": platform.platform()},
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    with atomic(out / "run.json") as temporary:
        temporary.write_text(json.dumps(config, indent=2), encoding="utf-8")


def device_name(fabric: Fabric) -> str:
    return torch.cuda.get_device_name(fabric.device) if fabric.device.type == "cuda" else platform.processor() or platform.machine()


def save_views(file: Path, views: dict[str, Any]) -> None:
    """Pictures and rows of each view, as safetensors: v.x, v.index; global_crops.0.x, ..."""
    from safetensors.torch import save_file

    tensors = {}
    for role, view in views.items():
        for i, one in enumerate(view if isinstance(view, list) else [view]):
            name = f"{role}.{i}" if isinstance(view, list) else role
            found = {"x": getattr(one, "x", None), "index": getattr(one, "index", None)}
            tensors.update({f"{name}.{key}": value.detach().cpu().contiguous().clone() for key, value in found.items() if isinstance(value, Tensor)})
    with atomic(file) as temporary:
        save_file(tensors, temporary)
