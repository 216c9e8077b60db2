"""The loop: what it minimises, how it resumes, when it stops."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from manyviews.contracts import Recipe, Terms, Trainable, View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.train.fit import Diverged, check_roles, fit


class Numbers:
    """Rows of numbers and what they should become."""

    columns: dict[str, np.ndarray] = {}

    def __init__(self) -> None:
        self.x = torch.randn(40, 6, generator=torch.Generator().manual_seed(1))

    def __len__(self) -> int:
        return len(self.x)

    def batches(self, order: Any, threads: int = 0, substitute: bool = False) -> Iterator[View]:
        for rows in order:
            yield View(self.x[rows], torch.from_numpy(rows))


def noisy(samples: View, counter: Counter) -> dict[str, View]:
    return {"v": View(samples.x + 0.1 * counter.normal("noise", samples.index, 6), samples.index)}


class Shrink(Trainable):
    """Learns to map everything to its mean; counts its steps."""

    recipe = Recipe(optimizer="adamw", lr=0.05, weight_decay=0.01)

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(6, 3)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.seen: list[float] = []

    def loss(self, v: View) -> Terms:
        y = self.layer(v.x)
        return {"square": y.square().mean(), "slope": 0.1 * self.layer.weight.square().sum(), "largest": y.detach().abs().max()}

    def after_step(self) -> None:
        self.steps += 1
        self.seen.append(self.progress)


def run(trainable: Trainable, steps: int = 6, **options: Any) -> list[Any]:
    given = {"recipe": trainable.recipe, "batch": 10, "seed": 3, "threads": 0, **options}
    return list(fit(trainable, Numbers(), noisy, steps=steps, **given))


def test_the_loss_is_the_sum_of_the_terms_with_a_gradient_and_the_others_are_shown() -> None:
    step = run(Shrink(), 1)[0]
    assert step.loss == pytest.approx(step.terms["square"] + step.terms["slope"], rel=1e-6)
    assert set(step.terms) == {"square", "slope", "largest"}


def test_progress_runs_from_the_first_step_to_one() -> None:
    trainable = Shrink()
    rows = run(trainable, 4)
    assert trainable.seen == [0.25, 0.5, 0.75, 1.0] and [row.number for row in rows] == [1, 2, 3, 4]
    assert all(row.lr > 0 for row in rows), "a step at rate zero is a step wasted"


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "lars", "lamb"])
def test_a_fit_that_goes_on_from_a_checkpoint_ends_at_the_same_bits(optimizer: str) -> None:
    recipe = Recipe(optimizer=optimizer, lr=0.05, clip=0.5)
    whole = Shrink()
    saved = [copy.deepcopy(step.checkpoint()) for step in fit(whole, Numbers(), noisy, steps=6, batch=10, recipe=recipe, threads=0)]
    for state in (saved[0], saved[3]):
        later = Shrink()
        nn.init.zeros_(later.layer.weight)
        assert len(run(later, 6, recipe=recipe, seed=0, resume=state)) == 6 - state["step"]
        assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), later.state_dict().values(), strict=True))


def test_micro_batches_add_up_to_the_batch() -> None:
    whole, parts = Shrink(), Shrink()
    policy = lambda samples, counter: {"v": samples}  # noqa: E731
    options: dict[str, Any] = {"steps": 1, "batch": 20, "recipe": Recipe(optimizer="sgd", lr=0.1), "threads": 0}
    (one,) = fit(whole, Numbers(), policy, **options)
    (two,) = fit(parts, Numbers(), policy, accumulate=4, **options)
    torch.testing.assert_close(whole.layer.weight, parts.layer.weight)
    assert one.loss == pytest.approx(two.loss) and one.samples == two.samples == 20
    assert parts.steps == 1


def test_the_gradient_is_clipped_to_its_norm() -> None:
    trainable = Shrink()
    before = copy.deepcopy(trainable.state_dict())
    run(trainable, 1, recipe=Recipe(optimizer="sgd", lr=1.0, clip=0.01, warmup=0.0, weight_decay=0.0), lr=1.0, batch=10)
    moved = torch.cat([(trainable.state_dict()[key] - before[key]).flatten() for key in ("layer.weight", "layer.bias")]).norm()
    rate = 0.5  # half a cosine at the middle of the only step
    assert float(moved) == pytest.approx(0.01 * rate, rel=1e-3)


def test_gradients_that_before_step_takes_away_do_not_act() -> None:
    class Held(Shrink):
        def before_step(self) -> None:
            self.layer.bias.grad = None

    trainable = Held()
    before = trainable.layer.bias.detach().clone()
    run(trainable, 3)
    assert torch.equal(trainable.layer.bias, before)


def test_a_loss_that_is_not_finite_stops_before_it_reaches_the_weights() -> None:
    class Breaks(Shrink):
        def loss(self, v: View) -> Terms:
            return {"square": self.layer(v.x).square().mean() * (float("nan") if self.progress >= 0.5 else 1.0)}

    trainable = Breaks()
    with pytest.raises(Diverged, match=r"step 3 is not finite.*square nan.*--lr") as caught:
        run(trainable, 4)
    assert len(caught.value.views["v"]) == 10 and bool(trainable.layer.weight.isfinite().all())


def test_a_wish_to_stop_ends_the_fit_after_the_step() -> None:
    wish = [False]
    rows = []
    for step in fit(Shrink(), Numbers(), noisy, steps=50, batch=10, recipe=Shrink.recipe, threads=0, stop=lambda: wish[0]):
        rows.append(step)
        wish[0] = step.number == 3
    assert [row.stopping for row in rows] == [False, False, False, True]


def test_the_views_of_a_step_can_be_drawn_again() -> None:
    class Keeps(Shrink):
        def loss(self, v: View) -> Terms:
            self.last = v
            return super().loss(v)

    trainable = Keeps()
    for step in fit(trainable, Numbers(), noisy, steps=3, batch=10, recipe=trainable.recipe, threads=0):
        assert torch.equal(step.views()["v"].x, trainable.last.x)


def test_views_that_the_loss_does_not_take_are_named() -> None:
    with pytest.raises(InputError, match="takes the views v, and the policy makes v, w"):
        check_roles(Shrink(), ["v", "w"])


def test_equal_seeds_give_equal_weights_and_other_seeds_others() -> None:
    ends = []
    for seed in (0, 0, 1):
        trainable = Shrink()
        run(trainable, seed=seed)
        ends.append(trainable.layer.weight.detach().clone())
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])


def test_the_same_rows_are_seen_however_many_threads_read() -> None:
    first, second = Shrink(), Shrink()
    assert [s.loss for s in run(first, threads=0)] == [s.loss for s in run(second, threads=3)]
