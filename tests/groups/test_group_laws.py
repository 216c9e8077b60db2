"""Every group by the same laws, on random elements: products, inverses, logarithms, distances, strengths, parameters."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.groups import GL, SL, SO, Cyclic, Dihedral, O, Permutation, Scaling, Symmetric, affine, hue, o3, se3, so2, so3
from manyviews.groups.finding import KNOWN
from manyviews.groups.finite import Finite

names = st.sampled_from(sorted(KNOWN))
continuous = st.sampled_from(sorted(name for name, group in KNOWN.items() if group.dim))
finite = st.sampled_from(sorted(name for name, group in KNOWN.items() if group.order is not None))
seeds = st.integers(0, 10**6)
strengths = st.floats(0, 1)
double = torch.float64


def drawn(name: str, seed: int, count: int = 3, **options):
    return KNOWN[name].sample(count, torch.Generator().manual_seed(seed), **{"dtype": double, **options})


def matrix(g) -> Tensor:
    return g.matrix


def close(a: Tensor, b: Tensor, atol: float = 1e-10) -> None:
    torch.testing.assert_close(a, b.expand_as(a), rtol=1e-9, atol=atol)


@settings(max_examples=25, deadline=None)
@given(names, seeds, seeds, seeds)
def test_products_associate_and_inverses_undo(name: str, a: int, b: int, c: int) -> None:
    group, f, g, h = KNOWN[name], drawn(name, a), drawn(name, b), drawn(name, c)
    one = matrix(group.identity(1, double))
    close(matrix(group.compose(group.compose(f, g), h)), matrix(group.compose(f, group.compose(g, h))))
    close(matrix(f @ group.identity(1, double)), matrix(f))
    close(matrix(group.identity(1, double) @ f), matrix(f))
    close(matrix(f @ group.inverse(f)), one)
    close(matrix(group.inverse(f) @ f), one)


@settings(max_examples=25, deadline=None)
@given(names, seeds, seeds, strengths)
def test_products_and_inverses_stay_in_the_group(name: str, a: int, b: int, strength: float) -> None:
    group, f, g = KNOWN[name], drawn(name, a, strength=strength), drawn(name, b)
    for h in (f, f @ g, group.inverse(g), group.identity(3, double)):
        assert bool(group.contains(h).all())
        group.check(h)


@settings(max_examples=25, deadline=None)
@given(continuous, seeds, st.floats(0, 0.95))
def test_logarithms_are_undone_by_exponentials(name: str, seed: int, strength: float) -> None:
    """Of turns up to nearly half a one; of maps that stretch too up to a quarter, beyond which they may have no logarithm. Reflections have none."""
    group = KNOWN[name]
    g = drawn(name, seed, strength=strength / 2 if "stretches" in group.parameters(group.identity()) else strength)
    if group.components():
        g = group.exp(torch.randn(3, group.dim, generator=torch.Generator().manual_seed(seed), dtype=double).tanh())
    v = group.log(g)
    assert v.shape == (3, group.dim)
    close(matrix(group.exp(v)), matrix(g), 1e-8)
    close(group.log(group.exp(v / 2)), v / 2, 1e-8)
    close(matrix(group.exp(v / 2) @ group.exp(v / 2)), matrix(g), 1e-8)
    close(matrix(group.exp(-v)), matrix(group.inverse(g)), 1e-8)


@settings(max_examples=25, deadline=None)
@given(names, seeds, seeds, seeds)
def test_distances_are_symmetric_and_the_same_after_any_element_and_0_only_from_itself(name: str, a: int, b: int, c: int) -> None:
    group, f, g, h = KNOWN[name], drawn(name, a), drawn(name, b), drawn(name, c)
    d = group.distance(f, g)
    assert d.shape == (3,) and bool((d >= 0).all())
    torch.testing.assert_close(group.distance(g, f), d, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(group.distance(h @ f, h @ g), d, rtol=1e-7, atol=1e-7)
    assert float(group.distance(f, f).max()) < 1e-7


@settings(max_examples=25, deadline=None)
@given(names, seeds, st.sampled_from([torch.float32, double]))
def test_strength_0_is_the_identity_exactly(name: str, seed: int, dtype: torch.dtype) -> None:
    group = KNOWN[name]
    g = group.at(0.0)(4, torch.Generator().manual_seed(seed), dtype=dtype)
    assert torch.equal(matrix(g), matrix(group.identity(4, dtype)))


@settings(max_examples=25, deadline=None)
@given(names, seeds, strengths, strengths)
def test_elements_go_away_from_the_identity_as_the_strength_grows(name: str, seed: int, first: float, second: float) -> None:
    group, (low, high) = KNOWN[name], sorted((first, second))
    if isinstance(group, Finite | Symmetric) or "reflected" in group.sampling:
        return  # those jump
    near, far = (group.distance(group.identity(8, double), drawn(name, seed, 8, strength=s)) for s in (low, high))
    assert bool((near <= far + 1e-7).all())


@settings(max_examples=12, deadline=None)
@given(names, seeds)
def test_a_counter_gives_each_row_its_own_element_whoever_asks(name: str, seed: int) -> None:
    group, counter, rows = KNOWN[name], Counter(seed, 3), torch.tensor([5, 2, 9])
    g = group.sample(rows, counter, dtype=double)
    close(matrix(group.sample(torch.tensor([9]), counter, dtype=double)), matrix(g)[2:], 1e-13)
    close(matrix(group.sample(10, counter, dtype=double))[rows], matrix(g), 1e-13)
    torch.testing.assert_close(matrix(group.sample(rows, counter)).double(), matrix(g).double(), rtol=1e-4, atol=1e-4)


def test_draws_of_other_names_and_steps_are_others() -> None:
    same = so3.sample(2, Counter(0, 0)).matrix
    assert torch.equal(same, so3.sample(2, Counter(0, 0)).matrix)
    for other in (so3.sample(2, Counter(0, 0), name="h"), so3.sample(2, Counter(0, 1)), so3.sample(2, Counter(1, 0))):
        assert not torch.equal(other.matrix, same)


@pytest.mark.parametrize("strength", [-0.1, 1.1, math.nan])
def test_strengths_out_of_range_are_refused(strength: float) -> None:
    with pytest.raises(InputError, match="from 0"):
        so3.sample(2, None, strength)


@settings(max_examples=12, deadline=None)
@given(finite)
def test_elements_of_finite_groups_are_numbered_and_closed(name: str) -> None:
    group = KNOWN[name]
    every = group.elements(double)
    count = len(every.matrix)
    assert count == group.order
    assert group.number(every).tolist() == list(range(count))
    if count <= 24:
        i, j = torch.arange(count).repeat_interleave(count), torch.arange(count).repeat(count)
        table = group.number(every[i] @ every[j]).view(count, count)
        assert all(sorted(row) == list(range(count)) for row in [*table.tolist(), *table.T.tolist()])


# --- Haar -------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["c4", "c3", "d4", "d3", "flip_x", "s3"])
def test_samples_of_finite_groups_are_uniform(name: str) -> None:
    group = KNOWN[name]
    counts = torch.bincount(group.number(drawn(name, 1, 4000)), minlength=group.order).double()
    expected = 4000 / group.order
    assert float((counts - expected).abs().max()) < 6 * expected**0.5


def test_rotations_are_uniform_by_their_angle_and_their_axis() -> None:
    p = so3.parameters(drawn("so3", 2, 20000))
    angle = p["angle"].sort().values
    expected = (angle - angle.sin()) / math.pi  # share of rotations by less
    seen = torch.arange(len(angle), dtype=double) / len(angle)
    assert float((expected - seen).abs().max()) < 0.02  # Kolmogorov and Smirnov: 2.8 standard errors of the worst place
    assert float(p["axis"].mean(0).abs().max()) < 0.03
    close(p["axis"].T @ p["axis"] / 20000, torch.eye(3, dtype=double) / 3, 0.02)


def test_a_weak_turn_is_a_part_of_the_full_one() -> None:
    full, weak = (so3.parameters(drawn("so3", 3, strength=s)) for s in (1.0, 0.25))
    close(weak["angle"], full["angle"] / 4)
    close(weak["axis"], full["axis"])


# --- parameters -------------------------------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(names, seeds)
def test_samples_carry_their_parameters(name: str, seed: int) -> None:
    group, g = KNOWN[name], drawn(name, seed)
    assert g.parameters.keys() == group.parameters(g).keys()
    assert all(len(value) == 3 and bool(torch.isfinite(value.double()).all()) for value in g.parameters.values())


def test_parameters_say_what_was_done() -> None:
    assert so2.parameters(so2.exp(torch.tensor([[0.5], [-3.0]], dtype=double)))["angle"].tolist() == pytest.approx([0.5, -3.0])
    p = so3.parameters(so3.exp(torch.tensor([[0.0, 0.0, 2.0], [0.0, 0.0, 0.0]], dtype=double)))
    assert p["angle"].tolist() == pytest.approx([2, 0]) and p["axis"].tolist() == [pytest.approx([0, 0, 1]), [0, 0, 0]]
    inverted = affine(-so3.exp(torch.tensor([[0.0, 1.0, 0.0]], dtype=double)).matrix[:, :3, :3])
    assert o3.parameters(inverted)["angle"].item() == pytest.approx(1) and o3.parameters(inverted)["reflected"].item() == 1
    assert se3.parameters(se3.sample(2, None))["shift"].shape == (2, 3)
    assert Scaling(3).parameters(Scaling(3).exp(torch.tensor([[math.log(2)]])))["factor"].item() == pytest.approx(2)
    assert hue.parameters(hue.exp(torch.tensor([[0.7]])))["hue"].item() == pytest.approx(0.7)
    assert Cyclic(8).parameters(Cyclic(8).elements())["turns"].tolist() == list(range(8))
    assert Dihedral(3).parameters(Dihedral(3).elements())["reflected"].tolist() == [0, 0, 0, 1, 1, 1]
    stretched = GL(2).parameters(affine(torch.tensor([[[3.0, 0.0], [0.0, 0.5]]])))
    assert stretched["stretches"].tolist() == [pytest.approx([3, 0.5])] and stretched["factor"].item() == pytest.approx(1.5**0.5)


def test_a_third_of_a_turn_of_hue_takes_red_to_green() -> None:
    g = hue.exp(torch.tensor([[2 * math.pi / 3]], dtype=double))
    close(hue.act(g, torch.tensor([[[1.0, 0, 0], [0.2, 0.2, 0.2]]], dtype=double), "colours"), torch.tensor([[[0, 1.0, 0], [0.2, 0.2, 0.2]]], dtype=double))


def test_distances_are_angles_factors_and_exchanges() -> None:
    turns = so3.exp(torch.tensor([[0.0, 1.5, 0.0], [0.0, 0.0, -math.pi]], dtype=double))
    assert so3.distance(so3.identity(2, double), turns).tolist() == pytest.approx([1.5, math.pi])
    assert math.isinf(O(2).distance(O(2).identity(), affine(torch.tensor([[[1.0, 0.0], [0.0, -1.0]]]))).item())
    orders = Permutation(torch.tensor([[0, 1, 2, 3], [1, 0, 2, 3], [1, 2, 3, 0], [1, 0, 3, 2]]))
    assert Symmetric(4).distance(Symmetric(4).identity(4), orders).tolist() == [0, 1, 3, 2]


def test_linear_maps_are_a_rotation_after_a_symmetric_one() -> None:
    for group in (GL(2), GL(3), SL(3)):
        g = group.sample(5, torch.Generator().manual_seed(0), dtype=double)
        r, s = group.polar(g)
        assert bool(SO(group.axes).contains(r).all())
        close(s, s.mT.contiguous())
        close(group.from_polar(r, s).matrix, g.matrix)
    assert float(s.diagonal(dim1=1, dim2=2).sum(-1).abs().max()) < 1e-10


@settings(max_examples=8, deadline=None)
@given(continuous, seeds)
def test_gradients_pass_through_exponentials_and_logarithms_also_at_the_identity(name: str, seed: int) -> None:
    group = KNOWN[name]
    for size in (0.0, 0.4):
        v = (size * torch.randn(2, group.dim, generator=torch.Generator().manual_seed(seed), dtype=double)).requires_grad_()
        assert torch.autograd.gradcheck(lambda v: group.exp(v).matrix, (v,), atol=1e-5)
        back = group.log(group.exp(v))
        (gradient,) = torch.autograd.grad(back.sum(), v)
        close(gradient, torch.ones(1, 1, dtype=double), 1e-6)


@settings(max_examples=8, deadline=None)
@given(names, seeds)
def test_many_products_in_float32_stay_in_the_group_and_inverses_undo_them(name: str, seed: int) -> None:
    group = KNOWN[name]
    g = one = group.identity(2, torch.float32)
    for step in range(30):
        g = group.sample(2, Counter(seed, step), 0.05) @ g
    assert matrix(g).dtype == torch.float32 and bool(group.contains(g).all())
    torch.testing.assert_close(matrix(group.inverse(g) @ g), matrix(one), rtol=0, atol=1e-3)
