import torch

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.nn.edges import contours
from manyviews.views.finding import find_policy


def test_the_second_view_is_the_first_ones_contours():
    samples = View((torch.rand(3, 20, 24, 3) * 255).byte(), torch.arange(3))
    policy = find_policy("mrdd", 16)
    seen = policy(samples, Counter(0, 0))
    assert list(seen) == ["v", "w"] and policy.pixels == 16
    assert torch.equal(seen["w"].x, contours(seen["v"].x)) and seen["w"].x.shape == (3, 3, 16, 16)
    assert torch.equal(seen["w"].g.geometry.matrix, seen["v"].g.geometry.matrix)
    again = policy(samples, Counter(1, 7))
    assert torch.equal(again["w"].x, seen["w"].x)
