import pytest
import torch
from torch import nn

from manyviews.backbones.building import build_encoder
from manyviews.backbones.vsformer import Pooled, SetBlock, VSFormer
from manyviews.contracts import Encoder, View
from manyviews.errors import InputError
from manyviews.views.view_sets import Shown


class Means(Encoder):
    """A linear map of a picture."""

    def __init__(self, dim=6):
        super().__init__()
        self.dim = dim
        self.map = nn.Linear(3 * 4 * 4, dim)

    def forward(self, view):
        assert not view.x.isnan().any()
        return self.map(view.x.flatten(1))


def built(dim=8, **options):
    torch.manual_seed(0)
    encoder = VSFormer(Means(), dim, 2, 2, **options)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
    return encoder.eval()


def sets(counts=(5, 2, 4)):
    x = torch.full((len(counts), max(counts), 3, 4, 4), torch.nan)
    r = torch.Generator().manual_seed(1)
    for i, n in enumerate(counts):
        x[i, :n] = torch.rand(n, 3, 4, 4, generator=r)
    return View(x, torch.arange(len(counts)))


@pytest.mark.parametrize("encoder", [built(), Pooled(Means(), "max").eval(), Pooled(Means(), "mean").eval()], ids=["vsformer", "max", "mean"])
def test_the_order_of_the_pictures_changes_nothing(encoder):
    view = sets()
    order = torch.randperm(5, generator=torch.Generator().manual_seed(0))  # missing ones come between the others
    with torch.no_grad():
        assert torch.allclose(encoder(View(view.x[:, order], view.index)), encoder(view), atol=1e-6)


@pytest.mark.parametrize("encoder", [built(), Pooled(Means(), "max").eval(), Pooled(Means(), "mean").eval()], ids=["vsformer", "max", "mean"])
def test_missing_pictures_change_nothing(encoder):
    view = sets()
    with torch.no_grad():
        together = encoder(view)
        for i, n in enumerate((5, 2, 4)):
            assert torch.allclose(together[i], encoder(View(view.x[i : i + 1, :n], view.index[i : i + 1]))[0], atol=1e-6)


def test_pooling_is_what_a_loop_finds():
    view, picture = sets(), Means()
    for how in ("max", "mean"):
        found = Pooled(picture, how)(view)
        for i, n in enumerate((5, 2, 4)):
            z = torch.stack([picture(View(view.x[i, k : k + 1], view.index[:1]))[0] for k in range(n)])
            assert torch.allclose(found[i], z.amax(0) if how == "max" else z.mean(0), atol=1e-6)
    with pytest.raises(ValueError, match="'max' or 'mean'"):
        Pooled(picture, "median")


def test_a_block_is_what_torchs_own_attention_finds():
    torch.manual_seed(0)
    block, t = SetBlock(8, 2, 2.0, 0.1, 0.5).eval(), torch.randn(3, 5, 8)
    theirs = nn.MultiheadAttention(8, 2, batch_first=True)
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = block.qkv.weight.data, torch.zeros(24)
    theirs.out_proj.load_state_dict(block.out.state_dict())
    exists = torch.tensor([[True] * 5, [True] * 3 + [False] * 2, [True] + [False] * 4])
    n = block.norm(t)
    expected = t + theirs(n, n, n, key_padding_mask=~exists, need_weights=False)[0]
    assert torch.allclose(block(t, exists), expected + block.mlp(expected), atol=1e-6)
    with pytest.raises(ValueError, match="take a multiple"):
        SetBlock(8, 3, 2.0, 0.0, 0.0)


def test_cameras_tell_the_order_and_follow_the_pictures_that_are_shown():
    encoder, view = built(cameras=5), sets((5, 5, 5))
    order = torch.tensor([3, 1, 4, 0, 2])
    turned = View(view.x[:, order], view.index)
    with torch.no_grad():
        assert not torch.allclose(encoder(turned), encoder(view), atol=1e-4)
        known = View(turned.x, view.index, Shown(order.expand(3, -1)))
        assert torch.allclose(encoder(known), encoder(view), atol=1e-6)


def test_dropout_acts_in_training_alone():
    encoder, view = built(), sets()
    assert torch.equal(encoder(view), encoder(view))
    encoder.train()
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eval()
    assert not torch.allclose(encoder(view), encoder(view))


def test_everything_learns():
    encoder = built().train()
    encoder(sets()).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in encoder.parameters())


def test_a_set_without_pictures_is_refused_and_named():
    view = sets()
    view.x[1] = torch.nan
    with pytest.raises(InputError, match="sample 1 shows no picture"):
        built()(view)


@pytest.mark.parametrize("name", ["vsformer_micro", "mvcnn_max_micro", "mvcnn_mean_micro"])
def test_encoders_are_found_by_name_and_have_no_content_to_restore(name):
    encoder = build_encoder(name, 3, 16, seed=0).eval()
    x = torch.rand(2, 3, 3, 16, 16)
    assert encoder(View(x, torch.arange(2))).shape == (2, encoder.dim) and encoder.content_width == 0
