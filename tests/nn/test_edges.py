import pytest
import torch

from manyviews.nn.edges import contours, sobel


def test_contours_are_what_a_dilation_adds():
    x = torch.rand(2, 3, 5, 6)
    out = contours(x)
    for i in range(5):
        for j in range(6):
            around = x[:, :, max(0, i - 1) : i + 2, max(0, j - 1) : j + 2]
            assert torch.allclose(out[:, :, i, j], around.amax((2, 3)) - x[:, :, i, j])
    assert not contours(torch.full((1, 1, 4, 4), 0.3)).any()


@pytest.mark.parametrize("sides", [(9, 8), (6, 7, 8)])
def test_a_ramp_has_its_slope_everywhere_inside(sides):
    slopes = torch.arange(1.0, len(sides) + 1)
    grid = torch.meshgrid(*[torch.arange(float(n)) for n in sides], indexing="ij")
    x = sum(s * g for s, g in zip(slopes, grid, strict=True))[None, None]
    inside = sobel(x)[(slice(None), slice(None), *[slice(1, -1)] * len(sides))]
    assert torch.allclose(inside, slopes.norm().expand_as(inside), atol=1e-4)


def test_sobel_is_that_of_scipy():
    ndimage = pytest.importorskip("scipy.ndimage")
    x = torch.rand(5, 6, 7)
    expected = sum((ndimage.sobel(x.numpy(), axis, mode="nearest") / 32) ** 2 for axis in range(3)) ** 0.5
    assert torch.allclose(sobel(x[None, None])[0, 0], torch.from_numpy(expected), atol=1e-5)


def test_a_side_of_one_has_no_slope():
    flat = torch.rand(2, 1, 1, 6, 7)
    assert torch.allclose(sobel(flat)[:, :, 0], sobel(flat[:, :, 0]))
