"""Hydra: draw samples of any two classes together, in the subspace that a gate learned for this pair of classes opens.

Wu et al., "Rethinking Positive Pairs in Contrastive Learning", arXiv:2410.18200; called SimLAP in its second version.
Departs from the paper's released code, whose two forms differ, as follows. Both views of a sample are in one batch as anchors and as what they are
compared with, where one form repeats each picture three times and the other takes anchors from one view and the rest from the other; an embedding is no
positive for itself. As in the first form the temperature is fixed and the mean is over all positive pairs; the second learns it, and gives every anchor
one voice. Second classes are drawn over the batch of all processes, and not within each. Weight decay is decoupled (AdamW for Adam), and the
recipe's views are SimCLR's instead of RandAugment and erasing. Its warm-up is their 2 epochs, of 50; biases and normalisations do not decay.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.errors import InputError
from manyviews.nn.distributed import average, gather, rank
from manyviews.nn.mlp import mlp

PAIRS = ("arbitrary", "identical", "distinct")


class Hydra(Method):
    """Each embedding, gated for its class and a second one, must pick out the samples of the second among those of all classes but the two.

    pairs: how the second class is drawn: "arbitrary", that of a random sample of the batch; "identical", the same class, as in SupCon; or "distinct",
    any other class of the data.
    gates: "learned", or "open": all dimensions for every pair, which is what learning from arbitrary pairs was before.
    temperature: what the gated similarities are divided by before the softmax; above 0.
    label_dim: width of the classes' embeddings, from which gates are made.
    gate_hidden: width of the hidden layer between them and the gates.
    """

    recipe = Recipe(views="simclr", optimizer="adamw", lr=1e-3, weight_decay=5e-4, warmup=2 / 50, final_lr=0.01)

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        hidden: int = 2048,
        out: int = 256,
        pairs: str = "arbitrary",
        gates: str = "learned",
        temperature: float = 0.1,
        label_dim: int = 512,
        gate_hidden: int = 1024,
    ):
        super().__init__()
        if pairs not in PAIRS:
            raise InputError(f"pairs {pairs!r}: expected one of {', '.join(PAIRS)}")
        if gates not in ("learned", "open"):
            raise InputError(f"gates {gates!r}: expected learned or open")
        if temperature <= 0:
            raise InputError(f"temperature {temperature}: it divides similarities and must be above 0; the paper's is 0.1")
        fewest = 3 if pairs == "distinct" else 2
        if classes < fewest:
            raise InputError(f"{classes} classes: {pairs} pairs need {fewest} or more, as a pair is told from the classes that are not in it")
        self.encoder = encoder
        self.projector = nn.Sequential(mlp(encoder.dim, hidden, out, last_bias=False), nn.LayerNorm(out))
        self.gate = Gate(classes, label_dim, gate_hidden, out) if gates == "learned" else None
        self.classifier = nn.Linear(encoder.dim, classes)  # only watches: no gradient of it reaches the encoder
        self.classes, self.pairs, self.temperature = classes, pairs, temperature

    def loss(self, v: View, w: View) -> Terms:
        if "label" not in v.given:
            raise InputError("hydra needs a label with every sample, which this data does not have; class folders give one")
        label = v.given["label"].long()
        hv, hw = self.encoder(v), self.encoder(w)
        zv, zw = self.projector(hv), self.projector(hw)
        second = torch.cat([self.second_class(label, v.index, role) for role in ("v", "w")])
        gate = torch.ones_like(second[:, None], dtype=zv.dtype) if self.gate is None else self.gate(label.repeat(2), second)
        guess = self.classifier(torch.cat([hv, hw]).detach()).float()
        with torch.autocast(zv.device.type, enabled=False):
            pairs = self.contrast(zv.float(), zw.float(), gate.float(), label, second)
        return {
            "pairs": pairs,
            "classifier": F.cross_entropy(guess, label.repeat(2)),
            "accuracy": (guess.detach().argmax(1) == label.repeat(2)).float().mean(),
            "open": gate.detach().float().mean(),
        }

    def second_class(self, label: Int[Tensor, "batch"], index: Int[Tensor, "batch"], role: str) -> Int[Tensor, "batch"]:
        """The other class of each sample's pair, drawn for its view as `role`; the same whichever process asks."""
        if self.pairs == "identical":
            return label
        if self.pairs == "distinct":
            other = self.counter.uniform(f"second class of {role}", index, 1)[:, 0] * (self.classes - 1)
            return (label + 1 + other.long()) % self.classes
        everyone, samples = gather(label), gather(index)
        giver, taker = (self.counter.bits(f"{end} of {role}", samples, 1)[:, 0].argsort() for end in ("giver", "taker"))
        given = torch.empty_like(everyone)
        given[taker] = everyone[giver]  # a permutation of the batch, whatever order it is in
        return given[rank() * len(label) :][: len(label)]

    def contrast(
        self,
        zv: Float[Tensor, "batch dim"],
        zw: Float[Tensor, "batch dim"],
        gate: Float[Tensor, "both gates"],
        label: Int[Tensor, "batch"],
        second: Int[Tensor, "both"],
    ) -> Float[Tensor, ""]:
        """Mean over all pairs of an anchor and a sample of its second class of -log(e^pair / (e^pair + sum over negatives of e^similarity))."""
        n = len(zv)
        zv, zw = F.normalize(zv, dim=1), F.normalize(zw, dim=1)
        everyone, classes = torch.cat([gather(zv), gather(zw)]), gather(label).repeat(2)
        similarity = (gate.square() * torch.cat([zv, zw])) @ everyone.T / self.temperature  # both sides are gated
        positive, first = classes == second[:, None], classes == label.repeat(2)[:, None]
        against = similarity.masked_fill(positive | first, -torch.inf).logsumexp(1, keepdim=True)
        own = rank() * n + torch.arange(n, device=zv.device)
        weight = positive.float().scatter(1, torch.cat([own, own + len(everyone) // 2])[:, None], 0.0)
        count = average(weight.sum()).clamp(min=1e-6)  # pairs of all ranks; a batch may have none
        return (weight * F.softplus(against - similarity)).sum() / count


class Gate(nn.Module):
    """How far each dimension is open, 0..1, for a pair of classes: a network on the mean of the two classes' embeddings."""

    def __init__(self, classes: int, label_dim: int, hidden: int, out: int):
        super().__init__()
        self.embedding = nn.Embedding(classes, label_dim)
        self.network = nn.Sequential(
            nn.ReLU(), nn.BatchNorm1d(label_dim), nn.Linear(label_dim, hidden), nn.ReLU(), nn.BatchNorm1d(hidden), nn.Linear(hidden, out)
        )

    def forward(self, first: Int[Tensor, "pairs"], second: Int[Tensor, "pairs"]) -> Float[Tensor, "pairs dim"]:
        return self.network((self.embedding(first) + self.embedding(second)) / 2).sigmoid()
