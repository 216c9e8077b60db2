"""Each method that compares two views, on two gloo processes: the averaged gradient, and every buffer after the step, are those of one process."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.distributed as dist
from gloo_pair import Pair
from small_encoder import PatchEncoder, SmallEncoder, part, total, two_views

from manyviews.contracts import Method
from manyviews.methods.contrast.joint_embedding import JointEmbedding
from manyviews.methods.contrast.moco_v2 import MoCoV2
from manyviews.methods.contrast.moco_v3 import MoCoV3
from manyviews.methods.distill.byol import BYOL
from manyviews.methods.distill.simsiam import SimSiam
from manyviews.methods.predict.supervised import Supervised
from manyviews.nn.distributed import synchronise_batch_norm, world
from manyviews.objectives.infonce import infonce
from manyviews.objectives.vicreg import vicreg

METHODS: dict[str, Callable[[], Method]] = {
    "simclr": lambda: JointEmbedding(SmallEncoder(), infonce, hidden=10, out=5, last_norm=True, last_shift=False),
    "vicreg": lambda: JointEmbedding(SmallEncoder(), vicreg, hidden=10, out=5, last_bias=False),
    "moco_v2": lambda: MoCoV2(SmallEncoder(), samples=100, hidden=10, out=5, queue=12),
    "moco_v3": lambda: MoCoV3(PatchEncoder(), hidden=10, out=5),
    "byol": lambda: BYOL(SmallEncoder(), hidden=10, out=5),
    "simsiam": lambda: SimSiam(SmallEncoder(), hidden=10, out=9, bottleneck=4),
    "supervised": lambda: Supervised(SmallEncoder(), classes=3),
}
EACH, STEPS = 6, 2


def train(name: str, rank: int, size: int) -> dict[str, np.ndarray]:
    """Two steps of gradient descent on this rank's rows: the last gradients, and the state."""
    torch.manual_seed(1)
    method = METHODS[name]().train()
    if world() > 1:
        synchronise_batch_norm(method)
    for step in range(STEPS):
        views = [part(view, slice(rank * size, (rank + 1) * size)) for view in two_views(2 * EACH, seed=step, start=20 * step)]
        method.zero_grad()
        total(method, *views[: 1 if name == "supervised" else 2]).backward()
        trained = {key: p for key, p in method.named_parameters() if p.requires_grad}
        for p in trained.values():
            if world() > 1:
                dist.all_reduce(p.grad)
                p.grad /= world()
            p.data.sub_(0.1 * p.grad)
        method.progress = (step + 1) / 5
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
            np.testing.assert_allclose(results[key], expected, atol=2e-5, rtol=1e-3, err_msg=key)
