import math

import pytest
import torch
from gloo_pair import Pair
from small_encoder import SmallEncoder, part, two_views, without_gradient

from manyviews.contracts import View
from manyviews.errors import InputError
from manyviews.methods.predict.supervised import Supervised


def test_the_loss_is_the_cross_entropy_with_smoothed_labels() -> None:
    v, _ = two_views()
    for smoothing in (0.0, 0.1):
        method = Supervised(SmallEncoder(), classes=3, smoothing=smoothing)
        value = float(method.loss(v)["loss"])
        p = method.classifier(method.encoder(v)).softmax(1)
        slow = 0.0
        for i, y in enumerate(v.given["label"].tolist()):
            slow -= sum((smoothing / 3 + (1 - smoothing) * (c == y)) * math.log(float(p[i, c])) for c in range(3)) / 8
        assert math.isclose(value, slow, rel_tol=1e-4)


def test_smoothing_is_off_by_default() -> None:
    assert Supervised(SmallEncoder(), classes=3).smoothing == 0


def test_every_parameter_gets_a_gradient_and_the_accuracy_gives_none() -> None:
    method, (v, _) = Supervised(SmallEncoder(), classes=3), two_views()
    assert without_gradient(method, v) == []
    assert not method.loss(v)["accuracy"].requires_grad


def test_it_learns_its_batch_by_heart_and_says_so() -> None:
    method, (v, _) = Supervised(SmallEncoder(), classes=3), two_views(12)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.3, momentum=0.9)
    for _ in range(60):
        terms = method.loss(v)
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
    assert float(terms["accuracy"]) == 1 and float(terms["loss"]) < 0.1


def test_labels_of_any_integer_type_will_do() -> None:
    method, (v, _) = Supervised(SmallEncoder(), classes=3), two_views()
    small = View(v.x, v.index, given={"label": v.given["label"].to(torch.uint8)})
    assert torch.equal(method.loss(small)["loss"], method.loss(v)["loss"])


def test_samples_whose_label_is_not_known_take_no_part() -> None:
    method, (v, _) = Supervised(SmallEncoder(), classes=3, smoothing=0.1).eval(), two_views()
    known = torch.tensor([0, 2, 3, 6])
    label = torch.full_like(v.given["label"], -1).index_put((known,), v.given["label"][known])
    got, expected = method.loss(View(v.x, v.index, given={"label": label})), method.loss(View(v.x[known], v.index[known], given={"label": label[known]}))
    for name in ("loss", "accuracy"):
        torch.testing.assert_close(got[name], expected[name])


def test_where_no_label_is_known_the_loss_is_zero_with_a_gradient_of_zeros() -> None:
    method, (v, _) = Supervised(SmallEncoder(), classes=3), two_views()
    terms = method.loss(View(v.x, v.index, given={"label": torch.full_like(v.given["label"], -1)}))
    terms["loss"].backward()
    assert float(terms["loss"].detach()) == 0 == float(terms["accuracy"])
    assert all(p.grad is not None and not p.grad.any() for p in method.parameters())


def mean_loss(fabric: object, rows: tuple[int, int], label: list[int]) -> tuple[float, torch.Tensor]:
    """The loss of some rows and its gradient by the classifier's weights, as every rank would have them."""
    torch.manual_seed(0)
    method, (v, _) = Supervised(SmallEncoder(), classes=3).eval(), two_views()
    view = part(View(v.x, v.index, given={"label": torch.tensor(label)}), slice(*rows))
    loss = method.loss(view)["loss"]
    loss.backward()
    return float(loss.detach()), method.classifier.weight.grad.clone()


def mean_loss_of_rank(fabric: object, label: list[int]) -> tuple[float, torch.Tensor]:
    rank = fabric.global_rank  # type: ignore[attr-defined]
    return mean_loss(fabric, (4 * rank, 4 * rank + 4), label)


@pytest.mark.parametrize("label", [[0, -1, -1, 2, 1, 1, 0, -1], [-1, -1, -1, -1, 0, 1, 2, 0], [-1] * 8])
def test_two_processes_give_the_loss_and_gradient_of_one_with_unknown_labels(label: list[int], pair: Pair) -> None:
    whole, ranks = mean_loss(None, (0, 8), label), pair(mean_loss_of_rank, label)
    assert math.isclose(sum(value for value, _ in ranks) / 2, whole[0], rel_tol=1e-5, abs_tol=1e-7)
    torch.testing.assert_close(sum(gradient for _, gradient in ranks) / 2, whole[1])


def test_data_without_labels_is_an_error_that_says_where_labels_come_from() -> None:
    v, _ = two_views()
    with pytest.raises(InputError, match="class folders"):
        Supervised(SmallEncoder(), classes=3).loss(View(v.x, v.index))


def test_what_is_exported_is_the_encoder() -> None:
    method = Supervised(SmallEncoder(), classes=3)
    assert method.exported is method.encoder and part(two_views()[0], slice(2)).x.shape[0] == 2
