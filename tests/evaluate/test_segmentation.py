"""Segmentation by a linear probe against slow loops, on places whose class is known by construction."""

from __future__ import annotations

import pytest
import torch

from manyviews.contracts import Tokens, View
from manyviews.errors import InputError
from manyviews.evaluate.segmentation import Located, between, count, dice, features, grid, mean_iou, part_iou, segmentation


def cloud(seed: int, category: int = -1, places: int = 200) -> Located:
    """Points in a box, class 1 where x is above 0; the encoder that is asked sees the points themselves."""
    where = torch.rand(places, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    view = View(where[None], torch.tensor([seed]))
    return Located(view, where, (where[:, 0] > 0).long(), category)


def seen(view: View) -> list[Tokens]:
    return [Tokens(view.x, view.x)]


def test_a_class_that_is_linear_in_the_features_is_found() -> None:
    found = segmentation(seen, [cloud(i) for i in range(20)], [cloud(i) for i in range(100, 110)], ["left", "right"])
    assert found["part mIoU"].value > 0.97 and "part mIoU by category" not in found


def test_features_that_say_nothing_find_nothing() -> None:
    def blind(view: View) -> list[Tokens]:
        return [Tokens(torch.ones_like(view.x), view.x)]

    found = segmentation(blind, [cloud(i) for i in range(20)], [cloud(i) for i in range(100, 110)], ["left", "right"])
    assert found["part mIoU"].value < 0.35


def test_only_parts_of_the_own_category_are_answered() -> None:
    """Categories 0 and 1 use classes 0 and 1, and 2 and 3, by the same rule: only the category tells them apart."""

    def of(seed: int, category: int) -> Located:
        one = cloud(seed, category)
        return Located(one.view, one.places, one.labels + 2 * category, category)

    train = [of(i, i % 2) for i in range(20)]
    test = [of(100 + i, i % 2) for i in range(10)]
    found = segmentation(seen, train, test, ["a", "b", "c", "d"])
    assert found["part mIoU"].value > 0.95 and found["part mIoU by category"].value > 0.95


def test_part_iou_is_that_of_a_slow_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    said, truth = (torch.randint(0, 3, (7, 50), generator=generator) for _ in range(2))
    truth[0][truth[0] == 2] = 0
    said[0][said[0] == 2] = 1  # part 2 is neither there nor predicted: 1
    rows = []
    for a, b in zip(said, truth, strict=True):
        values = []
        for part in range(3):
            union = sum(bool(x == part or y == part) for x, y in zip(a, b, strict=True))
            both = sum(bool(x == part and y == part) for x, y in zip(a, b, strict=True))
            values.append(both / union if union else 1.0)
        rows.append(sum(values) / 3)
    found = part_iou([(0, count(a, b, 3)) for a, b in zip(said, truth, strict=True)], {0: torch.arange(3)})
    assert found["part mIoU"].value == pytest.approx(sum(rows) / len(rows))


def test_dice_leaves_out_the_background_and_classes_that_are_nowhere() -> None:
    truth, said = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([0, 1, 1, 1, 0])
    found = dice([count(said, truth, 3)], ["background", "organ", "other"])
    assert found["Dice"].value == pytest.approx(2 * 2 / (3 + 3)) and found["Dice organ"].value == pytest.approx(2 / 3) and "Dice other" not in found
    with pytest.raises(InputError, match="no class but the background"):
        dice([count(torch.zeros(3, dtype=torch.long), torch.zeros(3, dtype=torch.long), 2)], ["background", "organ"])


def test_mean_iou_is_that_of_a_slow_loop_over_all_pictures_together() -> None:
    generator = torch.Generator().manual_seed(0)
    said, truth = (torch.randint(0, 3, (5, 40), generator=generator) for _ in range(2))
    truth[:, :4] = -1
    pairs = [(int(a), int(b)) for a, b in zip(said.flatten(), truth.flatten(), strict=True) if b >= 0]
    slow = [sum(a == b == c for a, b in pairs) / sum(c in (a, b) for a, b in pairs) for c in range(3)]
    found = mean_iou([count(a, b, 4) for a, b in zip(said, truth, strict=True)], ["sky", "road", "car", "nowhere"])
    assert found["mIoU"].value == pytest.approx(sum(slow) / 3)
    assert [found[f"IoU {name}"].value for name in ("sky", "road", "car")] == pytest.approx(slow) and "IoU nowhere" not in found
    assert found["right places"].value == pytest.approx(sum(a == b for a, b in pairs) / len(pairs))
    assert all(score.low < score.value < score.high for score in found.values())
    with pytest.raises(InputError, match="no place whose class is known"):
        mean_iou([count(said[0], -torch.ones(40, dtype=torch.long), 4)], [])


def test_places_whose_class_is_not_known_count_nowhere() -> None:
    assert count(torch.tensor([1, 1, 0]), torch.tensor([1, -1, -1]), 2).tolist() == [[0, 1], [0, 1], [0, 1]]


@pytest.mark.parametrize("counts", [[2, 3, 4], [5, 3]])
def test_between_cells_of_a_grid_features_are_linear(counts: list[int]) -> None:
    """The centres' own coordinates as features: what comes out between centres is the place itself."""
    axes = torch.meshgrid(*((torch.arange(n) + 0.5) / n for n in counts), indexing="ij")
    where = torch.stack(axes[::-1], -1).view(1, -1, len(counts))
    assert grid(Tokens(where, where)) == counts
    inside = 0.5 + (torch.rand(1, 30, len(counts), generator=torch.Generator().manual_seed(0)) - 0.5) * 0.4
    inside = torch.where(torch.tensor(counts[::-1]) == 2, 0.25 + 0.5 * inside, inside)
    torch.testing.assert_close(between(where, counts, inside), inside)


def test_tokens_elsewhere_are_no_grid() -> None:
    where = torch.rand(1, 24, 3, generator=torch.Generator().manual_seed(0))
    assert grid(Tokens(where, where)) is None
    axes = torch.meshgrid(*(torch.arange(n).float() for n in (2, 3, 4)), indexing="ij")
    assert grid(Tokens(where, torch.stack(axes[::-1], -1).view(1, -1, 3))) is None


def test_levels_stand_beside_each_other() -> None:
    one = cloud(0)
    x = features(lambda view: [Tokens(view.x, view.x), Tokens(-view.x[:, :5], view.x[:, :5])], one)
    assert x.shape == (200, 6)
    torch.testing.assert_close(x[:, :3], one.places, atol=1e-4, rtol=1e-4)


def test_one_class_is_too_few() -> None:
    one = cloud(0)
    with pytest.raises(InputError, match="two classes"):
        segmentation(seen, [Located(one.view, one.places, torch.zeros(200, dtype=torch.long))], [one], ["a", "b"])
