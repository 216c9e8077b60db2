"""The most recent embeddings of past batches, oldest replaced first."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from manyviews.errors import InputError
from manyviews.nn.distributed import gather


class Queue(nn.Module):
    """The last `size` rows pushed, with the sample each came from. Its state is in buffers, equal on all ranks, and so in every checkpoint."""

    rows: Float[Tensor, "size dim"]  # random unit vectors until pushed over
    owner: Int[Tensor, "size"]  # the sample's row in its data set; -1 where nothing was pushed yet
    position: Int[Tensor, ""]  # where the next row goes

    def __init__(self, size: int, dim: int):
        super().__init__()
        if size < 1:
            raise InputError(f"a queue of {size} rows: it needs at least one")
        self.register_buffer("rows", F.normalize(torch.randn(size, dim), dim=1))
        self.register_buffer("owner", torch.full((size,), -1))
        self.register_buffer("position", torch.zeros((), dtype=torch.long))

    def __len__(self) -> int:
        return len(self.owner)

    @torch.no_grad()
    def push(self, z: Float[Tensor, "batch dim"], index: Int[Tensor, "batch"]) -> None:
        """Put in the rows of all ranks, in rank order; of more than fit, the last."""
        z, index = gather(z.detach().to(self.rows.dtype)), gather(index)
        order = torch.arange(len(z), device=z.device)[-len(self) :]
        at = (self.position + order) % len(self)
        self.rows[at] = z[order]
        self.owner[at] = index[order]
        self.position.add_(len(z)).remainder_(len(self))
