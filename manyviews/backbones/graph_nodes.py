"""Graph nodes as tokens, for a plain transformer: of a graph all of them, of a node those around it.

A token is its node's features alone, so that hiding it hides them; how nodes hang together is in the place: the probability that a random walk is back after
2, 3, 4, 5 and 6 steps (Dwivedi et al., "Graph Neural Networks with Learnable Structural and Positional Representations", ICLR 2022, arXiv:2110.07875), and of
a node's surroundings 1 / (1 + hops to it), else 0. These have no sign and no order to choose, so a graph with its nodes renumbered gives the same tokens,
unless it has more than there is room for: which of equally near nodes are left out, their numbers say.
What there is to predict is the features, compared as GraphMAE does (Hou et al., "GraphMAE: Self-Supervised Masked Graph Autoencoders", KDD 2022,
arXiv:2205.10803): by (1 - cosine)^gamma with gamma = 2, which asks for the direction of a bag of words and not for its length. Features that are all 0 have
no direction, and the error is 1 whatever is predicted.
Departs from the papers: GraphMAE predicts with a network that passes messages, this transformer without; `content` has an axis of one before the features,
so that methods compare it by this error alone.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from manyviews.backbones.tokens import TokenEncoder, learned_place
from manyviews.contracts import Tokens, View
from manyviews.counters import Counter
from manyviews.data.graph_batch import Graphs

STEPS = 5  # of a random walk: 2 to 6
SHARPNESS = 2.0  # gamma
ROOM = 1 << 24  # numbers of the table in which surroundings are looked for
FARTHEST = 6  # hops


class Nodes(nn.Module):
    """At most `most` nodes of a sample: of a graph those nearest to the one with the most edges; of a node itself first and then those nearest to it."""

    axes = STEPS + 1

    def __init__(self, channels: int, dim: int, most: int):
        super().__init__()
        self.dim, self.most, self.content_width = dim, most, channels
        self.embed = nn.Linear(channels, dim)

    def forward(self, view: View) -> Tokens:
        graphs: Graphs = view.x
        rows, exists, hops = self.around(graphs) if graphs.roots is not None else self.of_graphs(graphs)
        content = torch.where(exists[..., None], graphs.x[rows], 0)
        where = torch.cat([returns(adjacency(graphs, rows, exists)), hops[..., None]], -1)
        return Tokens(self.embed(content), where * exists[..., None], content[:, :, None], exists)

    def of_graphs(self, graphs: Graphs) -> tuple[Int[Tensor, "batch tokens"], Bool[Tensor, "batch tokens"], Float[Tensor, "batch tokens"]]:
        """The nodes of each graph, padded to the largest; of one with more than `most` those nearest to its best connected node."""
        sizes = graphs.sizes
        if len(sizes) and int(sizes.max()) > self.most:
            score = (graphs.degree + 1) * len(graphs.x) - graphs.number  # of equals the first
            best = score.new_zeros(graphs.graphs).scatter_reduce_(0, graphs.owner, score, "amax")
            centre = torch.nonzero(score == best[graphs.owner])[:, 0]
            rows, exists, _ = nearest(graphs, centre, self.most)
        else:
            step = torch.arange(max(1, int(sizes.max()) if len(sizes) else 1), device=sizes.device)
            exists = step < sizes[:, None]
            rows = torch.where(exists, graphs.starts[:, None] + step, 0)
        return rows, exists, torch.zeros(rows.shape, device=rows.device)

    def around(self, graphs: Graphs) -> tuple[Int[Tensor, "batch tokens"], Bool[Tensor, "batch tokens"], Float[Tensor, "batch tokens"]]:
        assert graphs.roots is not None
        rows, exists, hops = nearest(graphs, graphs.roots, self.most)
        return rows, exists, 1 / (1 + hops)

    def error(self, prediction: Float[Tensor, "batch tokens width"], content: Float[Tensor, "batch tokens 1 width"]) -> Float[Tensor, "batch tokens"]:
        """(1 - cosine)^2 of the features."""
        cosine = (F.normalize(prediction.float(), dim=-1) * F.normalize(content.float()[:, :, 0], dim=-1)).sum(-1)
        return (1 - cosine).clamp(min=0) ** SHARPNESS


def nearest(
    graphs: Graphs, centres: Int[Tensor, "batch"], most: int
) -> tuple[Int[Tensor, "batch most"], Bool[Tensor, "batch most"], Float[Tensor, "batch most"]]:
    """The rows of the nodes nearest to each centre by hops, itself first, which of them are there, and how many hops away.

    Of equally near ones, those come first that a fixed lot, the same for all centres, says.
    """
    lot = Counter(0, 0).uniform("surroundings", graphs.number)
    found = [part for chunk in centres.split(max(1, ROOM // max(1, graphs.edges.shape[1], len(graphs.x)))) for part in [of_chunk(graphs, chunk, most, lot)]]
    rows, hops = (torch.cat(parts) for parts in zip(*found, strict=True)) if found else (centres.new_zeros(0, most), lot.new_zeros(0, most))
    exists = hops < FARTHEST + 1
    longest = int(exists.sum(1).max()) if len(exists) else 1
    return torch.where(exists, rows, 0)[:, :longest], exists[:, :longest], hops[:, :longest]


def of_chunk(graphs: Graphs, centres: Int[Tensor, "batch"], most: int, lot: Float[Tensor, "nodes"]) -> tuple[Int[Tensor, "batch k"], Float[Tensor, "batch k"]]:
    """For some centres: all nodes at once, hop by hop."""
    nodes, (source, target) = len(graphs.x), graphs.edges
    hops = torch.full((nodes, len(centres)), FARTHEST + 1.0, device=lot.device)
    hops[centres, torch.arange(len(centres), device=lot.device)] = 0
    for hop in range(FARTHEST):
        reached = (hops <= hop).float()
        if bool((reached.sum(0) >= min(most, nodes)).all()):
            break
        fresh = torch.zeros_like(hops).index_add_(0, source, reached[target]) > 0  # who sends to what was reached
        hops = torch.where(fresh & (hops > hop + 1), hop + 1.0, hops)
    _, rows = (hops + lot[:, None]).T.topk(min(most, nodes), 1, largest=False)
    return rows, hops.T.gather(1, rows)


def adjacency(graphs: Graphs, rows: Int[Tensor, "batch tokens"], exists: Bool[Tensor, "batch tokens"]) -> Float[Tensor, "batch tokens tokens"]:
    """1 where an edge leads from one token to another."""
    keys = (graphs.edges[0] * len(graphs.x) + graphs.edges[1]).sort().values
    wanted = rows[:, :, None] * len(graphs.x) + rows[:, None, :]
    both = exists[:, :, None] & exists[:, None, :]
    if not len(keys):
        return torch.zeros(wanted.shape, device=wanted.device)
    at = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    return ((keys[at] == wanted) & both).float()


def returns(a: Float[Tensor, "batch tokens tokens"]) -> Float[Tensor, "batch tokens 5"]:
    """The probability of a walk to be back after 2 to 6 steps; nodes without edges never leave, and are never back."""
    step = a / a.sum(2, keepdim=True).clamp(min=1)
    two = step @ step
    three = two @ step
    powers = [two.diagonal(dim1=1, dim2=2), three.diagonal(dim1=1, dim2=2)]
    powers += [(x * y.mT).sum(2) for x, y in ((two, two), (two, three), (three, three))]
    return torch.stack(powers, -1)


def graph_tokens(channels: int, most: int, dim: int, depth: int, heads: int) -> TokenEncoder:
    return TokenEncoder(Nodes(channels, dim, most), depth, heads, learned_place(Nodes.axes, dim))
