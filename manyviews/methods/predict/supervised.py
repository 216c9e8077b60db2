"""Supervised: predict the label by cross-entropy; the yardstick for everything that learns without labels.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385; label smoothing as in Szegedy et al., "Rethinking the Inception
Architecture for Computer Vision", CVPR 2016, arXiv:1512.00567, whose value is 0.1, off by default.
Samples whose label is not known (-1) take no part: the mean is over the others, of all ranks; where there are none it is zero.
Departs from the paper in the schedule: a warm-up of 5 epochs of 90 (Goyal et al., arXiv:1706.02677) and half a cosine instead of steps; and in that
biases and normalisations do not decay.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import nn

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.errors import InputError
from manyviews.nn.distributed import total, world

UNKNOWN = -1


class Supervised(Method):
    """The encoder and a linear classifier; the encoder is what is kept."""

    recipe = Recipe(views="supervised", optimizer="sgd", lr=0.1, weight_decay=1e-4, warmup=5 / 90)

    def __init__(self, encoder: Encoder, classes: int, smoothing: float = 0.0):
        super().__init__()
        self.encoder = encoder
        self.classifier = nn.Linear(encoder.dim, classes)
        self.smoothing = smoothing

    def loss(self, v: View) -> Terms:
        if "label" not in v.given:
            raise InputError("supervised needs a label with every sample, which this data does not have; class folders give one")
        label = v.given["label"].long().clamp(min=UNKNOWN)
        logits = self.classifier(self.encoder(v)).float()
        share = world() / total((label >= 0).sum().float()).clamp(min=1)  # so that the mean over ranks is that over all known labels
        accuracy = (logits.detach().argmax(1) == label).sum() * share
        loss = F.cross_entropy(logits, label, label_smoothing=self.smoothing, ignore_index=UNKNOWN, reduction="sum")
        return {"loss": loss * share, "accuracy": accuracy}
