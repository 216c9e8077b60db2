"""The claim of a network of particles: where those of the n-body simulation will be, beside straight motion, and what becomes of it when all is turned."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.contracts import Recipe, Terms, Trainable, View
from manyviews.counters import Counter
from manyviews.data.dataset import Data
from manyviews.data.nbody import as_they_are, nbody, taken_apart
from manyviews.groups import so3
from manyviews.nn.egnn import EGNN

if TYPE_CHECKING:
    from manyviews.app.evidence.bench import Bench

simulated = functools.cache(functools.partial(nbody, train=3000, test=2000))


def systems(data: Data, part: str) -> Data:
    """For `Arena(prepare=...)`: the simulated systems, whatever the source was."""
    made = simulated()
    return made.select(made.columns["split"] == part)


class OfEGNN(nn.Module):
    """EGNN as its paper has it for particles: speeds at nodes, products of charges and squared distances at edges."""

    def __init__(self, width: int, depth: int):
        super().__init__()
        self.network = EGNN(1, width, depth, edge_channels=2)

    def forward(self, x: Tensor, v: Tensor, c: Tensor) -> Tensor:
        edges = torch.stack([c * c.mT, (x[:, :, None] - x[:, None]).square().sum(-1)], -1)
        return self.network(v.norm(dim=-1, keepdim=True), x, v, edges)[1]


class Straight(nn.Module):
    """x + t v: what stands for the input itself. `fitted` to training systems."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 1.0

    def forward(self, x: Tensor, v: Tensor, c: Tensor) -> Tensor:
        return x + self.time * v

    def fitted(self, data: Data) -> Straight:
        x, v, _ = taken_apart(torch.from_numpy(np.stack([data[i] for i in range(len(data))])))
        self.time = float(((torch.from_numpy(data.columns["later"]) - x) * v).sum() / v.square().sum())
        return self


class Predicting(Trainable):
    """Where particles will be, by `network`, after training by squared error; `augmented`: on systems turned at random."""

    recipe = Recipe(views="plain", optimizer="adamw", weight_decay=0.0, warmup=0.1, schedule="cosine")

    def __init__(self, network: nn.Module, augmented: bool = False):
        super().__init__()
        self.network, self.augmented = network, augmented

    def predicted(self, x: Float[Tensor, "batch particles 7"]) -> Float[Tensor, "batch particles 3"]:
        positions, velocities, charges = taken_apart(x)
        return self.network(positions, velocities, charges[..., None])

    def loss(self, v: View) -> Terms:
        x, later = v.x, v.given["later"]
        if self.augmented:
            g = so3.sample(v.index, self.counter)
            x, later = turned(g, x), g.act(later)
        return {"error": (self.predicted(x) - later).square().mean()}


def turned(g: Any, x: Float[Tensor, "batch particles 7"]) -> Float[Tensor, "batch particles 7"]:
    """Systems with their velocities turned."""
    return torch.cat([g.act(x[..., :3]), g.act(x[..., 3:6]), x[..., 6:]], -1)


def predict(bench: Bench, network: nn.Module, augmented: bool = False, train: bool = True) -> dict[str, np.ndarray]:
    """The squared error of every test system, turned at random; and how far a turned system's prediction is from the turned prediction."""
    method = Predicting(network.fitted(bench.train) if isinstance(network, Straight) else network, augmented).to(bench.device)
    if train and not isinstance(network, Straight):
        bench.fit(method, method.recipe, bench.pretraining, policy=as_they_are)
    return measured(bench, method.eval())


@torch.no_grad()
def measured(bench: Bench, method: Predicting) -> dict[str, np.ndarray]:
    """`turned` is relative to how far particles go."""
    view = bench.test.batch(np.arange(len(bench.test))).to(bench.device)
    x, later = view.x, view.given["later"]
    g = so3.sample(view.index, Counter(0, 0))
    said, seen = method.predicted(x), method.predicted(turned(g, x))
    off = (seen - g.act(said)).flatten(1).norm(dim=1) / (later - x[..., :3]).flatten(1).norm(dim=1).mean()
    return {"error": (seen - g.act(later)).square().mean((1, 2)).cpu().numpy(), "turned": off.cpu().numpy()}
