"""Encoders of clouds: what order, padding and batch must not change, and each mechanism against a slow loop."""

import itertools

import pytest
import torch

from manyviews.backbones.building import build_encoder, builders, modality_of
from manyviews.backbones.dgcnn import EdgeConvolution
from manyviews.backbones.pointnet import Abstraction, Transform
from manyviews.backbones.sparse_unet import Sparse, neighbours
from manyviews.contracts import View
from manyviews.errors import InputError

NAMES = [name for name, (modality, _) in builders().items() if modality == "points" and name != "point_transformer"]


def clouds(count: int = 3, points: int = 128, channels: int = 3) -> View:
    x = torch.randn(count, points, channels, generator=torch.Generator().manual_seed(0))
    return View(x / x[..., :3].norm(dim=-1).amax(1)[:, None, None], torch.arange(count))


@pytest.mark.parametrize("name", NAMES)
def test_an_encoder_gives_its_width_trains_all_of_itself_and_has_a_pyramid(name: str):
    encoder, again = (build_encoder(name, 3, 128, seed=0) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(encoder.state_dict().values(), again.state_dict().values(), strict=True) if a.dim() > 1)
    z = encoder(clouds())
    assert modality_of(name) == "points" and z.shape == (3, encoder.dim)
    z.square().sum().backward()
    assert [key for key, p in encoder.named_parameters() if p.grad is None] == []
    assert [t.x.shape[-1] for t in encoder.pyramid(clouds())] == encoder.widths


@pytest.mark.parametrize("name", [*NAMES])
def test_the_order_of_points_and_the_rest_of_the_batch_do_not_matter(name: str):
    encoder, v = build_encoder(name, 3, 128, seed=0).eval(), clouds()
    order = torch.cat([torch.zeros(1, dtype=torch.long), 1 + torch.randperm(127)])  # sampling begins at the first point
    with torch.no_grad():
        z = encoder(v)
        assert torch.allclose(encoder(View(v.x[:, order], v.index)), z, atol=1e-4)
        assert torch.allclose(encoder(View(v.x[1:2], v.index[1:2])), z[1:2], atol=1e-4)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("apen")])  # which says that it uses places alone
def test_more_channels_are_seen(name: str):
    encoder, v = build_encoder(name, 6, 128, seed=0).eval(), clouds(2, 128, 6)
    changed = torch.cat([v.x[..., :3], -v.x[..., 3:]], -1)
    with torch.no_grad():
        assert not torch.allclose(encoder(v), encoder(View(changed, v.index)))


def test_the_transforms_begin_as_the_identity():
    t = Transform(8)
    assert torch.allclose(t(torch.randn(4, 10, 8)), torch.eye(8).expand(4, 8, 8))


@torch.no_grad()
def test_an_edge_convolution_is_its_loop():
    layer, t = EdgeConvolution(5, 7, 4).eval(), torch.randn(2, 9, 5)
    found = layer(t)
    for b, i in itertools.product(range(2), range(9)):
        near = (t[b] - t[b, i]).norm(dim=1).argsort()[:4]
        slow = torch.stack([layer.layer(torch.cat([t[b, i], t[b, j] - t[b, i]])[None])[0] for j in near]).amax(0)
        assert torch.allclose(found[b, i], slow, atol=1e-5)


@torch.no_grad()
def test_a_set_abstraction_is_its_loop():
    layer, p, t = Abstraction(4, 0.7, 5, (3 + 2, 6)).eval(), torch.randn(2, 12, 3), torch.randn(2, 12, 2)
    centres, found = layer(p, t)
    for b, c in itertools.product(range(2), range(4)):
        inside = [j for j in range(12) if float((p[b, j] - centres[b, c]).norm()) <= 0.7][:5]
        slow = torch.stack([layer.perceptron(torch.cat([p[b, j] - centres[b, c], t[b, j]])[None])[0] for j in inside]).amax(0)
        assert torch.allclose(found[b, c], slow, atol=1e-5)


def test_a_sparse_convolution_is_the_dense_one_on_voxels_that_are_there():
    there = torch.rand(2, 5, 5, 5, generator=torch.Generator().manual_seed(3)) < 0.4
    voxels = there.nonzero()
    t = torch.randn(len(voxels), 3, requires_grad=True)
    layer = Sparse(3, 4)
    found = layer(t, neighbours(voxels))
    dense = torch.zeros(2, 5, 5, 5, 3).index_put(tuple(voxels.T), t)
    weight = layer.weight.view(3, 3, 3, 3, 4).permute(4, 3, 0, 1, 2)
    slow = torch.nn.functional.conv3d(dense.permute(0, 4, 1, 2, 3), weight, padding=1).permute(0, 2, 3, 4, 1)[there]
    assert torch.allclose(found, slow, atol=1e-5)
    (a,) = torch.autograd.grad(found.square().sum(), t, retain_graph=True)
    (b,) = torch.autograd.grad(slow.square().sum(), t)
    assert torch.allclose(a, b, atol=1e-4)


def test_groups_need_points_and_their_error_is_chamfers():
    encoder = build_encoder("point_transformer_micro", 3, 128, seed=0)
    with pytest.raises(InputError, match=r"8 groups of 32 points need at least as many points, and views have 16"):
        encoder(clouds(2, 16))
    tokens = encoder.tokenize(clouds())
    assert tokens.x.shape == (3, 8, 96) and tokens.content.shape == (3, 8, 32, 3) and encoder.content_width == 96
    assert torch.allclose(encoder.content_error(tokens.content.flatten(2), tokens.content), torch.zeros(3, 8), atol=1e-6)
    moved = tokens.content + torch.tensor([3.0, 0, 0])
    a, b = tokens.content[0, 0], moved[0, 0]
    square = torch.cdist(a, b).square()
    assert torch.allclose(encoder.content_error(moved.flatten(2), tokens.content)[0, 0], square.amin(0).mean() + square.amin(1).mean(), rtol=1e-4)


def test_an_encoder_of_tokens_takes_any_of_them_in_any_order_and_leaves_out_what_does_not_exist():
    encoder = build_encoder("point_transformer_micro", 3, 128, seed=0).eval()
    with torch.no_grad():
        tokens = encoder.tokenize(clouds())
        rows = torch.tensor([[5, 2, 7]]).expand(3, -1)
        some = encoder.encode(tokens.select(rows))
        import dataclasses

        exists = torch.zeros(3, 8, dtype=torch.bool).index_fill(1, torch.tensor([2, 5, 7]), True)
        same = encoder.encode(dataclasses.replace(tokens, exists=exists))
        assert torch.allclose(some.whole, same.whole, atol=1e-5) and torch.allclose(some.parts, same.parts[:, [5, 2, 7]], atol=1e-5)
