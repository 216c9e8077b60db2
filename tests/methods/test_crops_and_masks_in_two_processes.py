"""Each method over crops or masks, on two gloo processes: the averaged gradient, and the state after the steps, are those of one process."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.distributed as dist
from gloo_pair import Pair
from tiny_vit import crops, sum_of, tiny_vit

from manyviews.contracts import Method
from manyviews.counters import Counter
from manyviews.methods.cluster.swav import SwAV
from manyviews.methods.distill.dino import DINO
from manyviews.methods.distill.ibot import IBOT
from manyviews.methods.mask.mae import MAE
from manyviews.nn.distributed import synchronise_batch_norm, world

METHODS: dict[str, Callable[[], Method]] = {
    "dino": lambda: DINO(tiny_vit(), out=12, hidden=16, bottleneck=8, freeze=0.0),
    "ibot": lambda: IBOT(tiny_vit(), out=12, hidden=16, bottleneck=8, freeze=0.0, unmasked=0.3),
    "mae": lambda: MAE(tiny_vit(), dim=16, depth=2, heads=2),
    "swav": lambda: SwAV(tiny_vit(), prototypes=7, hidden=16, out=5, queue=9, queue_from=0.0, freeze=0.0),
}
EACH, STEPS = 4, 3


def train(name: str, rank: int, size: int) -> dict[str, np.ndarray]:
    torch.manual_seed(1)
    method = METHODS[name]().train()
    if world() > 1:
        synchronise_batch_norm(method)
    for step in range(STEPS):
        views = crops(2 * EACH, step, slice(rank * size, (rank + 1) * size))
        method.progress, method.counter = step / STEPS, Counter(0, step)
        method.zero_grad()
        sum_of(method, {"v": views["global_crops"][0]} if name == "mae" else views).backward()
        trained = {key: p for key, p in method.named_parameters() if p.requires_grad}
        for p in trained.values():
            if world() > 1:
                dist.all_reduce(p.grad)
                p.grad /= world()
            p.data.sub_(0.1 * p.grad)
        method.progress = (step + 1) / STEPS
        method.after_step()
    gradients = {f"gradient of {key}": p.grad.numpy() for key, p in trained.items()}
    return {**gradients, **{key: value.numpy() for key, value in method.state_dict().items()}}


def work(fabric: object, name: str) -> dict[str, np.ndarray]:
    return train(name, fabric.global_rank, EACH)


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_learn_what_one_does(name: str, pair: Pair) -> None:
    whole, ranks = train(name, 0, 2 * EACH), pair(work, name)
    assert len(whole) > 10
    for results in ranks:
        for key, expected in whole.items():
            np.testing.assert_allclose(results[key], expected, atol=1e-4, rtol=1e-3, err_msg=key)  # three steps of rounding
