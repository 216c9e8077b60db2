import dataclasses
import importlib

import pytest
import torch
from small_encoder import SmallEncoder, total, two_views, without_gradient
from torch import nn

from manyviews.contracts import View
from manyviews.errors import InputError
from manyviews.methods.contrast.joint_embedding import JointEmbedding, Reweight

OBJECTIVES = ("infonce", "supcon", "vicreg", "barlow_twins")


def make(name: str, **settings: float) -> JointEmbedding:
    """As the command line makes it, with narrow layers."""
    module = importlib.import_module(f"manyviews.objectives.{name}")
    return JointEmbedding(SmallEncoder(), getattr(module, name), **{**module.PROJECTOR, "hidden": 10, "out": 5, **settings})


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_loss_is_the_objective_of_the_projected_embeddings(name: str) -> None:
    method, (v, w) = make(name), two_views()
    zv, zw = (method.projector(method.encoder(view)) for view in (v, w))
    value = method.objective(zv, zw, *([v.given["label"]] if name == "supcon" else []))
    expected = value if isinstance(value, dict) else {"loss": value}
    terms = method.loss(v, w)
    assert terms.keys() == expected.keys()
    for key, term in terms.items():
        torch.testing.assert_close(term, expected[key])


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_parameter_that_is_trained_gets_a_gradient(name: str) -> None:
    method = make(name)
    frozen = [key for key, p in method.named_parameters() if not p.requires_grad]
    assert frozen == (["projector.4.bias"] if name == "infonce" else [])
    left = [key for key in without_gradient(method, *two_views()) if key not in frozen]
    assert left == []


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_step_against_the_gradient_lowers_the_loss_and_exchanging_the_views_changes_nothing(name: str) -> None:
    method, (v, w) = make(name), two_views()
    before = total(method, v, w)
    torch.testing.assert_close(before, total(method, w, v), rtol=1e-4, atol=1e-5)
    before.backward()
    trained = [p for p in method.parameters() if p.grad is not None]
    scale = torch.stack([p.grad.norm() for p in trained]).norm()
    with torch.no_grad():
        for p in trained:
            p.sub_(1e-3 * p.grad / scale)
    assert total(method, v, w) < before


def test_settings_reach_the_objective_and_layout_reaches_the_projector() -> None:
    method = make("infonce", temperature=0.5, layers=3)
    assert method.settings == {"temperature": 0.5}
    assert [layer.out_features for layer in method.projector if isinstance(layer, nn.Linear)] == [10, 10, 5]


def layout(name: str) -> list[tuple[str, int, bool]]:
    module = importlib.import_module(f"manyviews.objectives.{name}")
    network = JointEmbedding(SmallEncoder(), getattr(module, name), **module.PROJECTOR).projector
    widths = [(layer.out_features if isinstance(layer, nn.Linear) else 0) for layer in network]
    return [(type(layer).__name__, width, getattr(layer, "bias", None) is not None) for layer, width in zip(network, widths, strict=True)]


def test_projectors_are_the_papers() -> None:
    assert layout("infonce") == [
        ("Linear", 2048, False), ("BatchNorm1d", 0, True), ("ReLU", 0, False), ("Linear", 128, False), ("BatchNorm1d", 0, True)
    ]  # fmt: skip
    assert layout("supcon") == [("Linear", 2048, True), ("ReLU", 0, False), ("Linear", 128, False)]
    wide = [("Linear", 8192, False), ("BatchNorm1d", 0, True), ("ReLU", 0, False)]
    assert layout("vicreg") == layout("barlow_twins") == [*wide, *wide, ("Linear", 8192, False)]


def test_embeddings_are_compared_in_float32_when_the_encoder_runs_in_bfloat16() -> None:
    seen = []

    def objective(za: torch.Tensor, zb: torch.Tensor) -> torch.Tensor:
        seen.extend([za.dtype, (za @ zb.T).dtype])
        return (za - zb).square().mean()

    method = JointEmbedding(SmallEncoder(), objective, hidden=10, out=5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert method.projector(method.encoder(two_views()[0])).dtype == torch.bfloat16
        method.loss(*two_views())
    assert seen == [torch.float32, torch.float32]


def test_an_objective_that_needs_labels_says_so_where_there_are_none() -> None:
    v, w = (View(view.x, view.index) for view in two_views())
    with pytest.raises(InputError, match="label"):
        make("supcon").loss(v, w)


def test_heads_are_the_objectives_own_a_linear_layer_fixed_weights_or_nothing() -> None:
    assert [type(layer).__name__ for layer in make("infonce").projector] == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d"]
    linear = make("infonce", head="linear").projector
    assert isinstance(linear, nn.Linear) and linear.weight.shape == (5, SmallEncoder().dim) and linear.bias is None
    x = torch.randn(3, SmallEncoder().dim)
    assert torch.equal(make("infonce", head="none").projector(x), x)
    assert [*make("infonce", head="reweight").projector.parameters()] == []
    with pytest.raises(InputError, match="mlp, linear, reweight or none"):
        make("infonce", head="mpl")


def test_the_reweighting_head_divides_each_feature_by_kappa_once_more_than_the_one_before() -> None:
    x = torch.randn(4, 6)
    z = Reweight(6, 1.5)(x)
    for i in range(6):
        torch.testing.assert_close(z[:, i], x[:, i] / 1.5**i)
    assert torch.equal(Reweight(6, 1.0)(x), x)
    assert Reweight(2048, 1.5)(torch.ones(1, 2048)).isfinite().all(), "the last ones vanish, and are no error"
    with pytest.raises(InputError, match="kappa 0.9"):
        Reweight(6, 0.9)


def test_under_the_reweighting_head_the_gradient_of_each_feature_shrinks_with_its_weight() -> None:
    """For an objective that is a sum over features, by the weight itself; so late features are learned late."""
    method = JointEmbedding(SmallEncoder(), lambda za, zb: (za + zb).sum(), head="reweight", kappa=2.0)
    x = torch.randn(3, SmallEncoder().dim, requires_grad=True)
    method.projector(x).sum().backward()
    torch.testing.assert_close(x.grad, method.projector.scale.expand_as(x))


def test_pairs_count_as_often_as_their_weight_says() -> None:
    method, (v, w) = make("infonce", temperature=0.5), two_views()
    weight = torch.arange(len(v)).float()
    plain = total(method, v, w)
    heavy = [dataclasses.replace(view, given={**view.given, "weight": weight}) for view in (v, w)]
    zv, zw = (method.projector(method.encoder(view)) for view in (v, w))
    losses = method.each(zv, zw, 0.5)
    torch.testing.assert_close(total(method, *heavy), (weight * losses).sum() / weight.sum())
    assert not torch.isclose(plain, total(method, *heavy))


def test_an_objective_that_is_no_mean_over_pairs_says_that_it_cannot_weight_them() -> None:
    v, w = (dataclasses.replace(view, given={"weight": torch.ones(len(view))}) for view in two_views())
    with pytest.raises(InputError, match="weight"):
        make("vicreg").loss(v, w)


def weighted_gradients(fabric: object, start: int, batch: int) -> list[torch.Tensor]:
    """Of the method on the rows from `start`, in evaluation mode, so that normalisation does not tell the processes apart."""
    torch.manual_seed(0)
    method = make("infonce", temperature=0.5).eval()
    rows = slice(start + batch * fabric.global_rank, start + batch * (fabric.global_rank + 1)) if fabric is not None else slice(start, start + batch)  # type: ignore[attr-defined]
    v, w = (View(view.x[rows], view.index[rows], given={"weight": torch.arange(8).float()[rows] + 0.1}) for view in two_views())
    total(method, v, w).backward()
    return [p.grad for p in method.parameters() if p.grad is not None]


def test_two_processes_weight_pairs_as_one_does(pair) -> None:
    alone = weighted_gradients(None, 0, 8)
    first, second = pair(weighted_gradients, 0, 4)
    for g, a, b in zip(alone, first, second, strict=True):
        torch.testing.assert_close((a + b) / 2, g, rtol=1e-4, atol=1e-6)
