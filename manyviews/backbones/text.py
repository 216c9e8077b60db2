"""Encoders of text, by name. They take (batch, tokens) whole numbers, -1 where a text has ended, of at most `size` tokens.

Kinds of transformer: one that sees the whole text and gives the mean of the words, as masked methods need it; the same with dropout,
by which two passes of one text differ, as SimCSE needs it (Gao et al. 2021, arXiv:2104.08821); and a causal one, in which a word sees those
before it, and the last one that is there, the end mark, stands for the text: that of CLIP (Radford et al. 2021, arXiv:2103.00020). Words are parts:
their place is their number over `size`, their content is the token, and the error of a prediction is cross-entropy over the vocabulary.
Departs from CLIP: GELU in its exact form; the linear map to the space shared with pictures belongs to `manyviews.backbones.pairs`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from manyviews.backbones.tokens import TokenEncoder, mean
from manyviews.contracts import Encoder, Features, Tokens, View
from manyviews.data.bpe import BPE
from manyviews.errors import InputError
from manyviews.nn.transformer import Block

SIZE = 77  # tokens of a text, where nothing is said
DROPOUT = 0.1  # BERT's, and so SimCSE's


class Words(nn.Module):
    """A learned vector for each token of the vocabulary; the number of a word over `size` is its place."""

    axes = 1

    def __init__(self, vocabulary: int, dim: int, size: int):
        super().__init__()
        self.dim, self.size, self.content_width = dim, size, vocabulary
        self.table = nn.Embedding(vocabulary, dim)
        nn.init.normal_(self.table.weight, std=0.02)

    def forward(self, view: View) -> Tokens:
        ids: Int[Tensor, "batch tokens"] = view.x
        if ids.shape[1] > self.size:
            raise InputError(f"a text of {ids.shape[1]} tokens, and this encoder was made for {self.size}; cut texts, or take a larger context")
        if ids.numel() and int(ids.amax()) >= self.content_width:
            raise InputError(
                f"token {int(ids.amax())}, and this encoder knows {self.content_width}: the text was read with another tokenizer than the encoder's own"
            )
        where = (torch.arange(ids.shape[1], device=ids.device) + 0.5) / self.size
        content = ids.clamp(min=0)
        return Tokens(self.table(content), where.view(1, -1, 1).expand(len(ids), -1, 1), content, ids >= 0)

    def error(self, prediction: Float[Tensor, "batch tokens vocabulary"], content: Int[Tensor, "batch tokens"]) -> Float[Tensor, "batch tokens"]:
        """Cross-entropy of the token."""
        return F.cross_entropy(prediction.float().transpose(1, 2), content, reduction="none")


class Numbered(nn.Module):
    """A learned vector for each of `size` places in [0, 1]."""

    def __init__(self, size: int, dim: int):
        super().__init__()
        self.size = size
        self.table = nn.Embedding(size, dim)
        nn.init.normal_(self.table.weight, std=0.01)

    def forward(self, where: Float[Tensor, "batch tokens 1"]) -> Float[Tensor, "batch tokens dim"]:
        return self.table((where[..., 0] * self.size).long().clamp(0, self.size - 1))


class TextEncoder(TokenEncoder):
    """Words under a transformer. `bpe` is the tokenizer by which texts become their tokens. dropout: in training, of what words attend to, and of what each
    branch of a block adds.
    """

    def __init__(self, bpe: BPE, dim: int, depth: int, heads: int, size: int, causal: bool, dropout: float = 0.0):
        super().__init__(Words(len(bpe), dim, size), depth, heads, Numbered(size, dim))
        self.bpe, self.size, self.causal = bpe, size, causal
        if causal or dropout:
            self.blocks = [Reading(layer, causal, dropout) for layer in self.layers]  # type: ignore[arg-type]
        initialise(self.layers)

    def encode(self, tokens: Tokens) -> Features:
        t = self.run(tokens)[-1]
        return Features(last(t, tokens) if self.causal else mean(t, tokens.exists), t)

    def read(self, texts: Sequence[str], device: torch.device | str | None = None) -> View:
        """Texts as this encoder takes them."""
        rows = [torch.tensor(self.bpe.encode(text, self.size)) for text in texts]
        ids = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1) if rows else torch.zeros(0, 0, dtype=torch.long)
        return View(ids, torch.arange(len(rows))).to(device or self.norm.weight.device)


def last(t: Float[Tensor, "batch tokens dim"], tokens: Tokens) -> Float[Tensor, "batch dim"]:
    """The part with the largest place of those that exist: of a whole text, its end mark. Zero where there is none."""
    place = tokens.where[..., 0]
    if tokens.exists is not None:
        place = torch.where(tokens.exists, place, -1.0)
    found = t.gather(1, place.argmax(1)[:, None, None].expand(-1, 1, t.shape[-1]))[:, 0]
    return torch.where(place.amax(1, keepdim=True) >= 0, found, 0)


@dataclasses.dataclass
class Reading:
    """A block as block(t, where, exists) -> t, with dropout in training; causal: a word sees itself and those before it, and prompts before all words."""

    module: Block
    causal: bool = True
    dropout: float = 0.0

    def __call__(self, t: Tensor, where: Tensor, exists: Tensor | None = None) -> Tensor:
        prompts = t.shape[1] - where.shape[1]
        place = F.pad(where[..., 0], (prompts, 0), value=-1.0)
        seen = (place[:, None, :] <= place[:, :, None]) | (not self.causal)
        if exists is not None:  # a word that does not exist sees itself, so that there is something to see
            there = F.pad(exists, (prompts, 0), value=True)
            seen = seen & (there[:, None, :] | torch.eye(t.shape[1], dtype=torch.bool, device=t.device))
        share = self.dropout if self.module.training else 0.0
        t = t + F.dropout(attend(self.module, self.module.norm1(t), seen, share), share)
        return t + F.dropout(self.module.mlp(self.module.norm2(t)), share)


def attend(
    block: Block, t: Float[Tensor, "batch tokens dim"], seen: Bool[Tensor, "batch tokens tokens"], dropout: float = 0.0
) -> Float[Tensor, "batch tokens dim"]:
    """The block's attention, with what each token sees, a share of it dropped."""
    q, k, v = block.attention.qkv(t).unflatten(-1, (3, block.attention.heads, -1)).permute(2, 0, 3, 1, 4)
    return block.attention.out(F.scaled_dot_product_attention(q, k, v, seen[:, None], dropout).transpose(1, 2).flatten(2))


def initialise(layers: nn.ModuleList) -> None:
    """Normal weights as CLIP has them: of width ** -0.5, and less, by the square root of twice the depth, where a branch ends."""
    for layer in layers:
        assert isinstance(layer, Block)
        dim = layer.attention.out.in_features
        narrow = dim**-0.5 * (2 * len(layers)) ** -0.5
        first, second = layer.mlp[0], layer.mlp[2]
        for linear, std in ((layer.attention.qkv, dim**-0.5), (layer.attention.out, narrow), (first, (2 * dim) ** -0.5), (second, narrow)):
            nn.init.normal_(linear.weight, std=std)  # type: ignore[arg-type]
            nn.init.zeros_(linear.bias)  # type: ignore[arg-type]


def tokenizer(form: Mapping[str, Any] | None) -> BPE:
    """That of the data; without any, bytes."""
    content = (form or {}).get("tokenizer")
    return BPE() if content is None else BPE.from_json(content)


# --- by name ------------------------------------------------------------------------------------------------------------------------------------


def text_transformer_small(channels: int = 0, size: int = SIZE, form: Mapping[str, Any] | None = None) -> Encoder:
    """12 blocks, 512 wide, that see the whole text; the mean of the words."""
    return TextEncoder(tokenizer(form), 512, 12, 8, size, causal=False)


def text_transformer_micro(channels: int = 0, size: int = SIZE, form: Mapping[str, Any] | None = None) -> Encoder:
    """3 blocks, 128 wide, that see the whole text; the mean of the words: for a CPU in minutes."""
    return TextEncoder(tokenizer(form), 128, 3, 4, size, causal=False)


def text_transformer_dropout_small(channels: int = 0, size: int = SIZE, form: Mapping[str, Any] | None = None) -> Encoder:
    """As text_transformer_small, with a dropout of 0.1: for SimCSE."""
    return TextEncoder(tokenizer(form), 512, 12, 8, size, causal=False, dropout=DROPOUT)


def text_transformer_dropout_micro(channels: int = 0, size: int = SIZE, form: Mapping[str, Any] | None = None) -> Encoder:
    """As text_transformer_micro, with a dropout of 0.1: for SimCSE on a CPU in minutes."""
    return TextEncoder(tokenizer(form), 128, 3, 4, size, causal=False, dropout=DROPOUT)


def causal_transformer_small(channels: int = 0, size: int = SIZE, form: Mapping[str, Any] | None = None) -> Encoder:
    """CLIP's: 12 blocks, 512 wide, a word sees those before it; the end mark stands for the text."""
    return TextEncoder(tokenizer(form), 512, 12, 8, size, causal=True)


def causal_transformer_micro(channels: int = 0, size: int = SIZE, form: Mapping[str, Any] | None = None) -> Encoder:
    """CLIP's in small: 3 blocks, 128 wide: for a CPU in minutes."""
    return TextEncoder(tokenizer(form), 128, 3, 4, size, causal=True)


def natural(size: int) -> str:
    """What this machine can train."""
    return "text_transformer_small" if torch.cuda.is_available() else "text_transformer_micro"
