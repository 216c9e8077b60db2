"""Collectives that keep gradients right, and do nothing in a single process.

Losses are averaged over ranks by the engine, so a loss that looks at the whole batch must see all of it on every rank: `gather` returns every
rank's rows, and in backward each rank gets the sum over ranks of the gradients for its own.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if world() > 1 else 0


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[override]
        parts = [torch.empty_like(x) for _ in range(world())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[override]
        grad = grad.contiguous()
        dist.all_reduce(grad)
        return grad.chunk(world())[rank()]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:  # type: ignore[override]
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:  # type: ignore[override]
        grad = grad.clone()
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


class BatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation over all ranks' rows, on any device. Takes the place of every BatchNorm when there is more than one process."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"batch normalisation of a tensor of shape {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        if not self.training or world() == 1:
            return super().forward(input)
        x = input.float()
        axes = [0, *range(2, x.dim())]
        count = x.numel() / x.shape[1] * world()
        mean = total(x.mean(axes)) / world()
        shape = (1, -1) + (1,) * (x.dim() - 2)
        centred = x - mean.view(shape)
        variance = total(centred.square().mean(axes)) / world()
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
                momentum = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
                self.running_mean.lerp_(mean, momentum)
                self.running_var.lerp_(variance * count / (count - 1), momentum)
        out = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(input.dtype)


def synchronise_batch_norm(module: nn.Module) -> nn.Module:
    """The module with every batch normalisation taken over all ranks; timm's fused normalisation and activation keep their activation."""
    for name, child in module.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and not isinstance(child, BatchNorm):
            new = BatchNorm(child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats)
            new.load_state_dict(child.state_dict())
            for key in ("weight", "bias"):
                if getattr(child, key) is not None:
                    setattr(new, key, getattr(child, key))  # the same parameters, so that shared and frozen ones stay so
            new.train(child.training)
            extras = [getattr(child, key) for key in ("drop", "act") if isinstance(getattr(child, key, None), nn.Module)]
            setattr(module, name, nn.Sequential(new, *extras) if extras else new)
        else:
            synchronise_batch_norm(child)
    return module
