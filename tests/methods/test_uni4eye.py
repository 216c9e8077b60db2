import dataclasses

import numpy as np
import pytest
import torch

from manyviews.app.building import build_method
from manyviews.backbones.building import build_encoder
from manyviews.backbones.uni4eye import FLAT, UnifiedPatches
from manyviews.contracts import Encoder, View
from manyviews.counters import Counter
from manyviews.data.arrays import Array
from manyviews.data.dataset import Data
from manyviews.errors import InputError
from manyviews.methods.mask import uni4eye
from manyviews.methods.mask.uni4eye import Uni4Eye
from manyviews.nn.edges import sobel
from manyviews.train.fit import fit
from manyviews.views.finding import find_policy

SMALL = {"dim": 24, "depth": 1, "heads": 2}


def encoder(size=8):
    return build_encoder("unified_vit_micro", 1, size, seed=0)


def method(**settings):
    torch.manual_seed(0)
    made = Uni4Eye(encoder(), **{**SMALL, **settings})
    made.counter = Counter(0, 0)
    return made


def volumes(count=3):
    return View(torch.rand(count, 1, 8, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(count))


def pictures(count=4):
    return View(torch.rand(count, 1, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(10, 10 + count))


def mixed():
    p, v = pictures(), volumes()
    x = torch.full((7, 1, 8, 8, 8), torch.nan)
    rows = torch.tensor([0, 2, 3, 6])
    others = torch.tensor([1, 4, 5])
    x[rows, :, :1], x[others] = p.x, v.x
    index = torch.empty(7, dtype=torch.long)
    index[rows], index[others] = p.index, v.index
    return View(x, index), rows, others


def test_squares_and_cubes_are_what_a_loop_cuts_out():
    patches = UnifiedPatches(1, 6, 4)
    for view, box, embed in ((volumes(), (4, 4, 4), patches.cubes.embed), (pictures(), (1, 4, 4), patches.squares.embed)):
        t, number = patches(view), 0
        for z in range(0, view.x.shape[2], box[0]):
            for y in range(0, 8, 4):
                for x in range(0, 8, 4):
                    part = view.x[:, 0, z : z + box[0], y : y + 4, x : x + 4].flatten(1)
                    assert torch.allclose(t.x[:, number], embed(2 * part - 1), atol=1e-6)
                    assert torch.equal(t.content[:, number], part.repeat(1, 4 // box[0]))
                    depth = (z + 2) / 8 if box[0] > 1 else FLAT
                    assert t.where[0, number].tolist() == pytest.approx([(x + 2) / 8, (y + 2) / 8, depth])
                    number += 1
        assert t.x.shape[1] == number


def test_pictures_and_volumes_of_one_batch_are_embedded_as_apart():
    net = encoder().eval()
    both, rows, others = mixed()
    with torch.no_grad():
        found = net(both)
        assert torch.allclose(found[rows], net(pictures()), atol=1e-5) and torch.allclose(found[others], net(volumes()), atol=1e-5)


def test_every_parameter_has_a_gradient_whichever_kind_the_batch_is():
    for view in (pictures(), volumes()):
        net = encoder()
        net(view).square().sum().backward()
        assert all(p.grad is not None for p in net.parameters())
        unused = net.tokenizer.cubes if view.x.shape[2] == 1 else net.tokenizer.squares
        assert not any(bool(p.grad.any()) for p in unused.parameters())


@pytest.mark.parametrize("view", [volumes(), pictures()], ids=["volumes", "pictures"])
def test_the_errors_are_means_over_what_was_hidden_of_content_and_gradient(view):
    made = method()
    terms = made.loss(view)
    tokens = made.encoder.tokenize(view)
    order = Counter(0, 0).order("mask", view.index, tokens.x.shape[1])
    kept = order[:, : max(1, int(tokens.x.shape[1] * 0.25))]
    hidden = torch.ones_like(order, dtype=torch.bool).scatter(1, kept, False)
    features = made.encoder.encode(tokens.select(kept))
    edges = made.encoder.tokenize(dataclasses.replace(view, x=2 * sobel(view.x))).content
    for name, branch, target in (("content", made.content, tokens.content), ("gradient", made.gradients, edges)):
        prediction = branch(features, kept, hidden, tokens)
        errors = [((prediction[b, t] - target[b, t]) ** 2).mean() for b, t in hidden.nonzero().tolist()]
        assert float(terms[name]) == pytest.approx(float(torch.stack(errors).mean()), rel=1e-5)


def test_a_step_from_black_to_white_counts_as_one():
    x = torch.zeros(1, 1, 1, 8, 8)
    x[..., 4:] = 1
    assert float((2 * sobel(x)).max()) == pytest.approx(1.0)


def test_a_batch_of_both_counts_each_kind_by_its_hidden_parts():
    made = method()
    both, _, _ = mixed()
    found, errors, counts = made.loss(both), [], []
    for view in (pictures(), volumes()):
        parts = made.encoder.tokenize(view).x.shape[1]
        counts.append(len(view) * (parts - max(1, int(parts * 0.25))))
        errors.append(made.loss(view))
    for name in found:
        mean = sum(count * float(error[name]) for count, error in zip(counts, errors, strict=True)) / sum(counts)
        assert float(found[name]) == pytest.approx(mean, rel=1e-5)


def test_processes_with_different_kinds_meet_once_a_step(monkeypatch):
    made, calls = method(), []
    monkeypatch.setattr(uni4eye, "average", lambda x: calls.append(x) or x)
    both, _, _ = mixed()
    for view in (both, pictures(), volumes()):
        calls.clear()
        made.loss(view)
        assert len(calls) == 1


def test_without_gradients_there_is_one_decoder():
    made = method(gradient=0.0)
    assert made.gradients is None and list(made.loss(volumes())) == ["content"]


@pytest.mark.parametrize("rows", [37, 64, 5])
def test_batches_are_of_one_kind_and_every_row_comes_once(rows):
    flat = np.arange(rows) % 3 == 0
    order = method(batch=4).sampler(rows, {"flat": flat.astype(int)}, 0, 1)
    assert sorted(order.tolist()) == [*range(rows)]
    whole = flat.sum() // 4 + (~flat).sum() // 4
    kinds = flat[order[: 4 * whole]].reshape(whole, 4)
    assert (kinds.all(1) | ~kinds.any(1)).all()
    if rows == 64:
        assert kinds[:, 0][:4].any() and not kinds[:, 0][:4].all()  # they alternate from the start
    assert not np.array_equal(order, method(batch=4).sampler(rows, {"flat": flat.astype(int)}, 0, 2))
    assert sorted(method().sampler(rows, {}, 0, 0).tolist()) == [*range(rows)]


def test_it_trains_on_a_set_of_both():
    rng = np.random.default_rng(0)
    samples = [rng.random((1 if k % 2 else 10, 10, 10, 1), dtype=np.float32) for k in range(16)]
    data = Data(Array(np.arange(16), "rows"), lambda raw, *_: samples[int(raw)], "volumes", {"flat": np.arange(16) % 2}, channels=1, bits=0)
    made, recipe = build_method("uni4eye", encoder(), data, **SMALL, batch=4)
    seen = []
    for step in fit(made, data, find_policy("mae", 8, "volumes"), steps=4, batch=4, recipe=recipe, threads=0):
        seen.append(step.views()["v"].x.shape[2])
        assert np.isfinite(step.loss)
    assert sorted(seen) == [1, 1, 8, 8]


def test_what_cannot_be_is_said_together():
    with pytest.raises(InputError) as error:
        Uni4Eye(Encoder(), mask_ratio=1.0, heads=3, batch=0)
    assert len(error.value.problems) == 4 and "transformer" in error.value.problems[0]
    with pytest.raises(InputError, match="take mae"):
        method().loss(View(torch.rand(2, 5, 3), torch.arange(2)))
