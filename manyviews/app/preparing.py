"""What a method may use between its stages: embeddings of the whole data set, and columns derived from them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from manyviews.contracts import View
from manyviews.data.dataset import Data
from manyviews.data.derive import derive
from manyviews.evaluate.features import extract
from manyviews.nn.distributed import world
from manyviews.train.checkpoint import whole
from manyviews.views.finding import plain


@dataclasses.dataclass(frozen=True)
class Tools:
    """`size` is the side of the views in pixels."""

    size: int
    device: torch.device | str = "cpu"
    threads: int = 2

    def embed(self, encoder: Callable[[View], Tensor], data: Data) -> np.ndarray:
        """One embedding for every row, of its plain view; zeros where the sample cannot be read."""
        order = np.array_split(np.arange(len(data)), -(-len(data) // 256))
        x, index = extract(encoder, data.batches(order, self.threads), plain(self.size, data.modality), self.device)
        found = np.zeros((len(data), x.shape[1]), np.float32)
        found[index.numpy()] = x.numpy()
        return found

    @staticmethod
    def weights(module: nn.Module) -> str:
        """A short hash of what a module has learned; under FSDP all processes must ask for it."""
        h = hashlib.sha256()
        for name, tensor in whole(module).items():
            h.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            h.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return h.hexdigest()[:16]

    def derive(self, data: Data, name: str, compute: Callable[[Data], Mapping[str, np.ndarray] | np.ndarray]) -> Data:
        """`manyviews.data.derive.derive`; `name` says everything that the result depends on beside the data, such as `weights(encoder)`.

        Every process computes; what the first one found counts, since sums in another order can move a sample to another cluster.
        """
        found = derive(data, f"{name}/{self.size}", compute)
        if world() == 1:
            return found
        first = [(found.rows, dict(found.columns))]
        torch.distributed.broadcast_object_list(first)
        rows, columns = first[0]
        other = rows is not None and found.rows is not None and not np.array_equal(rows, found.rows)
        return dataclasses.replace(found, rows=rows, columns=columns, kept=None if other else found.kept)
