"""Invariance-constrained learning: its chain against a loop, its dual variable against the formula, its transformations against what they should do."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from manyviews.contracts import Encoder, View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.methods.equivary.invariance_constrained import PICTURES, SPACE, InvarianceConstrained, accept


class Flat(Encoder):
    def __init__(self, dim: int = 3 * 8 * 8):
        super().__init__()
        self.dim = dim
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, view: View) -> Tensor:
        return view.x.flatten(1) * self.scale


def pictures(count: int = 12, side: int = 8) -> View:
    x = torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))
    return View(x, torch.arange(count), None, {"label": torch.arange(count) % 3})


def made(**settings: Any) -> InvarianceConstrained:
    method = InvarianceConstrained(Flat(), 3, **settings)
    method.counter = Counter(0, 0)
    return method


def test_the_chain_is_the_loop_of_metropolis_and_hastings() -> None:
    method, v = made(chain=4), pictures()
    moved, which, accepted = method.sampled(v, SPACE)
    for i in range(len(v)):
        states = [(x[i], int(k[i])) for x, k in (method.propose(v, SPACE, step) for step in range(4))]
        errors = [float(method.errors(View(x[None], v.index[i : i + 1], None, {"label": v.given["label"][i : i + 1]}))) for x, _ in states]
        now, moves = 0, 0
        for step in range(1, 4):
            u = float(method.counter.uniform(f"chain/{step}", v.index)[i])
            if u < min(1, errors[step] / errors[now]):
                now, moves = step, moves + 1
        torch.testing.assert_close(moved.x[i], states[now][0])
        assert int(which[i]) == states[now][1] and math.isclose(float(accepted[i]), moves / 3, abs_tol=1e-6)


def test_a_long_chain_visits_states_in_proportion_to_their_losses() -> None:
    losses, generator = torch.tensor([0.2, 1.0, 3.0]), torch.Generator().manual_seed(0)
    state = torch.zeros(4000, dtype=torch.long)
    for _ in range(40):
        proposal = torch.randint(0, 3, (4000,), generator=generator)
        state = torch.where(accept(losses[proposal], losses[state], torch.rand(4000, generator=generator)), proposal, state)
    share = torch.bincount(state, minlength=3) / 4000
    torch.testing.assert_close(share, losses / losses.sum(), rtol=0, atol=0.03)


def test_the_loss_is_that_of_clean_samples_and_the_dual_variable_times_that_of_transformed_ones() -> None:
    method, v = made(dual=0.7), pictures()
    terms = method.loss(v)
    moved, _, _ = method.sampled(v, SPACE)
    torch.testing.assert_close(terms["loss"], method.errors(v).mean())
    torch.testing.assert_close(terms["constraint"], 0.7 * method.errors(moved).mean())
    assert not any(terms[name].requires_grad for name in ("dual", "transformed", "accepted"))


@pytest.mark.parametrize("margin", [0.0, 100.0])
def test_dual_ascent_adds_the_excess_and_never_goes_below_zero(margin: float) -> None:
    method, v = made(dual=0.7, dual_rate=0.1, margin=margin), pictures()
    terms = method.loss(v)
    method.after_step()
    expected = max(0.0, 0.7 + 0.1 * (float(terms["transformed"]) - margin))
    assert math.isclose(float(method.dual), expected, rel_tol=1e-5) and method.seen == []


def test_micro_batches_move_the_dual_variable_as_the_whole_batch_does() -> None:
    v = pictures()
    torch.manual_seed(0)
    whole = made(dual_rate=0.1, margin=0.3, chain=1)
    torch.manual_seed(0)
    parts = made(dual_rate=0.1, margin=0.3, chain=1)
    whole.loss(v)
    for rows in (slice(0, 4), slice(4, 12)):
        parts.loss(View(v.x[rows], v.index[rows], None, {"label": v.given["label"][rows]}))
    whole.after_step()
    parts.after_step()
    torch.testing.assert_close(whole.dual, parts.dual)


def test_each_transformation_has_its_own_dual_variable_and_keeps_to_it_along_the_chain() -> None:
    method, v = made(each=True, transformations="flip_x,brightness,c4", dual_rate=1.0, margin=0.0, dual=0.5, chain=3), pictures()
    terms = method.loss(v)
    moved, which, _ = method.sampled(v, ["flip_x", "brightness", "c4"])
    assert all(torch.equal(method.propose(v, ["flip_x", "brightness", "c4"], step)[1], which) for step in range(3))
    errors = method.errors(moved)
    means = torch.stack([errors[which == k].mean() if bool((which == k).any()) else errors.new_zeros(()) for k in range(3)])
    torch.testing.assert_close(terms["constraint"], 0.5 * means.sum())
    method.after_step()
    torch.testing.assert_close(method.dual, 0.5 + means.detach())
    assert {"dual_flip_x", "dual_brightness", "dual_c4"} <= terms.keys()


def test_one_step_is_a_uniform_draw() -> None:
    method, v = made(chain=1), pictures(600)
    moved, which, accepted = method.sampled(v, SPACE)
    torch.testing.assert_close(moved.x, method.propose(v, SPACE, 0)[0])
    assert float(accepted.max()) == 0 and int(torch.bincount(which, minlength=14).min()) > 600 / 14 / 2


def test_samples_of_unknown_class_take_no_part() -> None:
    v = pictures()
    label = torch.where(v.index < 5, v.given["label"], -1)
    method = made(dual=0.3)
    known, all_of_them = method.loss(pictures(5)), method.loss(View(v.x, v.index, None, {"label": label}))
    torch.testing.assert_close(known["loss"], all_of_them["loss"])
    torch.testing.assert_close(known["constraint"], all_of_them["constraint"])


def test_transformations_do_not_depend_on_the_batch() -> None:
    method, v = made(), pictures()
    whole, _ = method.propose(v, SPACE, 0)
    part, _ = method.propose(View(v.x[3:5], v.index[3:5], None, {}), SPACE, 0)
    torch.testing.assert_close(part, whole[3:5])


@pytest.mark.parametrize("name", SPACE)
def test_operations_stay_in_their_range_and_do_little_at_level_zero(name: str) -> None:
    x = (pictures(4).x * 255).round() / 255
    out = PICTURES[name](x, torch.tensor([0.0, 0.5, -0.5, 1.0]))
    assert out.shape == x.shape and float(out.min()) >= -1e-6 and float(out.max()) <= 1 + 1e-6
    if name not in ("equalize", "auto_contrast"):
        torch.testing.assert_close(out[0], x[0], rtol=0, atol=2e-6)
    if name not in ("identity", "auto_contrast"):
        assert float((out[3] - x[3]).abs().max()) > 0.05


def test_operations_are_what_their_names_say() -> None:
    x = pictures(2).x
    half = torch.full((2,), 0.5)
    right = PICTURES["translate_x"](x, torch.full((2,), 0.25))  # a quarter of the side
    torch.testing.assert_close(right[..., 2:], x[..., :-2])
    assert float(right[..., :2].abs().max()) == 0
    torch.testing.assert_close(PICTURES["rotate"](x, torch.full((2,), 90 / 135)), x.rot90(-1, (2, 3)), rtol=0, atol=1e-5)
    torch.testing.assert_close(PICTURES["brightness"](x, half), (x * 1.495).clamp(max=1))
    assert float(PICTURES["saturation"](x, -torch.ones(2)).std(1).max()) < 0.01
    stretched = PICTURES["auto_contrast"](0.2 + 0.5 * x, half)
    torch.testing.assert_close(stretched.amax((2, 3)), torch.ones(2, 3))
    torch.testing.assert_close(PICTURES["equalize"](x, half).flatten(2).sort(2)[0][0, 0], torch.linspace(0, 1, 64), rtol=0, atol=0.06)
    assert len(PICTURES["posterize"](x, torch.ones(2)).unique()) == 4


def test_clouds_and_volumes_are_transformed_by_groups() -> None:
    method = made(transformations="so3")
    cloud = View(torch.randn(4, 10, 3), torch.arange(4))
    out, _ = method.propose(cloud, ["so3"], 0)
    torch.testing.assert_close(out.norm(dim=2), cloud.x.norm(dim=2))
    assert float((out - cloud.x).abs().max()) > 0.1
    volume = View(torch.rand(2, 1, 6, 6, 6), torch.arange(2))
    assert method.propose(volume, ["so3"], 0)[0].shape == volume.x.shape
    wide = InvarianceConstrained(Flat(30), 3, each=True)
    wide.counter = Counter(0, 0)
    assert wide.loss(View(cloud.x, cloud.index, None, {"label": torch.zeros(4)}))["loss"].isfinite()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"margin": -1.0, "chain": 0}, "margin=-1.0.*\n?.*chain=0"),
        ({"transformations": "rotat"}, "no transformation 'rotat'; near: rotate"),
        ({"transformations": "wide,rotate"}, "wide stands alone"),
        ({"transformations": "so2,so2"}, "so2 is there 2 times"),
        ({"transformations": " "}, "empty"),
    ],
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as error:
        made(**wrong)
    assert re.search(said, str(error.value), re.DOTALL)


def test_samples_that_nothing_acts_on_and_samples_without_labels_are_refused() -> None:
    with pytest.raises(InputError, match="none of them"):
        made().loss(View(torch.zeros(1, 2), torch.arange(1), None, {"label": torch.zeros(1)}))
    with pytest.raises(InputError, match="rotate change pictures"):
        made(transformations="rotate").loss(View(torch.zeros(1, 2, 3), torch.arange(1), None, {"label": torch.zeros(1)}))
    with pytest.raises(InputError, match="needs a label"):
        made().loss(View(torch.zeros(1, 3, 8, 8), torch.arange(1)))
