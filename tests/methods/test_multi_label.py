import math

import pytest
import torch
from gloo_pair import Pair
from small_encoder import SmallEncoder, two_views, without_gradient
from torch import Tensor

from manyviews.contracts import View
from manyviews.errors import InputError
from manyviews.methods.predict.multi_label import MultiLabel
from manyviews.nn.distributed import world

LABELS = torch.tensor([[0, -1, -1], [2, 4, 2], [1, 3, 4], [-1, -1, -1], [-1, 0, -1], [4, 4, 4]])


def view(labels: Tensor = LABELS, rows: slice = slice(None)) -> View:
    v, _ = two_views(len(labels))
    return View(v.x[rows], v.index[rows], None, {"labels": labels[rows]})


def slow(logits: Tensor, labels: Tensor, balance: bool) -> float:
    """The binary cross-entropies one by one; a class that is there counts classes / (classes there) times."""
    costs = []
    for row, classes in zip(logits.double().tolist(), labels.tolist(), strict=True):
        there = {k for k in classes if k >= 0}
        if there:
            weight = len(row) / len(there) if balance else 1.0
            each = [weight * -math.log(1 / (1 + math.exp(-x))) if k in there else -math.log(1 - 1 / (1 + math.exp(-x))) for k, x in enumerate(row)]
            costs.append(sum(each) / len(each))
    return sum(costs) / len(costs)


@pytest.mark.parametrize("balance", [True, False])
def test_the_loss_is_that_of_the_paper(balance: bool) -> None:
    method, v = MultiLabel(SmallEncoder(), 5, balance).eval(), view()
    expected = slow(method.classifier(method.encoder(v)), LABELS, balance)
    assert method.loss(v)["loss"].item() == pytest.approx(expected, rel=1e-5)


def test_which_place_a_class_stands_in_and_how_often_says_nothing() -> None:
    method = MultiLabel(SmallEncoder(), 5).eval()
    other = torch.tensor([[-1, 0, 0], [4, 2, -1], [4, 1, 3], [-1, -1, -1], [0, 0, -1], [4, -1, -1]])
    torch.testing.assert_close(method.loss(view(other))["loss"], method.loss(view())["loss"])


def test_balanced_classes_pull_a_lone_class_as_hard_as_all_others_push() -> None:
    method = MultiLabel(SmallEncoder(), 5).eval()
    torch.nn.init.zeros_(method.classifier.weight)
    torch.nn.init.zeros_(method.classifier.bias)
    method.loss(view(torch.tensor([[2]] * 4)))["loss"].backward()
    bias = method.classifier.bias.grad
    assert bias is not None and bias[2].item() == pytest.approx(-0.5) and (bias.sum() - bias[2]).item() == pytest.approx(0.5 * 4 / 5)


def test_one_label_a_sample_will_do_and_unknown_ones_take_no_part() -> None:
    method = MultiLabel(SmallEncoder(), 5).eval()
    label = torch.tensor([0, 4, -1, 2])
    v, _ = two_views(4)
    single = View(v.x, v.index, None, {"label": label})
    torch.testing.assert_close(method.loss(single), method.loss(View(v.x, v.index, None, {"labels": label[:, None]})))
    nothing = method.loss(View(v.x, v.index, None, {"label": torch.full((4,), -1)}))
    assert nothing["loss"].item() == 0 and nothing["loss"].requires_grad


def test_what_is_seen_first_is_counted() -> None:
    method = MultiLabel(SmallEncoder(), 5).eval()
    torch.nn.init.zeros_(method.classifier.weight)
    method.classifier.bias.data = torch.tensor([0.0, 0, 0, 0, 1])
    assert method.loss(view())["first_is_there"].item() == pytest.approx(3 / 5)  # of the five samples that are known


def test_every_parameter_learns() -> None:
    assert without_gradient(MultiLabel(SmallEncoder(), 5), view()) == []


def test_data_without_classes_and_a_single_class_are_refused() -> None:
    v, _ = two_views(4)
    with pytest.raises(InputError, match="column `labels`"):
        MultiLabel(SmallEncoder(), 5).loss(View(v.x, v.index))
    with pytest.raises(InputError, match="it needs two or more"):
        MultiLabel(SmallEncoder(), 1)


def gradients(fabric: object) -> tuple[list[float], dict[str, Tensor]]:
    import torch.distributed as dist

    torch.manual_seed(0)
    method = MultiLabel(SmallEncoder(), 5).eval()
    part = slice(3 * dist.get_rank(), 3 * dist.get_rank() + 3) if world() > 1 else slice(None)
    terms = method.loss(view(rows=part))
    terms["loss"].backward()
    found = {name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None}
    values = torch.stack([term.detach() for term in terms.values()])
    if world() > 1:
        for tensor in [*found.values(), values]:
            dist.all_reduce(tensor)
            tensor /= world()
    return values.tolist(), found


def test_two_processes_are_one_though_one_knows_fewer_labels(pair: Pair) -> None:
    alone, one = gradients(None)
    (first, a), (second, b) = pair(gradients)
    assert first == second == pytest.approx(alone, rel=1e-5)
    for name, g in one.items():
        torch.testing.assert_close(a[name], g, rtol=1e-4, atol=1e-7)
        assert torch.equal(a[name], b[name])
