"""What happens between the steps of a run: look at the encoder, save, log."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from manyviews.app.logs import Logs
from manyviews.app.model import Model
from manyviews.app.options import Options
from manyviews.app.probe import Probe, affordable, collapsed
from manyviews.app.progress import Progress
from manyviews.backbones.building import build_encoder
from manyviews.contracts import Encoder, Method, Stage
from manyviews.data.dataset import Data
from manyviews.train.checkpoint import atomic, is_sharded, save_checkpoint, whole
from manyviews.train.fit import REMEDY, Diverged, Step
from manyviews.train.infinite_lr import plateau_step

ENCODER, CHECKPOINT = "encoder.safetensors", "last.ckpt"
PLATEAU_ENCODER, PLATEAU_CHECKPOINT = "plateau.safetensors", "plateau.ckpt"  # at the end of the constant phase of an infinite schedule


class Before:
    """What happens between the steps of a stage that comes before the method's own: a bar, rows in a folder named after the stage, checkpoints."""

    def __init__(
        self, options: Options, out: Path, stage: Stage, steps: int, fingerprint: str, method: Method, policy: Any, fabric: Fabric,
        state: dict[str, Any] | None, quiet: bool,
    ):  # fmt: skip
        self.options, self.out, self.stage, self.steps, self.fingerprint = options, out, stage, steps, fingerprint
        self.method, self.fabric, self.quiet = method, fabric, quiet
        self.start = self.last = state["step"] if state else 0
        self.stopped, self.finished, self.since = False, False, time.perf_counter()

    def __enter__(self) -> Before:
        with contextlib.ExitStack() as stack:
            if self.fabric.is_global_zero:
                self.logs = stack.enter_context(Logs(self.out / self.stage.name, self.start))
                self.bar = stack.enter_context(Progress(self.steps, self.quiet, self.start, self.stage.name))
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self.stack.__exit__(*error)

    def __call__(self, step: Step) -> None:
        self.last, self.stopped = step.number, step.stopping
        if step.stopping or step.number == self.steps or step.number % (self.options.save_every or 1) == 0:
            content = {**step.checkpoint(), "stage": self.stage.name, "method": whole(self.method), "best": -math.inf, "untrained": math.nan}
            if self.fabric.is_global_zero:
                save_checkpoint(self.out / CHECKPOINT, {**content, "fingerprint": self.fingerprint})
                self.logs.flush()
        if self.fabric.is_global_zero:
            row = row_of(step)
            self.logs(row)
            self.bar.update(step, row)

    def summary(self) -> str:
        return f"{self.out}: {self.stage.name}, {self.last - self.start:,} steps in {time.perf_counter() - self.since:.0f} s"


def row_of(step: Step) -> dict[str, Any]:
    """What is logged of every step."""
    row: dict[str, Any] = {"step": step.number, "epoch": step.epoch, "lr": step.lr, "seconds": step.seconds, "waiting": step.waiting}
    return {**row, **step.terms, "loss": step.loss, "samples_per_second": step.samples / step.seconds}


class Between:
    """What happens between steps, in every process; only the first one speaks and writes."""

    def __init__(
        self, options: Options, out: Path, stage: Stage, steps: int, fingerprint: str, method: Method, policy: Any, fabric: Fabric,
        state: dict[str, Any] | None, quiet: bool,
    ):  # fmt: skip
        data: Data = stage.data
        self.options, self.out, self.data, self.method, self.fabric, self.quiet = options, out, data, method, fabric, quiet
        self.first, self.several = fabric.is_global_zero, fabric.world_size > 1
        self.fingerprint, self.steps = fingerprint, steps
        self.best: float = state["best"] if state else -math.inf
        self.untrained: float = state["untrained"] if state else math.nan
        self.start = self.last = state["step"] if state else 0
        self.stopped, self.since = False, time.perf_counter()
        every = options.probe_every or 1
        self.probe = Probe(data, options.size or 0, policy, options.seed, affordable(steps, options.batch, steps // every + 1, len(policy.specs)))
        self.bad: dict[int, str] = {}
        self.plateau = plateau_step(options.schedule or method.recipe.schedule, steps)

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
        row = row_of(step)
        due = step.number % (self.options.probe_every or 1) == 0 or step.number == step.steps
        if due:
            row.update(self.look(step))
        if due or step.stopping or step.number % (self.options.save_every or 1) == 0:
            self.save(step)
        if step.number == self.plateau:
            self.keep_plateau(step)
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

    def keep(self, encoder: Encoder, name: str = ENCODER) -> None:
        """The encoder's weights: under the usual name, the best so far. Only in the first process."""
        o = self.options
        model = Model(
            encoder,
            encoder.named(o.encoder),
            o.size or 32,
            o.channels or 3,
            self.data.modality,
            self.out.name,
            device=str(self.fabric.device),
            form=self.data.form,
        )
        model.save(self.out / name)

    def keep_plateau(self, step: Step) -> None:
        """What the next task starts from."""
        self.save(step, PLATEAU_CHECKPOINT)
        encoder = self.encoder()
        if self.first:
            self.keep(encoder, PLATEAU_ENCODER)
        self.method.train()

    def encoder(self) -> Encoder:
        """What is looked at and handed out; put together first where it is shared out."""
        exported = self.method.exported
        if not is_sharded(exported):
            return exported
        copy = build_encoder(exported.named(self.options.encoder), self.options.channels or 3, self.options.size or 32, form=self.data.form)
        copy.load_state_dict(whole(exported))
        return copy.to(self.fabric.device)

    def save(self, step: Step, name: str = CHECKPOINT) -> None:
        """The checkpoint, unless its weights have become useless: then the one before stays."""
        content = {**step.checkpoint(), "stage": "", "best": self.best, "untrained": self.untrained, "fingerprint": self.fingerprint}
        broken = [name for name, t in content["module"].items() if isinstance(t, Tensor) and t.is_floating_point() and not bool(t.isfinite().all())]
        reason = f"{len(broken)} tensors ({broken[0]}, ...) are not finite after step {step.number:,}; {REMEDY}" if broken else ""
        if self.several:
            reason = self.fabric.broadcast(reason)
        if reason:
            raise Diverged(reason, step.views())
        if self.first:
            save_checkpoint(self.out / name, content)
            self.logs.flush()

    @property
    def finished(self) -> bool:
        return self.last >= self.steps

    def summary(self) -> str:
        seconds = time.perf_counter() - self.since
        untrained = "" if math.isnan(self.untrained) else f" (untrained {self.untrained:.3f})"
        return f"{self.out}: {self.last - self.start:,} steps in {seconds:.0f} s, {self.probe.name} {self.best:.3f}{untrained}"


def write_quarantine(out: Path, data: Data, more: dict[int, str]) -> None:
    """quarantine.csv: what could not be read, and why."""
    with atomic(out / "quarantine.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(["sample", "reason"])
        writer.writerows((data.store.name(row), why) for row, why in sorted({**more, **data.bad}.items()))
