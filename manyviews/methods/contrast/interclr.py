"""InterCLR: MoCo v2, and each query must also pick out a sample that is in its cluster, among samples near it that are not.

Xie et al., "Delving into Inter-Image Invariance for Unsupervised Visual Representations", IJCV 2022, arXiv:2008.11702.
Departs from the paper, of which only the summary was at hand, as far as its released code shows it: samples go to the nearest centroid (there to the largest
product with a cluster's mean); a positive is another sample (there it may be the query's own); the pool of near negatives has none of the query's cluster
from the start; a halved cluster has no half below the minimal size; offline labels come from clustering the memory, whose keys are up to an epoch old, and
not from embedding all data anew; clusters and negatives are limited by the size of the data; and all that is said of this package's MoCo v2 holds here.
As in the code the first labels are those of the untrained network, made by `stages` before the first step; where that is not run they are arbitrary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from manyviews.contracts import Encoder, Method, Recipe, Stage, Terms, View
from manyviews.errors import InputError
from manyviews.nn.distributed import average, gather
from manyviews.nn.ema import ema_update, frozen_copy
from manyviews.nn.mlp import mlp
from manyviews.nn.queue import Queue

LABELS, DRAWS = ("online", "offline"), ("semihard", "hard", "random")
ITERATIONS = 20  # of k-means
CHUNK = 8192  # rows that are compared with all centroids at once


class InterCLR(Method):
    """Queries from the encoder and `v`, keys from its moving average and `w`; negatives from the queue, and both kinds of pairs from a memory of all samples.

    queue: past keys that are negatives of the loss within a sample. inter: weight of the loss between samples; the one within a sample has the rest of 1.
    margin: taken off the cosine of a query and its positive of another sample; below 0 this asks for less than the usual loss does.
    clusters: of all samples; at most one for every 2 * least of them. least: size below which a cluster is dissolved and the largest one halved.
    labels: online, each sample's cluster is looked up whenever it is seen; offline, all clusters are made anew after each epoch.
    interval: steps between two updates of the centroids of online labels. renewal: share of the new key in a sample's row of the memory, above 0 and up to 1.
    negatives: of the loss between samples, for each query; never more than a quarter of the pool.
    draw: of negatives: semihard, at random from those in the pool; hard, the nearest; random, from all.
    pool: the nearest samples of other clusters, as a share of all samples (128,000 of ImageNet's).
    """

    recipe = Recipe(views="moco", optimizer="sgd", lr=0.03, weight_decay=1e-4, warmup=0.0)

    def __init__(
        self,
        encoder: Encoder,
        samples: int,
        hidden: int = 2048,
        out: int = 128,
        queue: int = 65536,
        decay: float = 0.999,
        temperature: float = 0.2,
        inter: float = 0.25,
        margin: float = -0.5,
        clusters: int = 10000,
        least: int = 20,
        labels: str = "online",
        interval: int = 10,
        renewal: float = 1.0,
        negatives: int = 16384,
        draw: str = "semihard",
        pool: float = 0.1,
    ):
        super().__init__()
        check(samples, temperature, inter, clusters, least, labels, interval, renewal, negatives, draw, pool)
        self.encoder = encoder
        self.projector = mlp(encoder.dim, hidden, out, norm=False)
        self.target = frozen_copy(nn.Sequential(self.encoder, self.projector))
        self.queue = Queue(min(queue, samples), out)
        clusters = max(2, min(clusters, samples // (2 * least)))
        self.memory = Memory(samples, clusters, out, min(least, samples // (2 * clusters)), renewal)
        self.pool = max(1, round(pool * samples))
        self.negatives = max(1, min(negatives, self.pool // 4))
        self.decay, self.temperature, self.inter, self.margin = decay, temperature, inter, margin
        self.labels, self.interval, self.draw = labels, interval, draw
        self.fresh: list[tuple[Tensor, Tensor]] = []  # this step's keys and their samples

    def stages(self, data: Any, tools: Any) -> Iterator[Stage]:
        """The method alone, once its memory is filled by the untrained network."""
        self.memory.fill(torch.from_numpy(tools.embed(nn.Sequential(self.encoder, self.projector), data)))
        yield Stage("", self, data)

    def loss(self, v: View, w: View) -> Terms:
        q = self.projector(self.encoder(v))
        with torch.no_grad():
            k = F.normalize(self.target(w).float(), dim=1)
        self.fresh.append((k, w.index))
        with torch.autocast(q.device.type, enabled=False):
            q = F.normalize(q.float(), dim=1)
            past = (q @ self.queue.rows.T).masked_fill(v.index[:, None] == self.queue.owner, -torch.inf)
            similarity = q @ self.memory.rows.T
            positive, negative, other = self.pairs(similarity.detach(), v.index)
            intra = self.contrast((q * k).sum(1, keepdim=True), past)
            inter = self.contrast(similarity.gather(1, positive) - self.margin, similarity.gather(1, negative).masked_fill(~other, -torch.inf))
        largest = self.memory.sizes().max() / len(self.memory.label)
        return {"intra": (1 - self.inter) * intra, "inter": self.inter * inter, "largest_cluster": largest}

    def contrast(self, positive: Float[Tensor, "batch 1"], negative: Float[Tensor, "batch negatives"]) -> Float[Tensor, ""]:
        return F.cross_entropy(torch.cat([positive, negative], 1) / self.temperature, torch.zeros_like(positive[:, 0], dtype=torch.long))

    @torch.no_grad()
    def pairs(
        self, similarity: Float[Tensor, "batch samples"], index: Int[Tensor, "batch"]
    ) -> tuple[Int[Tensor, "batch 1"], Int[Tensor, "batch negatives"], Bool[Tensor, "batch negatives"]]:
        """For each query a sample of its cluster, its negatives, and which of these are of another cluster: all, unless there are too few."""
        label = self.memory.label
        positive = self.memory.another(index, self.counter.uniform("positive", index))
        pool = {"semihard": self.pool, "hard": self.negatives, "random": len(label)}[self.draw]
        value, near = similarity.masked_fill(label == label[index, None], -torch.inf).topk(pool, dim=1)
        key = self.counter.bits("negatives", index, pool).masked_fill(value.isinf(), torch.iinfo(torch.int64).max)
        chosen = key.topk(self.negatives, dim=1, largest=False).indices
        return positive[:, None], near.gather(1, chosen), value.gather(1, chosen) > -torch.inf

    def after_step(self) -> None:
        ema_update(self.target, [self.encoder, self.projector], self.decay)
        parts, done = len(self.fresh), self.counter.step + 1  # micro-batches: of this step, and of the training so far
        batch = 0
        for k, index in self.fresh:
            self.queue.push(k, index)
            k, index = gather(k), gather(index)
            self.memory.write(k, index, assign=self.labels == "online")
            batch = len(index)
        self.fresh.clear()
        if not parts:
            return
        if self.labels == "online":
            if done // parts % self.interval == 0:
                self.memory.recentre()
            self.memory.settle()
        else:
            epoch = max(1, len(self.memory.label) // batch)
            if done // epoch > (done - parts) // epoch:
                self.memory.cluster()


class Memory(nn.Module):
    """The latest key of every sample and the cluster it is in: k-means in small batches with clusters of a minimal size, as in ODC (arXiv:2006.10645).

    Everything is in buffers that only depend on what all ranks hold.
    """

    rows: Float[Tensor, "samples dim"]  # unit vectors
    label: Int[Tensor, "samples"]
    centroids: Float[Tensor, "clusters dim"]

    def __init__(self, samples: int, clusters: int, dim: int, least: int, renewal: float):
        super().__init__()
        self.register_buffer("rows", F.normalize(torch.randn(samples, dim), dim=1))
        self.register_buffer("label", torch.arange(samples) % clusters)
        self.register_buffer("centroids", torch.zeros(clusters, dim))
        self.least, self.renewal = least, renewal
        self.recentre()

    @torch.no_grad()
    def fill(self, z: Float[Tensor, "samples dim"]) -> None:
        """Take these embeddings of all samples, and cluster them."""
        self.rows.copy_(F.normalize(average(z.to(self.rows)), dim=1))
        self.cluster()

    @torch.no_grad()
    def cluster(self) -> None:
        """Offline k-means, from samples that are drawn once and for all."""
        first = torch.randperm(len(self.rows), generator=torch.Generator().manual_seed(0))[: len(self.centroids)]
        self.centroids.copy_(self.rows[first.to(self.rows.device)])
        for _ in range(ITERATIONS):
            self.label.copy_(self.nearest(self.rows))
            self.recentre()
        self.settle()

    @torch.no_grad()
    def write(self, k: Float[Tensor, "batch dim"], index: Int[Tensor, "batch"], assign: bool) -> None:
        """Put keys into their samples' rows, of a sample that comes twice the last one; with `assign` look up the samples' clusters."""
        order = index.argsort(stable=True)
        last = order[F.pad(index[order].diff() != 0, (0, 1), value=True)]
        index, k = index[last], k[last]
        self.rows[index] = F.normalize(self.rows[index].lerp(k.to(self.rows), self.renewal), dim=1)
        if assign:
            self.label[index] = self.nearest(self.rows[index])

    @torch.no_grad()
    def recentre(self) -> None:
        """Move centroids to the means of their clusters; those of empty ones stay. Sums are of whole numbers, so that their order cannot matter."""
        size = self.sizes()[:, None]
        total = torch.zeros_like(self.centroids, dtype=torch.long).index_add_(0, self.label, (self.rows * 2**30).long())
        self.centroids.copy_(torch.where(size > 0, (total / (size * 2.0**30).double()).float(), self.centroids))

    @torch.no_grad()
    def settle(self) -> None:
        """Dissolve clusters that are too small into the nearest others, and give each of them a half of the largest one."""
        small = self.sizes() < self.least
        if not small.any():
            return
        astray = small[self.label]
        self.label[astray] = self.nearest(self.rows[astray], small)
        for empty in small.nonzero()[:, 0]:
            largest = self.sizes().argmax()
            members = (self.label == largest).nonzero()[:, 0]
            second = halves(self.rows[members], self.least)
            self.label[members[second]] = empty
            self.centroids[largest], self.centroids[empty] = self.rows[members[~second]].mean(0), self.rows[members[second]].mean(0)

    def another(self, index: Int[Tensor, "batch"], u: Float[Tensor, "batch"]) -> Int[Tensor, "batch"]:
        """For each sample one of the others in its cluster, which `u` from 0 to 1 picks; itself where it is alone."""
        order = self.label.argsort(stable=True)
        size = self.sizes()
        start, label = size.cumsum(0) - size, self.label[index]
        place = torch.empty_like(order).scatter(0, order, torch.arange(len(order), device=order.device))
        others, own = size[label] - 1, place[index] - start[label]
        nth = (u * others).long()
        return order[start[label] + torch.where(others > 0, nth + (nth >= own), 0)]

    def nearest(self, x: Float[Tensor, "rows dim"], closed: Bool[Tensor, "clusters"] | None = None) -> Int[Tensor, "rows"]:
        """The clusters whose centroids are nearest, of those that are not `closed`."""
        half = self.centroids.square().sum(1) / 2
        if closed is not None:
            half = half.masked_fill(closed, torch.inf)
        return torch.cat([(part @ self.centroids.T - half).argmax(1) for part in x.split(CHUNK)])

    def sizes(self) -> Int[Tensor, "clusters"]:
        return torch.bincount(self.label, minlength=len(self.centroids))


def halves(x: Float[Tensor, "members dim"], least: int) -> Bool[Tensor, "members"]:
    """Which rows are in the second of two clusters; cut in the middle where one of the two would be smaller than `least`."""
    a = x[(x - x.mean(0)).square().sum(1).argmax()]
    b = x[(x - a).square().sum(1).argmax()]
    for _ in range(ITERATIONS):
        second = (x - b).square().sum(1) < (x - a).square().sum(1)
        if not 0 < second.sum() < len(x):
            break
        a, b = x[~second].mean(0), x[second].mean(0)
    if not least <= second.sum() <= len(x) - least:
        second = (x @ (b - a)).argsort().argsort() >= len(x) // 2
    return second


def check(
    samples: int,
    temperature: float,
    inter: float,
    clusters: int,
    least: int,
    labels: str,
    interval: int,
    renewal: float,
    negatives: int,
    draw: str,
    pool: float,
) -> None:
    """Raises InputError with everything that is wrong."""
    problems = []
    if samples < 4:
        problems.append(f"{samples} samples: interclr needs four or more, two clusters of two")
    if temperature <= 0:
        problems.append(f"--set temperature={temperature}: it divides similarities and must be above 0; the paper's is 0.2")
    if not 0 <= inter <= 1:
        problems.append(f"--set inter={inter}: it is a share of the loss, 0 to 1; the paper's is 0.25")
    for name, number, least_number in (("clusters", clusters, 2), ("least", least, 1), ("interval", interval, 1), ("negatives", negatives, 1)):
        if number < least_number:
            problems.append(f"--set {name}={number}: it must be {least_number} or more")
    for name, choice, choices in (("labels", labels, LABELS), ("draw", draw, DRAWS)):
        if choice not in choices:
            problems.append(f"--set {name}={choice}: there are {', '.join(choices)}")
    for name, share, paper in (("renewal", renewal, 1), ("pool", pool, 0.1)):
        if not 0 < share <= 1:
            problems.append(f"--set {name}={share}: it is a share, above 0 and up to 1; the paper's is {paper}")
    if problems:
        raise InputError(*problems)
