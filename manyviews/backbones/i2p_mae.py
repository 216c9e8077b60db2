"""What I2P-MAE has a model of pictures say about clouds: a cloud is drawn as three depth maps, and what the model makes of them is read off at points.

Zhang et al., "Learning 3D Representations from 2D Pre-trained Models via Image-to-Point Masked Autoencoders", CVPR 2023, arXiv:2212.06785.
As in the authors' code, the longer side of the cloud's outline fills the picture, which is centred; a point covers 5 x 5 of 224 x 224 pixels; depths that
fall on one pixel are added, and what comes out goes through a sigmoid, so that nothing is grey. Unlike there, pictures are normalised as the model's own were
(theirs get ImageNet's mean for CLIP), and features are read by bicubic interpolation at the points' pixels alone, which gives the numbers that enlarging the
map to all pixels first gives.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from manyviews.analyze.saliency import class_attention, contribution
from manyviews.backbones.building import build_encoder
from manyviews.backbones.pretrained import default_size, load_weights, read_tensors, timm_pretrained
from manyviews.backbones.text_pretrained import Pictures
from manyviews.contracts import Encoder, View
from manyviews.errors import InputError
from manyviews.nn.hierarchy import Level

VIEWS = 3  # along z, y and x
PLACES = 16  # that a map must have for something in it to stand out
PAPERS = {"clip": "open_clip:ViT-B-16-quickgelu@openai"}  # by short names


class Guide(nn.Module):
    """A model of pictures, frozen, that looks at a cloud from three sides."""

    def __init__(self, name: str):
        super().__init__()
        self.model, self.size, self.channels = picture_model(name)
        self.model.requires_grad_(False)
        self.width = int(look(self.model.eval(), torch.zeros(1, self.channels, self.size, self.size))[0].shape[1])

    def train(self, mode: bool = True) -> Guide:
        """Its normalisations stay as they are."""
        super().train(mode)
        self.model.eval()
        return self

    def numbers(self, content: int) -> int:
        """How many numbers a group is described by whose content has `content`: for each of its members the features of all views."""
        return content // 3 * VIEWS * self.width

    @torch.no_grad()
    def forward(self, view: View, top: Level, target: Level) -> tuple[Float[Tensor, "batch groups"], Float[Tensor, "batch targets numbers"]]:
        """How much each group of `top` stands out, as the mean over the views of its centre's saliency; and what is seen at the members of `target`'s."""
        points = view.x[..., :3].float()
        members = (target.where[:, :, None] + target.content).flatten(1, 2)
        frames = [Frame.of(points.roll(k, -1), self.size) for k in range(VIEWS)]
        pictures = torch.cat([frame.depth_map(points.roll(k, -1)) for k, frame in enumerate(frames)])
        features, salient = (a.float().chunk(VIEWS) for a in look(self.model, pictures.expand(-1, self.channels, -1, -1)))
        stands_out = torch.stack([frame.read(salient[k], top.where.roll(k, -1))[..., 0] for k, frame in enumerate(frames)]).mean(0)
        seen = torch.cat([frame.read(features[k], members.roll(k, -1)) for k, frame in enumerate(frames)], -1)
        return stands_out, seen.unflatten(1, target.content.shape[1:3]).flatten(2)


@dataclasses.dataclass(frozen=True)
class Frame:
    """Where points fall in a picture of `size` pixels a side that is taken along their third coordinate: the first counts rows, the second columns."""

    low: Float[Tensor, "batch 1 2"]
    cell: Float[Tensor, "batch 1 1"]  # side of a pixel
    shift: Float[Tensor, "batch 1 2"]  # pixels
    size: int

    @staticmethod
    def of(points: Float[Tensor, "batch points 3"], size: int) -> Frame:
        """For a cloud: its longer side fills all but three pixels, and its middle is the picture's."""
        flat = points[..., :2]
        low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
        cell = ((high - low).amax(-1, keepdim=True) / max(1, size - 3)).clamp(min=1e-12)
        last = ((high - low) / cell).floor()
        return Frame(low, cell, size // 2 - 1 - (last / 2).floor(), size)

    def pixels(self, points: Float[Tensor, "batch points 3"]) -> Int[Tensor, "batch points 2"]:
        """Row and column of each point."""
        return (((points[..., :2] - self.low) / self.cell).floor() + self.shift).long().clamp(0, self.size - 1)

    def depth_map(self, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch 1 size size"]:
        """Grey where nothing is, lighter the nearer."""
        reach = math.ceil(2 * self.size / 224)
        step = torch.arange(-reach, reach + 1, device=points.device)
        at = (self.pixels(points)[:, :, None] + torch.cartesian_prod(step, step)).clamp(0, self.size - 1)
        number = (at[..., 0] * self.size + at[..., 1]).flatten(1)
        depth = points[..., 2:].expand(-1, -1, len(step) ** 2).flatten(1)
        total = points.new_zeros(len(points), self.size**2).scatter_add_(1, number, depth)
        return total.sigmoid().view(-1, 1, self.size, self.size)

    def read(self, a: Float[Tensor, "batch dim height width"], points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch points dim"]:
        """A map over the picture, read at the middles of the points' pixels."""
        where = (self.pixels(points).flip(-1) + 0.5) * (2 / self.size) - 1  # column first
        return F.grid_sample(a, where[:, :, None], "bicubic", "border", align_corners=False)[..., 0].mT


# --- models of pictures -----------------------------------------------------------------------------------------------------------------------


def picture_model(name: str) -> tuple[Encoder, int, int]:
    """An encoder of pictures by name, the side of the pictures it takes in pixels, and their channels. Raises InputError.

    name: clip, open_clip:NAME@WEIGHTS, timm:NAME, timm:NAME@FILE, a run's folder or its .safetensors file, or untrained:NAME.
    """
    name = PAPERS.get(name, name)
    kind, _, rest = name.partition(":")
    if kind == "open_clip":
        try:
            towers: Any = build_encoder(name, 3, 224)
        except InputError as error:
            raise InputError(f"{error}; without a connection, give a file (open_clip:NAME@FILE), or another model of pictures: --set guide=...") from None
        return towers.image, 224, 3
    if kind == "timm":
        return *timm_pretrained(rest), 3
    if kind == "untrained":
        return build_encoder(rest, 3, default_size(rest), seed=0), default_size(rest), 3
    path = Path(name).expanduser()
    path = path / "encoder.safetensors" if path.is_dir() else path
    header = read_tensors(path)[1] if path.is_file() else {}
    if not header or header.get("modality", "images") != "images":
        what = "is not of pictures" if header else "is no run"
        raise InputError(f"no model of pictures {name!r}: it {what}; take open_clip:NAME@WEIGHTS, timm:NAME, untrained:NAME, or a run of `manyviews pretrain`")
    encoder = build_encoder(header["architecture"], header["channels"], header["size"])
    load_weights(encoder, path)
    return encoder, int(header["size"]), int(header["channels"])


@torch.no_grad()
def look(model: Encoder, x: Float[Tensor, "batch channels side side"]) -> tuple[Float[Tensor, "batch dim _ _"], Float[Tensor, "batch 1 _ _"]]:
    """Maps of what a model sees where, and of how much each place matters to it, shares of one: what its class token attends to, else its contribution.

    What is seen are the parts, else the coarsest level of at least PLACES places.
    """
    if isinstance(model, Pictures):
        return look_as_clip(model, x)
    view = View(x, torch.arange(len(x), device=x.device))
    if model.content_width:
        parts = model.encode(model.tokenize(view)).parts
    else:
        levels = model.pyramid(view)
        parts = next((level.x for level in reversed(levels) if level.x.shape[1] >= PLACES), levels[0].x)
    attention = class_attention(model, view)
    return squared(parts), squared(contribution(parts.float())[..., None]) if attention is None else attention.mean(1, keepdim=True)


def look_as_clip(model: Pictures, x: Float[Tensor, "batch 3 side side"]) -> tuple[Float[Tensor, "batch dim _ _"], Float[Tensor, "batch 1 _ _"]]:
    """Patches in the space that CLIP shares with text, and what the class token attends to in the last block, averaged over heads. Raises InputError."""
    visual: Any = model.model
    last = getattr(getattr(visual, "transformer", None), "resblocks", [None])[-1]
    layer, norm = getattr(last, "attn", None), getattr(visual, "ln_post", None)
    if not isinstance(layer, nn.MultiheadAttention) or norm is None:
        raise InputError(f"of open_clip's models a plain vision transformer can guide, e.g. ViT-B-16-quickgelu@openai, and this is a {type(visual).__name__}")
    seen: dict[str, Any] = {}
    handles = [
        layer.register_forward_pre_hook(lambda _, given: seen.update(attended=given)),
        norm.register_forward_hook(lambda _, given, out: seen.update(out=out)),
    ]
    try:
        model(View(x, torch.arange(len(x))))
    finally:
        for handle in handles:
            handle.remove()
    if seen["out"].dim() != 3:
        raise InputError("this model of open_clip pools before it normalises, and so has no patches to compare; take e.g. ViT-B-16-quickgelu@openai")
    attention = layer(*seen["attended"][:3], need_weights=True)[1][:, 0, 1:]
    parts = seen["out"][:, 1:]
    return squared(parts if visual.proj is None else parts @ visual.proj), squared(attention[..., None])


def squared(parts: Float[Tensor, "batch places dim"]) -> Float[Tensor, "batch dim side side"]:
    """Places in reading order as a square map."""
    side = math.isqrt(parts.shape[1])
    return parts.mT.unflatten(-1, (side, side))
