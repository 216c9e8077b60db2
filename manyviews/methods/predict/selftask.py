"""SelfTask: let a graph network that learns a few nodes' classes also predict facts about all nodes, up to what labels there are around each.

Jin et al., "Self-supervised Learning on Graphs: Deep Insights and New Direction", arXiv:2006.10141.
Departs from the paper: the classes are a linear layer above the encoder, where theirs are its second graph convolution itself. Adam's decay is decoupled. As in
the authors' code, errors are means over all that is predicted, distances enter as 1 / distance, degrees are three classes (up to 2, up to 7, more), and labels
are corrected in every step. Hidden edges (both directions together, where their code draws each) and hidden nodes are drawn anew each step; the network sees
the features themselves, where theirs sees principal components. Parts of the graph are grown and refined by `nn.hops.partition`, where they call METIS, and a
part's centre is its node, where their code mistakes its number inside the part for that in the graph. A neighbour that is also a neighbour's neighbour counts
once around a node; all unlabelled nodes' labels are corrected, not some thousand. Similar pairs are the most and least similar ones, without their random ones.
A node that no label reaches has no pseudo-label, where theirs has the first class's.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.nn import hops
from manyviews.nn.propagation import guessed, label_shares, likest_class, near_labels

LABELS = ("distance2labeled", "context_label", "ensemble_label", "corrected_label")  # tasks that need labels
TASKS = ("node_property", "edge_mask", "attribute_mask", "pairwise_distance", "distance2clusters", "pairwise_attr_sim", *LABELS)
DEGREES = (2, 7)  # the highest degree of the first class and of the second
CLASSES = 4  # of distance: 1, 2, 3, and more
KEPT = 16  # nodes of each class of distance that a node is paired with, of which each step draws
AROUND = 1000  # nodes whose labels are counted around one, at most


@dataclasses.dataclass
class Seen:
    """One step's graph: what is hidden, and every node's features."""

    graphs: Any
    unlabelled: Bool[Tensor, "nodes"]
    facts: dict[str, Tensor]
    edges: Any = None  # (2, pairs) that were hidden
    nodes: Any = None  # (nodes,) whether their features were
    h: Any = None  # (nodes, width) of the layer that tasks are predicted from
    t: Any = None  # the same after dropout
    last: Any = None  # (nodes, dim) of the last one, after dropout


class SelfTask(Method):
    """Cross-entropy of labelled nodes plus `weight` times each task's error, over the whole graph in every step, whichever nodes make the batch.

    task: node_property, edge_mask, attribute_mask, pairwise_distance, distance2clusters, pairwise_attr_sim, distance2labeled, context_label,
    ensemble_label, corrected_label, several of them joined by +, or none.
    weight: of every task (lambda in the paper, which takes 10 for corrected_label, 5 to 100 for others on Cora). supervised: weight of the
    cross-entropy; 0: the tasks alone, as the first of two stages. alpha: weight of the corrected labels beside the uncorrected ones.
    guess: where labels of unlabelled nodes come from: ica (iterative classification), lp (label propagation), or both together, as ensemble_label always does.
    above: layers of the encoder that serve the classes alone: tasks are predicted from below them; 0 without classes.
    radius: hops within which labels are counted around a node. dropout: of the encoder's features, 0..1. mask_ratio: share of the edges, or of the
    unlabelled nodes, that is hidden. components: principal components of the features that attribute_mask restores. clusters: parts whose centres
    distance2clusters measures from. pairs: node pairs of each distance that a step compares. similar: most and least similar nodes that each node is
    paired with. similar_pairs: of these, how many a step compares. candidates: nodes of each class that prototypes are chosen from.
    prototypes: how many a class has.
    """

    recipe = Recipe(views="plain", optimizer="adamw", lr=1e-3, weight_decay=5e-4, warmup=0.0, schedule="constant")  # 0.01 for the 2,708 nodes of Cora

    def __init__(
        self,
        encoder: Encoder,
        classes: int = 0,
        task: str = "corrected_label",
        weight: float = 10.0,
        supervised: float = 1.0,
        alpha: float = 1.0,
        guess: Literal["ica", "lp", "both"] = "ica",
        above: int = 1,
        radius: int = 2,
        dropout: float = 0.5,
        mask_ratio: float = 0.1,
        components: int = 256,
        clusters: int = 10,
        pairs: int = 4000,
        similar: int = 3,
        similar_pairs: int = 5000,
        candidates: int = 320,
        prototypes: int = 8,
    ):
        super().__init__()
        self.tasks = [] if task == "none" else task.split("+")
        self.labels = bool(supervised) or any(name in LABELS for name in self.tasks)
        problems = [f"--set task={task}: there is no {name!r}; there are none, {', '.join(TASKS)}" for name in self.tasks if name not in TASKS]
        if not hasattr(encoder, "levels"):
            problems.append(
                "selftask predicts facts about the nodes of a graph from their features, and this encoder has none; take one that passes messages, e.g. "
                "--encoder gcn_micro, and data whose samples are nodes, e.g. graph:cora"
            )
        elif not 0 <= above < len(encoder.widths):
            problems.append(f"--set above={above}: this encoder has {len(encoder.widths)} layers; 0 to {len(encoder.widths) - 1} can lie above the tasks")
        if len(set(self.tasks)) < len(self.tasks):
            problems.append(f"--set task={task}: a task is named twice")
        if self.labels and classes < 2:
            problems.append(f"selftask learns classes of nodes, and this data has {classes}; without labels take --set supervised=0 task=pairwise_distance")
        if not supervised and not self.tasks:
            problems.append("--set supervised=0 task=none: nothing is left to learn")
        if guess not in ("ica", "lp", "both"):
            problems.append(f"--set guess={guess}: there are ica, lp and both")
        if not 0 <= dropout < 1 or not 0 < mask_ratio < 1:
            problems.append(f"--set dropout={dropout} mask_ratio={mask_ratio}: shares must lie between 0 and 1")
        if min(radius, components, clusters, pairs, similar, similar_pairs, candidates, prototypes) < 1:
            problems.append("radius, components, clusters, pairs, similar, similar_pairs, candidates and prototypes are at least 1")
        if problems:
            raise InputError(*problems)
        self.encoder, self.classes, self.guess, self.radius = encoder, classes, guess, radius
        self.weight, self.supervised, self.alpha, self.above = weight, supervised, alpha, above if supervised else 0
        self.dropout, self.mask_ratio, self.components, self.clusters = dropout, mask_ratio, components, clusters
        self.pairs, self.similar, self.similar_pairs, self.candidates, self.prototypes = pairs, similar, similar_pairs, candidates, prototypes
        self.classifier = nn.Linear(encoder.dim, classes) if supervised else None
        widths = {"node_property": len(DEGREES) + 1, "edge_mask": 2, "attribute_mask": components, "pairwise_distance": CLASSES, "pairwise_attr_sim": 1}
        widths |= {"distance2clusters": clusters, "distance2labeled": 3 * classes}
        self.heads = nn.ModuleDict({name: nn.Linear(encoder.widths[-1 - self.above], widths.get(name, classes)) for name in self.tasks})
        self.known: tuple[tuple, dict[str, Tensor]] = ((), {})  # what was seen of which graph

    # --- the step ---------------------------------------------------------------------------------------------------------------------------

    def loss(self, v: View) -> Terms:
        label = self.check(v)
        seen = self.look(v.x, label)
        terms: Terms = {}
        if self.classifier is not None:
            logits = self.classifier(seen.last)[label >= 0]
            terms["classification"] = self.supervised * F.cross_entropy(logits, label[label >= 0])
            terms["accuracy"] = (logits.detach().argmax(1) == label[label >= 0]).float().mean()
        return terms | {name: self.weight * getattr(self, name)(seen) for name in self.tasks}  # L_task + lambda * L_self

    def predict(self, v: View) -> Float[Tensor, "batch classes"]:
        """Logits of the samples' classes. Raises InputError where none were learned."""
        if self.classifier is None:
            raise InputError("selftask with supervised=0 has learned no classes")
        return self.classifier(self.encoder(v)).float()

    def check(self, v: View) -> Int[Tensor, "nodes"]:
        """The label of every node, -1 where it is not known. Raises InputError unless the view is one whole graph, as it is, with labels if they are needed."""
        x = v.x
        if getattr(x, "roots", None) is None or len(x.x) < 2:
            raise InputError("selftask learns from one graph whose nodes, two or more, are the samples, e.g. graph:cora; here each sample is something else")
        if getattr(v.g, "parameters", None):
            raise InputError("selftask hides edges and features itself, and asks about the graph as it is; take --views plain")
        if not torch.equal(x.number, torch.arange(len(x.number), device=x.number.device)) or len(x.number) <= int(v.index.max()):
            raise InputError("selftask needs the whole graph in every batch, and these hold parts of it; add ?hops=0 to the data's path")
        label = x.columns.get("label", torch.full_like(x.number, -1))
        if self.labels and not bool((label >= 0).any()):
            raise InputError("selftask needs labels of some nodes, and a split that says which nodes are for training; this graph has none of these")
        return label

    def look(self, graphs: Any, label: Int[Tensor, "nodes"]) -> Seen:
        """Hides what tasks ask for, and embeds every node."""
        mark = (self.counter.seed, *fingerprint(graphs, label))
        if self.known[0] != mark:
            self.known = (mark, {name: torch.as_tensor(fact).to(graphs.x.device) for name, fact in self.facts(graphs, label).items()})
        seen, shown = Seen(graphs, label < 0, self.known[1]), graphs
        if "edge_mask" in self.tasks:
            key = graphs.edges.amin(0) * len(graphs.x) + graphs.edges.amax(0)  # of both directions
            u = self.counter.uniform("edges", key)
            hidden = u <= max(self.mask_ratio, float(u.min())) if len(u) else u > 0
            pairs = key[hidden].unique()
            seen.edges, shown = torch.stack([pairs // len(graphs.x), pairs % len(graphs.x)]), shown.with_edges(~hidden)
        if "attribute_mask" in self.tasks:
            u = self.counter.uniform("nodes", graphs.number) + ~seen.unlabelled
            seen.nodes = seen.unlabelled & (u <= max(self.mask_ratio, float(u.min())))
            shown = dataclasses.replace(shown, x=graphs.x * ~seen.nodes[:, None])
        levels = self.encoder.levels(shown)  # type: ignore[operator]
        seen.h = levels[-1 - self.above].float()
        last = torch.cat(levels, 1) if getattr(self.encoder, "every", False) else levels[-1]
        seen.t, seen.last = self.dropped("below", seen.h), self.dropped("last", last.float())
        return seen

    def dropped(self, name: str, h: Float[Tensor, "nodes width"]) -> Float[Tensor, "nodes width"]:
        """Dropout that is the same on all processes."""
        kept = self.counter.uniform(name, torch.arange(len(h), device=h.device), h.shape[1]) >= self.dropout
        return h * kept / (1 - self.dropout)

    # --- tasks of the structure ---------------------------------------------------------------------------------------------------------------

    def node_property(self, seen: Seen) -> Float[Tensor, ""]:
        """Is a node's degree low, medium or high?"""
        degree = torch.bincount(seen.graphs.edges[1], minlength=len(seen.t))
        return F.cross_entropy(self.heads["node_property"](seen.t), torch.bucketize(degree, degree.new_tensor(DEGREES)))

    def edge_mask(self, seen: Seen) -> Float[Tensor, ""]:
        """Which pairs were joined by a hidden edge, and which are not joined?"""
        nodes, count = len(seen.t), seen.edges.shape[1]
        drawn = (self.counter.uniform("no edge", torch.arange(4 * count, device=seen.t.device), 2) * nodes).long().T
        joined = torch.isin(drawn[0] * nodes + drawn[1], torch.cat([e[0] * nodes + e[1] for e in (seen.graphs.edges, seen.graphs.edges.flip(0))]))
        apart = drawn[:, ~joined & (drawn[0] != drawn[1])][:, :count]
        answer = torch.cat([torch.ones_like(seen.edges[0]), torch.zeros_like(apart[0])])
        return mean(F.cross_entropy(self.compare("edge_mask", seen, *torch.cat([seen.edges, apart], 1)), answer, reduction="none"), answer >= 0)

    def pairwise_distance(self, seen: Seen) -> Float[Tensor, ""]:
        """Are two nodes 1, 2, 3 or more hops apart? Of each distance equally many pairs, all pairs being equally likely."""
        reach, members = seen.facts["reach"], seen.facts["members"]  # (classes, nodes): shares up to each node; (classes, nodes, KEPT)
        rows = torch.arange(self.pairs, device=seen.t.device)
        drawn = []
        for k in torch.nonzero(reach[:, -1])[:, 0].tolist():  # the distances that there are
            u = self.counter.uniform(f"distance {k}", rows, 2)
            node = torch.searchsorted(reach[k], u[:, 0].double(), right=True)
            drawn.append(torch.stack([node, members[k, node, (u[:, 1] * KEPT).long()], torch.full_like(node, k)]))
        first, second, answer = torch.cat(drawn, 1)
        return F.cross_entropy(self.compare("pairwise_distance", seen, first, second), answer)

    def distance2clusters(self, seen: Seen) -> Float[Tensor, ""]:
        """How near is the centre of each part of the graph?"""
        return F.mse_loss(self.heads["distance2clusters"](seen.t)[:, : seen.facts["near_centres"].shape[1]], seen.facts["near_centres"])

    # --- tasks of the features ----------------------------------------------------------------------------------------------------------------

    def attribute_mask(self, seen: Seen) -> Float[Tensor, ""]:
        """What are the principal components of the hidden features?"""
        wanted = seen.facts["components"]
        return mean((self.heads["attribute_mask"](seen.t)[:, : wanted.shape[1]] - wanted).square().mean(1), seen.nodes)

    def pairwise_attr_sim(self, seen: Seen) -> Float[Tensor, ""]:
        """How similar are the features of two nodes, which are among the most or the least similar ones?"""
        (first, second), cosine = seen.facts["similar"], seen.facts["similarity"]
        some = self.counter.bits("similar", torch.arange(len(first), device=first.device)).argsort()[: self.similar_pairs]
        guessed = self.compare("pairwise_attr_sim", seen, first[some], second[some])[:, 0]
        return F.mse_loss(guessed, cosine[some])

    def compare(self, name: str, seen: Seen, first: Int[Tensor, "pairs"], second: Int[Tensor, "pairs"]) -> Float[Tensor, "pairs answers"]:
        """A task's answer about pairs of nodes: f_w(|f(v_i) - f(v_j)|)."""
        return self.heads[name]((seen.t[first] - seen.t[second]).abs())

    # --- tasks that know labels ---------------------------------------------------------------------------------------------------------------

    def distance2labeled(self, seen: Seen) -> Float[Tensor, ""]:
        """How near are the labelled nodes of each class, on average, the nearest and the farthest?"""
        return mean((self.heads["distance2labeled"](seen.t) - seen.facts["near_labels"]).square().mean(1), seen.unlabelled)

    def context_label(self, seen: Seen) -> Float[Tensor, ""]:
        """How are labels distributed around a node, as far as they are known or guessed?"""
        return self.context("context_label", seen, seen.facts[f"guess_{self.guess}"])

    def ensemble_label(self, seen: Seen) -> Float[Tensor, ""]:
        """The same, of the labels that both ways of guessing find the likeliest together."""
        return self.context("ensemble_label", seen, seen.facts["guess_both"])

    def corrected_label(self, seen: Seen) -> Float[Tensor, ""]:
        """The same, of labels as they were guessed and of those that the features now correct."""
        guess = seen.facts[f"guess_{self.guess}"]
        lot = self.counter.uniform("candidates", seen.graphs.number)
        corrected = torch.where(seen.unlabelled, likest_class(seen.h.detach(), guess, self.classes, self.candidates, self.prototypes, lot), guess)
        return self.context("corrected_label", seen, guess) + self.alpha * self.context("corrected_label", seen, corrected)

    def context(self, name: str, seen: Seen, label: Int[Tensor, "nodes"]) -> Float[Tensor, ""]:
        """The squared error of the shares of labels around unlabelled nodes."""
        wanted, there = label_shares(seen.facts["around"][0], seen.facts["around"][1], label, self.classes)
        return mean((self.heads[name](seen.t).softmax(1) - wanted).square().mean(1), there & seen.unlabelled)

    # --- what is asked, found once ------------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def facts(self, graphs: Any, label: Int[Tensor, "nodes"]) -> dict[str, np.ndarray | Tensor]:
        """Everything the tasks ask that does not change, by the graph as it is and the seed."""
        nodes, x, known = len(graphs.x), graphs.x.cpu().numpy(), label.cpu().numpy()
        a, counter = hops.adjacency(graphs.edges.cpu().numpy(), nodes), Counter(self.counter.seed, 0)
        found: dict[str, np.ndarray | Tensor] = {}
        if "pairwise_distance" in self.tasks:
            count, found["members"] = hops.rings(a, CLASSES, KEPT, counter)
            found["reach"] = count.cumsum(1) / count.sum(1, keepdims=True).clip(min=1)
        if "distance2clusters" in self.tasks:
            found["near_centres"] = hops.closeness(a, hops.centres(a, hops.partition(a, min(self.clusters, nodes)))).T.copy()
        if "attribute_mask" in self.tasks:
            from sklearn.decomposition import PCA

            found["components"] = PCA(min(self.components, *x.shape), random_state=0).fit_transform(x.astype(np.float64)).astype(np.float32)
        if "pairwise_attr_sim" in self.tasks:
            found["similar"], found["similarity"] = hops.similar_pairs(graphs.x.float(), self.similar, counter)
        if "distance2labeled" in self.tasks:
            found["near_labels"] = near_labels(a, known, self.classes)
        contexts = {"both" if name == "ensemble_label" else self.guess for name in self.tasks if name in LABELS[1:]}
        if contexts:
            found["around"] = np.stack(hops.surroundings(a, self.radius, AROUND, counter))
        return found | {f"guess_{kind}": guessed(kind, a, x, known, self.classes) for kind in sorted(contexts)}


def fingerprint(graphs: Any, label: Int[Tensor, "nodes"]) -> tuple:
    """Numbers that change with the edges, the features or the labels."""
    nodes = len(graphs.x)
    marks = [
        Counter(0, 0).bits(name, key).sum() for name, key in (("edges", graphs.edges[0] * nodes + graphs.edges[1]), ("labels", graphs.number + nodes * label))
    ]
    return (*graphs.x.shape, *torch.stack(marks).tolist(), float(graphs.x.sum(dtype=torch.float64)))


def mean(values: Float[Tensor, "rows"], counted: Bool[Tensor, "rows"]) -> Float[Tensor, ""]:
    """Over those that count; 0 where none does."""
    return (values * counted).sum() / counted.sum().clamp(min=1)
