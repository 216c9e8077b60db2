"""PixPro: each pixel of one view, smoothed over the pixels that are like it, must be what a slow copy sees at the same place of another view.

Xie et al., "Propagate Yourself: Exploring Pixel-Level Consistency for Unsupervised Visual Representation Learning", CVPR 2021, arXiv:2011.10043.
Departs from the paper in that g(x) is scaled to unit length before it is propagated, as in the authors' code, which also counts every term of Eq. (5)
twice where this file follows the paper; in that distances are in pixels of the picture (their code's are in shares of its width and of its height, which
differ where it is not square); in that a finer `level` takes the place of their feature pyramid network; and in that the optional loss on whole pictures is
their code's, BYOL's, not the paper's SimCLR. Of PixContrast there is no code of theirs: it has this frame, its momentum branch too. Warm-up is their 5
epochs of 100.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from manyviews.contracts import Encoder, Method, Recipe, Terms, Tokens, View
from manyviews.errors import InputError
from manyviews.nn.ema import cosine, ema_update, frozen_copy
from manyviews.nn.mlp import mlp

TASKS = ("propagation", "consistency", "contrast")


class PixPro(Method):
    """Pixels are cells of the encoder's last feature map, or its patches; either view plays either part.

    hidden: width of the heads, which see every pixel; the paper's is twice its encoder's, and a small encoder's step goes mostly into heads that wide. task:
    propagation is PixPro, consistency is PixPro without the pixel propagation module, contrast is PixContrast. distance: below how many diagonals of a cell, of
    the larger of the two views' cells, the centres of a positive pair lie from each other in the picture. sharpness: exponent of the similarity that weighs
    what is propagated; 0 weighs all pixels alike. layers: of the map g of what is propagated; 0 for none. temperature: of PixContrast alone. level: of the
    encoder's pyramid, from the coarse end (-1); at a finer one each cell has the features of the coarser cells it lies in appended. instance: weight of BYOL's
    loss on the means over all pixels; the paper's is 1 where it is used.
    """

    recipe = Recipe(views="byol", optimizer="lars", lr=1.0, weight_decay=1e-5, warmup=0.05)

    def __init__(
        self,
        encoder: Encoder,
        hidden: int = 4096,
        out: int = 256,
        task: str = "propagation",
        distance: float = 0.7,
        sharpness: float = 2.0,
        layers: int = 1,
        temperature: float = 0.3,
        decay: float = 0.99,
        level: int = -1,
        instance: float = 0.0,
    ):
        super().__init__()
        check(encoder, task, distance, sharpness, layers, temperature, level)
        width = encoder.dim if encoder.content_width and level == -1 else sum(encoder.widths[level:])
        self.encoder = encoder
        self.projector = mlp(width, hidden, out)
        self.transform = mlp(*[out] * (layers + 1)) if task == "propagation" else nn.Identity()  # g
        self.target, self.target_projector = frozen_copy(self.encoder), frozen_copy(self.projector)
        if instance:
            self.whole_projector, self.whole_predictor = mlp(width, hidden, out), mlp(out, hidden, out)
            self.target_whole = frozen_copy(self.whole_projector)
        self.task, self.distance, self.sharpness, self.temperature = task, distance, sharpness, temperature
        self.decay, self.level, self.instance = decay, level, instance

    def loss(self, v: View, w: View) -> Terms:
        pv, pw = self.pixels(self.encoder, v), self.pixels(self.encoder, w)
        with torch.no_grad():
            tv, tw = self.pixels(self.target, v), self.pixels(self.target, w)
            kv, kw = of_each(self.target_projector, tv.x), of_each(self.target_projector, tw.x)
        positive = self.positives((v, pv), (w, pw))
        terms = {"v_to_w": self.compare(of_each(self.projector, pv.x), kw, positive)}
        terms["w_to_v"] = self.compare(of_each(self.projector, pw.x), kv, positive.mT)
        if self.instance:
            terms["instance"] = self.instance * (self.regress_whole(pv.x, tw.x) + self.regress_whole(pw.x, tv.x))  # Eq. (6)
        return terms

    def pixels(self, encoder: Encoder, view: View) -> Tokens:
        """The view's pixels, with their features as `x`."""
        if encoder.content_width and self.level == -1:
            tokens = encoder.tokenize(view)
            return dataclasses.replace(tokens, x=encoder.encode(tokens).parts)
        *finer, last = encoder.pyramid(view)[self.level :]
        for level in reversed(finer):
            assert level.parent is not None
            above = last.x.gather(1, level.parent[..., None].expand(-1, -1, last.x.shape[2]))
            last = dataclasses.replace(level, x=torch.cat([level.x, above], 2))
        return last

    @torch.no_grad()
    def positives(self, *views: tuple[View, Tokens]) -> Bool[Tensor, "batch v_tokens w_tokens"]:
        """Which pixels of the one view show the same place as which of the other."""
        with torch.autocast(views[0][1].x.device.type, enabled=False):
            (a, size_a), (b, size_b) = (in_the_picture(view, tokens) for view, tokens in views)
            apart = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")  # products of coordinates would lose digits
            return apart < self.distance * torch.maximum(size_a[:, :, None], size_b[:, None])  # Eq. (1)

    def compare(
        self, x: Float[Tensor, "batch tokens out"], k: Float[Tensor, "batch others out"], positive: Bool[Tensor, "batch tokens others"]
    ) -> Float[Tensor, ""]:
        """The loss of one view's pixels `x` against the target's `k` of the other; a sample without a positive pair counts as zero."""
        y = self.propagate(x) if self.task == "propagation" else x
        with torch.autocast(x.device.type, enabled=False):
            similarity = F.normalize(y.float(), dim=2) @ F.normalize(k.float(), dim=2).mT
            if self.task == "contrast":
                return contrast(similarity / self.temperature, positive)
            return -((similarity * positive).sum((1, 2)) / positive.sum((1, 2)).clamp(min=1)).mean()  # Eq. (5)

    def propagate(self, x: Float[Tensor, "batch tokens out"]) -> Float[Tensor, "batch tokens out"]:
        """The pixel propagation module: for each pixel the sum over all of g, weighted by how similar they are to it."""
        values = of_each(self.transform, x)
        with torch.autocast(x.device.type, enabled=False):
            unit = F.normalize(x.float(), dim=2)
            floor = 1e-6 if self.sharpness < 1 else 0.0  # the slope of a root is infinite at zero
            similarity = (unit @ unit.mT).clamp(min=floor) ** self.sharpness  # Eq. (4)
            return similarity @ F.normalize(values.float(), dim=2)  # Eq. (3)

    def regress_whole(self, x: Float[Tensor, "batch tokens dim"], other: Float[Tensor, "batch others dim"]) -> Float[Tensor, ""]:
        """BYOL's loss between the means over all pixels, which are projected and predicted one by one."""
        with torch.no_grad():
            z = of_each(self.target_whole, other).mean(1)
        q = of_each(self.whole_predictor, of_each(self.whole_projector, x)).mean(1)
        return -F.cosine_similarity(q.float(), z.float(), dim=1).mean()

    def after_step(self) -> None:
        decay = cosine(self.decay, 1.0, self.progress)
        ema_update(self.target, self.encoder, decay)
        ema_update(self.target_projector, self.projector, decay)
        if self.instance:
            ema_update(self.target_whole, self.whole_projector, decay)


def of_each(network: nn.Module, x: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens _"]:
    """`network` of every pixel by itself; batch normalisation is over all of them."""
    return network(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def in_the_picture(view: View, tokens: Tokens) -> tuple[Float[Tensor, "batch tokens axes"], Float[Tensor, "batch tokens"]]:
    """The centres of a view's tokens in the sample's own frame, and the diagonals of their cells there. Raises InputError where tokens are in no grid."""
    axes = tokens.where.shape[2]
    if getattr(view.x, "ndim", 0) != axes + 2:
        raise InputError("pixpro compares places of pictures or volumes, and these samples have no grid of places")
    side = tokens.where.new_tensor(view.x.shape[:1:-1]).float()  # x before y
    centre = tokens.where.float() * side
    size = (tokens.extent if tokens.extent is not None else torch.full_like(tokens.where, tokens.where.shape[1] ** (-1 / axes))).float() * side
    if view.g is None:
        return centre, size.norm(dim=2)
    back = getattr(view.g, "geometry", view.g).inverse()
    if back.matrix.shape[-1] != axes + 1:
        raise InputError(
            f"pixpro compares places in {axes} axes, and these views tell of {back.matrix.shape[-1] - 1} where they went; a video's leave time out"
        )
    stretch = back.matrix[:, :-1, :-1].square().sum(1)  # of a unit along each of the view's axes
    return back.act(centre), (size.square() * stretch[:, None]).sum(2).sqrt()


def contrast(logits: Float[Tensor, "batch tokens others"], positive: Bool[Tensor, "batch tokens others"]) -> Float[Tensor, ""]:
    """-log of the share of the positives in the softmax over the other view's pixels: the mean over a sample's pixels that have one, then over samples."""
    matched = positive.any(2)
    share = (matched / matched.sum(1, keepdim=True).clamp(min=1))[matched]
    rows, own = logits[matched], positive[matched]
    loss = rows.logsumexp(1) - rows.masked_fill(~own, -torch.inf).logsumexp(1)  # Eq. (2)
    return (loss * share).sum() / len(logits)


def check(encoder: Encoder, task: str, distance: float, sharpness: float, layers: int, temperature: float, level: int) -> None:
    """Raises InputError with everything that is wrong."""
    problems = []
    if not encoder.content_width and not encoder.widths:
        problems.append("pixpro compares places of a picture, and this encoder has no feature map; take a ResNet or a transformer, e.g. --encoder vit_micro")
    elif not -max(1, len(encoder.widths)) <= level <= -1:
        problems.append(f"--set level={level}: levels count from the coarse end, and this encoder has {-max(1, len(encoder.widths))} to -1")
    if task not in TASKS:
        problems.append(f"--set task={task}: there are {', '.join(TASKS)}")
    if distance <= 0:
        problems.append(f"--set distance={distance}: no two pixels are so close; it must be above 0, the paper's is 0.7")
    if sharpness < 0:
        problems.append(f"--set sharpness={sharpness}: pixels that are less alike would weigh more; it must be at least 0, the paper's is 2")
    if layers < 0:
        problems.append(f"--set layers={layers}: the map g has 0 layers (none) or more; the paper's has 1")
    if temperature <= 0:
        problems.append(f"--set temperature={temperature}: it divides similarities and must be above 0; the paper's is 0.3")
    if problems:
        raise InputError(*problems)
