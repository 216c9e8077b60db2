"""Collectives that keep gradients right, and do nothing in a single process.

Losses are averaged over ranks by the engine, so a loss that looks at the whole batch must see all of it on every rank: `gather` returns every
rank's rows, and in backward each rank gets the sum over ranks of the gradients for its own.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn


def world() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if world() > 1 else 0


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[override]
        x = x.contiguous()
        parts = [torch.empty_like(x) for _ in range(world())]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[override]
        grad = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad)
        return grad.chunk(world())[rank()]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[override]
        x = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[override]
        grad = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad)
        return grad


def gather(x: Tensor) -> Tensor:
    """The rows of all ranks, in rank order, with gradients summed in backward. Ranks must have equally many."""
    return _Gather.apply(x) if world() > 1 else x


def total(x: Tensor) -> Tensor:
    """The sum over ranks, with gradients summed in backward."""
    return _Sum.apply(x) if world() > 1 else x


def average(x: Tensor) -> Tensor:
    """The mean over ranks, with gradients averaged in backward."""
    return total(x) / world()


@torch.no_grad()
def rank_mean(values: Float[Tensor, "count"], flag: float) -> Float[Tensor, "count_and_1"]:
    """The mean over ranks of the values, without gradient, and then of `flag`: what ranks must agree on, in one message."""
    both = torch.cat([values, values.new_tensor([flag])])
    if world() > 1:
        dist.all_reduce(both)
    return both / world()


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation over all ranks' rows, on any device. Takes the place of every BatchNorm when there is more than one process."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"batch normalisation of a tensor of shape {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        out = self.over_all_ranks(input) if self.training and world() > 1 else super().forward(input)
        for fused in self._modules.values():  # timm's normalisations bring a drop-out and an activation
            out = fused(out) if fused is not None else out
        return out

    def over_all_ranks(self, input: Float[Tensor, "batch channels *axes"]) -> Float[Tensor, "batch channels *axes"]:
        x = input if input.dtype == torch.float64 else input.float()
        axes = [0, *range(2, x.dim())]
        own = torch.tensor(x.numel() / x.shape[1], device=x.device, dtype=x.dtype)
        count = average(own) * world()
        share = own * world() / count  # ranks may have different numbers of rows, as of the nodes of graphs
        mean = average(x.mean(axes) * share)
        shape = (1, -1) + (1,) * (x.dim() - 2)
        centred = x - mean.view(shape)
        variance = average(centred.square().mean(axes) * share)
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
                momentum = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
                self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var.dtype), momentum)
        out = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(input.dtype)


def synchronise_batch_norm(module: nn.Module) -> nn.Module:
    """The module with every batch normalisation below it taken over all ranks; parameters, buffers and their names stay the same."""
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            if not isinstance(child, BatchNorm):
                new = BatchNorm(child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats)
                new._parameters, new._buffers, new._modules = child._parameters, child._buffers, child._modules
                setattr(module, name, new.train(child.training))
        else:
            synchronise_batch_norm(child)
    return module
