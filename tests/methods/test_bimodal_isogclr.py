"""Bimodal iSogCLR: against a slow loop written from the paper's algorithm, its limits, two processes, and from its name to trained towers."""

import math

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from gloo_pair import Pair
from slow_temperatures import Slow, directions
from small_encoder import SmallEncoder, part, total, two_views

from manyviews.app.building import build_method
from manyviews.backbones.building import build_encoder
from manyviews.backbones.pairs import TwoTowers
from manyviews.backbones.text import TextEncoder
from manyviews.contracts import View
from manyviews.data.bpe import BPE
from manyviews.data.builtin_pairs import builtin_pairs
from manyviews.errors import InputError
from manyviews.methods.align.bimodal_isogclr import BimodalISogCLR
from manyviews.nn.distributed import synchronise_batch_norm, world
from manyviews.nn.individual_temperatures import UNSEEN
from manyviews.train.fit import fit
from manyviews.views.finding import find_policy

PAPER = {"rho": 6.0, "temperature": 0.01, "lowest": 0.005, "highest": 1.0, "gamma": 0.8, "beta": 0.9, "step": 0.03, "steepest": 5.0}
TEXTS = ["a", "red", "a cat", "the dog", "x", "yz", "hello", "a longer one", "q", "two words"]


def make(samples: int = 40, **settings: float) -> BimodalISogCLR:
    torch.manual_seed(0)
    return BimodalISogCLR(TwoTowers(SmallEncoder(), TextEncoder(BPE(), 16, 2, 2, 20, causal=True), 5), samples, **settings).eval()


def views(batch: int = 8, seed: int = 0, start: int = 0) -> dict[str, View]:
    image, _ = two_views(batch, seed, start)
    ids = make().encoder.text.read(TEXTS).x
    return {"image": image, "text": View(ids[image.index % len(TEXTS)], image.index)}


def lengthless(method: BimodalISogCLR, given: dict[str, View]) -> tuple[torch.Tensor, torch.Tensor]:
    return F.normalize(method.encoder.embed_image(given["image"]), dim=1), F.normalize(method.encoder.embed_text(given["text"]), dim=1)


def test_pairs_follow_the_algorithm_on_both_sides_for_several_visits() -> None:
    method, images, texts = make(20), Slow(20, **PAPER), Slow(20, **PAPER)
    for step in range(4):
        given = views(6, seed=step, start=(0, 5, 2, 3)[step])
        terms = method.loss(**given)
        zi, zt = directions(method.encoder.embed_image(given["image"])), directions(method.encoder.embed_text(given["text"]))
        expected = {"image_to_text": torch.zeros((), dtype=torch.double), "text_to_image": torch.zeros((), dtype=torch.double)}
        for k, i in enumerate(given["image"].index.tolist()):
            others = [j for j in range(6) if j != k]
            expected["image_to_text"] = expected["image_to_text"] + images.visit(i, [[zi[k] @ zt[j] - zi[k] @ zt[k] for j in others]]) / 6
            expected["text_to_image"] = expected["text_to_image"] + texts.visit(i, [[zi[j] @ zt[k] - zi[k] @ zt[k] for j in others]]) / 6
        for side in expected:
            assert math.isclose(terms[side].item(), expected[side].item(), rel_tol=1e-3, abs_tol=1e-5)
            for parameter in (method.encoder.image_map.weight, method.encoder.text_map.weight):
                fast, slow = (torch.autograd.grad(loss, parameter, retain_graph=True)[0] for loss in (terms[side], expected[side]))
                torch.testing.assert_close(fast, slow, rtol=1e-2, atol=1e-5)
        method.after_step()
        images.agrees(method.image_state)
        texts.agrees(method.text_state)
    assert not torch.allclose(method.image_state.temperature, method.text_state.temperature)


def test_without_a_memory_the_gradient_is_that_of_the_papers_loss_at_the_temperatures_as_they_are() -> None:
    method, given = make(gamma=1.0, temperature=0.2), views()
    zi, zt = lengthless(method, given)
    similarity, other = zi @ zt.T, ~torch.eye(8, dtype=torch.bool)
    expected = torch.zeros(())
    for rows in (similarity, similarity.T):
        for i in range(8):
            expected = expected + 0.2 * ((rows[i][other[i]] - rows[i, i]) / 0.2).exp().mean().log() / 8
    weights = [method.encoder.image_map.weight, method.encoder.text_map.weight]
    for fast, slow in zip(torch.autograd.grad(total(method, *given.values()), weights), torch.autograd.grad(expected, weights), strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-3, atol=1e-6)


def test_with_a_step_of_zero_all_temperatures_stay_as_one() -> None:
    method = make(step=0.0, temperature=0.07)
    for seed in range(3):
        method.loss(**views(seed=seed))
        method.after_step()
    assert method.image_state.temperature.unique().tolist() == method.text_state.temperature.unique().tolist() == pytest.approx([0.07])
    assert (method.image_state.log_mean > UNSEEN).sum() == 8


def test_only_the_pairs_of_a_step_change_their_states_and_not_before_it_is_done() -> None:
    method = make()
    before = {key: value.clone() for key, value in method.state_dict().items() if "state" in key}
    method.loss(**views(start=10))
    assert all(torch.equal(method.state_dict()[key], value) for key, value in before.items())
    method.after_step()
    for key, value in before.items():
        assert (method.state_dict()[key] != value).nonzero().flatten().tolist() == list(range(10, 18)), key


def test_a_pair_twice_in_a_batch_is_no_negative_of_itself() -> None:
    method, given = make(), views(4)
    for view in given.values():
        view.index[1] = view.index[0]
    terms = method.loss(**given)
    method.after_step()
    zi, zt = lengthless(method, given)
    h = (zi @ zt.T - (zi * zt).sum(1, keepdim=True)) / 0.01
    expected = torch.logsumexp(h[:2, 2:].flatten(), 0) - math.log(4)
    assert math.isclose(float(method.image_state.log_mean[0]), float(expected), rel_tol=1e-4)
    assert terms["image_to_text"].isfinite() and (method.text_state.log_mean > UNSEEN).nonzero().flatten().tolist() == [0, 2, 3]


def test_the_order_of_the_pairs_and_the_length_of_embeddings_change_nothing() -> None:
    method, given = make(), views()
    before = {name: float(term) for name, term in method.loss(**given).items()}
    order = torch.randperm(8)
    with torch.no_grad():
        method.encoder.image_map.weight.mul_(7)
    after = method.loss(**{role: View(view.x[order], view.index[order]) for role, view in given.items()})
    assert {name: float(term) for name, term in after.items()} == pytest.approx(before, rel=1e-3)


def test_both_towers_and_both_maps_are_trained_and_temperatures_are_only_shown() -> None:
    method = make()
    total(method, *views().values()).backward()
    assert all(p.grad is not None for p in method.parameters())
    moved = {name.split(".")[1] for name, p in method.named_parameters() if p.grad.abs().sum() > 0}
    assert moved == {"image", "text", "image_map", "text_map"}
    terms = method.loss(**views())
    assert not terms["image_temperature"].requires_grad and not terms["text_temperature"].requires_grad


def test_a_batch_of_one_pair_has_nothing_to_tell_it_from_and_breaks_nothing() -> None:
    method = make()
    assert float(total(method, *views(1).values())) == 0.0
    method.after_step()
    assert bool(method.image_state.temperature.isfinite().all())


def test_an_encoder_without_text_and_impossible_settings_are_refused() -> None:
    with pytest.raises(InputError, match="no tower for text; name one for each, e.g. --encoder resnet_micro"):
        BimodalISogCLR(SmallEncoder(), 10)
    with pytest.raises(InputError, match="temperature 0.001 between lowest"):
        make(temperature=0.001)


def test_by_its_name_it_is_built_on_pairs_and_trained_by_the_one_loop() -> None:
    data = builtin_pairs().select(np.arange(20))
    encoder = build_encoder("two_towers_nano", 3, 16, seed=0, form=data.form)
    method, recipe = build_method("bimodal_isogclr", encoder, data)
    assert recipe.views == "clip" and method.exported is encoder
    before = encoder.text_map.weight.clone()
    for step in fit(method, data, find_policy(recipe.views, 16, "pairs"), steps=2, batch=8, recipe=recipe, threads=0):
        assert all(math.isfinite(value) for value in [step.loss, *step.terms.values()])
    for state in (method.image_state, method.text_state):
        seen = state.log_mean > UNSEEN
        assert len(seen) == 20 and seen.sum() == 16
        assert bool((state.temperature[seen] != state.temperature[~seen][0]).all())
    assert not torch.equal(method.exported.text_map.weight, before)
    assert method.exported.embed_words(["a red circle"]).shape == (1, encoder.text_map.out_features)


EACH, STEPS = 4, 3


def train(rank: int, size: int) -> dict[str, np.ndarray]:
    """Three steps of gradient descent on this rank's rows: the last gradients, and the state."""
    method = make(temperature=0.1).train()
    if world() > 1:
        synchronise_batch_norm(method)
    rows = slice(rank * size, (rank + 1) * size)
    for step in range(STEPS):
        given = views(2 * EACH, step, 3 * step)
        for view in given.values():
            view.index[-1] = view.index[0]  # a pair that two ranks see in one step
        method.zero_grad()
        total(method, *(part(view, rows) for view in given.values())).backward()
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
