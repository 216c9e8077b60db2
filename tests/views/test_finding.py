"""Policies by name, and policies that change with the training."""

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from manyviews.contracts import Recipe, Trainable, View
from manyviews.counters import Counter
from manyviews.data.opening import open_data
from manyviews.errors import InputError
from manyviews.train.fit import fit
from manyviews.views import images
from manyviews.views.finding import find_policy, policies
from manyviews.views.policy import Curriculum


def test_the_policies_are_the_functions_that_take_a_size_and_return_one():
    assert {"simclr", "dino", "mae", "plain"} <= set(policies())
    assert not {"two", "gaussian", "local_side", "apply", "corrupted"} & set(policies())


def test_policies_of_other_modalities_are_not_those_of_pictures():
    assert type(find_policy("plain", 32)) is type(images.plain(32)) and find_policy("plain", 32) == images.plain(32)
    assert {"cvrl"} <= set(policies("video")) and not {"cvrl", "rotated"} & set(policies())


def test_a_policy_is_found_by_name_and_a_wrong_name_lists_them():
    assert find_policy("simclr", 32) == images.simclr(32)
    with pytest.raises(InputError, match="no views 'simclear' of images; there are plain, simclr"):
        find_policy("simclear", 32)


def growing(progress):
    return images.mae(16 if progress < 0.5 else 24)


def test_a_curriculum_shows_what_its_progress_says_and_needs_what_its_end_needs():
    policy = Curriculum(growing)
    samples = View(torch.zeros(2, 32, 32, 3, dtype=torch.uint8), torch.arange(2))
    assert policy.at(0.0)(samples, Counter(0, 0))["v"].x.shape[-1] == 16
    assert policy(samples, Counter(0, 0))["v"].x.shape[-1] == 24
    assert list(policy.roles) == ["v"] and policy.pixels == images.mae(24).pixels and policy.specs == images.mae(24).specs


def test_the_loop_draws_the_views_of_its_progress():
    class Seeing(Trainable):
        def __init__(self):
            super().__init__()
            self.weight, self.seen = torch.nn.Parameter(torch.ones(())), []

        def loss(self, v: View):
            self.seen.append(v.x.shape[-1])
            return {"loss": self.weight * v.x.mean()}

    method = Seeing()
    data = open_data(np.zeros((8, 32, 32, 3), np.uint8))
    for step in fit(method, data, Curriculum(growing), steps=4, batch=4, recipe=Recipe(), fabric=Fabric(accelerator="cpu", devices=1), threads=0):
        assert step.views()["v"].x.shape[-1] == method.seen[-1]
    assert method.seen == [16, 16, 24, 24]
