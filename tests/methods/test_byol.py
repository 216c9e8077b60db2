import math

import torch
from small_encoder import SmallEncoder, total, two_views, without_gradient
from torch import nn

from manyviews.methods.distill.byol import BYOL


def make() -> BYOL:
    return BYOL(SmallEncoder(), hidden=10, out=5)


def test_the_loss_is_the_symmetrised_distance_of_the_papers_equation() -> None:
    method, (v, w) = make(), two_views()
    for p in method.target.parameters():
        p.add_(0.1 * torch.randn_like(p))
    terms = method.loss(v, w)
    for name, a, b in (("v_to_w", v, w), ("w_to_v", w, v)):
        q, z = method.predictor(method.projector(method.encoder(a))), method.target(b)
        slow = sum(float((q[i] / q[i].norm() - z[i] / z[i].norm()).square().sum()) for i in range(8)) / 8
        assert math.isclose(float(terms[name]), slow, rel_tol=1e-4)


def test_exchanging_the_views_changes_nothing() -> None:
    method, (v, w) = make(), two_views()
    torch.testing.assert_close(total(method, v, w), total(method, w, v))


def test_everything_but_the_target_gets_a_gradient() -> None:
    method = make()
    names = without_gradient(method, *two_views())
    assert names == [f"target.{name}" for name, _ in method.target.named_parameters()]
    assert not any(p.requires_grad for p in method.target.parameters())


def test_the_target_starts_as_the_online_network_and_runs_in_training_mode() -> None:
    method, (v, _) = make().train(), two_views()
    torch.testing.assert_close(method.target(v), method.projector(method.encoder(v)))
    assert method.target.training


def test_the_target_follows_with_the_papers_cosine_from_0_996_to_1() -> None:
    method = make()
    for progress in (0.0, 0.3, 1.0):
        for p in method.encoder.parameters():
            p.data.add_(1.0)
        before = [p.clone() for p in method.target[0].parameters()]
        method.progress = progress
        method.after_step()
        tau = 1 - (1 - 0.996) * (math.cos(math.pi * progress) + 1) / 2
        for old, slow, fast in zip(before, method.target[0].parameters(), method.encoder.parameters(), strict=True):
            torch.testing.assert_close(slow.detach(), tau * old + (1 - tau) * fast.detach())
    assert all(torch.equal(a, b) for a, b in zip(before, method.target[0].parameters(), strict=True))


def test_projector_and_predictor_are_the_papers() -> None:
    method = BYOL(SmallEncoder())
    assert [type(layer) for layer in method.projector] == [type(layer) for layer in method.predictor] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert (method.projector[0].out_features, method.projector[3].out_features, method.predictor[0].out_features) == (4096, 256, 4096)


def test_what_is_exported_is_the_online_encoder() -> None:
    method = make()
    assert method.exported is method.encoder


def test_without_a_predictor_that_must_learn_the_loss_starts_near_two_a_side_and_never_leaves_zero_to_four() -> None:
    terms = BYOL(SmallEncoder(), hidden=64, out=64).loss(*two_views(64))
    assert all(0 <= float(term) <= 4 for term in terms.values())
    assert 1 < float(terms["v_to_w"]) < 3  # random directions in 64 dimensions are nearly orthogonal
