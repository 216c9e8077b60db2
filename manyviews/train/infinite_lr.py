"""Infinite learning rate: warm up once, cool down to a constant that can go on for ever, and anneal from it whenever a model is wanted.

Singh, Janson, Mehrbod, Ibrahim, Rish, Belilovsky, Thérien, "Beyond Cosine Decay: On the Effectiveness of Infinite Learning Rate Schedule for Continual
Pre-training", arXiv:2503.02844; phases and shares as the defaults of the authors' code (github.com/Pauljanson002/MAE-1), which searches over some of them.
Departs from the paper in that AdamW's moments start anew with each training, where theirs go on; and `--weights` takes the encoder alone from one task to the
next, where theirs takes the whole model (which is in the checkpoint). Phases are shares of a training's steps, whose number a run knows. A run keeps what it
had at the end of its constant phase as plateau.safetensors (the encoder) and plateau.ckpt (everything); the next task is then `manyviews pretrain NEXT
--weights RUN/plateau.safetensors --schedule infinite_lr_next`, with the same --lr.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from manyviews.nn.ema import cosine

COOLED, PLATEAU = 0.3, 0.8  # shares of the training: where the cool-down ends, and where the constant phase does
CONSTANT, LEAST = 0.25, 0.01  # of the highest rate: the constant, and where annealing ends
TIMESCALE = 10.0  # of the inverse square root


def infinite_lr(progress: float, warmup: float = 0.05, final_lr: float = 0.01) -> float:
    """The first task: warm-up, half a cosine down to the constant, the constant, exponential annealing; as a share of the highest rate.

    warmup: share of the training in which it rises. final_lr: where it ends, as a share of the highest; 0: at 0.01.
    """
    return first_task(progress, warmup, final_lr, lambda done: cosine(1.0, CONSTANT, done))


def infinite_lr_inverse_sqrt(progress: float, warmup: float = 0.05, final_lr: float = 0.01) -> float:
    """The first task with 1 / sqrt(1 + 10 t) for the cool-down, stretched to reach the constant."""
    last = 1 / math.sqrt(1 + TIMESCALE)
    return first_task(progress, warmup, final_lr, lambda done: 1 - (1 - CONSTANT) * (1 - 1 / math.sqrt(1 + TIMESCALE * done)) / (1 - last))


def infinite_lr_linear(progress: float, warmup: float = 0.05, final_lr: float = 0.01) -> float:
    """The first task with a straight line for the cool-down, which the authors' code calls constant_infinite."""
    return first_task(progress, warmup, final_lr, lambda done: 1 - (1 - CONSTANT) * done)


def infinite_lr_next(progress: float, warmup: float = 0.0, final_lr: float = 0.01) -> float:
    """Every later task, from what the last one had at the end of its constant phase: the constant at once, whatever `warmup` says, then annealing."""
    if progress <= PLATEAU:
        return CONSTANT
    return CONSTANT * ((final_lr or LEAST) / CONSTANT) ** ((progress - PLATEAU) / (1 - PLATEAU))


def first_task(progress: float, warmup: float, final_lr: float, cooling: Callable[[float], float]) -> float:
    """cooling: from 1 to the constant, by the share done of the cool-down. A warm-up of 0.3 or more leaves it out."""
    if progress < warmup:
        return progress / warmup
    if progress < COOLED:
        return cooling((progress - warmup) / (COOLED - warmup))
    return infinite_lr_next(progress, 0.0, final_lr)


INFINITE: dict[str, Callable[[float, float, float], float]] = {
    f.__name__: f for f in (infinite_lr, infinite_lr_inverse_sqrt, infinite_lr_linear, infinite_lr_next)
}


def plateau_step(schedule: str, steps: int) -> int:
    """How many of a training's steps are done when the constant phase of its schedule ends; 0: it has none.

    The rate of a step is that of its middle, as in `fit`.
    """
    return max(1, math.floor(PLATEAU * steps + 0.5)) if schedule in INFINITE else 0
