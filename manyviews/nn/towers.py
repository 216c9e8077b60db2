"""Encoders of pictures with captions: whether one has a tower for each, as methods that align the two need."""

from __future__ import annotations

from manyviews.contracts import Encoder


def lacking_towers(method: str, encoder: Encoder) -> list[str]:
    """What `method` says of an encoder without `embed_image` and `embed_text`; nothing where it has both."""
    if all(hasattr(encoder, part) for part in ("embed_image", "embed_text")):
        return []
    return [
        f"{method} aligns pictures with their captions, and this encoder has no tower for text; name one for each, e.g. "
        "--encoder resnet_micro+causal_transformer_micro, and data of pictures with captions, e.g. builtin:pairs"
    ]
