"""The one loop: views in, weights out.

    for step in fit(method, data, policy, steps=1000, batch=256, recipe=method.recipe, fabric=Fabric()):
        ...                                   # whatever happens between steps is written here, by the caller

`fit` draws views, runs the method's step under Lightning Fabric (one process or many), sets the schedules, and yields. A step can make a
checkpoint; a fit that starts from it continues to the same weights, bit for bit.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from manyviews.contracts import Encoder, Recipe, Terms, Trainable, View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.nn.distributed import rank_mean, synchronise_batch_norm
from manyviews.train.checkpoint import restore_optimizer, states
from manyviews.train.optimizers import build_optimizer, schedule
from manyviews.train.samplers import Sampler, batch_rows, shuffled

REMEDY = "try a smaller --lr, --clip 1, or --precision 32"


class Diverged(RuntimeError):
    """Training cannot go on. `views` are those of the step where it showed."""

    def __init__(self, message: str, views: dict[str, Any]):
        self.views = views
        super().__init__(message)


@dataclasses.dataclass
class Step:
    """One step done."""

    number: int  # steps done, from 1
    steps: int
    epoch: int
    loss: float  # what was minimised: the sum of the terms that have a gradient
    terms: dict[str, float]  # averaged over ranks and micro-batches, as is the loss
    lr: float
    samples: int  # of all ranks in this step
    seconds: float
    waiting: float  # seconds of them spent waiting for data
    stopping: bool  # whether some process was asked to stop
    views: Callable[[], dict[str, Any]]  # draws the views of the last micro-batch once more
    checkpoint: Callable[[], dict[str, Any]]  # all ranks must ask for it; under FSDP only the first one gets tensors


class Called(nn.Module):
    """Calls what it is given: losses run inside this module's forward, which Fabric wraps for the strategy (DDP, FSDP) and the precision."""

    def __init__(self, trainable: Trainable):
        super().__init__()
        self.trainable = trainable

    def forward(self, f: Callable[[], Terms]) -> Terms:
        return f()


def check_roles(trainable: Trainable, roles: list[str]) -> None:
    """Raises InputError unless the views that the policy makes are those that `loss` takes."""
    parameters = inspect.signature(trainable.loss).parameters
    wanted = {name for name, p in parameters.items() if p.default is inspect.Parameter.empty}
    if not wanted <= set(roles) <= set(parameters):
        raise InputError(f"{type(trainable).__name__} takes the views {', '.join(parameters)}, and the policy makes {', '.join(roles)}; name other --views")


def fit(
    trainable: Trainable,
    data: Any,
    policy: Callable[[View, Counter], dict[str, Any]],
    *,
    steps: int,
    batch: int,
    recipe: Recipe,
    lr: float | int | None = None,
    seed: int = 0,
    fabric: Fabric | None = None,
    threads: int = 2,
    accumulate: int = 1,
    sampler: Sampler | None = None,
    channels_last: bool = False,
    compile: bool = False,
    resume: dict[str, Any] | None = None,
    stop: Callable[[], bool] = bool,
) -> Iterator[Step]:
    """Train for `steps` optimizer steps of `batch` samples over all ranks; yields a `Step` after each, the gradients still in place.

    data: anything with len(), columns and batches(order, threads, substitute). lr: the rate, by default the recipe's times batch / 256.
    accumulate: micro-batches a step; what a loss sees at once is batch / accumulate. resume: a dict that `Step.checkpoint` made.
    sampler: which samples make which batch, by default the trainable's own, else the policy's, else every sample once an epoch in random order.
    stop: asked at every step; when any process says yes, the fit ends after that step. Raises Diverged when the loss is not finite.
    """
    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    world, rank = fabric.world_size, fabric.global_rank
    micro = batch // accumulate
    if micro % world:
        raise InputError(f"a batch of {micro} cannot be shared by {world} processes; take a multiple of {world * accumulate}")
    lr = recipe.lr * batch / 256 if lr is None else lr
    start = resume["step"] if resume else 0
    module, optimizer = set_up(trainable, recipe, lr, fabric, channels_last, compile, resume)
    sampler = sampler or trainable.sampler or getattr(policy, "sampler", None) or shuffled
    grouped = getattr(policy, "grouped", 1)
    if micro % (world * grouped):
        raise InputError(f"a batch of {micro} cannot be shared by {world} processes in groups of {grouped}; take a multiple of {world * grouped * accumulate}")
    order = batch_rows(len(data), data.columns, micro, seed, start * accumulate, steps * accumulate, rank, world, sampler, grouped)
    batches = data.batches(order, threads, substitute=True)

    def optimize(loss: Callable[..., Terms], **views: Any) -> Terms:
        """Forward, backward and, with the last micro-batch, the optimizer's step."""
        if part == 0:
            optimizer.zero_grad(set_to_none=True)
        last = part == accumulate - 1
        with fabric.no_backward_sync(module, enabled=not last):
            terms = module(lambda: loss(**views))
            objective = torch.stack([term.float() for term in terms.values() if term.requires_grad]).sum()
            numbers = rank_mean(torch.stack([objective.detach(), *(term.detach().float() for term in terms.values())]), float(stop())).tolist()
            seen.append({"": numbers[0], **dict(zip(terms, numbers[1:-1], strict=True)), "?": numbers[-1]})
            if not math.isfinite(numbers[0]):
                values = ", ".join(f"{name} {value:.4g}" for name, value in zip(terms, numbers[1:-1], strict=True))
                raise Diverged(f"the loss of step {number + 1} is not finite ({values}); {REMEDY}", views)
            fabric.backward(objective / accumulate)
        if last:
            trainable.before_step()
            if recipe.clip:
                fabric.clip_gradients(module, optimizer, max_norm=recipe.clip, error_if_nonfinite=False)
            optimizer.step()
        return terms

    try:
        for number in range(start, steps):
            clock, waiting, count = time.perf_counter(), 0.0, 0
            rate = schedule(optimizer, recipe, lr, (number + 0.5) / steps)  # of the step's middle: neither the first nor the last step stands still
            trainable.progress = number / steps
            seen: list[dict[str, float]] = []  # by term, the loss under '' and wishes to stop under '?'
            for part in range(accumulate):
                asked = time.perf_counter()
                samples = next(batches).to(fabric.device)
                waiting += time.perf_counter() - asked
                count += len(samples) * world
                trainable.counter = Counter(seed, number * accumulate + part)
                torch.manual_seed(trainable.counter.integer(f"torch/{rank}"))
                views = draw(policy, samples, trainable.counter, trainable.progress)
                if number == start and part == 0:
                    check_roles(trainable, list(views))
                trainable.step(optimize, **views)
            trainable.progress = (number + 1) / steps
            trainable.after_step()
            means = averaged(seen)
            loss, stopping = means.pop(""), means.pop("?") > 0
            epoch = number * accumulate // max(1, len(data) // micro)
            seconds = time.perf_counter() - clock
            yield Step(
                number + 1, steps, epoch, loss, means, rate, count, seconds, waiting, stopping,
                lambda samples=samples, counter=trainable.counter, progress=number / steps: draw(policy, samples, counter, progress),  # type: ignore[misc]
                lambda number=number: {"step": number + 1, **states(trainable, optimizer, fabric)},  # type: ignore[misc]
            )  # fmt: skip
            if stopping:
                return
    finally:
        batches.close()


def set_up(
    trainable: Trainable, recipe: Recipe, lr: float, fabric: Fabric, channels_last: bool, compile: bool, resume: dict[str, Any] | None
) -> tuple[Any, Any]:
    """The trainable and its optimizer under Fabric's strategy and precision, in the state of `resume` if there is one."""
    if fabric.world_size > 1:
        synchronise_batch_norm(trainable)
    trainable.train().to(fabric.device)
    if channels_last:
        for p in trainable.parameters():
            if p.dim() == 4:
                p.data = p.data.contiguous(memory_format=torch.channels_last)
    if resume is not None:
        trainable.load_state_dict(resume["module"])
    if compile:
        for encoder in [m for m in trainable.modules() if isinstance(m, Encoder)]:
            encoder.compile()
    module = fabric.setup_module(Called(trainable))
    optimizer = fabric.setup_optimizers(build_optimizer(trainable, recipe, lr))
    if resume is not None:
        restore_optimizer(trainable, optimizer, fabric, resume)
    return module, optimizer


def draw(policy: Callable[[View, Counter], dict[str, Any]], samples: View, counter: Counter, progress: float) -> dict[str, Any]:
    """The views; a policy that changes with the training has `at(progress)`."""
    at = getattr(policy, "at", None)
    with torch.no_grad():
        return (at(progress) if at else policy)(samples, counter)


def averaged(rows: list[dict[str, float]]) -> dict[str, float]:
    """Each name's mean over the rows that have it."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: sum(row[name] for row in rows if name in row) / sum(name in row for row in rows) for name in names}
