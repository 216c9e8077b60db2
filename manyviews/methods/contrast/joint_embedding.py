"""Joint embedding: two views of a sample, one encoder, one projector, and an objective that makes the two embeddings agree.

The frame that SimCLR (Chen et al. 2020, arXiv:2002.05709), Barlow Twins (arXiv:2103.03230), VICReg (arXiv:2105.04906) and others share; what
differs between them is a pure function of `manyviews.objectives`, which brings its projector's shape and its recipe.
Departs from the papers: normalisation layers of the projector follow each paper's text only as far as `layers`, `hidden` and `out` tell.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType

from torch import Tensor

from manyviews.errors import InputError
from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.nn.mlp import mlp


class JointEmbedding(Method):
    """Both views through encoder and projector, then the objective; `settings` are the objective's own arguments."""

    def __init__(self, encoder: Encoder, objective: Callable[..., Tensor | Terms], hidden: int = 2048, out: int = 128, layers: int = 2, last_norm: bool = False, **settings: float):
        super().__init__()
        self.encoder = encoder
        self.projector = mlp(encoder.dim, *[hidden] * (layers - 1), out, last_norm=last_norm)
        self.objective, self.settings = objective, settings
        arguments = inspect.signature(objective).parameters
        self.wants = [name for name in arguments if arguments[name].default is inspect.Parameter.empty][2:]  # after the two embeddings

    def loss(self, v: View, w: View) -> Terms:
        missing = [name for name in self.wants if name not in v.given]
        if missing:
            raise InputError(f"the objective needs {', '.join(missing)} with every sample, which this data does not have; class folders give a label")
        zv, zw = self.projector(self.encoder(v)), self.projector(self.encoder(w))
        value = self.objective(zv, zw, *(v.given[name] for name in self.wants), **self.settings)
        return value if isinstance(value, dict) else {"loss": value}


def recipe_of(objective: ModuleType) -> Recipe:
    return getattr(objective, "RECIPE", Recipe())
