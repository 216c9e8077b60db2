"""PONITA: do orientations predict charged particles better than distances alone, and than EGNN, at equal parameters?

Bekkers et al., "Fast, Expressive SE(n) Equivariant Networks through Weight-Sharing in Position-Orientation Space", ICLR 2024, arXiv:2310.02970: n-body, 3,000
training systems, mean squared error PONITA 0.0043, SEGNN 0.0043, CEGNN 0.0063, EGNN 0.0071; over R^3 x S^2 better than over R^3, over SE(3) slower and
no better (figures not checked against the paper).
Here the same simulation (`manyviews.data.nbody`) and numbers of systems, 4 layers of about 44,000 parameters in all, 12 orientations (and 12 rotations) instead
of 16, 800 steps of 100 systems instead of 10,000 epochs, and no LayerScale, which at 1e-6 would leave the layers asleep for most of them. All networks give
how far each particle goes. Over R^3 there are no vectors: there the network's scalars weigh the velocity and the ways to the others. As in the authors' code
networks with orientations are trained on turned systems. "raw input" is straight motion for as much time as fits the training systems best. `error` is
the mean squared error of each turned test system, `turned` how much more a prediction changes when the system is turned than it should, relative to how far
particles go.
"""

from functools import partial

import torch
from torch import nn

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.app.evidence.particles import OfEGNN, Straight, predict, systems
from manyviews.symmetry.ponita import Ponita

PAIRS = 8  # numbers of either particle whose products weigh the ways between them, over R^3
STEPS, ALL_STEPS = 800, 300000  # of the small and of the full budget
PAPER = {"width": 128, "basis": 256, "depth": 5, "orientations": 16, "layer_scale": 1e-6}
SMALL = {"depth": 4, "orientations": 12, "layer_scale": 0.0}


class Oriented(nn.Module):
    """Charges and velocities in, one vector out."""

    def __init__(self, **options):
        super().__init__()
        self.network = Ponita(1, 1, 0, 1, **options)

    def forward(self, x, v, c):
        return x + self.network(x, c, v[:, :, None])[1][:, :, 0]


class Distances(nn.Module):
    """Charges and speeds in; scalars that weigh the velocity and the ways to the other particles out."""

    def __init__(self, **options):
        super().__init__()
        self.network = Ponita(2, 0, 1 + 2 * PAIRS, space="positions", **options)

    def forward(self, x, v, c):
        along, one, other = self.network(x, torch.cat([c, v.norm(dim=-1, keepdim=True)], -1)).split([1, PAIRS, PAIRS], -1)
        weights = one @ other.mT / PAIRS
        return x + along * v + (weights[..., None] * (x[:, None] - x[:, :, None])).mean(2)


SPACES = {"sphere": Oriented, "motions": partial(Oriented, space="motions"), "positions": Distances}


def network(kind, width=0, depth=0, **options):
    if kind in SPACES:
        return SPACES[kind](width=width, depth=depth, **options)
    return OfEGNN(width, depth) if kind == "egnn" else Straight()


def run(bench, kind, train=True):
    torch.manual_seed(bench.seed)
    return predict(bench, network(kind, **bench.words["settings"]), augmented=kind in ("sphere", "motions"), train=train)


def arm(kind, small, times=1, train=True, **paper):
    """small: its width in the small budget; there, as at the full one, all have about as many parameters. times: as many steps as the others."""
    short = {**SMALL, "width": small, "basis": small, "steps": times * STEPS}
    return Arm(run=partial(run, kind=kind, train=train), short=short, **{**PAPER, **paper, "steps": times * ALL_STEPS})


CLAIM = Claim(
    system="ponita",
    paper="n-body mean squared error: PONITA 0.0043 = SEGNN 0.0043 < CEGNN 0.0063 < EGNN 0.0071; R^3 x S^2 better than R^3, SE(3) slower and no better",
    question="Do networks over R^3 x S^2 predict particles better than those over R^3 and EGNN, and is SE(3) no better?",
    arms={
        "R^3 x S^2": arm("sphere", 32),
        "R^3": arm("positions", 34, width=143),
        "SE(3)": arm("motions", 32, orientations=24),
        "EGNN": arm("egnn", 37, width=181, depth=4),
        "R^3, as long": arm("positions", 34, times=8, width=143),
        "EGNN, as long": arm("egnn", 37, times=5, width=181, depth=4),
        "untrained": arm("sphere", 32, train=False),
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
    common={"encoder": "ponita_micro", "size": 5, "steps": STEPS, "batch": 100, "lr": 2e-3},
    full={"encoder": "ponita_micro", "size": 5, "steps": ALL_STEPS, "batch": 100, "lr": 1e-3},
)
