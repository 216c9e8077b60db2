import pytest
import torch

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.views import images, view_sets
from manyviews.views.finding import find_policy
from manyviews.views.view_sets import Glimpses


def ragged(counts=(5, 3, 8), side=12):
    r = torch.Generator().manual_seed(0)
    return View([torch.randint(0, 256, (n, side, side, 3), generator=r, dtype=torch.uint8) for n in counts], torch.arange(len(counts)))


def test_plain_shows_all_pictures_in_order_as_they_are():
    samples = ragged()
    view = view_sets.plain(8)(samples, Counter(0, 0))["v"]
    assert view.x.shape == (3, 8, 3, 8, 8)
    for i, x in enumerate(samples.x):
        one = images.plain(8)(View(x, torch.arange(len(x))), Counter(0, 0))["v"].x
        assert torch.allclose(view.x[i, : len(x)], one) and bool(view.x[i, len(x) :].isnan().all())
        assert view.g.shown[i].tolist() == [*range(len(x))] + [-1] * (8 - len(x))


def test_each_picture_changes_as_a_picture_with_its_own_numbers_would():
    samples, spec = ragged(), images.simclr(8).specs[0]
    view = Glimpses(spec).apply(samples, Counter(3, 1), ["v"])[0]
    for i, row in enumerate(view.g.shown.tolist()):
        for place, k in enumerate(row):
            if k >= 0:
                alone = spec.apply(View([samples.x[i][k]], torch.tensor([i * view_sets.MANY + k])), Counter(3, 1), ["v"])[0].x[0]
                assert torch.allclose(view.x[i, place], alone, atol=1e-5)


def test_a_sample_gets_the_same_view_whatever_else_is_in_its_batch():
    samples, spec = ragged(), view_sets.strong(8)
    whole = spec.apply(samples, Counter(1, 2), ["v"])[0]
    alone = spec.apply(View(samples.x[1:2], samples.index[1:2]), Counter(1, 2), ["v"])[0]
    width = alone.x.shape[1]
    assert torch.equal(whole.g.shown[1, :width], alone.g.shown[0]) and bool((whole.g.shown[1, width:] == -1).all())
    there = alone.g.shown[0] >= 0
    assert torch.allclose(whole.x[1, :width][there], alone.x[0][there], atol=1e-5)


def test_a_tensor_and_a_list_of_sets_give_the_same_view():
    x = torch.randint(0, 256, (4, 6, 10, 10, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    one, other = (view_sets.weak(8).apply(View(a, torch.arange(4)), Counter(0, 0), ["v"])[0] for a in (x, [*x]))
    assert torch.equal(one.g.shown, other.g.shown) and torch.allclose(one.x, other.x, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize(("least", "most", "low", "high"), [(0.5, 1.0, 4, 8), (0.0, 0.25, 1, 2), (1.0, 1.0, 8, 8)])
def test_as_many_pictures_are_shown_as_asked_for_none_twice(least, most, low, high):
    samples = View(torch.zeros(400, 8, 4, 4, 1, dtype=torch.uint8), torch.arange(400))
    shown = Glimpses(images.plain(4).specs[0], least, most).choose(samples, Counter(0, 0), "v")
    counts = (shown >= 0).sum(1)
    assert (int(counts.min()), int(counts.max())) == (low, high)
    assert all(len(set(row)) == len(row) for row in ([k for k in row if k >= 0] for row in shown.tolist()))
    first = torch.bincount(shown[:, 0], minlength=8)
    assert int(first.min()) > 20  # any picture may come first


def test_without_shuffling_what_is_shown_keeps_its_order():
    samples = View(torch.zeros(50, 8, 4, 4, 1, dtype=torch.uint8), torch.arange(50))
    shown = Glimpses(images.plain(4).specs[0], 0.5, 0.5, shuffled=False).choose(samples, Counter(0, 0), "v")
    assert shown.shape == (50, 4) and bool((shown.diff(dim=1) > 0).all()) and len({tuple(row) for row in shown.tolist()}) > 20


def test_the_raw_input_does_not_know_the_order():
    view = view_sets.plain(8)(ragged(), Counter(0, 0))["v"]
    found = view_sets.raw(view)
    turned = View(view.x.flip(1), view.index)
    assert found.shape == (3, 2 * 3 * 8 * 8) and bool(found.isfinite().all()) and torch.allclose(found, view_sets.raw(turned), atol=1e-6)


def test_policies_of_pictures_have_their_analogue():
    policy = find_policy("dino", 16, "view_sets")
    seen = policy(ragged(), Counter(0, 0))
    assert len(seen["global_crops"]) == 2 and seen["global_crops"][0].x.dim() == 5


def test_shares_out_of_range_are_refused():
    with pytest.raises(ValueError, match="0 <= least <= most <= 1"):
        Glimpses(images.plain(4).specs[0], 0.8, 0.5)
    with pytest.raises(ValueError, match="no inverse"):
        view_sets.plain(8)(ragged(), Counter(0, 0))["v"].g.inverse()
