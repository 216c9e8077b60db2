"""Infinite learning rate: warm up once, cool down to a constant that can go on for ever, and anneal from it whenever a model is wanted.

Singh, Janson, Mehrbod, Ibrahim, Rish, Belilovsky, Thérien, "Beyond Cosine Decay: On the Effectiveness of Infinite Learning Rate Schedule for Continual
Pre-training", arXiv:2503.02844; phases and shares as the defaults of the authors' code (github.com/Pauljanson002/MAE-1), which searches over some of them.
Departs from the paper in that AdamW's moments start anew with each training, where theirs go on; and `--weights` takes the encoder alone from one task to the
next, where theirs takes the whole model (which is in the checkpoint). Phases are shares of a training's steps, whose number a run knows. A run keeps what it
had at the end of its constant phase as plateau.safetensors (the encoder) and plateau.ckpt (everything); the next task is then `manyviews pretrain NEXT
--weights RUN/plateau.safetensors --schedule infinite_lr_next`, with the same --lr. The phases are parameters, behind a colon: `--schedule
infinite_lr:constant=0.75,cooldown=0.5,least=0.05`, then `infinite_lr_next:constant=0.75,least=0.05`, are those of the authors' runs of MAE on CIFAR-10 (their
bin/mila/infinite.sh). They tuned the highest rate for each schedule: there 6.8e-4, and 3.8e-4 for the cosine, for 256 samples.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

from manyviews.errors import InputError
from manyviews.nn.ema import cosine

Schedule = Callable[[float, float, float], float]  # (progress, warmup, final_lr) -> share of the highest rate
COOLED, PLATEAU = 0.3, 0.8  # shares of the training: where the cool-down ends, and where the constant phase does
CONSTANT, LEAST = 0.25, 0.01  # of the highest rate: the constant, and where annealing ends
TIMESCALE = 10.0  # of the inverse square root


def infinite_lr(
    progress: float,
    warmup: float = 0.05,
    final_lr: float = 0.01,
    cooldown: float = 0.3,
    plateau: float = 0.8,
    constant: float = 0.25,
    least: float | None = None,
) -> float:
    """The first task: warm-up, half a cosine down to the constant, the constant, exponential annealing; as a share of the highest rate.

    warmup: share of the training in which it rises. final_lr: where it ends, as a share of the highest; 0: at 0.01.
    cooldown: share of the training at which the cool-down ends. plateau: share of the training at which the constant phase ends.
    constant: the rate of that phase, as a share of the highest. least: the rate at the end, as a share of the highest; None: as `final_lr` says.
    """
    return first_task(progress, warmup, final_lr, lambda done, low: cosine(1.0, low, done), cooldown, plateau, constant, least)


def infinite_lr_inverse_sqrt(progress: float, warmup: float = 0.05, final_lr: float = 0.01, **phases: Any) -> float:
    """The first task with 1 / sqrt(1 + 10 t) for the cool-down, stretched to reach the constant."""
    last = 1 / math.sqrt(1 + TIMESCALE)

    def cooling(done: float, constant: float) -> float:
        return 1 - (1 - constant) * (1 - 1 / math.sqrt(1 + TIMESCALE * done)) / (1 - last)

    return first_task(progress, warmup, final_lr, cooling, **phases)


def infinite_lr_linear(progress: float, warmup: float = 0.05, final_lr: float = 0.01, **phases: Any) -> float:
    """The first task with a straight line for the cool-down, which the authors' code calls constant_infinite."""
    return first_task(progress, warmup, final_lr, lambda done, constant: 1 - (1 - constant) * done, **phases)


def infinite_lr_next(
    progress: float, warmup: float = 0.0, final_lr: float = 0.01, plateau: float = PLATEAU, constant: float = CONSTANT, least: float | None = None
) -> float:
    """Every later task, from what the last one had at the end of its constant phase: the constant at once, whatever `warmup` says, then annealing."""
    if progress <= plateau:
        return constant
    end = least or final_lr or min(LEAST, constant)
    return constant * (end / constant) ** ((progress - plateau) / (1 - plateau))


def first_task(
    progress: float,
    warmup: float,
    final_lr: float,
    cooling: Callable[[float, float], float],
    cooldown: float = COOLED,
    plateau: float = PLATEAU,
    constant: float = CONSTANT,
    least: float | None = None,
) -> float:
    """cooling: from 1 to the constant, by the share done of the cool-down and the constant. A warm-up that lasts until its end leaves it out."""
    if progress < warmup:
        return progress / warmup
    if progress < cooldown:
        return cooling((progress - warmup) / (cooldown - warmup), constant)
    return infinite_lr_next(progress, 0.0, final_lr, plateau, constant, least)


INFINITE: dict[str, Schedule] = {f.__name__: f for f in (infinite_lr, infinite_lr_inverse_sqrt, infinite_lr_linear, infinite_lr_next)}


@functools.lru_cache(maxsize=256)
def infinite(text: str) -> Schedule:
    """The schedule of a name and its parameters, `infinite_lr:constant=0.75,cooldown=0.5`. Raises InputError with everything that is wrong."""
    name, _, words = text.partition(":")
    known = [key for key in inspect.signature(impossible).parameters if key != "cooldown" or name != "infinite_lr_next"]
    given: dict[str, float] = {}
    problems = []
    for word in filter(None, words.split(",")):
        key, equals, value = (part.strip() for part in word.partition("="))
        try:
            if key not in known or not equals:
                near = difflib.get_close_matches(key, known, 1)
                problems.append(f"{word!r} is not understood; {name} has {', '.join(known)}" + (f" (did you mean {near[0]}?)" if near and equals else ""))
            else:
                given[key] = float(value)
        except ValueError:
            problems.append(f"{key}={value}; expected a number")
    problems = problems or impossible(**{"cooldown": COOLED if "cooldown" in known else 0.0, **given})
    if problems:
        raise InputError(*(f"schedule {text}: {problem}" for problem in problems))
    return functools.partial(INFINITE[name], **given)


def impossible(cooldown: float, plateau: float = PLATEAU, constant: float = CONSTANT, least: float | None = None) -> list[str]:
    """What is wrong with the parameters."""
    problems = []
    if not 0 < plateau <= 1:
        problems.append(f"plateau={plateau:g}; the share of the training at which the constant phase ends, above 0 and at most 1")
    if not 0 <= cooldown <= plateau:
        problems.append(f"cooldown={cooldown:g}; the share of the training at which the cool-down ends, from 0 to plateau ({plateau:g})")
    if not 0 < constant <= 1:
        problems.append(f"constant={constant:g}; a share of the highest rate, above 0 and at most 1")
    if least is not None and not 0 < least <= constant:
        problems.append(f"least={least:g}; a share of the highest rate, above 0 and at most constant ({constant:g})")
    return problems


def plateau_step(schedule: str, steps: int) -> int:
    """How many of a training's steps are done when the constant phase of its schedule ends; 0: it has none.

    The rate of a step is that of its middle, as in `fit`.
    """
    if schedule.partition(":")[0] not in INFINITE:
        return 0
    plateau = infinite(schedule).keywords.get("plateau", PLATEAU)  # type: ignore[attr-defined]
    about = math.floor(plateau * steps + 0.5)
    return max(1, *(number for number in (about - 1, about, about + 1) if (number - 0.5) / steps <= plateau))
