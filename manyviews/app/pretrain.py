"""`manyviews pretrain`: from data to a run."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

from manyviews.errors import InputError
from manyviews.app import catalogue
from manyviews.app.building import build_method
from manyviews.app.model import Model
from manyviews.app.probe import Probe
from manyviews.app.progress import Progress
from manyviews.app.run import Run, lock
from manyviews.backbones.building import build_encoder
from manyviews.contracts import Method, Recipe
from manyviews.data.dataset import Data
from manyviews.data.opening import open_data
from manyviews.train.checkpoint import atomic, load_checkpoint, save_checkpoint
from manyviews.train.fit import Diverged, fit
from manyviews.views import images


@dataclasses.dataclass
class Options:
    """Everything that decides a run; `run.json` holds one."""

    data: str
    method: str = ""  # empty: chosen, and said
    encoder: str = ""
    epochs: int = 100
    steps: int = 0  # instead of epochs
    batch: int = 256
    size: int = 0  # 0: from the data
    channels: int = 3
    lr: float = 0.0  # 0: the recipe's, times batch / 256
    optimizer: str = ""
    weight_decay: float = -1.0  # below 0: the recipe's
    warmup: float = -1.0
    views: str = ""
    seed: int = 0
    workers: int = 0  # 0: one a core
    devices: int = 1
    precision: str = ""  # empty: bf16 where the hardware has it
    accumulate: int = 1
    compile: bool = False
    strategy: str = ""
    modality: str = ""
    weights: str = ""
    save_every: int = 0  # steps; 0: as often as the probe
    probe_every: int = 0  # steps; 0: twenty times a run
    max_bad: float = 0.2
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)


def pretrain(data: Any, method: str = "", encoder: str = "", out: str | Path | None = None, *, quiet: bool = False, **options: Any) -> Run:
    """Pretrain on `data` and return the `Run`. `options` are the fields of `Options`; `settings` are the method's hyperparameters.

    Raises InputError with everything that is wrong at once.
    """
    known = {field.name for field in dataclasses.fields(Options)}
    settings = dict(options.pop("settings", {}))
    settings.update({name: options.pop(name) for name in [*options] if name not in known})
    chosen = Options(data=str(data) if isinstance(data, str | Path) else "<given>", method=method, encoder=encoder, settings=settings, **options)
    return start(chosen, Path(out) if out else None, opened=None if isinstance(data, str | Path) else open_data(data), quiet=quiet)


def start(options: Options, out: Path | None, opened: Data | None = None, quiet: bool = False, say: Callable[[str], None] | None = None) -> Run:
    """Resolve the options, make the run's folder, train."""
    say = say or ((lambda text: None) if quiet else print)
    data, options, reasons = resolve(options, opened)
    say(data.describe())
    for reason in reasons:
        say(reason)
    out = out or Path("runs") / f"{options.method}-{datetime.datetime.now():%Y%m%d-%H%M%S}"
    if (out / "run.json").exists():
        raise InputError(f"{out} already holds a run; continue it with `manyviews pretrain --resume {out}`, or name another --out")
    return train(options, out, data, None, quiet, say)


def resume(out: str | Path, quiet: bool = False, say: Callable[[str], None] | None = None) -> Run:
    """Continue a run that was stopped, to the weights it would have had."""
    out = Path(out)
    say = say or ((lambda text: None) if quiet else print)
    run = Run(out)
    options = Options(**run.config["options"])
    data, options, _ = resolve(options, None)
    if data.fingerprint() != run.config["data"]["fingerprint"]:
        raise InputError(f"{options.data} is not the data that {out} was trained on (its fingerprint changed); start a new run, with --weights {out} to go on from it")
    last = out / "last.ckpt"
    state = load_checkpoint(last) if last.exists() else None
    say(f"{out}: continuing after step {state['step']}" if state else f"{out}: no checkpoint yet, starting at the first step")
    return train(options, out, data, state, quiet, say)


def resolve(options: Options, opened: Data | None) -> tuple[Data, Options, list[str]]:
    """The data, and the options with everything filled in and why. Raises InputError with all problems."""
    problems: list[str] = []
    reasons: list[str] = []
    options = dataclasses.replace(options)
    data = None
    try:
        data = opened if opened is not None else open_data(options.data, options.modality or None)
    except InputError as error:
        problems += error.problems
    if data is not None and len(data) < 2:
        problems.append(f"{options.data} has {len(data)} sample; learning needs at least two")
    if not options.method:
        options.method = "simclr"
        reasons.append("method simclr: needs no labels, works with any encoder and small batches (--method)")
    try:
        entry = catalogue.find_method(options.method)
        options.method = entry.name
        options.settings, wrong = catalogue.parse_settings(entry, options.settings)
        problems += wrong
    except InputError as error:
        entry = None
        problems += error.problems
    if data is not None and not options.size:
        options.size = natural_size(data)
        reasons.append(f"size {options.size}: from the pictures (--size)")
    if not options.encoder:
        small = options.size <= 64
        options.encoder = ("resnet18_small" if torch.cuda.is_available() else "resnet_micro") if small else "resnet18"
        reasons.append(f"encoder {options.encoder}: for {options.size} pixels on this machine (--encoder)")
    for name, least in (("epochs", 0), ("steps", 0), ("batch", 2), ("size", 8), ("accumulate", 1), ("channels", 1), ("devices", 1), ("workers", 0)):
        if getattr(options, name) < least:
            problems.append(f"--{name} {getattr(options, name)}: must be at least {least}")
    if not options.precision:
        options.precision = "bf16-mixed" if has_bf16() else "32-true"
    if problems:
        raise InputError(*problems)
    assert data is not None and entry is not None
    data = training_rows(data)
    options.batch = min(options.batch, len(data) - len(data) % options.devices)
    options.workers = options.workers or max(1, (os.cpu_count() or 1))
    options.steps = options.steps or max(1, math.ceil(options.epochs * len(data) / options.batch))
    return data, options, reasons


def train(options: Options, out: Path, data: Data, state: dict[str, Any] | None, quiet: bool, say: Callable[[str], None]) -> Run:
    """Build everything and run the loop."""
    from lightning_fabric import Fabric

    fabric = Fabric(accelerator="auto", devices=options.devices, precision=options.precision, strategy=options.strategy or "auto")  # type: ignore[arg-type]
    fabric.launch()
    method, recipe, encoder = assemble(options, data)
    policy = getattr(images, recipe.views)(options.size)
    data = data.reduced(policy.pixels).keep(threads=options.workers)
    out.mkdir(parents=True, exist_ok=True)
    with lock(out):
        if state is None:
            write_config(out, options, recipe, data)
        probe = Probe(data, options.size, policy, options.seed)
        every = options.probe_every or max(1, options.steps // 20)
        best, since = best_so_far(out), time.perf_counter()
        device = str(fabric.device)

        def model() -> Model:
            return Model(method.exported, options.encoder, options.size, options.channels, data.modality, out.name, device=device)

        with Progress(options.steps, quiet=quiet or fabric.global_rank > 0) as bar, open(out / "metrics.jsonl", "a", encoding="utf-8") as log:
            steps = fit(
                method, data, policy, steps=options.steps, batch=options.batch, recipe=recipe, lr=options.lr or None, seed=options.seed, fabric=fabric,
                threads=options.workers, accumulate=options.accumulate, channels_last=True, compile=options.compile, resume=state,
            )  # fmt: skip
            try:
                for step in steps:
                    row: dict[str, Any] = {"step": step.number, "epoch": step.epoch, "lr": step.lr, "seconds": step.seconds, "waiting": step.waiting}
                    row.update({name: float(term) for name, term in step.terms.items()}, samples_per_second=step.samples / step.seconds)
                    if step.number % every == 0 or step.number == options.steps:
                        row.update(probe(method.exported, device))
                        data.check_bad(options.max_bad)
                        method.train()
                        if row["probe"] >= best:
                            best = row["probe"]
                            model().save(out / "encoder.safetensors")
                            method.train()
                        save_checkpoint(out / "last.ckpt", step.checkpoint())
                    elif options.save_every and step.number % options.save_every == 0:
                        save_checkpoint(out / "last.ckpt", step.checkpoint())
                    log.write(json.dumps(row) + "\n")
                    log.flush()
                    bar.update(step, row)
            except KeyboardInterrupt:
                save_checkpoint(out / "last.ckpt", step.checkpoint())
                say(f"stopped at step {step.number}; `manyviews pretrain --resume {out}` continues")
                raise
            except Diverged as error:
                with atomic(out / "diverged.pt") as temporary:
                    torch.save({name: getattr(v, "x", None) for name, v in error.views.items()}, temporary)
                raise InputError(f"{error}; the views that did it are in {out / 'diverged.pt'}") from None
        write_quarantine(out, data)
        say(f"{out}: {options.steps:,} steps in {time.perf_counter() - since:.0f} s, {probe.name} {best:.3f}")
    return Run(out)


def assemble(options: Options, data: Data) -> tuple[Method, Recipe, Any]:
    """The method around its encoder, both with weights that the seed alone decides, and the recipe with the user's changes."""
    torch.manual_seed(options.seed)
    encoder = build_encoder(options.encoder, options.channels, options.size, seed=options.seed)
    if options.weights:
        from manyviews.backbones.pretrained import load_weights

        load_weights(encoder, options.weights)
    method, recipe = build_method(options.method, encoder, data, **options.settings)
    changes: dict[str, Any] = {"views": options.views, "optimizer": options.optimizer}
    changes = {name: value for name, value in changes.items() if value}
    changes.update({name: getattr(options, name) for name in ("weight_decay", "warmup") if getattr(options, name) >= 0})
    return method, dataclasses.replace(recipe, **changes), encoder


def training_rows(data: Data) -> Data:
    """Only the training split, where the data has one: test pictures are not looked at while training."""
    split = data.columns.get("split")
    return data if split is None else data.select(split == "train", said="the training split")


def natural_size(data: Data) -> int:
    """The median shorter side of some samples: as it is up to 64 pixels, in steps of 4; above, 224, or 64 where there is no GPU."""
    sides = []
    for i in np.linspace(0, len(data) - 1, min(len(data), 32)).astype(int):
        try:
            sides.append(min(data[int(i)].shape[:2]))
        except ValueError:
            continue
    side = int(np.median(sides)) if sides else 32
    if side <= 64:
        return max(8, side // 4 * 4)
    return 224 if torch.cuda.is_available() else 64


def has_bf16() -> bool:
    """Whether bf16 products are fast here: on the GPU, or by AMX or AVX-512 on the CPU."""
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def write_config(out: Path, options: Options, recipe: Recipe, data: Data) -> None:
    """run.json: everything needed to repeat the run."""
    versions = {name: metadata.version(name) for name in ("manyviews", "torch", "timm", "lightning-fabric", "numpy")}
    git = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    config = {
        "options": dataclasses.asdict(options),
        "recipe": dataclasses.asdict(recipe),
        "data": {"described": data.describe(), "fingerprint": data.fingerprint(), "classes": list(data.classes)},
        "command": sys.argv,
        "versions": {**versions, "python": platform.python_version(), "git": git.stdout.strip()},
        "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
    }
    with atomic(out / "run.json") as temporary:
        temporary.write_text(json.dumps(config, indent=2), encoding="utf-8")


def best_so_far(out: Path) -> float:
    """The best probe that metrics.jsonl has seen, or minus infinity."""
    from manyviews.app.run import read_metrics

    return max([row["probe"] for row in read_metrics(out) if "probe" in row], default=-math.inf)


def write_quarantine(out: Path, data: Data) -> None:
    """quarantine.csv: what could not be read, and why."""
    import csv

    with atomic(out / "quarantine.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(["sample", "reason"])
        writer.writerows((data.store.name(row), why) for row, why in sorted(data.bad.items()))
