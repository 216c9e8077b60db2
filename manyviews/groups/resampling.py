"""Pictures and volumes under maps of the plane and of space, about their centres.

Coordinates have their origin in the centre and half the shortest side as unit, axes (x, y, z) = (width, height, depth): x right, y down. Elements that only
exchange and reverse axes move whole pixels, so that quarter turns and mirrors are exact; all others are resampled linearly, which blurs a little, and what
comes from beyond the border is 0 (or as `border` says). Maps that shrink by much alias: views (`manyviews.views`) average where a map shrinks, this does not.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torch.nn import functional as F

from manyviews.errors import InputError
from manyviews.groups.elements import Affine


def pictures(g: Affine, x: Tensor, border: str = "zeros", mode: str = "bilinear") -> Shaped[Tensor, "batch channels *extent"]:
    """What is at p goes to A p + b. `border`: zeros, border or reflection; `mode`: bilinear, nearest or, for pictures, bicubic.

    The gradient reaches x, and, where g asks for it, g. One element may serve a whole batch.
    """
    n = g.matrix.shape[-1] - 1
    if n not in (2, 3) or x.dim() != n + 2:
        wanted = {2: "(batch, channels, height, width)", 3: "(batch, channels, depth, height, width)"}.get(n, "nothing of the kind")
        raise InputError(f"maps in {n} dimensions act on {wanted}, not on {tuple(x.shape)}")
    if len(g.matrix) not in (1, len(x)):
        raise InputError(f"{len(g.matrix)} elements for {len(x)} pictures; one each, or one for all")
    matrix = g.matrix.expand(len(x), -1, -1)
    if matrix.requires_grad:
        return resampled(matrix, x, border, mode)
    codes = axis_codes(matrix, x)
    found = sorted(set(map(tuple, codes.tolist())))
    if not found:
        return x.clone()
    if len(found) == 1:
        return resampled(matrix, x, border, mode) if 0 in found[0] else exchanged(x, found[0])
    rows = [(codes == codes.new_tensor(code)).all(1).nonzero()[:, 0] for code in found]
    parts = [resampled(matrix[r], x[r], border, mode) if 0 in code else exchanged(x[r], code) for code, r in zip(found, rows, strict=True)]
    return torch.cat(parts)[torch.cat(rows).argsort()]


def axis_codes(matrix: Float[Tensor, "batch m m"], x: Shaped[Tensor, "batch channels *extent"]) -> Int[Tensor, "batch axes"]:
    """For each axis of the outcome +-(1 + the axis it comes from), minus where it is reversed; all 0 for maps that need resampling."""
    a, b = matrix[:, :-1, :-1], matrix[:, :-1, -1]
    whole, near = a.round(), 32 * torch.finfo(matrix.dtype).eps
    exact = ((a - whole).abs() <= near).all(2).all(1) & (b.abs() <= near).all(1)
    exact &= (whole.abs().sum(1) == 1).all(1) & (whole.abs().sum(2) == 1).all(1)
    source = whole.abs().argmax(2)
    extent = torch.tensor(x.shape[:1:-1], device=x.device)  # along x, y, z
    exact &= (extent[source] == extent).all(1)
    sign = whole.gather(2, source[..., None])[..., 0].long()
    return torch.where(exact[:, None], sign * (source + 1), 0)


def exchanged(x: Shaped[Tensor, "batch channels *extent"], code: tuple[int, ...]) -> Shaped[Tensor, "batch channels *extent"]:
    """Whole pixels moved: axes exchanged and reversed."""
    last = x.dim() - 1
    order = list(range(x.dim()))
    for axis, source in enumerate(code):
        order[last - axis] = last - (abs(source) - 1)
    return x.permute(order).flip([last - axis for axis, source in enumerate(code) if source < 0]).contiguous()


def resampled(
    matrix: Float[Tensor, "batch m m"], x: Shaped[Tensor, "batch channels *extent"], border: str, mode: str
) -> Shaped[Tensor, "batch channels *extent"]:
    """Each pixel from where it came from."""
    if not x.is_floating_point():
        raise InputError(f"resampling needs floats, not {x.dtype}: use x.float() / 255, or quarter turns and mirrors")
    extent = matrix.new_tensor(x.shape[:1:-1])
    sides = [(torch.arange(int(size), dtype=matrix.dtype, device=x.device) + 0.5 - size / 2) * 2 / min(x.shape[2:]) for size in x.shape[2:]]
    at = torch.stack(torch.meshgrid(*sides, indexing="ij")[::-1], -1)
    back = torch.linalg.inv(matrix)
    came_from = at.flatten(0, -2) @ back[:, :-1, :-1].mT + back[:, None, :-1, -1]
    grid = (came_from * extent.min() / extent).view(len(x), *at.shape)
    return F.grid_sample(x, grid.to(x.dtype), mode=mode, padding_mode=border, align_corners=False)


def in_pixels(g: Affine, *extent: int) -> Affine:
    """The same maps in pixel units with the corner at 0, as the `g` of views has them; extents along x, y (and z)."""
    size = g.matrix.new_tensor(extent)
    n = len(extent)
    if g.matrix.shape[-1] != n + 1:
        raise InputError(f"maps in {g.matrix.shape[-1] - 1} dimensions need as many extents, not {n}")
    to = torch.eye(n + 1, dtype=g.matrix.dtype, device=g.matrix.device)
    to[:n, :n] *= size.min() / 2
    to[:n, -1] = size / 2
    return Affine(to @ g.matrix @ torch.linalg.inv(to), g.parameters)
