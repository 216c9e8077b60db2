import importlib

import pytest
import torch
from small_encoder import SmallEncoder, total, two_views, without_gradient
from torch import nn

from manyviews.contracts import View
from manyviews.errors import InputError
from manyviews.methods.contrast.joint_embedding import JointEmbedding

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
