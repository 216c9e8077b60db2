"""Uni4Eye: restore hidden parts of pictures and of volumes, and the gradients of both, by one encoder and two decoders.

Cai et al., "Uni4Eye: Unified 2D and 3D Self-supervised Pre-training via Masked Image Modeling Transformer for Ophthalmic Image Classification", MICCAI 2022,
arXiv:2203.04614. Its Unified Patch Embedding is in --encoder unified_vit.
Departs from the paper: batches of pictures and of volumes alternate in proportion to their numbers (the successor's code: whole epochs in turn); the gradient
is Sobel's length in three dimensions too, of each channel, so scaled that a step from black to white counts as 1; the decoders get the pooled vector of
encoders without a class token; one layer predicts squares and cubes, a square as a cube of equal slices. The paper's code was not found: mask ratio and
decoders are those of its successor's.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.errors import InputError
from manyviews.nn.distributed import average
from manyviews.nn.edges import sobel
from manyviews.nn.masking import hide
from manyviews.nn.part_decoder import GridDecoder
from manyviews.train.samplers import shuffled

COLUMN = "flat"  # 1 for a picture among volumes


class Uni4Eye(Method):
    """A masked autoencoder with a decoder for what was hidden and another one for its gradients.

    gradient: weight of the gradients' error beside that of the content; 0: there is one decoder only.
    batch: how many samples of a kind (pictures, volumes) follow one another where the data has both: the run's batch, so that batches are of one kind.
    """

    recipe = Recipe(views="mae", optimizer="adamw", lr=1e-3, weight_decay=0.05, warmup=0.2, betas=(0.9, 0.95))  # 40 of 200 epochs

    def __init__(self, encoder: Encoder, mask_ratio: float = 0.75, dim: int = 512, depth: int = 8, heads: int = 16, gradient: float = 1.0, batch: int = 64):
        super().__init__()
        problems = []
        if not encoder.content_width:
            problems.append("uni4eye hides parts of samples, and this encoder has none; take a transformer, e.g. --encoder unified_vit, for pictures vit_micro")
        if not 0 < mask_ratio < 1:
            problems.append(f"--set mask_ratio={mask_ratio}: the share of hidden parts must lie between 0 and 1")
        if dim % heads:
            problems.append(f"--set dim={dim} heads={heads}: {heads} heads cannot share a width of {dim}; take a multiple")
        if gradient < 0 or batch < 1:
            problems.append(f"--set gradient={gradient} batch={batch}: a weight of 0 or more, and a batch of 1 or more, are expected")
        if problems:
            raise InputError(*problems)
        self.encoder = encoder
        self.content = GridDecoder(encoder, dim, depth, heads)
        self.gradients = GridDecoder(encoder, dim, depth, heads) if gradient else None
        self.mask_ratio, self.gradient, self.batch = mask_ratio, gradient, batch

    def sampler(self, rows: int, columns: Mapping[str, np.ndarray], seed: int, epoch: int) -> np.ndarray:
        """Every row once: whole batches of pictures and of volumes, each kind spread evenly, and at the end what fills none."""
        order = shuffled(rows, columns, seed, epoch)
        flat = columns.get(COLUMN, np.zeros(rows))[order] != 0
        batches: list[tuple[float, np.ndarray]] = []
        rest = []
        for kind in (order[flat], order[~flat]):
            count = len(kind) // self.batch
            batches += [((k + 0.5) / count, part) for k, part in enumerate(kind[: count * self.batch].reshape(count, self.batch))]
            rest.append(kind[count * self.batch :])
        return np.concatenate([*(part for _, part in sorted(batches, key=lambda entry: entry[0])), np.concatenate(rest)])

    def loss(self, v: View) -> Terms:
        if not isinstance(v.x, Tensor) or v.x.dim() not in (4, 5):
            raise InputError("uni4eye restores the gradients of pictures and of volumes; for other samples take mae")
        kinds = [self.restore(part) for part in of_one_kind(v)]
        count = average(torch.stack([hidden for _, hidden in kinds]).sum()).clamp(min=1)  # once a step, whatever kinds a process has
        return {name: torch.stack([wrong[name] for wrong, _ in kinds]).sum() / count for name in kinds[0][0]}

    def restore(self, v: View) -> tuple[Terms, Float[Tensor, ""]]:
        """The errors of the hidden parts of pictures alone, or of volumes alone, summed; and how many parts these are."""
        tokens = self.encoder.tokenize(v)
        order = self.counter.order("mask", v.index, tokens.x.shape[1])
        visible, rows, hidden = hide(tokens, order, self.mask_ratio)
        features = self.encoder.encode(visible)
        assert tokens.content is not None
        error = self.encoder.content_error(self.content(features, rows, hidden, tokens), tokens.content)
        wrong = {"content": (error * hidden).sum()}
        if self.gradients is not None:
            with torch.no_grad():
                target = self.encoder.tokenize(dataclasses.replace(v, x=2 * sobel(v.x))).content
            error = self.encoder.content_error(self.gradients(features, rows, hidden, tokens), target)  # type: ignore[arg-type]
            wrong["gradient"] = self.gradient * (error * hidden).sum()
        return wrong, hidden.sum().float()


def of_one_kind(v: View) -> list[View]:
    """The view itself, or, where pictures (NaN but for their first slice) are among volumes, both apart."""
    if v.x.dim() == 4 or v.x.shape[2] == 1:
        return [v]
    flat = v.x[:, 0, -1, 0, 0].isnan()
    if not bool(flat.any()):
        return [v]
    pictures = View(v.x[flat][:, :, :1], v.index[flat])
    return [pictures] if bool(flat.all()) else [pictures, View(v.x[~flat], v.index[~flat])]
