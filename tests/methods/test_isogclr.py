import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from gloo_pair import Pair
from slow_temperatures import Slow, directions
from small_encoder import SmallEncoder, part, total, two_views, without_gradient

from manyviews.methods.contrast.isogclr import ISogCLR
from manyviews.nn.distributed import synchronise_batch_norm, world
from manyviews.nn.individual_temperatures import UNSEEN

UNIMODAL = {"rho": 0.4, "temperature": 0.1, "lowest": 0.05, "highest": 1.0, "gamma": 0.8, "beta": 0.5, "step": 0.03, "steepest": 3.0}


def unimodal(samples: int = 40, **settings: float) -> ISogCLR:
    return ISogCLR(SmallEncoder(), samples, hidden=10, out=5, **settings)


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


EACH, STEPS = 4, 3


def train(rank: int, size: int) -> dict[str, np.ndarray]:
    """Three steps of gradient descent on this rank's rows: the last gradients, and the state."""
    torch.manual_seed(1)
    method = unimodal().train()
    if world() > 1:
        synchronise_batch_norm(method)
    rows = slice(rank * size, (rank + 1) * size)
    for step in range(STEPS):
        views = two_views(2 * EACH, step, 3 * step)
        for view in views:
            view.index[-1] = view.index[0]  # a sample that two ranks see in one step
        method.zero_grad()
        total(method, *(part(view, rows) for view in views)).backward()
        for p in method.parameters():
            if world() > 1:
                dist.all_reduce(p.grad)
                p.grad /= world()
            p.data.sub_(0.1 * p.grad)
        method.after_step()
    gradients = {f"gradient of {key}": p.grad.numpy() for key, p in method.named_parameters()}
    return {**gradients, **{key: value.numpy() for key, value in method.state_dict().items()}}


def work(fabric: object) -> dict[str, np.ndarray]:
    return train(fabric.global_rank, EACH)


def test_two_processes_learn_what_one_does_and_hold_equal_states(pair: Pair) -> None:
    whole, ranks = train(0, 2 * EACH), pair(work)
    assert any("log_mean" in key for key in whole)
    for key, expected in whole.items():
        np.testing.assert_allclose(ranks[0][key], expected, atol=2e-5, rtol=1e-3, err_msg=key)
        if "state" in key:
            np.testing.assert_array_equal(ranks[0][key], ranks[1][key], err_msg=key)
