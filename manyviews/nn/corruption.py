"""Groups of connected tokens, hidden or corrupted, and restored: shared by iBOT, GMML, SiT and MMC.

Corruption acts on embedded tokens. Where each token is embedded by itself, as patches are, exchanging the tokens of two samples is the same as
exchanging what they show.
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from manyviews.contracts import Encoder, Tokens
from manyviews.counters import Counter
from manyviews.nn.distributed import average, gather, rank, total
from manyviews.nn.mlp import mlp

FILLS = ("noise", "zeros")
BLOCKS = 128  # drawn a sample; what they leave uncovered is corrupted one token at a time
ALIEN = 0.5  # share of the samples whose groups show another sample


@dataclasses.dataclass(frozen=True)
class Corruption:
    """Half of the samples lose groups of tokens to `fill`, the others show those of another sample there (Atito et al. 2022, arXiv:2205.14986)."""

    drop: float = 0.75  # largest share of tokens lost; it is drawn between a half (or `drop`, if that is less) and `drop`
    replace: float = 0.3  # the same for those that show another sample; 0: none do
    fill: str = "noise"  # with the mean and deviation that the batch's tokens have, or zeros
    block: float = 0.3  # largest side of a group, as a share of a picture's; of the same volume where there are more or fewer axes

    def problems(self) -> list[str]:
        """What is wrong with it, each with the way out."""
        found = []
        if not (0 <= self.drop <= 1 and 0 <= self.replace <= 1 and self.drop + self.replace > 0):
            found.append(f"--set drop={self.drop} replace={self.replace}: both are shares of the tokens, 0 to 1, and not both 0; the paper's are 0.75 and 0.3")
        if self.fill not in FILLS:
            found.append(f"--set fill={self.fill}: tokens are filled with {' or '.join(FILLS)}")
        if not 0 < self.block <= 1:
            found.append(f"--set block={self.block}: the largest side of a group is a share of a picture's, above 0 and at most 1; the paper's is 0.3")
        return found

    def __call__(self, counter: Counter, name: str, tokens: Tokens, index: Int[Tensor, "batch"]) -> tuple[Tokens, Bool[Tensor, "batch tokens"]]:
        """The tokens with groups of them corrupted, and which ones are. `content` stays what was there."""
        u = counter.uniform(f"{name}/share", index, 2)
        alien = u[:, 0] < (ALIEN if self.replace else 0.0)
        most = torch.where(alien, self.replace, self.drop)
        least = most.clamp(max=0.5)
        corrupted = grouped(counter, name, index, tokens, least + (most - least) * u[:, 1], self.block)
        x = tokens.x
        new = torch.zeros_like(x)
        if self.fill == "noise":
            mean, deviation = moments(x, tokens.exists)
            new = (mean + deviation * counter.normal(f"{name}/noise", index, *x.shape[1:])).to(x.dtype)
        if self.replace:
            other, exists = of_another(counter, f"{name}/other", tokens, index)
            new = torch.where(alien[:, None, None], other, new)
            corrupted = corrupted & (exists | ~alien[:, None])
        return dataclasses.replace(tokens, x=torch.where(corrupted[..., None], new, x)), corrupted


def grouped(
    counter: Counter, name: str, index: Int[Tensor, "batch"], tokens: Tokens, share: Float[Tensor, "batch"], block: float
) -> Bool[Tensor, "batch tokens"]:
    """A `share` of each sample's tokens, in boxes whose lowest corner is a random token and whose sides are drawn evenly from 0 to `block`."""
    exists = existing(tokens)
    place = unit_places(tokens.where, exists)
    axes = place.shape[-1]
    u = counter.uniform(f"{name}/blocks", index, BLOCKS, 1 + axes)
    nth = (u[..., 0] * exists.sum(1, keepdim=True)).long()
    rows = exists.int().argsort(dim=1, descending=True, stable=True).gather(1, nth)
    corner = place.gather(1, rows[..., None].expand(-1, -1, axes))
    box = first_box(place, corner, corner + u[..., 1:] * block ** (2 / axes))
    return lowest(counter.uniform(f"{name}/order", index, exists.shape[1]) + box, exists, share)


def existing(tokens: Tokens) -> Bool[Tensor, "batch tokens"]:
    """Which tokens are no padding."""
    return tokens.exists if tokens.exists is not None else torch.ones_like(tokens.where[..., 0], dtype=torch.bool)


def unit_places(where: Float[Tensor, "batch tokens axes"], exists: Bool[Tensor, "batch tokens"]) -> Float[Tensor, "batch tokens axes"]:
    """Where tokens are, from 0 to 1 along each axis of what the sample's own tokens span."""
    low = where.masked_fill(~exists[..., None], torch.inf).amin(1, keepdim=True)
    high = where.masked_fill(~exists[..., None], -torch.inf).amax(1, keepdim=True)
    return (where - low) / (high - low).clamp(min=1e-9)


def first_box(
    place: Float[Tensor, "batch tokens axes"], low: Float[Tensor, "batch boxes axes"], high: Float[Tensor, "batch boxes axes"]
) -> Int[Tensor, "batch tokens"]:
    """The number of the first box that each token lies in, or the number of boxes."""
    inside = ((place[:, None] >= low[:, :, None]) & (place[:, None] <= high[:, :, None])).all(-1)
    return torch.where(inside.any(1), inside.int().argmax(1), low.shape[1])


def lowest(key: Float[Tensor, "batch tokens"], exists: Bool[Tensor, "batch tokens"], share: Float[Tensor, "batch"]) -> Bool[Tensor, "batch tokens"]:
    """The `share` of each sample's real tokens, rounded down, that have the lowest keys."""
    order = key.masked_fill(~exists, torch.inf).argsort(1).argsort(1)
    return order < (share * exists.sum(1)).floor()[:, None]


def of_another(
    counter: Counter, name: str, tokens: Tokens, index: Int[Tensor, "batch"]
) -> tuple[Float[Tensor, "batch tokens dim"], Bool[Tensor, "batch tokens"]]:
    """For each sample the tokens of another and which exist: the next in a random cycle through those of all ranks, which must have equally many tokens."""
    order = counter.bits(name, gather(index)).argsort(stable=True)
    partner = torch.empty_like(order).scatter(0, order, order.roll(-1))
    own = partner[rank() * len(index) :][: len(index)]
    exists = existing(tokens) if tokens.exists is None else gather(tokens.exists.float())[own] > 0
    return gather(tokens.x)[own], exists


@torch.no_grad()
def moments(x: Float[Tensor, "batch tokens dim"], exists: Bool[Tensor, "batch tokens"] | None) -> tuple[Float[Tensor, "dim"], Float[Tensor, "dim"]]:
    """Mean and standard deviation of each number, over the real tokens of all ranks."""
    real = torch.ones_like(x[..., :1]).float() if exists is None else exists[..., None].float()
    count = total(real.sum()).clamp(min=1)
    mean = total((x.float() * real).sum((0, 1))) / count
    return mean, (total(((x.float() - mean).square() * real).sum((0, 1))) / count).sqrt()


def restorer(dim: int, width: int) -> nn.Sequential:
    """From a token's features to its content: three layers of the encoder's width, then a linear map (of pixels, a transposed convolution)."""
    layers = mlp(dim, dim, dim, dim, width, norm=False, activation=nn.GELU)
    for layer in [layer for layer in layers if isinstance(layer, nn.Linear)][:-1]:
        nn.init.trunc_normal_(layer.weight, std=0.02)
        nn.init.zeros_(layer.bias)
    return layers


def restoration(encoder: Encoder, *views: tuple[Float[Tensor, "batch tokens width"], Tokens, Bool[Tensor, "batch tokens"]]) -> Float[Tensor, ""]:
    """Mean error over the corrupted tokens of all views and ranks, each view with its prediction, clean tokens and which were corrupted.

    Plain numbers are predicted with the mean and the deviation of all those of the view taken out, and compared by absolute difference; other kinds of
    content by the encoder's own error.
    """
    errors, counts = [], []
    for prediction, tokens, corrupted in views:
        content = tokens.content
        assert content is not None
        if content.dim() == 3 and content.is_floating_point():
            mean, deviation = moments(content, tokens.exists)
            centre = mean.mean()
            scale = (deviation.square() + (mean - centre).square()).mean().sqrt().clamp(min=1e-6)
            error = (prediction - (content - centre) / scale).abs().mean(-1)
        else:
            error = encoder.content_error(prediction, content)
        errors.append((error * corrupted).sum())
        counts.append(average(corrupted.sum().float()))
    return torch.stack(errors).sum() / torch.stack(counts).sum().clamp(min=1)
