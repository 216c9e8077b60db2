"""Each method over crops or masks computes nearly the same in mixed precision, and its gradients are finite and in float32."""

import pytest
import torch
from test_crops_and_masks_in_two_processes import METHODS
from tiny_vit import crops, sum_of


@pytest.mark.parametrize("name", METHODS)
def test_mixed_precision_changes_little(name: str) -> None:
    method, views = METHODS[name](), crops(8)
    views = {"v": views["global_crops"][0]} if name == "mae" else views
    exact = sum_of(method, views)
    with torch.autocast("cpu", torch.bfloat16):
        rough = sum_of(method, views)
    rough.backward()
    assert rough.dtype == torch.float32
    assert float(rough) == pytest.approx(float(exact), rel=0.1)
    assert all(p.grad.isfinite().all() and p.grad.dtype == torch.float32 for p in method.parameters() if p.requires_grad)
