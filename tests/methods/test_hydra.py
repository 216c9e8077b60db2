import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from gloo_pair import Pair
from small_encoder import SmallEncoder, part, total, two_views, without_gradient

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.methods.contrast.hydra import PAIRS, Hydra
from manyviews.nn.distributed import synchronise_batch_norm, world


def make(pairs: str = "arbitrary", classes: int = 3, **settings: Any) -> Hydra:
    return Hydra(SmallEncoder(), classes, hidden=10, out=5, pairs=pairs, label_dim=7, gate_hidden=9, **settings)


def slow(z: torch.Tensor, gate: torch.Tensor, label: list[int], second: list[int], temperature: float) -> float:
    """The paper's loss, one pair after the other: both embeddings are gated, negatives are the samples of neither class."""
    z, gate = z.double(), gate.double()
    z = z / z.norm(dim=1, keepdim=True)
    costs = []
    for i in range(len(z)):
        similar = [math.exp(float((gate[i] * z[i]) @ (gate[i] * z[j])) / temperature) for j in range(len(z))]
        negatives = sum(similar[j] for j in range(len(z)) if label[j] not in (label[i], second[i]))
        costs += [-math.log(similar[j] / (similar[j] + negatives)) for j in range(len(z)) if label[j] == second[i] and j != i]
    return sum(costs) / len(costs)


@pytest.mark.parametrize("pairs", PAIRS)
def test_the_loss_is_that_of_the_paper(pairs: str) -> None:
    method, (v, w) = make(pairs, temperature=0.3).eval(), two_views(9)
    terms = method.loss(v, w)
    z = torch.cat([method.projector(method.encoder(v)), method.projector(method.encoder(w))])
    label = v.given["label"]
    second = torch.cat([method.second_class(label, v.index, role) for role in ("v", "w")])
    expected = slow(z, method.gate(label.repeat(2), second), label.repeat(2).tolist(), second.tolist(), 0.3)
    assert math.isclose(terms["pairs"].item(), expected, rel_tol=1e-4)


def test_open_gates_let_every_dimension_through_and_learn_nothing() -> None:
    method, (v, w) = make(gates="open", temperature=0.3).eval(), two_views(9)
    z = torch.cat([method.projector(method.encoder(v)), method.projector(method.encoder(w))])
    label = v.given["label"]
    second = torch.cat([method.second_class(label, v.index, role) for role in ("v", "w")])
    expected = slow(z, torch.ones_like(z), label.repeat(2).tolist(), second.tolist(), 0.3)
    assert math.isclose(method.loss(v, w)["pairs"].item(), expected, rel_tol=1e-4)
    assert not [name for name, _ in method.named_parameters() if name.startswith("gate")]
    with pytest.raises(InputError, match="gates 'shut': expected learned or open"):
        make(gates="shut")


def test_the_defaults_are_the_papers() -> None:
    method = Hydra(SmallEncoder(), 10)
    assert (method.pairs, method.temperature) == ("arbitrary", 0.1)
    assert [tuple(p.shape) for p in method.gate.parameters() if p.ndim == 2] == [(10, 512), (1024, 512), (256, 1024)]
    assert isinstance(method.projector[-1], torch.nn.LayerNorm) and method.projector[0][0].out_features == 2048


def test_arbitrary_second_classes_are_those_of_the_batch_in_another_order() -> None:
    method, label, index = make(classes=5), torch.arange(40) % 5, torch.arange(100, 140)
    second = method.second_class(label, index, "v")
    assert sorted(second.tolist()) == sorted(label.tolist())
    assert not torch.equal(second, label) and not torch.equal(second, method.second_class(label, index, "w"))
    order = torch.randperm(40)
    assert torch.equal(method.second_class(label[order], index[order], "v"), second[order])
    method.counter = Counter(0, 1)
    assert not torch.equal(method.second_class(label, index, "v"), second)


def test_distinct_second_classes_are_all_others_equally_often_and_identical_ones_the_same() -> None:
    label = torch.zeros(4000, dtype=torch.long) + 2
    second = make("distinct", classes=5).second_class(label, torch.arange(4000), "v")
    counts = second.bincount(minlength=5)
    assert counts[2] == 0 and all(900 < counts[k] < 1100 for k in (0, 1, 3, 4))
    assert torch.equal(make("identical").second_class(label, torch.arange(4000), "v"), label)


def test_a_gate_is_the_same_for_both_orders_of_a_pair_and_is_between_closed_and_open() -> None:
    gate = make(classes=4).gate
    first, second = torch.tensor([0, 1, 2, 3]), torch.tensor([1, 0, 2, 0])
    value = gate(first, second)
    torch.testing.assert_close(value, gate(second, first))
    torch.testing.assert_close(value[0], value[1])
    assert bool((value > 0).all() and (value < 1).all())


def test_closed_gates_see_no_difference_between_samples() -> None:
    label = torch.arange(6) % 3
    second = torch.cat([(label + 1) % 3, label])  # the first half leaves one class of two samples in two views as negatives, the second two
    value = make().contrast(*torch.randn(2, 6, 5), torch.zeros(12, 5), label, second)
    others = 6 * 4 * math.log(1 + 4), 6 * 3 * math.log(1 + 8)
    assert math.isclose(value.item(), sum(others) / (6 * 4 + 6 * 3), rel_tol=1e-5)


def test_open_gates_on_separated_classes_cost_what_the_temperature_says() -> None:
    label = torch.arange(6) % 3
    z, gate = torch.eye(3)[label], torch.ones(12, 3)
    for temperature in (0.1, 0.5):
        value = make(temperature=temperature).contrast(z, z, gate, label, label.repeat(2))
        assert math.isclose(value.item(), math.log(1 + 8 * math.exp(-1 / temperature)), rel_tol=1e-3)


def test_along_closed_dimensions_a_gradient_only_keeps_the_length() -> None:
    label, gate = torch.arange(6) % 3, torch.tensor([1.0, 1.0, 0.0, 0.0]).repeat(12, 1)
    z = torch.randn(2, 6, 4, requires_grad=True)
    (pull,) = torch.autograd.grad(make().contrast(z[0], z[1], gate, label, (label.repeat(2) + 1) % 3), z)
    torch.testing.assert_close(pull[..., 2] * z[..., 3], pull[..., 3] * z[..., 2], rtol=1e-4, atol=1e-6)
    assert not torch.allclose(pull[..., 0] * z[..., 1], pull[..., 1] * z[..., 0], rtol=0.1)


def test_exchanging_the_views_reordering_the_batch_and_scaling_change_nothing() -> None:
    method, label, second = make(), torch.randint(0, 3, (7,)), torch.randint(0, 3, (14,))
    (zv, zw), gate = torch.randn(2, 7, 5), torch.rand(14, 5)
    value = method.contrast(zv, zw, gate, label, second)
    torch.testing.assert_close(method.contrast(zw, zv, gate.roll(7, 0), label, second.roll(7)), value)
    order = torch.randperm(7)
    both = torch.cat([order, order + 7])
    torch.testing.assert_close(method.contrast(zv[order], zw[order], gate[both], label[order], second[both]), value)
    torch.testing.assert_close(method.contrast(3 * zv, torch.rand(7, 1).add(0.1) * zw, gate, label, second), value)


def test_pairs_without_a_sample_of_the_second_class_or_without_negatives_cost_nothing() -> None:
    method = make(classes=9)
    for label, second in ((torch.arange(4), torch.full((8,), 8)), (torch.arange(4) % 2, 1 - torch.arange(8) % 2)):
        z = torch.randn(2, 4, 5, requires_grad=True)
        value = method.contrast(z[0], z[1], torch.rand(8, 5), label, second)
        value.backward()
        assert value.item() == 0 and bool((z.grad == 0).all())


def test_the_classifier_only_watches() -> None:
    method, views = make(), two_views(9)
    terms = method.loss(*views)
    terms["classifier"].backward()
    assert {name for name, p in method.named_parameters() if p.grad is not None} == {"classifier.weight", "classifier.bias"}
    assert not terms["accuracy"].requires_grad and not terms["open"].requires_grad and 0 < float(terms["open"]) < 1


@pytest.mark.parametrize("pairs", PAIRS)
def test_everything_is_trained(pairs: str) -> None:
    assert without_gradient(make(pairs), *two_views(9)) == []


def test_steps_against_the_gradient_lower_the_loss() -> None:
    method, views = make("identical"), two_views(12)
    optimizer = torch.optim.SGD(method.parameters(), 0.1)
    losses = []
    for _ in range(20):
        losses.append(method.loss(*views)["pairs"])
        optimizer.zero_grad()
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]


def test_mixed_precision_changes_little() -> None:
    method, views = make(), two_views(9)
    exact = total(method, *views).detach()
    with torch.autocast("cpu", torch.bfloat16):
        rough = total(method, *views)
    assert rough.dtype == torch.float32 and rough.item() == pytest.approx(exact.item(), rel=0.05)


def test_settings_without_meaning_and_data_without_labels_are_refused() -> None:
    for message, wrong in (("pairs 'other'", {"pairs": "other"}), ("temperature 0", {"temperature": 0.0}), ("1 classes", {"classes": 1})):
        with pytest.raises(InputError, match=message):
            make(**wrong)
    with pytest.raises(InputError, match="distinct pairs need 3"):
        make("distinct", classes=2)
    v, w = two_views(4)
    with pytest.raises(InputError, match="label"):
        make().loss(View(v.x, v.index), View(w.x, w.index))


EACH, STEPS = 6, 2


def train(pairs: str, rank: int, size: int) -> dict[str, np.ndarray]:
    """Two steps of gradient descent on this rank's rows: the last gradients, and the state."""
    torch.manual_seed(1)
    method = make(pairs).train()
    if world() > 1:
        synchronise_batch_norm(method)
    for step in range(STEPS):
        views = [part(view, slice(rank * size, (rank + 1) * size)) for view in two_views(2 * EACH, seed=step, start=20 * step)]
        method.counter = Counter(0, step)
        method.zero_grad()
        total(method, *views).backward()
        for p in method.parameters():
            if world() > 1:
                dist.all_reduce(p.grad)
                p.grad /= world()
            p.data.sub_(0.1 * p.grad)
        method.after_step()
    gradients = {f"gradient of {key}": p.grad.numpy() for key, p in method.named_parameters()}
    return {**gradients, **{key: value.numpy() for key, value in method.state_dict().items()}}


def work(fabric: object, pairs: str) -> dict[str, np.ndarray]:
    return train(pairs, fabric.global_rank, EACH)


@pytest.mark.parametrize("pairs", PAIRS)
def test_two_processes_learn_what_one_does(pairs: str, pair: Pair) -> None:
    whole, ranks = train(pairs, 0, 2 * EACH), pair(work, pairs)
    for results in ranks:
        for key, expected in whole.items():
            np.testing.assert_allclose(results[key], expected, atol=2e-5, rtol=1e-3, err_msg=key)
