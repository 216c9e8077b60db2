import math

import torch

from manyviews.contracts import View
from manyviews.nn.crops import cross_entropy_across, embed_crops


def test_crops_of_one_size_go_through_together_and_come_back_apart() -> None:
    crops = [View(torch.rand(3, 1, s, s), torch.arange(3)) for s in (4, 4, 2, 2, 2)]
    seen = []

    def network(crop: View) -> torch.Tensor:
        seen.append(tuple(crop.x.shape))
        return crop.x.mean((1, 2, 3))[:, None] + crop.index[:, None]

    found = embed_crops(network, crops)
    assert seen == [(6, 1, 4, 4), (9, 1, 2, 2)]
    for z, crop in zip(found, crops, strict=True):
        torch.testing.assert_close(z[:, 0], crop.x.mean((1, 2, 3)) + torch.arange(3))


def test_crops_that_are_no_tensors_go_one_by_one() -> None:
    crops = [View([torch.ones(k + 1)], torch.arange(1)) for k in range(2)]
    assert [float(z) for z in embed_crops(lambda crop: crop.x[0].sum()[None], crops)] == [1, 2]


def test_the_cross_entropy_is_the_mean_over_pairs_of_different_crops() -> None:
    targets, logits = torch.rand(2, 4, 3).softmax(2), torch.randn(5, 4, 3)
    slow, count = 0.0, 0
    for i in range(2):
        for j in range(5):
            if i == j:
                continue
            for b in range(4):
                norm = math.log(sum(math.exp(float(a)) for a in logits[j, b]))
                slow -= sum(float(targets[i, b, k]) * (float(logits[j, b, k]) - norm) for k in range(3)) / 4
            count += 1
    assert count == 8
    assert math.isclose(float(cross_entropy_across(list(targets), list(logits))), slow / count, rel_tol=1e-5)
