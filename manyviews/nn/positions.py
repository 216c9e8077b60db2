"""Where a token is, as a vector: fixed sines and cosines of any position, and learned tables read between their entries."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def sincos(where: Float[Tensor, "batch tokens axes"], dim: int, scale: float = 14.0) -> Float[Tensor, "batch tokens {dim}"]:
    """Sines and cosines of each coordinate at geometrically spaced frequencies from 1 down to 1/10000, `dim` numbers in all.

    A coordinate c in [0, 1] counts as c * scale - 0.5, so that the cells of a grid of `scale` cells are 0, 1, 2 ..., as in He et al. 2022
    (arXiv:2111.06377) for 14 patches a side. What does not divide evenly among the axes stays zero.
    """
    axes = where.shape[-1]
    count = dim // (2 * axes)
    frequency = 10000.0 ** (-torch.arange(count, device=where.device) / max(1, count))
    angle = (where.float() * scale - 0.5)[..., None] * frequency
    waves = torch.cat([angle.sin(), angle.cos()], -1).flatten(2)
    return torch.nn.functional.pad(waves, (0, dim - waves.shape[-1]))


def read_grid(
    table: Float[Tensor, "rows columns dim"],
    where: Float[Tensor, "batch tokens 2"],
    extent: Float[Tensor, "batch tokens 2"] | None = None,
) -> Float[Tensor, "batch tokens dim"]:
    """A learned table over the unit square, read at `where` (x, y) by antialiased bicubic interpolation.

    Exactly the entry at its cell's centre. For the cells of another grid, whose size is `extent`, what resizing the table to that grid gives (cubic
    convolution, Keys 1981, with a = -1/2, widened where the grid is coarser than the table), but for any tokens, kept or dropped, in any order.
    """
    across = cubic_weights(where[..., 0], table.shape[1], None if extent is None else extent[..., 0])
    down = cubic_weights(where[..., 1], table.shape[0], None if extent is None else extent[..., 1])
    both = (down[..., :, None] * across[..., None, :]).flatten(-2)
    with torch.autocast(where.device.type, enabled=False):
        return both @ table.float().flatten(0, 1)


def cubic_weights(at: Float[Tensor, "batch tokens"], cells: int, extent: Float[Tensor, "batch tokens"] | None) -> Float[Tensor, "batch tokens {cells}"]:
    """How much each of `cells` entries along [0, 1] counts at positions `at`; sums to one."""
    centres = torch.arange(cells, device=at.device) + 0.5
    distance = (centres - at.float()[..., None] * cells).abs()
    if extent is not None:
        distance = distance / (extent.float() * cells).clamp(min=1)[..., None]
    near = (1.5 * distance - 2.5) * distance.square() + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))
    return weights / weights.sum(-1, keepdim=True)
