"""Exponentials and logarithms of matrices against SciPy's, near 0 and near pi, in both float types."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.special
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from manyviews.errors import InputError
from manyviews.groups import harmonics, lie, wigner

double = torch.float64
ANGLES = [0.0, 1e-12, 1e-8, 1e-4, 0.03, 0.0316, 1.0, 2.0, 3.0, math.pi - 1e-4, math.pi - 1e-8, math.pi - 1e-13]


def axes(seed: int, count: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=double), dim=-1)


@pytest.mark.parametrize("angle", ANGLES)
def test_rotations_of_space_and_their_vectors_are_scipys_at_every_angle(angle: float) -> None:
    v = axes(0, 20) * angle
    r = lie.turn_space(v)
    np.testing.assert_allclose(r.numpy(), Rotation.from_rotvec(v.numpy()).as_matrix(), atol=1e-15)
    np.testing.assert_allclose(lie.log_space(r).numpy(), v.numpy(), atol=1e-14, rtol=1e-13)
    single = lie.log_space(lie.turn_space(v.float())).double()
    assert float((single.norm(dim=-1) - angle).abs().max()) < 1e-6 * max(1, angle)
    if angle < 3.1:  # nearer to pi float32 does not tell v from -v
        torch.testing.assert_close(single, v, rtol=1e-5, atol=1e-6)


def test_half_turns_have_one_of_their_two_vectors() -> None:
    for axis in [*axes(1, 20), *torch.eye(3, dtype=double), torch.tensor([0, 0.6, -0.8], dtype=double)]:
        r = 2 * torch.outer(axis, axis) - torch.eye(3, dtype=double)
        v = lie.log_space(r[None])[0]
        assert min(float((v - s * math.pi * axis).abs().max()) for s in (1, -1)) < 1e-12
        torch.testing.assert_close(lie.turn_space(v), r, atol=1e-14, rtol=0)


@pytest.mark.parametrize("angle", ANGLES)
def test_gradients_of_rotations_and_their_vectors_are_finite_and_right(angle: float) -> None:
    v = (axes(2, 3) * angle).requires_grad_()
    (gradient,) = torch.autograd.grad(lie.log_space(lie.turn_space(v)).sum(), v)
    atol = 1e-9 if angle < 3.1415 else 1e-2  # at pi a step may lead to the other side, which is far away
    torch.testing.assert_close(gradient, torch.ones_like(v), atol=atol, rtol=0)
    assert torch.autograd.gradgradcheck(lie.turn_space, (v,), atol=1e-4)


@pytest.mark.parametrize("angle", [0.0, 1.0, -1.0, math.pi - 1e-9, -math.pi + 1e-9, math.pi])
def test_turns_of_the_plane_have_their_angle(angle: float) -> None:
    assert float(lie.log_plane(lie.turn_plane(torch.tensor([angle], dtype=double)))) == pytest.approx(angle, abs=1e-15)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.floats(0.01, 1))
def test_logarithms_of_matrices_are_scipys(seed: int, n: int, size: float) -> None:
    a = torch.linalg.matrix_exp(size * torch.randn(3, n, n, generator=torch.Generator().manual_seed(seed), dtype=double))
    a = a[lie.has_log(a)]
    for matrix, found in zip(a, lie.log_matrix(a), strict=True):
        expected = scipy.linalg.logm(matrix.numpy())
        np.testing.assert_allclose(found.numpy(), np.real(expected), atol=1e-9 * max(1, np.linalg.cond(matrix.numpy())))


def test_defective_and_badly_scaled_matrices_have_their_logarithm() -> None:
    a = torch.tensor([[[1.0, 1.0], [0.0, 1.0]], [[1e6, 0.0], [0.0, 1e-6]], [[1e-3, 1.0], [0.0, 1e-3]]], dtype=double)
    expected = torch.tensor(
        [[[0.0, 1.0], [0.0, 0.0]], [[math.log(1e6), 0.0], [0.0, -math.log(1e6)]], [[math.log(1e-3), 1e3], [0.0, math.log(1e-3)]]], dtype=double
    )
    torch.testing.assert_close(lie.log_matrix(a), expected, rtol=1e-9, atol=1e-9)
    near_half_turn = lie.turn_plane(torch.tensor([math.pi - 1e-4], dtype=double))
    assert float(lie.log_matrix(near_half_turn)[0, 1, 0]) == pytest.approx(math.pi - 1e-4, abs=1e-8)


def test_matrices_without_a_real_logarithm_are_named() -> None:
    a = torch.stack([torch.eye(2), torch.diag(torch.tensor([-1.0, 1.0])), torch.zeros(2, 2), -torch.eye(2)]).double()
    assert lie.has_log(a).tolist() == [True, False, False, False]
    with pytest.raises(InputError, match="no real logarithm of row 1, 2, 3"):
        lie.log_matrix(a)
    with pytest.raises(InputError, match="NaN"):
        lie.log_matrix(a * math.nan)
    assert lie.log_matrix(a[:0]).shape == (0, 2, 2)


def test_polar_factors_are_scipys_and_have_gradients_where_stretches_are_equal() -> None:
    a = torch.linalg.matrix_exp(0.5 * torch.randn(4, 3, 3, generator=torch.Generator().manual_seed(0), dtype=double))
    for matrix, r, s in zip(a, *lie.polar(a), strict=True):
        u, p = scipy.linalg.polar(matrix.numpy())
        np.testing.assert_allclose(r.numpy(), u, atol=1e-10)
        np.testing.assert_allclose(scipy.linalg.expm(s.numpy()), p, atol=1e-10)
    one = torch.eye(3, dtype=double)[None].requires_grad_()
    assert torch.autograd.gradcheck(lambda a: lie.polar(a), (one,), atol=1e-5)


def test_the_mean_of_an_exponential_is_its_integral() -> None:
    w = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(1), dtype=double)
    nodes, weights = np.polynomial.legendre.leggauss(20)
    expected = sum(weight / 2 * torch.linalg.matrix_exp(w * (node + 1) / 2) for node, weight in zip(nodes, weights, strict=True))
    torch.testing.assert_close(lie.average_of(w), expected)


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 5, 8])
def test_harmonics_are_scipys_with_the_y_axis_up_and_have_length_1(degree: int) -> None:
    d = axes(3, 10)
    x, y, z = d.numpy().T
    polar, azimuth = np.arccos(y), np.arctan2(x, z)
    expected = []
    for m in range(-degree, degree + 1):
        value = (-1) ** m * scipy.special.sph_harm_y(degree, abs(m), polar, azimuth)
        expected.append(value.real if m == 0 else math.sqrt(2) * (value.real if m > 0 else value.imag))
    found = harmonics(degree, d)
    np.testing.assert_allclose(found.numpy(), np.stack(expected, -1) * math.sqrt(4 * math.pi / (2 * degree + 1)), atol=1e-13)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(10, dtype=double))


@pytest.mark.parametrize("degree", [0, 1, 2, 3, 6, 10])
def test_d_matrices_turn_harmonics_also_at_half_turns(degree: int) -> None:
    v = torch.cat([axes(4, 3) * math.pi, axes(5, 3), torch.zeros(1, 3)])
    r, d = lie.turn_space(v), axes(6, 9)
    m = wigner(degree, r)
    expected = harmonics(degree, torch.einsum("bij,nj->bni", r, d))
    torch.testing.assert_close(torch.einsum("bij,nj->bni", m, harmonics(degree, d)), expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(m @ m.mT, torch.eye(2 * degree + 1, dtype=double).expand_as(m), atol=1e-12, rtol=0)


def test_d_of_degree_1_is_the_rotation_and_degrees_have_limits() -> None:
    r = lie.turn_space(axes(7, 2))
    assert torch.equal(wigner(1, r), r)
    for degree in (-1, 33):
        with pytest.raises(InputError, match="0 to 32"):
            wigner(degree, r)
        with pytest.raises(InputError, match="0 to 32"):
            harmonics(degree, r[:, 0])


def test_d_matrices_have_gradients_everywhere() -> None:
    for v in (torch.zeros(1, 3, dtype=double), axes(8, 1) * math.pi):
        assert torch.autograd.gradcheck(lambda v: wigner(3, lie.turn_space(v)), (v.requires_grad_(),))
