"""One run: build what the options say, run the loop, and between its steps look, log and save."""

from __future__ import annotations

import ast
import contextlib
import csv
import dataclasses
import datetime
import json
import math
import platform
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from manyviews.app import launch
from manyviews.app.building import build_method
from manyviews.app.catalogue import find_method
from manyviews.app.logs import Logs
from manyviews.app.model import Model
from manyviews.app.options import Options
from manyviews.app.probe import Probe, affordable, collapsed
from manyviews.app.progress import Progress
from manyviews.app.run import Run, lock, versions
from manyviews.backbones.building import build_encoder
from manyviews.contracts import Encoder, Method, Recipe
from manyviews.data.dataset import Data
from manyviews.errors import InputError
from manyviews.train.checkpoint import atomic, is_sharded, save_checkpoint, whole
from manyviews.train.fit import REMEDY, Diverged, Step, check_roles, fit
from manyviews.views import images

ENCODER, CHECKPOINT = "encoder.safetensors", "last.ckpt"


def train(options: Options, out: Path, data: Data, state: dict[str, Any] | None, quiet: bool, fresh: bool = True) -> Run:
    """The run in `out`, from `state` (a checkpoint) or from the first step."""
    fabric = launch.make_fabric(options.devices, options.precision, options.strategy)
    out = Path(fabric.broadcast(str(out)))  # a folder named by the time has as many names as there are processes
    method, recipe = assemble(options, data, quiet)
    policy = getattr(images, recipe.views)(options.size)
    check_roles(method, list(policy.roles))
    method.to(fabric.device)
    stop = launch.Stop()
    with claim(out, fabric, fresh):
        if fresh and fabric.is_global_zero:
            write_config(out, options, recipe, data, fabric)
        data = dataclasses.replace(data.reduced(policy.pixels).in_channels(options.channels or 3), max_bad=options.max_bad)
        between = Between(options, out, data.keep(threads=max(1, options.workers or 0)), method, policy, fabric, state, quiet)
        try:
            with between, stop:
                for step in fit(
                    method, between.data, policy, steps=options.steps or 1, batch=options.batch, recipe=recipe, lr=options.lr, seed=options.seed, fabric=fabric,
                    threads=options.workers or 0, accumulate=options.accumulate, channels_last=options.strategy != "fsdp", compile=options.compile,
                    resume=state, stop=lambda: bool(stop),
                ):  # fmt: skip
                    between(step)
        except Diverged as error:
            file = out / ("diverged.safetensors" if fabric.is_global_zero else f"diverged-{fabric.global_rank}.safetensors")
            save_views(file, error.views)
            raise Diverged(f"{error}; the views are in {file}", error.views) from None
    if between.stopped and between.last < (options.steps or 1):
        launch.say(f"stopped at step {between.last:,}; `manyviews pretrain --resume {out}` continues")
        launch.leave_as_one()
        raise KeyboardInterrupt if stop.signal == signal.SIGINT else SystemExit(143)
    launch.say(between.summary(), quiet)
    return Run(out)


class Between:
    """What happens between steps, in every process; only the first one speaks and writes."""

    def __init__(
        self, options: Options, out: Path, data: Data, method: Method, policy: images.Policy, fabric: Fabric, state: dict[str, Any] | None, quiet: bool
    ):
        self.options, self.out, self.data, self.method, self.fabric, self.quiet = options, out, data, method, fabric, quiet
        self.first, self.several = fabric.is_global_zero, fabric.world_size > 1
        self.fingerprint = data.fingerprint()
        self.best: float = state["best"] if state else -math.inf
        self.untrained: float = state["untrained"] if state else math.nan
        self.start = self.last = state["step"] if state else 0
        self.stopped, self.since = False, time.perf_counter()
        steps, every = options.steps or 1, options.probe_every or 1
        self.probe = Probe(data, options.size or 0, policy, options.seed, affordable(steps, options.batch, steps // every + 1, len(policy.specs)))
        self.bad: dict[int, str] = {}

    def __enter__(self) -> Between:
        with contextlib.ExitStack() as stack:
            if self.first:
                self.logs = stack.enter_context(Logs(self.out, self.start, self.options.log, dataclasses.asdict(self.options)))
                self.bar = stack.enter_context(Progress(self.options.steps or 0, self.quiet, self.start))
            if not self.start:
                row = self.look()
                self.untrained = row.get("probe", math.nan)
                if self.first:
                    self.logs({"step": 0, "epoch": 0, **row})
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self.stack.__exit__(*error)
        if self.first:
            write_quarantine(self.out, self.data, self.bad)

    def __call__(self, step: Step) -> None:
        """Look at the encoder, save and log, each when it is due."""
        self.last, self.stopped = step.number, step.stopping
        row: dict[str, Any] = {"step": step.number, "epoch": step.epoch, "lr": step.lr, "seconds": step.seconds, "waiting": step.waiting}
        row.update({**step.terms, "loss": step.loss, "samples_per_second": step.samples / step.seconds})
        due = step.number % (self.options.probe_every or 1) == 0 or step.number == step.steps
        if due:
            row.update(self.look(step))
        if due or step.stopping or step.number % (self.options.save_every or 1) == 0:
            self.save(step)
        if self.first:
            self.logs(row)
            self.bar.update(step, row)

    def look(self, step: Step | None = None) -> dict[str, float]:
        """The probe's row, in the first process; the best encoder so far is kept. Raises Diverged where the encoder has collapsed."""
        encoder, row, reason = self.encoder(), {}, ""
        if self.first:
            row = self.probe(encoder, str(self.fabric.device))
            if step is not None:
                reason = collapsed(row) or ""
                if not reason and (row["probe"] >= self.best or (step.number == step.steps and self.best == -math.inf)):
                    self.best = row["probe"]
                    self.keep(encoder)
        self.method.train()
        if self.several:
            reason = self.fabric.broadcast(reason)
            parts: list[dict[int, str]] = [{}] * self.fabric.world_size
            torch.distributed.all_gather_object(parts, dict(self.data.bad))
            self.bad = {row: why for part in parts for row, why in part.items()}
        if reason and step is not None:
            raise Diverged(reason, step.views())
        return row

    def keep(self, encoder: Encoder) -> None:
        """These are the best weights so far."""
        o = self.options
        model = Model(encoder, o.encoder, o.size or 32, o.channels or 3, self.data.modality, self.out.name, device=str(self.fabric.device))
        model.save(self.out / ENCODER)

    def encoder(self) -> Encoder:
        """What is looked at and handed out; put together first where it is shared out."""
        exported = self.method.exported
        if not is_sharded(exported):
            return exported
        copy = build_encoder(self.options.encoder, self.options.channels or 3, self.options.size or 32)
        copy.load_state_dict(whole(exported))
        return copy.to(self.fabric.device)

    def save(self, step: Step) -> None:
        """The checkpoint, unless its weights have become useless: then the one before stays."""
        content = {**step.checkpoint(), "best": self.best, "untrained": self.untrained, "fingerprint": self.fingerprint}
        broken = [name for name, t in content["module"].items() if isinstance(t, Tensor) and t.is_floating_point() and not bool(t.isfinite().all())]
        reason = f"{len(broken)} tensors ({broken[0]}, ...) are not finite after step {step.number:,}; {REMEDY}" if broken else ""
        if self.several:
            reason = self.fabric.broadcast(reason)
        if reason:
            raise Diverged(reason, step.views())
        if self.first:
            save_checkpoint(self.out / CHECKPOINT, content)
            self.logs.flush()

    def summary(self) -> str:
        seconds = time.perf_counter() - self.since
        untrained = "" if math.isnan(self.untrained) else f" (untrained {self.untrained:.3f})"
        return f"{self.out}: {self.last - self.start:,} steps in {seconds:.0f} s, {self.probe.name} {self.best:.3f}{untrained}"


def assemble(options: Options, data: Data, quiet: bool = False) -> tuple[Method, Recipe]:
    """The method around its encoder, both with weights that the seed alone decides, and the recipe with the user's changes."""
    encoder = build_encoder(options.encoder, options.channels or 3, options.size or 32, seed=options.seed)
    if options.weights:
        from manyviews.backbones.pretrained import load_weights

        launch.say(load_weights(encoder, options.weights), quiet)
    torch.manual_seed(options.seed)
    method, recipe = build_method(options.method, encoder, data, **options.settings)
    changes = {name: getattr(options, name) for name in ("views", "optimizer", "weight_decay", "warmup", "clip") if getattr(options, name) not in (None, "")}
    if "weight_decay" in changes:
        changes["final_weight_decay"] = None
    return method, dataclasses.replace(recipe, **changes)


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
        "hyperparameters": {**{name: ast.literal_eval(text) for name, text in find_method(options.method).parameters.items()}, **options.settings},
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


def write_quarantine(out: Path, data: Data, more: dict[int, str]) -> None:
    """quarantine.csv: what could not be read, and why."""
    with atomic(out / "quarantine.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(["sample", "reason"])
        writer.writerows((data.store.name(row), why) for row, why in sorted({**more, **data.bad}.items()))
