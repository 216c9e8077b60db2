"""SelfCon: one view, and two features of it to contrast by label: the encoder's own and that of an exit half-way through it.

Bae, Kim, Ko, Lee, Noh, Yun, "Self-Contrastive Learning: Single-viewed Supervised Contrastive Framework Using Sub-network", AAAI 2023, arXiv:2106.15499;
with a second label as in Boychev, Cholakov, "ImagiNet", arXiv:2407.20020.

Departs from the paper in that the exit is the mean of a level of the encoder's pyramid and one linear layer (their size "fc"; the paper's larger exits
repeat the rest of the network), with one exit and not several; in that the loss is not multiplied by temperature / 0.07 as in their code, which the
recipe's rate and weight decay make up for (theirs: 0.5 for 1,024 samples, 1e-4); and in that samples whose label is not known are left out. ImagiNet's
settings are temperature=0.07, second="family", SGD at 0.005 for 200 samples from ImageNet weights, and views="detection_cut" at --size 96: random pieces,
quarter turns, half of the pictures compressed (JPEG alone, where theirs is WebP too), blurred or noised; "detection" is the centred square without any of
it. Their network is resnet50nodown, a ResNet-50 whose first convolution and pooling do not halve the picture, which is not here: --encoder resnet50 does.
Warm-up is the paper's 10 epochs, of 1,000.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.errors import InputError
from manyviews.nn.mlp import mlp
from manyviews.objectives.supcon import supcon


class SelfCon(Method):
    """Both features of each sample are drawn to those of its class, of either depth, against all others of the batch.

    out: width of the compared embeddings; the heads' hidden layers are as wide as the encoder. level: of the encoder's pyramid that the exit reads, from
    the coarse end: -1 is the last; None: the middle one, which of a ResNet is its second stage, as in the paper.
    temperature: what similarities are divided by before the softmax; above 0.
    label: the column that classes are read from; "" makes each sample a class of its own, as in the paper's unsupervised form. second: another column
    that is contrasted by as well, among the samples where it is known (from 0 on), such as the generators of synthetic pictures; "" for none.
    weight: of the first label's loss. second_weight: of the second one's.
    """

    recipe = Recipe(views="selfcon", optimizer="sgd", lr=0.18, weight_decay=7e-5, warmup=0.01, final_lr=1e-3)

    def __init__(
        self,
        encoder: Encoder,
        out: int = 128,
        level: int | None = None,
        temperature: float = 0.1,
        label: str = "label",
        second: str = "",
        weight: float = 1.0,
        second_weight: float = 1.0,
    ):
        super().__init__()
        level = (len(encoder.widths) - 1) // 2 - len(encoder.widths) if level is None else level
        check(encoder, level, temperature, weight, second_weight)
        self.encoder = encoder
        self.exit = nn.Linear(encoder.widths[level], encoder.dim)
        self.projector, self.exit_projector = (mlp(encoder.dim, encoder.dim, out, norm=False) for _ in range(2))
        self.level, self.temperature, self.label, self.second = level, temperature, label, second
        self.weight, self.second_weight = weight, second_weight
        self.once = ends_with_its_pyramid(encoder)

    def loss(self, v: View) -> Terms:
        half, whole = self.features(v)
        zg, zf = self.exit_projector(half), self.projector(whole)
        wanted = {self.label: self.weight, self.second: self.second_weight} if self.second else {self.label: self.weight}
        with torch.autocast(zf.device.type, enabled=False):
            return {name or "sample": weight * supcon(zg, zf, self.classes_of(v, name), self.temperature) for name, weight in wanted.items()}

    def features(self, v: View) -> tuple[Float[Tensor, "batch dim"], Float[Tensor, "batch dim"]]:
        """What the exit and what the encoder make of the view: from one pass where the encoder is the mean of its last level, else from two."""
        levels = self.encoder.pyramid(v)
        return self.exit(levels[self.level].x.mean(1)), levels[-1].x.mean(1) if self.once else self.encoder(v)

    def classes_of(self, v: View, name: str) -> Int[Tensor, "batch"]:
        if not name:
            return v.index.long()
        if name not in v.given:
            raise InputError(
                f"selfcon contrasts by {name!r}, which this data does not have{'; class folders give a label' if name == 'label' else ''}. "
                f'It has {", ".join(v.given) or "nothing"}; label="" makes each sample a class of its own'
            )
        return v.given[name].long()


def ends_with_its_pyramid(encoder: Encoder) -> bool:
    """Whether nothing with weights comes after the last level, so that the encoder is its mean: ResNets and their kin, not transformers."""
    last = (getattr(encoder, "stages", None) or [""])[-1]
    *_, (name, _) = encoder.named_parameters()
    return not encoder.content_width and encoder.widths[-1] == encoder.dim and bool(last) and name.startswith(f"model.{last}.")


def check(encoder: Encoder, level: int, temperature: float, weight: float, second_weight: float) -> None:
    """Raises InputError with everything that is wrong."""
    problems = []
    if not encoder.widths:
        problems.append("selfcon leaves the encoder half-way, and this one has no levels; take a ResNet or a transformer, e.g. --encoder resnet_micro")
    elif not -len(encoder.widths) <= level <= -1:
        problems.append(f"--set level={level}: levels count from the coarse end, and this encoder has {-len(encoder.widths)} to -1")
    if temperature <= 0:
        problems.append(f"--set temperature={temperature}: it divides similarities and must be above 0; the paper's is 0.1")
    for name, value in (("weight", weight), ("second_weight", second_weight)):
        if value < 0:
            problems.append(f"--set {name}={value}: a loss cannot be sought; it must be at least 0")
    if problems:
        raise InputError(*problems)
