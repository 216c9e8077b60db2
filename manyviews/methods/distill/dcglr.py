"""DCGLR: DINO's distillation from whole clouds to pieces of them, with a contrast between clouds that keeps the teacher discriminative.

Fu et al., "Distillation with Contrast is All You Need for Self-Supervised Point Cloud Representation Learning", 2022, arXiv:2202.04241.
Departs from the paper: no code was published, and its text was known here from its abstract and from notes on it. Chosen where those are silent: the contrast
is between the bottlenecks of student and teacher (unit vectors, before the prototypes), both orders of the two global crops, over the clouds of all ranks;
both terms count alike. The head, its sizes and the schedules are DINO's with 4,096 prototypes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.nn.crops import cross_entropy_across, embed_crops
from manyviews.nn.distributed import gather, rank
from manyviews.nn.ema import cosine, ema_update, frozen_copy
from manyviews.nn.prototypes import Centre, PrototypeHead, warmed


class DCGLR(Method):
    """The teacher sees two large pieces of a cloud, the student those and small ones. `distill` and `contrast` weigh the two terms; 0 leaves one out."""

    recipe = Recipe(views="dino", optimizer="adamw", lr=5e-4, weight_decay=0.04, final_weight_decay=0.4, warmup=0.1, final_lr=0.002, clip=3.0)

    def __init__(
        self,
        encoder: Encoder,
        out: int = 4096,
        hidden: int = 2048,
        bottleneck: int = 256,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.07,
        start_temperature: float = 0.04,
        temperature_warmup: float = 0.3,
        contrast_temperature: float = 0.07,  # divides the similarities of the contrast
        decay: float = 0.996,
        centre_decay: float = 0.9,
        distill: float = 1.0,
        contrast: float = 1.0,
    ):
        super().__init__()
        self.encoder = encoder
        self.head = PrototypeHead(encoder.dim, out, hidden, bottleneck)
        if not distill:
            self.head.prototypes.requires_grad_(False)  # nothing asks for them
        self.teacher, self.teacher_head = frozen_copy(self.encoder), frozen_copy(self.head)
        self.centre = Centre(out, centre_decay)
        self.student_temperature, self.teacher_temperature, self.start_temperature = student_temperature, teacher_temperature, start_temperature
        self.temperature_warmup, self.contrast_temperature, self.decay = temperature_warmup, contrast_temperature, decay
        self.distill, self.contrast = distill, contrast

    def loss(self, global_crops: list[View], local_crops: Sequence[View] = ()) -> Terms:
        crops = [*global_crops, *local_crops] if self.distill else global_crops
        student = embed_crops(lambda crop: self.head.bottleneck(self.encoder(crop)), crops)
        with torch.no_grad():
            teacher = embed_crops(lambda crop: self.teacher_head.bottleneck(self.teacher(crop)), global_crops)
        terms = {}
        if self.distill:
            given = [self.head.logits(z) / self.student_temperature for z in student]
            terms["distillation"] = self.distill * cross_entropy_across(self.targets(teacher), given)
        if self.contrast:
            pairs = [(student[0], teacher[1]), (student[1], teacher[0])]
            terms["contrast"] = self.contrast * torch.stack([self.infonce(q, k) for q, k in pairs]).mean()
        return terms

    @torch.no_grad()
    def targets(self, bottlenecks: list[Tensor]) -> list[Tensor]:
        """The teacher's distributions, centred and sharpened."""
        outputs = [self.teacher_head.logits(z).float() for z in bottlenecks]
        self.centre.see(torch.cat(outputs).mean(0))
        temperature = warmed(self.start_temperature, self.teacher_temperature, self.temperature_warmup, self.progress)
        return [((z - self.centre.value) / temperature).softmax(1) for z in outputs]

    def infonce(self, q: Float[Tensor, "batch dim"], k: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
        """Each student's cloud picks out its teacher's among those of the whole batch."""
        own = rank() * len(q) + torch.arange(len(q), device=q.device)
        return F.cross_entropy(q.float() @ gather(k.float()).T / self.contrast_temperature, own)

    def after_step(self) -> None:
        self.centre.update()
        decay = cosine(self.decay, 1.0, self.progress)
        ema_update(self.teacher, self.encoder, decay)
        ema_update(self.teacher_head, self.head, decay)

    @property
    def exported(self) -> Encoder:
        return self.teacher
