import pytest
import torch
import torch.nn.functional as F
from torch import nn

from manyviews.nn.prototypes import Centre, PrototypeHead, warmed


def test_the_head_is_the_papers_perceptron_and_cosines_to_unit_prototypes() -> None:
    head = PrototypeHead(6, 65536)
    assert [layer.out_features for layer in head.mlp if isinstance(layer, nn.Linear)] == [2048, 2048, 256]
    assert sum(isinstance(layer, nn.GELU) for layer in head.mlp) == 2 and len(head.mlp) == 5
    small = PrototypeHead(6, 5, hidden=8, bottleneck=4)
    x = torch.randn(3, 6)
    z = small.mlp(x)
    for i in range(3):
        for k in range(5):
            w = small.prototypes[k]
            torch.testing.assert_close(small(x)[i, k], z[i] @ w / z[i].norm() / w.norm())


def test_scaling_prototypes_or_the_bottleneck_changes_nothing() -> None:
    head, x = PrototypeHead(6, 5, hidden=8, bottleneck=4), torch.randn(3, 6)
    before = head(x)
    head.prototypes.data.mul_(3)
    head.mlp[-1].weight.data.mul_(7)
    torch.testing.assert_close(head(x), before)
    assert before.abs().max() <= 1 + 1e-6


def test_the_centre_is_the_running_mean_of_what_was_seen_since_the_last_update() -> None:
    centre, a, b = Centre(3, decay=0.9), torch.randn(3), torch.randn(3)
    centre.see(a)
    assert centre.value.eq(0).all()
    centre.update()
    torch.testing.assert_close(centre.value, 0.1 * a)
    centre.see(a)
    centre.see(b)
    centre.update()
    torch.testing.assert_close(centre.value, 0.09 * a + 0.05 * (a + b))
    before = centre.value.clone()
    centre.update()
    assert torch.equal(centre.value, before)


@pytest.mark.parametrize(("progress", "expected"), [(0.0, 0.04), (0.15, 0.055), (0.3, 0.07), (1.0, 0.07)])
def test_the_temperature_warms_up_along_a_line(progress: float, expected: float) -> None:
    assert warmed(0.04, 0.07, 0.3, progress) == pytest.approx(expected)
    assert warmed(0.04, 0.07, 0.0, progress) == 0.07


def test_a_head_that_sees_one_direction_gives_one_answer() -> None:
    head = PrototypeHead(6, 5, hidden=8, bottleneck=4)
    z = F.normalize(torch.randn(1, 4), dim=1)
    torch.testing.assert_close(head.logits(z.expand(2, -1))[0], head.logits(z)[0])
