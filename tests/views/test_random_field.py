"""Random fields: their covariance against the formula, their limits, and views that no other sample of the batch has a part in."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.groups import Affine
from manyviews.views.bss import bss, styled
from manyviews.views.changes import Blur, Centre, Crop, Flip, Grey, Jitter, Solarize
from manyviews.views.composing import LUMA
from manyviews.views.efficient_train import easy_first
from manyviews.views.finding import find_policy
from manyviews.views.genview import Pairs, generated
from manyviews.views.images import dino, simclr
from manyviews.views.picture import Spec
from manyviews.views.policy import Curriculum, Policy
from manyviews.views.random_field import SPREADS, FieldSpec, basis, colour_matrices, random_field, sources, synthesised, with_fields
from manyviews.views.sie import sie

SIZE = 16


def samples(count: int = 6, side: int = 20, channels: int = 3) -> View:
    generator = torch.Generator().manual_seed(3)
    x = (torch.rand(count, side, side, channels, generator=generator) * 255).to(torch.uint8)
    return View(x, torch.randperm(50, generator=generator)[:count])


def smooth(count: int = 4, side: int = 24) -> View:
    """Pictures that a small change of place changes by little."""
    at = torch.arange(side) / side
    waves = torch.stack([(2 * math.pi * (f * at[:, None] + at)).sin() for f in (0.5, 1.0, 1.5)], -1)
    return View((0.5 + 0.3 * waves).repeat(count, 1, 1, 1), torch.arange(count))


def one(spec: FieldSpec | Spec, batch: View, step: int = 0) -> View:
    return spec.apply(batch, Counter(0, step), ["v"])[0]


CHANGES = (Crop((0.3, 1.0)), Flip(), Jitter(0.4, 0.4, 0.4, 0.1), Grey(0.2))


@pytest.mark.parametrize("length", [0.05, 0.25, 1.0, 20.0])
def test_the_waves_have_the_covariance_of_the_formula(length: float) -> None:
    at = torch.linspace(0, 1, 9)
    waves = basis(length, at).double()
    expected = (-((at[:, None] - at).double() ** 2) / (2 * length**2)).exp()
    torch.testing.assert_close(waves.T @ waves, expected, rtol=0, atol=2e-3)


def test_drawn_fields_have_that_covariance_in_the_plane_and_are_independent_of_one_another() -> None:
    spec, places, length = FieldSpec(8, (), length=0.3, p=1.0), torch.tensor([0.1, 0.5, 0.9]), 0.3
    z = spec.numbers("colour", torch.arange(4000), Counter(0, 0), ["v"])
    fields = synthesised(z, basis(length, places)).double() / torch.tensor([*SPREADS["colour"].values()])[:, None, None]
    flat = fields.flatten(1)
    found = flat.T @ flat / len(flat)
    at = torch.cartesian_prod(places, places).double()
    expected = torch.kron(torch.eye(4), (-(torch.cdist(at, at) ** 2) / (2 * length**2)).exp())
    assert float((found - expected).abs().max()) < 0.08  # five standard errors of 4,000 draws


def test_a_field_is_the_sum_of_its_waves() -> None:
    z, waves = torch.randn(2, 3, 5, 5), torch.randn(5, 7)
    torch.testing.assert_close(synthesised(z, waves), torch.einsum("vfij,ix,jy->vfxy", z, waves, waves))


def test_a_pixel_comes_from_where_its_own_map_says() -> None:
    fields = torch.randn(1, 5, 4, 4, dtype=torch.float64) * 0.2
    right, down = sources(fields, 8)
    for i in range(4):
        for j in range(4):
            angle, scale, shear, dx, dy = fields[0, :, i, j].tolist()
            x, y = (j + 0.5) * 2 - 4, (i + 0.5) * 2 - 4
            x, y = x + shear * y, y
            x, y = (math.exp(scale) * (math.cos(angle) * x - math.sin(angle) * y), math.exp(scale) * (math.sin(angle) * x + math.cos(angle) * y))
            assert math.isclose(float(right[0, i, j]), x + 8 * dx + 4, abs_tol=1e-9) and math.isclose(float(down[0, i, j]), y + 8 * dy + 4, abs_tol=1e-9)


def test_colours_are_turned_saturated_contrasted_and_brightened_in_this_order() -> None:
    b, c, s, hue = 0.2, -0.3, 0.1, 0.05
    m = colour_matrices(torch.tensor([[b, c, s, hue]])[:, :, None, None], torch.tensor([[0.2, 0.5, 0.4]]))[0, :, :, 0, 0]
    pixel, axis, angle = torch.tensor([0.3, 0.6, 0.1]), torch.ones(3) / 3**0.5, torch.tensor(2 * math.pi * hue)
    turned = pixel * angle.cos() + torch.linalg.cross(axis, pixel) * angle.sin() + axis * (axis @ pixel) * (1 - angle.cos())
    luma = torch.tensor(LUMA)
    grey = luma @ turned
    level = luma @ torch.tensor([0.2, 0.5, 0.4])
    expected = (1 + b) * ((1 + c) * ((1 + s) * turned - s * grey) + -c * level)
    torch.testing.assert_close(m[:, :3] @ pixel + m[:, 3], expected)


@pytest.mark.parametrize("spec", [FieldSpec(SIZE, CHANGES, 0.0, 0.0), FieldSpec(SIZE, CHANGES, p=0.0), FieldSpec(SIZE, CHANGES, 0.0, 0.0, math.inf)])
def test_strength_or_probability_zero_leaves_the_views_as_they_are(spec: FieldSpec) -> None:
    changed, plain = one(spec, samples()), one(Spec(SIZE, CHANGES), samples())
    torch.testing.assert_close(changed.x, plain.x, rtol=0, atol=2e-6)
    torch.testing.assert_close(changed.g.geometry.matrix, plain.g.geometry.matrix)
    torch.testing.assert_close(changed.g.colour.matrix, plain.g.colour.matrix)
    assert not any(bool(amount.any()) for amount in changed.g.lost.values())


def test_very_long_fields_are_one_map_and_one_matrix_a_view() -> None:
    z = FieldSpec(SIZE, (), length=1e5).numbers("affine", torch.arange(3), Counter(0, 0), ["v"])
    fields = synthesised(z, basis(1e5, torch.linspace(0, 1, 9)))
    assert float((fields - fields.mean((2, 3), keepdim=True)).abs().max()) < 1e-4 * float(fields.abs().max())


def test_the_field_that_is_the_same_everywhere_moves_pixels_as_the_affine_map_in_g() -> None:
    spec = FieldSpec(SIZE, (Centre(),), 1.0, 1.0, math.inf, 1.0)
    view = one(spec, smooth())
    fields = synthesised(spec.numbers("affine", torch.arange(4), Counter(0, 0), ["v"]), torch.ones(1, SIZE))
    right, down = sources(fields, SIZE)
    at = torch.arange(SIZE) + 0.5
    seen = torch.stack(torch.meshgrid(at, at, indexing="xy"), -1).view(1, -1, 2).expand(4, -1, -1).double()
    back = Affine(view.g.geometry.matrix.double()).inverse().act(seen) * SIZE / 24
    torch.testing.assert_close(back, torch.stack([right, down], -1).flatten(1, 2), rtol=1e-4, atol=1e-4)
    assert view.g.geometry.parameters.keys() >= SPREADS["affine"].keys()
    view.g.inverse()


def test_fields_that_are_drawn_constant_give_the_pixels_of_the_global_map() -> None:
    """The two ways to the same picture: a map a pixel, and one map for all, by the kernels that all views take."""
    long, whole = FieldSpec(SIZE, CHANGES, 1.0, 1.0, 1e4, 1.0), FieldSpec(SIZE, CHANGES, 1.0, 1.0, math.inf, 1.0)
    numbers = FieldSpec.numbers

    def constant(self: FieldSpec, kind: str, *rest: Any) -> Tensor:
        z = numbers(whole, kind, *rest)
        out = z.new_zeros(*z.shape[:2], len(self.at(1, z)), len(self.at(1, z)))
        out[:, :, :1, :1] = z / float(basis(self.length, torch.zeros(1))[0, 0]) ** 2
        return out

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FieldSpec, "numbers", constant)
        found = one(long, smooth())
    expected = one(whole, smooth())
    torch.testing.assert_close(found.x, expected.x, rtol=0, atol=1e-2)  # at the view's borders the kernels average where the map shrinks
    assert float((found.x - expected.x).abs().mean()) < 1e-3


def test_views_do_not_depend_on_the_rest_of_the_batch_nor_on_its_order() -> None:
    batch, order = samples(), torch.randperm(6)
    for spec in random_field(SIZE).specs:
        whole = one(spec, batch)
        assert torch.equal(one(spec, View(batch.x[order], batch.index[order])).x, whole.x[order])
        assert torch.equal(one(spec, View(batch.x[2:3], batch.index[2:3])).x, whole.x[2:3])


def test_the_two_views_of_a_sample_differ_and_steps_do() -> None:
    views = with_fields(simclr(SIZE))(samples(), Counter(0, 0))
    again = with_fields(simclr(SIZE))(samples(), Counter(0, 1))
    assert not torch.equal(views["v"].x, views["w"].x) and not torch.equal(views["v"].x, again["v"].x)  # type: ignore[union-attr]


def test_fields_stand_in_g_as_what_has_no_inverse_and_come_with_their_probability() -> None:
    batch = View(torch.rand(400, 8, 8, 3), torch.arange(400))
    view = one(FieldSpec(8, (Centre(),), p=0.3), batch)
    for name in ("affine_field", "colour_field"):
        assert abs(float((view.g.parameters[name] > 0).float().mean()) - 0.3) < 0.08
    with pytest.raises(ValueError, match="affine_field, colour_field cannot be undone"):
        view.g.inverse()


def test_grey_stays_grey_and_values_stay_in_their_range() -> None:
    view = one(FieldSpec(SIZE, (Centre(), Grey(1.0)), 3.0, 3.0, p=1.0), samples())
    torch.testing.assert_close(view.x, view.x[:, :1].expand(-1, 3, -1, -1), rtol=0, atol=1e-5)
    assert float(view.x.min()) >= 0 and float(view.x.max()) <= 1


@pytest.mark.parametrize("channels", [1, 2])
def test_pictures_of_other_channels_have_brightness_and_contrast(channels: int) -> None:
    view = one(FieldSpec(SIZE, (Centre(),), 0.0, 1.0, p=1.0), samples(channels=channels))
    plain = one(FieldSpec(SIZE, (Centre(),), 0.0, 0.0), samples(channels=channels))
    assert view.x.shape[1] == channels and float((view.x - plain.x).abs().max()) > 0.05


def test_pictures_of_several_shapes_and_much_larger_ones_are_seen_as_they_are_without_fields() -> None:
    x = [(torch.rand(60 + 31 * i, 300 - 20 * i, 3) * 255).to(torch.uint8) for i in range(4)]
    batch, changes = View(x, torch.arange(4)), (Crop((0.2, 1.0)), Blur(0.5, (0.5, 1.0)), Solarize(0.5))
    torch.testing.assert_close(one(FieldSpec(8, changes, 0.0, 0.0), batch).x, one(Spec(8, changes), batch).x, rtol=0, atol=1e-4)
    assert one(FieldSpec(8, changes), batch).x.shape == (4, 3, 8, 8)


def test_it_goes_around_any_policy_and_is_found_by_name() -> None:
    crops = with_fields(dino(32))(samples(2, 32), Counter(0, 0))
    assert [view.x.shape[-1] for view in crops["local_crops"]] == [12] * 8  # type: ignore[union-attr]
    for name in ("random_field", "random_field_global", "random_field_affine", "random_field_colour", "random_field_mild", "random_field_strong"):
        assert find_policy(name, 16)(samples(2), Counter(0, 0))["v"].x.shape == (2, 3, 16, 16)
    assert random_field(16).pixels == simclr(16).pixels


@pytest.mark.parametrize("wrong", [{"affine": -1.0}, {"colour": -0.1}, {"length": 0.0}, {"length": math.nan}, {"p": 1.5}])
def test_what_cannot_be_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} .*expected"):
        random_field(SIZE, **wrong)


@pytest.mark.parametrize("policy", [bss(32), generated(32), easy_first(simclr(32)), easy_first(simclr(32)).at(0.5), Curriculum(lambda progress: simclr(32))])
def test_what_makes_more_of_its_views_than_their_changes_goes_around_the_fields(policy: Any) -> None:
    with pytest.raises(ValueError, match=f"put {type(policy).__name__} around this"):
        with_fields(policy)


@pytest.mark.parametrize("policy", [sie(32), random_field(32)], ids=["sie", "random_field"])
def test_views_of_another_kind_are_refused_and_not_half_made(policy: Policy) -> None:
    with pytest.raises(ValueError, match=f"these views are made by {type(policy.specs[0]).__name__}; take a policy such as simclr"):
        with_fields(policy)


def test_fields_are_on_both_pictures_of_a_generated_pair() -> None:
    batch, other = samples(4, 32), samples(4, 40)
    given = {"generated": other.x}
    views, counter = Pairs(with_fields(simclr(16), p=1.0).roles)(View(batch.x, batch.index, None, given), Counter(0, 1)), Counter(0, 1)
    for role, x in (("v", batch.x), ("w", other.x)):
        alone = with_fields(simclr(16), p=1.0)(View(x, batch.index), counter)[role]
        assert torch.equal(views[role].x, alone.x)  # type: ignore[union-attr]
        assert bool(alone.g.parameters["affine_field"].all())  # type: ignore[union-attr]


def test_styles_and_a_curriculum_go_around_the_fields() -> None:
    for policy in (styled(with_fields(simclr(16), p=1.0)), easy_first(with_fields(simclr(16), p=1.0)).at(0.9)):
        view = policy(samples(), Counter(0, 0))["v"]
        assert bool(view.g.parameters["affine_field"].all()) and bool(view.g.parameters["colour_field"].all())  # type: ignore[union-attr]


def test_the_order_of_the_rows_stays_that_of_the_policy() -> None:
    def order(rows: int, columns: Any, seed: int, epoch: int) -> Any:
        return range(rows)

    policy = with_fields(Policy(simclr(16).roles, sampler=order, grouped=2))
    assert policy.sampler is order and policy.grouped == 2
