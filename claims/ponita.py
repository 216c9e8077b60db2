"""PONITA: do orientations predict charged particles better than distances alone, and than EGNN, at equal parameters?

Bekkers et al., "Fast, Expressive SE(n) Equivariant Networks through Weight-Sharing in Position-Orientation Space", ICLR 2024, arXiv:2310.02970: n-body, 3,000
training systems, mean squared error PONITA 0.0043, SEGNN 0.0043, CEGNN 0.0063, EGNN 0.0071; over R^3 x S^2 better than over R^3, over SE(3) slower and
no better (figures not checked against the paper).
Here the same simulation (`manyviews.data.nbody`) and numbers of systems, 4 layers of about 44,000 parameters in all, 12 orientations (and 12 rotations) instead
of 16, 200 steps of 100 systems instead of 10,000 epochs, and no LayerScale, which at 1e-6 would leave the layers asleep for most of them. All networks give
how far each particle goes. Over R^3 there are no vectors: there the network's scalars weigh the velocity and the ways to the others. As in the authors' code
networks with orientations are trained on turned systems. "raw input" is straight motion for as much time as fits the training systems best. `error` is
the mean squared error of each turned test system, `turned` how much more a prediction changes when the system is turned than it should, relative to how far
particles go.
"""

import functools
from functools import partial

import numpy as np
import torch
from torch import nn

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.contracts import Recipe, Trainable
from manyviews.counters import Counter
from manyviews.data.nbody import as_they_are, nbody, taken_apart
from manyviews.groups import so3
from manyviews.nn.egnn import EGNN
from manyviews.symmetry.ponita import Ponita
from manyviews.train.fit import fit

PAIRS = 8  # numbers of either particle whose products weigh the ways between them, over R^3
SHARED = {"depth": 4, "layer_scale": 0.0}
MATCHED = {"egnn": 1000, "positions": 1200}  # steps that take as long as those over R^3 x S^2
simulated = functools.cache(partial(nbody, train=3000, test=2000))


def systems(data, part):
    """The simulated systems, whatever the source was."""
    made = simulated()
    return made.select(made.columns["split"] == part)


class Oriented(nn.Module):
    """Charges and velocities in, one vector out."""

    def __init__(self, **options):
        super().__init__()
        self.network = Ponita(1, 1, 0, 1, orientations=12, **SHARED, **options)

    def forward(self, x, v, c):
        return x + self.network(x, c, v[:, :, None])[1][:, :, 0]


class Distances(nn.Module):
    """Charges and speeds in; scalars that weigh the velocity and the ways to the other particles out."""

    def __init__(self, **options):
        super().__init__()
        self.network = Ponita(2, 0, 1 + 2 * PAIRS, space="positions", **SHARED, **options)

    def forward(self, x, v, c):
        along, one, other = self.network(x, torch.cat([c, v.norm(dim=-1, keepdim=True)], -1)).split([1, PAIRS, PAIRS], -1)
        weights = one @ other.mT / PAIRS
        return x + along * v + (weights[..., None] * (x[:, None] - x[:, :, None])).mean(2)


class OfEGNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = EGNN(1, 37, 4, edge_channels=2)

    def forward(self, x, v, c):
        edges = torch.stack([c * c.mT, (x[:, :, None] - x[:, None]).square().sum(-1)], -1)
        return self.network(v.norm(dim=-1, keepdim=True), x, v, edges)[1]


class Straight(nn.Module):
    """x + t v."""

    def __init__(self):
        super().__init__()
        self.time = 1.0

    def forward(self, x, v, c):
        return x + self.time * v


NETWORKS = {
    "sphere": partial(Oriented, width=32, basis=32),
    "motions": partial(Oriented, width=32, basis=32, space="motions"),
    "positions": partial(Distances, width=34, basis=34),
    "egnn": OfEGNN,
    "straight": Straight,
}


class Predicting(Trainable):
    """Where particles will be, by `network`, after training by squared error; `augmented`: on systems turned at random."""

    recipe = Recipe(views="plain", optimizer="adamw", weight_decay=0.0, warmup=0.1, schedule="cosine")

    def __init__(self, network, augmented=False):
        super().__init__()
        self.network, self.augmented = network, augmented

    def predicted(self, x):
        positions, velocities, charges = taken_apart(x)
        return self.network(positions, velocities, charges[..., None])

    def loss(self, v):
        x, later = v.x, v.given["later"]
        if self.augmented:
            g = so3.sample(v.index, self.counter)
            x, later = turned(g, x), g.act(later)
        return {"error": (self.predicted(x) - later).square().mean()}


def turned(g, x):
    return torch.cat([g.act(x[..., :3]), g.act(x[..., 3:6]), x[..., 6:]], -1)


def run(bench, kind, train=True):
    torch.manual_seed(bench.seed)
    method = Predicting(NETWORKS[kind](), augmented=kind in ("sphere", "motions"))
    if kind == "straight":
        x, v, _ = taken_apart(torch.from_numpy(np.stack([bench.train[i] for i in range(len(bench.train))])))
        method.network.time = float(((torch.from_numpy(bench.train.columns["later"]) - x) * v).sum() / v.square().sum())
    elif train:
        words, began = bench.words, bench.clock()
        for _ in fit(
            method.to(bench.device), bench.pretraining, as_they_are, steps=words["steps"], batch=words["batch"], recipe=method.recipe, lr=words["lr"],
            seed=bench.seed, fabric=bench.fabric, threads=bench.threads,
        ):  # fmt: skip
            pass
        bench.seconds += bench.clock() - began
    return measured(bench, method.eval().to(bench.device))


@torch.no_grad()
def measured(bench, method):
    view = bench.test.batch(np.arange(len(bench.test))).to(bench.device)
    x, later = view.x, view.given["later"]
    g = so3.sample(view.index, Counter(0, 0))
    said, seen = method.predicted(x), method.predicted(turned(g, x))
    off = (seen - g.act(said)).flatten(1).norm(dim=1) / (later - x[..., :3]).flatten(1).norm(dim=1).mean()
    return {"error": (seen - g.act(later)).square().mean((1, 2)).cpu().numpy(), "turned": off.cpu().numpy()}


CLAIM = Claim(
    system="ponita",
    paper="n-body mean squared error: PONITA 0.0043 = SEGNN 0.0043 < CEGNN 0.0063 < EGNN 0.0071; R^3 x S^2 better than R^3, SE(3) slower and no better",
    question="Do networks over R^3 x S^2 predict particles better than those over R^3 and EGNN, and is SE(3) no better?",
    arms={
        "R^3 x S^2": Arm(run=partial(run, kind="sphere")),
        "R^3": Arm(run=partial(run, kind="positions")),
        "SE(3)": Arm(run=partial(run, kind="motions")),
        "EGNN": Arm(run=partial(run, kind="egnn")),
        "R^3, as long": Arm(run=partial(run, kind="positions"), short={"steps": MATCHED["positions"]}),
        "EGNN, as long": Arm(run=partial(run, kind="egnn"), short={"steps": MATCHED["egnn"]}),
        "untrained": Arm(run=partial(run, kind="sphere", train=False)),
        "raw input": Arm(run=partial(run, kind="straight")),
    },
    data=(Arena("builtin:points", prepare=systems, name="n-body"),),
    versus=(
        Versus("R^3 x S^2", "R^3", "error", higher=False),
        Versus("R^3 x S^2", "EGNN", "error", higher=False, says="Orientations are better than EGNN at equal steps and parameters"),
        Versus("R^3 x S^2", "R^3, as long", "error", higher=False, says="At equal time, orientations are better than distances alone"),
        Versus("R^3 x S^2", "EGNN, as long", "error", higher=False, says="At equal time, orientations are better than EGNN"),
        Versus("R^3 x S^2", "SE(3)", "error", higher=False, margin=0.001, says="Whole rotations are no better than directions"),
        Versus("R^3 x S^2", "raw input", "error", higher=False),
        Versus("R^3 x S^2", "untrained", "error", higher=False),
    ),
    common={"encoder": "ponita_micro", "size": 5, "steps": 200, "batch": 100, "lr": 2e-3},
    full={"encoder": "ponita_micro", "size": 5, "steps": 300000, "batch": 100, "lr": 1e-3},
)
