"""SPEN: permutation-equivariant linear layers on the neighbourhood of every node, instead of on the whole graph.

Mitton, Murray-Smith, "Subgraph Permutation Equivariant Networks", TMLR 2023, arXiv:2111.11840; the layers are those of Maron et al., "Invariant and
Equivariant Graph Networks", ICLR 2019, arXiv:1812.09902: all linear maps between numbers of nodes and of pairs of nodes that permutations commute with.

Departs from the paper: neighbourhoods contain their centre; what several of them say of a node or pair is summed, where the authors' code takes the mean, so
that it is known how many there were; batch normalisation stands for their normalisation over each graph, which leaves nothing of graphs whose nodes are all
alike. Sizes of neighbourhoods fall into classes that are fixed beforehand, as the network is built before it sees data. Weights are those of means over a
neighbourhood, not of sums, so that classes of several sizes can share them. `hops` 0 takes the whole graph once: an invariant graph network, the rival.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from manyviews.backbones.message_passing import Rows, edge_channels
from manyviews.contracts import Encoder, View
from manyviews.data.graph_batch import Graphs
from manyviews.errors import InputError
from manyviews.groups import Permutation, Symmetric, trivial

MODALITY = "graphs"
OPERATIONS = {(2, 2): 15, (2, 1): 5, (2, 0): 2, (1, 2): 5, (1, 1): 2, (1, 0): 1}  # (order of the input, of the output) -> dimension of the linear maps
SIZES = (1, 2, 3, 4, 5, 6, 8, 12, 20)  # upper bounds of classes of neighbourhoods; larger ones are one more class

# --- linear maps between orders: numbers of the whole (0), of nodes (1), of pairs (2) ---------------------------------------------------------


class PermutationLinear(nn.Module):
    """All linear maps of order `source` to order `target` that commute with permutations, one set of weights a class of sizes.

    Inputs are (batch, n, channels) or (batch, n, n, channels); the class is that of n. Biases are constant, and on the diagonal another one for pairs.
    """

    def __init__(self, source: int, target: int, channels: int, width: int, classes: int = 1):
        super().__init__()
        if (source, target) not in OPERATIONS:
            raise InputError(f"maps of order {source} to {target}: orders are 1 or 2 to 0, 1 or 2")
        self.source, self.target = source, target
        count = OPERATIONS[source, target]
        self.weight = nn.Parameter(torch.randn(classes, count, channels, width) * (count * channels) ** -0.5)
        self.bias = nn.Parameter(torch.zeros(classes, 2 if target == 2 else 1, width))

    def forward(self, x: Tensor, which: int = 0) -> Tensor:
        w, b = self.weight[which], self.bias[which]
        if self.target == 2:
            return self.to_pairs(x, w, b)
        parts = summaries(x) if self.source == 2 else (x, x.mean(1))
        if self.target == 0:
            return sum_of([p for p in parts if p.dim() == 2], w) + b[0]
        return sum_of([p if p.dim() == 3 else p[:, None] for p in parts], w) + b[0]

    def to_pairs(self, x: Tensor, w: Float[Tensor, "maps channels width"], b: Float[Tensor, "2 width"]) -> Float[Tensor, "batch n n width"]:
        """First what depends on the pair, then on either node, then on the whole, then what stands on the diagonal alone."""
        of_nodes, of_whole = ((x,), (x.mean(1),)) if self.source == 1 else (summaries(x)[:3], summaries(x)[3:])
        pairs = (x, x.transpose(1, 2)) if self.source == 2 else ()
        k, n, m = len(pairs), len(of_nodes), len(of_whole)
        first, second = sum_of(of_nodes, w[k : k + n]), sum_of(of_nodes, w[k + n : k + 2 * n])
        whole = sum_of(of_whole, w[k + 2 * n : k + 2 * n + m]) + b[0]
        diagonal = sum_of([*of_nodes, *(p[:, None] for p in of_whole)], w[k + 2 * n + m :]) + b[1]
        out = first[:, :, None] + second[:, None] + whole[:, None, None]
        if pairs:
            out = out + sum_of(pairs, w[:k])
        return out + torch.diag_embed(diagonal.movedim(1, 2)).movedim(1, 3)


def summaries(x: Float[Tensor, "batch n n channels"]) -> tuple[Tensor, ...]:
    """Of pairs the diagonal, the means over rows and over columns (batch, n, channels); the mean and the mean of the diagonal (batch, channels)."""
    diagonal = x.diagonal(dim1=1, dim2=2).movedim(2, 1)
    return diagonal, x.mean(2), x.mean(1), x.mean((1, 2)), diagonal.mean(1)


def sum_of(parts: Sequence[Tensor], weights: Float[Tensor, "maps channels width"]) -> Tensor:
    return sum((part @ w for part, w in zip(parts[1:], weights[1:], strict=True)), parts[0] @ weights[0])


@dataclasses.dataclass(frozen=True)
class Things:
    """Numbers of n things, of pairs of them, or of the whole, under permutations: (batch, *[n] * order, channels)."""

    n: int
    order: int
    channels: int

    @property
    def group(self) -> Symmetric:
        return Symmetric(self.n)

    def act(self, g: Permutation, x: Tensor) -> Tensor:
        for axis in range(1, self.order + 1):
            x = g.act(x, axis)
        return x

    def draw(self, count: int, generator: torch.Generator | None, dtype: torch.dtype) -> Tensor:
        return torch.randn(count, *[self.n] * self.order, self.channels, generator=generator, dtype=torch.float64).to(dtype)


# --- neighbourhoods ---------------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Neighbourhoods:
    """Those of a batch, one entry of each list a size."""

    rows: list[Tensor]  # (some,): which neighbourhoods have that size
    nodes: list[Tensor]  # (some, size): their nodes
    pairs: list[Tensor]  # (some, size, size): the columns of `ends` of all pairs of them
    ends: Int[Tensor, "2 pairs"]  # the two nodes of each pair, in order of first * nodes + second
    count: int

    @property
    def held(self) -> int:
        """Numbers that a channel of pairs takes: what memory grows with."""
        return sum(p.numel() for p in self.pairs)


def neighbourhoods(graphs: Graphs, hops: int) -> Neighbourhoods:
    """Of every node the nodes within so many hops and itself, edges taken in both directions; of 0 hops each graph as a whole, once."""
    n, device = len(graphs.x), graphs.x.device
    if hops:
        centre, node = within(graphs.edges, n, hops)
    else:
        centre, node = graphs.owner, torch.arange(n, device=device)
    count = n if hops else graphs.graphs
    sizes = torch.bincount(centre, minlength=count)
    starts = sizes.cumsum(0) - sizes
    rows = [(sizes == m).nonzero()[:, 0] for m in sizes.unique().tolist() if m]
    nodes = [node[starts[r][:, None] + torch.arange(int(sizes[r[0]]), device=device)] for r in rows]
    keys = [(a[:, :, None] * n + a[:, None]) for a in nodes]
    flat = torch.cat([k.flatten() for k in keys]) if keys else torch.zeros(0, dtype=torch.long, device=device)
    key, place = flat.unique(return_inverse=True)
    parts = place.split([k.numel() for k in keys]) if keys else ()
    pairs = [part.view(k.shape) for part, k in zip(parts, keys, strict=True)]
    return Neighbourhoods(rows, nodes, pairs, torch.stack([key // max(n, 1), key % max(n, 1)]), count)


def within(edges: Int[Tensor, "2 edges"], n: int, hops: int) -> tuple[Int[Tensor, "members"], Int[Tensor, "members"]]:
    """All (centre, node) with the node within so many hops of the centre, in order."""
    own = torch.arange(n, device=edges.device)
    one = torch.cat([own * n + own, edges[0] * n + edges[1], edges[1] * n + edges[0]]).unique()
    to, degree = one % max(n, 1), torch.bincount(one // max(n, 1), minlength=n)
    starts, reach = degree.cumsum(0) - degree, one
    for _ in range(hops - 1):
        centre, node = reach // n, reach % n
        many = degree[node]
        first = torch.repeat_interleave(starts[node] - (many.cumsum(0) - many), many)
        further = to[first + torch.arange(len(first), device=edges.device)]
        reach = (torch.repeat_interleave(centre, many) * n + further).unique()
    return reach // max(n, 1), reach % max(n, 1)


# --- the network ------------------------------------------------------------------------------------------------------------------------------


class SPENLayer(nn.Module):
    """Numbers of nodes and pairs to such numbers: in every neighbourhood by its class's maps, summed where neighbourhoods share a node or a pair."""

    def __init__(self, nodes: int, pairs: int, width: int, classes: int):
        super().__init__()
        self.maps = nn.ModuleDict()
        for source, channels in ((1, nodes), (2, pairs)):
            for target in (1, 2):
                if channels:
                    self.maps[f"{source}{target}"] = PermutationLinear(source, target, channels, width, classes)
        self.dim: int = width * (2 if nodes else 1)
        self.norms = nn.ModuleList([Rows(self.dim), Rows(self.dim)])
        self.residual = nodes == pairs == self.dim

    def forward(self, x: Tensor | None, t: Tensor, hoods: Neighbourhoods, which: Sequence[int], nodes: int) -> tuple[Tensor, Tensor]:
        """x: (nodes, channels) or None; t: (pairs, channels). which: the class of each size. nodes: how many there are."""
        sums: list[Any] = [None, None]
        for rows, pairs, k in zip(hoods.nodes, hoods.pairs, which, strict=True):
            inputs = {2: t[pairs]} | ({} if x is None else {1: x[rows]})
            for target, places, many in ((1, rows, nodes), (2, pairs, len(t))):
                found = torch.cat([self.maps[f"{source}{target}"](inputs[source], k) for source in sorted(inputs)], -1)
                total = found.new_zeros(many, self.dim) if sums[target - 1] is None else sums[target - 1]
                sums[target - 1] = total.index_add(0, places.flatten(), found.flatten(0, -2))
        new = [F.relu(norm(s)) for norm, s in zip(self.norms, sums, strict=True)]
        return (new[0] + x, new[1] + t) if self.residual and x is not None else (new[0], new[1])


class SPEN(Encoder):
    """Layers on neighbourhoods of `hops`, each `width` wide for maps from nodes and from pairs, and the mean over neighbourhoods of an invariant of each.

    Of graphs whose nodes are the samples, a sample is the invariant of its own neighbourhood. sizes: upper bounds of the classes that share weights; none:
    one class. Numbers of edges (`edges` of them) stand on their pairs, those of nodes on the diagonal.
    """

    def __init__(self, channels: int, width: int = 64, depth: int = 5, hops: int = 1, sizes: Sequence[int] = SIZES, edges: int = 0):
        super().__init__()
        if hops < 0 or depth < 1:
            raise InputError(f"hops={hops}, depth={depth}: expected 0 (the whole graph) or more hops, and 1 layer or more")
        self.hops, self.channels, self.edges = hops, channels, edges
        self.register_buffer("bounds", torch.tensor([*sizes], dtype=torch.long), persistent=False)
        self.bounds: Tensor
        classes = len(sizes) + 1
        first = SPENLayer(0, channels + 1 + edges, width, classes)
        second = [SPENLayer(first.dim, first.dim, width, classes)] if depth > 1 else []
        self.layers = nn.ModuleList([first, *second, *(SPENLayer(2 * width, 2 * width, width, classes) for _ in range(depth - 2))])
        last = 2 * width if depth > 1 else width
        self.readouts = nn.ModuleList([PermutationLinear(order, 0, last, width, classes) for order in (1, 2)])
        self.dim = 2 * width

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        graphs: Graphs = view.x
        found = self.of_neighbourhoods(graphs)
        if graphs.roots is not None:
            if not self.hops:
                raise InputError("with hops=0 there is one neighbourhood a graph, and the samples are nodes; take hops=1 or more")
            return found[graphs.roots]
        if not self.hops:
            return found
        total = found.new_zeros(graphs.graphs, self.dim, dtype=found.dtype).index_add(0, graphs.owner, found)
        return total / graphs.sizes.clamp(min=1)[:, None].to(found.dtype)

    def of_neighbourhoods(self, graphs: Graphs) -> Float[Tensor, "neighbourhoods dim"]:
        """An invariant of each neighbourhood, in the order of their centres (of the graphs, with hops=0)."""
        hoods = neighbourhoods(graphs, self.hops)
        which = torch.bucketize(torch.tensor([a.shape[1] for a in hoods.nodes], device=self.bounds.device, dtype=torch.long), self.bounds).tolist()
        x, t = None, self.first(graphs, hoods)
        for layer in self.layers:
            x, t = layer(x, t, hoods, which, len(graphs.x))
        assert x is not None
        out = x.new_zeros(hoods.count, self.dim)
        for rows, nodes, pairs, k in zip(hoods.rows, hoods.nodes, hoods.pairs, which, strict=True):
            said = torch.cat([self.readouts[0](x[nodes], k), self.readouts[1](t[pairs], k)], -1)
            out = out.index_copy(0, rows, F.elu(said).to(out.dtype))
        return out

    def first(self, graphs: Graphs, hoods: Neighbourhoods) -> Float[Tensor, "pairs channels"]:
        """What is known of pairs: whether there is an edge (its weight, its numbers), and on the diagonal what is known of the node."""
        if graphs.x.shape[1] != self.channels:
            raise InputError(
                f"these nodes have {graphs.x.shape[1]} numbers each, and the network was built for {self.channels}; build it with channels={graphs.x.shape[1]}"
            )
        a, b = hoods.ends
        n = max(len(graphs.x), 1)
        extra = 1 + self.edges
        if self.edges and (graphs.edge_x is None or graphs.edge_x.shape[1] != self.edges):
            raise InputError(
                f"these edges have {0 if graphs.edge_x is None else graphs.edge_x.shape[1]} numbers each, and the network was built for {self.edges}"
            )
        known = graphs.x.new_ones(graphs.edges.shape[1], 1) if graphs.weight is None or self.edges else graphs.weight[:, None]
        numbers = torch.cat([known, graphs.edge_x], 1) if self.edges and graphs.edge_x is not None else known
        place = torch.searchsorted(a * n + b, graphs.edges[0] * n + graphs.edges[1])
        of_edges = graphs.x.new_zeros(len(a), extra).index_add(0, place, numbers.to(graphs.x.dtype))
        return torch.cat([torch.where((a == b)[:, None], graphs.x[a], 0.0), of_edges], 1)


def spen(channels: int = 1, size: int = 32, form: Mapping[str, Any] | None = None) -> Encoder:
    """SPEN on neighbourhoods of one hop: 5 layers, 64 wide."""
    return SPEN(channels, 64, 5, edges=edge_channels(form))


def spen_two(channels: int = 1, size: int = 32, form: Mapping[str, Any] | None = None) -> Encoder:
    """SPEN on neighbourhoods of two hops: 5 layers, 64 wide."""
    return SPEN(channels, 64, 5, 2, edges=edge_channels(form))


def spen_micro(channels: int = 1, size: int = 32, form: Mapping[str, Any] | None = None) -> Encoder:
    """SPEN on neighbourhoods of one hop: 3 layers, 16 wide, for a CPU in minutes."""
    return SPEN(channels, 16, 3, edges=edge_channels(form))


def spen_two_micro(channels: int = 1, size: int = 32, form: Mapping[str, Any] | None = None) -> Encoder:
    """SPEN on neighbourhoods of two hops: 3 layers, 16 wide, for a CPU in minutes."""
    return SPEN(channels, 16, 3, 2, edges=edge_channels(form))


def spen_whole_micro(channels: int = 1, size: int = 32, form: Mapping[str, Any] | None = None) -> Encoder:
    """An invariant graph network (IGN, arXiv:1812.09902): the same layers on whole graphs, 3 of them, 16 wide, all sizes sharing their weights."""
    return SPEN(channels, 16, 3, 0, (), edge_channels(form))


class Spaced(PermutationLinear):
    """A map with the spaces that it goes between, for n things."""

    def __init__(self, source: int, target: int, n: int):
        super().__init__(source, target, 2, 3)
        self.in_rep, self.out_rep = Things(n, source, 2), Things(n, target, 3) if target else trivial(Symmetric(n), 3)
        nn.init.normal_(self.bias)


def layers() -> dict[str, nn.Module]:
    """Every kind of map; a test of the networks stands beside."""
    return {f"{source} to {target}": Spaced(source, target, 5) for source, target in OPERATIONS}
