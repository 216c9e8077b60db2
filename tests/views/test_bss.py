"""Batch styles: the exchange of amplitudes against a sum over waves, and one reference for a whole view, however the batch is shared out."""

from __future__ import annotations

import cmath
import dataclasses
import itertools
import math
from typing import Any

import pytest
import torch
from gloo_pair import Pair
from torch import Tensor

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.views.bss import Styled, bss, fourier, restyle, styled
from manyviews.views.changes import Centre
from manyviews.views.efficient_train import LowFrequency, easy_first
from manyviews.views.genview import generated
from manyviews.views.images import dino, mae, simclr
from manyviews.views.picture import Spec
from manyviews.views.policy import Curriculum, Policy
from manyviews.views.random_field import with_fields
from manyviews.views.sie import sie

SIZE = 12
FLAT = {role: Spec(SIZE, (Centre(),)) for role in ("v", "w")}  # nothing but the picture itself


def samples(count: int = 8, side: int = SIZE) -> View:
    """Pictures of little contrast, so that nothing is clamped, in a random order of their rows."""
    generator = torch.Generator().manual_seed(5)
    x = 0.5 + 0.1 * (torch.rand(count, side, side, 3, generator=generator) - 0.5) + 0.1 * torch.rand(count, 1, 1, 3, generator=generator)
    return View(x, torch.randperm(100, generator=generator)[:count])


def part(view: View, rows: Any) -> View:
    return View(view.x[rows], view.index[rows])


def one(views: dict[str, View | list[View]], role: str = "v") -> View:
    view = views[role]
    assert isinstance(view, View)
    return view


def amplitudes(x: Tensor) -> Tensor:
    return torch.fft.fft2(x.double()).abs()


def test_low_waves_get_the_other_amplitude_and_all_keep_their_phase() -> None:
    n, share = 6, 0.3
    x, style = torch.rand(1, 1, n, n), torch.rand(1, 1, n, n)
    half, spectra = math.sqrt(share) * n / 2, []
    for a in (x[0, 0], style[0, 0]):
        waves = itertools.product(range(-2, 4), repeat=2)
        spectra.append({(u, v): sum(float(a[i, j]) * cmath.exp(-2j * math.pi * (u * i + v * j) / n) for i in range(n) for j in range(n)) for u, v in waves})
    mixed = {}
    for (u, v), own in spectra[0].items():
        low = abs(u) <= half and abs(v) <= half
        mixed[u, v] = abs(spectra[1][u, v]) * cmath.exp(1j * cmath.phase(own)) if low else own
    found = restyle(x, style, torch.tensor([share]))
    for i, j in itertools.product(range(n), repeat=2):
        value = sum(c * cmath.exp(2j * math.pi * (u * i + v * j) / n) for (u, v), c in mixed.items()) / n**2
        assert math.isclose(float(found[0, 0, i, j]), value.real, abs_tol=1e-5) and abs(value.imag) < 1e-9


@pytest.mark.parametrize("side", [8, 9])
def test_the_whole_spectrum_is_all_amplitudes_and_none_of_it_is_the_mean(side: int) -> None:
    x, style = torch.rand(4, 3, side, side), torch.rand(1, 3, side, side)
    everything, mean = restyle(x, style, torch.ones(4)), restyle(x, style, torch.zeros(4))
    torch.testing.assert_close(amplitudes(everything), amplitudes(style).expand(4, -1, -1, -1), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(mean - x, (style - x).mean((2, 3), keepdim=True).expand_as(x), rtol=0, atol=1e-5)
    torch.testing.assert_close(restyle(x, x, torch.rand(4)), x)


def test_each_share_takes_its_own_box() -> None:
    x, style, shares = torch.rand(3, 1, 16, 16), torch.rand(1, 1, 16, 16), torch.tensor([0.01, 0.2, 0.7])
    found = restyle(x, style, shares)
    for i in range(3):
        torch.testing.assert_close(found[i : i + 1], restyle(x[i : i + 1], style, shares[i : i + 1]))
    changed = ((amplitudes(found) - amplitudes(x)).abs() > 1e-4).flatten(1).double().mean(1)
    torch.testing.assert_close(changed, torch.tensor([1, 7 * 7, 13 * 13], dtype=torch.float64) / 256, rtol=0, atol=1e-6)


def test_all_pictures_of_a_view_have_the_amplitudes_of_one_of_them_and_the_other_view_those_of_another() -> None:
    batch = samples()
    own = amplitudes(batch.x.movedim(3, 1))
    chosen = {}
    for step in range(6):
        views = Styled(FLAT, (1.0, 1.0))(batch, Counter(0, step))
        for role in ("v", "w"):
            found = amplitudes(one(views, role).x)
            torch.testing.assert_close(found, found[:1].expand_as(found), rtol=1e-3, atol=1e-3)
            distance = (own - found[0]).flatten(1).norm(dim=1)
            assert float(distance.min()) < 1e-3
            chosen[step, role] = int(distance.argmin())
    assert len({*chosen.values()}) >= 4  # of 12 draws of one in 8
    assert sum(chosen[step, "v"] != chosen[step, "w"] for step in range(6)) >= 4


def test_the_reference_is_the_same_sample_in_whatever_order_the_batch_comes() -> None:
    batch, order = samples(), torch.randperm(8)
    for policy in (bss(SIZE), fourier(SIZE)):
        whole, shuffled = one(policy(batch, Counter(1, 2))), one(policy(part(batch, order), Counter(1, 2)))
        torch.testing.assert_close(shuffled.x, whole.x[order])
        assert torch.equal(shuffled.index, whole.index[order])


def test_in_the_control_each_picture_has_a_reference_of_its_own() -> None:
    batch = samples(16)
    found = amplitudes(one(Styled(FLAT, (1.0, 1.0), "image")(batch, Counter(0, 0))).x)
    nearest = torch.cdist(found.flatten(1), amplitudes(batch.x.movedim(3, 1)).flatten(1)).argmin(1)
    assert len(nearest.unique()) >= 6 and not torch.equal(nearest, torch.arange(16))


def test_colours_are_drawn_once_for_a_batch_or_for_each_picture() -> None:
    batch = samples()
    together, alone = one(bss(SIZE)(batch, Counter(0, 3))).g.parameters, one(fourier(SIZE)(batch, Counter(0, 3))).g.parameters
    for name in ("brightness", "contrast", "saturation", "hue", "grey", "style"):
        assert len(together[name].unique()) == 1, name
    assert len(alone["style"].unique()) == 8 and len(alone["brightness"].unique()) > 2
    assert len(together["crop_x"].unique()) > 2


def test_shares_lie_between_their_bounds() -> None:
    shares = torch.stack([one(bss(SIZE, ratio=(0.1, 0.3))(samples(2), Counter(0, step))).g.parameters["style"][0] for step in range(50)])
    assert 0.1 <= float(shares.min()) < 0.14 and 0.26 < float(shares.max()) < 0.3


def test_crops_are_those_of_the_policy_and_the_style_cannot_be_undone() -> None:
    batch = samples()
    plain, changed = one(simclr(SIZE)(batch, Counter(0, 0))), one(bss(SIZE)(batch, Counter(0, 0)))
    assert torch.equal(plain.g.geometry.matrix, changed.g.geometry.matrix)
    with pytest.raises(ValueError, match="style"):
        changed.g.inverse()


def test_pictures_of_several_shapes_can_be_in_one_batch() -> None:
    x = [(torch.rand(20 + 3 * i, 30 - 2 * i, 3) * 255).to(torch.uint8) for i in range(4)]
    views = bss(SIZE)(View(x, torch.arange(4)), Counter(0, 0))
    assert all(one(views, role).x.shape == (4, 3, SIZE, SIZE) for role in ("v", "w"))
    assert float(one(views).x.min()) >= 0 and float(one(views).x.max()) <= 1


def test_it_goes_around_any_policy() -> None:
    batch = samples(4, 32)
    crops = styled(dino(32))(batch, Counter(0, 0))
    assert [view.x.shape[-1] for view in crops["local_crops"]] == [12] * 8  # type: ignore[union-attr]
    shares = [float(view.g.parameters["style"][0]) for view in [*crops["global_crops"], *crops["local_crops"]]]  # type: ignore[union-attr]
    assert len(set(shares)) == 10
    without_colours = styled(mae(16))
    assert one(without_colours(batch, Counter(0, 0))).x.shape == (4, 3, 16, 16)
    growing = easy_first(bss(16))
    assert growing.at(0.0)(batch, Counter(0, 0))["v"].x.shape[-1] == 12  # type: ignore[union-attr]
    assert torch.equal(one(growing(batch, Counter(0, 0))).x, one(bss(16)(batch, Counter(0, 0))).x)


def test_what_hides_its_crops_goes_around_it() -> None:
    with pytest.raises(ValueError, match="put LowFrequency around this"):
        styled(LowFrequency(mae(16).roles, mae(16), 0.5))
    with pytest.raises(ValueError, match="put LowFrequency around this"):
        styled(easy_first(mae(16)))


def test_fields_warp_before_the_exchange_and_colour_after_it() -> None:
    batch = samples(8, 32)
    fielded = with_fields(Policy({"v": Spec(SIZE, FLAT["v"].changes)}), p=1.0)
    warped = one(with_fields(Policy(FLAT), colour=0.0, p=1.0)(batch, Counter(2, 1)))
    found = one(styled(with_fields(Policy(FLAT), colour=0.0, p=1.0), (0.0, 0.0), "image", "image")(batch, Counter(2, 1)))
    torch.testing.assert_close(found.x - found.x.mean((2, 3), keepdim=True), warped.x - warped.x.mean((2, 3), keepdim=True), rtol=0, atol=1e-5)
    whole, without = one(styled(fielded)(batch, Counter(2, 1))), one(styled(Policy(FLAT))(batch, Counter(2, 1)))
    assert float((whole.x - without.x).abs().mean()) > 0.01
    for name in ("affine_field", "colour_field", "style"):
        assert bool((whole.g.parameters[name] > 0).all()), name
    assert len(whole.g.parameters["colour_field"].unique()) == 1 and len(whole.g.parameters["affine_field"].unique()) == 8


def test_fields_of_no_strength_leave_styled_views_as_they_are() -> None:
    batch = samples(6, 32)
    found, plain = (one(styled(policy)(batch, Counter(0, 2))) for policy in (with_fields(simclr(16), 0.0, 0.0), simclr(16)))
    torch.testing.assert_close(found.x, plain.x, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.g.geometry.matrix, plain.g.geometry.matrix)


def test_views_of_another_kind_are_refused_and_not_half_made() -> None:
    for make in (styled, lambda policy: Styled(policy.roles)):
        with pytest.raises(ValueError, match="views made by Taken do not show; style a policy such as simclr"):
            make(sie(32))
    with pytest.raises(ValueError, match="put Pairs around this, where it takes a policy"):
        styled(generated(32))


def backwards(rows: int, columns: Any, seed: int, epoch: int) -> Any:
    return range(rows)[::-1]


def test_the_order_of_the_rows_stays_that_of_the_policy() -> None:
    policy = Policy(FLAT, sampler=backwards, grouped=2)
    for found in (styled(policy), styled(policy).at(0.5), styled(Curriculum(lambda progress: policy)), styled(with_fields(policy))):
        assert found.sampler is backwards and found.grouped == 2  # type: ignore[union-attr]


# --- several processes ------------------------------------------------------------------------------------------------------------------------


def of_rank(fabric: Any, scope: str) -> Tensor:
    policy = dataclasses.replace(bss(SIZE), reference=scope)
    return one(policy.at(0.5)(part(samples(), slice(fabric.global_rank, None, 2)), Counter(4, 7))).x


@pytest.mark.parametrize("scope", ["batch", "image"])
def test_two_processes_share_their_references_and_see_what_one_would(scope: str, pair: Pair) -> None:
    whole = one(dataclasses.replace(bss(SIZE), reference=scope).at(0.5)(samples(), Counter(4, 7))).x
    for rank, found in enumerate(pair(of_rank, scope)):
        torch.testing.assert_close(found, whole[rank::2])


def of_the_first_rank(fabric: Any) -> Tensor | None:
    curriculum = easy_first(bss(SIZE))
    return one(curriculum(samples(), Counter(0, 0))).x if fabric.global_rank == 0 else None


def test_one_process_alone_does_not_wait_for_the_others(pair: Pair) -> None:
    first, second = pair(of_the_first_rank)
    assert second is None
    torch.testing.assert_close(first, one(bss(SIZE)(samples(), Counter(0, 0))).x)


# --- what is refused --------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [{"ratio": (0.5, 0.2)}, {"ratio": (-0.1, 1.0)}, {"ratio": (0.0, 1.1)}, {"reference": "view"}, {"colour": "none"}])
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} .*expected"):
        Styled(FLAT, **wrong)


def test_a_plain_policy_is_not_changed() -> None:
    policy = Policy(FLAT)
    assert styled(policy) == Styled(FLAT) and policy == Policy(FLAT)
