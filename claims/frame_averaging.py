"""Frame averaging: does a plain network over frames predict charged particles better than augmentation, and than a network equivariant by its layers?

Puny et al., "Frame Averaging for Invariant and Equivariant Network Design", ICLR 2022, arXiv:2110.03336: n-body, 3,000 training systems, mean squared error
FA-GNN 0.0057, EGNN 0.0071, SE(3)-Transformer 0.0244, GNN 0.0107 (figures not checked against the paper).
Here the same simulation (`manyviews.data.nbody`) and numbers of systems, networks of the same depth, 24 wide instead of 60, 200 steps of 100 systems
instead of 10,000 epochs; beside, the cheaper networks for as long on the clock as FA-GNN takes. In so short a training all networks predict how far each
particle goes from where it is, which EGNN does anyway; the paper's FA-GNN begins at the centre. The simulation knows no direction, so that its training
systems show every side already. On "one side seen" these were turned to their principal axes; test systems were not. "raw input" is straight motion for as
much time as fits the training systems best. `error` is the mean squared error of each test system, `turned` how far a turned system's prediction is from the
turned prediction, relative to how far particles go.
"""

import dataclasses
import functools
from functools import partial

import numpy as np
import torch
from torch import nn

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.contracts import Recipe, Trainable
from manyviews.counters import Counter
from manyviews.data.nbody import as_they_are, nbody, taken_apart
from manyviews.groups import find
from manyviews.nn.egnn import EGNN
from manyviews.nn.frames import principal_frames
from manyviews.symmetry.frame_averaging import FAGNN
from manyviews.train.fit import fit

WIDTH, DEPTH = 24, 4
MATCHED = {"egnn": 600, "gnn": 1200}  # steps that take as long as those of FA-GNN
simulated = functools.cache(partial(nbody, train=3000, test=2000))


def systems(data, part):
    """The simulated systems, whatever the source was."""
    made = simulated()
    return made.select(made.columns["split"] == part)


def one_side(data, part):
    """Training systems in one pose, test systems in any."""
    made = systems(data, part)
    if part == "test":
        return made
    x = torch.from_numpy(np.stack([made[i] for i in range(len(made))]))
    axes = principal_frames(x[..., :3], reflections=False).axes[:, 0]
    later = torch.from_numpy(made.columns["later"]) @ axes
    store = dataclasses.replace(made, rows=None, columns={"later": later.numpy()}, said="turned to their principal axes")
    store.store = type(made.store)(torch.cat([x[..., :3] @ axes, x[..., 3:6] @ axes, x[..., 6:]], -1).numpy(), made.store.describe())
    return dataclasses.replace(store, seen=np.zeros(len(x), dtype=bool))


class OfEGNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = EGNN(1, WIDTH, DEPTH, edge_channels=2)

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


class Predicting(Trainable):
    """Where particles will be, by `network`, after training by squared error; `augmented`: turned at random before."""

    recipe = Recipe(views="plain", optimizer="adamw", weight_decay=0.0, warmup=0.0, schedule="cosine")

    def __init__(self, network, augmented=False):
        super().__init__()
        self.network, self.augmented = network, augmented

    def predicted(self, x):
        positions, velocities, charges = taken_apart(x)
        return self.network(positions, velocities, charges[..., None])

    def loss(self, v):
        x, later = v.x, v.given["later"]
        if self.augmented:
            g = find("so3").sample(v.index, self.counter)
            x, later = torch.cat([g.act(x[..., :3]), g.act(x[..., 3:6]), x[..., 6:]], -1), g.act(later)
        return {"error": (self.predicted(x) - later).square().mean()}


def built(kind):
    return {
        "fa_gnn": partial(FAGNN, WIDTH, DEPTH, start="positions"),
        "gnn": partial(FAGNN, WIDTH, DEPTH, framed=False, start="positions"),
        "egnn": OfEGNN,
        "straight": Straight,
    }[kind]()


def run(bench, kind, augmented=False, train=True):
    torch.manual_seed(bench.seed)
    method = Predicting(built(kind), augmented)
    if kind == "straight":
        x, v, _ = taken_apart(torch.from_numpy(np.stack([bench.train[i] for i in range(len(bench.train))])))
        method.network.time = float(((torch.from_numpy(bench.train.columns["later"]) - x) * v).sum() / v.square().sum())
    elif train:
        words, began = bench.words, bench.clock()
        for _ in fit(
            method, bench.pretraining, as_they_are, steps=words["steps"], batch=words["batch"], recipe=method.recipe, lr=words["lr"], seed=bench.seed,
            fabric=bench.fabric, threads=bench.threads,
        ):  # fmt: skip
            pass
        bench.seconds += bench.clock() - began
    return measured(bench, method.eval().to(bench.device))


@torch.no_grad()
def measured(bench, method):
    view = bench.test.batch(np.arange(len(bench.test))).to(bench.device)
    x, later = view.x, view.given["later"]
    g = find("so3").sample(view.index, Counter(0, 0))
    said = method.predicted(x)
    turned = method.predicted(torch.cat([g.act(x[..., :3]), g.act(x[..., 3:6]), x[..., 6:]], -1))
    off = (turned - g.act(said)).flatten(1).norm(dim=1) / (later - x[..., :3]).flatten(1).norm(dim=1).mean()
    return {"error": (turned - g.act(later)).square().mean((1, 2)).cpu().numpy(), "turned": off.cpu().numpy()}


CLAIM = Claim(
    system="frame_averaging",
    paper="n-body mean squared error: FA-GNN 0.0057 < EGNN 0.0071 < GNN 0.0107 < SE(3)-Transformer 0.0244 (not checked against the paper)",
    question="Does FA-GNN predict turned systems better than EGNN, the same network with augmentation, and the same network alone?",
    arms={
        "fa_gnn": Arm(run=partial(run, kind="fa_gnn")),
        "egnn": Arm(run=partial(run, kind="egnn")),
        "gnn, augmented": Arm(run=partial(run, kind="gnn", augmented=True)),
        "gnn": Arm(run=partial(run, kind="gnn")),
        "egnn, as long": Arm(run=partial(run, kind="egnn"), short={"steps": MATCHED["egnn"]}),
        "gnn, augmented, as long": Arm(run=partial(run, kind="gnn", augmented=True), short={"steps": MATCHED["gnn"]}),
        "untrained": Arm(run=partial(run, kind="fa_gnn", train=False)),
        "raw input": Arm(run=partial(run, kind="straight")),
    },
    data=(
        Arena("builtin:points", prepare=systems, name="n-body"),
        Arena("builtin:points", prepare=one_side, name="n-body, one side seen"),
    ),
    versus=(
        Versus("fa_gnn", "egnn", "error", higher=False),
        Versus("fa_gnn", "gnn, augmented", "error", higher=False, says="Frames are better than augmentation"),
        Versus("fa_gnn", "gnn", "error", higher=False, says="Frames are better than the same network without them"),
        Versus("egnn", "gnn, augmented", "error", higher=False, says="So are equivariant layers better than augmentation"),
        Versus("gnn, augmented", "gnn", "error", higher=False, says="Augmentation is better than nothing"),
        Versus("fa_gnn", "gnn, augmented", "turned", higher=False, says="Predictions of framed networks turn with the system"),
        Versus("fa_gnn", "egnn, as long", "error", higher=False, says="At equal time, FA-GNN is better than EGNN"),
        Versus("fa_gnn", "gnn, augmented, as long", "error", higher=False, says="At equal time, frames are better than augmentation"),
        Versus("fa_gnn", "raw input", "error", higher=False),
    ),
    common={"encoder": "frame_averaged_micro", "size": 5, "steps": 200, "batch": 100, "lr": 1e-3},
    full={"encoder": "frame_averaged_micro", "size": 5, "steps": 300000, "batch": 100, "lr": 1e-3},
)
