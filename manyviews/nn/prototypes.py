"""The head and the centre of self-distillation over prototypes (Caron et al. 2021, arXiv:2104.14294): shared by DINO and iBOT."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.nn.distributed import average
from manyviews.nn.mlp import mlp


class PrototypeHead(nn.Module):
    """A perceptron to a bottleneck on the unit sphere, then the cosine to each of `out` prototypes."""

    def __init__(self, dim: int, out: int, hidden: int = 2048, bottleneck: int = 256, layers: int = 3):
        super().__init__()
        self.mlp = mlp(dim, *[hidden] * (layers - 1), bottleneck, norm=False, activation=nn.GELU)
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        self.prototypes = nn.Parameter(F.normalize(torch.randn(out, bottleneck), dim=1))

    def bottleneck(self, x: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows bottleneck"]:
        return F.normalize(self.mlp(x), dim=1)

    def logits(self, z: Float[Tensor, "rows bottleneck"]) -> Float[Tensor, "rows out"]:
        """Products with the prototypes as unit vectors."""
        return F.linear(z, F.normalize(self.prototypes, dim=1))

    def forward(self, x: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows out"]:
        return self.logits(self.bottleneck(x))


class Centre(nn.Module):
    """The running mean of the teacher's outputs over all ranks: `see` them while the loss is computed, `update` once after the step."""

    value: Float[Tensor, "out"]

    def __init__(self, out: int, decay: float = 0.9):
        super().__init__()
        self.decay = decay
        self.register_buffer("value", torch.zeros(out))
        self.seen: list[Tensor] = []

    @torch.no_grad()
    def see(self, mean: Float[Tensor, "out"]) -> None:
        """The mean output over this rank's rows; ranks have equally many."""
        self.seen.append(average(mean.float()))

    @torch.no_grad()
    def update(self) -> None:
        if self.seen:
            self.value.lerp_(torch.stack(self.seen).mean(0), 1 - self.decay)
        self.seen = []


def warmed(start: float, end: float, share: float, progress: float) -> float:
    """From start to end along a line while progress goes from 0 to `share`, then end."""
    return end if progress >= share else start + (end - start) * progress / share
