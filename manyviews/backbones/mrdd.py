"""What mrdd exports, by name: mrdd:20,100,contours:resnet_micro is resnet_micro three times, with codes of 20, 100 and 100 numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from manyviews.contracts import Encoder
from manyviews.errors import InputError
from manyviews.methods.mask.mrdd import SECOND, Disentangled

PREFIX = "mrdd:"


def named(name: str, channels: int = 3, size: int = 32, form: Mapping[str, Any] | None = None) -> Encoder:
    """The encoder of a name that `Disentangled.named` made. Raises InputError."""
    from manyviews.backbones.building import build_encoder

    codes, _, base = name.removeprefix(PREFIX).partition(":")
    consistent, specific, second = (*codes.split(","), "", "")[:3]
    if not (consistent.isdecimal() and specific.isdecimal() and second in SECOND and base):
        raise InputError(f"no encoder {name!r}; expected mrdd:CONSISTENT,SPECIFIC,{'|'.join(SECOND)}:ENCODER, e.g. mrdd:20,100,contours:resnet_micro")
    return Disentangled(build_encoder(base, channels, size, form=form), int(consistent), int(specific), second)
