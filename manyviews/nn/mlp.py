"""The multilayer perceptrons that projectors and predictors are."""

from __future__ import annotations

from torch import nn


def mlp(*widths: int, norm: bool = True, last_norm: bool = False, last_affine: bool = True, bias: bool = True, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers of these widths, `norm` (batch normalisation) and activation between them; `last_norm` normalises the output too."""
    layers: list[nn.Module] = []
    for k, (a, b) in enumerate(zip(widths, widths[1:], strict=False)):
        last = k == len(widths) - 2
        normed = last_norm if last else norm
        layers.append(nn.Linear(a, b, bias=bias if last else not normed and bias))
        if normed:
            layers.append(nn.BatchNorm1d(b, affine=last_affine if last else True))
        if not last:
            layers.append(activation())
    return nn.Sequential(*layers)
