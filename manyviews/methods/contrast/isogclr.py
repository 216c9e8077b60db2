"""iSogCLR: contrast each sample at a temperature of its own, learned by robust optimisation with a state for every sample of the data set.

Qiu et al., "Not All Semantics are Created Equal: Contrastive Self-supervised Learning with Automatic Temperature Individualization", ICML 2023,
arXiv:2305.11965.
Departs from the paper where the authors' code does: between two views of a picture the running mean is of exp(similarity / temperature) and not of the
difference from the positive's (both estimate one loss), the two views share their sample's state, the gradients of temperatures are clipped, and
the floor of the temperatures is a setting of its own. From both in that a sample's first visit sets its running mean (the authors' later library does
so too; their first code begins at zero), in that the running mean is kept as its logarithm, which cannot overflow, and in that another view of the same
sample in the batch is no negative. For pairs, their first code counts the pair itself among its negatives; this follows the paper and the library. The
recipe is that of their code for CIFAR, with a warm-up of 10 epochs of 400; biases and normalisations neither adapt nor decay.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.errors import InputError
from manyviews.nn.distributed import gather
from manyviews.nn.mlp import mlp

UNSEEN = torch.finfo(torch.float32).min  # finite, for a state that is not is taken for divergence


class ISogCLR(Method):
    """Each view of a sample against both views of the others; the views of one sample share a temperature.

    rho: how far weights may go from uniform, as a Kullback-Leibler divergence; the larger, the lower temperatures become. The authors take 0.1 to 0.5.
    temperature: of every sample at the start.
    lowest: what no temperature falls below. highest: what no temperature rises above.
    gamma: share of the batch in a sample's running mean, above 0 and up to 1; 1 forgets all before.
    beta: share of the newest gradient in a temperature's momentum, above 0 and up to 1.
    step: how far a temperature moves against its momentum, with each of the sample's visits.
    steepest: the size that the gradient of a temperature is clipped to.
    """

    recipe = Recipe(views="moco", optimizer="lars", lr=1.6, weight_decay=5e-4, warmup=10 / 400, final_lr=0.001)

    def __init__(
        self,
        encoder: Encoder,
        samples: int,
        hidden: int = 128,
        out: int = 128,
        rho: float = 0.4,
        temperature: float = 0.1,
        lowest: float = 0.05,
        highest: float = 1.0,
        gamma: float = 0.8,
        beta: float = 0.5,
        step: float = 0.03,
        steepest: float = 3.0,
    ):
        super().__init__()
        self.encoder = encoder
        self.projector = mlp(encoder.dim, hidden, out, norm=False)
        self.state = Individual(samples, rho, temperature, lowest, highest, gamma, beta, step, steepest)

    def loss(self, v: View, w: View) -> Terms:
        zv, zw = self.projector(self.encoder(v)), self.projector(self.encoder(w))
        with torch.autocast(zv.device.type, enabled=False):
            zv, zw = F.normalize(zv.float(), dim=1), F.normalize(zw.float(), dim=1)
            index = torch.cat([v.index, w.index])
            everyone = torch.cat([gather(zv), gather(zw)])
            owner = torch.cat([gather(v.index), gather(w.index)])
            similarity = torch.cat([zv, zw]) @ everyone.T
            pushed = self.state(similarity, index[:, None] != owner, index)
            pulled = (zv * zw).sum(1)
            return {"loss": 2 * (pushed.mean() - pulled.mean()), "temperature": self.state.temperature[v.index].mean()}

    def after_step(self) -> None:
        self.state.update()


class BimodalISogCLR(Method):
    """Image-text pairs: images against the texts of others and texts against their images, each side with temperatures and states of its own.

    Settings as for `ISogCLR`; `texts` is the number of texts where it is not that of images. `image.index` and `text.index` are rows of each side's own.
    """

    recipe = Recipe(optimizer="adamw", lr=1e-4, weight_decay=0.02, warmup=0.0125, final_lr=0.05)

    def __init__(
        self,
        encoder: Encoder,
        text_encoder: Encoder,
        samples: int,
        texts: int | None = None,
        out: int = 256,
        rho: float = 6.0,
        temperature: float = 0.01,
        lowest: float = 0.005,
        highest: float = 1.0,
        gamma: float = 0.8,
        beta: float = 0.9,
        step: float = 0.03,
        steepest: float = 5.0,
    ):
        super().__init__()
        self.encoder, self.text_encoder = encoder, text_encoder
        self.projector, self.text_projector = nn.Linear(encoder.dim, out), nn.Linear(text_encoder.dim, out)
        settings = (rho, temperature, lowest, highest, gamma, beta, step, steepest)
        self.image_state, self.text_state = Individual(samples, *settings), Individual(texts or samples, *settings)

    def loss(self, image: View, text: View) -> Terms:
        zi, zt = self.projector(self.encoder(image)), self.text_projector(self.text_encoder(text))
        with torch.autocast(zi.device.type, enabled=False):
            zi, zt = F.normalize(zi.float(), dim=1), F.normalize(zt.float(), dim=1)
            positive = (zi * zt).sum(1, keepdim=True)
            negative = (image.index[:, None] != gather(image.index)) & (text.index[:, None] != gather(text.index))
            images = self.image_state(zi @ gather(zt).T - positive, negative, image.index)
            texts = self.text_state(zt @ gather(zi).T - positive, negative, text.index)
        return {
            "image": images.mean(),
            "text": texts.mean(),
            "image_temperature": self.image_state.temperature[image.index].mean(),
            "text_temperature": self.text_state.temperature[text.index].mean(),
        }

    def after_step(self) -> None:
        self.image_state.update()
        self.text_state.update()


class Individual(nn.Module):
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
