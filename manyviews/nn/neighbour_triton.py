"""Farthest points on CUDA, compiled by Triton: one program a cloud, which keeps all its points in registers. PyTorch would start eight kernels a choice."""

from __future__ import annotations

import warnings
from typing import no_type_check

import torch
import triton
import triton.language as tl
from jaxtyping import Bool, Float, Int
from torch import Tensor

from manyviews.nn import neighbour_plain as plain

LARGEST = 1 << 14  # points of a cloud that registers have room for
_refused: list[str] = []  # why it does not run here, once that is known


@triton.jit
@no_type_check
def choose(x, y, z, near, start, chosen, points, count, width: tl.constexpr):
    """chosen (clouds, count): rows of the points x, y, z (clouds, points), each the farthest from those before it; `near` is inf, or -1 for padding."""
    cloud = tl.program_id(0).to(tl.int64)
    row = tl.arange(0, width)
    first, real = cloud * points, row < points
    px = tl.load(x + first + row, mask=real, other=0.0)
    py = tl.load(y + first + row, mask=real, other=0.0)
    pz = tl.load(z + first + row, mask=real, other=0.0)
    distance = tl.load(near + first + row, mask=real, other=-1.0)
    at = tl.load(start + cloud).to(tl.int32)
    for k in range(count):
        tl.store(chosen + cloud * count + k, at)
        a, b, c = px - tl.load(x + first + at), py - tl.load(y + first + at), pz - tl.load(z + first + at)
        distance = tl.where(row == at, -1.0, tl.minimum(distance, a * a + b * b + c * c))
        at = tl.argmax(distance, 0)  # of equal ones the first


def fits(points: Float[Tensor, "batch points axes"]) -> bool:
    """Whether the kernel takes such points, and has not failed here."""
    return points.dtype == torch.float32 and points.shape[1] <= LARGEST and not _refused


def farthest(
    points: Float[Tensor, "batch points axes"], exists: Bool[Tensor, "batch points"] | None, start: Int[Tensor, "batch"], count: int
) -> Int[Tensor, "batch {count}"]:
    """Rows of points, each the farthest from those before it; when all are chosen they come again. In PyTorch where Triton fails, after a warning."""
    try:
        chosen = launched(points.detach(), exists, start, min(count, points.shape[1]))
    except Exception as error:  # the compilers of a machine fail in many ways
        _refused.append(str(error))
        warnings.warn(f"farthest points are found by PyTorch, more slowly: Triton fails with {type(error).__name__}: {error}", stacklevel=3)
        return plain.farthest(points, exists, start, count)
    return plain.repeated(chosen, count, points, exists)


def launched(points: Tensor, exists: Tensor | None, start: Tensor, count: int) -> Int[Tensor, "batch {count}"]:
    """Runs the kernel. Products and sums are rounded one by one, as in PyTorch, lest other points be chosen."""
    clouds, n, axes = points.shape
    chosen = torch.empty(clouds, count, dtype=torch.long, device=points.device)
    if not clouds:
        return chosen
    x, y, z = torch.nn.functional.pad(points, (0, 3 - axes)).permute(2, 0, 1).contiguous()
    near = points.new_full((clouds, n), torch.inf)
    near = near if exists is None else near.masked_fill(~exists, -1)
    width = triton.next_power_of_2(n)
    with torch.cuda.device(points.device):
        choose[(clouds,)](x, y, z, near, start, chosen, n, count, width, num_warps=min(max(width // 256, 1), 16), enable_fp_fusion=False)
    return chosen
