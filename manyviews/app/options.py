"""What a run can be asked for, and how it is completed and checked. One table: the command line, `mv.pretrain` and run.json all read it."""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import importlib.util
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manyviews.errors import InputError
from manyviews.nn.hardware import has_bf16

if TYPE_CHECKING:
    from manyviews.data.dataset import Data

GIVEN = "<given>"  # the name of data that came as an object and not by path
PRECISIONS = {"32": "32-true", "64": "64-true", "bf16": "bf16-mixed", "16": "16-mixed"}
STRATEGIES = ("ddp", "fsdp")
LOGS = ("wandb", "mlflow")


def option(default: Any, help: str, least: int | None = None, flag: str = "") -> Any:
    return dataclasses.field(default=default, metadata={"help": help, "least": least, "flag": flag})


@dataclasses.dataclass
class Options:
    """Everything that decides a run; None and empty mean: chosen for you, and said."""

    data: str
    method: str = option("", "how to learn: `manyviews methods` lists them")
    encoder: str = option("", "what to train: `manyviews encoders` lists them")
    epochs: float | int = option(100.0, "passes over the data (default: 100)", 0)
    steps: int | None = option(None, "optimizer steps, instead of --epochs", 1)
    batch: int = option(256, "samples an optimizer step, over all processes (default: 256)", 2)
    size: int | None = option(None, "side of the views in pixels (default: from the pictures)", 8)
    channels: int | None = option(None, "channels of the pictures (default: from the data)", 1)
    lr: float | int | None = option(None, "highest learning rate (default: the method's, times batch / 256)", 0)
    optimizer: str = option("", "adamw, sgd, lars or lamb (default: the method's)")
    weight_decay: float | int | None = option(None, "weight decay of matrices and kernels (default: the method's)", 0)
    warmup: float | int | None = option(None, "share of the training in which the rate rises, 0 to 1 (default: the method's)", 0)
    clip: float | int | None = option(None, "largest norm of the gradient (default: the method's)", 0)
    views: str = option("", "augmentation policy (default: the method's)")
    schedule: str = option("", "of the learning rate: cosine, constant, infinite_lr:constant=0.5,cooldown=0.4, ... (default: the method's)")
    seed: int = option(0, "of weights, order and views; equal seeds give equal runs (default: 0)", 0)
    workers: int | None = option(None, "threads that read ahead, in each process; 0: none (default: the cores)", 0)
    devices: int = option(1, "GPUs, or processes where there is no GPU (default: 1); torchrun and SLURM overrule it", 1)
    precision: str = option("", "32, bf16, 16 or 64 (default: bf16 where the hardware has it)")
    accumulate: int = option(1, "micro-batches an optimizer step; a loss sees batch / accumulate samples at once (default: 1)", 1)
    compile: bool = option(False, "compile the encoder (minutes at the start, faster steps)")
    strategy: str = option("", "ddp or fsdp, for several devices (default: ddp)")
    modality: str = option("", "what the data is: images, points, volumes, ... (default: recognised)", flag="--as")
    weights: str = option("", "start from NAME (a timm checkpoint), FILE or RUN instead of random weights")
    save_every: int | None = option(None, "steps between checkpoints (default: --probe-every)", 1)
    probe_every: int | None = option(None, "steps between looks at the encoder (default: a twentieth of the training)", 1)
    max_bad: float | int = option(0.2, "largest share of unreadable samples, 0 to 1 (default: 0.2)", 0)
    log: str = option("", "also log to wandb or mlflow (pip install manyviews[wandb], [mlflow])")
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)


FIELDS = {field.name: field for field in dataclasses.fields(Options) if field.name not in ("data", "settings")}


def flag(name: str) -> str:
    return FIELDS[name].metadata["flag"] or "--" + name.replace("_", "-")


def from_texts(texts: dict[str, str | bool]) -> tuple[dict[str, Any], list[str]]:
    """Values for options given as text, and what is wrong with them."""
    kinds: dict[str, tuple[Any, str]] = {"int": (int, "a whole number"), "float": (float, "a number")}
    values, problems = {}, []
    for name, text in texts.items():
        kind, said = kinds.get(str(FIELDS[name].type).split(" ")[0], (lambda value: value, ""))
        try:
            values[name] = kind(text)
        except ValueError:
            problems.append(f"{flag(name)} {text}: expected {said}")
    return values, problems


def near(word: str, words: Iterable[str], count: int = 3) -> str:
    found = difflib.get_close_matches(word, list(words), count, 0.4)
    return f"; the nearest are {', '.join(found)}" if found else ""


def one_of(name: str, value: str, allowed: Iterable[str]) -> list[str]:
    allowed = list(allowed)
    return [] if not value or value in allowed else [f"{flag(name)} {value}: not one of {', '.join(allowed)}{near(value, allowed, 1)}"]


def resolve(options: Options, opened: Data | None = None, problems: Iterable[str] = ()) -> tuple[Data, Options, list[str]]:
    """The data to train on, the options with everything filled in, and why. Raises InputError with all problems, those given too."""
    from manyviews.app import catalogue
    from manyviews.data.opening import open_data
    from manyviews.views.finding import names

    options, problems, reasons = dataclasses.replace(options), list(problems), []
    problems += check_values(options)
    data = opened
    if data is None and options.data:
        try:
            data = open_data(options.data, options.modality or None)
        except InputError as error:
            problems += error.problems
    if not options.data:
        problems.append("no data: name a folder, a file or `builtin`, as in `manyviews pretrain PHOTOS`")
    if data is not None and len(data) < 2:
        problems.append(f"{options.data} has {len(data)} sample; learning needs at least two")
    if not options.method:
        options.method = "simclr"
        reasons.append("method simclr: needs no labels and works with any encoder (--method)")
    try:
        entry = catalogue.find_method(options.method)
        options.method = entry.name
        options.settings, wrong = catalogue.parse_settings(entry, options.settings)
        problems += wrong
    except InputError as error:
        problems += error.problems
    modality = data.modality if data is not None else options.modality or "images"
    problems += one_of("views", options.views, names(modality))
    if options.encoder:
        problems += check_encoder(options.encoder, modality if data is not None else "")
    if problems:
        raise InputError(*problems)
    assert data is not None
    data = training_rows(data)
    return data, complete(options, data, reasons), reasons


def check_values(options: Options) -> list[str]:
    """What is wrong with the options as they stand."""
    import torch

    from manyviews.train.optimizers import NAMES

    problems = []
    for name, field in FIELDS.items():
        value, least = getattr(options, name), field.metadata["least"]
        if least is not None and value is not None and not (value >= least and value < math.inf):
            problems.append(f"{flag(name)} {value}: must be at least {least}")
        elif name in ("warmup", "max_bad") and value is not None and value > 1:
            problems.append(f"{flag(name)} {value}: a share, from 0 to 1")
    options.precision = PRECISIONS.get(options.precision, options.precision)
    problems += one_of("precision", options.precision, [*PRECISIONS, *PRECISIONS.values()])
    if options.precision == "16-mixed" and not torch.cuda.is_available():
        problems.append("--precision 16: needs a GPU; take 32 or bf16")
    problems += one_of("optimizer", options.optimizer, NAMES) + one_of("strategy", options.strategy, STRATEGIES) + one_of("log", options.log, LOGS)
    problems += check_schedule(options.schedule)
    if options.log in LOGS and importlib.util.find_spec(options.log) is None:
        problems.append(f"--log {options.log}: not installed; pip install 'manyviews[{options.log}]'")
    most = devices_here()
    if options.devices > most:
        problems.append(f"--devices {options.devices}: this machine has {most}")
    parts = options.accumulate * options.devices
    if options.accumulate >= 1 and options.devices >= 1 and options.batch >= 2 and options.batch % parts:
        problems.append(f"--batch {options.batch}: must be a multiple of {parts} (--accumulate {options.accumulate} times --devices {options.devices})")
    return problems


def check_schedule(text: str) -> list[str]:
    """What is wrong with a schedule's name and parameters."""
    from manyviews.train.optimizers import find_schedule

    try:
        if text:
            find_schedule(text)
    except InputError as error:
        return [f"--{problem}" for problem in error.problems]
    return []


def check_encoder(name: str, modality: str = "") -> list[str]:
    """The nearest names, unless there is an encoder of this name (that takes this modality); nothing is built."""
    from manyviews.backbones.building import SHORT, SMALL, builders, modality_of, of_hugging_face, two_towers
    from manyviews.nn import torchvision_schemas

    torchvision_schemas.declare()
    import timm

    if name in SMALL or name in builders() or two_towers(name) or of_hugging_face(name) or timm.is_model(SHORT.get(name, name)):
        if not modality or modality_of(name) == modality:
            return []
        fitting = ", ".join([*(SMALL if modality == "images" else ()), *(other for other, (takes, _) in builders().items() if takes == modality)])
        return [f"--encoder {name} takes {modality_of(name)}, and the data is {modality}; there are {fitting}"]
    return [f"no encoder {name!r}{near(name, [*SMALL, *builders(), *SHORT, *timm.list_models()])}; `manyviews encoders` lists them"]


def devices_here() -> int:
    """GPUs, or cores (at least two) where there is none; what torchrun and SLURM started is theirs to count."""
    import torch

    from manyviews.app.launch import from_outside

    outside = from_outside()
    return max(torch.cuda.device_count() or max(2, os.cpu_count() or 1), outside[0] if outside else 1)


def complete(options: Options, data: Data, reasons: list[str]) -> Options:
    """Everything that was left open, decided; `reasons` grows by what a person may want to know."""
    from manyviews.app.launch import from_outside
    from manyviews.data.locating import divided

    if options.modality == "renders" and not options.data.startswith("renders:"):  # pictures from here on, of this folder of meshes
        options.data = f"renders:{Path(options.data).expanduser().absolute() if Path(options.data).expanduser().exists() else options.data}"
    for name in ("data", "weights"):  # run.json must be understood from any folder
        place, mark, choices = divided(getattr(options, name) or "")
        path = place and Path(place).expanduser()
        if path and path.exists():
            setattr(options, name, f"{path.absolute()}{mark}{choices}")
    if options.size is None:
        options.size = natural_size(data)
        reasons.append(f"size {options.size}: from the {data.modality} (--size)")
    options.channels = options.channels or data.channels or 3
    options.modality = data.modality
    if not options.encoder:
        options.encoder = natural_encoder(options.size, data.modality)
        reasons.append(f"encoder {options.encoder}: for {data.modality} of size {options.size} on this machine (--encoder)")
    outside = from_outside()
    world = outside[0] * outside[1] if outside else options.devices
    options.devices = outside[0] if outside else options.devices
    part = min(options.batch // options.accumulate, len(data)) // world * world
    if part < 1:
        raise InputError(f"{len(data)} samples are too few for {world} processes; take fewer --devices")
    if part * options.accumulate != options.batch:
        reasons.append(f"batch {part * options.accumulate}: the data has {len(data):,} samples")
        options.batch = part * options.accumulate
    if options.workers is None:
        options.workers = max(1, (os.cpu_count() or 1) // (outside[0] if outside else options.devices))
    options.steps = options.steps or max(1, math.ceil(options.epochs * len(data) / options.batch))
    options.precision = options.precision or ("bf16-mixed" if has_bf16() else "32-true")
    options.probe_every = options.probe_every or max(1, options.steps // 20)
    options.save_every = options.save_every or options.probe_every
    return options


def training_rows(data: Data) -> Data:
    """Only the training split, where the data has one: test pictures are not looked at while training.

    Of one graph whose nodes are the samples all are looked at, as is usual there; the labels of those outside the training split are not.
    """
    import numpy as np

    split = data.columns.get("split")
    if split is None:
        return data
    if data.form.get("samples") != "nodes":
        return data.select(split == "train", said="the training split")
    columns = {name: column for name, column in data.columns.items() if name != "split"}
    if data.labels is not None:
        columns["label"] = np.where(split == "train", data.labels, -1)
    said = f"{data.said}, labels of the training split alone".removeprefix(", ")
    return dataclasses.replace(data, columns=columns, said=said)


def natural_size(data: Data) -> int:
    """The median shorter side of some samples: as it is up to 64 pixels, in steps of 4; above, 224, or 64 where there is no GPU."""
    import numpy as np
    import torch

    if data.modality != "images":
        return int(importlib.import_module(f"manyviews.data.{data.modality}").natural_size(data.look(32)))
    sides = [min(sample.shape[:2]) for sample in data.look(32)]
    side = int(np.median(sides)) if sides else 32
    if side <= 64:
        return max(8, side // 4 * 4)
    return 224 if torch.cuda.is_available() else 64


def natural_encoder(size: int, modality: str = "images") -> str:
    """What this machine can train at this size."""
    import torch

    if modality != "images":
        return str(importlib.import_module(f"manyviews.backbones.{modality}").natural(size))
    return ("resnet18_small" if torch.cuda.is_available() else "resnet_micro") if size <= 64 else "resnet18"
