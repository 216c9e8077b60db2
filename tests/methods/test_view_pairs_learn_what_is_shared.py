"""Pictures that hold three numbers both views share, and ten larger ones that each view draws anew: every method's encoder learns to keep the three."""

from collections.abc import Callable

import pytest
import torch
from small_encoder import SmallEncoder, total
from torch import Tensor

from manyviews.contracts import Encoder, Method, View
from manyviews.methods.contrast.joint_embedding import JointEmbedding
from manyviews.methods.contrast.moco_v2 import MoCoV2
from manyviews.methods.contrast.moco_v3 import MoCoV3
from manyviews.methods.distill.byol import BYOL
from manyviews.methods.distill.simsiam import SimSiam
from manyviews.methods.predict.supervised import Supervised
from manyviews.objectives.barlow_twins import barlow_twins
from manyviews.objectives.infonce import infonce
from manyviews.objectives.supcon import supcon
from manyviews.objectives.vicreg import vicreg

METHODS: dict[str, Callable[[], Method]] = {
    "simclr": lambda: JointEmbedding(SmallEncoder(), infonce, hidden=32, out=16),
    "supcon": lambda: JointEmbedding(SmallEncoder(), supcon, hidden=32, out=16, norm=False),
    "vicreg": lambda: JointEmbedding(SmallEncoder(), vicreg, hidden=32, out=16, layers=3, last_bias=False),
    "barlow_twins": lambda: JointEmbedding(SmallEncoder(), barlow_twins, hidden=32, out=16, layers=3, last_bias=False),
    "moco_v2": lambda: MoCoV2(SmallEncoder(), samples=10**6, hidden=32, out=16, queue=256, decay=0.9),
    "moco_v3": lambda: MoCoV3(SmallEncoder(), hidden=32, out=16, decay=0.9),
    "byol": lambda: BYOL(SmallEncoder(), hidden=32, out=16, decay=0.9),
    "simsiam": lambda: SimSiam(SmallEncoder(), hidden=32, out=16, bottleneck=8),
    "supervised": lambda: Supervised(SmallEncoder(), classes=8),
}


def pairs(batch: int, seed: int) -> tuple[Tensor, list[View]]:
    """The shared numbers, and two views."""
    fixed, generator = torch.Generator().manual_seed(0), torch.Generator().manual_seed(seed)
    show_shared, show_own = torch.randn(3, 48, generator=fixed), torch.randn(10, 48, generator=fixed)
    shared = torch.randn(batch, 3, generator=generator)
    label = (shared > 0).long() @ torch.tensor([1, 2, 4])
    index = torch.arange(batch) + seed * batch
    x = [shared @ show_shared + 2 * torch.randn(batch, 10, generator=generator) @ show_own for _ in range(2)]
    return shared, [View(a.view(batch, 3, 4, 4), index, given={"label": label}) for a in x]


@torch.no_grad()
def explained(encoder: Encoder) -> float:
    """The share of the shared numbers' variance that a linear map of the embedding predicts, on new samples."""
    encoder.eval()
    sets = []
    for seed in (10**6, 10**6 + 1):
        shared, (v, _) = pairs(1000, seed)
        sets.append((shared, torch.cat([encoder(v), torch.ones(1000, 1)], 1)))
    (known, z), (asked, z_asked) = sets
    weights = torch.linalg.lstsq(z, known).solution
    return float(1 - (z_asked @ weights - asked).square().sum() / (asked - asked.mean(0)).square().sum())


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_the_encoder_keeps_what_the_views_share(name: str) -> None:
    method = METHODS[name]()
    untrained = explained(method.encoder)
    method.train()
    optimizer = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=1e-2)
    for step in range(200):
        _, views = pairs(64, step + 1)
        optimizer.zero_grad()
        total(method, *views[: 1 if name == "supervised" else 2]).backward()
        optimizer.step()
        method.progress = (step + 1) / 200
        method.after_step()
    assert explained(method.exported) > untrained + 0.2
