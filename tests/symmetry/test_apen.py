"""APEN: partitions, the piecewise layer against a loop over parts, what bounds its error, and the network."""

import pytest
import torch
import torch.nn.functional as F

from manyviews.backbones.building import build_encoder
from manyviews.contracts import View
from manyviews.errors import InputError
from manyviews.groups import find
from manyviews.nn.frames import principal_frames
from manyviews.symmetry.apen import APEN, APENSegmentation, assignment, equivariance_bound, grouped, merged, nearest, partition_of, refines, uncertainty
from manyviews.symmetry.piecewise import Pieces, Piecewise, given_partition, pooled, squares


def blobs(batch=2, n=12, apart=4.0, seed=0):
    """Two blobs a cloud, and which point is of which."""
    x = torch.randn(batch, 2 * n, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 0.3
    x[:, n:, 0] += apart
    return x, (torch.arange(2 * n) >= n).long().expand(batch, -1)


# --- partitions


def test_distances_are_distances():
    a, b = blobs()[0], blobs(seed=1)[0][:, :5]
    assert torch.allclose(squares(a, b), torch.cdist(a, b).square())


def test_probabilities_are_those_of_gaussians_with_shares():
    votes, centres, shares = torch.randn(1, 4, 3), torch.randn(1, 3, 3), torch.tensor([[0.5, 0.3, 0.2]])
    found = assignment(votes, centres, shares, 0.7).softmax(-1)
    for i in range(4):
        density = torch.stack([s * torch.exp(-(votes[0, i] - c).square().sum() / 1.4) for s, c in zip(shares[0], centres[0], strict=True)])
        assert torch.allclose(found[0, i], density / density.sum(), atol=1e-6)


def test_parts_without_a_share_get_no_point():
    probability = assignment(torch.zeros(1, 4, 3), torch.zeros(1, 2, 3), torch.tensor([[0.0, 1.0]]), 0.1).softmax(-1)
    assert torch.equal(probability[..., 0], torch.zeros(1, 4))


def test_near_centres_become_one_and_small_ones_vanish():
    centres = torch.tensor([[[0.0, 0, 0], [5, 0, 0], [0.1, 0, 0], [9, 0, 0]]])
    shares = merged(centres, torch.tensor([[0.3, 0.3, 0.39, 0.01]]), 0.2, 0.05)
    assert torch.allclose(shares, torch.tensor([[0.69, 0.3, 0, 0]]) / 0.99)


def test_of_many_chances_no_more_parts_are_left_than_there_are():
    x, truth = blobs(apart=6.0)
    found = partition_of(grouped(x, 10, 0.5, merge=3.0), draw=False)
    assert refines(found.part, truth).all() and all(len(set(row.tolist())) == 2 for row in found.part)


def test_the_finest_partition_is_by_the_nearest_centre_and_finer_than_the_truth():
    x, truth = blobs(apart=10.0)
    found = nearest(x, 6)
    assert found.probability.shape[-1] == 6 and refines(found.part, truth).all()


def test_drawn_parts_come_as_often_as_they_are_probable_and_pass_a_gradient():
    torch.manual_seed(0)
    logits = torch.tensor([0.7, 0.2, 0.1]).log().expand(1, 4000, 3).clone().requires_grad_(True)
    found = partition_of(logits, draw=True)
    assert torch.allclose(torch.bincount(found.part[0]) / 4000, torch.tensor([0.7, 0.2, 0.1]), atol=0.03)
    assert torch.equal(found.weight.detach(), torch.ones(1, 4000))
    found.weight.sum().backward()
    assert logits.grad.abs().sum() > 0


# --- the layer


def test_a_layer_does_to_each_part_what_it_would_do_to_it_alone():
    torch.manual_seed(0)
    layer = Piecewise((2, 1), (3, 2), 16, 4).double().eval()
    x, truth = blobs()
    scalars, vectors = torch.randn(2, 24, 2, dtype=torch.float64), torch.randn(2, 24, 1, 3, dtype=torch.float64)
    whole = layer(x, given_partition(truth, 2, x.dtype), scalars, vectors)
    for k in (0, 1):
        own = slice(12 * k, 12 * k + 12)
        alone = layer(x[:, own], given_partition(torch.zeros(2, 12, dtype=torch.long), 1, x.dtype), scalars[:, own], vectors[:, own])
        for a, b in zip(whole, alone, strict=True):
            assert torch.allclose(a[:, own], b)


def test_the_layer_is_the_mean_over_a_parts_frames():
    torch.manual_seed(0)
    layer = Piecewise((0, 0), (2, 0), 8, 1).double().eval()
    x, _ = blobs(1)
    part = given_partition(torch.zeros(1, 24, dtype=torch.long), 1, x.dtype)
    frames = principal_frames(x, reflections=False)
    total = 0
    for k in range(4):
        y = frames.seen(x)[:, k]
        t = layer.local(torch.cat([y, torch.zeros_like(y)], -1))
        total = total + layer.last(layer.deep(torch.cat([t, t.mean(1, keepdim=True).expand_as(t)], -1)))
    assert torch.allclose(layer(x, part).scalars, total[..., :2] / 4)


def test_the_mean_over_a_part_is_of_its_points_and_0_where_there_are_none():
    t, part = torch.randn(1, 5, 2, 3), torch.tensor([[0, 0, 2, 0, 2]])
    found = pooled(t, F.one_hot(part, 3).float().mT)
    assert torch.allclose(found[0, 0], t[0, [0, 1, 3]].mean(0)) and torch.equal(found[0, 1], torch.zeros(2, 3))


def test_parts_of_one_point_two_points_and_a_line_give_finite_gradients_and_stay_equivariant():
    torch.manual_seed(0)
    layer = Piecewise((0, 1), (2, 1), 8, 3).double().eval()
    x = torch.randn(3, 8, 3, dtype=torch.float64)
    x[:, 3:] = torch.linspace(0, 1, 5, dtype=torch.float64).square()[None, :, None] * torch.tensor([1.0, 2, -1])
    part = given_partition(torch.tensor([0, 1, 1, 2, 2, 2, 2, 2]).expand(3, -1), 3, x.dtype)
    x.requires_grad_(True)
    vectors = torch.randn(3, 8, 1, 3, dtype=torch.float64)
    found = layer(x, part, None, vectors)
    sum(t.square().sum() for t in found).backward()
    assert torch.isfinite(x.grad).all()
    g = find("se3").sample(3, torch.Generator().manual_seed(1), dtype=torch.float64)
    turned = find("se3").act(g, vectors.flatten(1, 2), "vectors").view_as(vectors)
    again = layer(g.act(x), part, None, turned)
    assert torch.allclose(found.scalars, again.scalars) and torch.allclose(g.act(found.votes), again.votes)


def test_neighbours_are_of_the_same_part():
    x, truth = blobs(apart=0.1)
    near = Piecewise((0, 0), (1, 0), 8, 14).neighbours(x, truth)
    for k in (0, 1):
        own = x[:, truth[0] == k]
        assert (torch.cdist(near[:, truth[0] == k].flatten(1, 2), own).amin(-1) < 1e-6).all()


# --- the bound


def test_uncertainty_is_the_probability_of_another_partition():
    p = torch.tensor([[[0.9, 0.1], [0.8, 0.2]]])
    assert torch.allclose(uncertainty(p), torch.tensor([1 - 0.72], dtype=torch.float64))
    assert uncertainty(torch.eye(2)[None]).item() == 0


def test_a_partition_refines_another_if_no_part_crosses():
    truth = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, -1]])
    assert refines(torch.tensor([[0, 2, 1, 1], [0, 1, 1, 1], [0, 0, 2, 0]]), truth).tolist() == [True, False, True]


def test_the_error_of_drawn_partitions_stays_below_its_bound():
    x, truth = blobs(1, 6)
    torch.manual_seed(0)
    layer = Piecewise((0, 0), (3, 0), 16, 3).double().eval()
    group = Pieces(find("se3"), "points", (12, 3))
    g = find("se3").sample(1, torch.Generator().manual_seed(0), dtype=torch.float64)
    flip = 0.02  # the probability that a point is drawn into the other part
    logits = torch.where(F.one_hot(truth, 2) == 1, 1 - flip, flip).double().log()

    def averaged(points):
        torch.manual_seed(1)
        drawn = partition_of(logits.expand(400, -1, -1), True)
        every = layer(points.expand(400, -1, -1), drawn).scalars.detach()
        return every.mean(0), every.flatten(1).norm(dim=1).max()

    (a, first), (b, second) = averaged(x), averaged(group.act(g, x))
    bound = equivariance_bound(float(uncertainty(logits.exp())[0]), 0.0, float(max(first, second)))
    assert 0 < float((a - b).norm()) < bound
    sure = given_partition(truth, 2, x.dtype)
    assert torch.allclose(layer(x, sure).scalars, layer(group.act(g, x), sure).scalars)


# --- the network


def test_the_network_with_true_parts_does_not_see_how_they_moved():
    torch.manual_seed(0)
    network = APEN(8, 8, (0.05, 0.1), rounds=4, features=(2, 2), width=16, near=4).double().eval()
    x, truth = blobs()
    g = find("se3").sample(2, torch.Generator().manual_seed(0), dtype=torch.float64)
    moved = Pieces(find("se3"), "points", (24, 3)).act(g, x)
    a, b = network.described(x, truth), network.described(moved, truth)
    assert torch.allclose(a.features, b.features) and len(a.votes) == 2 and len(a.partitions) == 3
    assert not torch.allclose(network.described(x).features, network.described(moved, torch.zeros_like(truth)).features)


def test_the_micro_encoder_is_found_by_name_and_has_features_of_points():
    encoder = build_encoder("apen_micro", 3, 48, seed=0).eval()
    view = View(torch.randn(2, 48, 3), torch.arange(2))
    assert encoder(view).shape == (2, encoder.dim) and encoder.pyramid(view)[0].x.shape == (2, 48, encoder.widths[0])


@pytest.mark.parametrize("oracle", [False, True])
def test_segmentation_trains_votes_and_classes(oracle):
    torch.manual_seed(0)
    x, truth = blobs()
    method = APENSegmentation(APEN(8, 8, (0.05, 0.1), rounds=4, features=(2, 2), width=16, near=4), 2, oracle=oracle)
    view = View(x.float(), torch.arange(2), None, {"part": truth, "point_label": truth})
    optimizer = torch.optim.Adam(method.parameters(), 1e-2)
    first = {name: float(term.detach()) for name, term in method.loss(view).items()}
    for _ in range(8):
        optimizer.zero_grad()
        sum(method.loss(view).values()).backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in method.parameters())
        optimizer.step()
    last = {name: float(term.detach()) for name, term in method.loss(view).items()}
    assert last["votes"] < first["votes"] and last["classes"] < first["classes"]


def test_points_whose_part_is_not_known_do_not_count():
    torch.manual_seed(0)
    x, truth = blobs()
    method = APENSegmentation(APEN(8, 8, (0.05, 0.1), rounds=4, features=(2, 2), width=16, near=4), 2).eval()
    hidden = truth.clone()
    hidden[:, 0] = -1
    terms = method.loss(View(x.float(), torch.arange(2), None, {"part": hidden, "point_label": hidden}))
    assert all(torch.isfinite(term) for term in terms.values())


def test_what_segmentation_needs_is_said():
    with pytest.raises(InputError, match="of an APEN encoder"):
        APENSegmentation(build_encoder("frame_averaged_micro", 3, 32), 2)
    with pytest.raises(InputError, match="part and point_label"):
        APENSegmentation(APEN(8, 8, (0.05,), width=8), 2).loss(View(torch.randn(1, 16, 3), torch.arange(1)))
