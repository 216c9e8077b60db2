"""Representations: products to products, lengths kept where that is said, characters as theory has them, sums, products and duals."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from manyviews.errors import InputError
from manyviews.groups import (
    GL,
    Cyclic,
    Dihedral,
    Scaling,
    Symmetric,
    determinant,
    direct_sum,
    directions,
    find,
    hue,
    irrep,
    irreps,
    o2,
    o3,
    regular,
    se3,
    so2,
    so3,
    standard,
    tensor_product,
    trivial,
)
from manyviews.groups.finding import KNOWN
from manyviews.groups.finite import Finite

double = torch.float64
names = st.sampled_from(sorted(KNOWN))
seeds = st.integers(0, 10**6)


def drawn(group, seed: int, count: int = 3):
    return group.sample(count, torch.Generator().manual_seed(seed), dtype=double)


def of(group) -> list:
    """Representations of every kind that the group has."""
    found = [trivial(group, 2), standard(group), standard(group).dual(), determinant(group), *irreps(group, 3)]
    if isinstance(group, Finite | Symmetric) and group.order <= 24:
        found.append(regular(group))
    if hasattr(group, "part"):
        found.append(directions(group))
    return [*found, found[1] + 2 * found[-1], found[1] * found[-1], (found[1] + found[3]).dual()]


@settings(max_examples=8, deadline=None)
@given(names, seeds, seeds)
def test_products_become_products_and_lengths_stay_where_that_is_said(name: str, a: int, b: int) -> None:
    group = KNOWN[name]
    g, h = drawn(group, a), drawn(group, b)
    for rep in of(group):
        m = rep.matrix(g, double)
        assert m.shape == (3, rep.dim, rep.dim)
        torch.testing.assert_close(rep.matrix(g @ h, double), m @ rep.matrix(h, double), rtol=1e-8, atol=1e-8)
        one = torch.eye(rep.dim, dtype=double).expand_as(m)
        torch.testing.assert_close(rep.matrix(group.identity(3, double), double), one, rtol=0, atol=1e-12)
        if rep.orthogonal:
            torch.testing.assert_close(m @ m.mT, one, rtol=1e-9, atol=1e-9)
        x = torch.randn(3, 2, rep.dim, dtype=double)
        torch.testing.assert_close(rep.act(g @ h, x), rep.act(g, rep.act(h, x)), rtol=1e-8, atol=1e-8)


def characters(reps: list, g) -> Tensor:
    return torch.stack([rep.matrix(g, double).diagonal(dim1=1, dim2=2).sum(-1) for rep in reps])


def by_halves(rep) -> float:
    """Over the real numbers the mean of a character's square is 1, and 2 for what falls apart over the complex ones: turns of the plane."""
    return 2.0 if rep.dim == 2 and rep.group.name in ("so2", "c6", "c8", "c5", "hue", "so2_about_y") else 1.0


@pytest.mark.parametrize(
    "group",
    [Cyclic(6), Cyclic(5), Dihedral(6), Dihedral(5), Dihedral(2), find("flip_x"), Symmetric(4), Symmetric(3), Symmetric(5)],
    ids=lambda group: group.name,
)
def test_characters_of_finite_groups_are_orthogonal_exactly(group) -> None:
    reps = irreps(group, 10)
    c = characters(reps, group.elements(double))
    torch.testing.assert_close(c @ c.T / group.order, torch.diag(torch.tensor([by_halves(rep) for rep in reps], dtype=double)), atol=1e-10, rtol=0)
    if isinstance(group, Dihedral):
        assert sum(rep.dim**2 for rep in reps) == group.order  # all of them are there


@pytest.mark.parametrize("name", ["so2", "o2", "so3", "o3", "hue", "so2_about_y"])
def test_characters_of_uniform_samples_are_orthogonal(name: str) -> None:
    """A mean over 20,000 fixed samples: products of characters reach 25 here, the means' standard errors 0.02."""
    group = find(name)
    reps = irreps(group, 2)
    c = characters(reps, drawn(group, 5, 20000))
    expected = torch.diag(torch.tensor([by_halves(rep) for rep in reps], dtype=double))
    torch.testing.assert_close(c @ c.T / 20000, expected, atol=0.08, rtol=0)


def test_the_regular_representation_holds_each_irrep_as_often_as_its_dimension() -> None:
    for group in (Dihedral(3), Dihedral(4), Symmetric(3)):
        every = group.elements(double)
        c, r = characters(irreps(group, 9), every), characters([regular(group)], every)[0]
        assert (c @ r / group.order).round().tolist() == [rep.dim for rep in irreps(group, 9)]
        assert r.tolist() == [group.order, *[0.0] * (group.order - 1)]


def test_the_regular_representation_moves_what_stands_at_h_to_g_h() -> None:
    group = Dihedral(3)
    every = group.elements(double)
    for g in range(6):
        m = regular(group).matrix(every[g : g + 1])[0]
        for h in range(6):
            assert m[:, h].argmax() == group.number(every[g : g + 1] @ every[h : h + 1])


def test_degree_1_is_the_standard_representation() -> None:
    g = drawn(so3, 0)
    assert torch.equal(irrep(so3, 1).matrix(g), standard(so3).matrix(g))
    g = drawn(o3, 1, 8)
    torch.testing.assert_close(irrep(o3, 1).matrix(g), standard(o3).matrix(g))
    torch.testing.assert_close(irrep(o3, 1, parity=1).matrix(g), standard(o3).matrix(g) * determinant(o3).matrix(g))
    g = drawn(o2, 1, 8)
    torch.testing.assert_close(irrep(o2, 1).matrix(g), standard(o2).matrix(g))


def test_parity_is_what_the_inversion_does() -> None:
    inversion = o3.components()[0]
    for degree in range(4):
        for parity in (1, -1):
            rep = irrep(o3, degree, parity)
            torch.testing.assert_close(rep.matrix(inversion)[0], parity * torch.eye(rep.dim, dtype=double))


def test_frequencies_turn_by_multiples() -> None:
    angle = torch.tensor([[0.3], [-2.0]], dtype=double)
    for k in (1, 2, 7, 40):
        torch.testing.assert_close(irrep(so2, k).matrix(so2.exp(angle)), so2.exp(k * angle).matrix[:, :2, :2], atol=1e-12, rtol=0)
        torch.testing.assert_close(irrep(hue, k).matrix(hue.exp(angle)), so2.exp(k * angle).matrix[:, :2, :2], atol=1e-12, rtol=0)


def test_shifts_do_nothing_to_directions_and_irreps() -> None:
    g = drawn(se3, 0)
    assert torch.equal(directions(se3).matrix(g), g.matrix[:, :3, :3])
    assert torch.equal(irrep(se3, 2).matrix(g), irrep(so3, 2).matrix(g))
    assert standard(se3).dim == 4 and not standard(se3).orthogonal


def test_sums_stand_side_by_side_and_products_are_kroneckers() -> None:
    g, a, b = drawn(so3, 2), irrep(so3, 1), irrep(so3, 2)
    both = a + b
    for m, x, y in zip(both.matrix(g), a.matrix(g), b.matrix(g), strict=True):
        assert torch.equal(m, torch.block_diag(x, y))
    for m, x, y in zip((a * b).matrix(g), a.matrix(g), b.matrix(g), strict=True):
        torch.testing.assert_close(m, torch.kron(x, y))
    assert (3 * a + 2 * b).dim == 19 and (3 * a + 2 * b).name == "3 degree 1 + 2 degree 2"
    assert len((both + a).parts) == 3


def test_duals_keep_pairings() -> None:
    g = drawn(GL(3), 3)
    x, y = torch.randn(3, 3, dtype=double), torch.randn(3, 3, dtype=double)
    rep = standard(GL(3))
    torch.testing.assert_close((rep.act(g, x) * rep.dual().act(g, y)).sum(-1), (x * y).sum(-1))
    assert irrep(so3, 2).dual() is not None and irrep(so3, 2).dual() == irrep(so3, 2)


def test_gradients_pass_through_representations() -> None:
    v = torch.tensor([[0.3, -0.2, 0.4]], dtype=double, requires_grad=True)
    rep = irrep(so3, 2) + irrep(so3, 1) * irrep(so3, 1)
    assert torch.autograd.gradcheck(lambda v: rep.matrix(so3.exp(v)), (v,))


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (lambda: irrep(so3, -1), "0 to 32"),
        (lambda: irrep(Cyclic(6), 4), "0 to 3"),
        (lambda: irrep(o2, 1, parity=-1), "no twin"),
        (lambda: irrep(so3, 0, parity=-1), "no twin"),
        (lambda: irrep(o3, 1, parity=2), "parity is 1 or -1"),
        (lambda: irrep(GL(2), 1), "0 to 0"),
        (lambda: regular(so3), "not finite"),
        (lambda: regular(Symmetric(8)), "s8 has more than 720"),
        (lambda: directions(hue), "does not move points"),
        (lambda: direct_sum(), "one representation or more"),
        (lambda: irrep(so3, 1) + irrep(o3, 1), "different groups.*so3, o3"),
        (lambda: tensor_product(irrep(so2, 1), irrep(so3, 1)), "different groups"),
        (lambda: irrep(so3, 1).act(so3.identity(), torch.zeros(1, 4)), "acts on 3 numbers, not 4"),
    ],
)
def test_what_is_no_representation_is_refused(what, said: str) -> None:
    with pytest.raises(InputError, match=said):
        what()


def test_representations_of_scalings_are_not_said_to_keep_lengths() -> None:
    assert not standard(Scaling(2)).orthogonal and not determinant(find("affine2")).orthogonal and standard(find("c4")).orthogonal
