"""SLA: tell class and input transformation apart as one joint label, and let all transformed copies vote.

Lee, Hwang, Shin, "Self-supervised Label Augmentation via Input Transformations", ICML 2020, arXiv:1910.05872.
Departs from the paper in the schedule, half a cosine instead of two steps down (at 1/2 and 3/4 of the training); in the crops, which are resized instead of
padded and shifted; and in that biases and normalisations do not decay. Self-distillation, which the paper has with and without, is on unless it is turned off.
As in the released code (github.com/hankook/SLA), the aggregated answer teaches without getting a gradient, and all copies of a batch share their batch
statistics. Samples whose label is not known (-1) take no part.
"""

from __future__ import annotations

import itertools
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.errors import InputError
from manyviews.groups import Colour, Quarter
from manyviews.nn.distributed import total, world

TURNS = {1: (0,), 2: (0, 2), 4: (0, 1, 2, 3)}  # quarter turns, by how many there are
CYCLES = ((0, 1, 2), (1, 2, 0), (2, 0, 1))
ORDERS = {1: CYCLES[:1], 3: CYCLES, 6: tuple(itertools.permutations(range(3)))}  # of the colour channels; the first is the picture's own


class SLA(Method):
    """A linear classifier of classes times M transformations on the encoder: M = turns * orders copies of every picture, the first of them as it is.

    turns: rotations: 4, 2 (upright and upside down), or 1 (none). orders: of the colour channels: 1 (none), 3 (cyclic), or 6.
    task: "joint" is the paper's; its baselines are "multi", class and transformation by two classifiers, and "augment", the class alone.
    distil: whether a classifier of the plain picture learns from the joint one's vote (SLA+SD); only with the joint task.
    distil_temperature: of both answers that are compared when distilling; above 0. beta: weight of the plain picture's own cross-entropy when distilling.
    summed: whether the joint loss is the sum over copies instead of their mean, as the authors advise for large data sets.
    """

    recipe = Recipe(views="supervised", optimizer="sgd", lr=0.2, weight_decay=1e-4, warmup=0.0)

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        turns: int = 4,
        orders: int = 1,
        task: Literal["joint", "multi", "augment"] = "joint",
        distil: bool = True,
        distil_temperature: float = 1.0,
        beta: float = 1.0,
        summed: bool = False,
    ):
        super().__init__()
        problems = []
        if turns not in TURNS:
            problems.append(f"--set turns={turns}: pictures are turned 1, 2 or 4 ways")
        if orders not in ORDERS:
            problems.append(f"--set orders={orders}: colour channels have 1, 3 or 6 orders")
        if task not in ("joint", "multi", "augment"):
            problems.append(f"--set task={task}: there are joint, multi and augment")
        if distil_temperature <= 0:
            problems.append(f"--set distil_temperature={distil_temperature}: must be above 0")
        if problems:
            raise InputError(*problems)
        self.encoder = encoder
        self.classes, self.task, self.distil = classes, task, distil and task == "joint"
        self.distil_temperature, self.beta, self.summed = distil_temperature, beta, summed
        self.transformations = list(itertools.product(TURNS[turns], ORDERS[orders]))  # (quarters, order of the channels)
        count = len(self.transformations)
        self.classifier = nn.Linear(encoder.dim, classes * count if task == "joint" else classes)
        self.which = nn.Linear(encoder.dim, count) if task == "multi" else None
        self.single = nn.Linear(encoder.dim, classes) if self.distil else None

    def loss(self, v: View) -> Terms:
        if "label" not in v.given:
            raise InputError("sla needs a label with every sample, which this data does not have; class folders give one")
        label = v.given["label"].long()
        known, label = label >= 0, label.clamp(min=0)
        z = self.embed(v)
        logits = self.classifier(z).float()
        count = len(z)
        if self.task == "joint":
            answers = label * count + torch.arange(count, device=label.device)[:, None]
        else:
            answers = label.expand(count, -1)
        terms = {"joint" if self.task == "joint" else "class": mean(cross_entropy(logits, answers).mean(0), known) * (count if self.summed else 1)}
        if self.which is not None:
            copies = torch.arange(count, device=label.device)[:, None].expand(-1, len(label))
            terms["transformation"] = mean(cross_entropy(self.which(z).float(), copies).mean(0), known)
        voted = self.vote(logits)
        if self.single is not None:
            own = self.single(z[0]).float()
            terms["single"] = self.beta * mean(F.cross_entropy(own, label, reduction="none"), known)
            terms["distillation"] = mean(divergence(voted.detach(), own, self.distil_temperature), known)
        terms["accuracy"] = mean((voted.detach().argmax(1) == label).float(), known)
        return terms

    # --- answering --------------------------------------------------------------------------------------------------------------------------

    def aggregated(self, v: View) -> Float[Tensor, "batch classes"]:
        """The vote of all copies (SLA+AG): each one's logits for the classes under its own transformation, averaged."""
        return self.vote(self.classifier(self.embed(v)).float())

    def predict(self, v: View) -> Float[Tensor, "batch classes"]:
        """Logits from the picture as it is, in one pass: the distilled classifier's (SLA+SD), else those under no transformation (SLA+SI)."""
        z = self.encoder(v)
        if self.single is not None:
            return self.single(z).float()
        return self.classifier(z).float().unflatten(1, (self.classes, -1))[..., 0]

    def vote(self, logits: Float[Tensor, "copies batch labels"]) -> Float[Tensor, "batch classes"]:
        """The mean over copies of what each says of the classes: logit (i, j) of copy j, for class i."""
        if self.task != "joint":
            return logits.mean(0)
        blocks = logits.unflatten(2, (self.classes, len(logits)))
        return blocks.diagonal(dim1=0, dim2=3).mean(2)

    # --- the copies -------------------------------------------------------------------------------------------------------------------------

    def embed(self, v: View) -> Float[Tensor, "copies batch dim"]:
        """Every transformed copy through the encoder, in one batch."""
        count = len(self.transformations)
        copies = View(
            self.transformed(v.x), v.index.repeat(count), given={name: value.repeat(count, *[1] * (value.dim() - 1)) for name, value in v.given.items()}
        )
        return self.encoder(copies).unflatten(0, (count, -1))

    def transformed(self, x: Tensor) -> Float[Tensor, "copies_batch channels side side"]:
        """All copies, those of one transformation after those of another; the first are the pictures themselves."""
        coloured = any(order != CYCLES[0] for _, order in self.transformations)
        if not isinstance(x, Tensor) or x.dim() != 4 or x.shape[2] != x.shape[3]:
            raise InputError("sla turns pictures by quarters: views must be square pictures, (batch, channels, side, side)")
        if coloured and x.shape[1] != 3:
            raise InputError(f"--set orders: the colours of pictures with {x.shape[1]} channels have no such orders; leave it at 1")
        copies = x.repeat(len(self.transformations), 1, 1, 1)
        quarters = torch.tensor([quarters for quarters, _ in self.transformations], device=x.device)
        copies = Quarter(quarters.repeat_interleave(len(x))).act(copies)
        if not coloured:
            return copies
        shuffles = torch.eye(3, 4, device=x.device)[torch.tensor([order for _, order in self.transformations], device=x.device)]
        return Colour(shuffles.repeat_interleave(len(x), 0)).act(copies)


def mean(values: Float[Tensor, "batch"], known: Bool[Tensor, "batch"]) -> Float[Tensor, ""]:
    """Over the known rows of all ranks; scaled so that the mean over ranks is that."""
    return (values * known).sum() * world() / total(known.sum().float()).clamp(min=1)


def cross_entropy(logits: Float[Tensor, "copies batch labels"], answers: Int[Tensor, "copies batch"]) -> Float[Tensor, "copies batch"]:
    return F.cross_entropy(logits.flatten(0, 1), answers.flatten(), reduction="none").view(answers.shape)


def divergence(teacher: Float[Tensor, "batch classes"], student: Float[Tensor, "batch classes"], temperature: float) -> Float[Tensor, "batch"]:
    """Kullback-Leibler, of the softmax of both at a temperature, times its square, so that its gradient keeps its size."""
    p, q = (torch.log_softmax(logits / temperature, 1) for logits in (teacher, student))
    return temperature**2 * (p.exp() * (p - q)).sum(1)
