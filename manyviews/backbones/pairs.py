"""Encoders of pictures with captions, by name: a tower for each, and a linear map of each to one space.

IMAGE+TEXT names any two towers (`vit_base+causal_transformer_small`, `resnet18+hf:bert-base-uncased@main`); open_clip:NAME is both towers of a model of
open_clip, untrained, and open_clip:NAME@WEIGHTS with its weights, by their tag or from a file. Measured as an encoder, it is
the tower of pictures, before the map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.contracts import Encoder, Features, Tokens, View
from manyviews.errors import InputError

SIZE = 32  # pixels of a side, where nothing is said
SPACE = 512  # width of the space that both towers share
OPEN_CLIP = "open_clip:"


class TwoTowers(Encoder):
    """`image` and `text`, each an encoder, and for each a linear map without bias to `out` numbers; out=None: none, both are of one width already.

    A view of pictures is encoded by `image`, whose tokens, levels and blocks are this encoder's too.
    """

    def __init__(self, image: Encoder, text: Encoder, out: int | None = SPACE):
        super().__init__()
        self.image, self.text = image, text
        self.dim, self.axes, self.content_width = image.dim, image.axes, image.content_width
        self.blocks, self.widths = image.blocks, image.widths
        self.image_map, self.text_map = (projection(tower.dim, out) for tower in (image, text))

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        return self.image(view)

    def embed_image(self, view: View) -> Float[Tensor, "batch out"]:
        """Pictures in the shared space, of any length: compare them by cosine."""
        return self.image_map(self.image(view))

    def embed_text(self, view: View) -> Float[Tensor, "batch out"]:
        """Tokens in the shared space, of any length."""
        return self.text_map(self.text(view))

    @torch.no_grad()
    def embed_words(self, texts: Sequence[str]) -> Float[Tensor, "texts out"]:
        """Texts in the shared space: what zero-shot classification asks for."""
        read: Any = self.text
        device = next(self.parameters()).device
        training = self.training
        out = self.eval().embed_text(read.read(texts, device))
        self.train(training)
        return out

    def tokenize(self, view: View) -> Tokens:
        return self.image.tokenize(view)

    def encode(self, tokens: Tokens) -> Features:
        return self.image.encode(tokens)

    def pyramid(self, view: View) -> list[Tokens]:
        return self.image.pyramid(view)

    def content_error(self, prediction: Tensor, content: Tensor) -> Float[Tensor, "batch tokens"]:
        return self.image.content_error(prediction, content)

    @property
    def mean(self) -> Any:
        """What pictures are normalised by, which is the image tower's."""
        return getattr(self.image, "mean", None)

    @mean.setter
    def mean(self, value: Tensor) -> None:
        self.image.mean = value

    @property
    def std(self) -> Any:
        return getattr(self.image, "std", None)

    @std.setter
    def std(self, value: Tensor) -> None:
        self.image.std = value


def projection(dim: int, out: int | None) -> nn.Module:
    """CLIP's: normal weights of standard deviation dim ** -0.5."""
    if out is None:
        return nn.Identity()
    layer = nn.Linear(dim, out, bias=False)
    nn.init.normal_(layer.weight, std=dim**-0.5)
    return layer


def named(name: str, channels: int = 3, size: int = SIZE, form: Mapping[str, Any] | None = None) -> Encoder:
    """The encoder of a name that is no function of this file: IMAGE+TEXT, or open_clip:NAME. Raises InputError."""
    if name.startswith(OPEN_CLIP):
        from manyviews.backbones.text_pretrained import open_clip_towers

        return open_clip_towers(name.removeprefix(OPEN_CLIP), channels, size, form)
    image, plus, text = name.partition("+")
    if not (image and plus and text):
        raise InputError(f"no encoder {name!r} of pictures with captions; name a tower for each, as in resnet_micro+causal_transformer_micro")
    return two_towers(image, text, channels, size, form)


def two_towers(image: str, text: str, channels: int, size: int, form: Mapping[str, Any] | None) -> TwoTowers:
    """Both towers by name, of texts as long as the data's form says. Raises InputError."""
    from manyviews.backbones.building import build_encoder
    from manyviews.backbones.text_pretrained import text_tower

    return TwoTowers(build_encoder(image, channels, size), text_tower(text, form))


def two_towers_nano(channels: int = 3, size: int = SIZE, form: Mapping[str, Any] | None = None) -> Encoder:
    """resnet_nano, and a causal transformer of 3 blocks, 128 wide: for experiments of a minute."""
    return two_towers("resnet_nano", "causal_transformer_micro", channels, size, form)


def two_towers_micro(channels: int = 3, size: int = SIZE, form: Mapping[str, Any] | None = None) -> Encoder:
    """resnet_micro, and a causal transformer of 3 blocks, 128 wide: for a CPU in minutes."""
    return two_towers("resnet_micro", "causal_transformer_micro", channels, size, form)


def two_towers_base(channels: int = 3, size: int = 224, form: Mapping[str, Any] | None = None) -> Encoder:
    """CLIP's ViT-B/16, and its causal transformer of 12 blocks, 512 wide: 150 million parameters."""
    return two_towers("vit_base", "causal_transformer_small", channels, size, form)


def natural(size: int) -> str:
    """What this machine can train at this size."""
    return "two_towers_base" if torch.cuda.is_available() and size > 64 else "two_towers_micro"
