"""One resampling, one blur and one colour map for a batch of pictures: the only places where views touch pixels.

On the CPU the compiled `manyviews.views.kernels` do it where numba can be imported; elsewhere the plain PyTorch of this file, which says what is
meant. Both compute a sample in the same way whatever batch it is in.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.errors import InputError
from manyviews.groups import Colour
from manyviews.nn import memory
from manyviews.nn.compiled import shared

Pictures = Tensor | Sequence[Tensor]  # (count, height, width, channels), or a list of (height, width, channels)
TOP = {torch.uint8: 255.0, torch.uint16: 65535.0, torch.float32: 1.0}
FARTHEST = 16  # a map that shrinks by more sees a picture that was averaged over blocks first
CHUNK = 1 << 24  # bilinear samples at a time


def see(
    x: Pictures, matrix: Float[Tensor, "views 3 3"], size: int, sigma: Float[Tensor, "views"] | None = None
) -> tuple[Float[Tensor, "views channels size size"], Float[Tensor, "views channels"]]:
    """Pictures seen through affine maps, in [0, 1], blurred where `sigma` (pixels of the view) is not 0; and each view's mean before the blur.

    x: uint8, uint16, or float in [0, 1]. matrix: picture pixels -> view pixels, for each picture once, or again in the same order for more views.

    Enlarging is bilinear. Where the map shrinks by s > 1 (at its most), each output pixel is the mean of a ceil(s) x ceil(s) grid of bilinear
    samples, which antialiases any affine map. Beyond the edge the border is repeated.
    """
    x = understood(x)
    learned = matrix.requires_grad or (sigma is not None and sigma.requires_grad)
    kernels = compiled() if matrix.device.type == "cpu" and not learned else None
    if kernels is not None:
        out, mean, farthest = by_kernels(kernels, x, matrix, size, sigma)
        return (out, mean) if farthest <= FARTHEST else see(*nearer(x, matrix), size, sigma)
    if float(shrinkage(matrix).max()) > FARTHEST:
        x, matrix = nearer(x, matrix)
    out = plain(x, matrix, size)
    mean = out.mean((2, 3), dtype=torch.float64).float()
    return (out if sigma is None else blur(out, sigma)), mean


def resample(x: Pictures, matrix: Float[Tensor, "views 3 3"], size: int) -> Float[Tensor, "views channels size size"]:
    """The first half of `see`, without a blur."""
    return see(x, matrix, size)[0]


def paint(
    x: Float[Tensor, "batch channels height width"], colour: Colour | None = None, threshold: Float[Tensor, "batch"] | None = None
) -> Float[Tensor, "batch channels height width"]:
    """Colours mapped, clamped to [0, 1], and inverted from the threshold on (none above 1). May write over x."""
    learned = x.requires_grad or (colour is not None and colour.matrix.requires_grad)
    kernels = compiled() if x.device.type == "cpu" and colour is not None and x.is_contiguous() and not learned else None
    if kernels is None or colour is None:
        x = (x if colour is None else colour.act(x)).clamp(0, 1)
        return x if threshold is None else torch.where(x >= threshold[:, None, None, None], 1 - x, x)
    flat, m = x.flatten(2).numpy(), colour.matrix.float().contiguous().numpy()
    at = (torch.full((len(x),), 2.0) if threshold is None else threshold.float()).numpy()
    shared(lambda first, last: kernels.paint(flat, m, at, first, last), len(x))
    return x


# --- compiled ---------------------------------------------------------------------------------------------------------------------------------


@functools.cache
def compiled() -> ModuleType | None:
    """The compiled kernels, or None where numba is not installed."""
    try:
        return importlib.import_module("manyviews.views.kernels")
    except ImportError:
        return None


def by_kernels(kernels: ModuleType, x: Pictures, matrix: Tensor, size: int, sigma: Tensor | None) -> tuple[Tensor, Tensor, float]:
    """Views, means, and the most that a map shrinks; views that shrink by more than FARTHEST are left out."""
    views, channels = len(matrix), x[0].shape[-1]
    out = torch.from_numpy(memory.empty((views, channels, size, size), np.float32))
    means = torch.empty(views, channels, dtype=torch.float64)
    maps, sigmas = matrix.detach().double().contiguous().numpy(), (torch.zeros(views) if sigma is None else sigma.float()).contiguous().numpy()
    pictures = [x.contiguous()] if isinstance(x, Tensor) else [a.contiguous()[None] for a in x]
    flat = [a.view(-1).numpy() for a in pictures]
    to, means_to = out.view(views, -1).numpy(), means.numpy()
    farthest = []

    def work(first: int, last: int) -> None:
        step = last - first if len(pictures) == 1 else 1
        for i in range(first, last, step):
            k = i % len(pictures)
            count, height, width, _ = pictures[k].shape
            rows, top = slice(i, i + step), TOP[pictures[k].dtype]
            most = kernels.look(flat[k], count, height, width, channels, top, maps[rows], sigmas[rows], i, to[rows].reshape(-1), size, means_to[rows])
            farthest.append(most)

    shared(work, views)
    return out, means.float(), max(farthest, default=0.0)


# --- plain PyTorch ----------------------------------------------------------------------------------------------------------------------------


def plain(x: Pictures, matrix: Float[Tensor, "views 3 3"], size: int) -> Float[Tensor, "views channels size size"]:
    """`resample` in PyTorch, on any device."""
    flat, start, extent = laid_out(x)
    channels, batch = x[0].shape[-1], torch.arange(len(matrix), device=matrix.device) % len(x)
    inverse = torch.linalg.inv(matrix.double())
    fine = (shrinkage(matrix) - 1e-3).ceil().clamp(min=1).long()
    out = torch.empty(len(matrix), channels, size, size, device=matrix.device)
    for k in fine.unique().tolist():
        for rows in (fine == k).nonzero()[:, 0].split(max(1, CHUNK // (size * k) ** 2)):
            seen = bilinear(flat, start[batch[rows]], extent[batch[rows]], channels, places(inverse[rows], size, k))
            out[rows] = F.avg_pool2d(seen, k) if k > 1 else seen
    return out


def laid_out(x: Pictures) -> tuple[Tensor, Int[Tensor, "batch"], Int[Tensor, "batch 2"]]:
    """All pictures behind one another, where each begins, and its width and height."""
    pictures = list(x)
    if {a.dtype for a in pictures} != {torch.uint8}:  # PyTorch indexes uint16 on few devices
        pictures = [a.float() / TOP[a.dtype] for a in pictures]
    extent = torch.tensor([a.shape[1::-1] for a in pictures])
    start = F.pad(torch.tensor([a.numel() for a in pictures]).cumsum(0), (1, -1))
    flat = torch.cat([a.reshape(-1) for a in pictures])
    return flat, start.to(flat.device), extent.to(flat.device)


def places(inverse: Float[Tensor, "views 3 3"], size: int, k: int) -> Iterator[Float[Tensor, "views fine fine"]]:
    """Where the k x k samples of each output pixel are in the picture, first along x, then along y, in its pixels."""
    at = (torch.arange(size * k, device=inverse.device, dtype=torch.float64) + 0.5) / k
    for row in (0, 1):
        a, b, c = (inverse[:, row, column, None, None] for column in range(3))
        yield a * at + b * at[:, None] + c


def bilinear(
    flat: Tensor, start: Int[Tensor, "views"], extent: Int[Tensor, "views 2"], channels: int, where: Iterable[Float[Tensor, "views fine fine"]]
) -> Float[Tensor, "views channels fine fine"]:
    """Pictures at places (x and y, in pixels; beyond the edge there is the border), by elementary operations only: a view is the same bits in any batch."""
    low, high, part = [], [], []
    for row, place in enumerate(where):
        last = extent[:, row, None, None] - 1
        p = (place - 0.5).clamp(min=0).minimum(last)
        low.append(p.detach().long())
        high.append(torch.minimum(low[row] + 1, last))
        part.append((p - low[row]).float())
    begin, width = start[:, None, None], extent[:, 0, None, None]
    corners = [begin + (y * width + x) * channels for y in (low[1], high[1]) for x in (low[0], high[0])]
    top = TOP[flat.dtype]

    def channel(c: int) -> Tensor:
        a, b, d, e = ((flat[corner + c]).float() for corner in corners)
        above, below = (1 - part[0]) * a + part[0] * b, (1 - part[0]) * d + part[0] * e
        return ((1 - part[1]) * above + part[1] * below) / top

    return torch.stack([channel(c) for c in range(channels)], 1)


def blur(x: Float[Tensor, "batch channels height width"], sigma: Float[Tensor, "batch"]) -> Float[Tensor, "batch channels height width"]:
    """A separable Gaussian of standard deviation `sigma` pixels a sample, cut at three of them; mirrored at the edges, 0 leaves the sample as it is."""
    rows = (sigma > 0).nonzero()[:, 0]
    if not len(rows):
        return x
    picked, s = x[rows], sigma[rows].double().clamp(max=min(x.shape[2:]) / 3)
    reach = (3 * s).ceil().clamp(min=1)
    radius = int(reach.max())
    offsets = range(-radius, radius + 1)
    weights = [torch.where(reach >= abs(t), (-0.5 * (t / s).square()).exp(), 0.0) for t in offsets]
    whole = functools.reduce(torch.add, weights)
    for dim in (2, 3):
        n = picked.shape[dim]
        place = torch.arange(-radius, n + radius, device=x.device).abs() % max(1, 2 * n - 2)
        padded = picked.index_select(dim, torch.minimum(place, 2 * n - 2 - place))
        picked = torch.zeros_like(picked)
        for t, weight in zip(offsets, weights, strict=True):
            picked += (weight / whole).float()[:, None, None, None] * padded.narrow(dim, t + radius, n)
    return x.index_copy(0, rows, picked)


# --- what both need ---------------------------------------------------------------------------------------------------------------------------


def understood(x: Pictures) -> Pictures:
    """Pictures of a type that is read as it is; raises InputError for what is not a picture."""
    some = [x] if isinstance(x, Tensor) else list(x)
    wrong = {str(a.dtype).removeprefix("torch.") for a in some if a.dtype not in TOP and not a.is_floating_point()}
    if wrong:
        raise InputError(f"pictures of type {', '.join(sorted(wrong))} are not understood; uint8, uint16 and floats in [0, 1] are")
    channels = {a.shape[-1] for a in some}
    if len(channels) > 1:
        raise InputError(f"pictures of {' and '.join(map(str, sorted(channels)))} channels in one batch; give all of them the same")
    if all(a.dtype in TOP for a in some):
        return x
    return x.float() if isinstance(x, Tensor) else [a if a.dtype in TOP else a.float() for a in x]


def shrinkage(matrix: Float[Tensor, "views 3 3"]) -> Float[Tensor, "views"]:
    """How many picture pixels a view pixel is wide at the most: the larger singular value of the inverse map."""
    a, b, c, d = matrix[:, :2, :2].double().flatten(1).unbind(1)
    return 0.5 * ((a + d).hypot(c - b) + (a - d).hypot(b + c)) / (a * d - b * c).abs()


def nearer(x: Pictures, matrix: Float[Tensor, "views 3 3"]) -> tuple[list[Tensor], Float[Tensor, "views 3 3"]]:
    """A picture for each map; where the map shrinks by s > FARTHEST the picture is averaged over blocks of floor(2 s / FARTHEST) pixels first."""
    pictures, scale = [], torch.ones(len(matrix), 3, device=matrix.device)
    for i, s in enumerate(shrinkage(matrix).tolist()):
        picture = x[i % len(x)]
        if s > FARTHEST:
            q = math.floor(2 * s / FARTHEST)
            strips = [(strip.permute(2, 0, 1).float() / TOP[strip.dtype])[None] for strip in picture.split(64 * q)]
            pooled = [F.avg_pool2d(strip, q, ceil_mode=True, count_include_pad=False) for strip in strips]
            picture = torch.cat(pooled, 2)[0].permute(1, 2, 0)
            scale[i, :2] = q
        pictures.append(picture if picture.dtype == torch.float32 else picture.float() / TOP[picture.dtype])
    return pictures, matrix * scale[:, None]
