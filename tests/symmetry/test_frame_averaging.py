"""Frame averaging: the mean against a slow loop, degenerate clouds, graphs that message passing cannot tell apart, and FA-GNN."""

import pytest
import torch
from torch import nn

from manyviews.backbones.building import build_encoder
from manyviews.backbones.pointnet import SmallPointNet
from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.groups import find
from manyviews.nn.frames import principal_frames
from manyviews.symmetry.frame_averaging import FAGNN, FrameAveraged, FrameAveraging, Joined, PermutationAveraging


def made(seed=0, batch=3, n=6, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    return [torch.randn(batch, n, d, generator=generator, dtype=dtype) for d in (3, 3, 2)]


def test_the_average_is_the_mean_over_frames_one_by_one():
    x, v, h = made()
    phi = Joined(6 * 8, 6, 3).double()
    found = FrameAveraging(phi, ("points", "vectors", "features"), "points")(x, v, h)
    for b in range(len(x)):
        frames, total = principal_frames(x[b]), 0
        for r in frames.axes:
            y = phi(((x[b] - x[b].mean(0)) @ r)[None], (v[b] @ r)[None], h[b][None])[0]
            total = total + y @ r.T + x[b].mean(0)
        assert torch.allclose(found[b], total / 8)


def test_invariant_features_are_the_mean_over_frames_too():
    x = made()[0]
    phi = Joined(18, 4).double()
    found = FrameAveraging(phi, reflections=False)(x)
    frames = principal_frames(x, reflections=False)
    assert torch.allclose(found, torch.stack([phi(frames.seen(x)[:, k]) for k in range(4)]).mean(0))


def test_several_outputs_come_back_each_in_its_kind():
    class Two(nn.Module):
        def forward(self, x):
            return x**3, x.norm(dim=-1)

    x = made()[0]
    g = find("e3").sample(3, torch.Generator().manual_seed(2), dtype=torch.float64)
    wrapped = FrameAveraging(Two(), gives=("points", "features"))
    (p, f), (q, h) = wrapped(x), wrapped(g.act(x))
    assert torch.allclose(g.act(p), q) and torch.allclose(f, h)


def test_what_is_equivariant_already_stays_as_it_is():
    x = made()[0]
    assert torch.allclose(FrameAveraging(nn.Identity(), gives="points")(x), x)


def test_the_backbone_is_called_once_with_the_frames_in_the_batch():
    calls = []

    class Counting(nn.Module):
        def forward(self, x):
            calls.append(len(x))
            return x.flatten(1)

    FrameAveraging(Counting())(made()[0])
    FrameAveraging(Counting(), reflections=False)(made()[0])
    assert calls == [24, 12]


def test_padding_that_weighs_nothing_does_not_move_the_frame():
    x = made()[0]
    padded = torch.cat([x, torch.full((3, 2, 3), 7.0, dtype=torch.float64)], 1)
    exists = torch.cat([torch.ones(3, 6), torch.zeros(3, 2)], 1).double()

    class Mean(nn.Module):
        def forward(self, x):
            return x[:, :6].tanh().sum(1)

    wrapped = FrameAveraging(Mean())
    assert torch.allclose(wrapped(x), wrapped(padded, weights=exists))


def test_gradients_are_finite_for_clouds_without_frames_and_strict_refuses_them():
    phi = Joined(18, 4).double()
    x = torch.ones(2, 6, 3, dtype=torch.float64, requires_grad=True)
    FrameAveraging(phi)(x).sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()
    with pytest.raises(InputError, match="cloud 0, 1 of the batch"):
        FrameAveraging(phi, strict=True)(x)


def test_the_gradient_along_a_shift_is_0_as_the_result_does_not_change():
    x = made()[0].requires_grad_(True)
    FrameAveraging(Joined(18, 4).double())(x).sum().backward()
    assert torch.allclose(x.grad.sum(1), torch.zeros(3, 3, dtype=torch.float64), atol=1e-12)


def test_kinds_and_numbers_of_inputs_are_checked():
    with pytest.raises(InputError, match="the first input points"):
        FrameAveraging(nn.Identity(), takes=("vectors",))
    with pytest.raises(InputError, match="points, vectors, features"):
        FrameAveraging(nn.Identity(), gives="tensors")
    with pytest.raises(InputError, match="2 inputs"):
        FrameAveraging(nn.Identity())(*made()[:2])


# --- encoders


@pytest.mark.parametrize("name", ["frame_averaged_pointnet", "frame_averaged_dgcnn", "frame_averaged_micro"])
@pytest.mark.parametrize("channels", [3, 6])
def test_encoders_do_not_see_how_a_cloud_is_turned_nor_its_normals(name, channels):
    encoder = build_encoder(name, channels, 32, seed=0).double().eval()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 32, channels, generator=generator, dtype=torch.float64)
    g = find("se3").sample(2, generator, dtype=torch.float64)
    moved = find("se3").act(g, x, "clouds", normals=channels == 6)
    a, b = (encoder(View(points, torch.arange(2))) for points in (x, moved))
    assert a.shape == (2, encoder.dim) and torch.allclose(a, b, atol=1e-6)
    for p, q in zip(encoder.pyramid(View(x, torch.arange(2))), encoder.pyramid(View(moved, torch.arange(2))), strict=True):
        assert torch.allclose(p.x, q.x, atol=1e-6) and torch.allclose(g.act(p.where), q.where)


def test_mirror_images_are_told_apart_unless_reflections_are_in_the_group():
    torch.manual_seed(0)
    encoder = SmallPointNet().eval()
    x = torch.randn(2, 32, 3)
    mirrored = x * torch.tensor([1.0, 1, -1])
    rigid, both = FrameAveraged(encoder), FrameAveraged(encoder, reflections=True)
    assert not torch.allclose(rigid(x), rigid(mirrored), atol=1e-4)
    assert torch.allclose(both(x), both(mirrored), atol=1e-5)


# --- graphs


class Spectrum(nn.Module):
    """The numbers of closed walks, which any network of the whole matrix could learn."""

    def forward(self, nodes, adjacency):
        return torch.stack([torch.linalg.matrix_power(adjacency, k).diagonal(dim1=1, dim2=2).sum(1) for k in (2, 3, 4)], 1)


def ring(*sizes):
    n = sum(sizes)
    a, start = torch.zeros(1, n, n), 0
    for size in sizes:
        for k in range(size):
            i, j = start + k, start + (k + 1) % size
            a[0, i, j] = a[0, j, i] = 1
        start += size
    return a


def test_a_ring_of_six_and_two_triangles_are_told_apart_which_messages_cannot():
    x = torch.ones(1, 6, 1)
    wrapped = PermutationAveraging(Spectrum(), 3)
    assert wrapped(x, ring(6)).tolist() == [[12, 0, 36]] and wrapped(x, ring(3, 3)).tolist() == [[12, 12, 36]]


def test_where_nodes_are_alike_the_mean_over_many_orders_is_nearly_invariant():
    torch.manual_seed(0)
    phi = PermutationAveraging(Joined(6 + 36, 4), 400)
    x = torch.ones(1, 6, 1)
    p = torch.randperm(6)
    with torch.no_grad():
        a, b = phi(x, ring(6), Counter(0, 0)), phi(x, ring(6)[:, p][:, :, p], Counter(1, 0))
        one = PermutationAveraging(phi.backbone, 1)(x, ring(6))
    assert (a - b).norm() < 0.1 * a.norm() and (one - a).norm() > 2 * (a - b).norm()


def test_features_of_nodes_come_back_to_their_nodes():
    class Own(nn.Module):
        def forward(self, nodes, adjacency):
            return nodes * adjacency.sum(-1, keepdim=True)

    a = torch.rand(2, 5, 5)
    a = a + a.mT
    x = torch.randn(2, 5, 2)
    assert torch.allclose(PermutationAveraging(Own(), 4, equivariant=True)(x, a), x * a.sum(-1, keepdim=True))


# --- FA-GNN


def test_fa_gnn_learns_and_the_plain_network_is_not_equivariant():
    x, v, _ = made(batch=4, n=5, dtype=torch.float32)
    c = torch.tensor([1.0, -1, 1, 1, -1])[None, :, None].expand(4, -1, -1)
    g = find("so3").sample(4, torch.Generator().manual_seed(0))

    def error(network):
        return float((network(g.act(x), g.act(v), c) - g.act(network(x, v, c))).detach().abs().max())

    network, plain = FAGNN(12, 2, start="positions"), FAGNN(12, 2, framed=False)
    assert error(network) < 1e-4 < 1e-2 < error(plain)
    network(x, v, c).square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


def test_fa_gnn_does_not_see_the_numbering_of_particles():
    x, v, h = made(batch=2, n=5)
    network = FAGNN(12, 3).double()
    p = torch.tensor([4, 2, 0, 1, 3])
    assert torch.allclose(network(x, v, h[..., :1])[:, p], network(x[:, p], v[:, p], h[:, p, :1]))


def test_fa_gnn_is_told_what_its_width_must_be():
    with pytest.raises(InputError, match="multiple of 3"):
        FAGNN(64)
