"""Infinite learning rate: does a rate that never warms up again forget less of earlier tasks than one cosine after another?

Singh et al., "Beyond Cosine Decay: On the Effectiveness of Infinite Learning Rate Schedule for Continual Pre-training", arXiv:2503.02844: in continual
pretraining of MAE (CIFAR-10 in five tasks of two classes, 400 epochs each; larger streams of pictures and text) it beats repeated cosine decay in
accuracy of linear probes over all tasks and in forgetting; the tables' figures are not quoted, as they were not at hand.
Here MAE on the same five tasks of CIFAR-10, in 200 steps each, with a decoder of two blocks. All arms take equally many steps: cosine with a warm-up in each
task; infinite, whose constant, cool-down and end are those of the authors' final runs, as is its highest rate, 1.8 times the cosine's (each task goes on from
the end of the last constant phase); and constant at the infinite one's constant. `linear` and `knn` are asked for all ten classes after the last task,
`first_task` for the two of the first; `first_task_error` is MAE's error then on test pictures of these two, and `forgotten` how many points a linear probe of
the two lost since the first task ended.
"""

import copy
import dataclasses

import numpy as np
import torch

from manyviews.app.building import build_method
from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.counters import Counter
from manyviews.train.infinite_lr import LEAST, plateau_step
from manyviews.views.finding import find_policy
from manyviews.views.images import plain

TASKS = 5
WARMUP = 0.05  # of a task
CONSTANT, HIGHER = 0.75, 6.8 / 3.8  # of the highest rate, and of the cosine's
PHASES = f"constant={CONSTANT},least=0.05"


def cosine(bench):
    return one_task_after_another(bench, "cosine", "cosine", WARMUP)


def infinite(bench):
    return one_task_after_another(bench, f"infinite_lr:{PHASES},cooldown=0.5", f"infinite_lr_next:{PHASES}", WARMUP, HIGHER)


def constant(bench):
    return one_task_after_another(bench, "constant", "constant", 0.0, CONSTANT * HIGHER)


def one_task_after_another(bench, first, later, warmup_later, share=1.0):
    """Two classes at a time; a schedule with a constant phase hands on what it had at its end."""
    words, labels = bench.words, bench.pretraining.labels
    torch.manual_seed(bench.seed)
    method, recipe = build_method("mae", bench.encoder(), bench.pretraining, **words["settings"])
    method.to(bench.device)
    recipe = dataclasses.replace(recipe, optimizer=words["optimizer"], weight_decay=words["weight_decay"], final_lr=LEAST) if "lr" in words else recipe
    known, plateau = [], None
    two = [part.select(part.labels < 2) for part in (bench.train, bench.test)]
    for task in range(TASKS):
        data = bench.pretraining.select(np.isin(labels, (2 * task, 2 * task + 1)))
        own = dataclasses.replace(recipe, schedule=later if task else first, warmup=warmup_later if task else WARMUP)
        steps = int(words.get("steps") or 0) // TASKS or round(words["epochs"] * len(data) / words["batch"])
        lr = share * (words["lr"] if "lr" in words else recipe.lr * words["batch"] / 256)
        if plateau is not None:
            method.load_state_dict(plateau)
        policy = find_policy(own.views, bench.size)
        for step in bench.steps(method, data, policy, own, steps=steps, batch=int(words["batch"]), lr=lr, more=1000 * task):
            if step.number == plateau_step(own.schedule, steps):
                plateau = copy.deepcopy(method.state_dict())
        if task in (0, TASKS - 1):
            known.append(bench.probes(method.eval().exported, *two)["linear"])
    return {
        **bench.probes(method.exported), "first_task": known[-1], "forgotten": known[0].astype(float) - known[-1],
        "first_task_error": first_task_error(bench, method),
    }  # fmt: skip


@torch.no_grad()
def first_task_error(bench, method):
    """MAE's error on the test pictures of the first two classes, with the same masks whenever it is asked."""
    data = bench.test.select(bench.test.labels < 2)
    method.counter = Counter(0, 0)
    (samples,) = data.batches([np.arange(len(data))], bench.threads)
    view = plain(bench.size)(samples.to(bench.device), method.counter)["v"]
    return float(method.loss(view)["reconstruction"])


DECODER = {"dim": 96, "depth": 2, "heads": 3}

CLAIM = Claim(
    system="infinite_lr",
    paper="continual MAE on CIFAR-10 and larger streams: better probes over all tasks and less forgetting than repeated cosine decay",
    question="Does MAE that learns CIFAR-10 two classes at a time forget less with an infinite schedule than with repeated cosines?",
    arms={
        "infinite": Arm("mae", run=infinite, short=DECODER),
        "repeated cosine": Arm("mae", run=cosine, short=DECODER),
        "constant": Arm("mae", run=constant, short=DECODER),
    },
    data=(Arena("cifar10", rows=20000),),
    versus=(
        Versus("infinite", "repeated cosine", "linear"),
        Versus("infinite", "repeated cosine", "knn"),
        Versus("infinite", "repeated cosine", "forgotten", higher=False, arena=False, says="It forgets less of the first task."),
        Versus("infinite", "repeated cosine", "first_task_error", higher=False, arena=False, says="And restores its pictures better."),
        Versus("infinite", "constant", "linear", says="It is more than a constant rate."),
    ),
    common={"encoder": "vit_nano", "steps": 1000, "weight_decay": 0.05},
    full={"encoder": "vit_micro", "size": 32, "epochs": 400, "batch": 512},
)
