import math

import pytest
import torch
import torch.nn.functional as F

from manyviews.nn.positions import read_grid, sincos


def grid(rows: int, columns: int) -> torch.Tensor:
    return torch.tensor([[(j + 0.5) / columns, (i + 0.5) / rows] for i in range(rows) for j in range(columns)])[None]


def test_fourteen_patches_a_side_get_the_sines_and_cosines_of_the_mae_paper() -> None:
    found = sincos(grid(14, 14), 32)[0]
    for row, (i, j) in ((0, (0, 0)), (17, (1, 3)), (195, (13, 13))):
        for axis, c in enumerate((j, i)):
            for k in range(8):
                angle = c / 10000 ** (k / 8)
                assert math.isclose(float(found[row, 16 * axis + k]), math.sin(angle), abs_tol=1e-5)
                assert math.isclose(float(found[row, 16 * axis + 8 + k]), math.cos(angle), abs_tol=1e-5)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_any_number_of_axes_fills_any_width_and_tells_places_apart(axes: int) -> None:
    found = sincos(torch.rand(2, 50, axes), 20)
    assert found.shape == (2, 50, 20)
    assert torch.cdist(found, found)[0].fill_diagonal_(1).min() > 1e-3


@pytest.mark.parametrize(("rows", "columns"), [(5, 7), (9, 14), (3, 4), (2, 20), (1, 1)])
def test_a_table_read_at_another_grid_is_the_table_resized_to_it(rows: int, columns: int) -> None:
    table = torch.randn(5, 7, 3)
    resized = F.interpolate(table.permute(2, 0, 1)[None], (rows, columns), mode="bicubic", antialias=True)[0].flatten(1).T
    where = grid(rows, columns)
    extent = torch.tensor([1 / columns, 1 / rows]).expand_as(where)
    torch.testing.assert_close(read_grid(table, where, extent)[0], resized, atol=1e-5, rtol=1e-5)


def test_at_a_cells_centre_the_entry_itself_is_read() -> None:
    table = torch.randn(5, 7, 3)
    torch.testing.assert_close(read_grid(table, grid(5, 7))[0], table.flatten(0, 1), atol=1e-5, rtol=1e-5)


def test_a_constant_table_is_constant_everywhere_even_outside() -> None:
    found = read_grid(torch.full((4, 4, 2), 3.0), 1.2 * torch.rand(2, 30, 2) - 0.1, torch.full((2, 30, 2), 0.4))
    torch.testing.assert_close(found, torch.full_like(found, 3.0))
