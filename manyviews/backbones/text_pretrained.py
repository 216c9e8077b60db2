"""Towers of other packages: text models of Hugging Face's transformers (hf:NAME), and both towers of open_clip's models (open_clip:NAME).

A name alone is the architecture, untrained; NAME@WEIGHTS has weights: a revision at the hub (hf:bert-base-uncased@main; of a folder any word), a tag of
open_clip or a file (open_clip:ViT-B-32@laion2b_s34b_b79k). They read text with their own
tokenizers, and get the data's tokens, which are turned back to text for them: in lower case, unless the data was opened with ?case=keep.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from manyviews.backbones import text
from manyviews.backbones.tokens import mean
from manyviews.contracts import Encoder, View
from manyviews.data.bpe import BPE
from manyviews.errors import InputError
from manyviews.nn import torchvision_schemas

HF = "hf:"


def text_tower(name: str, form: Mapping[str, Any] | None) -> Encoder:
    """An encoder of text by name: a function of `manyviews.backbones.text`, or hf:NAME. Raises InputError."""
    size = int((form or {}).get("context", text.SIZE))
    if name.startswith(HF):
        return hugging_face(name.removeprefix(HF), size, form)
    build = getattr(text, name, None) if "transformer" in name else None
    if build is None:
        known = [n for n, f in vars(text).items() if getattr(f, "__annotations__", {}).get("return") == "Encoder"]
        raise InputError(f"no encoder {name!r} of text; there are {', '.join(known)}, and {HF}NAME")
    return build(0, size, form)


class OtherWords(Encoder):
    """A model of another package: `tokens(texts) -> its own input`, `run(input) -> (batch, dim)`. `bpe` is the tokenizer of the data."""

    def __init__(self, model: nn.Module, dim: int, bpe: BPE, tokens: Callable[[list[str]], Any], run: Callable[[nn.Module, Any], Tensor]):
        super().__init__()
        self.model, self.dim, self.bpe = model, dim, bpe
        self.tokens, self.run = tokens, run

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        """Of (batch, tokens) of the data's tokenizer, or of the list of texts that `read` gives."""
        texts = view.x if isinstance(view.x, list) else [self.bpe.decode(row) for row in view.x.tolist()]
        return self.run(self.model, self.tokens(texts).to(next(self.model.parameters()).device))

    def read(self, texts: Sequence[str], device: torch.device | str | None = None) -> View:
        """Texts as this encoder takes them: in full, by its own tokenizer."""
        return View(Texts(texts), torch.arange(len(texts)))


class Texts(list):
    """Strings that are on every device."""

    def to(self, device: Any, **options: Any) -> Texts:
        return self


def hugging_face(name: str, size: int, form: Mapping[str, Any] | None = None) -> Encoder:
    """A text model with the mean of its last hidden states. Raises InputError."""
    torchvision_schemas.declare()
    try:
        from transformers import AutoConfig, AutoModel, AutoTokenizer
    except ImportError:
        raise InputError(f"{HF}{name} needs transformers: pip install 'manyviews[text]'") from None
    name, at, revision = name.partition("@")
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(name, revision=revision or None)
        config = AutoConfig.from_pretrained(name, revision=revision or None)
        model: Any = AutoModel.from_pretrained(name, revision=revision or None) if at else AutoModel.from_config(config)
    except Exception as error:  # the hub's client and each architecture raise what they like
        raise InputError(f"{HF}{name} cannot be had: {first_line(error)}; without a connection, give the folder that holds it") from None
    longest = min(size, int(getattr(config, "max_position_embeddings", size) or size))

    def tokens(texts: list[str]) -> Any:
        return tokenizer(texts, padding=True, truncation=True, max_length=longest, return_tensors="pt")

    def run(model: Any, given: Any) -> Tensor:
        return mean(model(**given).last_hidden_state, given["attention_mask"].bool())

    for layer in [getattr(model, "pooler", None)]:
        if isinstance(layer, nn.Module):
            model.pooler = None  # it is not used, and would be trained by nothing
    return OtherWords(model, int(config.hidden_size), text.tokenizer(form), tokens, run)


class Pictures(Encoder):
    """The tower of pictures of an open_clip model, in the space that it shares with text. Pictures come in as [0, 1] and are normalised here."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, dim: int, average: Sequence[float], deviation: Sequence[float]):
        super().__init__()
        self.model, self.dim = model, dim
        self.register_buffer("mean", torch.tensor(average).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(deviation).view(-1, 1, 1), persistent=False)

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        return self.model((view.x - self.mean) / self.std)


class WordsOfClip(nn.Module):
    """An open_clip model without its tower of pictures."""

    def __init__(self, model: Any):
        super().__init__()
        self.rest = model
        self.rest.visual = None
        self.rest.logit_scale = None

    def forward(self, tokens: Int[Tensor, "batch tokens"]) -> Float[Tensor, "batch dim"]:
        return self.rest.encode_text(tokens)


def open_clip_towers(name: str, channels: int, size: int, form: Mapping[str, Any] | None = None) -> Encoder:
    """Both towers of a model of open_clip, for pictures of `size` pixels. Raises InputError."""
    from manyviews.backbones.pairs import TwoTowers

    torchvision_schemas.declare()
    try:
        import open_clip
    except ImportError:
        raise InputError(f"open_clip:{name} needs open_clip: pip install 'manyviews[text]'") from None
    if channels != 3:
        raise InputError(f"open_clip:{name} takes pictures of 3 channels, and these have {channels}; take --channels 3")
    name, _, weights = name.partition("@")
    try:
        model: Any = open_clip.create_model(name, pretrained=weights or None, force_image_size=size, load_weights=bool(weights))
        tokenizer: Any = open_clip.get_tokenizer(name)
        look = open_clip.get_model_preprocess_cfg(model)
    except Exception as error:  # it raises RuntimeError, and what timm and the hub do
        raise InputError(f"open_clip:{name} cannot be built: {first_line(error)}") from None
    width = int(open_clip.get_model_config(name)["embed_dim"])
    image = Pictures(model.visual, width, look["mean"], look["std"])
    words = OtherWords(WordsOfClip(model), width, text.tokenizer(form), tokenizer, lambda model, tokens: model(tokens))
    return TwoTowers(image, words, None)


def first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}"
