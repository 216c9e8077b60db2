"""DINO: a student matches its slow copy's assignment of other crops to prototypes.

Caron et al., "Emerging Properties in Self-Supervised Vision Transformers", ICCV 2021, arXiv:2104.14294.
Departs from the paper: gradients are clipped by their norm over all parameters, not one parameter at a time; stochastic depth is what the
encoder has, for the student and the teacher alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.nn.crops import cross_entropy_across, embed_crops
from manyviews.nn.ema import cosine, ema_update, frozen_copy
from manyviews.nn.prototypes import Centre, PrototypeHead, warmed


class DINO(Method):
    """The teacher sees the global crops, the student all of them; each learns the distribution that the teacher gives to a different crop.

    teacher_temperature is reached from start_temperature along a line in `temperature_warmup` of the training (30 of 100 epochs); the last layer
    holds still for the share `freeze` (one of 100 epochs).
    """

    recipe = Recipe(views="dino", optimizer="adamw", lr=5e-4, weight_decay=0.04, final_weight_decay=0.4, warmup=0.1, final_lr=0.002, clip=3.0)

    def __init__(
        self,
        encoder: Encoder,
        out: int = 65536,
        hidden: int = 2048,
        bottleneck: int = 256,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.07,
        start_temperature: float = 0.04,
        temperature_warmup: float = 0.3,
        decay: float = 0.996,
        centre_decay: float = 0.9,
        freeze: float = 0.01,
    ):
        super().__init__()
        self.encoder = encoder
        self.head = PrototypeHead(encoder.dim, out, hidden, bottleneck)
        self.teacher, self.teacher_head = frozen_copy(self.encoder), frozen_copy(self.head)
        self.centre = Centre(out, centre_decay)
        self.student_temperature, self.teacher_temperature, self.start_temperature = student_temperature, teacher_temperature, start_temperature
        self.temperature_warmup, self.decay, self.freeze = temperature_warmup, decay, freeze

    def loss(self, global_crops: list[View], local_crops: Sequence[View] = ()) -> Terms:
        student = embed_crops(lambda crop: self.head(self.encoder(crop)), [*global_crops, *local_crops])
        return {"distillation": cross_entropy_across(self.targets(global_crops), [z / self.student_temperature for z in student])}  # Eq. (3)

    @torch.no_grad()
    def targets(self, crops: list[View]) -> list[Tensor]:
        """The teacher's distributions, centred and sharpened."""
        outputs = [z.float() for z in embed_crops(lambda crop: self.teacher_head(self.teacher(crop)), crops)]
        self.centre.see(torch.cat(outputs).mean(0))
        temperature = warmed(self.start_temperature, self.teacher_temperature, self.temperature_warmup, self.progress)
        return [((z - self.centre.value) / temperature).softmax(1) for z in outputs]

    def before_step(self) -> None:
        if self.progress < self.freeze:
            self.head.prototypes.grad = None

    def after_step(self) -> None:
        self.centre.update()  # Eq. (4)
        decay = cosine(self.decay, 1.0, self.progress)
        ema_update(self.teacher, self.encoder, decay)
        ema_update(self.teacher_head, self.head, decay)

    @property
    def exported(self) -> Encoder:
        return self.teacher
