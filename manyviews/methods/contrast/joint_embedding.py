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
from torch import Tensor

from manyviews.contracts import Encoder, Method, Terms, View
from manyviews.errors import InputError
from manyviews.nn.mlp import mlp


class JointEmbedding(Method):
    """Both views through encoder and projector, then the objective; `options` are the objective's own arguments and those of `mlp`."""

    def __init__(self, encoder: Encoder, objective: Callable[..., Tensor | Terms], hidden: int | None = 2048, out: int = 128, layers: int = 2, **options: Any):
        super().__init__()
        arguments = inspect.signature(objective).parameters
        self.settings = {name: value for name, value in options.items() if name in arguments}
        layout = {name: value for name, value in options.items() if name not in arguments}
        self.encoder = encoder
        self.projector = mlp(encoder.dim, *[hidden or encoder.dim] * (layers - 1), out, **layout)
        self.objective = objective
        self.wants = [name for name in arguments if arguments[name].default is inspect.Parameter.empty][2:]  # after the two embeddings

    def loss(self, v: View, w: View) -> Terms:
        missing = [name for name in self.wants if name not in v.given]
        if missing:
            raise InputError(f"the objective needs {', '.join(missing)} with every sample, which this data does not have; class folders give a label")
        zv, zw = self.projector(self.encoder(v)), self.projector(self.encoder(w))
        with torch.autocast(zv.device.type, enabled=False):  # products of embeddings in float32, whatever the encoder runs in
            value = self.objective(zv.float(), zw.float(), *(v.given[name] for name in self.wants), **self.settings)
        return value if isinstance(value, dict) else {"loss": value}
