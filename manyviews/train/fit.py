"""The one loop: views in, weights out.

    for step in fit(method, data, policy, steps=1000, batch=256, recipe=method.recipe, fabric=Fabric()):
        ...                                   # whatever happens between steps is written here, by the caller

`fit` draws views, runs the method's step under Lightning Fabric (one process or many), sets the schedules, and yields. A step can make a
checkpoint; a fit that starts from it continues to the same weights, bit for bit.
"""

from __future__ import annotations

import dataclasses
import inspect
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from manyviews.errors import InputError
from manyviews.contracts import Recipe, Terms, Trainable, View
from manyviews.counters import Counter
from manyviews.nn.distributed import synchronise_batch_norm
from manyviews.train.optimizers import build_optimizer, schedule
from manyviews.train.samplers import Sampler, batch_rows, shuffled


class Diverged(RuntimeError):
    """The loss stopped being a number. `views` are the views that did it, `step` the step."""

    def __init__(self, step: int, terms: Terms, views: dict[str, Any]):
        self.step, self.views = step, views
        values = ", ".join(f"{name} {float(term):.4g}" for name, term in terms.items())
        super().__init__(f"the loss of step {step} is not finite ({values}); try a smaller --lr, --set-recipe clip=1, or --precision 32")


@dataclasses.dataclass
class Step:
    """One step done."""

    number: int  # steps done, from 1
    steps: int
    epoch: int
    terms: Terms  # on the device; float() waits for it
    lr: float
    samples: int  # of all ranks in this step
    seconds: float
    waiting: float  # seconds of them spent waiting for data
    checkpoint: Callable[[], dict[str, Any]]


def check_roles(trainable: Trainable, roles: list[str]) -> None:
    """Raises InputError unless the views that the policy makes are those that `loss` takes."""
    parameters = inspect.signature(trainable.loss).parameters
    wanted = {name for name, p in parameters.items() if p.default is inspect.Parameter.empty}
    if not wanted <= set(roles) <= set(parameters):
        raise InputError(f"{type(trainable).__name__}.loss takes the views {', '.join(parameters)}, the policy makes {', '.join(roles)}")


def fit(
    trainable: Trainable,
    data: Any,
    policy: Callable[[View, Counter], dict[str, Any]],
    *,
    steps: int,
    batch: int,
    recipe: Recipe,
    lr: float | None = None,
    seed: int = 0,
    fabric: Fabric | None = None,
    threads: int = 2,
    accumulate: int = 1,
    sampler: Sampler = shuffled,
    channels_last: bool = False,
    compile: bool = False,
    resume: dict[str, Any] | None = None,
) -> Iterator[Step]:
    """Train for `steps` optimizer steps of `batch` samples over all ranks; yields a `Step` after each.

    data: anything with len(), columns and batches(order, threads, substitute). lr: the rate, by default the recipe's times batch / 256.
    accumulate: micro-batches a step; what a loss sees at once is batch / accumulate. resume: a dict that `Step.checkpoint` made.
    """
    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    if fabric.world_size > 1:
        synchronise_batch_norm(trainable)
    memory: dict[str, Any] = {"memory_format": torch.channels_last} if channels_last else {}
    trainable.train().to(fabric.device, **memory)
    lr = recipe.lr * batch / 256 if lr is None else lr
    module, optimizer = fabric.setup(trainable, build_optimizer(trainable, recipe, lr))
    module.mark_forward_method("loss")
    start = 0
    if resume is not None:
        start = resume["step"]
        trainable.load_state_dict(resume["module"])
        optimizer.load_state_dict(resume["optimizer"])
    loss_of = torch.compile(module.loss) if compile else module.loss
    micro = batch // accumulate
    if micro % fabric.world_size:
        raise InputError(f"a batch of {micro} cannot be shared by {fabric.world_size} processes; take a multiple of {fabric.world_size * accumulate}")
    order = batch_rows(len(data), data.columns, micro, seed, start * accumulate, steps * accumulate, fabric.global_rank, fabric.world_size, sampler)
    batches = data.batches(order, threads, substitute=True)
    state = {"step": start}

    def checkpoint() -> dict[str, Any]:
        return {"step": state["step"], "module": trainable.state_dict(), "optimizer": optimizer.state_dict()}

    clock = time.perf_counter()
    for number in range(start, steps):
        progress = number / steps
        rate = schedule(optimizer, recipe, lr, progress)
        trainable.progress = progress
        totals: Terms = {}
        waiting, count = 0.0, 0
        optimizer.zero_grad(set_to_none=True)
        for part in range(accumulate):
            asked = time.perf_counter()
            samples = next(batches).to(fabric.device)
            waiting += time.perf_counter() - asked
            count += len(samples) * fabric.world_size
            trainable.counter = Counter(seed, number * accumulate + part)
            torch.manual_seed(trainable.counter.integer(f"torch/{fabric.global_rank}"))
            with torch.no_grad():
                views = policy(samples, trainable.counter)
            if number == start and part == 0:
                check_roles(trainable, list(views))

            def optimize(loss: Callable[..., Terms], part: int = part, **views: Any) -> Terms:
                last = part == accumulate - 1
                with fabric.no_backward_sync(module, enabled=not last):
                    terms = loss_of(**views) if loss == trainable.loss else getattr(module, loss.__name__)(**views)
                    objective = torch.stack([term.float() for term in terms.values() if term.requires_grad]).sum()
                    if not bool(objective.isfinite()):
                        raise Diverged(number, terms, views)
                    fabric.backward(objective / accumulate)
                if last:
                    if recipe.clip is not None:
                        fabric.clip_gradients(module, optimizer, max_norm=recipe.clip)
                    optimizer.step()
                return terms

            for name, term in trainable.step(optimize, **views).items():
                totals[name] = totals.get(name, torch.zeros(())) + term.detach().float().cpu() / accumulate
        trainable.progress = (number + 1) / steps
        trainable.after_step()
        state["step"] = number + 1
        now = time.perf_counter()
        epoch = (number * accumulate) // max(1, len(data) // micro)
        yield Step(number + 1, steps, epoch, totals, rate, count, now - clock, waiting, checkpoint)
        clock = time.perf_counter()


def terms_to_floats(terms: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in terms.items()}
