import pytest
import torch

from manyviews.errors import InputError
from manyviews.evaluate.boosted_trees import CATEGORIES, boosted_trees, predicted


def checkerboard(count: int = 600) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.rand(count, 3, generator=torch.Generator().manual_seed(0))
    return x, ((x[:, 0] > 0.5) ^ (x[:, 1] > 0.3)).long()


def test_trees_tell_what_no_line_tells_and_scales_mean_nothing_to_them():
    x, y = checkerboard()
    score = boosted_trees(x[:400], y[:400], x[400:], y[400:])
    assert score.value > 0.9 and score.low < score.value < score.high
    scaled = torch.stack([1e6 * x[:, 0] - 5, x[:, 1].exp(), x[:, 2]], 1)
    assert float((predicted(scaled[:400], y[:400], scaled[400:]) == predicted(x[:400], y[:400], x[400:])).float().mean()) > 0.97


def test_missing_values_are_taken_as_they_are():
    x, y = checkerboard()
    x[:, 0] = torch.where(y == 1, torch.nan, x[:, 0])
    assert boosted_trees(x[:400], y[:400], x[400:], y[400:]).value == 1.0


def test_category_numbers_have_no_order():
    g = torch.Generator().manual_seed(1)
    c = torch.randint(0, 12, (600, 1), generator=g)
    y = torch.tensor([0, 1, 1, 0, 1, 0, 0, 1, 0, 1, 1, 0])[c[:, 0]]
    assert boosted_trees(c[:400].float(), y[:400], c[400:].float(), y[400:], categorical=[0]).value > 0.95
    far = torch.cat([c, c + 10 * CATEGORIES]).float()
    assert len(predicted(far, torch.cat([y, y]), far[:5], categorical=[0])) == 5


def test_the_same_seed_gives_the_same_answer_and_the_input_stays_as_it_is():
    x, y = checkerboard()
    x[:, 2] = (x[:, 2] * 300).floor() - 2
    before = x.clone()
    assert torch.equal(predicted(x, y, x, [2], seed=3), predicted(x, y, x, [2], seed=3)) and torch.equal(x, before)


def test_what_cannot_be_learned_is_said():
    x, y = checkerboard(20)
    with pytest.raises(InputError, match="1 class; trees need two"):
        predicted(x, y * 0, x)
    with pytest.raises(InputError, match="3 columns and the test rows 2"):
        predicted(x, y, x[:, :2])
