"""Point-BERT: a discrete autoencoder gives every group of points a word, and a transformer names the words of the groups that it is not shown.

Yu et al., "Point-BERT: Pre-training 3D Point Cloud Transformers with Masked Point Modeling", CVPR 2022, arXiv:2111.14819.
Departs from the paper: the tokenizer learns from the same scaled and shifted clouds that it will have to name, not from unchanged ones, and its
normalisations hold still while it names them; groups of mixed clouds are embedded before they are mixed, which is the same but for batch normalisation;
the embedding that is contrasted is the encoder's own, the mean of its parts where it has no class token; a key of a query's own sample that is still in
the queue is no negative for it, and the queue is never longer than the data set. As in the authors' code the prior is a divergence from the uniform to
a cloud's mean assignment, keys see masked clouds too, and the contrast without mixing, which the configuration that was released switches off, is off.
Parts that are not groups of points (patches, cuboids, columns) are rebuilt by a perceptron, and compared by the encoder's own error for them.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from manyviews.contracts import Encoder, Method, Recipe, Stage, Terms, Tokens, Trainable, View
from manyviews.errors import InputError
from manyviews.nn.corruption import existing, lowest
from manyviews.nn.distributed import average, gather, rank
from manyviews.nn.ema import cosine, ema_update, frozen_copy
from manyviews.nn.mlp import mlp
from manyviews.nn.neighbours import chamfer
from manyviews.nn.point_networks import Folding, Graph
from manyviews.nn.queue import Queue


class PointBERT(Method):
    """Two trainings: the tokenizer, and then the encoder, whose embedding of groups begins as the tokenizer's.

    mask_spread: shares are drawn evenly from mask_ratio +- mask_spread (the paper's 0.25 to 0.45).
    shape: what is hidden: a block, the nearest groups to a random one, or random groups.
    codes: words of the tokenizer.
    dim: width of a word.
    hidden: width of the tokenizer's widest layers; its graph convolutions have a quarter, a half, a half and all of it.
    out: width of the embeddings that are contrasted.
    mix: weight of naming the hidden groups of a cloud mixed from two (point patch mixing).
    contrast: weight of telling from all others the two clouds that a mixed one is made of.
    moco: weight of the same for a cloud that is not mixed (the released configuration's is 0).
    start_temperature: of the relaxed choice of words, at the beginning. end_temperature: what it falls to.
    divergence: weight of the prior, in the end, under which all words are used alike.
    annealing: share of the tokenizer's training in which temperature and weight change.
    tokenizer: how long the tokenizer is trained, in shares of the steps that follow.
    """

    recipe = Recipe(views="mae", optimizer="adamw", lr=1e-3, weight_decay=0.05, warmup=0.01, final_lr=0.002)  # 0.0005 for 128 clouds; 3 of 300 epochs

    def __init__(
        self,
        encoder: Encoder,
        samples: int,
        mask_ratio: float = 0.35,
        mask_spread: float = 0.1,
        shape: str = "block",
        codes: int = 8192,
        dim: int = 256,
        hidden: int = 1024,
        out: int = 512,
        queue: int = 16384,
        decay: float = 0.999,
        temperature: float = 0.07,
        mix: float = 1.0,
        contrast: float = 1.0,
        moco: float = 0.0,
        start_temperature: float = 1.0,
        end_temperature: float = 0.0625,
        divergence: float = 0.1,
        annealing: float = 0.5,
        tokenizer: float = 1.0,
    ):
        super().__init__()
        problems = problems_of(mask_ratio, mask_spread, shape, codes, dim, hidden, annealing, tokenizer)
        if not encoder.content_width:
            problems.append("point_bert names hidden parts of samples, and this encoder has none; take --encoder point_transformer, for pictures vit_micro")
        if min(temperature, start_temperature, end_temperature) <= 0:
            problems.append("--set temperature, start_temperature, end_temperature: they divide, and must be above 0; the paper's are 0.07, 1 and 0.0625")
        if problems:
            raise InputError(*problems)
        self.encoder = encoder
        self.dvae = DVAE(encoder, codes, dim, hidden, (start_temperature, end_temperature), divergence, annealing).requires_grad_(False)
        self.predict = nn.Linear(encoder.dim, codes)
        self.head = Head(encoder.dim, out)
        contrasted = bool(contrast or moco)
        self.head.embed.requires_grad_(contrasted)
        self.target: Any = frozen_copy(nn.Sequential(self.encoder, self.head)) if contrasted else None
        self.queue: Any = Queue(min(queue, samples), out) if contrasted else None
        self.fresh: list[tuple[Tensor, Tensor]] = []  # this step's keys and their samples
        self.mask_ratio, self.mask_spread, self.shape, self.share = mask_ratio, mask_spread, shape, tokenizer
        self.decay, self.temperature = decay, temperature
        self.mixing, self.contrast, self.moco = mix, contrast, moco

    def stages(self, data: Any, tools: Any) -> Iterator[Stage]:
        yield Stage("tokenizer", self.dvae.requires_grad_(True), data, self.share)
        self.dvae.requires_grad_(False).zero_grad()
        for encoder in [self.encoder] if self.target is None else [self.encoder, self.target[0]]:
            if isinstance(own := getattr(encoder, "tokenizer", None), nn.Module):
                own.load_state_dict(self.dvae.parts.state_dict())
        yield Stage("", self, data)

    def loss(self, v: View) -> Terms:
        tokens, words = self.encoder.tokenize(v), self.dvae.words(v)
        ratio, mixed, mixed_words = self.mix(tokens, words, v.index)
        terms: Terms = {}
        terms["words"], right, q = self.name("mask", tokens, words, v.index)
        if self.mixing or self.contrast:
            terms["mixed_words"], _, mixed_q = self.name("mixed_mask", mixed, mixed_words, v.index)
            terms["mixed_words"] = self.mixing * terms["mixed_words"]
        if self.target is not None:
            k = self.key(v)
        if self.contrast:
            terms["mixed_contrast"] = self.contrast * self.tell_both(mixed_q, k, ratio, v.index)
        if self.moco:
            terms["contrast"] = self.moco * self.tell(q, k, v.index)
        return {**terms, "named_right": right}

    def name(self, name: str, tokens: Tokens, words: Int[Tensor, "batch tokens"], index: Int[Tensor, "batch"]) -> tuple[Tensor, Tensor, Tensor]:
        """The cross-entropy of the hidden parts' words over the batch of all ranks, the share named right, and the normalised embedding of the sample."""
        hidden = self.hide(name, tokens, index)
        features = self.encoder.encode(tokens.replace(hidden, self.head.mask_token))
        logits, wanted = self.predict(features.parts[hidden]).float(), words[hidden]
        count = average(hidden.sum().float()).clamp(min=1)
        right = (logits.argmax(1) == wanted).sum() / count
        return F.cross_entropy(logits, wanted, reduction="sum") / count, right.detach(), self.head(features.whole)

    def hide(self, name: str, tokens: Tokens, index: Int[Tensor, "batch"]) -> Bool[Tensor, "batch tokens"]:
        """Which parts show the mask token."""
        exists = existing(tokens)
        u = self.counter.uniform(f"{name}/share", index, 2)
        share = self.mask_ratio + self.mask_spread * (2 * u[:, 0] - 1)
        if self.shape == "random":
            return lowest(self.counter.uniform(f"{name}/order", index, exists.shape[1]), exists, share)
        return nearest_block(tokens.where, exists, u[:, 1], share)

    def mix(self, tokens: Tokens, words: Int[Tensor, "batch tokens"], index: Int[Tensor, "batch"]) -> tuple[Tensor, Tokens, Tensor]:
        """Each sample with some of its parts replaced by those of its partner, the share it is to keep, and the words of what came out."""
        ratio = self.counter.uniform("mix/ratio", index)
        own = self.counter.uniform("mix/parts", index, words.shape[1]) < ratio[:, None]

        def either(a: Tensor) -> Tensor:
            return torch.where(own.view(*own.shape, *[1] * (a.dim() - 2)), a, partners(a))

        exists = None if tokens.exists is None else either(tokens.exists.int()) > 0
        extent = None if tokens.extent is None else either(tokens.extent)
        return ratio, Tokens(either(tokens.x), either(tokens.where), exists=exists, extent=extent), either(words)

    @torch.no_grad()
    def key(self, v: View) -> Float[Tensor, "batch out"]:
        """The normalised embedding of the masked sample by the slow copy, which goes to the queue after the step."""
        encoder, head = self.target
        tokens = encoder.tokenize(v)
        k = head(encoder.encode(tokens.replace(self.hide("key_mask", tokens, v.index), head.mask_token)).whole)
        self.fresh.append((k, v.index))
        return k

    def tell_both(self, q: Float[Tensor, "batch out"], k: Float[Tensor, "batch out"], ratio: Float[Tensor, "batch"], index: Tensor) -> Tensor:
        """Cross-entropy of a mixed sample's two keys, by their shares, among those of the batch of all ranks and the queue."""
        keys = gather(k)
        own = rank() * len(q) + torch.arange(len(q), device=q.device)
        logits = torch.cat([q @ keys.T, self.past(q, index, partners(index))], 1) / self.temperature
        mine, other = (F.cross_entropy(logits, at, reduction="none") for at in (own, len(keys) - 1 - own))
        return (ratio * mine + (1 - ratio) * other).mean()

    def tell(self, q: Float[Tensor, "batch out"], k: Float[Tensor, "batch out"], index: Int[Tensor, "batch"]) -> Float[Tensor, ""]:
        """Cross-entropy of a sample's key among its own and the queue (MoCo)."""
        logits = torch.cat([(q * k).sum(1, keepdim=True), self.past(q, index)], 1) / self.temperature
        return F.cross_entropy(logits, torch.zeros_like(index))

    def past(self, q: Float[Tensor, "batch out"], *own: Int[Tensor, "batch"]) -> Float[Tensor, "batch queue"]:
        """Cosines to the keys in the queue, without those of the samples that a query is made of."""
        known = torch.stack([index[:, None] == self.queue.owner for index in own]).any(0)
        return (q @ self.queue.rows.T).masked_fill(known, -torch.inf)

    def after_step(self) -> None:
        if self.target is not None:
            ema_update(self.target, [self.encoder, self.head], self.decay)
            for k, index in self.fresh:
                self.queue.push(k, index)
            self.fresh.clear()


class Head(nn.Module):
    """The mask token, and the perceptron behind which embeddings of samples are compared: what the slow copy has beside the encoder."""

    def __init__(self, dim: int, out: int):
        super().__init__()
        self.mask_token = nn.Parameter(torch.empty(dim).normal_(std=0.02))
        self.embed = mlp(dim, out, out, norm=False, activation=nn.GELU)

    def forward(self, whole: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch out"]:
        return F.normalize(self.embed(whole).float(), dim=1)


class DVAE(Trainable):
    """Parts -> logits over words -> a relaxed choice -> parts again; which word has the highest logit is a part's name."""

    recipe = Recipe(views="mae", optimizer="adamw", lr=2e-3, weight_decay=5e-4, warmup=1 / 30, final_lr=0.002)  # 0.0005 for 64 clouds; 10 of 300 epochs
    hold = 0.05  # share of the training before the prior sets in: the authors' 10,000 of about 200,000 steps

    def __init__(self, encoder: Encoder, codes: int, dim: int, hidden: int, temperature: tuple[float, float], divergence: float, annealing: float):
        super().__init__()
        own = getattr(encoder, "tokenizer", None)
        self.parts: Any = copy.deepcopy(own) if isinstance(own, nn.Module) else Contents(encoder, dim)
        self.encode = Graph(self.parts.dim, hidden, codes)  # type: ignore[arg-type]
        self.codebook = nn.Parameter(torch.randn(codes, dim))
        self.spread = Graph(dim, hidden, dim)
        members = int(getattr(own, "members", 0))  # points of a part, where parts are sets of them
        self.decode = Folding(dim, hidden, members, encoder.axes) if members else mlp(dim, hidden, hidden, encoder.content_width, norm=False)
        self.content_error = encoder.content_error
        self.temperature, self.divergence, self.annealing = temperature, divergence, annealing

    def logits(self, view: View) -> tuple[Tokens, Float[Tensor, "batch tokens codes"]]:
        tokens = self.parts(view)
        return tokens, self.encode(tokens.x, tokens.where, tokens.exists).float()

    @torch.no_grad()
    def words(self, view: View) -> Int[Tensor, "batch tokens"]:
        """The name of each part."""
        return self.eval().logits(view)[1].argmax(-1)

    def loss(self, v: View) -> Terms:
        tokens, logits = self.logits(v)
        step = min(1.0, self.progress / self.annealing)
        noise = self.counter.gumbel("gumbel", v.index, *logits.shape[1:])
        choice = ((logits + noise) / cosine(*self.temperature, step)).softmax(-1)  # Gumbel softmax
        t = self.spread(choice @ self.codebook, tokens.where, tokens.exists)
        late, mean = min(1.0, max(0.0, (self.progress - self.hold) / self.annealing)), mean_assignment(logits, existing(tokens))
        prior = cosine(0.0, self.divergence, late) * (-mean.mean() - math.log(logits.shape[-1]))
        used = torch.special.entr(average(mean.detach().exp().mean(0))).sum().exp()
        return {**self.rebuilt(t, tokens), "prior": prior, "words_used": used}

    def rebuilt(self, t: Float[Tensor, "batch tokens dim"], tokens: Tokens) -> Terms:
        """The error of what is made of words: distances (not squared) of coarse and of all points to those of the group, else the encoder's own."""
        content, exists = tokens.content, existing(tokens)
        assert content is not None
        count = average(exists.sum().float()).clamp(min=1)
        if not isinstance(self.decode, Folding):
            return {"rebuilt": (self.content_error(self.decode(t).float(), content) * exists).sum() / count}
        wanted = content.float().flatten(0, 1)
        return {
            name: (chamfer(points.float().flatten(0, 1), wanted, squared=False).view_as(exists) / 2 * exists).sum() / count
            for name, points in zip(("coarse", "fine"), self.decode(t), strict=True)
        }


class Contents(nn.Module):
    """Parts by a perceptron of their content, for encoders whose own way to make them cannot be copied alone."""

    def __init__(self, encoder: Encoder, dim: int):
        super().__init__()
        self.dim, self.tokenize = dim, encoder.tokenize
        self.embed = mlp(encoder.content_width, dim, dim, norm=False)

    def forward(self, view: View) -> Tokens:
        with torch.no_grad():
            tokens = self.tokenize(view)
        assert tokens.content is not None
        return dataclasses.replace(tokens, x=self.embed(tokens.content.flatten(2).float()))


def mean_assignment(logits: Float[Tensor, "batch tokens codes"], exists: Bool[Tensor, "batch tokens"]) -> Float[Tensor, "batch codes"]:
    """The logarithm of how often a sample's parts choose each word, on average."""
    return logits.log_softmax(-1).masked_fill(~exists[..., None], -torch.inf).logsumexp(1) - exists.sum(1, keepdim=True).log()


def nearest_block(
    where: Float[Tensor, "batch tokens axes"], exists: Bool[Tensor, "batch tokens"], u: Float[Tensor, "batch"], share: Float[Tensor, "batch"]
) -> Bool[Tensor, "batch tokens"]:
    """The `share` of each sample's parts that lie nearest to one of them, which `u` in [0, 1) chooses; that one is the first."""
    nth = (u * exists.sum(1)).long()[:, None]
    row = exists.int().argsort(dim=1, descending=True, stable=True).gather(1, nth)
    centre = where.gather(1, row[..., None].expand(-1, -1, where.shape[-1]))
    distance = (where - centre).float().square().sum(-1).scatter(1, row, -1.0)
    return lowest(distance, exists, share)


def partners(a: Shaped[Tensor, "batch *shape"]) -> Shaped[Tensor, "batch *shape"]:
    """For each sample of this rank what its partner has: that of all ranks which is as far from the end as it is from the beginning."""
    return gather(a.contiguous()).flip(0)[rank() * len(a) :][: len(a)]


def problems_of(mask_ratio: float, mask_spread: float, shape: str, codes: int, dim: int, hidden: int, annealing: float, tokenizer: float) -> list[str]:
    """What is wrong with hyperparameters, each with the way out."""
    problems = []
    if not 0 < mask_ratio - mask_spread <= mask_ratio + mask_spread < 1:
        problems.append(f"--set mask_ratio={mask_ratio} mask_spread={mask_spread}: {mask_ratio} +- {mask_spread} must lie between 0 and 1")
    if shape not in ("block", "random"):
        problems.append(f"--set shape={shape}: point_bert hides parts by block or random")
    if codes % 4 or dim % 4 or hidden % 16 or min(codes, dim, hidden) < 1:
        problems.append(f"--set codes={codes} dim={dim} hidden={hidden}: multiples of 4, 4 and 16 are needed, for their groups are normalised")
    if annealing <= 0 or tokenizer <= 0:
        problems.append(f"--set annealing={annealing} tokenizer={tokenizer}: both are shares of a training and must be above 0")
    return problems
