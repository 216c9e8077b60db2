"""Pairs of views, computed and observed, and bad ones."""

import pytest
import torch
from torch import nn

from manyviews.contracts import View
from manyviews.errors import InputError
from manyviews.evaluate.symmetry_tuples import Tuples, observed, orbit, resampling_floor


def test_observed_views_give_pairs_of_one_object_and_never_a_view_with_itself():
    objects = torch.tensor([0, 0, 0, 1, 1, 2, 7, 7, 7, 7])[torch.randperm(10)]
    pairs = observed(torch.randn(10, 3), objects, lambda s, t: {"parameters": (t - s)[:, None].float()}, pairs=2)
    assert (pairs.source != pairs.target).all() and (objects[pairs.source] == objects[pairs.target]).all()
    assert pairs.source.bincount(minlength=10).tolist() == [{0: 2, 1: 1, 2: 0, 7: 2}[o] for o in objects.tolist()]
    assert len({*zip(pairs.source.tolist(), pairs.target.tolist(), strict=True)}) == len(pairs.source)
    with pytest.raises(InputError, match="one view only"):
        observed(torch.randn(3, 2), torch.arange(3), lambda s, t: {})


class Gain:
    """Multiplies samples; undone exactly."""

    def __init__(self, factor):
        self.factor = factor

    def inverse(self):
        return Gain(1 / self.factor)


def gained(g, view):
    return View(view.x * g.factor[:, None], view.index)


def test_an_orbit_runs_the_encoder_in_full_precision_without_gradient_and_leaves_it_as_it_was():
    seen = []

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.drop = nn.Linear(4, 3), nn.Dropout()

        def forward(self, view):
            seen.append((torch.is_autocast_enabled("cpu"), torch.is_grad_enabled(), self.drop.training))
            return self.drop(self.layer(view.x))

    net, view = Net().train(), View(torch.randn(9, 4), torch.arange(9) + 30)
    elements = [Gain(1 + s * torch.ones(9)) for s in (0.0, 1.0)]
    with torch.autocast("cpu", torch.bfloat16):
        pairs = orbit(net, gained, elements, view, lambda g: g.factor.log()[:, None], torch.tensor([0.0, 1.0]))
    assert set(seen) == {(False, False, False)} and net.drop.training and pairs.z.dtype == torch.float32
    assert torch.equal(pairs.z[pairs.source[:9]], pairs.z[pairs.target[:9]]) and pairs.objects.min() == 30
    assert resampling_floor(gained, elements[1], view) < 1e-12
    both = Tuples.joined([pairs, pairs])
    assert torch.equal(both.z[both.target], torch.cat([pairs.z[pairs.target]] * 2))


def test_an_encoder_whose_width_depends_on_the_input_is_refused():
    view = View(torch.randn(9, 4), torch.arange(9))
    with pytest.raises(InputError, match="different widths"):
        orbit(lambda v: v.x[:, : 2 + int(v.x.max() > 50)], gained, [Gain(torch.full((9,), 1e3))], view, lambda g: g.factor[:, None])


def test_bad_input_is_told_all_at_once():
    z = torch.randn(4, 2, dtype=torch.float16)
    z[0] = torch.nan
    reflection = torch.diag(torch.tensor([1.0, 1.0, -1.0])).expand(2, 3, 3)
    with pytest.raises(InputError) as raised:
        Tuples(z, torch.tensor([0, 1, 0, 1]), torch.tensor([0, 1]), torch.tensor([1, 3]), torch.ones(2, 1), torch.tensor([0.0, 2.0]), rotation=reflection)
    told = str(raised.value)
    assert len(raised.value.problems) == 5
    for part in ("not finite", "float16", "different objects", "expected 0 (the identity) to 1", "determinant 1"):
        assert part in told
