"""BYOL: predict a slow copy of yourself, seen through another view.

Grill et al., "Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning", NeurIPS 2020, arXiv:2006.07733.
Departs from the paper in nothing known; where its text is silent it follows the authors' code: the target normalises with its own batch's statistics.
The recipe's warm-up is their 10 epochs, of 100.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.nn.ema import cosine, ema_update, frozen_copy
from manyviews.nn.mlp import mlp
from manyviews.nn.weighting import weighted_mean


class BYOL(Method):
    """The online network q.g.f regresses the target network g'.f' across two views of a sample."""

    recipe = Recipe(views="byol", optimizer="lars", lr=0.2, weight_decay=1.5e-6)

    def __init__(self, encoder: Encoder, hidden: int = 4096, out: int = 256, decay: float = 0.996):
        super().__init__()
        self.encoder = encoder  # f_theta
        self.projector = mlp(encoder.dim, hidden, out)  # g_theta
        self.predictor = mlp(out, hidden, out)  # q_theta
        self.target = frozen_copy(nn.Sequential(self.encoder, self.projector))  # g_xi . f_xi
        self.decay = decay  # tau_base

    def loss(self, v: View, w: View) -> Terms:
        return {"v_to_w": self.regress(v, w), "w_to_v": self.regress(w, v)}

    def regress(self, v: View, w: View) -> Float[Tensor, ""]:
        """How far the prediction from `v` is from the target's projection of `w`."""
        with torch.no_grad():
            z = self.target(w)
        return normalized_mse(self.predictor(self.projector(self.encoder(v))), z, v.given.get("weight"))

    def after_step(self) -> None:
        tau = cosine(self.decay, 1.0, self.progress)  # 1 - (1 - tau_base) (cos(pi progress) + 1) / 2
        ema_update(self.target, [self.encoder, self.projector], tau)  # Eq. (1)


def normalized_mse(q: Float[Tensor, "batch dim"], z: Float[Tensor, "batch dim"], weight: Float[Tensor, "batch"] | None = None) -> Float[Tensor, ""]:
    """The (weighted) mean squared distance of the directions, 2 - 2 cos."""
    return weighted_mean(2 - 2 * F.cosine_similarity(q.float(), z.float(), dim=1), weight)  # Eq. (2)
