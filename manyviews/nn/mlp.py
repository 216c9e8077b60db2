"""The multilayer perceptrons that projectors and predictors are."""

from __future__ import annotations

import itertools

from torch import nn


def mlp(
    *widths: int,
    norm: bool = True,
    last_norm: bool = False,
    last_affine: bool = True,
    last_shift: bool = True,
    bias: bool = True,
    last_bias: bool = True,
    activation: type[nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Linear layers of these widths, with `norm` (batch normalisation) and activation between them.

    last_norm: the output is normalised too; last_affine: with a learned scale and shift; last_shift: with a learned shift. bias, last_bias: of the
    linear layers, the last one. A layer that is normalised has no bias of its own: the normalisation would take it away again.
    """
    layers: list[nn.Module] = []
    for k, (a, b) in enumerate(itertools.pairwise(widths)):
        last = k == len(widths) - 2
        normed = last_norm if last else norm
        layers.append(nn.Linear(a, b, bias=bias and not normed and (last_bias or not last)))
        if normed:
            layers.append(nn.BatchNorm1d(b, affine=last_affine or not last))
            if last and last_affine and not last_shift:
                layers[-1].bias.requires_grad_(False)  # type: ignore[union-attr]  # it stays at zero
        if not last:
            layers.append(activation())
    return nn.Sequential(*layers)
