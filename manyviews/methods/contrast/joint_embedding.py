"""Joint embedding: two views of a sample, one encoder, one projector, and an objective that makes the two embeddings agree.

The frame that SimCLR (Chen et al. 2020, arXiv:2002.05709), Barlow Twins (arXiv:2103.03230), VICReg (arXiv:2105.04906), SupCon (arXiv:2004.11362) and
others share; what differs between them is a pure function of `manyviews.objectives`, which brings its projector's shape and its recipe.
Departs from the papers: each view is normalised with its own batch statistics, as in all of their code but SimCLR's, which takes both views' together;
biases and normalisations never decay, as in all of their code but SupCon's.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.contracts import Encoder, Method, Terms, View
from manyviews.errors import InputError
from manyviews.nn.mlp import mlp
from manyviews.nn.weighting import weighted_mean


class JointEmbedding(Method):
    """Both views through encoder and projector, then the objective; `options` are the objective's own arguments and those of `mlp`.

    head: mlp, the objective's own projector; linear, one linear layer; reweight, the fixed weights of `Reweight`; none. The last three have neither
    `hidden` nor normalisation, and the last two not `out`.
    kappa: by how much each feature counts less than the one before it, under `head` reweight; the study of projection heads takes 1.01 to 1.5.

    Where samples come with a `weight`, each pair counts as often as it says; for objectives that have the loss of `each` pair in their file.
    """

    def __init__(
        self, encoder: Encoder, objective: Callable[..., Tensor | Terms], hidden: int | None = 2048, out: int = 128, layers: int = 2,
        head: str = "mlp", kappa: float = 1.05, **options: Any,
    ):  # fmt: skip
        super().__init__()
        arguments = inspect.signature(objective).parameters
        self.settings = {name: value for name, value in options.items() if name in arguments}
        layout = {name: value for name, value in options.items() if name not in arguments}
        self.encoder = encoder
        if head == "mlp":
            self.projector: nn.Module = mlp(encoder.dim, *[hidden or encoder.dim] * (layers - 1), out, **layout)
        elif head == "linear":
            self.projector = nn.Linear(encoder.dim, out, bias=False)
        elif head in ("reweight", "none"):
            self.projector = Reweight(encoder.dim, kappa) if head == "reweight" else nn.Identity()
        else:
            raise InputError(f"head {head!r}: expected mlp, linear, reweight or none")
        self.objective = objective
        self.each = getattr(inspect.getmodule(objective), "each", None)
        self.wants = [name for name in arguments if arguments[name].default is inspect.Parameter.empty][2:]  # after the two embeddings

    def loss(self, v: View, w: View) -> Terms:
        missing = [name for name in self.wants if name not in v.given]
        if missing:
            raise InputError(f"the objective needs {', '.join(missing)} with every sample, which this data does not have; class folders give a label")
        weight = v.given.get("weight")
        if weight is not None and self.each is None:
            raise InputError("samples come with a weight, and this objective is no mean over pairs that could be weighted; simclr's is")
        zv, zw = self.projector(self.encoder(v)), self.projector(self.encoder(w))
        with torch.autocast(zv.device.type, enabled=False):  # products of embeddings in float32, whatever the encoder runs in
            arguments = (zv.float(), zw.float(), *(v.given[name] for name in self.wants))
            if weight is not None and self.each is not None:
                return {"loss": weighted_mean(self.each(*arguments, **self.settings), weight)}
            value = self.objective(*arguments, **self.settings)
        return value if isinstance(value, dict) else {"loss": value}


class Reweight(nn.Module):
    """z_i = x_i * kappa^-i for i = 0, 1, ...: a projector with nothing to learn (Xue et al., ICLR 2024, arXiv:2403.11391)."""

    scale: Tensor

    def __init__(self, dim: int, kappa: float = 1.05):
        super().__init__()
        if kappa < 1:
            raise InputError(f"kappa {kappa}: features are divided by its powers, and it must be at least 1 (all alike); the paper's is 1.01 to 1.5")
        self.register_buffer("scale", (torch.tensor(kappa, dtype=torch.float64) ** -torch.arange(dim)).float(), persistent=False)

    def forward(self, x: Float[Tensor, "batch dim"]) -> Float[Tensor, "batch dim"]:
        return x * self.scale
