"""The claim of a network of particles: straight motion fitted, and an error that turning can change only where a network is not equivariant."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from manyviews.app.evidence.particles import OfEGNN, Predicting, Straight, measured
from manyviews.data.nbody import nbody


@pytest.fixture(scope="module")
def bench():
    data = nbody(train=4, test=12, steps=20)
    return SimpleNamespace(test=data, device="cpu")


def test_straight_motion_takes_the_time_between_what_is_seen_and_asked(bench):
    assert Straight().fitted(bench.test).time == pytest.approx(0.02, rel=0.1)


class Sideways(nn.Module):
    def forward(self, x, v, c):
        return x + torch.tensor([1.0, 0.0, 0.0])


def test_equivariant_networks_turn_with_the_systems_and_others_do_not(bench):
    torch.manual_seed(0)
    for network in (Straight().fitted(bench.test), OfEGNN(8, 2)):
        assert float(np.max(measured(bench, Predicting(network).eval())["turned"])) < 1e-3
    off = measured(bench, Predicting(Sideways()).eval())
    assert float(np.min(off["turned"])) > 0.1 and float(np.mean(off["error"])) > 0.1
