"""Views of graphs: nodes and edges dropped or added, features hidden, a part cut out.

    policy = graphcl(size)
    views = policy(samples, Counter(seed=0, step=0))       # samples.x: `Graphs` of manyviews.data.graph_batch
    views["v"].x, views["v"].g.parameters                  # a `Graphs`, and by name the share of each graph's nodes or edges that a change touched

Every number is drawn for a sample, a node or an edge by what it is: by the sample's index and the node's number in it, or, where the samples are nodes of one
graph, by the node's number alone. So a view of a graph does not depend on the other graphs of its batch, and the two directions of an edge go together. Of
one graph whose nodes are the samples, the whole graph is changed, once, and all samples see it so; the nodes that are samples are never dropped.
A view of a graph keeps a node at least. What is dropped is gone, so there is no inverse; `renumbered` alone draws from a group. `size` decides nothing.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.data.graph_batch import Graphs
from manyviews.errors import InputError
from manyviews.views.graph_changes import (
    CHANGES,
    Change,
    Draw,
    DropEdges,
    DropNodes,
    MaskFeatures,
    MaskNodes,
    OneOf,
    PerturbEdges,
    Subgraph,
    mean_of,
    share_touched,
)
from manyviews.views.policy import Changed, Policy

DEGREES = 16  # of `raw`


@dataclasses.dataclass(frozen=True)
class Permutation:
    """The nodes of each graph in another order: row k of the view is row `order[k]` of the sample. A group, over one batch."""

    order: Int[Tensor, "nodes"]

    @property
    def parameters(self) -> dict[str, Tensor]:
        return {"order": self.order}

    def __matmul__(self, first: Permutation) -> Permutation:
        return Permutation(first.order[self.order])

    def inverse(self) -> Permutation:
        return Permutation(self.order.argsort())

    def act(self, graphs: Graphs) -> Graphs:
        """The same graphs, with another numbering of their rows; an order that mixes graphs is none of this group."""
        place = self.inverse().order
        return dataclasses.replace(
            graphs, x=graphs.x[self.order], edges=place[graphs.edges], owner=graphs.owner[self.order], number=graphs.number[self.order],
            roots=None if graphs.roots is None else place[graphs.roots], columns={name: column[self.order] for name, column in graphs.columns.items()},
        )  # fmt: skip

    def to(self, device: torch.device | str, **options: Any) -> Permutation:
        return Permutation(self.order.to(device, **options))


@dataclasses.dataclass(frozen=True)
class Renumbered:
    """A view with the nodes of each graph in random order, and nothing else."""

    @property
    def pixels(self) -> int:
        return 0

    def apply(self, samples: View, counter: Counter, roles: list[str]) -> list[View]:
        views = []
        for role in roles:
            graphs: Graphs = samples.x
            u = Draw(counter, role, samples.index if graphs.roots is None else torch.zeros_like(samples.index[:1]), graphs).of_nodes("order")
            order = u.argsort(stable=True)
            g = Permutation(order[graphs.owner[order].argsort(stable=True)])
            views.append(View(g.act(graphs), samples.index, g, samples.given))
        return views


@dataclasses.dataclass(frozen=True)
class GraphView:
    """One view: the changes that make it, in this order."""

    changes: tuple[Change, ...] = ()

    @property
    def pixels(self) -> int:
        """Graphs are read in full."""
        return 0

    def apply(self, samples: View, counter: Counter, roles: list[str]) -> list[View]:
        return [self.view(samples, counter, role) for role in roles]

    def view(self, samples: View, counter: Counter, role: str) -> View:
        """The view of that name. Raises InputError for what is no batch of graphs."""
        graphs, touched = samples.x, {}
        if not isinstance(graphs, Graphs):
            raise InputError(f"views of graphs need a batch of graphs, and this is {type(graphs).__name__}; open them as data (manyviews.data.graphs)")
        for k, change in enumerate(self.changes):
            draw = Draw(counter, f"{role}/{k}", samples.index if graphs.roots is None else torch.zeros_like(samples.index[:1]), graphs)
            options = change.changes if isinstance(change, OneOf) else (change,)
            pick = (draw.of_graphs("which") * len(options)).long() if isinstance(change, OneOf) else torch.zeros_like(draw.index)
            for n, option in enumerate(options):
                on = pick == n
                before = graphs
                graphs = CHANGES[type(option)](option, draw.within(f"{n}", graphs), on)
                touched[f"{k}/{type(option).__name__}"] = share_touched(option, before, graphs) * on
        return View(graphs, samples.index, Changed(touched), samples.given)


# --- policies ---------------------------------------------------------------------------------------------------------------------------------


def plain(size: int) -> Policy:
    """Graphs as they are."""
    return Policy({"v": GraphView()})


def weak(size: int) -> GraphView:
    """One edge in ten gone, and one feature in ten."""
    return GraphView((DropEdges(0.1), MaskFeatures(0.1)))


def strong(size: int) -> GraphView:
    """A fifth of the nodes gone, cut off, or of the edges moved, whichever is drawn; and a fifth of the features hidden."""
    return GraphView((OneOf((DropNodes(0.2), Subgraph(0.8), PerturbEdges(0.2))), MaskFeatures(0.2)))


def local(size: int) -> GraphView:
    """A third of a graph that hangs together, with a fifth of the features hidden."""
    return GraphView((Subgraph(0.35), MaskFeatures(0.2)))


def graphcl(size: int) -> Policy:
    """Each view by one of four changes, of a fifth: You et al., "Graph Contrastive Learning with Augmentations", NeurIPS 2020, arXiv:2010.13902."""
    own = GraphView((OneOf((DropNodes(0.2), PerturbEdges(0.2), MaskNodes(0.2), Subgraph(0.8))),))
    return Policy({"v": own, "w": own})


def grace(size: int) -> Policy:
    """Edges dropped and features hidden, more of them in the second view: Zhu et al., "Deep Graph Contrastive Representation Learning", 2020,
    arXiv:2006.04131, with the authors' shares for Cora.
    """
    return Policy({"v": GraphView((DropEdges(0.2), MaskFeatures(0.3))), "w": GraphView((DropEdges(0.4), MaskFeatures(0.4)))})


def renumbered(size: int) -> Policy:
    """A graph as it is, and with its nodes in another order: what no encoder of graphs should see a difference between."""
    return Policy({"v": GraphView(), "w": Renumbered()})


def raw(view: View) -> Float[Tensor, "batch numbers"]:
    """What stands for the input itself: of a node its own features; of a graph their mean, the shares of nodes with 0, 1, ... edges, and log(1 + nodes)."""
    graphs: Graphs = view.x
    if graphs.roots is not None:
        return graphs.x[graphs.roots]
    degree = graphs.degree.clamp(max=DEGREES - 1)
    counts = torch.bincount(graphs.owner * DEGREES + degree, minlength=graphs.graphs * DEGREES).view(graphs.graphs, DEGREES)
    sizes = graphs.sizes[:, None]
    return torch.cat([mean_of(graphs), counts / sizes.clamp(min=1), torch.log1p(sizes.float())], 1)
