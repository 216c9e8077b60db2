import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from gloo_pair import Pair
from small_encoder import SmallEncoder, part, total, two_views, without_gradient
from torch import nn

from manyviews.contracts import Encoder, View
from manyviews.errors import InputError
from manyviews.methods.contrast.isogclr import UNSEEN, BimodalISogCLR, Individual, ISogCLR
from manyviews.nn.distributed import synchronise_batch_norm, world

UNIMODAL = {"rho": 0.4, "temperature": 0.1, "lowest": 0.05, "highest": 1.0, "gamma": 0.8, "beta": 0.5, "step": 0.03, "steepest": 3.0}
BIMODAL = {"rho": 6.0, "temperature": 0.01, "lowest": 0.005, "highest": 1.0, "gamma": 0.8, "beta": 0.9, "step": 0.03, "steepest": 5.0}


class Words(Encoder):
    """A text encoder: the mean of word embeddings."""

    def __init__(self, dim: int = 9):
        super().__init__()
        self.dim = dim
        self.words = nn.Embedding(20, dim)

    def forward(self, view: View) -> torch.Tensor:
        return self.words(view.x).mean(1)


def pairs(batch: int = 8, seed: int = 0, start: int = 0) -> dict[str, View]:
    image, _ = two_views(batch, seed, start)
    words = torch.randint(0, 20, (batch, 5), generator=torch.Generator().manual_seed(seed))
    return {"image": image, "text": View(words, image.index)}


def unimodal(samples: int = 40, **settings: float) -> ISogCLR:
    return ISogCLR(SmallEncoder(), samples, hidden=10, out=5, **settings)


def bimodal(samples: int = 40, **settings: float) -> BimodalISogCLR:
    return BimodalISogCLR(SmallEncoder(), Words(), samples, out=5, **settings)


def state(samples: int = 30, **settings: float) -> Individual:
    return Individual(samples, **{**UNIMODAL, **settings})


class Slow:
    """The state of one side as the paper's algorithm keeps it, one number after the other."""

    def __init__(self, samples: int, rho: float, temperature: float, lowest: float, highest: float, gamma: float, beta: float, step: float, steepest: float):
        self.mean, self.momentum, self.temperature = [0.0] * samples, [0.0] * samples, [temperature] * samples
        self.rho, self.bounds, self.gamma, self.beta, self.step, self.steepest = rho, (lowest, highest), gamma, beta, step, steepest

    def visit(self, i: int, anchors: list[list[torch.Tensor]]) -> torch.Tensor:
        """The sum over a sample's anchors of their weighted mean of h; each anchor comes with its h to all negatives."""
        loss, means, slopes = torch.zeros((), dtype=torch.double), [], []
        for h in anchors:
            tau = self.temperature[i]
            mean = sum(math.exp(float(x) / tau) for x in h) / len(h)
            mean = mean if self.mean[i] == 0 else (1 - self.gamma) * self.mean[i] + self.gamma * mean
            weights = [math.exp(float(x) / tau) / mean / len(h) for x in h]
            loss = loss + sum(weight * x for weight, x in zip(weights, h, strict=True))
            means.append(mean)
            slopes.append(math.log(mean) + self.rho - sum(weight * float(x) / tau for weight, x in zip(weights, h, strict=True)))
        self.mean[i] = sum(means) / len(means)
        slope = min(max(sum(slopes) / len(slopes), -self.steepest), self.steepest)
        self.momentum[i] = (1 - self.beta) * self.momentum[i] + self.beta * slope
        self.temperature[i] = min(max(self.temperature[i] - self.step * self.momentum[i], self.bounds[0]), self.bounds[1])
        return loss

    def agrees(self, fast: Individual) -> None:
        torch.testing.assert_close(fast.temperature, torch.tensor(self.temperature), rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(fast.momentum, torch.tensor(self.momentum), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(fast.log_mean, torch.tensor(self.mean, dtype=torch.double).log().float().clamp(min=UNSEEN), rtol=1e-3, atol=1e-3)


def directions(z: torch.Tensor) -> list[torch.Tensor]:
    return [row / row.norm() for row in z.double()]


def test_two_views_follow_the_algorithm_for_several_visits() -> None:
    method, slow = unimodal(20).eval(), Slow(20, **UNIMODAL)
    for step in range(4):
        v, w = two_views(6, seed=step, start=(0, 5, 2, 3)[step])
        fast = total(method, v, w)
        z = [directions(method.projector(method.encoder(view))) for view in (v, w)]
        expected = torch.zeros((), dtype=torch.double)
        for k, i in enumerate(v.index.tolist()):
            negatives = [row for side in z for j, row in enumerate(side) if j != k]
            expected = expected + slow.visit(i, [[side[k] @ row for row in negatives] for side in z]) - 2 * z[0][k] @ z[1][k]
        expected = expected / 6
        assert math.isclose(fast.item(), expected.item(), rel_tol=1e-4, abs_tol=1e-6)
        weight = method.projector[0].weight
        torch.testing.assert_close(torch.autograd.grad(fast, weight)[0], torch.autograd.grad(expected, weight)[0], rtol=1e-3, atol=1e-6)
        method.after_step()
        slow.agrees(method.state)


def test_pairs_follow_the_algorithm_on_both_sides() -> None:
    method, images, texts = bimodal(20).eval(), Slow(20, **BIMODAL), Slow(20, **BIMODAL)
    for step in range(4):
        views = pairs(6, seed=step, start=(0, 5, 2, 3)[step])
        terms = method.loss(**views)
        zi, zt = directions(method.projector(method.encoder(views["image"]))), directions(method.text_projector(method.text_encoder(views["text"])))
        expected = {"image": torch.zeros((), dtype=torch.double), "text": torch.zeros((), dtype=torch.double)}
        for k, i in enumerate(views["image"].index.tolist()):
            others = [j for j in range(6) if j != k]
            expected["image"] = expected["image"] + images.visit(i, [[zi[k] @ zt[j] - zi[k] @ zt[k] for j in others]]) / 6
            expected["text"] = expected["text"] + texts.visit(i, [[zt[k] @ zi[j] - zi[k] @ zt[k] for j in others]]) / 6
        for side, parameter in (("image", method.text_projector.weight), ("text", method.projector.weight)):
            assert math.isclose(terms[side].item(), expected[side].item(), rel_tol=1e-3, abs_tol=1e-5)
            fast, slow = (torch.autograd.grad(loss, parameter, retain_graph=True)[0] for loss in (terms[side], expected[side]))
            torch.testing.assert_close(fast, slow, rtol=1e-2, atol=1e-5)
        method.after_step()
        images.agrees(method.image_state)
        texts.agrees(method.text_state)


def test_without_a_memory_the_gradients_are_those_of_the_robust_loss() -> None:
    side = state(gamma=1.0)
    h, negative, index = torch.randn(5, 8, requires_grad=True), torch.rand(5, 8) < 0.7, torch.arange(5)
    tau = side.temperature[:5].clone().requires_grad_()
    inside = (h / tau[:, None]).masked_fill(~negative, -torch.inf).logsumexp(1) - negative.sum(1).log()
    by_h, by_tau = torch.autograd.grad((tau * (inside + side.rho)).sum(), [h, tau])
    torch.testing.assert_close(torch.autograd.grad(side(h, negative, index).sum(), h)[0], by_h)
    torch.testing.assert_close(side.fresh[0][2], by_tau, rtol=1e-4, atol=1e-4)


def test_a_temperature_rests_where_the_weights_are_rho_away_from_uniform() -> None:
    side, h = state(1, gamma=1.0, rho=0.3), torch.linspace(-0.5, 0.5, 12)[None].requires_grad_()
    for _ in range(150):
        side(h, torch.ones(1, 12, dtype=torch.bool), torch.tensor([0]))
        side.update()
    (weights,) = torch.autograd.grad(side(h, torch.ones(1, 12, dtype=torch.bool), torch.tensor([0])).sum(), h)
    assert 0.06 < float(side.temperature) < 0.9
    assert math.isclose(float((weights * (12 * weights).log()).sum()), 0.3, rel_tol=1e-3)


def test_larger_rho_means_lower_temperatures() -> None:
    h = torch.linspace(-0.5, 0.5, 12)[None]
    rest = []
    for rho in (0.1, 0.2, 0.5):
        side = state(1, rho=rho)
        for _ in range(60):
            side(h, torch.ones(1, 12, dtype=torch.bool), torch.tensor([0]))
            side.update()
        rest.append(float(side.temperature))
    assert rest[0] > rest[1] > rest[2]


def test_extreme_temperatures_weigh_all_negatives_alike_or_only_the_hardest() -> None:
    h, everything = torch.randn(4, 7), torch.ones(4, 7, dtype=torch.bool)
    hot = state(temperature=1e6, highest=1e6)(h, everything, torch.arange(4))
    cold = state(temperature=1e-4, lowest=1e-4)(h, everything, torch.arange(4))
    torch.testing.assert_close(hot, h.mean(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(cold, h.max(1).values)
    assert bool(cold.isfinite().all())


def test_temperatures_stay_between_their_bounds() -> None:
    for rho, bound in ((50.0, 0.05), (0.0, 1.0)):
        side, h = state(4, rho=rho, gamma=1.0, step=1.0), torch.randn(4, 6)
        for _ in range(10):
            side(h, torch.ones(4, 6, dtype=torch.bool), torch.arange(4))
            side.update()
        assert side.temperature.tolist() == pytest.approx([bound] * 4)


def test_the_loss_alone_changes_no_state_and_a_step_changes_that_of_its_samples() -> None:
    method, views = unimodal(), two_views(start=10)
    before = {key: value.clone() for key, value in method.state.state_dict().items()}
    method.loss(*views)
    assert all(torch.equal(value, before[key]) for key, value in method.state.state_dict().items())
    method.after_step()
    for key, value in method.state.state_dict().items():
        assert (value != before[key]).nonzero().flatten().tolist() == list(range(10, 18)), key


def test_all_micro_batches_of_an_accumulated_step_reach_the_state() -> None:
    method = unimodal()
    for start in (0, 20):
        method.loss(*two_views(4, start=start))
    method.after_step()
    assert (method.state.log_mean > UNSEEN).nonzero().flatten().tolist() == [0, 1, 2, 3, 20, 21, 22, 23]


def test_a_sample_twice_in_a_batch_is_no_negative_of_itself_and_has_one_state() -> None:
    method, (v, w) = unimodal().eval(), two_views(6)
    v.index[5] = w.index[5] = 0
    value = total(method, v, w)
    zv, zw = (F.normalize(method.projector(method.encoder(view)), dim=1) for view in (v, w))
    z, owner = torch.cat([zv, zw]), v.index.repeat(2)
    cosines = [torch.stack([a @ b for b, j in zip(z, owner, strict=True) if j != i]) for a, i in zip(z, owner, strict=True)]
    expected = sum(float((c / 0.1).softmax(0) @ c) for c in cosines) / 6 - 2 * float((zv * zw).sum(1).mean())
    assert math.isclose(float(value.detach()), expected, rel_tol=1e-4)
    method.after_step()
    means = [(c / 0.1).exp().mean() for c in cosines]
    assert math.isclose(float(method.state.log_mean[0]), math.log(sum(float(means[k]) for k in (0, 5, 6, 11)) / 4), rel_tol=1e-4)
    assert math.isclose(float(method.state.log_mean[3]), math.log(sum(float(means[k]) for k in (3, 9)) / 2), rel_tol=1e-4)


def test_a_text_of_the_same_image_is_no_negative() -> None:
    views = pairs(4)
    views["image"] = View(views["image"].x, torch.tensor([7, 7, 8, 9]))
    method = bimodal().eval()
    terms = method.loss(**views)
    method.after_step()
    zi = F.normalize(method.projector(method.encoder(views["image"])), dim=1)
    zt = F.normalize(method.text_projector(method.text_encoder(views["text"])), dim=1)
    h = (zi @ zt.T - (zi * zt).sum(1, keepdim=True)) / 0.01
    expected = torch.logsumexp(h[:2, 2:].flatten(), 0) - math.log(4)
    assert math.isclose(float(method.image_state.log_mean[7]), float(expected), rel_tol=1e-4)
    assert terms["image"].isfinite() and (method.text_state.log_mean > UNSEEN).nonzero().flatten().tolist() == [0, 1, 2, 3]


def test_the_sides_of_a_pair_have_states_of_their_own_and_as_many_as_there_are() -> None:
    method = BimodalISogCLR(SmallEncoder(), Words(), samples=10, texts=50, out=5)
    assert (len(method.image_state.temperature), len(method.text_state.temperature)) == (10, 50)
    views = pairs(6)
    views["text"] = View(views["text"].x, torch.arange(40, 46))
    method.loss(**views)
    method.after_step()
    assert (method.image_state.log_mean > UNSEEN).sum() == (method.text_state.log_mean > UNSEEN).sum() == 6
    assert not torch.allclose(method.image_state.log_mean[:6], method.text_state.log_mean[40:46])


def test_a_batch_of_one_sample_pulls_its_views_together_and_breaks_nothing() -> None:
    method, (v, w) = unimodal().eval(), two_views(1)
    zv, zw = (F.normalize(method.projector(method.encoder(view)), dim=1) for view in (v, w))
    value = total(method, v, w)
    torch.testing.assert_close(value, -2 * (zv * zw).sum())
    value.backward()
    method.after_step()
    assert all(p.grad.isfinite().all() for p in method.parameters()) and method.state.temperature.isfinite().all()
    method.loss(*two_views(4))
    method.after_step()
    assert bool((method.state.log_mean[:4] > UNSEEN).all())


def test_everything_is_trained() -> None:
    assert without_gradient(unimodal(), *two_views()) == []
    method = bimodal()
    terms = method.loss(**pairs())
    (terms["image"] + terms["text"]).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in method.parameters())
    assert not terms["image_temperature"].requires_grad


def test_a_checkpoint_continues_to_the_same_losses() -> None:
    method, views = unimodal(), two_views()
    for seed in range(2):
        method.loss(*two_views(seed=seed))
        method.after_step()
    clone = unimodal()
    clone.load_state_dict(method.state_dict())
    assert torch.equal(total(clone, *views), total(method, *views))


def test_mixed_precision_changes_little() -> None:
    method, views = unimodal().eval(), two_views()
    exact = total(method, *views)
    with torch.autocast("cpu", torch.bfloat16):
        rough = total(method, *views)
    assert rough.dtype == torch.float32 and float(rough.detach()) == pytest.approx(float(exact.detach()), abs=0.05)


@pytest.mark.parametrize("wrong", [{"temperature": 0.01}, {"lowest": 0.0}, {"highest": 0.05}, {"gamma": 0.0}, {"beta": 1.5}, {"rho": -1.0}, {"step": -0.1}])
def test_settings_without_meaning_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        unimodal(**wrong)


EACH, STEPS = 4, 3


def train(name: str, rank: int, size: int) -> dict[str, np.ndarray]:
    """Three steps of gradient descent on this rank's rows: the last gradients, and the state."""
    torch.manual_seed(1)
    method = (unimodal() if name == "unimodal" else bimodal(temperature=0.1)).train()
    if world() > 1:
        synchronise_batch_norm(method)
    rows = slice(rank * size, (rank + 1) * size)
    for step in range(STEPS):
        views = dict(zip("vw", two_views(2 * EACH, step, 3 * step), strict=True)) if name == "unimodal" else pairs(2 * EACH, step, 3 * step)
        for view in views.values():
            view.index[-1] = view.index[0]  # a sample that two ranks see in one step
        terms = method.loss(**{role: part(view, rows) for role, view in views.items()})
        method.zero_grad()
        torch.stack([term for term in terms.values() if term.requires_grad]).sum().backward()
        for p in method.parameters():
            if world() > 1:
                dist.all_reduce(p.grad)
                p.grad /= world()
            p.data.sub_(0.1 * p.grad)
        method.after_step()
    gradients = {f"gradient of {key}": p.grad.numpy() for key, p in method.named_parameters()}
    return {**gradients, **{key: value.numpy() for key, value in method.state_dict().items()}}


def work(fabric: object, name: str) -> dict[str, np.ndarray]:
    return train(name, fabric.global_rank, EACH)


@pytest.mark.parametrize("name", ["unimodal", "bimodal"])
def test_two_processes_learn_what_one_does_and_hold_equal_states(name: str, pair: Pair) -> None:
    whole, ranks = train(name, 0, 2 * EACH), pair(work, name)
    assert any("log_mean" in key for key in whole)
    for key, expected in whole.items():
        np.testing.assert_allclose(ranks[0][key], expected, atol=2e-5, rtol=1e-3, err_msg=key)
        if "state" in key:
            np.testing.assert_array_equal(ranks[0][key], ranks[1][key], err_msg=key)
