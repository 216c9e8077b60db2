"""Features: what an encoder makes of a data set, in float32, each sample once."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from manyviews.contracts import View
from manyviews.counters import Counter


@torch.no_grad()
def extract(
    encoder: Callable[[View], Tensor], batches: Iterable[View], policy: Callable[[View, Counter], dict], device: torch.device | str = "cpu"
) -> tuple[Float[Tensor, "rows dim"], Int[Tensor, "rows"]]:
    """The embedding of every sample of `batches` seen through `policy`'s view `v`, and the samples' indices. Leaves the training mode as it was."""
    training = isinstance(encoder, nn.Module) and encoder.training
    if isinstance(encoder, nn.Module):
        encoder.eval()
    features, indices = [], []
    for samples in batches:
        if len(samples):
            view = policy(samples.to(device), Counter(0, 0))["v"]
            features.append(encoder(view).float().cpu())
            indices.append(view.index.cpu())
    if isinstance(encoder, nn.Module):
        encoder.train(training)
    if not features:
        return torch.empty(0, 0), torch.empty(0, dtype=torch.int64)
    return torch.cat(features), torch.cat(indices)
