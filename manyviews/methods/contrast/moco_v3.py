"""MoCo v3: each query must pick out its key, made by a slow copy of the encoder, among the keys of the batch; patch projections stay random.

Chen, Xie, He, "An Empirical Study of Training Self-Supervised Vision Transformers", ICCV 2021, arXiv:2104.02057, Eq. (1), algorithm 1.
Departs from the paper in the position embedding, which is the encoder's own and not always the fixed sine-cosine one. An encoder without patches
gets the authors' recipe for ResNet-50 and a projector of two layers, as there, but the temperature of the transformers (theirs is 1.0). The recipes'
warm-up is their 40 epochs of 300, and 10 of 100.
"""

from __future__ import annotations

import torch
from torch import nn

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.errors import InputError
from manyviews.nn.contrast import contrast
from manyviews.nn.ema import cosine, ema_update, frozen_copy
from manyviews.nn.mlp import mlp

CONVOLUTIONAL = Recipe(views="moco_v3", optimizer="lars", lr=0.6, weight_decay=1e-6)


class MoCoV3(Method):
    """Queries from encoder, projector and predictor, keys from the moving average of the first two; either view plays either part."""

    recipe = Recipe(views="moco_v3", optimizer="adamw", lr=1.5e-4, weight_decay=0.1, warmup=40 / 300)

    def __init__(self, encoder: Encoder, hidden: int = 4096, out: int = 256, decay: float = 0.99, temperature: float = 0.2):
        super().__init__()
        if temperature <= 0:
            raise InputError(f"temperature {temperature}: it divides similarities and must be above 0; the paper's is 0.2")
        patches = getattr(getattr(encoder, "model", None), "patch_embed", None)
        if isinstance(patches, nn.Module):
            patches.requires_grad_(False)  # random and fixed: the paper's trick for stability
        else:
            self.recipe = CONVOLUTIONAL  # type: ignore[misc]
        layers = 3 if isinstance(patches, nn.Module) else 2
        self.encoder = encoder
        self.projector = mlp(encoder.dim, *[hidden] * (layers - 1), out, last_norm=True, last_affine=False)
        self.predictor = mlp(out, hidden, out, last_norm=True, last_affine=False)
        self.target = frozen_copy(nn.Sequential(self.encoder, self.projector))
        self.decay, self.temperature = decay, temperature

    def loss(self, v: View, w: View) -> Terms:
        qv, qw = (self.predictor(self.projector(self.encoder(view))) for view in (v, w))
        with torch.no_grad():
            kv, kw = self.target(v), self.target(w)
        weight = v.given.get("weight")
        return {"v_to_w": contrast(qv, kw, self.temperature, weight), "w_to_v": contrast(qw, kv, self.temperature, weight)}

    def after_step(self) -> None:
        ema_update(self.target, [self.encoder, self.projector], cosine(self.decay, 1.0, self.progress))
