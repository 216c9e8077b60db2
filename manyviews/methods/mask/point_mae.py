"""Point-MAE: hide most groups of a cloud, encode the others, and restore the hidden ones' points.

Pang et al., "Masked Autoencoders for Point Cloud Self-supervised Learning", ECCV 2022, arXiv:2203.06604.
Departs from the paper: positions join the tokens once, before the first block of each transformer, not before every block; the encoder has no stochastic
depth; the error is the encoder's own for its kind of parts (Chamfer distance of squared lengths for groups of points), so that it runs on pictures too.
"""

from __future__ import annotations

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.errors import InputError
from manyviews.nn.masking import hide, over_hidden
from manyviews.nn.part_decoder import PartDecoder


class PointMAE(Method):
    """Mask tokens enter only the decoder, so that where the hidden groups are is not given to the encoder."""

    recipe = Recipe(views="mae", optimizer="adamw", lr=2e-3, weight_decay=0.05, warmup=1 / 30)  # 0.001 for 128 clouds; 10 of 300 epochs

    def __init__(self, encoder: Encoder, mask_ratio: float = 0.6, depth: int = 4, heads: int = 6):
        super().__init__()
        problems = []
        if not encoder.content_width:
            problems.append("point_mae hides parts of samples, and this encoder has none; take e.g. --encoder point_transformer, for pictures vit_micro")
        if not 0 < mask_ratio < 1:
            problems.append(f"--set mask_ratio={mask_ratio}: the share of hidden groups must lie between 0 and 1")
        if encoder.dim % heads:
            problems.append(f"--set heads={heads}: they cannot share the encoder's width of {encoder.dim}; take a divisor")
        if problems:
            raise InputError(*problems)
        self.encoder = encoder
        self.decoder = PartDecoder(encoder, depth, heads)
        self.mask_ratio = mask_ratio

    def loss(self, v: View) -> Terms:
        tokens = self.encoder.tokenize(v)
        order = self.counter.order("mask", v.index, tokens.x.shape[1])
        visible, rows, hidden = hide(tokens, order, self.mask_ratio)
        prediction = self.decoder.predict(self.decoder(self.encoder.encode(visible), rows, hidden, tokens))
        assert tokens.content is not None
        error = self.encoder.content_error(prediction, tokens.content)  # Eq. (3)
        return {"reconstruction": over_hidden(error, hidden)}
