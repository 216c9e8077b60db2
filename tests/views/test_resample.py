"""Resampling and blur: the compiled path is the plain one, shrinking does not alias, and points go where the map says."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from manyviews.errors import InputError
from manyviews.groups import Affine, Colour
from manyviews.views import resample as module
from manyviews.views.resample import blur, paint, plain, resample, see

compiled = pytest.mark.skipif(module.compiled() is None, reason="needs numba")


def scaling(sx: float, sy: float, tx: float = 0.0, ty: float = 0.0) -> Tensor:
    return torch.tensor([[[sx, 0, tx], [0, sy, ty], [0, 0, 1.0]]])


def turning(angle: float, centre: float, scale: float = 1.0) -> Tensor:
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    return torch.tensor([[[c, -s, centre - c * centre + s * centre], [s, c, centre - s * centre - c * centre], [0, 0, 1]]])


def slow(picture: Tensor, matrix: Tensor, size: int) -> Tensor:
    """The definition in loops: (height, width, channels) in [0, 1] -> (channels, size, size), float64."""
    inverse = np.linalg.inv(matrix.double().numpy())
    height, width, _ = picture.shape
    k = max(1, math.ceil(np.linalg.norm(inverse[:2, :2], 2) - 1e-3))
    x, out = picture.double().numpy(), np.zeros((picture.shape[2], size, size))
    for j in range(size):
        for i in range(size):
            for b in range(k):
                for a in range(k):
                    px, py, _ = inverse @ [i + (a + 0.5) / k, j + (b + 0.5) / k, 1] - 0.5
                    px, py = min(max(px, 0), width - 1), min(max(py, 0), height - 1)
                    x0, y0 = int(px), int(py)
                    x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
                    fx, fy = px - x0, py - y0
                    top, bottom = (1 - fx) * x[y0, x0] + fx * x[y0, x1], (1 - fx) * x[y1, x0] + fx * x[y1, x1]
                    out[:, j, i] += ((1 - fy) * top + fy * bottom) / k**2
    return torch.from_numpy(out)


MAPS = {
    "enlarged": scaling(2.3, 1.7, -3.1, -2.2),
    "shrunk": scaling(0.3, 0.45, 0.6, 0.2),
    "flipped": scaling(-0.8, 1.1, 11.0, 0.4),
    "upside down": scaling(0.5, -0.4, 0.0, 8.0),
    "mostly outside": scaling(0.2, 0.2, 5.0, 7.0),
    "turned": turning(0.7, 6.0, 0.6),
}


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("path", [pytest.param(resample, id="compiled", marks=compiled), pytest.param(plain, id="plain")])
def test_resampling_is_its_definition_in_loops(name: str, path: Callable) -> None:
    picture = torch.rand(17, 23, 2)
    torch.testing.assert_close(path(picture[None], MAPS[name], 12)[0].double(), slow(picture, MAPS[name][0], 12), rtol=0, atol=1e-5)


def pictures_of(kind: str) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    sizes = [(40, 30), (33, 47), (8, 9), (64, 64), (1, 5)]
    channels = {"uint16": 1, "float": 5}.get(kind, 3)
    floats = [torch.rand(h, w, channels, generator=generator) for h, w in sizes]
    if kind == "uint8":
        return [(a * 255).to(torch.uint8) for a in floats]
    return [(a * 65535).int().to(torch.uint16) for a in floats] if kind == "uint16" else floats


@compiled
@pytest.mark.parametrize("kind", ["uint8", "uint16", "float"])
@pytest.mark.parametrize("size", [1, 7, 32, 120])
def test_the_compiled_path_equals_the_plain_one(kind: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = pictures_of(kind)
    boxes = torch.tensor([[3, 2, 20, 31], [0, 0, 47, 33], [1, 1, 5, 4], [10, 9, 50, 17], [0, 0, 5, 1]]).float()
    matrix = torch.cat([scaling(size / float(w), size / float(h), -float(a * size / w), -float(b * size / h)) for a, b, w, h in boxes])
    matrix = torch.cat([matrix, turning(0.4, size / 2) @ matrix, scaling(-1, 1, size, 0) @ matrix])
    sigma = torch.tensor([0.0, 0.3, 1.7, 0.05, 2.5]).repeat(3)
    fast = see(x, matrix, size, sigma)
    monkeypatch.setattr(module, "compiled", lambda: None)
    for got, expected in zip(fast, see(x, matrix, size, sigma), strict=True):
        torch.testing.assert_close(got, expected, rtol=0, atol=2e-6)


@compiled
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_painting_compiled_equals_painting_plain(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, colour = torch.rand(4, channels, 6, 6), Colour(torch.randn(4, channels, channels + 1))
    threshold = torch.tensor([0.5, 2.0, 0.2, 2.0])
    fast = paint(x.clone(), colour, threshold)
    assert torch.equal(paint(x.clone(), None, threshold)[1], x[1])
    monkeypatch.setattr(module, "compiled", lambda: None)
    expected = paint(x.clone(), colour, threshold)
    near = (expected - 0.5).abs() < 1e-5  # either side of the threshold
    torch.testing.assert_close(fast[~near], expected[~near], rtol=0, atol=1e-6)


@pytest.mark.parametrize("fast", [pytest.param(True, marks=compiled), False])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_view_is_the_same_bits_in_any_batch(fast: bool, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fast:
        monkeypatch.setattr(module, "compiled", lambda: None)
    generator = torch.Generator().manual_seed(1)
    x = [(torch.rand(20 + 9 * i, 50 - 4 * i, 3, generator=generator) * 255).to(torch.uint8) for i in range(7)]
    sizes = torch.linspace(12, 60, 7)
    matrix = torch.cat([scaling(24 / s, 24 / s, -1.0, 0.5) for s in sizes.tolist()])
    sigma = torch.tensor([0.0, 0.4, 2.0, 0.0, 1.0, 0.1, 3.0])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        whole, means = see(x, matrix, 24, sigma)
        for rows in ([2], [6, 0, 3], [5, 4, 3, 2, 1, 0]):
            part, part_means = see([x[i] for i in rows], matrix[rows], 24, sigma[rows])
            assert torch.equal(part, whole[rows]) and torch.equal(part_means, means[rows])
    finally:
        torch.set_num_threads(before)


def test_a_batch_of_equal_sizes_and_a_list_of_them_are_the_same() -> None:
    x = (torch.rand(5, 18, 20, 3) * 255).to(torch.uint8)
    matrix = torch.cat([scaling(s, s) for s in (0.5, 0.7, 1.0, 1.3, 2.0)])
    assert torch.equal(resample(x, matrix, 10), resample(list(x), matrix, 10))


def test_more_maps_than_pictures_are_more_views_of_the_same_pictures() -> None:
    x, matrix = torch.rand(3, 9, 9, 3), torch.cat([scaling(s, s) for s in (0.5, 0.7, 1.0, 1.3, 2.0, 0.9)])
    assert torch.equal(resample(x, matrix, 8), torch.cat([resample(x, matrix[:3], 8), resample(x, matrix[3:], 8)]))


def waves(side: int, cycles: list[tuple[float, float]]) -> Callable[[Tensor, Tensor], Tensor]:
    """A picture as a function of place (pixel units), of so many cycles across `side`."""
    return lambda px, py: 0.5 + sum(0.4 / len(cycles) * torch.cos(2 * math.pi * (a * px + b * py) / side + 0.3 * a) for a, b in cycles)


@pytest.mark.parametrize("name", sorted(MAPS.keys() - {"mostly outside"}))
def test_geometry_is_right_on_a_band_limited_picture(name: str) -> None:
    """The view's colours are those of the continuous picture at the places where its pixels come from."""
    side, size = 96, 24
    picture = waves(side, [(1, 1), (1, -1)])
    at = torch.arange(side) + 0.5
    x = picture(at[None], at[:, None])[None, :, :, None]
    matrix = torch.tensor([[side / 24, 0, 0], [0, side / 24, 0], [0, 0, 1.0]])
    g = Affine(MAPS[name] @ torch.linalg.inv(matrix))  # the same maps on a finer picture: every one of them shrinks
    pixel = torch.arange(size) + 0.5
    places = torch.stack(torch.meshgrid(pixel, pixel, indexing="xy"), -1).reshape(1, -1, 2)
    came_from = g.inverse().act(places)[0]
    inside = ((came_from > 7) & (came_from < side - 7)).all(1)
    assert int(inside.sum()) > 10
    got = resample(x, g.matrix, size)[0, 0].flatten()
    torch.testing.assert_close(got[inside], picture(came_from[:, 0], came_from[:, 1])[inside], rtol=0, atol=0.03)


def gratings(side: int, frequency: float) -> Tensor:
    """(1, side, side, 1): a grating of so many cycles a pixel."""
    at = torch.arange(side) + 0.5
    return (0.5 + 0.5 * torch.cos(2 * math.pi * frequency * at)).expand(1, side, side)[..., None]


def test_shrinking_agrees_with_other_antialiased_resizers_on_a_band_limited_picture() -> None:
    side, size = 128, 32
    at = torch.arange(side) + 0.5
    x = waves(side, [(1, 2), (3, -1), (2, 2)])(at[None], at[:, None])
    got = resample(x[None, :, :, None], scaling(size / side, size / side), size)[0, 0]
    smooth = F.interpolate(x[None, None], (size, size), mode="bilinear", antialias=True)[0, 0]  # what torchvision's resize does
    box = torch.from_numpy(np.asarray(Image.fromarray(x.numpy()).resize((size, size), Image.Resampling.BOX)))
    inner = slice(2, -2)
    torch.testing.assert_close(got[inner, inner], smooth[inner, inner], rtol=0, atol=0.02)
    torch.testing.assert_close(got, box, rtol=0, atol=0.01)


@pytest.mark.parametrize("shrink", [2, 4, 5.5])
def test_shrinking_leaves_nothing_of_what_the_view_cannot_show(shrink: float) -> None:
    """Gratings at the rate at which the view samples, and at the picture's own limit, turn grey; point sampling makes stripes or a flat lie of them."""
    size = 24
    side = round(size * shrink)
    for frequency in (1 / shrink, 0.5):
        view = resample(gratings(side, frequency), scaling(1 / shrink, 1 / shrink), size)[0, 0, :, 1:-1]
        assert float((view - 0.5).abs().max()) < 0.06


def test_noise_is_averaged_as_much_as_by_a_box() -> None:
    x, size = torch.rand(1, 256, 256, 1, generator=torch.Generator().manual_seed(0)), 32
    ours = resample(x, scaling(1 / 8, 1 / 8), size).std()
    box = F.avg_pool2d(x.permute(0, 3, 1, 2), 8).std()
    pointwise = F.interpolate(x.permute(0, 3, 1, 2), (size, size), mode="bilinear", antialias=False).std()
    assert float(ours) < 1.05 * float(box) < 0.5 * float(pointwise)


@pytest.mark.parametrize("fast", [pytest.param(True, marks=compiled), False])
def test_a_huge_picture_is_averaged_first_and_not_sampled_here_and_there(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not fast:
        monkeypatch.setattr(module, "compiled", lambda: None)
    side, size = 1200, 16
    at = torch.arange(side) + 0.5
    x = waves(side, [(1, 2)])(at[None], at[:, None])
    noisy = (x + 0.2 * torch.rand(side, side, generator=torch.Generator().manual_seed(0)) - 0.1)[:, :, None]
    small = torch.rand(20, 20, 1)
    views = resample([noisy, small], torch.cat([scaling(size / side, size / side), scaling(0.8, 0.8)]), size)
    expected = F.avg_pool2d(x[None, None], side // size)
    torch.testing.assert_close(views[:1], expected, rtol=0, atol=0.02)
    torch.testing.assert_close(views[1:], resample([small], scaling(0.8, 0.8), size), rtol=0, atol=2e-6)


def test_the_mean_is_that_of_the_view_before_the_blur() -> None:
    x, matrix = torch.rand(2, 30, 40, 3), torch.cat([scaling(0.4, 0.5, -2, -1), turning(0.5, 8.0)])
    view, mean = see(x, matrix, 16)
    torch.testing.assert_close(mean, view.mean((2, 3)), rtol=0, atol=1e-6)
    torch.testing.assert_close(see(x, matrix, 16, torch.tensor([2.0, 1.0]))[1], mean, rtol=0, atol=0)


def slow_blur(x: Tensor, sigma: float) -> Tensor:
    """One plane (height, width) times a Gaussian in two dimensions, mirrored at the edges, in loops."""
    n, m = x.shape
    radius = max(1, math.ceil(3 * sigma))

    def mirror(i: int, n: int) -> int:
        while not 0 <= i < n:
            i = -i if i < 0 else 2 * (n - 1) - i
        return i

    offsets = range(-radius, radius + 1)
    weight = {(a, b): math.exp(-(a * a + b * b) / (2 * sigma**2)) for a in offsets for b in offsets}
    whole = sum(weight.values())
    out = torch.zeros(n, m, dtype=torch.float64)
    for i in range(n):
        for j in range(m):
            for (a, b), w in weight.items():
                out[i, j] += w / whole * float(x[mirror(i + a, n), mirror(j + b, m)])
    return out


@pytest.mark.parametrize("fast", [pytest.param(True, marks=compiled), False])
def test_blur_is_a_gaussian_in_loops(fast: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    x, sigma = torch.rand(3, 7, 7, 1), torch.tensor([0.4, 1.3, 2.1])
    view = see(x, scaling(1, 1).repeat(3, 1, 1), 7, sigma)[0] if fast else blur(x.permute(0, 3, 1, 2), sigma)
    for i in range(3):
        torch.testing.assert_close(view[i, 0].double(), slow_blur(x[i, :, :, 0], float(sigma[i])), rtol=0, atol=1e-6)


def test_no_blur_leaves_the_bits_and_blur_keeps_a_flat_picture() -> None:
    x = torch.rand(2, 3, 9, 9)
    assert torch.equal(blur(x, torch.zeros(2)), x)
    assert torch.equal(blur(x, torch.tensor([0.0, 2.0]))[0], x[0])
    torch.testing.assert_close(blur(torch.full((1, 3, 9, 9), 0.3), torch.tensor([5.0])), torch.full((1, 3, 9, 9), 0.3))


def test_maps_can_be_learned() -> None:
    """A method may own its views: the gradient reaches the map, the blur's input and the colours."""
    matrix = scaling(0.7, 0.8).requires_grad_()
    colour = Colour(torch.eye(3, 4)[None].requires_grad_())
    paint(resample(torch.rand(1, 20, 20, 3), matrix, 9), colour).square().sum().backward()
    assert matrix.grad is not None and float(matrix.grad.abs().max()) > 0
    assert colour.matrix.grad is not None and float(colour.matrix.grad.abs().max()) > 0


def test_a_map_without_inverse_is_not_a_number_and_touches_no_other_view() -> None:
    x, good = torch.rand(2, 9, 9, 3), scaling(1, 1)
    if module.compiled() is not None:
        views = resample(x, torch.cat([good * 0, good]), 9)
        assert bool(views[0].isnan().all()) and bool(views[1].isfinite().all())


def test_what_is_not_a_picture_is_refused() -> None:
    with pytest.raises(InputError, match="int64.*uint8, uint16 and floats"):
        resample(torch.zeros(1, 4, 4, 3, dtype=torch.long), scaling(1, 1), 4)
    with pytest.raises(InputError, match="1 and 3 channels"):
        resample([torch.rand(4, 4, 3), torch.rand(4, 4, 1)], scaling(1, 1).repeat(2, 1, 1), 4)


def test_half_precision_and_double_pictures_are_read_as_floats() -> None:
    x = torch.rand(1, 8, 8, 3).half()
    torch.testing.assert_close(resample(x, scaling(1, 1), 8), x.float().permute(0, 3, 1, 2))
    torch.testing.assert_close(resample(x.double(), scaling(1, 1), 8), x.float().permute(0, 3, 1, 2))


@compiled
def test_kernels_compile_where_no_cache_folder_can_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    from manyviews.views import kernels

    def homeless(function: Callable | None = None, cache: bool = False, **options: object) -> Callable:
        def compile(function: Callable) -> Callable:
            if cache:
                raise RuntimeError("cannot cache function: no locator available")
            return function

        return compile

    monkeypatch.setattr(numba, "njit", homeless)
    assert kernels.compiled(abs) is abs


@compiled
def test_an_error_in_a_thread_is_the_callers_error() -> None:
    def work(first: int, last: int) -> None:
        raise MemoryError("no room")

    with pytest.raises(MemoryError, match="no room"):
        module.shared(work, 5)
