"""SIE: its five terms against loops over pairs, what the halves may see, relative poses, and what it says where nothing is known."""

import dataclasses

import numpy as np
import pytest
import torch

from manyviews.app.building import build_method
from manyviews.backbones.building import build_encoder
from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.data.arrays import Array
from manyviews.data.dataset import Data
from manyviews.errors import InputError
from manyviews.groups import rotations_from
from manyviews.methods.equivary.sie import SIE, Hypernetwork, Perceptron, element
from manyviews.train.fit import fit
from manyviews.views.finding import find_policy
from manyviews.views.sie import pose, side_by_side

SIZE = 16


def make(**settings):
    torch.manual_seed(0)
    return SIE(build_encoder("resnet_nano", 3, SIZE, seed=0), **{"hidden": 24, "out": 20, "columns": ("rotation",), **settings})


def rotations(count, seed):
    return rotations_from(torch.randn(count, 4, generator=torch.Generator().manual_seed(seed)))


def pair(count=6):
    generator = torch.Generator().manual_seed(3)
    hue = {name: torch.rand(count, generator=generator) for name in ("floor_hue", "light_hue")}
    v, w = (
        View(
            torch.rand(count, 3, SIZE, SIZE, generator=generator),
            torch.arange(count),
            pose(rotations(count, seed)),
            {k: a + 0.1 * seed for k, a in hue.items()},
        )
        for seed in (1, 2)
    )
    return v, w


def objects(count=12, views=4):
    """Pictures of objects with poses, which they show as shades of grey, each on the object's own ground."""
    rotation = rotations(count * views, 0).numpy()
    shades = np.kron(127 + 80 * rotation, np.ones((6, 6)))[:, :SIZE, :SIZE, None]
    ground = np.random.default_rng(0).uniform(-40, 40, (count, SIZE, SIZE, 3)).repeat(views, 0)
    x, columns = (shades + ground).astype(np.uint8), {"object": np.repeat(np.arange(count), views), "rotation": rotation}
    return Data(Array(x, "pictures"), lambda raw, *_: raw, columns=columns)


def test_the_terms_are_those_of_the_paper_pair_by_pair():
    method, (v, w) = make(), pair()
    terms = method.loss(v, w)
    method.eval().train()
    (vi, ve), (wi, we) = method.embeddings(v), method.embeddings(w)
    quaternion = element(v, w)
    predicted = torch.stack([sum(quaternion[n, k] * method.predictor.maps[k] for k in range(4)) @ ve[n] for n in range(6)])
    assert float(terms["invariance"]) == pytest.approx(float(10 * (vi - wi).square().sum() / vi.numel()), rel=1e-4)
    assert float(terms["equivariance"]) == pytest.approx(float(4.5 * (predicted - we).square().sum() / we.numel()), rel=1e-4)

    def hinge(z):
        return sum(max(0.0, 1 - float((z[:, d].var() + 1e-4).sqrt())) for d in range(z.shape[1])) / z.shape[1]

    def off_diagonal(z):
        c = torch.cov(z.T)
        return sum(float(c[i, j]) ** 2 for i in range(len(c)) for j in range(len(c)) if i != j) / len(c)

    both = [torch.cat(halves, 1) for halves in ((vi, ve), (wi, we))]
    assert float(terms["variance"]) == pytest.approx(10 * (hinge(both[0]) + hinge(both[1])) / 2, rel=1e-4)
    assert float(terms["prediction_variance"]) == pytest.approx(10 * hinge(predicted) / 2, rel=1e-4)
    assert float(terms["covariance"]) == pytest.approx(off_diagonal(both[0]) + off_diagonal(both[1]), rel=1e-3)


def test_the_relative_pose_takes_one_pose_to_the_other_on_either_side():
    v, w = pair()
    for side, expected in (("body", v.g.matrix.mT @ w.g.matrix), ("world", w.g.matrix @ v.g.matrix.mT)):
        assert torch.allclose(rotations_from(element(v, w, side)), expected[:, :3, :3], atol=1e-5)


def test_the_same_pose_is_the_identity():
    v, _ = pair()
    assert torch.allclose(element(v, v), torch.tensor([1.0, 0, 0, 0]).expand(6, 4), atol=1e-6)


def test_the_halves_are_projected_apart_by_their_share_of_the_representation():
    method = make(equivariant=32)
    dim, (v, _) = method.encoder.dim, pair()
    invariant, equivariant = method.embeddings(v)
    assert invariant.shape[1] == round(20 * (dim - 32) / dim) and equivariant.shape[1] == round(20 * 32 / dim)
    y = method.encoder(v).detach().requires_grad_(True)
    method.equivariant_projector(y[:, method.split :]).square().sum().backward()
    assert not y.grad[:, : dim - 32].any() and y.grad[:, dim - 32 :].any()


def test_without_an_invariant_half_there_is_no_term_for_it():
    method = make(equivariant=build_encoder("resnet_nano", 3, SIZE).dim)
    terms = method.loss(*pair())
    assert list(terms) == ["equivariance", "variance", "prediction_variance", "covariance"] and method.invariant_projector is None


def test_the_hypernetwork_is_linear_in_what_happened_and_silent_where_nothing_is_said():
    torch.manual_seed(0)
    net, x, a, b = Hypernetwork(4, 8), torch.randn(5, 8), torch.randn(5, 4), torch.randn(5, 4)
    assert torch.allclose(net(x, 2 * a - b), 2 * net(x, a) - net(x, b), atol=1e-5)
    assert torch.equal(net(x, 0 * a), torch.zeros(5, 8))
    assert float(net.maps.abs().max()) <= 0.5 < 2 * float(net.maps.abs().max())  # as a linear layer of 4 inputs starts


def test_a_perceptron_may_ignore_what_happened():
    torch.manual_seed(0)
    net = Perceptron(4, 8, 2)
    net.layers[0].weight.data[:, :4] = 0
    x = torch.randn(5, 8)
    assert torch.equal(net(x, torch.randn(5, 4)), net(x, torch.randn(5, 4)))


def test_facts_are_told_as_differences():
    method, (v, w) = make(facts="floor_hue, light_hue"), pair()
    found = method.happened(v, w)
    assert found.shape == (6, 6) and torch.allclose(found[:, 4:], torch.full((6, 2), 0.1), atol=1e-6)


@pytest.mark.parametrize("modality, encoder, size", [("images", "resnet_nano", 16), ("points", "pointnet", 64), ("volumes", "resnet3d10_small", 12)])
def test_drawn_elements_take_one_view_to_the_other(modality, encoder, size):
    from manyviews.backbones.building import builders

    if modality == "volumes":
        encoder = next(name for name, (takes, _) in builders().items() if takes == "volumes")
    from manyviews.data.opening import open_data

    data = open_data("builtin" if modality == "images" else f"builtin:{modality}").select(np.arange(8))
    samples = next(iter(data.batches([np.arange(8)], 0)))
    views = find_policy("sie", size, modality)(samples, Counter(0, 0))
    z = element(views["v"], views["w"])
    assert z.shape == (8, 6 if modality == "images" else 12)
    back = element(views["w"], views["v"])
    n = 2 if modality == "images" else 3

    def square(rows):
        last = torch.eye(n + 1)[-1:].expand(8, 1, -1)
        return torch.cat([rows.view(8, n, n + 1), last.to(rows)], 1)

    assert torch.allclose(square(z) @ square(back), torch.eye(n + 1).to(z).expand(8, -1, -1), atol=1e-3)
    method, _ = build_method("sie", build_encoder(encoder, data.channels, size, seed=0), data, hidden=16, out=16)
    assert all(torch.isfinite(term) for term in method.loss(**views).values())


def test_a_turned_picture_is_told_by_cosine_and_sine():
    data = Data(Array(np.zeros((4, 20, 20, 3), np.uint8), "pictures"), lambda raw, *_: raw)
    samples = next(iter(data.batches([np.arange(4)], 0)))
    views = find_policy("sie", SIZE)(samples, Counter(0, 0))
    angle = views["w"].g.parameters["angle"] - views["v"].g.parameters["angle"]
    z = element(views["v"], views["w"])
    assert torch.allclose(z[:, 0], angle.cos(), atol=1e-5) and torch.allclose(z[:, 1].abs(), angle.sin().abs(), atol=1e-5)
    assert torch.allclose(z[:, [2, 5]], torch.zeros(4, 2), atol=1e-5)


# --- pairs ------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("views", [2, 5])
def test_neighbours_in_the_order_show_one_object_and_every_view_comes(views):
    objects = np.random.default_rng(0).permutation(np.repeat(np.arange(7), views))
    order = side_by_side(len(objects), {"object": objects}, 0, 1)
    pairs = objects[order].reshape(-1, 2)
    assert (pairs[:, 0] == pairs[:, 1]).all() and set(order) == set(range(len(objects))) and len(order) == len(objects) + 7 * (views % 2)
    assert (order.reshape(-1, 2)[:, 0] != order.reshape(-1, 2)[:, 1]).all()
    assert not np.array_equal(order, side_by_side(len(objects), {"object": objects}, 0, 2))


def test_objects_with_one_view_are_named():
    with pytest.raises(InputError, match="1 of 3 objects have one view only"):
        side_by_side(5, {"object": np.array([0, 0, 1, 1, 2])}, 0, 0)


def test_a_pair_that_was_broken_is_replaced_by_another_one():
    data = objects(4, 2)
    samples = next(iter(data.batches([np.arange(8)], 0)))
    broken = samples.given["object"].clone()
    broken[1] = 99
    views = find_policy("sie", SIZE)(dataclasses.replace(samples, given={**samples.given, "object": broken}), Counter(0, 0))
    assert views["v"].index.tolist() == [2, 4, 6, 2] and views["w"].index.tolist() == [3, 5, 7, 3]
    assert torch.equal(views["v"].g.matrix[:, :3, :3], samples.given["rotation"][[2, 4, 6, 2]])
    assert torch.allclose(views["v"].x[0], samples.x[2].permute(2, 0, 1) / 255, atol=1e-2)


def test_it_trains_on_pictures_with_poses():
    data = objects()
    method, recipe = build_method("sie", build_encoder("resnet_nano", 3, SIZE, seed=0), data, hidden=16, out=16)
    steps = [step.loss for step in fit(method, data, find_policy("sie", SIZE), steps=30, batch=48, recipe=recipe, lr=3e-3, threads=0)]
    assert method.numbers == 4 and steps[-1] < 0.9 * steps[0]


# --- bad input --------------------------------------------------------------------------------------------------------------------------------


def test_what_cannot_be_is_said_together():
    with pytest.raises(InputError) as error:
        make(equivariant=0, predictor="none", side="left")
    assert len(error.value.problems) == 3


def test_views_that_say_nothing_are_refused():
    v, w = pair()
    with pytest.raises(InputError, match="group elements"):
        make().loss(dataclasses.replace(v, g=None), w)


def test_another_number_of_numbers_is_told():
    v, w = pair()
    with pytest.raises(InputError, match="--set numbers=4"):
        make(columns=()).loss(v, w)


def test_an_unknown_fact_is_told_with_those_there_are():
    with pytest.raises(InputError, match="floor_hue, light_hue"):
        make(facts="weather").loss(*pair())
