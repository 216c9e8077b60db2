"""Low frequencies against sums over waves and against band-limited pictures, and what the curricula show when."""

from __future__ import annotations

import cmath
import itertools
import math

import pytest
import torch
from torch import Tensor

from manyviews.app.building import build_method
from manyviews.backbones.building import build_encoder
from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.data.opening import open_data
from manyviews.train.fit import fit
from manyviews.views.changes import Crop, Flip, Jitter, Rotate, Solarize
from manyviews.views.efficient_train import (
    EFFICIENT_TRAIN,
    LowFrequency,
    easy_first,
    efficient_train,
    efficient_train_plus,
    equal_cost,
    low_frequencies,
    rand_augment,
    side_of,
    weaker,
)
from manyviews.views.images import dino, simclr
from manyviews.views.picture import Spec
from manyviews.views.policy import Policy
from manyviews.views.random_field import random_field, random_field_global
from manyviews.views.sie import sie


def samples(count: int = 5, side: int = 40) -> View:
    return View((torch.rand(count, side, side, 3) * 255).to(torch.uint8), torch.arange(count))


def only(views: dict[str, View | list[View]]) -> View:
    (view,) = views.values()
    assert isinstance(view, View)
    return view


def waves(side: int, below: int) -> Tensor:
    """The same random sum of waves of fewer than `below` periods a side, sampled at side x side points from 0."""
    generator = torch.Generator().manual_seed(3)
    at = torch.arange(side, dtype=torch.float64) / side
    total = torch.zeros(side, side, dtype=torch.float64)
    for fy, fx in itertools.product(range(-below + 1, below), repeat=2):
        size, phase = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        total += size * torch.cos(2 * math.pi * (fy * at[:, None] + fx * at) + 2 * math.pi * phase)
    return total.float()[None, None]


@pytest.mark.parametrize(("size", "side"), [(32, 24), (24, 16), (27, 12)])
def test_a_band_limited_picture_is_only_sampled_more_coarsely(size: int, side: int) -> None:
    torch.testing.assert_close(low_frequencies(waves(size, side // 2), side), waves(side, side // 2), rtol=1e-4, atol=1e-3)


def test_it_is_the_middle_of_the_spectrum_and_back() -> None:
    n, b = 6, 4
    x = torch.rand(1, 1, n, n)
    spectrum = {
        (u, v): sum(float(x[0, 0, i, j]) * cmath.exp(-2j * math.pi * (u * i + v * j) / n) for i in range(n) for j in range(n))
        for u, v in itertools.product(range(-b // 2, b // 2), repeat=2)
    }
    found = low_frequencies(x, b)
    for i, j in itertools.product(range(b), repeat=2):
        value = sum(c * cmath.exp(2j * math.pi * (u * i + v * j) / b) for (u, v), c in spectrum.items()) / b**2 * (b / n) ** 2
        assert math.isclose(float(found[0, 0, i, j]), value.real, abs_tol=1e-5)


def test_the_mean_stays_and_the_whole_spectrum_is_the_picture() -> None:
    x = torch.rand(3, 2, 20, 20)
    torch.testing.assert_close(low_frequencies(x, 8).mean((2, 3)), x.mean((2, 3)))
    torch.testing.assert_close(low_frequencies(x, 20), x)


def test_g_says_where_points_went() -> None:
    at = torch.arange(48) + 0.5
    place = torch.tensor([[20.0, 25.0], [24.5, 18.0]])
    x = torch.exp(-((at - place[:, :1, None]) ** 2 + (at[:, None] - place[:, 1:, None]) ** 2) / 32)[..., None]
    policy = Policy({"v": Spec(32, (Crop((0.9, 1.0)), Flip()))})
    view = only(LowFrequency(policy.roles, policy, 0.75)(View(x, torch.arange(2)), Counter(0, 3)))
    assert view.x.shape[-1] == 24
    expected = view.g.geometry.act(place[:, None])[:, 0]
    weight = view.x[:, 0].clamp(min=0.2) - 0.2
    out = torch.arange(24) + 0.5
    centre = torch.stack([(weight * out).sum((1, 2)), (weight * out[:, None]).sum((1, 2))], 1) / weight.sum((1, 2))[:, None]
    torch.testing.assert_close(centre, expected, rtol=0, atol=0.15)
    with pytest.raises(ValueError, match="high_frequencies cannot be undone"):
        view.g.inverse()


def test_the_papers_sides_and_magnitudes() -> None:
    shown = {}
    for progress in (0.0, 0.3, 0.599, 0.6, 0.799, 0.8, 1.0):
        policy = efficient_train(224).at(progress)
        assert isinstance(policy, LowFrequency)
        shown[progress] = side_of(224, policy.share)
        turn = next(change for change in policy.specs[0].changes if isinstance(change, Rotate))
        assert turn.degrees == pytest.approx(30 * 0.9 * progress)
    assert [*shown.values()] == [160, 160, 160, 192, 192, 224, 224]


@pytest.mark.parametrize(("size", "sides"), [(32, [24, 28, 32]), (64, [48, 56, 64]), (16, [12, 12, 16]), (28, [20, 24, 28])])
def test_other_sizes_keep_the_shares_in_whole_patches(size: int, sides: list[int]) -> None:
    assert [side_of(size, share) for _, share in EFFICIENT_TRAIN] == sides


def test_views_of_a_curriculum_grow() -> None:
    batch, curriculum = samples(), efficient_train(32)
    assert [only(curriculum.at(p)(batch, Counter(0, 0))).x.shape[-1] for p in (0.0, 0.7, 0.9)] == [24, 28, 32]
    assert torch.equal(only(curriculum(batch, Counter(0, 0))).x, only(rand_augment(32)(batch, Counter(0, 0))).x)
    assert curriculum.pixels == rand_augment(32).pixels and curriculum.roles == rand_augment(32).roles


def test_the_stages_of_the_plus_schedule_cost_the_same_and_each_is_stronger_augmented() -> None:
    shares = (96 / 224,) * 2 + (160 / 224,) * 4 + (1.0,) * 4
    stages = equal_cost(shares)
    before = [0.0, *(until for until, _ in stages)]
    costs = [(until - start) * share**2 for start, (until, share) in zip(before, stages, strict=False)]
    assert costs == pytest.approx([costs[0]] * 10) and stages[-1][0] == 1
    for k, (start, share) in enumerate(zip(before, shares, strict=False)):
        policy = efficient_train_plus(224).at(start + 1e-6)
        turn = next(change for change in policy.specs[0].changes if isinstance(change, Rotate))
        assert turn.degrees == pytest.approx(30 * k / 10) and isinstance(policy, LowFrequency) and policy.share == share


def test_a_share_of_the_strength_is_a_smaller_magnitude() -> None:
    for magnitude in (0.0, 4.5, 9.0):
        found, expected = weaker(rand_augment(32), magnitude / 9).specs[0].changes, rand_augment(32, magnitude).specs[0].changes
        assert [type(change) for change in found] == [type(change) for change in expected]
        for a, b in zip(found, expected, strict=True):
            assert [*vars(a).values()] == [pytest.approx(value) for value in vars(b).values()]


@pytest.mark.parametrize(
    "policy", [simclr(32), rand_augment(32), random_field(32), random_field_global(32)], ids=["simclr", "rand_augment", "random_field", "global"]
)
def test_no_strength_leaves_crops_and_flips(policy: Policy) -> None:
    batch = samples(30)
    some = weaker(policy, 0.0)(batch, Counter(2, 0))["v"]
    plain = Policy({"v": Spec(32, policy.specs[0].changes[:2])})(batch, Counter(2, 0))["v"]
    assert isinstance(some, View) and isinstance(plain, View)
    torch.testing.assert_close(some.x, plain.x, rtol=0, atol=1e-5)
    assert not torch.allclose(policy(batch, Counter(2, 0))["v"].x, plain.x, atol=0.01)  # type: ignore[union-attr]


def test_fields_grow_with_the_rest_of_the_augmentation() -> None:
    policy = random_field(32, 2.0, 0.5, p=1.0)
    for strength in (0.25, 1.0):
        half = weaker(policy, strength).specs[0]
        assert (half.affine, half.colour, half.length, half.p) == (2.0 * strength, 0.5 * strength, 0.25, 1.0)
        assert half.changes == weaker(simclr(32), strength).specs[0].changes
    batch, amounts = samples(20), []
    for progress in (0.1, 0.5, 1.0):
        view = easy_first(policy, ((1.0, 1.0),)).at(progress)(batch, Counter(0, 0))["v"]
        assert isinstance(view, View)
        amounts.append(view.g.parameters["affine_field"])
    torch.testing.assert_close(amounts[0] * 10, amounts[2])
    torch.testing.assert_close(amounts[1] * 2, amounts[2])


def test_views_that_cannot_be_made_weaker_are_refused_before_training() -> None:
    with pytest.raises(ValueError, match="these views are made by Taken; take a policy such as simclr"):
        easy_first(sie(32))


def test_the_order_of_the_rows_stays_that_of_the_policy() -> None:
    def order(rows: int, columns: object, seed: int, epoch: int) -> range:
        return range(rows)

    curriculum = easy_first(Policy(simclr(16).roles, sampler=order, grouped=2))
    for found in (curriculum, curriculum.at(0.2)):
        assert found.sampler is order and found.grouped == 2  # type: ignore[attr-defined]


def test_a_curriculum_around_another_eases_what_is_inside() -> None:
    inner = LowFrequency(rand_augment(32).roles, rand_augment(32), 0.75)
    batch = samples()
    found, plain = (only(policy(batch, Counter(0, 3))) for policy in (weaker(inner, 0.0), LowFrequency(inner.roles, weaker(rand_augment(32), 0.0), 0.75)))
    assert torch.equal(found.x, plain.x) and not torch.equal(found.x, only(inner(batch, Counter(0, 3))).x)


@pytest.mark.parametrize("size", [32, 33, 50, 60])
def test_one_stage_of_everything_is_the_augmentation_alone(size: int) -> None:
    batch, curriculum = samples(), easy_first(rand_augment(size), ((1.0, 1.0),))
    for progress in (0.0, 0.4, 1.0):
        shown, expected = (only(policy(batch, Counter(0, 5))) for policy in (curriculum.at(progress), weaker(rand_augment(size), progress)))
        assert torch.equal(shown.x, expected.x) and shown.x.shape[-1] == size


def test_at_full_magnitude_one_of_turn_colours_and_solarize_acts_on_average() -> None:
    batch = View(torch.full((4000, 2, 2, 3), 100, dtype=torch.uint8), torch.arange(4000))
    chances = [change.p for change in rand_augment(2).specs[0].changes if isinstance(change, Rotate | Jitter | Solarize)]
    assert sum(chances) == pytest.approx(1)
    x = only(rand_augment(2)(batch, Counter(0, 0))).x
    untouched = float(((x - 100 / 255).abs() < 1e-4).flatten(1).all(1).float().mean())
    assert abs(untouched - 0.4 * 0.8) < 0.03  # of a uniform grey picture only brightness and solarize can be seen


def test_any_policy_becomes_a_curriculum_with_views_in_proportion() -> None:
    views = easy_first(dino(224)).at(0.1)(samples(2, 64), Counter(0, 0))
    assert [v.x.shape[-1] for v in views["global_crops"]] == [160, 160]  # type: ignore[union-attr]
    assert {v.x.shape[-1] for v in views["local_crops"]} == {64}  # type: ignore[union-attr]


def test_a_training_sees_small_pictures_first() -> None:
    data = open_data((torch.rand(24, 16, 16, 3) * 255).to(torch.uint8).numpy()).with_columns(label=torch.arange(24).numpy() % 3)
    data.classes = ["a", "b", "c"]
    method, recipe = build_method("supervised", build_encoder("resnet_micro", 3, 16, seed=0), data)
    sides = [step.views()["v"].x.shape[-1] for step in fit(method, data, efficient_train(16), steps=10, batch=8, recipe=recipe, threads=0)]
    assert sides == [12] * 8 + [16] * 2


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="even number"):
        low_frequencies(torch.rand(1, 1, 8, 8), 5)
    with pytest.raises(ValueError, match="even number"):
        low_frequencies(torch.rand(1, 1, 8, 8), 10)
    for stages in ((), ((0.5, 0.5),), ((0.8, 0.5), (0.6, 0.7), (1.0, 1.0)), ((0.5, 0.0), (1.0, 1.0))):
        with pytest.raises(ValueError, match="stages"):
            easy_first(simclr(32), stages)
