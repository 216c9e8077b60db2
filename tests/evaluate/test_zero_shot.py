"""Zero-shot and retrieval, against slow loops; ties win nothing."""

import pytest
import torch
from torch.nn.functional import normalize

from manyviews.errors import InputError
from manyviews.evaluate.zero_shot import class_embeddings, prompts, recall, zero_shot, zero_shot_accuracy


def random(rows: int, dim: int = 8, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))


def test_prompts_name_each_class_in_each_template():
    assert prompts(["hot_dog", "cat"], ["a photo of a {}.", "{}"]) == [["a photo of a hot dog.", "hot dog"], ["a photo of a cat.", "cat"]]
    with pytest.raises(InputError, match="'a photo' has no {}"):
        prompts(["cat"], ["a photo"])
    with pytest.raises(InputError, match="no templates"):
        prompts(["cat"], [])


def test_class_embeddings_are_normalised_before_and_after_the_mean():
    table = {"a 1": [3.0, 0.0], "b 1": [0.0, 0.1]}
    (found,) = class_embeddings(lambda texts: torch.tensor([table[t] for t in texts]), ["1"], ["a {}", "b {}"])
    torch.testing.assert_close(found, torch.tensor([0.5, 0.5]).sqrt())


def test_accuracy_is_that_of_a_slow_loop():
    x, c, y = random(50), random(7, seed=1), torch.arange(50) % 7
    cosine = [[float(normalize(a, dim=0) @ normalize(b, dim=0)) for b in c] for a in x]
    first = sum(max(range(7), key=row.__getitem__) == int(k) for row, k in zip(cosine, y, strict=True)) / 50
    fifth = sum(sum(v > row[int(k)] for v in row) < 5 for row, k in zip(cosine, y, strict=True)) / 50
    scores = zero_shot_accuracy(x, c, y)
    assert (scores["zero-shot"].value, scores["zero-shot top-5"].value) == (first, fifth)
    assert torch.equal(zero_shot(x, c).argmax(1), torch.tensor(cosine).argmax(1))
    assert list(zero_shot_accuracy(x, c[:3], y % 3)) == ["zero-shot"]


def test_recall_both_ways_is_that_of_a_slow_loop_with_several_texts_a_picture():
    x, t, own = random(6), random(11, seed=1), torch.tensor([0, 0, 1, 2, 2, 2, 3, 5, 5, 0, 1])
    s = normalize(x, dim=1) @ normalize(t, dim=1).T
    scores = recall(x, t, own, k=(1, 3))
    for k in (1, 3):
        forth = [any(int(own[j]) == i for j in s[i].topk(k).indices.tolist()) for i in range(6) if (own == i).any()]
        back = [int(own[j]) in s[:, j].topk(k).indices.tolist() for j in range(11)]
        assert scores[f"image to text R@{k}"].value == pytest.approx(sum(forth) / len(forth))
        assert scores[f"text to image R@{k}"].value == pytest.approx(sum(back) / 11)


def test_a_perfect_match_is_found_and_a_constant_embedding_wins_nothing():
    x = random(20)
    assert {s.value for s in recall(x, 3 * x).values()} == {1.0}
    same = torch.ones(20, 8)
    assert {s.value for s in recall(same, same).values()} == {0.0}
    assert zero_shot_accuracy(same, torch.ones(7, 8), torch.zeros(20, dtype=torch.long))["zero-shot"].value == 0


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(InputError, match="3 pictures and 4 texts"):
        recall(random(3), random(4))
    with pytest.raises(InputError, match="3 pictures and 2 labels"):
        zero_shot_accuracy(random(3), random(4), torch.zeros(2, dtype=torch.long))
