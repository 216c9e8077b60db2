"""iSogCLR: contrast each sample at a temperature of its own, learned by robust optimisation with a state for every sample of the data set.

Qiu et al., "Not All Semantics are Created Equal: Contrastive Self-supervised Learning with Automatic Temperature Individualization", ICML 2023,
arXiv:2305.11965.
Departs from the paper where the authors' code does: between two views of a picture the running mean is of exp(similarity / temperature) and not of the
difference from the positive's (both estimate one loss), the two views share their sample's state, a sample's first visit sets its running mean (in their
code throughout the first epoch), the gradients of temperatures are clipped, and the floor of the temperatures is a setting of its own. From both in that the
running mean is kept as its logarithm, which cannot overflow, and in that another view of the same sample in the batch is no negative. The recipe is that of
their code for CIFAR, with a warm-up of 10 epochs of 400; biases and normalisations neither adapt nor decay. Pictures with captions: bimodal_isogclr.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.nn.distributed import gather
from manyviews.nn.individual_temperatures import IndividualTemperatures
from manyviews.nn.mlp import mlp


class ISogCLR(Method):
    """Each view of a sample against both views of the others; the views of one sample share a temperature.

    rho: how far weights may go from uniform, as a Kullback-Leibler divergence; the larger, the lower temperatures become. The authors take 0.1 to 0.5.
    temperature: of every sample at the start.
    lowest: what no temperature falls below. highest: what no temperature rises above.
    gamma: share of the batch in a sample's running mean, above 0 and up to 1; 1 forgets all before.
    beta: share of the newest gradient in a temperature's momentum, above 0 and up to 1.
    step: how far a temperature moves against its momentum, with each of the sample's visits.
    steepest: the size that the gradient of a temperature is clipped to.
    """

    recipe = Recipe(views="moco", optimizer="lars", lr=1.6, weight_decay=5e-4, warmup=10 / 400, final_lr=0.001)

    def __init__(
        self,
        encoder: Encoder,
        samples: int,
        hidden: int = 128,
        out: int = 128,
        rho: float = 0.4,
        temperature: float = 0.1,
        lowest: float = 0.05,
        highest: float = 1.0,
        gamma: float = 0.8,
        beta: float = 0.5,
        step: float = 0.03,
        steepest: float = 3.0,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = mlp(encoder.dim, hidden, out, norm=False)
        self.state = IndividualTemperatures(samples, rho, temperature, lowest, highest, gamma, beta, step, steepest)

    def loss(self, v: View, w: View) -> Terms:
        zv, zw = self.projector(self.encoder(v)), self.projector(self.encoder(w))
        with torch.autocast(zv.device.type, enabled=False):
            zv, zw = F.normalize(zv.float(), dim=1), F.normalize(zw.float(), dim=1)
            index = torch.cat([v.index, w.index])
            everyone = torch.cat([gather(zv), gather(zw)])
            owner = torch.cat([gather(v.index), gather(w.index)])
            similarity = torch.cat([zv, zw]) @ everyone.T
            pushed = self.state(similarity, index[:, None] != owner, index)
            pulled = (zv * zw).sum(1)
            return {"loss": 2 * (pushed.mean() - pulled.mean()), "temperature": self.state.temperature[v.index].mean()}

    def after_step(self) -> None:
        self.state.update()
