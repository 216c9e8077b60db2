"""G-SimCLR: contrast samples in batches that hold no two of one pseudo-class, found by clustering what a denoising autoencoder makes of them.

Chakraborty, Roy Gosthipaty, Paul, "G-SimCLR: Self-Supervised Contrastive Learning with Guided Projection via Pseudo Labelling", ICDM Workshops 2020,
arXiv:2009.12007.
Departs from the paper in the batches: its code puts the first sample of every cluster, then the second and so on in one order for all epochs, so that
small clusters run out and late batches hold many of the largest ones; here clusters are dealt over all batches anew in each epoch, which leaves as few
samples beside one of their pseudo-class as one pass over the data can. The autoencoder trains for a fixed share of the steps (the paper's, of 22 epochs
against 15 on CIFAR-10) instead of until the test pictures are no longer rebuilt better. Views are SimCLR's, with crops, where the code has flips and weak
colours only; the rate falls along half a cosine without restarts, and is a tenth of the paper's, whose SGD has no momentum.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.contracts import Encoder, Method, Recipe, Stage, Terms, Trainable, View
from manyviews.errors import InputError
from manyviews.nn.distributed import gather, rank
from manyviews.nn.mlp import mlp
from manyviews.nn.pixels import pixels
from manyviews.objectives.infonce import infonce
from manyviews.train.samplers import shuffled

COLUMN = "pseudo_label"


class GSimCLR(Method):
    """SimCLR whose sampler deals out pseudo-classes; data that brings a column pseudo_label is spared the autoencoder.

    hidden: width of the projector's first layer. bottleneck: width of its second.
    clusters: how many pseudo-classes: as many as the batch has samples (the paper's), or a multiple, since a larger batch must hold two of one; 1 leaves
    the batches to chance, which is SimCLR.
    width: channels of the autoencoder's first layer; the next two have twice and four times as many.
    noise: standard deviation of what is added to the pixels that the autoencoder sees.
    autoencoder: how long it trains, in shares of the steps that follow.
    """

    recipe = Recipe(views="simclr", optimizer="sgd", lr=0.04, weight_decay=0.0, warmup=0.0)

    def __init__(
        self,
        encoder: Encoder,
        hidden: int = 256,
        bottleneck: int = 128,
        out: int = 50,
        temperature: float = 0.1,
        clusters: int = 64,
        width: int = 32,
        noise: float = 0.01,
        autoencoder: float = 1.5,
    ):
        super().__init__()
        problems = []
        if temperature <= 0:
            problems.append(f"--set temperature={temperature}: it divides similarities and must be above 0; the paper's is 0.1")
        if clusters < 1:
            problems.append(f"--set clusters={clusters}: must be 1 or more; the paper's is its batch, 64")
        if noise < 0 or autoencoder <= 0:
            problems.append(f"--set noise={noise} autoencoder={autoencoder}: must be 0 or more, and above 0; the paper's are 0.01 and about 1.5")
        if problems:
            raise InputError(*problems)
        self.encoder = encoder
        self.projector = mlp(encoder.dim, hidden, bottleneck, out, norm=False)
        self.autoencoder = Autoencoder(channels_of(encoder), width, noise).requires_grad_(False) if clusters > 1 else None
        self.temperature, self.clusters, self.share = temperature, clusters, autoencoder

    def stages(self, data: Any, tools: Any) -> Iterator[Stage]:
        if self.autoencoder is not None and COLUMN not in data.columns:
            yield Stage("autoencoder", self.autoencoder.requires_grad_(True), data, self.share)
            self.autoencoder.requires_grad_(False).zero_grad()

            def cluster(data: Any) -> dict[str, np.ndarray]:
                from sklearn.cluster import KMeans

                latents = tools.embed(self.autoencoder, data)
                return {COLUMN: KMeans(min(self.clusters, len(data)), n_init=10, random_state=0).fit_predict(latents)}

            data = tools.derive(data, f"g_simclr/{self.clusters}/{tools.weights(self.autoencoder)}", cluster)
        yield Stage("", self, data)

    def sampler(self, rows: int, columns: Mapping[str, np.ndarray], seed: int, epoch: int) -> np.ndarray:
        """Every row once, in batches of `clusters`. A pseudo-class has as many rows in each as in any other, or one more: none has two where one will do."""
        order = shuffled(rows, columns, seed, epoch)
        batches = rows // self.clusters
        if self.clusters == 1 or not batches:
            return order
        if COLUMN not in columns:
            raise InputError(f"g_simclr batches by the column {COLUMN}, which its first stage adds; run its `stages`, as manyviews.pretrain does")
        rng = np.random.default_rng([seed, epoch, 1])
        chosen, rest = np.split(order, [batches * self.clusters])
        _, label = np.unique(columns[COLUMN], return_inverse=True)
        turn = rng.permutation(label.max() + 1)[label]  # clusters in another order each epoch
        sorted_rows = chosen[np.argsort(turn[chosen], kind="stable")]
        dealt = rng.permutation(sorted_rows.reshape(self.clusters, batches).T)  # like cards: the next row of a cluster goes to the next batch
        return np.concatenate([rng.permuted(dealt, axis=1).ravel(), rest])

    def loss(self, v: View, w: View) -> Terms:
        zv, zw = self.projector(self.encoder(v)), self.projector(self.encoder(w))
        with torch.autocast(zv.device.type, enabled=False):
            terms = {"loss": infonce(zv.float(), zw.float(), self.temperature)}
        if COLUMN in v.given:
            label = gather(v.given[COLUMN])
            own = label[rank() * len(v) :][: len(v)]
            terms["beside_its_like"] = ((own[:, None] == label).sum(1) > 1).float().mean()  # share of the samples; 0 is what the method is for
        return terms


class Autoencoder(Trainable):
    """Three convolutions down to an eighth of the side, three up again; the mean over the places of the middle is what is clustered."""

    recipe = Recipe(views="plain", optimizer="adamw", lr=4e-3, weight_decay=0.0, warmup=0.0, schedule="constant")

    def __init__(self, channels: int, width: int, noise: float):
        super().__init__()
        self.down = nn.ModuleList(convolution(a, b) for a, b in itertools.pairwise((channels, width, 2 * width, 4 * width)))
        self.up = nn.ModuleList(convolution(a, b) for a, b in itertools.pairwise((4 * width, 4 * width, 2 * width, width)))
        self.last = nn.Conv2d(width, channels, 3, padding=1)
        self.noise = noise

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        return self.encode(pixels(view, "g_simclr"))[0].mean((2, 3))

    def encode(self, x: Float[Tensor, "batch channels height width"]) -> tuple[Float[Tensor, "batch _ _ _"], list[torch.Size]]:
        """The middle layer, and the sides of the layers before it."""
        sides = []
        for layer in self.down:
            sides.append(x.shape[2:])
            x = F.max_pool2d(layer(x), 2, ceil_mode=True)
        return x, sides

    def loss(self, v: View) -> Terms:
        noise = self.counter.normal("noise", v.index, *pixels(v, "g_simclr").shape[1:])
        x, sides = self.encode(v.x + self.noise * noise)
        for layer, side in zip(self.up, reversed(sides), strict=True):
            x = layer(F.interpolate(x, tuple(side)))
        return {"restoration": F.mse_loss(self.last(x).float().sigmoid(), v.x)}


def convolution(a: int, b: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())


def channels_of(encoder: Encoder) -> int:
    """Of the pictures that it takes."""
    first = next((module for module in encoder.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None:
        raise InputError("g_simclr clusters pictures, and this encoder takes none: it has no convolution; take one that has, or --set clusters=1")
    return first.in_channels
