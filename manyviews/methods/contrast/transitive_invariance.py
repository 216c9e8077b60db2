"""Transitive Invariance: if two samples are alike, then other views of the one are alike to other views of the other.

Wang, He, Gupta, "Transitive Invariance for Self-supervised Visual Representation Learning", ICCV 2017, arXiv:1708.02901.
Departs from the paper, whose code was not released, in the data: it tracks moving patches through videos, where rows of one `track`, `instance` or
`object` are taken as frames of one object: pictures from films (CLIPS?pictures=yes), views of meshes (--as renders), 3DIEBench, or any list of files with
such a column. Where there is none, two views of a sample are: as it is (`v`, what neighbours are found by) and changed (`w`). Edges between instances are
kept where two samples of one cluster are each among the other's nearest, in place of the paper's own cleaning of its clusters. The context prediction
network is small and of its own instead of a trained VGG16, and the network learned with triplets does not start from it. Negatives are drawn as in the
authors' earlier triplet network for videos (Wang and Gupta, ICCV 2015, arXiv:1505.00687), from all processes, and none is related to either side of its
pair; the recipe is of there too, with half a cosine for its steps down. Embeddings are not rectified.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from manyviews.contracts import Encoder, Method, Recipe, Stage, Terms, Trainable, View
from manyviews.errors import InputError
from manyviews.nn.distributed import gather, rank, world
from manyviews.nn.ema import frozen_copy
from manyviews.nn.mlp import mlp
from manyviews.nn.pixels import pixels

COLUMN = "neighbours"
EDGES = ("transitive", "both", "intra", "inter")
PRETEXTS = ("context", "none")
TRACKS = ("track", "instance", "object")  # columns that say which rows show one object; the first that there is counts


class TransitiveInvariance(Method):
    """Triplets over a graph of views: intra edges join views of one instance, inter edges plain views of two alike, and transitivity what both lead to.

    edges: which pairs are positive: "transitive", all that an intra edge, or an inter edge with or without intra edges at its ends, leads to; or, as
    ablations, "both" kinds of edges by themselves (the paper's multi-task baseline), "intra" or "inter".
    margin: by how much a negative's cosine distance must exceed the positive's.
    negatives: how many each positive pair has, of those nearer than the margin allows. hard: share of them that is drawn from as many hardest ones.
    neighbours: how many nearest samples are looked at for inter edges.
    cluster_size: samples in a cluster on average; neighbours are looked for within one.
    pretext: what the weak features are learned by: "context", predicting where a patch lies from another (the paper's), or "none", the encoder as it came.
    pretext_share: how long the pretext trains, in shares of the steps that follow.
    """

    recipe = Recipe(views="transitive_invariance", optimizer="sgd", lr=0.0026, weight_decay=5e-4, warmup=0.0)

    def __init__(
        self,
        encoder: Encoder,
        hidden: int = 4096,
        out: int = 1024,
        edges: str = "transitive",
        margin: float = 0.5,
        negatives: int = 4,
        hard: float = 0.5,
        neighbours: int = 10,
        cluster_size: int = 200,
        pretext: str = "context",
        pretext_share: float = 1.0,
    ):
        super().__init__()
        problems = []
        if edges not in EDGES:
            problems.append(f"--set edges={edges}: there are {', '.join(EDGES)}")
        if pretext not in PRETEXTS:
            problems.append(f"--set pretext={pretext}: there are {', '.join(PRETEXTS)}")
        if min(negatives, neighbours, cluster_size) < 1:
            problems.append(f"--set negatives={negatives} neighbours={neighbours} cluster_size={cluster_size}: must all be 1 or more")
        if margin <= 0 or pretext_share <= 0 or not 0 <= hard <= 1:
            problems.append(f"--set margin={margin} pretext_share={pretext_share} hard={hard}: must be above 0, above 0, and a share from 0 to 1")
        if problems:
            raise InputError(*problems)
        self.encoder = encoder
        self.projector = mlp(encoder.dim, hidden, out, norm=False)
        self.weak = ContextPrediction(frozen_copy(encoder), hidden).requires_grad_(False) if edges != "intra" else None
        self.edges, self.margin, self.negatives, self.hard = edges, margin, negatives, round(hard * negatives)
        self.neighbours, self.cluster_size, self.pretext, self.share = neighbours, cluster_size, pretext, pretext_share

    def stages(self, data: Any, tools: Any) -> Iterator[Stage]:
        if self.weak is not None and COLUMN not in data.columns:
            if self.pretext == "context":
                yield Stage("context", self.weak.requires_grad_(True), data, self.share)
                self.weak.requires_grad_(False).zero_grad()

            def graph(data: Any) -> dict[str, np.ndarray]:
                instance = instances(data.columns, np.arange(len(data)))
                return {COLUMN: inter_edges(tools.embed(self.weak, data), instance, self.neighbours, self.cluster_size)}

            told = "".join(f"/{name}" for name in TRACKS if name in data.columns)
            name = f"transitive_invariance/{self.neighbours}/{self.cluster_size}/{tools.weights(self.weak)}{told}"
            data = tools.derive(data, name, graph)
        yield Stage("", self, data)

    def sampler(self, rows: int, columns: Mapping[str, np.ndarray], seed: int, epoch: int) -> np.ndarray:
        """As many rows an epoch, those that are related next to each other: a sample, another frame of it, a neighbour, another frame of that."""
        rng = np.random.default_rng([seed, epoch])
        group = [rng.permutation(rows)]
        tracked = self.edges != "inter" and any(name in columns for name in TRACKS)
        if tracked:
            frames = instances(columns, np.arange(rows))
            group.append(another_frame(frames, group[0], rng))
        if self.edges != "intra":
            if COLUMN not in columns:
                raise InputError(f"transitive_invariance pairs by the column {COLUMN}, which its first stage adds; run `stages`, as manyviews.pretrain does")
            group.append(a_neighbour(columns[COLUMN], group[0], rng))
            if tracked:
                group.append(another_frame(frames, group[-1], rng))
        return np.stack(group, 1).ravel()[:rows]

    def loss(self, v: View, w: View) -> Terms:
        views = [v] if self.edges == "inter" else [v, w]
        z = [self.projector(self.encoder(view)) for view in views]
        with torch.autocast(z[0].device.type, enabled=False):
            index = gather(v.index)
            order = index.argsort(stable=True)  # so that processes and their number change nothing
            z = [gather(F.normalize(part.float(), dim=1))[order] for part in z]
            near = gather(v.given[COLUMN])[order] if COLUMN in v.given else index[:, None][:, :0]
            instance = gather(instances(v.given, v.index))[order]
            return self.triplets(torch.cat(z), *self.relations(index[order], instance, near))

    def relations(
        self, index: Int[Tensor, "batch"], instance: Int[Tensor, "batch"], near: Int[Tensor, "batch neighbours"]
    ) -> tuple[Bool[Tensor, "nodes nodes"], Bool[Tensor, "nodes nodes"]]:
        """Which views of the batch are positive for each other, and which are related at all and so no negatives. Nodes: all `v`, then all `w`."""
        same = instance[:, None] == instance
        inter = (near[:, None] == index[:, None]).any(2)
        inter = (inter | inter.T) & ~same
        reached = (same.float() @ inter.float() @ same.float()) > 0  # A' - A ~ B - B': any frame of one to any frame of the other
        count = 1 if self.edges == "inter" else 2
        plain = torch.block_diag(inter, *[torch.zeros_like(inter)] * (count - 1)).bool()  # neighbours were found by the plain views
        itself = torch.block_diag(*[index[:, None] == index] * count).bool()
        same, reached = same.repeat(count, count), reached.repeat(count, count)
        intra = same & ~itself
        positive = {"intra": intra, "inter": plain, "both": intra | plain, "transitive": intra | reached}[self.edges]
        return positive, same | reached

    def triplets(self, z: Float[Tensor, "nodes dim"], positive: Bool[Tensor, "nodes nodes"], related: Bool[Tensor, "nodes nodes"]) -> Terms:
        """Mean over positive pairs and their negatives of max(0, D(x, x+) - D(x, x-) + margin), D being 1 - cosine."""
        distance = 1 - z @ z.T
        pairs = positive.nonzero()
        x, other = pairs[rank() :: world()].T  # each process takes its share of them
        excess = distance[x, other][:, None] - distance[x] + self.margin
        with torch.no_grad():
            candidate = (excess > 0) & ~related[x] & ~related[other]
            first, then = (self.counter.uniform(name, x * len(z) + other, len(z)) for name in ("hard negatives", "negatives"))
            chosen = lowest(first, lowest(distance[x], candidate, self.negatives), self.hard)
            chosen = chosen | lowest(then, candidate & ~chosen, self.negatives - self.hard)
        share = world() / max(1, len(pairs) * self.negatives)
        return {"triplet": share * (excess * chosen).sum(), "violating": share * chosen.sum(), "positives": positive.sum() / len(z)}


class ContextPrediction(Trainable):
    """Which of the eight places around a patch does another patch come from? Doersch, Gupta, Efros, ICCV 2015, arXiv:1505.05192."""

    recipe = Recipe(views="plain", optimizer="adamw", lr=4e-3, weight_decay=1e-4)
    gap = 1 / 3  # share of a cell's side that its patch leaves free, at a random side of it: no line runs on from one patch to the next

    def __init__(self, encoder: Encoder, hidden: int):
        super().__init__()
        self.encoder = encoder
        self.head = mlp(2 * encoder.dim, hidden, 8)

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        return self.encoder(view)

    def loss(self, v: View) -> Terms:
        place = self.counter.bits("place", v.index, 1)[:, 0] % 8
        first = self.encoder(self.patch(v, "first", torch.full_like(place, 4)))
        second = self.encoder(self.patch(v, "second", place + (place >= 4)))
        guess = self.head(torch.cat([first, second], 1)).float()
        return {"context": F.cross_entropy(guess, place), "right": (guess.detach().argmax(1) == place).float().mean()}

    def patch(self, v: View, name: str, cell: Int[Tensor, "batch"]) -> View:
        """The patch in this cell of three by three, in reading order, enlarged to the picture's size. Raises InputError for what is no picture."""
        x = pixels(v, "the pretext of transitive_invariance (--set pretext=none does without it)")
        spare = (self.counter.uniform(name, v.index, 2) - 0.5) * 2 * self.gap / 3
        centre = (torch.stack([cell % 3, cell // 3], 1) - 1) * 2 / 3 + spare
        scale = torch.eye(2, device=centre.device).expand(len(centre), 2, 2) * (1 - self.gap) / 3
        grid = F.affine_grid(torch.cat([scale, centre[..., None]], 2), list(x.shape), align_corners=False)
        return View(F.grid_sample(x, grid, padding_mode="border", align_corners=False), v.index)


# --- the graph --------------------------------------------------------------------------------------------------------------------------------


def instances(columns: Mapping[str, Any], index: Any) -> Any:
    """Which rows show one object: the first of the columns TRACKS, negative or no number where it is not known; else every row its own. Arrays or tensors."""
    found = next((columns[name] for name in TRACKS if name in columns), None)
    if found is None:
        return index
    where = torch.where if isinstance(found, Tensor) else np.where
    return where(found >= 0, found, -1 - index)


def inter_edges(z: np.ndarray, instance: np.ndarray, neighbours: int, cluster_size: int) -> np.ndarray:
    """The rows of other instances, as many as `neighbours`, that each row is alike to; -1 where there are fewer.

    Two rows are alike when they are in one k-means cluster of the normalised features and each is among the other's nearest by cosine.
    """
    from sklearn.cluster import KMeans

    read = np.abs(z).sum(1) > 0
    z = z - z[read].mean(0) if read.any() else z
    z = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-9)
    cluster = KMeans(max(1, round(len(z) / cluster_size)), n_init=1, random_state=0).fit_predict(z)
    nearest = np.full((len(z), neighbours), -1)
    for c in np.unique(cluster):
        rows = np.flatnonzero((cluster == c) & read)
        cosine = np.where(instance[rows][:, None] == instance[rows], -np.inf, z[rows] @ z[rows].T)
        best = np.argsort(-cosine, axis=1, kind="stable")[:, :neighbours]
        nearest[rows, : best.shape[1]] = np.where(np.take_along_axis(cosine, best, 1) > -np.inf, rows[best], -1)
    mutual = (nearest[nearest] == np.arange(len(z))[:, None, None]).any(2)
    return np.where(mutual & (nearest >= 0), nearest, -1)


def another_frame(instance: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each of `rows` a random other row of its instance; itself where it is alone."""
    _, group, count = np.unique(instance, return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    start = np.cumsum(count) - count
    at = np.empty(len(order), int)
    at[order] = np.arange(len(order)) - start[group[order]]  # each row's number within its instance
    mine = group[rows]
    step = 1 + (rng.random(len(rows)) * (count[mine] - 1)).astype(int)
    return order[start[mine] + (at[rows] + step) % count[mine]]


def a_neighbour(neighbours: np.ndarray, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each of `rows` one of its neighbours; a random row where it has none."""
    there = neighbours[rows] >= 0
    pick = (rng.random(there.shape) * there).argmax(1)
    return np.where(there.any(1), neighbours[rows, pick], rng.permutation(len(neighbours))[: len(rows)])


def lowest(key: Float[Tensor, "pairs nodes"], among: Bool[Tensor, "pairs nodes"], count: int) -> Bool[Tensor, "pairs nodes"]:
    """The `count` entries of each row with the lowest keys, of those `among`."""
    rows = key.masked_fill(~among, torch.inf).topk(min(count, key.shape[1]), dim=1, largest=False).indices
    return torch.zeros_like(among).scatter(1, rows, True) & among
