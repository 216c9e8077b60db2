"""Linear maps that respect a group, and the check of layers: theory's counts, Schur's lemma, layers that are off, and what cannot be judged."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from manyviews.errors import InputError
from manyviews.groups import (
    Acting,
    Cyclic,
    Dihedral,
    Equivariant,
    Fields,
    Symmetric,
    Together,
    check_layer,
    determinant,
    directions,
    find,
    hue,
    intertwiners,
    irrep,
    irreps,
    is_equivariant,
    o3,
    regular,
    se3,
    so2,
    so3,
    standard,
    trivial,
)
from manyviews.groups.finding import KNOWN

double = torch.float64


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(sorted(KNOWN)), st.integers(0, 10**6))
def test_intertwiners_commute_with_every_element(name: str, seed: int) -> None:
    group = KNOWN[name]
    reps = [trivial(group), standard(group), *irreps(group, 2)][:5]
    g = group.sample(3, torch.Generator().manual_seed(seed), dtype=double)
    for a in reps:
        for b in reps:
            w = intertwiners(a, b)
            assert w.shape[1:] == (b.dim, a.dim)
            left, right = torch.einsum("gij,wjk->gwik", b.matrix(g, double), w), torch.einsum("wij,gjk->gwik", w, a.matrix(g, double))
            torch.testing.assert_close(left, right, rtol=1e-8, atol=1e-8)
            gram = torch.einsum("vij,wij->vw", w, w)
            torch.testing.assert_close(gram, torch.eye(len(w), dtype=double), rtol=0, atol=1e-9)


def test_between_different_irreps_there_is_nothing_and_of_one_to_itself_what_schur_says() -> None:
    for group, itself in ((so3, 1), (o3, 1), (find("o2"), 1), (Dihedral(5), 1), (Symmetric(4), 1)):
        reps = irreps(group, 3)
        assert [[len(intertwiners(a, b)) for b in reps] for a in reps] == [[itself * (i == j) for j in range(len(reps))] for i in range(len(reps))]
    for group in (so2, hue, Cyclic(7)):  # of turns of the plane: multiples, and a quarter turn
        assert len(intertwiners(irrep(group, 2), irrep(group, 2))) == 2 and not len(intertwiners(irrep(group, 1), irrep(group, 2)))


def test_counts_of_maps_are_those_of_theory() -> None:
    s = Symmetric(6)
    assert len(intertwiners(standard(s), standard(s))) == 2  # deep sets
    assert len(intertwiners(standard(s) * standard(s), trivial(s))) == 2
    assert len(intertwiners(standard(Symmetric(4)) * standard(Symmetric(4)), standard(Symmetric(4)) * standard(Symmetric(4)))) == 15  # Bell's number of 4
    assert len(intertwiners(regular(Dihedral(4)), regular(Dihedral(4)))) == 8
    one, two = irrep(so3, 1), irrep(so3, 2)
    assert [len(intertwiners(one * one, irrep(so3, degree))) for degree in range(4)] == [1, 1, 1, 0]  # Clebsch and Gordan
    assert len(intertwiners(3 * one + 2 * two, 4 * one + two)) == 14
    assert len(intertwiners(standard(se3), directions(se3))) == 0 and len(intertwiners(directions(se3), standard(se3))) == 1
    assert len(intertwiners(standard(se3), trivial(se3))) == 1  # the number that is always 1
    gl = find("gl3")
    assert len(intertwiners(standard(gl), standard(gl).dual())) == 0 and len(intertwiners(standard(gl) * standard(gl).dual(), trivial(gl))) == 1
    assert len(intertwiners(trivial(so3, 2), trivial(so3, 3))) == 6


def test_frequencies_far_apart_are_told_apart() -> None:
    assert not len(intertwiners(irrep(so2, 44), irrep(so2, 0))) and not len(intertwiners(irrep(so2, 710), irrep(so2, 2)))
    assert not len(intertwiners(irrep(so2, 355), irrep(so2, 311)))


def test_too_many_unknowns_are_refused_with_the_way_out() -> None:
    big = irrep(so3, 8) * irrep(so3, 1)
    with pytest.raises(InputError, match="direct sums of smaller ones"):
        intertwiners(big, big)


# --- layers -----------------------------------------------------------------------------------------------------------------------------------


class Linear(nn.Module):
    """A random equivariant linear map."""

    def __init__(self, in_rep, out_rep, noise: float = 0.0):
        super().__init__()
        self.in_rep, self.out_rep = in_rep, out_rep
        basis = intertwiners(in_rep, out_rep)
        self.weight = nn.Parameter(torch.einsum("w,wij->ij", torch.randn(len(basis), dtype=double), basis) + noise)

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight.T


def test_an_equivariant_layer_passes_and_stays_as_it_is() -> None:
    layer = Linear(2 * irrep(so3, 1) + irrep(so3, 2), irrep(so3, 2) + irrep(so3, 1))
    errors = check_layer(layer)
    assert errors[double] < 1e-12 and 1e-9 < errors[torch.float32] < 1e-5
    assert layer.weight.dtype == double and layer.training and isinstance(layer, Equivariant)


def test_a_layer_that_is_a_little_off_is_told_by_how_much() -> None:
    layer = Linear(irrep(so3, 1), irrep(so3, 1), noise=1e-6)
    with pytest.raises(InputError, match=r"Linear is not equivariant under so3: it is off by [0-9.]+e-0[5-7] in float64 \(at most 1e-09\)"):
        check_layer(layer)
    layer.exact = False
    assert 1e-8 < check_layer(layer)[double] < 1e-4


def test_norms_are_invariant_and_crosses_are_pseudovectors() -> None:
    one = irrep(o3, 1)
    assert is_equivariant(lambda x: x.norm(dim=-1, keepdim=True), one, trivial(o3)) < 1e-12

    def cross(x: Tensor) -> Tensor:
        return torch.linalg.cross(x[:, :3], x[:, 3:])

    assert is_equivariant(cross, 2 * one, irrep(o3, 1, parity=1)) < 1e-12
    assert is_equivariant(cross, 2 * one, one) > 0.5
    assert is_equivariant(lambda x: x.relu(), one, one) > 0.1
    assert is_equivariant(lambda x: torch.linalg.det(x.view(-1, 3, 3))[:, None], 3 * one, determinant(o3)) < 1e-12


class Moments(nn.Module):
    """From positions and one number a point: where the weighted mean lies, and the points without their mean."""

    def __init__(self) -> None:
        super().__init__()
        self.in_rep = Together((Acting(se3, "points", (6, 3)), Fields(trivial(se3), (6,))))
        self.out_rep = Together((Acting(se3, "points", (1, 3)), Fields(directions(se3), (6,))))

    def forward(self, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        w = weight.softmax(1)
        return (w * x).sum(1, keepdim=True), x - x.mean(1, keepdim=True)


def test_several_inputs_and_outputs_are_checked_together() -> None:
    errors = check_layer(Moments())
    assert errors[double] < 1e-12 and errors[torch.float32] < 1e-5


class Pooled(nn.Module):
    """A convolution with a filter and its quarter turns, averaged."""

    def __init__(self, group, turns: int = 4) -> None:
        super().__init__()
        self.in_rep, self.out_rep = Acting(group, "images", (2, 8, 8)), Acting(group, "images", (2, 8, 8))
        self.filter, self.turns = nn.Parameter(torch.randn(2, 2, 5, 5)), turns

    def forward(self, x: Tensor) -> Tensor:
        f = sum(self.filter.rot90(k, (2, 3)) for k in range(self.turns)) / self.turns
        return nn.functional.conv2d(x, f, padding=2)


def test_layers_on_pictures_are_checked_by_the_action() -> None:
    assert check_layer(Pooled(Cyclic(4)))[double] < 1e-12
    with pytest.raises(InputError, match="not equivariant under c4"):
        check_layer(Pooled(Cyclic(4), turns=1))
    with pytest.raises(InputError, match="not equivariant under d4"):
        check_layer(Pooled(Dihedral(4)))


def test_layers_on_permuted_things_are_checked() -> None:
    s = Symmetric(5)
    assert is_equivariant(lambda x: x - x.mean(1, keepdim=True), Acting(s, "things", (5, 2)), Acting(s, "things", (5, 2))) < 1e-12
    assert is_equivariant(lambda x: x.cumsum(1), Acting(s, "things", (5, 2)), Acting(s, "things", (5, 2))) > 0.1


def test_nothing_is_said_where_nothing_can_be() -> None:
    one = irrep(so3, 1)
    with pytest.raises(InputError, match="nothing but 0"):
        is_equivariant(lambda x: 0 * x, one, one)
    with pytest.raises(InputError, match="NaN"):
        is_equivariant(lambda x: x * math.nan, one, one)
    with pytest.raises(InputError, match="does not say in_rep"):
        check_layer(nn.Linear(3, 3))
    with pytest.raises(InputError, match="acts on 3 numbers, not 2"):
        is_equivariant(lambda x: x[:, :2], one, one)


def test_at_strength_0_every_map_is_equivariant() -> None:
    assert is_equivariant(lambda x: x.relu(), irrep(so3, 1), irrep(so3, 1), strength=0.0) == 0.0
