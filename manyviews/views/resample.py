"""One resampling and one blur for a batch of pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def resample(x: Tensor | Sequence[Tensor], matrix: Float[Tensor, "batch 3 3"], size: int) -> Float[Tensor, "batch channels size size"]:
    """Pictures seen through an affine map.

    x: uint8 (or uint16, or float in [0, 1]) pictures, (batch, height, width, channels) or a list of (height, width, channels).
    matrix: sample pixels -> view pixels. Returns float in [0, 1].

    Enlarging is bilinear. Where the map shrinks by s > 1, each output pixel is the mean of a ceil(s) x ceil(s) grid of bilinear samples, which
    antialiases any affine map. Outside the picture the border is repeated.
    """
    if not isinstance(x, Tensor):
        shapes = {tuple(a.shape) for a in x}
        if len(shapes) == 1:
            x = torch.stack(list(x))
        else:
            return torch.cat([resample(a[None], m[None], size) for a, m in zip(x, matrix, strict=True)])
    top = {torch.uint8: 255.0, torch.uint16: 65535.0}.get(x.dtype, 1.0)
    height, width = x.shape[1:3]
    inverse = torch.linalg.inv(matrix.double())
    fine = torch.linalg.matrix_norm(inverse[:, :2, :2], ord=2).clamp(min=1).sub(1e-3).ceil().long().clamp(max=16)
    pixels = x.permute(0, 3, 1, 2).float().div_(top)
    to_unit = torch.tensor([[2 / width, 0, -1], [0, 2 / height, -1], [0, 0, 1]], device=matrix.device, dtype=torch.float64)
    from_unit = torch.tensor([[size / 2, 0, size / 2], [0, size / 2, size / 2], [0, 0, 1]], device=matrix.device, dtype=torch.float64)
    theta = (to_unit @ inverse @ from_unit)[:, :2].float()

    def sample(rows: Tensor | slice, k: int) -> Tensor:
        grid = F.affine_grid(theta[rows], [len(theta[rows]), 1, size * k, size * k], align_corners=False)
        out = F.grid_sample(pixels[rows], grid, mode="bilinear", padding_mode="border", align_corners=False)
        return F.avg_pool2d(out, k) if k > 1 else out

    factors = fine.unique().tolist()
    if len(factors) == 1:
        return sample(slice(None), factors[0])
    out = pixels.new_empty(len(pixels), pixels.shape[1], size, size)
    for k in factors:
        rows = (fine == k).nonzero()[:, 0]
        out[rows] = sample(rows, k)
    return out


def blur(x: Float[Tensor, "batch channels height width"], sigma: Float[Tensor, "batch"]) -> Float[Tensor, "batch channels height width"]:
    """A separable Gaussian of standard deviation `sigma` pixels a sample, cut at three of them; 0 leaves the sample as it is."""
    rows = (sigma > 0).nonzero()[:, 0]
    if not len(rows):
        return x
    picked, s = x[rows], sigma[rows, None]
    radius = max(1, math.ceil(3 * float(s.max())))
    t = torch.arange(-radius, radius + 1, device=x.device)
    kernel = torch.where(t.abs() <= (3 * s).ceil().clamp(min=1), (-0.5 * (t / s).square()).exp(), 0.0)
    kernel = kernel / kernel.sum(1, keepdim=True)
    n, channels, height, width = picked.shape
    weight = kernel.repeat_interleave(channels, 0)[:, None]
    flat = F.pad(picked, (radius,) * 4, mode="reflect" if radius < min(height, width) else "replicate").reshape(1, n * channels, height + 2 * radius, width + 2 * radius)
    flat = F.conv2d(F.conv2d(flat, weight[:, :, None], groups=n * channels), weight[:, :, :, None], groups=n * channels)
    return x.index_copy(0, rows, flat.view(n, channels, height, width))
