"""Group laws: associativity, inverses, and that acting twice is acting once with the product."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from manyviews.groups import Affine, Colour, Picture, Quarter, matrices

seeds = st.integers(0, 10**6)


def affine(seed: int, axes: int = 2, batch: int = 3) -> Affine:
    """Well-conditioned maps: near a rotation times a scale."""
    generator = torch.Generator().manual_seed(seed)
    m = torch.eye(axes + 1, dtype=torch.float64).repeat(batch, 1, 1)
    m[:, :-1, :-1] += 0.3 * torch.rand(batch, axes, axes, generator=generator, dtype=torch.float64)
    m[:, :-1, -1] = torch.randn(batch, axes, generator=generator, dtype=torch.float64)
    return Affine(m)


def colour(seed: int, channels: int = 3, batch: int = 3) -> Colour:
    return Colour(affine(seed, channels, batch).matrix[:, :-1])


def points(seed: int, batch: int = 3) -> Tensor:
    return torch.randn(batch, 5, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def picture(seed: int, channels: int = 3, batch: int = 3) -> Tensor:
    return torch.rand(batch, channels, 4, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=30, deadline=None)
@given(seeds, seeds, seeds)
def test_affine_maps_are_a_group_that_acts_on_points(a: int, b: int, c: int) -> None:
    f, g, h, p = affine(a), affine(b), affine(c), points(a + 1)
    torch.testing.assert_close(((f @ g) @ h).matrix, (f @ (g @ h)).matrix)
    torch.testing.assert_close((f @ g).act(p), f.act(g.act(p)))
    torch.testing.assert_close((f @ f.inverse()).matrix, torch.eye(3, dtype=torch.float64).expand(3, 3, 3))
    torch.testing.assert_close((f.inverse() @ f).act(p), p)
    torch.testing.assert_close((f @ g).inverse().matrix, (g.inverse() @ f.inverse()).matrix)


@settings(max_examples=30, deadline=None)
@given(seeds, seeds, seeds, st.sampled_from([1, 3, 5]))
def test_colour_maps_are_a_group_that_acts_on_pictures(a: int, b: int, c: int, channels: int) -> None:
    f, g, h, x = colour(a, channels), colour(b, channels), colour(c, channels), picture(a + 1, channels)
    torch.testing.assert_close(((f @ g) @ h).matrix, (f @ (g @ h)).matrix)
    torch.testing.assert_close((f @ g).act(x), f.act(g.act(x)))
    torch.testing.assert_close((f.inverse() @ f).act(x), x)
    torch.testing.assert_close((f @ g).inverse().matrix, (g.inverse() @ f.inverse()).matrix)


def test_a_point_is_moved_by_the_matrix_and_then_the_offset() -> None:
    f = Affine(torch.tensor([[[2.0, 0, 1], [0, 3, -1], [0, 0, 1]]]))
    assert f.act(torch.tensor([[[1.0, 1.0], [0.0, 2.0]]])).tolist() == [[[3.0, 2.0], [1.0, 5.0]]]


def test_acting_on_colours_is_a_loop_over_pixels() -> None:
    f, x = colour(1), picture(2)
    y = f.act(x)
    for n in range(3):
        for i in range(4):
            for j in range(6):
                torch.testing.assert_close(y[n, :, i, j], f.matrix[n, :, :3] @ x[n, :, i, j] + f.matrix[n, :, 3])


def test_greyscale_has_no_inverse_and_says_so() -> None:
    luma = torch.tensor([0.299, 0.587, 0.114, 0.0]).expand(1, 3, 4)
    with pytest.raises(ValueError, match="greyscale"):
        Colour(luma).inverse()


@settings(max_examples=20, deadline=None)
@given(seeds, seeds)
def test_pictures_compose_part_by_part_and_relative_elements_take_one_view_to_the_other(a: int, b: int) -> None:
    v, w, p = Picture(affine(a), colour(a)), Picture(affine(b), colour(b)), points(a)
    relative = w @ v.inverse()
    torch.testing.assert_close(relative.geometry.act(v.geometry.act(p)), w.geometry.act(p))
    assert relative.colour is not None and v.colour is not None and w.colour is not None
    torch.testing.assert_close(relative.colour.act(v.colour.act(picture(a))), w.colour.act(picture(a)))


def test_what_is_lost_is_named_when_an_inverse_is_asked_for() -> None:
    g = Picture(affine(0), None, {"blur": torch.tensor([0.0, 1.5, 0.0]), "solarize": torch.tensor([0.0, 0.0, 1.0]), "drop": torch.zeros(3)})
    with pytest.raises(ValueError, match="blur, solarize cannot be undone.*g.geometry.inverse") as error:
        g.inverse()
    assert "drop" not in str(error.value)
    assert g[torch.tensor([0])].inverse().lost == {}


def test_what_was_lost_first_stays_lost_in_a_product() -> None:
    blurred, plain = Picture(affine(0), None, {"blur": torch.ones(3)}), Picture(affine(1))
    sharp = Picture(affine(2), None, {"blur": torch.zeros(3)})
    for product in (plain @ blurred, blurred @ plain, sharp @ blurred, blurred @ sharp):
        assert product.lost["blur"].tolist() == [1, 1, 1]


def test_parts_of_a_batch_keep_their_parameters() -> None:
    g = Picture(Affine(affine(0).matrix, {"angle": torch.arange(3.0)}), Colour(colour(0).matrix, {"hue": torch.arange(3.0)}), {"blur": torch.arange(3.0)})
    part = g[1:]
    assert {name: value.tolist() for name, value in part.parameters.items()} == {"angle": [1, 2], "hue": [1, 2], "blur": [1, 2]}
    assert torch.equal(part.geometry.matrix, g.geometry.matrix[1:])


def test_matrices_are_written_as_they_are_read() -> None:
    t = torch.tensor([1.0, 2.0])
    assert matrices([[t, 0, 3], [0, -t, 1]], like=t).tolist() == [[[1, 0, 3], [0, -1, 1]], [[2, 0, 3], [0, -2, 1]]]


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_quarter_turns_are_a_group_that_acts_on_square_pictures(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    f, g = (Quarter(torch.randint(0, 4, (5,), generator=generator)) for _ in range(2))
    x = torch.rand(5, 2, 3, 3, generator=generator)
    assert torch.equal((f @ g).act(x), f.act(g.act(x)))
    assert torch.equal((f.inverse() @ f).act(x), x) and torch.equal(f.inverse().act(f.act(x)), x)
    assert torch.equal((f @ f.inverse()).parameters["turns"], torch.zeros(5, dtype=torch.int64))
    assert torch.equal(f[1:3].act(x[1:3]), f.act(x)[1:3])


def test_each_sample_is_turned_by_its_own_number_of_quarters() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).expand(5, 1, 2, 2)
    turned = [[[1, 2], [3, 4]], [[2, 4], [1, 3]], [[4, 3], [2, 1]], [[3, 1], [4, 2]], [[1, 2], [3, 4]]]
    assert Quarter(torch.arange(5)).act(x)[:, 0].tolist() == turned
