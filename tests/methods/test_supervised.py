import math

import pytest
import torch
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


def test_data_without_labels_is_an_error_that_says_where_labels_come_from() -> None:
    v, _ = two_views()
    with pytest.raises(InputError, match="class folders"):
        Supervised(SmallEncoder(), classes=3).loss(View(v.x, v.index))


def test_what_is_exported_is_the_encoder() -> None:
    method = Supervised(SmallEncoder(), classes=3)
    assert method.exported is method.encoder and part(two_views()[0], slice(2)).x.shape[0] == 2
