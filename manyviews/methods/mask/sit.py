"""SiT: restore corrupted groups of patches, and recognise the picture in another view of it that a slow copy sees clean.

Atito et al., "SiT: Self-supervised vIsion Transformer", arXiv:2104.03602.
Departs from the paper: follows its later version and the released code (restoration of what is corrupted, contrast with a teacher); the first version's
uncertainty weights are an option, its rotation token is not there, since no view turns pictures by quarter turns and the authors dropped it;
corruption acts on embedded tokens, where those of another picture are that picture's patches and zeros differ from patches of the mean colour by
the projection's bias; groups are aligned with the tokens (an option of the authors' code) and fill the exact share; another sample is never the
sample itself; pixels are normalised by the batch's mean and deviation, not ImageNet's; the last layer has one bias a pixel, not one a channel; the
second layer of the projector ends in a ReLU, not a GELU; gradients are clipped by their norm over all parameters.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.errors import InputError
from manyviews.nn.contrast import contrast
from manyviews.nn.corruption import Corruption, restoration, restorer
from manyviews.nn.ema import cosine, ema_update, frozen_copy
from manyviews.nn.mlp import mlp


class SiT(Method):
    """The student sees both views corrupted, the teacher both as they are; each of the student's must pick out the teacher's other one in the batch.

    drop: largest share of tokens that a sample loses to `fill`; it is drawn between a half (or `drop`, if that is less) and `drop`.
    replace: the same for the half of the samples that show tokens of another sample instead; 0 leaves no such half.
    fill: zeros or noise. block: largest side of a group, as a share of the picture's.
    hidden: width of the two hidden layers of the projector.
    restoration_weight: of the error of what is restored; the authors advise more, such as 5, for small data.
    uncertainty: the two terms are weighted by learned variances, as in the first version, and restoration_weight is not used.
    """

    recipe = Recipe(views="moco_v3", optimizer="adamw", lr=5e-4, weight_decay=0.04, final_weight_decay=0.1, warmup=10 / 800, final_lr=0.002, clip=3.0)

    def __init__(
        self,
        encoder: Encoder,
        drop: float = 0.5,
        replace: float = 0.3,
        fill: str = "zeros",
        block: float = 0.3,
        hidden: int = 4096,
        out: int = 256,
        temperature: float = 0.2,
        decay: float = 0.996,
        restoration_weight: float = 1.0,
        uncertainty: bool = False,
    ):
        super().__init__()
        self.corrupt = Corruption(drop, replace, fill, block)
        problems = self.corrupt.problems()
        if not encoder.content_width:
            problems.append("sit corrupts parts of samples, and this encoder has none; take a transformer, e.g. --encoder vit_micro")
        if temperature <= 0:
            problems.append(f"--set temperature={temperature}: it divides similarities and must be above 0; the paper's is 0.2")
        if problems:
            raise InputError(*problems)
        self.encoder = encoder
        self.restorer = restorer(encoder.dim, encoder.content_width)
        self.projector = mlp(encoder.dim, hidden, hidden, out, last_norm=True, last_affine=False)
        self.teacher, self.teacher_projector = frozen_copy(self.encoder), frozen_copy(self.projector)
        self.log_variance = nn.Parameter(torch.ones(2)) if uncertainty else None  # of contrast and restoration
        self.temperature, self.decay, self.restoration_weight = temperature, decay, restoration_weight

    def loss(self, v: View, w: View) -> Terms:
        wholes, restored = [], []
        for name, view in (("v", v), ("w", w)):
            tokens = self.encoder.tokenize(view)
            shown, corrupted = self.corrupt(self.counter, name, tokens, view.index)
            features = self.encoder.encode(shown)
            wholes.append(features.whole)
            restored.append((self.restorer(features.parts), tokens, corrupted))
        qv, qw = self.projector(torch.cat(wholes)).split([len(v), len(w)])
        with torch.no_grad():
            kv, kw = self.teacher_projector(torch.cat([self.teacher(v), self.teacher(w)])).split([len(v), len(w)])
        return self.weighted(contrast(qv, kw, self.temperature) + contrast(qw, kv, self.temperature), restoration(self.encoder, *restored))

    def weighted(self, contrasted: Float[Tensor, ""], restored: Float[Tensor, ""]) -> Terms:
        """The sum of the two, or, for a Gaussian or a softmax of unknown variance each, its negative log-likelihood (Kendall et al. 2018, arXiv:1705.07115)."""
        if self.log_variance is None:
            return {"contrast": contrasted, "restoration": self.restoration_weight * restored}
        s = self.log_variance
        return {"contrast": (-s[0]).exp() * contrasted + s[0] / 2, "restoration": (-s[1]).exp() * restored / 2 + s[1] / 2}

    def after_step(self) -> None:
        decay = cosine(self.decay, 1.0, self.progress)
        ema_update(self.teacher, self.encoder, decay)
        ema_update(self.teacher_projector, self.projector, decay)

    @property
    def exported(self) -> Encoder:
        return self.teacher
