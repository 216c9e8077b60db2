"""MMC: from a picture with groups of patches gone, restore their pixels, say which prototypes a slow copy sees there, and recognise the picture.

Wu et al., "Masked Momentum Contrastive Learning for Zero-shot Semantic Understanding", arXiv:2308.11448.
Departs from the paper in what could not be checked, as no code and no more than its summary was at hand: the form of the patch term (cross-entropy
over prototypes, with a centre and temperatures) and its settings are those of the authors' earlier MC-SSL (arXiv:2111.15340), taken at corrupted
patches; corruption, projector, contrast and recipe are those of the authors' SiT (arXiv:2104.03602), with noise and a share of up to 0.7; the teacher
is what is evaluated. Corruption acts on embedded tokens, where those of another picture are that picture's patches and noise has the batch's
statistics in each dimension; groups are aligned with the tokens and fill the exact share; pixels are normalised by the batch's mean and deviation;
gradients are clipped by their norm over all parameters.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.errors import InputError
from manyviews.nn.contrast import contrast
from manyviews.nn.corruption import Corruption, moments, restoration, restorer
from manyviews.nn.distributed import average
from manyviews.nn.ema import cosine, ema_update, frozen_copy
from manyviews.nn.mlp import mlp
from manyviews.nn.prototypes import Centre, PrototypeHead, warmed


class MMC(Method):
    """The student sees both views corrupted, the teacher both as they are. Three terms of equal weight: masked pixels, momentum patches, global contrast.

    drop: largest share of tokens that a sample loses to `fill`; it is drawn between a half (or `drop`, if that is less) and `drop`.
    replace: the same for the half of the samples that show tokens of another sample instead; 0 leaves no such half.
    fill: noise or zeros. block: largest side of a group, as a share of the picture's.
    hidden: width of the two hidden layers of the projector of whole samples. prototypes: how many a patch is assigned to.
    prototype_hidden: width of the hidden layers before them. bottleneck: width of the space in which they are.
    temperature: of the contrast. student_temperature: of the student's assignments.
    teacher_temperature: of the teacher's, reached from start_temperature along a line.
    start_temperature: of the teacher's assignments at the beginning. temperature_warmup: share of the training in which it changes.
    freeze: share of the training in which the prototypes hold still.
    """

    recipe = Recipe(views="moco_v3", optimizer="adamw", lr=5e-4, weight_decay=0.04, final_weight_decay=0.1, warmup=10 / 800, final_lr=0.002, clip=3.0)

    def __init__(
        self,
        encoder: Encoder,
        drop: float = 0.7,
        replace: float = 0.3,
        fill: str = "noise",
        block: float = 0.3,
        hidden: int = 4096,
        out: int = 256,
        prototypes: int = 8192,
        prototype_hidden: int = 2048,
        bottleneck: int = 256,
        temperature: float = 0.2,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.07,
        start_temperature: float = 0.04,
        temperature_warmup: float = 0.0375,
        decay: float = 0.996,
        centre_decay: float = 0.9,  # of the running mean of the teacher's logits
        freeze: float = 0.00125,
    ):
        super().__init__()
        self.corrupt = Corruption(drop, replace, fill, block)
        problems = self.corrupt.problems()
        if not encoder.content_width:
            problems.append("mmc corrupts parts of samples, and this encoder has none; take a transformer, e.g. --encoder vit_micro")
        if min(temperature, student_temperature, teacher_temperature, start_temperature) <= 0:
            problems.append(f"temperatures {temperature}, {student_temperature}, {teacher_temperature}, {start_temperature}: they divide, and must be above 0")
        if problems:
            raise InputError(*problems)
        self.encoder = encoder
        self.restorer = restorer(encoder.dim, encoder.content_width)
        self.head = PrototypeHead(encoder.dim, prototypes, prototype_hidden, bottleneck)
        self.projector = mlp(encoder.dim, hidden, hidden, out, last_norm=True, last_affine=False)
        self.teacher, self.teacher_head, self.teacher_projector = frozen_copy(self.encoder), frozen_copy(self.head), frozen_copy(self.projector)
        self.centre = Centre(prototypes, centre_decay)
        self.temperature, self.student_temperature = temperature, student_temperature
        self.teacher_temperature, self.start_temperature, self.temperature_warmup = teacher_temperature, start_temperature, temperature_warmup
        self.decay, self.freeze = decay, freeze

    def loss(self, v: View, w: View) -> Terms:
        q, k, restored, parts, counts = [], [], [], [], []
        for name, view in (("v", v), ("w", w)):
            tokens = self.encoder.tokenize(view)
            shown, corrupted = self.corrupt(self.counter, name, tokens, view.index)
            features = self.encoder.encode(shown)
            whole, targets = self.assign(view, corrupted)
            logits = self.head(features.parts[corrupted]).float() / self.student_temperature
            q.append(features.whole)
            k.append(whole)
            restored.append((self.restorer(features.parts), tokens, corrupted))
            parts.append(-(targets * F.log_softmax(logits, 1)).sum())
            counts.append(average(corrupted.sum().float()))
        qv, qw = self.projector(torch.cat(q)).split([len(v), len(w)])
        with torch.no_grad():
            kv, kw = self.teacher_projector(torch.cat(k)).split([len(v), len(w)])
        return {
            "restoration": restoration(self.encoder, *restored),
            "parts": torch.stack(parts).sum() / torch.stack(counts).sum().clamp(min=1),
            "contrast": contrast(qv, kw, self.temperature) + contrast(qw, kv, self.temperature),
        }

    @torch.no_grad()
    def assign(self, view: View, corrupted: Bool[Tensor, "batch tokens"]) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "count prototypes"]]:
        """The teacher's vector for the whole view, nothing of it corrupted, and its distributions at those patches that are for the student."""
        tokens = self.teacher.tokenize(view)
        features = self.teacher.encode(tokens)
        z = self.teacher_head.bottleneck(features.parts.flatten(0, 1)).view(*corrupted.shape, -1)
        mean, _ = moments(z, tokens.exists)
        self.centre.see(self.teacher_head.logits(mean[None])[0])  # logits are linear: the mean one is that of the mean
        temperature = warmed(self.start_temperature, self.teacher_temperature, self.temperature_warmup, self.progress)
        logits = self.teacher_head.logits(z[corrupted]).float()
        return features.whole, ((logits - self.centre.value) / temperature).softmax(1)

    def before_step(self) -> None:
        if self.progress < self.freeze:
            self.head.prototypes.grad = None

    def after_step(self) -> None:
        self.centre.update()
        decay = cosine(self.decay, 1.0, self.progress)
        ema_update(self.teacher, self.encoder, decay)
        ema_update(self.teacher_head, self.head, decay)
        ema_update(self.teacher_projector, self.projector, decay)

    @property
    def exported(self) -> Encoder:
        return self.teacher
