"""Infinite learning rate: warm up once, cool down to a constant that can go on for ever, and anneal from it whenever a model is wanted.

Singh, Janson, Mehrbod, Ibrahim, Rish, Belilovsky, Thérien, "Beyond Cosine Decay: On the Effectiveness of Infinite Learning Rate Schedule for Continual
Pre-training", arXiv:2503.02844; phases and shares as the defaults of the authors' code (github.com/Pauljanson002/MAE-1), which searches over some of them.
Departs from the paper in that a phase's share counts steps of this training, of which a run must know how many there are; the next task may have another
number. AdamW's moments start anew with each training, where theirs go on. The schedules:

    infinite_lr                 the first task: warm-up, half a cosine down to the constant, the constant, exponential annealing
    infinite_lr_inverse_sqrt    the same with an inverse square root for the cool-down
    infinite_lr_linear          the same with a straight line
    infinite_lr_next            every later task, from the weights at the end of the constant phase: the constant at once, then annealing

A run keeps those weights as plateau.safetensors (the encoder) and plateau.ckpt (everything), so the next task is
`manyviews pretrain NEXT --weights RUN/plateau.safetensors --schedule infinite_lr_next`, with the same --lr.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from manyviews.nn.ema import cosine

COOLED, PLATEAU = 0.3, 0.8  # shares of the training: where the cool-down ends, and where the constant phase does
CONSTANT, LEAST = 0.25, 0.01  # of the highest rate: the constant, and where annealing ends
TIMESCALE = 10.0  # of the inverse square root
WARMUP = 0.05


def infinite_lr(progress: float, warmup: float = WARMUP, final_lr: float = LEAST) -> float:
    """Of a first task, as a share of the highest rate. warmup: share of the training in which it rises. final_lr: where it ends; 0: at 0.01."""
    return first_task(progress, warmup, final_lr, lambda done: cosine(1.0, CONSTANT, done))


def infinite_lr_inverse_sqrt(progress: float, warmup: float = WARMUP, final_lr: float = LEAST) -> float:
    """With 1 / sqrt(1 + 10 t) for the cool-down, stretched to reach the constant."""
    last = 1 / math.sqrt(1 + TIMESCALE)
    return first_task(progress, warmup, final_lr, lambda done: 1 - (1 - CONSTANT) * (1 - 1 / math.sqrt(1 + TIMESCALE * done)) / (1 - last))


def infinite_lr_linear(progress: float, warmup: float = WARMUP, final_lr: float = LEAST) -> float:
    """With a straight line for the cool-down, which the authors' code calls constant_infinite."""
    return first_task(progress, warmup, final_lr, lambda done: 1 - (1 - CONSTANT) * done)


def infinite_lr_next(progress: float, warmup: float = 0.0, final_lr: float = LEAST) -> float:
    """Of a later task: no warm-up, whatever `warmup` says."""
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
