"""What a method may use between its stages: embeddings of the whole data set, and columns derived from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from manyviews.contracts import View
from manyviews.data.dataset import Data
from manyviews.data.derive import derive
from manyviews.evaluate.features import extract
from manyviews.views import images


@dataclasses.dataclass(frozen=True)
class Tools:
    """`size` is the side of the views in pixels."""

    size: int
    device: torch.device | str = "cpu"
    threads: int = 2

    def embed(self, encoder: Callable[[View], Tensor], data: Data) -> np.ndarray:
        """One embedding for every row, of its plain view; zeros where the sample cannot be read."""
        order = np.array_split(np.arange(len(data)), -(-len(data) // 256))
        x, index = extract(encoder, data.batches(order, self.threads), images.plain(self.size), self.device)
        found = np.zeros((len(data), x.shape[1]), np.float32)
        found[index.numpy()] = x.numpy()
        return found

    def derive(self, data: Data, name: str, compute: Callable[[Data], Mapping[str, np.ndarray] | np.ndarray]) -> Any:
        """`manyviews.data.derive.derive`; `name` says everything that the result depends on beside the data, such as `weights(encoder)`."""
        return derive(data, f"{name}/{self.size}", compute)
