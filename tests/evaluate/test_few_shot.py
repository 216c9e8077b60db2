"""Few-shot episodes, retrieval, label fractions and robustness on made-up features."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import manyviews.evaluate.few_shot as few_shot_module
import manyviews.evaluate.retrieval as retrieval_module
from manyviews.errors import InputError
from manyviews.evaluate.few_shot import centroid, draw, few_shot, logistic
from manyviews.evaluate.label_fraction import label_fraction, subset
from manyviews.evaluate.linear import linear
from manyviews.evaluate.retrieval import average_precision, retrieval
from manyviews.evaluate.robustness import robustness
from manyviews.evaluate.scores import Labelled


def clustered(rows: int, spread: float, classes: int = 6, dim: int = 10, seed: int = 0) -> Labelled:
    means = torch.randn(classes, dim, generator=torch.Generator().manual_seed(42))
    y = torch.arange(rows) % classes
    return Labelled(means[y] + spread * torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), y, classes)


def test_few_shot_is_chance_without_and_perfect_with_separate_classes() -> None:
    good = few_shot(clustered(120, 0.01), clustered(120, 0.01, seed=1), episodes=40)
    assert set(good) == {f"5-way {k}-shot {c}" for k in (1, 5) for c in ("centroid", "logistic")}
    assert all(score.value > 0.99 for score in good.values())
    nothing = [Labelled(torch.randn(120, 10, generator=torch.Generator().manual_seed(k)), torch.arange(120) % 6, 6) for k in (0, 1)]
    assert all(abs(score.value - 0.2) < 0.05 for score in few_shot(*nothing, episodes=100).values())


def test_more_shots_help_and_the_answer_repeats() -> None:
    train, test = clustered(300, 1.0), clustered(300, 1.0, seed=1)
    once, twice = few_shot(train, test, episodes=100), few_shot(train, test, episodes=100)
    assert once == twice
    assert once["5-way 5-shot centroid"].value > once["5-way 1-shot centroid"].value + 0.05


def test_episode_rows_are_of_their_class_and_never_repeated() -> None:
    y = torch.arange(30) % 3
    rows = draw(y, torch.tensor([[0, 2], [1, 0]] * 5), 4, torch.Generator().manual_seed(0))
    assert (y[rows] == torch.tensor([[0, 2], [1, 0]] * 5)[:, :, None]).all()
    assert all(len(set(r.tolist())) == 4 for r in rows.flatten(0, 1))


def test_episodes_of_large_classes_are_drawn_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    rand = torch.rand

    def counted(*shape: int, generator: torch.Generator) -> torch.Tensor:
        sizes.append(shape[0] * shape[1])
        return rand(*shape, generator=generator)

    y, classes = torch.arange(300) % 3, torch.tensor([[0, 2], [1, 0]] * 50)
    monkeypatch.setattr(few_shot_module, "DRAWN", 1000)
    monkeypatch.setattr(torch, "rand", counted)
    rows = draw(y, classes, 4, torch.Generator().manual_seed(0))
    assert max(sizes) <= 1000 and sum(sizes) == 200 * 100
    assert (y[rows] == classes[:, :, None]).all() and all(len(set(r.tolist())) == 4 for r in rows.flatten(0, 1))


def test_episode_classifiers_equal_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import NearestCentroid

    g = torch.Generator().manual_seed(0)
    unit = torch.nn.functional.normalize
    support, query = unit(torch.randn(4, 3, 5, 30, generator=g), dim=-1), unit(torch.randn(4, 20, 30, generator=g), dim=-1)
    centre = 0.1 * torch.randn(30, generator=g)
    y = np.repeat(np.arange(3), 5)
    for e in range(4):
        theirs = LogisticRegression(C=1.0, tol=1e-8).fit(support[e].flatten(0, 1).numpy(), y)
        assert (logistic(support, query)[e].numpy() == theirs.predict(query[e].numpy())).mean() > 0.94
        nearest = NearestCentroid().fit(unit(support[e].flatten(0, 1) - centre, dim=1).numpy(), y)
        assert (centroid(support, query, centre)[e].numpy() == nearest.predict(unit(query[e] - centre, dim=1).numpy())).all()


def test_fewer_than_five_classes_make_smaller_episodes_and_one_class_none() -> None:
    assert "3-way 1-shot centroid" in few_shot(clustered(30, 1.0, classes=3), clustered(30, 1.0, classes=3, seed=1), episodes=5)
    lone = Labelled(torch.randn(5, 4), torch.zeros(5, dtype=torch.int64), 2)
    with pytest.raises(InputError, match="few-shot needs two classes"):
        few_shot(lone, lone)


def test_average_precision_equals_scikit_learn() -> None:
    from sklearn.metrics import average_precision_score

    bank, queries = clustered(80, 1.0), clustered(12, 1.0, seed=1)
    found = average_precision(queries.x, queries.y, bank.x, bank.y, chunk=5)
    cosine = torch.nn.functional.normalize(queries.x, dim=1) @ torch.nn.functional.normalize(bank.x, dim=1).T
    expected = [average_precision_score((bank.y == c).numpy(), s.numpy()) for c, s in zip(queries.y, cosine, strict=True)]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_a_large_bank_is_sorted_for_few_queries_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    bank, queries = clustered(60, 1.0), clustered(20, 1.0, seed=1)
    expected = average_precision(queries.x, queries.y, bank.x, bank.y)
    sizes: list[int] = []
    argsort = torch.Tensor.argsort
    monkeypatch.setattr(retrieval_module, "HELD", 200)
    monkeypatch.setattr(torch.Tensor, "argsort", lambda a, **options: sizes.append(a.numel()) or argsort(a, **options))
    torch.testing.assert_close(average_precision(queries.x, queries.y, bank.x, bank.y), expected)
    assert max(sizes) <= 200 and sum(sizes) == 60 * 20


def test_retrieval_leaves_the_query_itself_out() -> None:
    """Every test sample is alone in its direction: with itself allowed, recall would be one."""
    test = Labelled(torch.eye(6), torch.tensor([0, 0, 1, 1, 2, 2]), 3)
    scores = retrieval(Labelled(torch.eye(6), torch.tensor([0, 0, 1, 1, 2, 2]), 3), test, ranks=(1,))
    assert scores["recall@1"].value == 1.0
    assert scores["recall@1 among test"].value < 0.5


def test_recall_counts_a_query_once_any_of_its_nearest_is_of_its_class() -> None:
    bank = Labelled(torch.tensor([[1.0, 0], [0.9, 0.1], [0, 1]]), torch.tensor([0, 1, 2]), 3)
    test = Labelled(torch.tensor([[1.0, 0.0], [1.0, 0.01], [0.1, 1.0]]), torch.tensor([0, 1, 2]), 3)
    scores = retrieval(bank, test, ranks=(1, 2))
    assert scores["recall@1"].value == pytest.approx(2 / 3)
    assert scores["recall@2"].value == 1.0
    assert scores["mAP"].value == pytest.approx((1 + 0.5 + 1) / 3)


def test_queries_without_anything_to_find_do_not_count() -> None:
    bank = Labelled(torch.eye(2), torch.tensor([0, 1]), 3)
    scores = retrieval(bank, Labelled(torch.eye(2), torch.tensor([0, 2]), 3), ranks=(1,))
    assert scores["recall@1"].value == 1.0 and "mAP among test" not in scores
    with pytest.raises(InputError, match="retrieve"):
        retrieval(bank, Labelled(torch.eye(2)[:1], torch.tensor([2]), 3))


def test_label_fractions_keep_a_sample_of_each_class_and_more_labels_help() -> None:
    train, test = clustered(600, 1.5), clustered(300, 1.5, seed=1)
    scores = label_fraction(train, test)
    assert list(scores) == ["1% of labels", "10% of labels", "100% of labels"]
    assert scores["100% of labels"].value > scores["1% of labels"].value + 0.1
    assert set(train.y[subset(train, 0.001, 0)].tolist()) == set(range(6))
    assert len(subset(train, 0.1, 0)) == 60


def test_the_fraction_of_all_labels_is_the_linear_probe() -> None:
    train, test = clustered(120, 1.0), clustered(60, 1.0, seed=1)
    whole = linear(train)
    assert label_fraction(train, test, whole, fractions=(1.0,))["100% of labels"].value == float((whole.predict(test.x) == test.y).double().mean())


def test_robustness_averages_severities_and_then_corruptions() -> None:
    y = torch.tensor([0, 1, 0, 1])
    looks = [
        ("noise", torch.tensor([[0.0], [1], [0], [1]]), y),
        ("noise", torch.tensor([[0.0], [0], [0], [0]]), y),
        ("blur", torch.tensor([[0.0], [1], [1], [1]]), y),
    ]
    scores = robustness(lambda x: x[:, 0].long(), iter(looks))
    assert scores["corrupted by noise"].value == pytest.approx(0.75)
    assert scores["corrupted by blur"].value == pytest.approx(0.75)
    assert scores["corrupted"].value == pytest.approx(0.75)
    assert list(scores) == ["corrupted", "corrupted by noise", "corrupted by blur"]
