"""Every timm model as an encoder: one vector a picture, and tokens and a pyramid where the architecture has them."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from manyviews.contracts import Encoder, Features, Tokens, View
from manyviews.errors import InputError
from manyviews.nn.positions import read_grid

SETS = ("VisionTransformer", "VisionTransformerDistilled", "Eva")  # attention over a set: any patches will do, in any order
GRIDS = ("Beit", "VisionTransformerRelPos")  # attention with a bias for each pair of cells: all patches, in order
PYRAMID = 4  # levels taken from a transformer that has one resolution


class TimmEncoder(Encoder):
    """A timm model without its classifier. Pictures come in as [0, 1] and are normalised here, so that nothing can be normalised twice.

    Plain vision transformers (ViT, DeiT, SigLIP, DINOv2, EVA, DINOv3 ...) take any of their tokens, at any picture size. BEiT and relative-position
    transformers take all of them, shown or replaced. What is not a multiple of the patch is filled up at the right and below with the mean colour.
    Change what is in `blocks` and every use of the encoder goes through it.
    """

    model: Any  # a timm module
    mean: Tensor
    std: Tensor

    def __init__(self, model: Any, mean: tuple[float, ...] = (0.5,), std: tuple[float, ...] = (0.25,)):
        super().__init__()
        self.model = model
        self.dim = int(self.model.num_features)
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)
        names = {base.__name__ for base in type(model).__mro__ if base.__module__.startswith("timm.models.")}
        self.attention = "set" if names & {*SETS} else "grid" if names & {*GRIDS} else ""
        self.prefix = int(getattr(self.model, "num_prefix_tokens", 0))  # class and register tokens
        stages = [*(getattr(model, "feature_info", None) or [])]
        if len({stage.get("reduction") for stage in stages}) == 1:  # one resolution: take it at some depths
            stages = [stages[k] for k in depths(len(stages))]
        self.stages = [str(stage["module"]) for stage in stages]
        self.widths = [int(stage["num_chs"]) for stage in stages]
        if self.attention:
            self.patch: tuple[int, int] = tuple(self.model.patch_embed.feat_ratio(as_scalar=False))  # height, width
            channels = getattr(self.model, "in_chans", None) or next(p for p in self.model.patch_embed.parameters() if p.dim() == 4).shape[1]
            self.content_width = self.patch[0] * self.patch[1] * int(channels)
        if self.attention == "set":
            self.rotary = Rotary(model) if getattr(model, "rope", None) is not None else None
            self.blocks = [Block(block, depth, self.prefix, self.rotary) for depth, block in enumerate(self.model.blocks)]

    def normalised(self, view: View) -> Float[Tensor, "batch channels height width"]:
        return (view.x - self.mean) / self.std

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        if any(type(block) is not Block for block in self.blocks):
            return self.encode(self.tokenize(view)).whole
        try:
            return self.model(self.normalised(view))
        except AssertionError as error:  # how timm refuses a size
            raise InputError(f"{self.name}: {error} Take the --size it was made for, or an architecture for all sizes, e.g. --encoder vit_small") from None

    def tokenize(self, view: View) -> Tokens:
        """Patches in reading order; `content` is their pixels, as they came in, row by row with the channel last."""
        if not self.attention:
            raise InputError(self.lacks("whose tokens can be hidden or compared one by one"))
        x, (high, wide) = view.x, self.patch
        missing = (0, -x.shape[-1] % wide, 0, -x.shape[-2] % high)
        if any(missing):
            if not getattr(self.model.patch_embed, "dynamic_img_pad", False) or hasattr(self.model.patch_embed, "backbone"):
                raise InputError(f"{self.name} has patches of {high} x {wide} pixels; take a --size that is a multiple, not {tuple(x.shape[-2:])}")
            x = F.pad(x - self.mean, missing) + self.mean
        rows, columns = x.shape[-2] // high, x.shape[-1] // wide
        t = self.model.patch_embed((x - self.mean) / self.std)
        t = t.flatten(1, 2) if t.dim() == 4 else t
        content = x.unflatten(3, (columns, wide)).unflatten(2, (rows, high)).permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2).flatten(2)
        where, extent = (a.expand(len(t), -1, -1) for a in cells(rows, columns, t.device))
        return Tokens(t, where, content, extent=extent)

    def encode(self, tokens: Tokens) -> Features:
        """Features of all tokens or of any of them; `parts` are normalised as the pooled vector is, class and register tokens are not among them."""
        if not self.attention:
            raise InputError(self.lacks("whose tokens can be hidden or compared one by one"))
        t = self.run(tokens)[-1] if self.attention == "set" else self.run_grid(tokens)
        return Features(self.pool(t, tokens.exists), self.model.fc_norm(t[:, self.prefix :]))

    def run(self, tokens: Tokens) -> list[Float[Tensor, "batch all dim"]]:
        """What leaves the blocks that `pyramid` takes, last the last, normalised, with the prefix tokens in front."""
        t = self.model.norm_pre(self.model.pos_drop(self.positioned(tokens)))
        if self.rotary is not None:
            self.rotary.start(tokens)
        taken, taking = [], depths(len(self.blocks))
        for depth, block in enumerate(self.blocks):
            t = block(t, tokens.where, tokens.exists)
            if depth in taking:
                taken.append(self.model.norm(t))
        if self.rotary is not None:
            self.rotary.forget()
        return taken

    def positioned(self, tokens: Tokens) -> Float[Tensor, "batch all dim"]:
        """Tokens with their learned position, read from the table at `where`, behind the prefix tokens."""
        model, t = self.model, tokens.x
        learned = [getattr(model, name, None) for name in ("cls_token", "dist_token", "reg_token")]
        front = torch.cat([a for a in learned if a is not None], 1) if self.prefix else t.new_zeros(1, 0, t.shape[-1])
        if model.pos_embed is not None:
            table = model.pos_embed[0]
            if not model.no_embed_class:
                front, table = front + table[: self.prefix], table[self.prefix :]
            where, extent = tokens.where, tokens.extent
            if where.stride(0) == 0 and (extent is None or extent.stride(0) == 0):  # the same in all samples, as `tokenize` leaves it
                where, extent = where[:1], None if extent is None else extent[:1]
            t = t + read_grid(table.unflatten(0, tuple(model.patch_embed.grid_size)), where, extent)
        return torch.cat([front.expand(len(t), -1, -1).to(t.dtype), t], 1)

    def pool(self, t: Float[Tensor, "batch all dim"], exists: Bool[Tensor, "batch tokens"] | None) -> Float[Tensor, "batch dim"]:
        """The model's own pooling; over those that exist, where padding is among the tokens."""
        model = self.model
        attention = getattr(model, "attn_pool", None)
        if exists is None or (attention is None and model.global_pool == "token"):
            return model.forward_head(t)
        everything = getattr(model, "pool_include_prefix", attention is not None)  # EVA's attention pools over all
        t, real = (t, F.pad(exists, (self.prefix, 0), value=True)) if everything else (t[:, self.prefix :], exists)
        if attention is not None:
            if model.global_pool != "map":
                raise InputError(f"{self.name} pools by {model.global_pool}, which cannot leave out padding; give it as many tokens in each sample")
            pooled = attention(t, attn_mask=torch.zeros_like(t[:, None, None, :, 0]).masked_fill(~real[:, None, None], -torch.inf))
        else:
            mean = (t * real[..., None]).sum(1) / real.sum(1, keepdim=True).clamp(min=1)
            most = t.masked_fill(~real[..., None], -torch.inf).amax(1)
            pooled = {"avg": mean, "max": most, "avgmax": (mean + most) / 2}[model.global_pool]
        return model.head_drop(model.fc_norm(pooled))

    def run_grid(self, tokens: Tokens) -> Float[Tensor, "batch all dim"]:
        """For models whose attention knows only its own grid: all tokens, in reading order."""
        own = self.model.patch_embed
        if tokens.x.shape[1] != own.num_patches or tokens.exists is not None:
            raise InputError(
                f"{self.name} attends by position on its grid of {own.num_patches} patches and cannot drop any of them; "
                "replace tokens instead of dropping them, or take a plain vision transformer, e.g. --encoder vit_small or vit_micro"
            )
        self.model.patch_embed = Given(tokens.x)
        try:
            return self.model.forward_features(None)
        finally:
            self.model.patch_embed = own

    def pyramid(self, view: View) -> list[Tokens]:
        """Feature maps from fine to coarse, each cell with the row of the coarser cell that it lies in; of a plain transformer four of its depths."""
        if self.attention == "set":
            tokens = self.tokenize(view)
            rows, columns = -(-view.x.shape[-2] // self.patch[0]), -(-view.x.shape[-1] // self.patch[1])
            maps = [t[:, self.prefix :].mT.unflatten(2, (rows, columns)) for t in self.run(tokens)]
        else:
            maps = self.maps(self.normalised(view))
        sizes = [(m.shape[-2], m.shape[-1]) for m in maps]
        levels = []
        for m, (rows, columns), coarser in zip(maps, sizes, [*sizes[1:], None], strict=True):
            where, extent = (a.expand(len(m), -1, -1) for a in cells(rows, columns, m.device))
            levels.append(Tokens(m.flatten(2).mT, where, parent=None if coarser is None else cell(where, *coarser), extent=extent))
        return levels

    def maps(self, x: Float[Tensor, "batch channels height width"]) -> list[Float[Tensor, "batch _ _ _"]]:
        """The feature maps that timm lists for this architecture."""
        if not self.widths:
            raise InputError(self.lacks("with a feature pyramid"))
        if hasattr(self.model, "forward_intermediates"):
            count = len(self.model.feature_info)
            return list(self.model.forward_intermediates(x, indices=depths(count) if len(self.stages) < count else None, intermediates_only=True))
        found: dict[str, Tensor] = {}
        hooks = [self.model.get_submodule(n).register_forward_hook(lambda _m, _i, out, n=n: found.__setitem__(n, out)) for n in self.stages]  # type: ignore[misc]
        try:
            self.model.forward_features(x)
        finally:
            for hook in hooks:
                hook.remove()
        return [found[name] for name in self.stages]

    def feature_map(self, view: View) -> Float[Tensor, "batch dim height width"]:
        """The last feature map before pooling."""
        features = self.model.forward_features(self.normalised(view))
        if features.dim() == 4 and features.shape[1] != self.dim:
            features = features.permute(0, 3, 1, 2)
        if features.dim() != 4:
            raise InputError(f"{self.name} has no feature map; use its tokens")
        return features

    @property
    def name(self) -> str:
        return type(self.model).__name__

    def lacks(self, what: str) -> str:
        return f"{self.name} is no architecture {what}; take a plain vision transformer, e.g. --encoder vit_micro, vit_small or any timm vit_*, deit*, eva02_*"


class Rotary:
    """Rotary positions of the tokens at hand: rows of the table that the model makes for its grid, made once for all blocks."""

    def __init__(self, model: Any):
        self.model = model
        self.grid: tuple[int, ...] | None = None  # rows, columns; None: the encoder's own
        self.forget()

    def start(self, tokens: Tokens) -> None:
        """Which grid the tokens are from."""
        self.forget()
        self.grid = None if tokens.extent is None else tuple(round(1 / side) for side in tokens.extent[0, 0].flip(0).tolist())

    def forget(self) -> None:
        self.where: Tensor | None = None
        self.rows: Tensor | None = None

    def __call__(self, where: Float[Tensor, "batch tokens 2"], depth: int, others: int) -> Tensor:
        """Sines and cosines for one block; `others` tokens in front, which are neither prefix nor at a place, are not turned."""
        if self.rows is None or self.where is not where:
            grid = self.grid or tuple(self.model.patch_embed.grid_size)
            table = self.model.rope.get_embed(shape=list(grid))  # (cells, numbers), or (depth, heads, cells, numbers)
            at = cell(where, *grid)
            self.where, self.rows = where, table[at].unsqueeze(1) if table.dim() == 2 else table[:, :, at].transpose(1, 2)
        rows = self.rows if self.rows.dim() == 4 else self.rows[depth]
        half = torch.zeros(rows.shape[-1] // 2, device=rows.device, dtype=rows.dtype)
        still = torch.cat([half, half + 1]).expand(*rows.shape[:-2], others, -1)
        return torch.cat([still, rows], -2)


@dataclasses.dataclass(eq=False)
class Block:
    """One of the model's blocks as block(t, where, exists) -> t; tokens before those that `where` tells of are prefix tokens and prompts."""

    module: nn.Module
    depth: int
    prefix: int
    rotary: Rotary | None

    def __call__(self, t: Tensor, where: Tensor, exists: Tensor | None = None) -> Tensor:
        front = t.shape[1] - where.shape[1]
        options: dict[str, Tensor] = {}
        if exists is not None:
            options["attn_mask"] = F.pad(exists, (front, 0), value=True)[:, None, None, :]
        if self.rotary is not None:
            options["rope"] = self.rotary(where, self.depth, front - self.prefix)
        return self.module(t, **options)


class Given(nn.Module):
    """Stands for a patch embedding whose tokens are there already."""

    def __init__(self, x: Tensor):
        super().__init__()
        self.x = x

    def forward(self, picture: None) -> Tensor:
        return self.x


def depths(count: int) -> list[int]:
    """The numbers of PYRAMID of `count` blocks, evenly spaced, with the last."""
    return sorted({-(-count * k // PYRAMID) - 1 for k in range(1, PYRAMID + 1)})


def cells(rows: int, columns: int, device: torch.device) -> tuple[Float[Tensor, "1 tokens 2"], Float[Tensor, "1 tokens 2"]]:
    """Centres (x, y) in [0, 1] and sizes of a grid's cells, in reading order."""
    y, x = ((torch.arange(n, device=device) + 0.5) / n for n in (rows, columns))
    where = torch.cartesian_prod(y, x).flip(-1)[None]
    return where, torch.tensor([1 / columns, 1 / rows], device=device).expand_as(where)


def cell(where: Float[Tensor, "batch tokens 2"], rows: int, columns: int) -> Tensor:
    """The number of the cell, in reading order, that each place lies in."""
    x, y = (where[..., 0] * columns).long().clamp(0, columns - 1), (where[..., 1] * rows).long().clamp(0, rows - 1)
    return y * columns + x
