"""A temperature for every sample of a data set, with what it takes to learn it: the robust global contrastive loss of iSogCLR (arXiv:2305.11965).

What is compared is the method's to say: it hands in similarities, or their differences from the positive's, and which of them are of negatives.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from manyviews.errors import InputError
from manyviews.nn.distributed import gather

UNSEEN = torch.finfo(torch.float32).min  # finite, for a state that is not is taken for divergence


class IndividualTemperatures(nn.Module):
    """Temperatures of all samples, and what their robust losses need: temperature * log(mean of exp(h / temperature)) + temperature * rho, h over negatives.

    The mean over all negatives of the data set is estimated by a running one, and its logarithm's gradient at that estimate (a compositional gradient).
    """

    temperature: Float[Tensor, "samples"]
    momentum: Float[Tensor, "samples"]  # of the temperatures' gradients
    log_mean: Float[Tensor, "samples"]  # logarithm of the running mean of exp(h / temperature); UNSEEN before the first visit

    def __init__(self, samples: int, rho: float, temperature: float, lowest: float, highest: float, gamma: float, beta: float, step: float, steepest: float):
        super().__init__()
        if not 0 < lowest <= temperature <= highest:
            raise InputError(f"temperature {temperature} between lowest {lowest} and highest {highest}: they must be above 0 and in that order")
        for name, share in (("gamma", gamma), ("beta", beta)):
            if not 0 < share <= 1:
                raise InputError(f"{name} {share}: the share of what is new must be above 0 and at most 1")
        if min(rho, step, steepest) < 0:
            raise InputError(f"rho {rho}, step {step}, steepest {steepest}: none of them may be negative")
        self.rho, self.lowest, self.highest, self.gamma, self.beta, self.step, self.steepest = rho, lowest, highest, gamma, beta, step, steepest
        self.register_buffer("temperature", torch.full((samples,), float(temperature)))
        self.register_buffer("momentum", torch.zeros(samples))
        self.register_buffer("log_mean", torch.full((samples,), UNSEEN))
        self.fresh: list[tuple[Tensor, Tensor, Tensor]] = []  # this step's samples, their log means, their temperatures' gradients

    def forward(self, h: Float[Tensor, "anchors others"], negative: Bool[Tensor, "anchors others"], index: Int[Tensor, "anchors"]) -> Float[Tensor, "anchors"]:
        """The mean of `h` over negatives with the robust loss's weights, whose gradient is the loss's; remembers what `update` needs."""
        with torch.no_grad():
            scaled = h / self.temperature[index][:, None]
            count = negative.sum(1, keepdim=True).clamp(min=1)
            exponent = scaled.masked_fill(~negative, -torch.inf) - count.log()
            batch, old = exponent.logsumexp(1), self.log_mean[index]
            mixed = torch.logaddexp(batch + math.log(self.gamma), old + math.log1p(-self.gamma)) if self.gamma < 1 else batch
            log_mean = torch.where(old == UNSEEN, batch, mixed)
            weights = (exponent - log_mean[:, None]).exp().masked_fill(~negative, 0.0)
            self.fresh.append((index, log_mean, log_mean + self.rho - (weights * scaled).sum(1)))
        return (weights * h).sum(1)

    @torch.no_grad()
    def update(self) -> None:
        """Take the step's states over, those of all ranks; anchors of one sample are averaged."""
        for index, log_mean, gradient in ((gather(a), gather(b), gather(c)) for a, b, c in self.fresh):
            rows, place = index.unique(return_inverse=True)
            zero = log_mean.new_zeros(len(rows))
            count = zero.index_add(0, place, torch.ones_like(log_mean))
            top = torch.full_like(zero, torch.finfo(zero.dtype).min).scatter_reduce(0, place, log_mean, "amax")
            self.log_mean[rows] = top + (zero.index_add(0, place, (log_mean - top[place]).exp()) / count).log()
            slope = (zero.index_add(0, place, gradient) / count).clamp(-self.steepest, self.steepest)
            self.momentum[rows] += self.beta * (slope - self.momentum[rows])
            self.temperature[rows] = (self.temperature[rows] - self.step * self.momentum[rows]).clamp(self.lowest, self.highest)
        self.fresh.clear()
