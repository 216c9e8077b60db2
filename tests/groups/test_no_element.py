"""What is no element of a group is refused: which row, and why; what has no logarithm, and groups that cannot be."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from manyviews.errors import InputError
from manyviews.groups import GL, SO, Axial, Colour, Cyclic, Dihedral, Flips, Permutation, Symmetric, affine, find, hue, o3, so2, so3, translation

double = torch.float64


def maps(*rows) -> Tensor:
    return torch.tensor(rows, dtype=double)


MIRROR, STRETCH, NAN = [[1.0, 0, 0], [0, 1, 0], [0, 0, -1]], [[1.0, 0, 0], [0, 2, 0], [0, 0, 1]], [[math.nan, 0, 0], [0, 1, 0], [0, 0, 1]]
ONE, FLAT, SMALL = torch.eye(3).tolist(), [[1.0, 0, 0], [0, 1, 0], [0, 0, 0]], (0.5 * torch.eye(3)).tolist()


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("so3", MIRROR, "improper"),
        ("so3", STRETCH, "not orthogonal"),
        ("so3", NAN, "not finite"),
        ("o3", STRETCH, "not orthogonal"),
        ("gl3", MIRROR, "improper"),
        ("gl3", FLAT, "singular"),
        ("sl3", STRETCH, "determinant that is not 1"),
        ("scaling3", STRETCH, "not one factor"),
        ("scaling3", (-torch.eye(3)).tolist(), "not positive"),
        ("conformal3", STRETCH, "not a rotation times a factor"),
        ("se3", SMALL, "not orthogonal"),
        ("t3", STRETCH, "more than shift"),
        ("flip_x3", MIRROR, "neither"),
        ("so2_about_y", [[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], "moves the y axis"),
    ],
)
def test_what_is_no_element_is_told_with_its_row_and_why(name: str, wrong: list, said: str) -> None:
    group, g = find(name), affine(maps(ONE, wrong))
    assert group.contains(g).tolist() == [True, False]
    with pytest.raises(InputError, match=rf"not in {name} \(.*\): row 1 .*{said}"):
        group.check(g)


def test_shifts_are_no_part_of_linear_groups_and_angles_between_are_no_part_of_cyclic_ones() -> None:
    with pytest.raises(InputError, match="moves the origin"):
        so3.check(translation(3).sample(1, None))
    with pytest.raises(InputError, match="turns by no multiple of 1/4"):
        Cyclic(4).check(so2.exp(torch.tensor([[0.3]])))
    with pytest.raises(InputError, match="reflected or not"):
        Dihedral(4).check(so2.exp(torch.tensor([[0.3]])))
    with pytest.raises(InputError, match="changes grey"):
        hue.check(Colour(affine(torch.diag(torch.tensor([1.0, -1.0, -1.0]))[None]).matrix[:, :3]))
    with pytest.raises(InputError, match="names a place twice"):
        Symmetric(3).check(Permutation(torch.tensor([[0, 0, 2]])))


def test_elements_of_another_size_or_kind_are_refused() -> None:
    with pytest.raises(InputError, match="4 x 4"):
        so3.check(so2.identity())
    with pytest.raises(InputError, match="Permutation with 3 places"):
        Symmetric(3).check(Permutation(torch.arange(4)[None]))
    with pytest.raises(InputError, match="so3 has 3 Lie algebra coordinates, not 2"):
        so3.exp(torch.zeros(1, 2))


def test_what_has_no_logarithm_says_so() -> None:
    with pytest.raises(InputError, match="reflections have no logarithm in o3: row 1"):
        o3.log(affine(maps(ONE, MIRROR)))
    with pytest.raises(InputError, match="improper"):
        so3.log(affine(maps(ONE, MIRROR)))
    with pytest.raises(InputError, match="no real logarithm of row 1.*polar"):
        GL(3).log(affine(maps(ONE, [[-1.0, 0, 0], [0, -2, 0], [0, 0, 1]])))
    for group in (Flips(), Cyclic(4), Symmetric(3)):
        with pytest.raises(InputError, match="discrete"):
            group.log(group.identity())
        with pytest.raises(InputError, match="discrete"):
            group.exp(torch.zeros(1, 0))


def test_groups_that_cannot_be_are_refused() -> None:
    for wrong in (lambda: SO(4), lambda: GL(5), lambda: Cyclic(0), lambda: Symmetric(0), lambda: Axial(3), lambda: Flips(2, 2), lambda: translation(0)):
        with pytest.raises(InputError):
            wrong()
