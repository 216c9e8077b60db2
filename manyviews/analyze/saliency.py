"""Saliency without gradients: which places of a picture decide its embedding.

Attention of the class token in the last block: Caron et al., "Emerging Properties in Self-Supervised Vision Transformers" (DINO), ICCV 2021,
arXiv:2104.14294, Sec. 4.2.2. Contribution of each place to a pooled embedding: Stylianou, Souvenir, Pless, "Visualizing Deep Similarity Networks",
WACV 2019, arXiv:1901.00536. Occlusion: Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, arXiv:1311.2901, Sec. 4.2.
Departs from the papers: attention is averaged over heads; contribution is the similarity of a picture to itself rather than to another; occlusion
measures the drop in cosine similarity to the whole picture's embedding, where the paper measures a class probability, and fills with the picture's mean.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.contracts import Encoder, View
from manyviews.errors import InputError


@dataclasses.dataclass(frozen=True)
class Saliency:
    """How much each place matters (non-negative, coarse), and by which measure."""

    map: Float[Tensor, "batch height width"]
    measure: str  # "attention", "contribution" or "occlusion"


@torch.no_grad()
def saliency(encoder: Encoder, view: View, least: int = 6) -> Saliency:
    """The first that the architecture allows, at `least` places a side: class-token attention, contribution to the pooled vector, occlusion."""
    training = encoder.training
    encoder.eval()
    try:
        ways: list[tuple[str, Callable[[], Tensor | None]]] = [
            ("attention", lambda: class_attention(encoder, view)),
            ("contribution", lambda: pooled_contribution(encoder, view)),
        ]
        for measure, way in ways:
            found = way()
            if found is not None:
                found = found.mean(1) if found.dim() == 4 else found
                if min(found.shape[1:]) >= least:
                    return Saliency(found.clamp(min=0), measure)
        return Saliency(occlusion(encoder, view).clamp(min=0), "occlusion")
    finally:
        encoder.train(training)


def attention_weights(
    q: Float[Tensor, "batch heads tokens dim"], k: Float[Tensor, "batch heads tokens dim"], scale: float
) -> Float[Tensor, "batch heads tokens tokens"]:
    """Each row is what one token takes from the others; rows sum to 1."""
    return (q * scale @ k.mT).softmax(-1)


def class_attention(encoder: nn.Module, view: View) -> Float[Tensor, "batch heads height width"] | None:
    """What the class token of the last block attends to, for each head. None without a class token, global attention, or absolute positions."""
    layers = [m for m in encoder.modules() if isinstance(getattr(m, "qkv", None), nn.Linear) and hasattr(m, "num_heads")]
    prefix: Any = next((m.num_prefix_tokens for m in encoder.modules() if isinstance(getattr(m, "num_prefix_tokens", None), int)), 0)
    pooling = next((m.global_pool for m in encoder.modules() if isinstance(getattr(m, "global_pool", None), str)), "token")
    if not layers or prefix < 1 or pooling != "token":
        return None
    layer: Any = layers[-1]
    seen: dict[str, Any] = {}

    def look(module: nn.Module, arguments: tuple, named: dict) -> None:
        seen["x"] = arguments[0] if arguments else named["x"]
        seen["plain"] = len(arguments) <= 1 and all(value is None or value is False for name, value in named.items() if name != "x")

    handle = layer.register_forward_pre_hook(look, with_kwargs=True)
    try:
        encoder(view)
    finally:
        handle.remove()
    if not seen.get("plain") or seen["x"].dim() != 3 or len(seen["x"]) != len(view):
        return None
    batch, tokens, _ = seen["x"].shape
    qkv = layer.qkv(seen["x"])
    q, k, _ = qkv.reshape(batch, tokens, 3, layer.num_heads, -1).permute(2, 0, 3, 1, 4)
    q, k = getattr(layer, "q_norm", nn.Identity())(q), getattr(layer, "k_norm", nn.Identity())(k)
    row = attention_weights(q.float(), k.float(), float(layer.scale))[:, :, 0, prefix:]
    return raster(row, view)


def raster(x: Float[Tensor, "*batch tokens"], view: View) -> Float[Tensor, "*batch height width"] | None:
    """Tokens in reading order as a map of the view's proportions; None where they do not fill one."""
    high, wide = view.x.shape[-2:]
    height = round((x.shape[-1] * high / wide) ** 0.5)
    return x.unflatten(-1, (height, -1)) if height and x.shape[-1] % height == 0 else None


def contribution(parts: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens"]:
    """Shares of the pooled vector z = mean of parts: <part, z> / (tokens |z|^2). They sum to 1; negative ones pull away from z."""
    z = parts.mean(1)
    return torch.einsum("bnd,bd->bn", parts, z) / (parts.shape[1] * z.square().sum(1, keepdim=True)).clamp(min=1e-20)


def pooled_contribution(encoder: Encoder, view: View) -> Float[Tensor, "batch height width"] | None:
    """The contribution of each place of the coarsest feature map; None where the embedding is not that map's mean."""
    try:
        level = encoder.pyramid(view)[-1]
    except InputError:
        return None
    z, mean = encoder(view).float(), level.x.float().mean(1)
    if z.shape != mean.shape or not torch.allclose(z, mean, atol=1e-3 * float(z.abs().max()) + 1e-6):
        return None
    return raster(contribution(level.x.float()), view)


def occlusion(encoder: Callable[[View], Tensor], view: View, places: int = 9, share: float = 0.25) -> Float[Tensor, "batch places places"]:
    """1 - cosine similarity of the embedding with a square of `share` of the side greyed out to that of the whole picture, at places x places centres."""
    x = view.x
    batch, _, height, width = x.shape
    fill = x.mean((2, 3), keepdim=True)
    whole = F.normalize(encoder(view).float(), dim=1)
    rows, columns = torch.arange(height, device=x.device) + 0.5, torch.arange(width, device=x.device) + 0.5
    drop = x.new_zeros(batch, places, places, dtype=torch.float32)
    for i in range(places):
        for j in range(places):
            inside_rows = (rows - (i + 0.5) * height / places).abs() <= share * height / 2
            inside_columns = (columns - (j + 0.5) * width / places).abs() <= share * width / 2
            hidden = dataclasses.replace(view, x=torch.where(inside_rows[:, None] & inside_columns, fill, x))
            drop[:, i, j] = (F.normalize(encoder(hidden).float(), dim=1) - whole).square().sum(1) / 2  # 1 - cosine; 0 where both vectors are zero
    return drop
