"""The state of iSogCLR as its paper's algorithm keeps it, for tests of the methods that have it."""

from __future__ import annotations

import math

import torch

from manyviews.nn.individual_temperatures import UNSEEN, IndividualTemperatures


class Slow:
    """The state of one side as the paper's algorithm keeps it, one number after the other."""

    def __init__(self, samples: int, rho: float, temperature: float, lowest: float, highest: float, gamma: float, beta: float, step: float, steepest: float):
        self.mean, self.momentum, self.temperature = [0.0] * samples, [0.0] * samples, [temperature] * samples
        self.rho, self.bounds, self.gamma, self.beta, self.step, self.steepest = rho, (lowest, highest), gamma, beta, step, steepest

    def visit(self, i: int, anchors: list[list[torch.Tensor]]) -> torch.Tensor:
        """The sum over a sample's anchors of their weighted mean of h; each anchor comes with its h to all negatives."""
        loss, means, slopes = torch.zeros((), dtype=torch.double), [], []
        for h in anchors:
            tau = self.temperature[i]
            mean = sum(math.exp(float(x) / tau) for x in h) / len(h)
            mean = mean if self.mean[i] == 0 else (1 - self.gamma) * self.mean[i] + self.gamma * mean
            weights = [math.exp(float(x) / tau) / mean / len(h) for x in h]
            loss = loss + sum(weight * x for weight, x in zip(weights, h, strict=True))
            means.append(mean)
            slopes.append(math.log(mean) + self.rho - sum(weight * float(x) / tau for weight, x in zip(weights, h, strict=True)))
        self.mean[i] = sum(means) / len(means)
        slope = min(max(sum(slopes) / len(slopes), -self.steepest), self.steepest)
        self.momentum[i] = (1 - self.beta) * self.momentum[i] + self.beta * slope
        self.temperature[i] = min(max(self.temperature[i] - self.step * self.momentum[i], self.bounds[0]), self.bounds[1])
        return loss

    def agrees(self, fast: IndividualTemperatures) -> None:
        torch.testing.assert_close(fast.temperature, torch.tensor(self.temperature), rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(fast.momentum, torch.tensor(self.momentum), rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(fast.log_mean, torch.tensor(self.mean, dtype=torch.double).log().float().clamp(min=UNSEEN), rtol=1e-3, atol=1e-3)


def directions(z: torch.Tensor) -> list[torch.Tensor]:
    return [row / row.norm() for row in z.double()]
