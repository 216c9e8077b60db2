"""The Lie derivative of encoders, in each of the ways it can be taken."""

import pytest
import torch

from manyviews.errors import InputError
from manyviews.evaluate.symmetry import Symmetry
from manyviews.evaluate.symmetry_lie import MODES, lie_norm

DOUBLE = torch.float64


def plane_flow(xi, t):
    return turn(t * xi, plane_points)


def turn(t, p):
    return torch.stack([t.cos() * p[:, 0] - t.sin() * p[:, 1], t.sin() * p[:, 0] + t.cos() * p[:, 1]], 1)


plane_points = torch.randn(30, 2, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)


@pytest.mark.parametrize("mode", MODES)
def test_the_lie_norm_is_zero_for_equivariant_encoders_and_known_for_the_identity(mode):
    xi = [torch.tensor(1.0, dtype=DOUBLE), torch.tensor(2.0, dtype=DOUBLE)]
    flat = lie_norm(lambda p: p, plane_flow, xi, plane_points, mode=mode)
    ratio_of_norms = float((plane_points.square().sum() / (plane_points - plane_points.mean(0)).square().sum()).sqrt())
    assert flat.each == pytest.approx((ratio_of_norms, 2 * ratio_of_norms), rel=1e-8) and flat.score.value == pytest.approx(1.5 * ratio_of_norms)
    undone = lie_norm(lambda p: p * p.norm(dim=1, keepdim=True), plane_flow, xi, plane_points, undo=lambda xi, t, z: turn(-t * xi, z), mode=mode)
    assert undone.score.value < 1e-8
    assert lie_norm(lambda p: p.norm(dim=1, keepdim=True), plane_flow, xi, plane_points, mode=mode).score.value < 1e-8


def test_an_encoder_without_forward_derivatives_or_without_gradients_gets_the_same_number():
    anchors, xi = torch.randn(5, 2, dtype=DOUBLE), [torch.tensor(1.0, dtype=DOUBLE)]
    usual = lie_norm(lambda p: (p[:, None] - anchors).norm(dim=-1), plane_flow, xi, plane_points)
    distances = lie_norm(lambda p: torch.cdist(p, anchors), plane_flow, xi, plane_points)
    detached = lie_norm(lambda p: (p[:, None] - anchors).norm(dim=-1).detach(), plane_flow, xi, plane_points)
    assert usual.mode == "forward" and distances.mode != "forward" and detached.mode == "differences"
    assert distances.score.value == pytest.approx(usual.score.value, rel=1e-6) and detached.score.value == pytest.approx(usual.score.value, rel=1e-6)
    with pytest.raises(InputError, match="collapsed"):
        lie_norm(lambda p: torch.ones(len(p), 3), plane_flow, xi, plane_points)


def test_a_result_takes_the_lie_norm_beside_its_own_scores():
    lie = lie_norm(lambda p: p, plane_flow, [torch.tensor(1.0, dtype=DOUBLE)], plane_points)
    found = Symmetry("plane", "measured", {})
    assert found.with_lie(lie).scores == {"Lie norm (forward)": lie.score} and not found.scores
