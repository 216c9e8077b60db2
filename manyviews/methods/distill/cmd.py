"""CMD: DINO for what differs in small parts: each picture is also a bag of its regions, and bags are distilled between networks and between levels.

Bi et al., "Cross-level Multi-instance Distillation for Self-supervised Fine-grained Visual Categorization", IEEE TIP 2025, arXiv:2401.08860; its base is
EsViT, Li et al., ICLR 2022, arXiv:2106.09785.
Departs from the paper, of which only the summary was at hand, and from its released code, as follows. A bag is the attention-weighted mean of its regions'
logits, with the attention of Ilse et al. (arXiv:1802.04712); the code adds regions up, of the student as logits, of the teacher as probabilities. Divergences
are of softmax distributions, summed over prototypes; the code gives torch's kl_div probabilities and logits where it takes log-probabilities, and averages
over prototypes too. Bags of teacher and student are compared as the summary says, which the code does not do. Between levels, as in the code, the view
follows the bag and both learn; the same divergence inside the teacher has no gradient and is only shown. As in this package's DINO prototypes are unit
vectors, gradients are clipped by their norm over all parameters, and stochastic depth is what the encoder has.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.errors import InputError
from manyviews.nn.corruption import existing
from manyviews.nn.crops import cross_entropy_across, embed_crops
from manyviews.nn.ema import cosine, ema_update, frozen_copy
from manyviews.nn.mlp import mlp
from manyviews.nn.prototypes import Centre, PrototypeHead, warmed

POOLINGS = ("attention", "mean")


class CMD(Method):
    """The teacher sees the global crops, the student all of them. Views, regions and bags of regions are each assigned to prototypes.

    Regions are a transformer's patches, or the cells of the last feature map, whose mean then is the view.
    attention: width of the hidden layer from which a region's weight in its bag is made. pooling: of regions into bags: attention, or mean for equal weights.
    regions: share of the loss on regions in EsViT's loss; the one on views has the rest of 1.
    intra: weight of the divergence of the student's bag from the teacher's. inter: weight of the divergence of the student's view from its bag.
    teacher_temperature is reached from start_temperature along a line in `temperature_warmup` of the training (30 of 300 epochs); the last layers hold
    still for the share `freeze` (one of 300 epochs).
    """

    recipe = Recipe(views="dino", optimizer="adamw", lr=5e-4, weight_decay=0.04, final_weight_decay=0.4, warmup=10 / 300, final_lr=0.002, clip=3.0)

    def __init__(
        self,
        encoder: Encoder,
        out: int = 65536,
        hidden: int = 2048,
        bottleneck: int = 256,
        attention: int = 128,
        pooling: str = "attention",
        regions: float = 0.5,
        intra: float = 1.0,
        inter: float = 1.0,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.07,
        start_temperature: float = 0.04,
        temperature_warmup: float = 0.1,
        decay: float = 0.996,
        centre_decay: float = 0.9,
        freeze: float = 1 / 300,
    ):
        super().__init__()
        problems = []
        if not encoder.content_width and (not encoder.widths or encoder.widths[-1] != encoder.dim):
            problems.append("cmd compares regions, and this encoder has none of its own width; take a ResNet or a transformer, e.g. --encoder vit_micro")
        if pooling not in POOLINGS:
            problems.append(f"--set pooling={pooling}: regions are pooled by {' or '.join(POOLINGS)}")
        if not 0 <= regions <= 1 or min(intra, inter) < 0:
            problems.append(f"--set regions={regions} intra={intra} inter={inter}: regions is a share, 0 to 1, and the others are weights, 0 or more")
        if min(student_temperature, teacher_temperature, start_temperature) <= 0:
            problems.append(f"temperatures {student_temperature}, {teacher_temperature}, {start_temperature}: they divide, and must be above 0")
        if problems:
            raise InputError(*problems)
        self.encoder = encoder
        self.levels = Levels(encoder.dim, out, hidden, bottleneck, attention if pooling == "attention" else 0)
        self.teacher, self.teacher_levels = frozen_copy(self.encoder), frozen_copy(self.levels)
        self.view_centre, self.region_centre = Centre(out, centre_decay), Centre(out, centre_decay)
        self.regions, self.intra, self.inter = regions, intra, inter
        self.student_temperature, self.teacher_temperature, self.start_temperature = student_temperature, teacher_temperature, start_temperature
        self.temperature_warmup, self.decay, self.freeze = temperature_warmup, decay, freeze

    def loss(self, global_crops: list[View], local_crops: Sequence[View] = ()) -> Terms:
        teacher = self.targets(global_crops)
        crops = embed_crops(lambda crop: described(self.encoder, crop), [*global_crops, *local_crops])
        student = [self.levels(crop).scaled(self.student_temperature) for crop in crops]
        pairs = [(t, s) for i, t in enumerate(teacher) for j, s in enumerate(student) if i != j]
        views = cross_entropy_across([t.view.softmax(1) for t in teacher], [s.view for s in student])
        return {
            "views": (1 - self.regions) * views,
            "regions": self.regions * torch.stack([matched(t, s) for t, s in pairs]).mean(),
            "intra": self.intra * torch.stack([divergence(t.bag, s.bag) for t, s in pairs]).mean(),
            "inter": self.inter * torch.stack([divergence(s.bag, s.view) for _, s in pairs]).mean(),
            "inside_teacher": torch.stack([divergence(t.bag, t.view) for t in teacher]).mean(),
        }

    @torch.no_grad()
    def targets(self, crops: list[View]) -> list[Seen]:
        """What the teacher makes of crops, centred and sharpened."""
        seen = [self.teacher_levels(crop) for crop in embed_crops(lambda crop: described(self.teacher, crop), crops)]
        for crop in seen:
            share = crop.real / crop.real.sum()
            self.view_centre.see(crop.view.mean(0))
            self.region_centre.see(torch.einsum("btk,bt->k", crop.regions, share))
        temperature = warmed(self.start_temperature, self.teacher_temperature, self.temperature_warmup, self.progress)
        return [crop.scaled(temperature, self.view_centre.value, self.region_centre.value) for crop in seen]

    def before_step(self) -> None:
        if self.progress < self.freeze:
            self.levels.view.prototypes.grad = self.levels.region.prototypes.grad = None

    def after_step(self) -> None:
        self.view_centre.update()
        self.region_centre.update()
        decay = cosine(self.decay, 1.0, self.progress)
        ema_update(self.teacher, self.encoder, decay)
        ema_update(self.teacher_levels, self.levels, decay)

    @property
    def exported(self) -> Encoder:
        return self.teacher


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a network makes of a crop: logits of the whole view, of its regions and of the bag of them."""

    view: Float[Tensor, "batch out"]
    regions: Float[Tensor, "batch tokens out"]
    bag: Float[Tensor, "batch out"]
    features: Float[Tensor, "batch tokens dim"]  # of regions, by which they are matched
    real: Bool[Tensor, "batch tokens"]  # and no padding

    def scaled(self, temperature: float, view: Tensor | float = 0.0, region: Tensor | float = 0.0) -> Seen:
        """Logits less their centres, divided by the temperature."""
        logits = ((self.view - view) / temperature, (self.regions - region) / temperature, (self.bag - region) / temperature)
        return Seen(*logits, self.features, self.real)


class Levels(nn.Module):
    """From features of a view and of its regions to logits of the view, its regions and their bag; without `attention` all regions weigh the same."""

    def __init__(self, dim: int, out: int, hidden: int, bottleneck: int, attention: int):
        super().__init__()
        self.view, self.region = (PrototypeHead(dim, out, hidden, bottleneck) for _ in range(2))
        self.attention = mlp(dim, attention, 1, norm=False, last_bias=False, activation=nn.Tanh) if attention else None

    def forward(self, x: Float[Tensor, "batch all columns"]) -> Seen:
        features, real = x[:, 1:, :-1], x[:, 1:, -1] > 0
        score = self.attention(features)[..., 0].float() if self.attention is not None else torch.zeros_like(features[..., 0])
        weight = score.masked_fill(~real, -torch.inf).softmax(1)
        z = self.region.bottleneck(features.flatten(0, 1))
        bag = (weight[..., None] * z.unflatten(0, real.shape)).sum(1)
        view, regions, bag = (logits.float() for logits in (self.view(x[:, 0, :-1]), self.region.logits(z), self.region.logits(bag)))  # linear in the bag
        return Seen(view, regions.unflatten(0, real.shape), bag, features.detach(), real)


def described(encoder: Encoder, view: View) -> Float[Tensor, "batch all columns"]:
    """Features of the whole view, then of its regions; the last column is 1 for what is real and 0 for padding."""
    if encoder.content_width:
        tokens = encoder.tokenize(view)
        features = encoder.encode(tokens)
        whole, parts, real = features.whole, features.parts, existing(tokens).float()
    else:
        tokens = encoder.pyramid(view)[-1]
        parts, real = tokens.x, existing(tokens).float()
        whole = (parts * (real / real.sum(1, keepdim=True))[..., None]).sum(1)
    return torch.cat([torch.cat([whole[:, None], parts], 1), F.pad(real, (1, 0), value=1.0)[..., None]], 2)


def matched(teacher: Seen, student: Seen) -> Float[Tensor, ""]:
    """Cross-entropy of each region of the student with that of the teacher whose features are most similar: the mean over a view's, then over views."""
    with torch.no_grad():
        similarity = F.normalize(student.features.float(), dim=2) @ F.normalize(teacher.features.float(), dim=2).mT
        match = similarity.masked_fill(~teacher.real[:, None], -torch.inf).argmax(2, keepdim=True)
    with torch.autocast(match.device.type, enabled=False):
        cross = student.regions.logsumexp(2, keepdim=True) - student.regions @ teacher.regions.softmax(2).mT
    loss = cross.gather(2, match)[..., 0]
    return ((loss * student.real).sum(1) / student.real.sum(1).clamp(min=1)).mean()


def divergence(p: Float[Tensor, "batch out"], q: Float[Tensor, "batch out"]) -> Float[Tensor, ""]:
    """The Kullback-Leibler divergence of softmax(q) from softmax(p), averaged over the batch."""
    p, q = F.log_softmax(p, 1), F.log_softmax(q, 1)
    return (p.exp() * (p - q)).sum(1).mean()
