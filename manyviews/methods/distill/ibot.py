"""iBOT: DINO, and the same for hidden patches: the student says from the rest of the picture which prototypes the teacher sees there.

Zhou et al., "iBOT: Image BERT Pre-Training with Online Tokenizer", ICLR 2022, arXiv:2111.07832.
Departs from the paper: blocks of hidden tokens are boxes in the tokens' coordinates, filled in order up to the exact count (the last one in part), so
that they exist for any tokens that have a place; gradient clipping and stochastic depth as in this package's DINO.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from manyviews.contracts import Encoder, Method, Recipe, Terms, Tokens, View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.nn.corruption import existing, first_box, lowest, unit_places
from manyviews.nn.crops import cross_entropy_across, embed_crops
from manyviews.nn.ema import cosine, ema_update, frozen_copy
from manyviews.nn.prototypes import Centre, PrototypeHead, warmed

BOXES = 16  # drawn a sample; what they leave uncovered is hidden one token at a time
ASPECT = math.log(1 / 0.3)  # sides differ by at most this factor


class IBOT(Method):
    """One head for whole pictures and for patches, one centre for each.

    Half of the global crops (`unmasked`) show everything, the others hide a share drawn from mask_ratio +- mask_spread. shape: block or random.
    """

    recipe = Recipe(views="ibot", optimizer="adamw", lr=5e-4, weight_decay=0.04, final_weight_decay=0.4, warmup=0.1, final_lr=0.002, clip=3.0)

    def __init__(
        self,
        encoder: Encoder,
        out: int = 8192,
        hidden: int = 2048,
        bottleneck: int = 256,
        mask_ratio: float = 0.3,
        mask_spread: float = 0.2,
        unmasked: float = 0.5,
        shape: str = "block",
        whole_weight: float = 1.0,
        parts_weight: float = 1.0,
        student_temperature: float = 0.1,
        teacher_temperature: float = 0.07,
        start_temperature: float = 0.04,
        temperature_warmup: float = 0.3,
        decay: float = 0.996,
        centre_decay: float = 0.9,
        freeze: float = 0.01,
    ):
        super().__init__()
        problems = []
        if not encoder.content_width:
            problems.append("ibot hides parts of pictures, and this encoder has none; take a transformer, e.g. --encoder vit_micro")
        if shape not in ("block", "random"):
            problems.append(f"--set shape={shape}: ibot hides tokens by block or random")
        if not 0 <= mask_ratio - mask_spread <= mask_ratio + mask_spread <= 1:
            problems.append(f"--set mask_ratio={mask_ratio} mask_spread={mask_spread}: {mask_ratio} +- {mask_spread} must lie between 0 and 1")
        if problems:
            raise InputError(*problems)
        self.encoder = encoder
        self.head = PrototypeHead(encoder.dim, out, hidden, bottleneck)
        self.teacher, self.teacher_head = frozen_copy(self.encoder), frozen_copy(self.head)
        self.mask_token = nn.Parameter(torch.zeros(encoder.dim))
        self.whole_centre, self.parts_centre = Centre(out, centre_decay), Centre(out, centre_decay)
        self.mask_ratio, self.mask_spread, self.unmasked, self.shape = mask_ratio, mask_spread, unmasked, shape
        self.whole_weight, self.parts_weight = whole_weight, parts_weight
        self.student_temperature, self.teacher_temperature, self.start_temperature = student_temperature, teacher_temperature, start_temperature
        self.temperature_warmup, self.decay, self.freeze = temperature_warmup, decay, freeze

    def loss(self, global_crops: list[View], local_crops: Sequence[View] = ()) -> Terms:
        temperature = warmed(self.start_temperature, self.teacher_temperature, self.temperature_warmup, self.progress)
        targets, logits, parts = [], [], []
        for k, crop in enumerate(global_crops):
            tokens = self.encoder.tokenize(crop)
            hidden = self.hide(f"mask{k}", tokens, crop.index)
            whole, patches = self.assign(crop, hidden, temperature)
            features = self.encoder.encode(tokens.replace(hidden, self.mask_token))
            targets.append(whole)
            logits.append(self.head(features.whole) / self.student_temperature)
            parts.append(masked_cross_entropy(patches, self.head(features.parts[hidden]) / self.student_temperature, hidden))  # Eq. (2)
        logits += embed_crops(lambda crop: self.head(self.encoder(crop)) / self.student_temperature, local_crops)
        return {"whole": self.whole_weight * cross_entropy_across(targets, logits), "parts": self.parts_weight * torch.stack(parts).mean()}

    @torch.no_grad()
    def assign(self, crop: View, hidden: Bool[Tensor, "batch tokens"], temperature: float) -> tuple[Float[Tensor, "batch out"], Float[Tensor, "count out"]]:
        """The teacher's distributions for the whole crop, nothing hidden from it, and for the patches that are hidden from the student."""
        head, tokens = self.teacher_head, self.teacher.tokenize(crop)
        features = self.teacher.encode(tokens)
        whole = head(features.whole).float()
        z = head.bottleneck(features.parts.flatten(0, 1)).view(*hidden.shape, -1)
        self.whole_centre.see(whole.mean(0))
        self.parts_centre.see(head.logits(mean_token(z, tokens.exists)[None])[0])  # logits are linear: the mean one is that of the mean
        patches = head.logits(z[hidden]).float()
        return ((whole - self.whole_centre.value) / temperature).softmax(1), ((patches - self.parts_centre.value) / temperature).softmax(1)

    def hide(self, name: str, tokens: Tokens, index: Int[Tensor, "batch"]) -> Bool[Tensor, "batch tokens"]:
        """Which tokens the student does not get to see."""
        u = self.counter.uniform(f"{name}/ratio", index, 2)
        share = torch.where(u[:, 0] < self.unmasked, 0.0, self.mask_ratio + self.mask_spread * (2 * u[:, 1] - 1))
        exists = existing(tokens)
        key = self.counter.uniform(f"{name}/order", index, exists.shape[1])
        if self.shape == "block":
            place = unit_places(tokens.where, exists)
            key = key + first_box(place, *boxes(self.counter, f"{name}/box", index, place.shape[-1], share))
        return lowest(key, exists, share)

    def before_step(self) -> None:
        if self.progress < self.freeze:
            self.head.prototypes.grad = None

    def after_step(self) -> None:
        self.whole_centre.update()
        self.parts_centre.update()
        decay = cosine(self.decay, 1.0, self.progress)
        ema_update(self.teacher, self.encoder, decay)
        ema_update(self.teacher_head, self.head, decay)

    @property
    def exported(self) -> Encoder:
        return self.teacher


def mean_token(z: Float[Tensor, "batch tokens dim"], exists: Bool[Tensor, "batch tokens"] | None) -> Float[Tensor, "dim"]:
    """The mean over samples of the mean over each one's tokens."""
    if exists is None:
        return z.mean((0, 1))
    return ((z * exists[..., None]).sum(1) / exists.sum(1, keepdim=True).clamp(min=1)).mean(0)


def masked_cross_entropy(targets: Float[Tensor, "count out"], logits: Float[Tensor, "count out"], hidden: Bool[Tensor, "batch tokens"]) -> Float[Tensor, ""]:
    """Cross-entropy of the hidden tokens, averaged over each sample's and then over samples; one that hides nothing counts as zero."""
    share = (hidden / hidden.sum(1, keepdim=True).clamp(min=1))[hidden]
    return -((targets * F.log_softmax(logits.float(), 1)).sum(1) * share).sum() / len(hidden)


def boxes(
    counter: Counter, name: str, index: Int[Tensor, "batch"], axes: int, share: Float[Tensor, "batch"]
) -> tuple[Float[Tensor, "batch boxes axes"], Float[Tensor, "batch boxes axes"]]:
    """The lowest and highest corners of random boxes in the unit cube.

    They cover between a twelfth (BEiT's 16 of 196 patches) and `share` of it, their sides within a factor of 1 / 0.3.
    """
    u = counter.uniform(name, index, BOXES, 1 + 2 * axes)
    least = share.clamp(max=1 / 12)[:, None]
    volume = least + (share[:, None] - least) * u[..., 0]
    stretch = ASPECT * (u[..., 1 : 1 + axes] - u[..., 1 : 1 + axes].mean(-1, keepdim=True))
    side = (volume[..., None] ** (1 / axes) * stretch.exp()).clamp(max=1)
    corner = u[..., 1 + axes :] * (1 - side)
    return corner, corner + side
