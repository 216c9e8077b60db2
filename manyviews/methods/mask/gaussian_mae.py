"""Gaussian-MAE: hide most groups of an object's Gaussian splats, encode the others, and restore all parameters of the hidden ones.

Ma et al., "ShapeSplat: A Large-scale Dataset of Gaussian Splats and Their Self-Supervised Pretraining", 3DV 2025, arXiv:2408.10906.
Departs from the paper: which parameters are seen and restored, the space that groups are made in and splats pooling belong to the encoder
(`manyviews.backbones.splat_groups`, which says how it departs); positions join the tokens once, before the first block of each transformer, not before every
block; the encoder has no stochastic depth; the error is the encoder's own for its kind of parts, so that it runs on clouds, volumes and pictures too.
"""

from __future__ import annotations

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.errors import InputError
from manyviews.nn.masking import hide, over_hidden
from manyviews.nn.part_decoder import PartDecoder


class GaussianMAE(Method):
    """A group's content is every parameter that the encoder sees of its splats. The error, for splats: Chamfer distance of centres, of squared lengths, plus
    the mean absolute errors of opacities, scales, rotations and colours, all normalised and of one weight, splat by splat from the group's centre outwards."""

    recipe = Recipe(views="mae", optimizer="adamw", lr=2e-3, weight_decay=0.05, warmup=1 / 30)  # 0.001 for 128 objects; 10 of 300 epochs

    def __init__(self, encoder: Encoder, mask_ratio: float = 0.6, depth: int = 4, heads: int = 6):
        super().__init__()
        problems = []
        if not encoder.content_width:
            problems.append("gaussian_mae hides parts of samples, and this encoder has none; take a transformer, e.g. --encoder splat_transformer")
        if not 0 < mask_ratio < 1:
            problems.append(f"--set mask_ratio={mask_ratio}: the share of hidden groups must lie between 0 and 1")
        if depth < 1:
            problems.append(f"--set depth={depth}: the decoder needs a block to look from what is there to what is hidden")
        if heads < 1 or encoder.dim % heads:
            problems.append(f"--set heads={heads}: they cannot share the encoder's width of {encoder.dim}; take a divisor")
        if problems:
            raise InputError(*problems)
        self.encoder = encoder
        self.decoder = PartDecoder(encoder, depth, heads)
        self.mask_ratio = mask_ratio

    def loss(self, v: View) -> Terms:
        tokens = self.encoder.tokenize(v)
        assert tokens.content is not None
        order = self.counter.order("mask", v.index, tokens.x.shape[1])
        visible, rows, hidden = hide(tokens, order, self.mask_ratio)
        prediction = self.decoder.predict(self.decoder(self.encoder.encode(visible), rows, hidden, tokens))
        error = self.encoder.content_error(prediction, tokens.content)
        return {"reconstruction": over_hidden(error, hidden)}
