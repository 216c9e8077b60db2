"""Lie group decompositions: the coordinates, the measure, the two convolutions against slow loops, and what is exact."""

import copy
import math

import pytest
import torch

from manyviews.backbones.building import build_encoder, modality_of
from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.groups import GL, SL, SO, Conformal, affine, find, is_equivariant
from manyviews.groups.group import linear_of
from manyviews.symmetry.lie_convolution import Convolution, Decomposition, Lifting, Net, Samples, haar_density, offsets, window
from manyviews.symmetry.lie_decomposition import LieResNet, lie_decomposition

ONE = torch.zeros(1, dtype=torch.float64)
GROUPS = [GL(2), SL(2), SO(2), GL(3), SL(3), SO(3)]
SMALL = Net(8, 1)


def some(group, count=64, seed=0, **options):
    return Decomposition(group, **options).sample(count, Counter(seed, 0), ONE)


@pytest.mark.parametrize("group", GROUPS, ids=lambda g: g.name)
def test_samples_are_elements_and_as_many_as_asked(group):
    g = some(group)
    assert g.matrix.shape == (64, group.axes, group.axes)
    assert group.contains(affine(g.matrix)).all()
    assert g.matrix.dtype == torch.float64


@pytest.mark.parametrize("group", GROUPS[:2] + GROUPS[3:5], ids=lambda g: g.name)
def test_an_element_is_the_exponential_of_its_stretch_times_its_rotation(group):
    g = some(group).matrix
    s, r = Decomposition(group).parts(g)
    torch.testing.assert_close(torch.linalg.matrix_exp(s) @ r, g)
    torch.testing.assert_close(s, s.mT)
    assert SO(group.axes).contains(affine(r)).all()
    rotation, right = group.polar(affine(g))  # the package's own: A = R exp(S')
    torch.testing.assert_close(linear_of(rotation), r)
    torch.testing.assert_close(r @ right @ r.mT, s)


@pytest.mark.parametrize("group", GROUPS, ids=lambda g: g.name)
def test_there_are_as_many_coordinates_as_the_group_has_dimensions_and_their_length_is_that_of_the_logarithms(group):
    of, g = Decomposition(group), some(group).matrix
    v = of.coordinates(g)
    assert v.shape == (64, group.dim)
    n = SO(group.axes).dim
    s, r = of.parts(g)
    torch.testing.assert_close(v[:, :n] * math.pi, SO(group.axes).log_linear(r), atol=1e-7, rtol=1e-7)
    torch.testing.assert_close(v[:, n:].norm(dim=1), s.norm(dim=(1, 2)), atol=1e-7, rtol=1e-7)


def test_half_turns_are_on_one_side_of_the_cut_whatever_rounding_does():
    angles = torch.tensor([math.pi - 1e-9, math.pi + 1e-9], dtype=torch.float64)
    v = Decomposition(SO(2)).coordinates(SO(2).exp_linear(angles[:, None]))
    torch.testing.assert_close(v, torch.ones_like(v))


def test_the_density_is_the_product_over_pairs_of_eigenvalues_and_smooth_where_they_meet():
    s = torch.diag_embed(torch.tensor([[0.7, -0.2, 0.1], [0.3, 0.3, 0.3], [0.3, 0.30001, 0.0]], dtype=torch.float64))
    expected = []
    for a, b, c in s.diagonal(dim1=1, dim2=2).tolist():
        expected.append(math.prod(math.sinh(x - y) / (x - y) if x != y else 1 for x, y in ((a, b), (a, c), (b, c))))
    torch.testing.assert_close(haar_density(s), torch.tensor(expected, dtype=torch.float64))


def test_the_measure_does_not_change_where_all_are_moved_by_one_element():
    """The integral over SL(2) of a function that is small outside the window is that of the function moved."""
    of = Decomposition(SL(2), window="box", spread=1.6)
    g = of.sample(200_000, Counter(0, 0), ONE)
    by = torch.linalg.inv(SL(2).exp_linear(torch.tensor([[0.2, -0.1, 0.25]], dtype=torch.float64))[0])

    def bump(a):
        return (-4 * (a - torch.eye(2, dtype=a.dtype)).square().sum((1, 2))).exp()

    found = [float((bump(a) * g.weight).mean()) for a in (g.matrix, by @ g.matrix)]
    assert found[1] == pytest.approx(found[0], rel=0.05)


def test_lifting_is_the_slow_loop():
    torch.manual_seed(0)
    of = Decomposition(GL(2))
    layer, a = Lifting(of, 2, 3, side=3, net=SMALL).double(), some(GL(2), 4)
    x = torch.randn(1, 2, 6, 6, dtype=torch.float64)
    out, p = layer(x, a), offsets(3, x)
    slow = torch.zeros_like(out)
    for k, matrix in enumerate(a.matrix):
        for row in range(4):
            for column in range(4):
                for i in range(3):
                    for j in range(3):
                        at = torch.linalg.inv(matrix) @ p[i, j]
                        value = layer.kernel(at) * window(at, True) / torch.linalg.det(matrix)
                        slow[0, :, k, row, column] += value @ x[0, :, row + i, column + j]
    torch.testing.assert_close(out, slow)


def test_convolution_is_the_slow_loop():
    torch.manual_seed(0)
    of = Decomposition(GL(2))
    layer = Convolution(of, 2, 3, side=3, net=SMALL, samples=5).double()
    b, a = some(GL(2), 5), some(GL(2), 4, seed=1)
    x = torch.randn(1, 2, 5, 4, 4, dtype=torch.float64)
    out, p = layer(x, b, a), offsets(3, x)
    slow = torch.zeros_like(out)
    for k, to in enumerate(a.matrix):
        back = torch.linalg.inv(to)
        for source, (matrix, weight) in enumerate(zip(b.matrix, b.weight, strict=True)):
            for i in range(3):
                for j in range(3):
                    at = torch.cat([back @ p[i, j], of.coordinates((back @ matrix)[None])[0]])
                    value = layer.kernel(at) * window(at, True) * weight / torch.linalg.det(matrix) / 5 * math.sqrt(5)
                    slow[0, :, k] += torch.einsum("oi,ihw->ohw", value, x[0, :, source, i : i + 2, j : j + 2])
    torch.testing.assert_close(out, slow)


def test_without_places_a_moved_function_gives_the_moved_outcome_in_the_limit_of_many_samples():
    torch.manual_seed(0)
    of = Decomposition(SL(2), window="box", spread=1.6)
    layer = Convolution(of, 1, 1, side=1, net=Net(8, 1, 2.0), samples=1).double()
    by = SL(2).exp_linear(torch.tensor([[0.2, -0.1, 0.25]], dtype=torch.float64))[0]
    a = some(SL(2), 6, spread=0.3)
    back = Samples(torch.linalg.inv(by) @ a.matrix, a.weight)

    def bump(matrix):
        return (-4 * (matrix - torch.eye(2, dtype=matrix.dtype)).square().sum((1, 2))).exp()[None, None]

    errors = []
    for count in (100, 20_000):
        b = of.sample(count, Counter(3, 0), ONE)
        with torch.no_grad():
            expected, seen = layer(bump(b.matrix), b, back), layer(bump(torch.linalg.inv(by) @ b.matrix), b, a)
        errors.append(float((expected - seen).norm() / expected.norm()))
    assert errors[1] < 0.1 < errors[0]


def test_a_network_over_turns_alone_is_exact_under_quarter_turns_only_and_its_samples_come_with_theirs():
    torch.manual_seed(0)
    network = LieResNet(Decomposition(SO(2), turns=4), 1, 3, 3, 4, dim=5, net=SMALL, size=24).double().eval()
    x = torch.randn(4, 1, 24, 24, dtype=torch.float64)
    torch.testing.assert_close(network(x.rot90(1, (2, 3))), network(x))
    assert is_equivariant(network, network.in_rep, network.out_rep) > 1e-6
    a = some(SL(2), 8, turns=4).matrix.unflatten(0, (2, 4))
    turn = SO(2).exp_linear(torch.tensor([[math.pi / 2]], dtype=torch.float64))[0]
    torch.testing.assert_close(turn @ a[:, 0], a[:, 1])


def test_training_draws_anew_and_evaluation_does_not_and_the_counter_is_saved():
    torch.manual_seed(0)
    network = LieResNet(Decomposition(SL(2)), 1, 3, 3, 4, dim=5, dropout=0.0, net=SMALL, size=24)
    x = torch.rand(2, 1, 24, 24)
    clone = copy.deepcopy(network)
    first, second = network(x), network(x)
    assert not torch.allclose(first, second)
    clone(x)
    torch.testing.assert_close(clone(x), second)
    assert int(network.state_dict()["draws"]) == 2
    network.eval()
    torch.testing.assert_close(network(x), network(x))


@pytest.mark.parametrize("name", ["lie_decomposition_micro", "lie_decomposition_gl_micro", "lie_decomposition_so_micro"])
def test_encoders_are_found_by_name_and_every_parameter_learns(name):
    assert modality_of(name) == "images"
    encoder = build_encoder(name, 3, 24, seed=0)
    view = View(torch.rand(3, 3, 24, 24), torch.arange(3))
    z = encoder(view)
    assert z.shape == (3, encoder.dim)
    (z * torch.randn_like(z)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())
    assert [t.x.shape[-1] for t in encoder.pyramid(view)] == encoder.widths


def test_the_paper_s_network_is_as_its_authors_run_it():
    network = lie_decomposition(1, 40).network
    assert (network.samples, network.lift.kernel.shape, network.dim, network.of.group) == (10, (40, 1), 256, find("sl2"))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Decomposition(Conformal(2)), "there are gl, sl and so"),
        (lambda: Decomposition(GL(2), window="normal"), "gaussian, box"),
        (lambda: Decomposition(GL(2), spread=0.0), "more than 0"),
        (lambda: Decomposition(GL(3), turns=4), "turns=1"),
        (lambda: LieResNet(Decomposition(GL(2), turns=4), samples=10), "multiple of turns=4"),
        (lambda: LieResNet(Decomposition(GL(2)), kind="group"), "layer, batch"),
        (lambda: Lifting(Decomposition(GL(2)), 1, 1, side=4), "odd"),
        (lambda: Convolution(Decomposition(GL(3)), 1, 1, side=3), "side=1"),
        (lambda: lie_decomposition(1, 40)(View(torch.rand(1, 1, 9, 9), torch.arange(1))), "--size"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(make, says):
    with pytest.raises(InputError, match=says):
        make()
