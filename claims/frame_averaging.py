"""Frame averaging: does a plain network over frames predict charged particles better than augmentation, and than a network equivariant by its layers?

Puny et al., "Frame Averaging for Invariant and Equivariant Network Design", ICLR 2022, arXiv:2110.03336: n-body, 3,000 training systems, mean squared error
FA-GNN 0.0057, EGNN 0.0071, SE(3)-Transformer 0.0244, GNN 0.0107 (figures not checked against the paper).
Here the same simulation (`manyviews.data.nbody`) and numbers of systems, networks of the same depth, 24 wide instead of 60, 1,000 steps of 100 systems
instead of 10,000 epochs; beside, the cheaper networks for as long on the clock as FA-GNN takes. In so short a training all networks predict how far each
particle goes from where it is, which EGNN does anyway; the paper's FA-GNN begins at the centre. The simulation knows no direction, so that its training
systems show every side already. On "one side seen" these were turned to their principal axes; test systems were not. "raw input" is straight motion for as
much time as fits the training systems best. `error` is the mean squared error of each test system, `turned` how far a turned system's prediction is from the
turned prediction, relative to how far particles go. An untrained FA-GNN has no such error, and the plain network may do worse than it where one side was
seen: of these no baseline is asked to be better than untrained.
"""

import dataclasses
from functools import partial

import numpy as np
import torch

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.app.evidence.particles import OfEGNN, Straight, predict, systems
from manyviews.nn.frames import principal_frames
from manyviews.symmetry.frame_averaging import FAGNN

DEPTH = 4
STEPS, ALL_STEPS = 1000, 300000  # of the small and of the full budget
MATCHED = {"egnn": 3.4, "gnn": 4.6}  # how many times the steps take as long as those of FA-GNN


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


def network(kind, width, start):
    if kind in ("fa_gnn", "gnn"):
        return FAGNN(width, DEPTH, framed=kind == "fa_gnn", start=start)
    return OfEGNN(width, DEPTH) if kind == "egnn" else Straight()


def run(bench, kind, augmented=False, train=True):
    torch.manual_seed(bench.seed)
    return predict(bench, network(kind, **bench.words["settings"]), augmented, train)


def longer(kind, **how):
    return Arm(run=partial(run, kind=kind, **how), steps=round(MATCHED[kind] * ALL_STEPS), short={"steps": round(MATCHED[kind] * STEPS)})


CLAIM = Claim(
    system="frame_averaging",
    paper="n-body mean squared error: FA-GNN 0.0057 < EGNN 0.0071 < GNN 0.0107 < SE(3)-Transformer 0.0244 (not checked against the paper)",
    question="Does FA-GNN predict turned systems better than EGNN, the same network with augmentation, and the same network alone?",
    arms={
        "fa_gnn": Arm(run=partial(run, kind="fa_gnn")),
        "egnn": Arm(run=partial(run, kind="egnn")),
        "gnn, augmented": Arm(run=partial(run, kind="gnn", augmented=True)),
        "gnn": Arm(run=partial(run, kind="gnn")),
        "egnn, as long": longer("egnn"),
        "gnn, augmented, as long": longer("gnn", augmented=True),
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
        Versus("fa_gnn", "gnn", "error", higher=False, arena=False, says="Frames are better than the same network without them"),
        Versus("egnn", "gnn, augmented", "error", higher=False, says="So are equivariant layers better than augmentation"),
        Versus("gnn, augmented", "gnn", "error", higher=False, arena=False, says="Augmentation is better than nothing"),
        Versus("fa_gnn", "gnn, augmented", "turned", higher=False, arena=False, says="Predictions of framed networks turn with the system"),
        Versus("fa_gnn", "egnn, as long", "error", higher=False, says="At equal time, FA-GNN is better than EGNN"),
        Versus("fa_gnn", "gnn, augmented, as long", "error", higher=False, says="At equal time, frames are better than augmentation"),
        Versus("fa_gnn", "raw input", "error", higher=False),
    ),
    common={"encoder": "frame_averaged_micro", "size": 5, "steps": STEPS, "batch": 100, "lr": 1e-3, "width": 24, "start": "positions"},
    full={"encoder": "frame_averaged_micro", "size": 5, "steps": ALL_STEPS, "batch": 100, "lr": 1e-3, "width": 60, "start": "centre"},
)
