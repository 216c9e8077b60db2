"""MoCo v2: each query must pick out its key, made by a slow copy of the encoder, among a long queue of past keys.

Chen et al., "Improved Baselines with Momentum Contrastive Learning", arXiv:2003.04297; He et al., "Momentum Contrast for Unsupervised Visual
Representation Learning", CVPR 2020, arXiv:1911.05722, Eq. (1) and (2).
Departs from the paper in that batch normalisation takes the whole batch of all processes, for queries and for keys, instead of shuffling the keys among
processes; the queue is never longer than the data set, since beyond that it would hold samples twice; a key of the query's own sample that is still in
the queue is no negative for it (on ImageNet 5 % of the queries have one, in a small data set nearly all); biases and normalisations do not decay.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.errors import InputError
from manyviews.nn.ema import ema_update, frozen_copy
from manyviews.nn.mlp import mlp
from manyviews.nn.queue import Queue
from manyviews.nn.weighting import weighted_mean


class MoCoV2(Method):
    """Queries from the encoder and `v`, keys from its moving average and `w`, negatives from the queue.

    Where samples come with a `weight`, each query counts as often as it says; keys are queued alike.
    """

    recipe = Recipe(views="moco", optimizer="sgd", lr=0.03, weight_decay=1e-4, warmup=0.0)

    def __init__(self, encoder: Encoder, samples: int, hidden: int = 2048, out: int = 128, queue: int = 65536, decay: float = 0.999, temperature: float = 0.2):
        super().__init__()
        if temperature <= 0:
            raise InputError(f"temperature {temperature}: it divides similarities and must be above 0; the paper's is 0.2")
        self.encoder = encoder  # f_q
        self.projector = mlp(encoder.dim, hidden, out, norm=False)
        self.target = frozen_copy(nn.Sequential(self.encoder, self.projector))  # f_k
        self.queue = Queue(min(queue, samples), out)
        self.decay, self.temperature = decay, temperature
        self.fresh: list[tuple[Tensor, Tensor]] = []  # this step's keys and their samples

    def loss(self, v: View, w: View) -> Terms:
        q = self.projector(self.encoder(v))
        with torch.no_grad():
            k = F.normalize(self.target(w).float(), dim=1)
        self.fresh.append((k, w.index))
        with torch.autocast(q.device.type, enabled=False):
            q = F.normalize(q.float(), dim=1)
            negative = q @ self.queue.rows.T
            negative = negative.masked_fill(v.index[:, None] == self.queue.owner, -torch.inf)
            logits = torch.cat([(q * k).sum(1, keepdim=True), negative], 1) / self.temperature
            each = F.cross_entropy(logits, torch.zeros_like(v.index), reduction="none")  # Eq. (1)
            return {"loss": weighted_mean(each, v.given.get("weight"))}

    def after_step(self) -> None:
        ema_update(self.target, [self.encoder, self.projector], self.decay)  # Eq. (2)
        for k, index in self.fresh:
            self.queue.push(k, index)
        self.fresh.clear()
