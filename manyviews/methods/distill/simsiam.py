"""SimSiam: predict your own embedding of another view, through which no gradient flows.

Chen, He, "Exploring Simple Siamese Representation Learning", CVPR 2021, arXiv:2011.10566, Eq. (3) and (4), algorithm 1.
Departs from the paper in that biases and normalisations do not decay. The predictor's learning rate is constant, as theirs is by default.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.nn.mlp import mlp
from manyviews.nn.weighting import weighted_mean


class SimSiam(Method):
    """One network, a bottleneck predictor on one side and a stop-gradient on the other; either view plays either part."""

    recipe = Recipe(views="moco", optimizer="sgd", lr=0.05, weight_decay=1e-4, warmup=0.0)
    fixed_rate = ("predictor",)

    def __init__(self, encoder: Encoder, hidden: int = 2048, out: int = 2048, bottleneck: int = 512):
        super().__init__()
        self.encoder = encoder
        self.projector = mlp(encoder.dim, hidden, hidden, out, last_norm=True, last_affine=False)
        self.predictor = mlp(out, bottleneck, out)  # h

    def loss(self, v: View, w: View) -> Terms:
        zv, zw = self.projector(self.encoder(v)), self.projector(self.encoder(w))
        weight = v.given.get("weight")
        return {"v_to_w": self.regress(zv, zw, weight) / 2, "w_to_v": self.regress(zw, zv, weight) / 2}  # Eq. (4)

    def regress(self, z: Float[Tensor, "batch dim"], other: Float[Tensor, "batch dim"], weight: Float[Tensor, "batch"] | None = None) -> Float[Tensor, ""]:
        """The negative cosine similarity of the prediction from `z` to the other view's embedding; -1 is perfect."""
        return -weighted_mean(F.cosine_similarity(self.predictor(z).float(), other.detach().float(), dim=1), weight)  # Eq. (3)
