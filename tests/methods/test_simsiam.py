import math

import torch
from small_encoder import SmallEncoder, total, two_views, without_gradient
from torch import nn

from manyviews.methods.distill.simsiam import SimSiam
from manyviews.train.optimizers import build_optimizer, schedule


def make() -> SimSiam:
    return SimSiam(SmallEncoder(), hidden=10, out=9, bottleneck=4)


def test_the_loss_is_half_the_negative_cosine_from_either_side() -> None:
    method, (v, w) = make(), two_views()
    terms = method.loss(v, w)
    zv, zw = (method.projector(method.encoder(view)) for view in (v, w))
    for name, z, other in (("v_to_w", zv, zw), ("w_to_v", zw, zv)):
        p = method.predictor(z)
        slow = -sum(float(p[i] @ other[i] / (p[i].norm() * other[i].norm())) for i in range(8)) / 8
        assert math.isclose(float(terms[name]), slow / 2, rel_tol=1e-4)


def test_exchanging_the_views_changes_nothing() -> None:
    method, (v, w) = make(), two_views()
    torch.testing.assert_close(total(method, v, w), total(method, w, v))


def test_every_parameter_gets_a_gradient() -> None:
    assert without_gradient(make(), *two_views()) == []


def test_no_gradient_flows_through_the_side_that_is_predicted() -> None:
    method = make()
    z, other = torch.randn(8, 9, requires_grad=True), torch.randn(8, 9, requires_grad=True)
    method.regress(z, other).backward()
    assert other.grad is None and z.grad.abs().sum() > 0


def test_perfect_prediction_costs_minus_one_whatever_the_scale() -> None:
    method = make()
    method.predictor = nn.Identity()
    z = torch.randn(8, 9)
    assert math.isclose(float(method.regress(z, 3 * z)), -1, rel_tol=1e-6)


def test_projector_and_predictor_are_the_papers() -> None:
    method = SimSiam(SmallEncoder())
    linear = [layer for layer in method.projector if isinstance(layer, nn.Linear)]
    assert [layer.out_features for layer in linear] == [2048, 2048, 2048] and not any(layer.bias is not None for layer in linear)
    assert isinstance(method.projector[-1], nn.BatchNorm1d) and not method.projector[-1].affine
    assert [type(layer) for layer in method.predictor] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert (method.predictor[0].out_features, method.predictor[3].out_features) == (512, 2048)


def test_the_predictors_learning_rate_does_not_decay() -> None:
    method = make()
    optimizer = build_optimizer(method, method.recipe, lr=0.05)
    schedule(optimizer, method.recipe, 0.05, progress=0.5)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert {rates[id(p)] for p in method.predictor.parameters()} == {0.05}
    assert all(math.isclose(rates[id(p)], 0.025) for p in [*method.encoder.parameters(), *method.projector.parameters()])
