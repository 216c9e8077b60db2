"""SwAV: predict from one crop the balanced cluster assignment of another, while all are compared to the same prototypes.

Caron et al., "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments", NeurIPS 2020, arXiv:2006.09882.
Departs from the paper in nothing known; the recipe is the authors' for batches of 256, with the queue.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.nn.crops import cross_entropy_across, embed_crops
from manyviews.nn.distributed import rank, world
from manyviews.nn.mlp import mlp
from manyviews.nn.queue import Queue
from manyviews.nn.sinkhorn import sinkhorn

ASSIGNED = 2  # crops that are assigned to prototypes: the global ones


class SwAV(Method):
    """The first two global crops are assigned; every crop predicts the assignments of the others among them.

    queue: past embeddings that are balanced along with the batch, of all ranks together; 0 for none. They are collected from the share `queue_from` of
    the training on (15 of 200 epochs) and used once the queue is full. The prototypes hold still for the share `freeze` (one of 200 epochs).
    """

    recipe = Recipe(views="swav", optimizer="lars", lr=0.6, weight_decay=1e-6, warmup=0.0, final_lr=0.001)

    def __init__(
        self,
        encoder: Encoder,
        prototypes: int = 3000,
        hidden: int = 2048,
        out: int = 128,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        iterations: int = 3,
        queue: int = 3840,
        queue_from: float = 0.075,
        freeze: float = 0.005,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = mlp(encoder.dim, hidden, out)
        self.prototypes = nn.Parameter(F.normalize(torch.randn(prototypes, out), dim=1))
        self.queues = nn.ModuleList(Queue(queue, out) for _ in range(ASSIGNED if queue else 0))
        self.recent: list[list[tuple[Tensor, Tensor]]] = []  # of this step: embeddings and samples of each assigned crop
        self.temperature, self.epsilon, self.iterations = temperature, epsilon, iterations
        self.queue_from, self.freeze = queue_from, freeze

    def loss(self, global_crops: list[View], local_crops: Sequence[View] = ()) -> Terms:
        z = [F.normalize(a.float(), dim=1) for a in embed_crops(lambda crop: self.projector(self.encoder(crop)), [*global_crops, *local_crops])]
        with torch.autocast(z[0].device.type, enabled=False):  # a cosine in bfloat16 is too coarse for epsilon = 0.05
            scores = [a @ self.prototypes.T for a in z]
        targets = [self.assign(k, scores[k]) for k in range(min(ASSIGNED, len(global_crops)))]
        if self.queues and self.progress >= self.queue_from:
            self.recent.append([(a.detach(), crop.index) for a, crop in zip(z, global_crops[:ASSIGNED], strict=False)])
        return {"swapped": cross_entropy_across(targets, [s / self.temperature for s in scores])}  # Eq. (2)

    @torch.no_grad()
    def assign(self, k: int, scores: Float[Tensor, "batch prototypes"]) -> Float[Tensor, "batch prototypes"]:
        """Balanced soft assignments of crop k; each rank brings its part of the queue."""
        batch = len(scores)
        if self.queues and int(self.queues[k].owner[-1]) >= 0:  # type: ignore[union-attr,index,arg-type]
            scores = torch.cat([scores, self.queues[k].rows[rank() :: world()] @ self.prototypes.T])  # type: ignore[union-attr,index,operator]
        return sinkhorn(scores, self.epsilon, self.iterations)[:batch]  # Eq. (3)-(5)

    def before_step(self) -> None:
        if self.progress < self.freeze:
            self.prototypes.grad = None

    def after_step(self) -> None:
        with torch.no_grad():
            self.prototypes.copy_(F.normalize(self.prototypes, dim=1))
        for crops in self.recent:
            for queue, (z, index) in zip(self.queues, crops, strict=True):
                queue.push(z, index)  # type: ignore[operator]
        self.recent = []
