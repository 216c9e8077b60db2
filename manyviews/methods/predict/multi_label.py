"""Multi-label: say of every class whether it is in the picture; with pictures of several fractals, multi-instance prediction.

Anderson, Farrell, "Improving Fractal Pre-training", WACV 2022, arXiv:2110.03091: the task by which it pre-trains on `fractals:1000,instances=5`.

Departs from the paper in that samples of which nothing is known take no part, where in their code they show no class. A class that is there weighs
classes / (number of those there) times one that is not, as in their code. Pictures come as they are (views "plain"): the fractals are mirrored and
coloured already, and a crop would cut some of them off. Where the data has one label a sample and no column `labels`, that is the only class there. The rate
is for 256 samples; their configuration has 0.1 for 32 on each of several GPUs.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor, nn

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.errors import InputError
from manyviews.nn.distributed import total, world


class MultiLabel(Method):
    """The encoder and a linear layer of one logit a class; the encoder is what is kept.

    balance: whether the classes that are there weigh together as much as all of the data's classes; False: each class weighs 1.
    """

    recipe = Recipe(views="plain", optimizer="sgd", lr=0.1, weight_decay=1e-4, warmup=0.0, final_lr=1e-3)

    def __init__(self, encoder: Encoder, classes: int, balance: bool = True):
        super().__init__()
        if classes < 2:
            raise InputError(f"multi_label tells classes apart, and this data has {classes}; it needs two or more")
        self.encoder = encoder
        self.classifier = nn.Linear(encoder.dim, classes)
        self.balance = balance

    def loss(self, v: View) -> Terms:
        labels = v.given.get("labels", v.given["label"][:, None] if "label" in v.given else None)
        if labels is None:
            raise InputError("multi_label needs the classes of every sample: a column `labels` (as fractals:1000,instances=5 has), or class folders")
        logits = self.classifier(self.encoder(v)).float()
        there = self.multi_hot(labels.long(), logits.shape[1])
        count = there.sum(1, keepdim=True)
        known = (labels >= 0).any(1)
        share = world() / total(known.sum().float()).clamp(min=1)  # so that the mean over ranks is that over all known samples
        weight = (logits.shape[1] / count.clamp(min=1)).expand_as(logits) if self.balance else None
        each = F.binary_cross_entropy_with_logits(logits, there, reduction="none", pos_weight=weight).mean(1)
        first = logits.detach().argmax(1, keepdim=True)
        return {"loss": (each * known).sum() * share, "first_is_there": (there.gather(1, first)[:, 0] * known).sum() * share}

    @staticmethod
    def multi_hot(labels: Int[Tensor, "batch most"], classes: int) -> Tensor:
        """1 for each class that is there; -1 stands for none."""
        hot = labels.new_zeros(len(labels), classes + 1).scatter(1, labels.clamp(min=-1) % (classes + 1), 1)  # -1 goes into a column of its own
        return hot[:, :classes].float()
