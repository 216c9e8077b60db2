"""SLA's joint labels, votes and distillation against loops over samples and copies, and its ablations."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from gloo_pair import Pair
from small_encoder import SmallEncoder, part, total, two_views, without_gradient
from torch import Tensor

from manyviews.contracts import View
from manyviews.errors import InputError
from manyviews.methods.predict.sla import SLA

KINDS: dict[str, dict[str, Any]] = {
    "rotations": {},
    "half turns": {"turns": 2},
    "colours": {"turns": 1, "orders": 6},
    "both": {"orders": 3},
    "not distilled": {"distil": False},
    "multi-task": {"task": "multi"},
    "augmentation": {"task": "augment"},
}


def method(**settings: Any) -> SLA:
    torch.manual_seed(0)
    return SLA(SmallEncoder(), classes=3, **settings).eval()


def copies_of(x: Tensor, turns: int, orders: int) -> list[Tensor]:
    """The copies of one picture, one pixel after another: first turned, then its channels exchanged."""
    side, copies = x.shape[1], []
    permutations: list[tuple[int, ...]] = {1: [(0, 1, 2)], 3: [(0, 1, 2), (1, 2, 0), (2, 0, 1)], 6: list(itertools.permutations(range(3)))}[orders]
    for quarters, order in itertools.product({1: [0], 2: [0, 2], 4: [0, 1, 2, 3]}[turns], permutations):
        turned = x.clone()
        for _ in range(quarters):
            before = turned.clone()
            for row, column in itertools.product(range(side), range(side)):
                turned[:, side - 1 - column, row] = before[:, row, column]
        copies.append(torch.stack([turned[channel] for channel in order]))
    return copies


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(v) for v in values]
    return [p / sum(powers) for p in powers]


def slow(m: SLA, v: View, turns: int = 4, orders: int = 1, temperature: float = 1.0) -> dict[str, float]:
    """The paper's terms, sample by sample: y is the class i, j the transformation, and (i, j) is label i * M + j."""
    joint = single = distillation = 0.0
    for x, y in zip(v.x, v.given["label"].tolist(), strict=True):
        copies = copies_of(x, turns, orders)
        z = [m.encoder(View(c[None], torch.zeros(1, dtype=torch.int64))) for c in copies]
        logits = [m.classifier(a)[0].tolist() for a in z]
        joint -= sum(math.log(softmax(logits[j])[y * len(copies) + j]) for j in range(len(copies))) / len(copies)
        if m.single is not None:
            vote = [sum(logits[j][i * len(copies) + j] for j in range(len(copies))) / len(copies) for i in range(3)]
            own = m.single(z[0])[0].tolist()
            single -= math.log(softmax(own)[y])
            p, q = softmax([a / temperature for a in vote]), softmax([a / temperature for a in own])
            distillation += temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    return {name: value / len(v) for name, value in {"joint": joint, "single": single, "distillation": distillation}.items()}


@pytest.mark.parametrize("name", ["rotations", "half turns", "colours", "both"])
def test_the_terms_are_the_papers(name: str) -> None:
    m, (v, _) = method(distil_temperature=2.0, **KINDS[name]), two_views(5)
    terms, expected = m.loss(v), slow(m, v, KINDS[name].get("turns", 4), KINDS[name].get("orders", 1), 2.0)
    for term, value in expected.items():
        assert math.isclose(float(terms[term].detach()), value, rel_tol=1e-4), term


def test_the_vote_is_the_mean_of_what_each_copy_says_under_its_own_transformation() -> None:
    m, (v, _) = method(orders=3), two_views(4)
    for b, x in enumerate(v.x):
        copies = copies_of(x, 4, 3)
        own = torch.zeros(3)
        for j, c in enumerate(copies):
            logits = m.classifier(m.encoder(View(c[None], v.index[:1])))[0]
            own += torch.stack([logits[i * len(copies) + j] for i in range(3)]) / len(copies)
        torch.testing.assert_close(m.aggregated(v)[b], own)


def test_without_transformations_the_vote_is_one_pass_and_the_loss_a_plain_cross_entropy() -> None:
    m, (v, _) = method(turns=1, distil=False), two_views()
    logits = m.classifier(m.encoder(v))
    torch.testing.assert_close(m.aggregated(v), logits)
    torch.testing.assert_close(m.predict(v), logits)
    torch.testing.assert_close(m.loss(v)["joint"], torch.nn.functional.cross_entropy(logits, v.given["label"]))


def test_one_pass_answers_under_no_transformation_or_by_the_distilled_classifier() -> None:
    (v, _) = two_views()
    undistilled, distilled = method(distil=False), method()
    torch.testing.assert_close(undistilled.predict(v), undistilled.classifier(undistilled.encoder(v))[:, ::4])
    assert distilled.single is not None
    torch.testing.assert_close(distilled.predict(v), distilled.single(distilled.encoder(v)))


def test_turning_the_picture_changes_which_copy_is_which_and_augmentation_alone_does_not_mind() -> None:
    (v, _) = two_views()
    turned = View(v.x.rot90(1, (2, 3)), v.index, given=v.given)
    plain, joint = method(task="augment"), method()
    torch.testing.assert_close(plain.aggregated(v), plain.aggregated(turned))
    assert not torch.allclose(joint.aggregated(v), joint.aggregated(turned), atol=1e-3)


def test_multi_task_learning_tells_class_and_transformation_apart_by_two_classifiers() -> None:
    m, (v, _) = method(task="multi"), two_views(4)
    classes = which = 0.0
    assert m.which is not None
    for x, y in zip(v.x, v.given["label"].tolist(), strict=True):
        for j, c in enumerate(copies_of(x, 4, 1)):
            z = m.encoder(View(c[None], v.index[:1]))
            classes -= math.log(softmax(m.classifier(z)[0].tolist())[y]) / 16
            which -= math.log(softmax(m.which(z)[0].tolist())[j]) / 16
    terms = {name: float(term.detach()) for name, term in m.loss(v).items()}
    assert terms["class"] == pytest.approx(classes, rel=1e-4) and terms["transformation"] == pytest.approx(which, rel=1e-4)
    assert terms.keys() == {"class", "transformation", "accuracy"}


def test_the_vote_teaches_and_does_not_learn_from_the_distilled_classifier() -> None:
    m, (v, _) = method(), two_views()
    m.loss(v)["distillation"].backward()
    assert m.classifier.weight.grad is None and m.single is not None and m.single.weight.grad is not None


def test_summed_is_the_mean_times_the_copies_and_beta_weighs_the_single_cross_entropy() -> None:
    v, _ = two_views()
    once, all_of_them, twice = (method(**settings).loss(v) for settings in ({}, {"summed": True}, {"beta": 2.0}))
    torch.testing.assert_close(all_of_them["joint"], 4 * once["joint"])
    torch.testing.assert_close(twice["single"], 2 * once["single"])
    torch.testing.assert_close(all_of_them["single"], once["single"])


@pytest.mark.parametrize("name", KINDS)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    assert without_gradient(SLA(SmallEncoder(), classes=3, **KINDS[name]), two_views()[0]) == []


def test_samples_whose_label_is_not_known_take_no_part() -> None:
    m, (v, _) = method(), two_views()
    known = torch.tensor([1, 2, 5])
    label = torch.full_like(v.given["label"], -1).index_put((known,), v.given["label"][known])
    got, expected = m.loss(View(v.x, v.index, given={"label": label})), m.loss(View(v.x[known], v.index[known], given={"label": label[known]}))
    assert got.keys() == expected.keys()
    for term in got:
        torch.testing.assert_close(got[term], expected[term])


def gradients(rows: tuple[int, int], label: list[int]) -> dict[str, Tensor]:
    m, (v, _) = method(orders=3), two_views()
    total(m, part(View(v.x, v.index, given={"label": torch.tensor(label)}), slice(*rows))).backward()
    return {key: p.grad for key, p in m.named_parameters() if p.grad is not None}


def gradients_of_rank(fabric: Any, label: list[int]) -> dict[str, Tensor]:
    return gradients((4 * fabric.global_rank, 4 * fabric.global_rank + 4), label)


def test_two_processes_get_the_gradient_of_one_with_unknown_labels(pair: Pair) -> None:
    label = [0, -1, -1, 2, 1, 1, 0, -1]
    whole, (a, b) = gradients((0, 8), label), pair(gradients_of_rank, label)
    for key, expected in whole.items():
        torch.testing.assert_close((a[key] + b[key]) / 2, expected)


def test_what_cannot_be_is_refused_all_at_once() -> None:
    with pytest.raises(InputError) as error:
        SLA(SmallEncoder(), classes=3, turns=3, orders=2, distil_temperature=0.0)
    assert len(error.value.problems) == 3
    v, _ = two_views()
    grey = View(v.x[:, :1], v.index, given=v.given)
    with pytest.raises(InputError, match="1 channels"):
        method(orders=6).loss(grey)
    with pytest.raises(InputError, match="square"):
        method().loss(View(v.x[:, :, :3], v.index, given=v.given))
    with pytest.raises(InputError, match="class folders"):
        method().loss(View(v.x, v.index))
