"""MAE: an encoder that sees a quarter of the parts, and a small decoder that restores the others from it.

He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, arXiv:2111.06377.
Departs from the paper: the decoder also gets the pooled vector of encoders without a class token; positions are continuous (the paper's at 14 x 14
patches); the error is the encoder's own for its kind of parts, and targets are normalised only where they are plain numbers; without
norm_pix_loss pixels are compared in [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.errors import InputError
from manyviews.nn.masking import hide, over_hidden
from manyviews.nn.part_decoder import GridDecoder


class MAE(Method):
    """The figure of the paper: hide, encode what is left, put mask tokens where the hidden ones were, decode, compare there."""

    recipe = Recipe(views="mae", optimizer="adamw", lr=1.5e-4, weight_decay=0.05, warmup=0.05, betas=(0.9, 0.95))

    def __init__(self, encoder: Encoder, mask_ratio: float = 0.75, dim: int = 512, depth: int = 8, heads: int = 16, norm_pix_loss: bool = True):
        super().__init__()
        problems = []
        if not encoder.content_width:
            problems.append("mae hides parts of samples, and this encoder has none; take a transformer, e.g. --encoder vit_micro")
        if not 0 < mask_ratio < 1:
            problems.append(f"--set mask_ratio={mask_ratio}: the share of hidden tokens must lie between 0 and 1")
        if dim % heads:
            problems.append(f"--set dim={dim} heads={heads}: {heads} heads cannot share a width of {dim}; take a multiple")
        if problems:
            raise InputError(*problems)
        self.encoder = encoder
        self.decoder = GridDecoder(encoder, dim, depth, heads)
        self.mask_ratio, self.norm_pix_loss = mask_ratio, norm_pix_loss

    def loss(self, v: View) -> Terms:
        tokens = self.encoder.tokenize(v)
        order = self.counter.order("mask", v.index, tokens.x.shape[1])
        visible, rows, hidden = hide(tokens, order, self.mask_ratio)
        prediction = self.decoder(self.encoder.encode(visible), rows, hidden, tokens)
        assert tokens.content is not None
        error = self.encoder.content_error(prediction, self.target(tokens.content))
        return {"reconstruction": over_hidden(error, hidden)}

    def target(self, content: Tensor) -> Tensor:
        """The content itself, or, with norm_pix_loss, each patch with mean 0 and variance 1."""
        if not self.norm_pix_loss or content.dim() != 3 or not content.is_floating_point():
            return content
        variance, mean = torch.var_mean(content, -1, keepdim=True)
        return (content - mean) / (variance + 1e-6).sqrt()
