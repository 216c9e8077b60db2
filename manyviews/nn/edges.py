"""Where brightness changes: contours of pictures, and gradients of pictures and volumes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def contours(x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch channels height width"]:
    """How much brighter the brightest of a pixel's 3 x 3 neighbours is, channel by channel: 0 on plain ground, bright along edges, on their dark side."""
    return F.max_pool2d(x, 3, 1, 1) - x


def sobel(x: Float[Tensor, "batch channels *sides"]) -> Float[Tensor, "batch channels *sides"]:
    """The length of the brightness gradient in units a pixel, by Sobel's operator along every side longer than 1, channel by channel.

    Beyond the border the nearest pixel is repeated. A ramp of slope s has the length s everywhere inside.
    """
    axes = [axis for axis in range(2, x.dim()) if x.shape[axis] > 1]
    squares = torch.zeros_like(x)
    for along in axes:
        d = weighted(x, along, (-0.5, 0.0, 0.5))
        for across in axes:
            if across != along:
                d = weighted(d, across, (0.25, 0.5, 0.25))
        squares = squares + d.square()
    return squares.sqrt()


def weighted(x: Tensor, axis: int, weights: tuple[float, float, float]) -> Tensor:
    """Each entry's neighbours along an axis, before, at and after it, times the weights."""
    ends = x.narrow(axis, 0, 1), x.narrow(axis, x.shape[axis] - 1, 1)
    wide, n = torch.cat([ends[0], x, ends[1]], axis), x.shape[axis]
    before, at, after = (wide.narrow(axis, k, n) for k in range(3))
    return weights[0] * before + weights[1] * at + weights[2] * after
