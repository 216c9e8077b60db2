"""Pairs that come with a weight count as much as it says."""

import dataclasses

import pytest
import torch
from small_encoder import SmallEncoder

from manyviews.contracts import View
from manyviews.methods.contrast.moco_v2 import MoCoV2
from manyviews.methods.contrast.moco_v3 import MoCoV3
from manyviews.methods.distill.byol import BYOL
from manyviews.methods.distill.simsiam import SimSiam


def total(method, weight=None):
    generator = torch.Generator().manual_seed(1)
    v, w = (View(torch.rand(6, 3, 4, 4, generator=generator), torch.arange(6)) for _ in range(2))
    if weight is not None:
        v = dataclasses.replace(v, given={"weight": torch.tensor(weight)})
    return float(sum(method.loss(v, w).values()))


def moco_v2(encoder, **settings):
    return MoCoV2(encoder, 100, queue=12, **settings)


@pytest.mark.parametrize("kind", [BYOL, SimSiam, moco_v2, MoCoV3])
def test_equal_weights_change_nothing_and_only_their_proportions_matter(kind):
    torch.manual_seed(0)
    method = kind(SmallEncoder(), hidden=8, out=4)
    assert total(method, [3.0] * 6) == pytest.approx(total(method), rel=1e-5)
    uneven = [1.0, 2.0, 0.5, 4.0, 1.0, 0.1]
    assert total(method, uneven) == pytest.approx(total(method, [10 * x for x in uneven]), rel=1e-5)
    alone = [total(method, [float(i == k) for i in range(6)]) for k in range(6)]
    expected = sum(a * x for a, x in zip(alone, uneven, strict=True)) / sum(uneven)
    assert total(method, uneven) == pytest.approx(expected, rel=1e-4)
    assert abs(total(method, uneven) - total(method)) > 1e-6
