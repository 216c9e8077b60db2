"""VSFormer: what the pictures of an object say together, by a transformer over the set of them, without places or order.

Sun et al., "VSFormer: Mining Correlations in Flexible View Set for Multi-view 3D Shape Understanding", TVCG 2024, arXiv:2409.09254.
Departs from the paper: the classifier's first layer is the encoder's last, so that a linear classifier on top of it (`--method supervised`) is the paper's;
sets may have any number of views, also of different ones in a batch, where the paper's are cut to one; any encoder of pictures makes a view's features.
The paper trains twice: the network of pictures to classify single views, then all of it, from there on, to classify sets. Both are `supervised`:
first on the pictures (`manyviews.data.view_sets.single_views`, or the folder read as images), then on sets with that network given to `VSFormer`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from manyviews.contracts import Encoder, Features, Tokens, View
from manyviews.errors import InputError


class SetEncoder(Encoder):
    """`picture`, an encoder of pictures, of each picture of a set; what is made of their features together is for others to say.

    A picture that is missing is NaN all over. A set has no first picture and no places, so that which one is hidden cannot be said: tokens have no content.
    """

    axes = 1

    def __init__(self, picture: Encoder):
        super().__init__()
        self.picture = picture

    def seen(self, view: View) -> tuple[Float[Tensor, "batch views width"], Bool[Tensor, "batch views"]]:
        """The features of every picture, zero where there is none; and which ones there are. Only those that are there are looked at."""
        exists = ~view.x.flatten(2)[..., 0].isnan()
        if not bool(exists.any(1).all()):
            raise InputError(f"sample {int(view.index[~exists.any(1)][0])} shows no picture at all; a set needs one at least")
        z = self.picture(View(view.x[exists], view.index.repeat_interleave(exists.sum(1))))
        return z.new_zeros(*exists.shape, z.shape[1]).index_put((exists,), z), exists


class Pooled(SetEncoder):
    """MVCNN (Su et al. 2015, arXiv:1505.00880): the features' largest or mean value over the pictures, number by number."""

    def __init__(self, picture: Encoder, how: str = "max"):
        super().__init__(picture)
        if how not in ("max", "mean"):
            raise ValueError(f"how={how!r}: expected 'max' or 'mean'")
        self.dim, self.how = picture.dim, how

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        z, exists = self.seen(view)
        return largest(z, exists) if self.how == "max" else mean(z, exists)


class VSFormer(SetEncoder):
    """Features, `depth` blocks of attention among them, the largest and the mean of each number, and a layer to `dim`.

    dim: width of the blocks and of the embedding; features of another width are mapped to it. ratio: of the blocks' perceptrons' width to dim.
    attention_dropout: of the attention and of what it adds. dropout: of what a block's perceptron adds. cameras: 0, or how many pictures have a learned
    vector for their number in the sample, added to their features: what the paper leaves out, to compare with.
    """

    def __init__(
        self,
        picture: Encoder,
        dim: int = 512,
        depth: int = 4,
        heads: int = 8,
        ratio: float = 2.0,
        attention_dropout: float = 0.1,
        dropout: float = 0.5,
        cameras: int = 0,
    ):
        super().__init__(picture)
        self.dim = dim
        other = nn.Sequential(nn.Linear(picture.dim, dim), nn.BatchNorm1d(dim), nn.ReLU())
        self.fit: nn.Module = other if picture.dim != dim else nn.Identity()
        self.layers = nn.ModuleList(SetBlock(dim, heads, ratio, attention_dropout, dropout) for _ in range(depth))
        self.blocks = [Unplaced(layer) for layer in self.layers]
        self.head = nn.Sequential(nn.BatchNorm1d(2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim), nn.BatchNorm1d(dim), nn.ReLU())
        self.cameras = nn.Parameter(torch.randn(cameras, dim) * 0.02) if cameras else None

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        return self.encode(self.tokenize(view)).whole

    def tokenize(self, view: View) -> Tokens:
        """A token for each picture."""
        z, exists = self.seen(view)
        fitted = self.fit(z[exists])
        t = fitted.new_zeros(*exists.shape, self.dim).index_put((exists,), fitted)
        if self.cameras is not None:
            number = view.g.shown if view.g is not None else torch.arange(exists.shape[1], device=t.device).expand_as(exists)
            t = t + self.cameras[number.clamp(min=0) % len(self.cameras)]
        return Tokens(t, t.new_zeros(*exists.shape, 1), None, None if bool(exists.all()) else exists)

    def encode(self, tokens: Tokens) -> Features:
        t = tokens.x
        for block in self.blocks:
            t = block(t, tokens.where, tokens.exists)
        exists = torch.ones_like(t[..., 0], dtype=torch.bool) if tokens.exists is None else tokens.exists
        return Features(self.head(torch.cat([largest(t, exists), mean(t, exists)], 1)), t)


class SetBlock(nn.Module):
    """Attention, then a perceptron, each normalised before, thinned out at random in training, and added."""

    def __init__(self, dim: int, heads: int, ratio: float, attention_dropout: float, dropout: float):
        super().__init__()
        if dim % heads:
            raise ValueError(f"a width of {dim} cannot be shared by {heads} heads; take a multiple")
        self.heads, self.attention_dropout = heads, attention_dropout
        self.norm = nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim, bias=False), nn.Linear(dim, dim)
        self.thin = nn.Dropout(attention_dropout)
        wide = int(dim * ratio)
        self.mlp = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, wide), nn.GELU(), nn.Linear(wide, dim), nn.Dropout(dropout))

    def forward(self, t: Float[Tensor, "batch views dim"], exists: Bool[Tensor, "batch views"] | None = None) -> Float[Tensor, "batch views dim"]:
        q, k, v = self.qkv(self.norm(t)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mask = None if exists is None else exists[:, None, None, :]
        a = F.scaled_dot_product_attention(q, k, v, mask, self.attention_dropout if self.training else 0.0)
        t = t + self.thin(self.out(a.transpose(1, 2).flatten(2)))
        return t + self.mlp(t)


class Unplaced:
    """A block as block(t, where, exists) -> t; tokens before those that `where` tells of are prompts, and always there."""

    def __init__(self, module: Callable[..., Tensor]):
        self.module = module

    def __call__(self, t: Tensor, where: Tensor, exists: Tensor | None = None) -> Tensor:
        return self.module(t, None if exists is None else F.pad(exists, (t.shape[1] - where.shape[1], 0), value=True))


def largest(t: Float[Tensor, "batch views dim"], exists: Bool[Tensor, "batch views"]) -> Float[Tensor, "batch dim"]:
    """Over the pictures that are there."""
    return t.masked_fill(~exists[..., None], -torch.inf).amax(1)


def mean(t: Float[Tensor, "batch views dim"], exists: Bool[Tensor, "batch views"]) -> Float[Tensor, "batch dim"]:
    """Over the pictures that are there."""
    return t.masked_fill(~exists[..., None], 0.0).sum(1) / exists.sum(1, keepdim=True)
