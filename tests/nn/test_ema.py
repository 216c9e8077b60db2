import math

import pytest
import torch
from torch import nn

from manyviews.nn.ema import cosine, ema_update, frozen_copy


def test_the_moving_average_is_the_weighted_mean_of_old_and_new() -> None:
    online = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    target = frozen_copy(online)
    for p in online.parameters():
        p.data.add_(torch.randn_like(p))
    before = [p.clone() for p in target.parameters()]
    ema_update(target, online, 0.9)
    for old, slow, fast in zip(before, target.parameters(), online.parameters(), strict=True):
        torch.testing.assert_close(slow, 0.9 * old + 0.1 * fast)


def test_decay_one_changes_nothing_and_decay_zero_copies() -> None:
    online, target = nn.Linear(3, 4), frozen_copy(nn.Linear(3, 4))
    before = target.weight.clone()
    ema_update(target, online, 1.0)
    assert torch.equal(target.weight, before)
    ema_update(target, online, 0.0)
    assert torch.equal(target.weight, online.weight)


def test_a_target_gets_no_gradients_and_shares_no_memory() -> None:
    online = nn.Linear(3, 4)
    target = frozen_copy(online)
    assert not any(p.requires_grad for p in target.parameters()) and all(p.requires_grad for p in online.parameters())
    assert target.weight.data_ptr() != online.weight.data_ptr()


def test_a_list_of_modules_stands_for_their_sequence() -> None:
    parts = [nn.Linear(3, 4), nn.Linear(4, 2)]
    target = frozen_copy(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)))
    ema_update(target, parts, 0.0)
    assert torch.equal(target[1].weight, parts[1].weight)


def test_running_statistics_are_the_targets_own() -> None:
    online = nn.BatchNorm1d(3)
    target = frozen_copy(online)
    target(torch.randn(8, 3) + 5)
    seen = target.running_mean.clone()
    online(torch.randn(8, 3) - 5)
    ema_update(target, online, 0.5)
    assert torch.equal(target.running_mean, seen)


def test_a_target_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="frozen_copy"):
        ema_update(nn.Linear(3, 4), nn.Linear(4, 3), 0.9)


def test_the_cosine_goes_from_start_to_end_and_is_half_way_in_the_middle() -> None:
    assert cosine(0.996, 1.0, 0.0) == 0.996 and cosine(0.996, 1.0, 1.0) == 1.0
    assert math.isclose(cosine(2.0, 4.0, 0.5), 3.0)
    assert math.isclose(cosine(0.99, 1.0, 0.25), 1 - 0.01 * (math.cos(math.pi / 4) + 1) / 2)
