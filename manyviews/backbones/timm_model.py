"""Every timm model as an encoder: one vector a picture, and tokens and a pyramid where the architecture has them."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.errors import InputError
from manyviews.contracts import Encoder, Features, Tokens, View


class TimmEncoder(Encoder):
    """A timm model without its classifier. Pictures come in as [0, 1] and are normalised here, so that nothing can be normalised twice."""

    def __init__(self, model: nn.Module, mean: tuple[float, ...] = (0.5,), std: tuple[float, ...] = (0.25,)):
        super().__init__()
        self.model = model
        self.dim = int(model.num_features)  # type: ignore[arg-type]
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def normalised(self, view: View) -> Float[Tensor, "batch channels height width"]:
        return (view.x - self.mean) / self.std

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        return self.model(self.normalised(view))

    def feature_map(self, view: View) -> Float[Tensor, "batch dim height width"]:
        """The last feature map before pooling."""
        features = self.model.forward_features(self.normalised(view))  # type: ignore[operator]
        if features.dim() == 4 and features.shape[1] != self.dim:
            features = features.permute(0, 3, 1, 2)
        if features.dim() != 4:
            raise InputError("this architecture has no feature map; use its tokens")
        return features
