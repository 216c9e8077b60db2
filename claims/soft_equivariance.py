"""Soft equivariance: does a penalty for each candidate group, weighed by what the data allows, find the symmetry that is there, and learn with fewer samples?

Kim et al., "Regularizing Towards Soft Equivariance Under Mixed Symmetries", ICML 2023, arXiv:2306.00356: on synthetic functions of mixed symmetry and motion
forecasting a lower test error than multilayer perceptrons, equivariant ones (EMLP) and residual pathways (RPP); symmetries are ranked rightly (tables not at
hand). Both functions here are simulated, as in the paper. "inertia": masses and places of 5 points to their tensor of inertia plus 0.3 times what it makes of
the z axis, on that axis; 1,000 samples. "radius": 3 points to the sum of their distances from 0 in a space whose z axis is twice as long; 300 samples. Both
respect turns about z, and those about x and y only nearly. Candidates of PER are the turns about the three axes; "hard" keeps to O(3), which is wrong, "true
group" to the turns about z, which nobody is told; "residual" is drawn to O(3) alone with a constant strength: the prior of RPP. `error` is the squared error
of each of 1,000 test samples over the variance of the targets; `ranked` whether the answers are nearest to equivariant under turns about z,
`ranked_by_distance` whether the weights are. 800 steps, where the paper takes 16,000, with a weaker penalty in proportion to what they can undo.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.contracts import View
from manyviews.groups import find
from manyviews.symmetry.soft_equivariance import PER, SoftEquivariantNetwork, Tensors

TURNS = [find(f"so2_about_{axis}") for axis in "xyz"]
TASKS = {"inertia": (Tensors(5, 5), Tensors(0, 0, 1), 1000), "radius": (Tensors(0, 3), Tensors(1), 300)}
HIDDEN = Tensors(16, 8, 3)


def inertia(count, generator):
    m, r = F.softplus(torch.randn(count, 5, generator=generator)), torch.randn(count, 5, 3, generator=generator)
    one = torch.eye(3)
    tensor = (m[:, :, None, None] * (r.square().sum(-1)[..., None, None] * one - r[..., :, None] * r[..., None, :])).sum(1)
    return torch.cat([m, r.flatten(1)], 1), (tensor + 0.3 * tensor[:, :, 2:] * one[2]).flatten(1)


def radius(count, generator):
    r = torch.randn(count, 3, 3, generator=generator)
    return r.flatten(1), (r * torch.tensor([1.0, 1.0, 2.0])).norm(dim=2).sum(1, keepdim=True)


def as_it_is(data, part):
    return data


def drawn(task, count, seed):
    """Samples, with targets of variance about 1."""
    x, y = {"inertia": inertia, "radius": radius}[task](count, torch.Generator().manual_seed(seed))
    return x, y / {"inertia": 8.0, "radius": 2.0}[task]


class Plain(nn.Module):
    """A multilayer perceptron of as many layers, and about as many weights."""

    def __init__(self, into, out, width=72):
        super().__init__()
        layers = [m for a in (into, width, width) for m in (nn.Linear(a, width), nn.SiLU())]
        self.network = nn.Sequential(*layers, nn.Linear(width, out))

    def loss(self, v):
        return {"error": F.mse_loss(self.network(v.x), v.given["target"])}

    def after_step(self):
        pass


def trained(bench, method, x, y):
    steps, words = int(bench.words["steps"]), bench.words
    optimizer = torch.optim.Adam([p for p in method.parameters() if p.requires_grad], lr=float(words["lr"]))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    generator = torch.Generator().manual_seed(bench.seed)
    began = bench.clock()
    for step in range(steps):
        rows = torch.randperm(len(x), generator=generator)[: int(words["batch"])]
        method.progress = step / steps
        terms = method.loss(View(x[rows], rows, None, {"target": y[rows]}))
        optimizer.zero_grad()
        sum(term for term in terms.values() if term.requires_grad).backward()
        optimizer.step()
        method.after_step()
        schedule.step()
    bench.seconds += bench.clock() - began


def arm(groups=None, hard=None, words=(), **settings):
    def run(bench):
        task = bench.arena.title
        source, target, count = TASKS[task]
        torch.manual_seed(bench.seed)
        (x, y), (asked, answer) = drawn(task, count, 1 + bench.seed), drawn(task, 1000, 0)
        if groups is None:
            method = Plain(source.dim(3), target.dim(3))
        else:
            method = PER(SoftEquivariantNetwork(source, target, groups, HIDDEN, 3, hard), **settings)
        trained(bench, method, x, y)
        with torch.no_grad():
            wrong = (method.network(asked) - answer).square().mean(1) / answer.var(0).mean()
        found = {"error": wrong.numpy().astype(float)}
        if groups is TURNS:
            distances = method.network.distances().detach().numpy()
            levels = method.network.levels(asked[:200])
            found |= {"ranked": float(min(levels, key=levels.__getitem__) == TURNS[2].name), "ranked_by_distance": float(np.argmin(distances) == 2)}
            found |= {**{f"level_{name}": level for name, level in levels.items()}}
            found |= {f"distance_{g.name}": float(d) for g, d in zip(TURNS, distances, strict=True)}
            found["z_less_than_x"] = levels["so2_about_x"] - levels["so2_about_z"]
        return found

    return Arm("", run=run, **dict(words))


O3, Z = find("o3"), TURNS[2]
CLAIM = Claim(
    system="soft_equivariance",
    paper="synthetic mixed symmetries and motion forecasting: lower test error than MLP, EMLP and RPP; approximate symmetries are ranked rightly",
    question="Is a network that is drawn to three groups, each as much as the data allows, better than one without, with the wrong or with one fixed symmetry?",
    arms={
        "per": arm(TURNS, strength=0.3),
        "per, equal strengths": arm(TURNS, strength=0.3, power=0.0),
        "residual": arm([O3], strength=0.3, power=0.0),
        "same network, no penalty": arm(TURNS, strength=0.0, power=0.0),
        "hard": arm([O3], O3, strength=0.0, power=0.0),
        "true group": arm([Z], Z, strength=0.0, power=0.0),
        "mlp": arm(),
        "untrained": arm(TURNS, words={"steps": 0}),
    },
    data=(
        Arena("builtin:tables", train=100, test=100, name="inertia", prepare=as_it_is),
        Arena("builtin:tables", train=100, test=100, name="radius", prepare=as_it_is),
    ),
    versus=(
        Versus("per", "mlp", "error", higher=False, says="PER is better than a multilayer perceptron."),
        Versus("per", "hard", "error", higher=False, says="It is better than the wrong symmetry kept exactly."),
        Versus("per", "residual", "error", higher=False, says="It is better than being drawn to the wrong one."),
        Versus("per", "same network, no penalty", "error", higher=False, says="The penalties help."),
        Versus("per", "per, equal strengths", "error", higher=False, says="Setting their strengths by the distances helps."),
        Versus("per", "same network, no penalty", "z_less_than_x", says="Its answers keep to turns about z more than to others, beyond what data alone does."),
    ),
    common={"steps": 800, "batch": 250, "lr": 3e-3, "size": 32},
    full={"steps": 16000, "batch": 500, "lr": 1e-3, "size": 32},
    raw=False,
    arena_metric=None,
)
