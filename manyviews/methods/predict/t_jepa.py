"""T-JEPA: from some columns of a row, predict what an encoder makes of the other columns.

Thimonier, Costa et al., "T-JEPA: Augmentation-Free Self-Supervised Learning for Tabular Data", ICLR 2025, arXiv:2410.05016.
Departs from the paper: the regularisation token is the encoder's own unmasked token (the register of ft_transformer, the class token of a vision
transformer), always in both encoders' sight, and what leaves it is neither predicted nor shown to the predictor; the authors' code draws masks as if that
token were the first column, so that it is sometimes absent and the last column is never hidden nor shown. Blocks are the project's pre-norm ones, 4 times as
wide inside. Where shares ask for more columns than there are, a mask has fewer targets, where the authors draw again. Positions of the predictor are sines
and cosines of any number of axes, so that parts of pictures will do.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from manyviews.contracts import Encoder, Method, Recipe, Terms, Tokens, View
from manyviews.errors import InputError
from manyviews.nn.distributed import average
from manyviews.nn.ema import ema_update, frozen_copy
from manyviews.nn.positions import sincos
from manyviews.nn.transformer import Transformer, initialise

Picked = tuple[Int[Tensor, "batch _"], Bool[Tensor, "batch _"]]  # rows of tokens, and which of them count


class TJEPA(Method):
    """One context and several masks of targets a sample, drawn anew each step; the target encoder is a slow copy that sees everything."""

    recipe = Recipe(views="plain", optimizer="adamw", lr=1.85e-4, weight_decay=0.0, warmup=1 / 30)  # 3.7e-4 for 512 rows; 10 of 300 epochs

    def __init__(
        self,
        encoder: Encoder,
        predictor_width: int = 16,  # of the transformer that predicts
        predictor_depth: int = 16,  # its blocks
        predictor_heads: int = 4,  # its heads
        masks: int = 4,  # sets of targets for each context
        least_context: float = 0.2,  # smallest share of the parts that are shown
        most_context: float = 0.4,  # largest share of the parts that are shown
        least_target: float = 0.2,  # smallest share of the parts that are predicted
        most_target: float = 0.4,  # largest share of the parts that are predicted
        decay: float = 0.996,
    ):
        super().__init__()
        problems = []
        if not encoder.content_width:
            problems.append("t_jepa predicts parts of samples from others, and this encoder has none; take a transformer, e.g. --encoder ft_transformer")
        if predictor_width % predictor_heads:
            problems.append(f"--set predictor_heads={predictor_heads}: they cannot share a width of {predictor_width}; take a divisor")
        for name, low, high in (("context", least_context, most_context), ("target", least_target, most_target)):
            if not 0 < low <= high < 1:
                problems.append(f"--set least_{name}={low} most_{name}={high}: shares must lie between 0 and 1, the least first")
        if least_context + least_target > 1:
            problems.append(f"--set least_context={least_context} least_target={least_target}: together they are more than all parts")
        if masks < 1:
            problems.append(f"--set masks={masks}: at least 1")
        if problems:
            raise InputError(*problems)
        self.encoder = encoder  # f_theta
        self.target = frozen_copy(encoder)  # f_theta-bar
        self.embed = nn.Linear(encoder.dim, predictor_width)
        self.mask_token = nn.Parameter(torch.empty(predictor_width).normal_(std=0.02))
        self.predictor = Transformer(predictor_width, predictor_depth, predictor_heads)  # g_phi
        self.predict = nn.Linear(predictor_width, encoder.dim)
        for layer in (self.embed, self.predict):
            initialise(layer)
        self.masks, self.context, self.targets, self.decay = masks, (least_context, most_context), (least_target, most_target), decay

    @property
    def exported(self) -> Encoder:
        """The slow copy, which the authors probe."""
        return self.target

    def loss(self, v: View) -> Terms:
        tokens = self.encoder.tokenize(v)
        context, masks = self.draw(tokens, v.index)
        with torch.no_grad():
            h = self.target.encode(self.target.tokenize(v)).parts
        rows, there = context
        shown = tokens.select(rows)
        shown = shown if tokens.exists is None else Tokens(shown.x, shown.where, shown.content, there, shown.parent, shown.extent)
        z = self.embed(self.encoder.encode(shown).parts) + self.places(tokens, rows)
        wanted, counted = (torch.cat(both) for both in zip(*masks, strict=True))  # mask by mask, each with the whole batch
        missed = (self.guess(z, there, tokens, wanted, counted) - picked(h.repeat(self.masks, 1, 1), wanted)).square().mean(-1)
        return {"prediction": (missed * counted).sum() / average(counted.sum().float()).clamp(min=1)}

    def guess(
        self,
        z: Float[Tensor, "batch context width"],
        there: Bool[Tensor, "batch context"],
        tokens: Tokens,
        wanted: Int[Tensor, "all_masks targets"],
        counted: Bool[Tensor, "all_masks targets"],
    ) -> Float[Tensor, "all_masks targets dim"]:
        """The predictor's features of the tokens at `wanted`, each asked for by a mask token with its place, one mask at a time."""
        z = z.repeat(self.masks, 1, 1)
        asked = self.mask_token + self.places(tokens, wanted)
        exists = None if tokens.exists is None else torch.cat([there.repeat(self.masks, 1), counted], 1)
        return self.predict(self.predictor(torch.cat([z, asked.to(z.dtype)], 1), exists)[:, z.shape[1] :])

    def places(self, tokens: Tokens, rows: Int[Tensor, "batch some"]) -> Float[Tensor, "batch some width"]:
        """Fixed waves of where tokens are; along each axis as many steps as tokens are laid out on."""
        where = picked(tokens.where.repeat(len(rows) // len(tokens.where), 1, 1), rows)
        return sincos(where, self.predict.in_features, tokens.x.shape[1] ** (1 / where.shape[-1]))

    def draw(self, tokens: Tokens, index: Int[Tensor, "batch"]) -> tuple[Picked, list[Picked]]:
        """The context, and masks of targets outside it; sizes are drawn for the whole step, which tokens for each sample. Raises InputError for one token."""
        batch, n = tokens.x.shape[:2]
        if n < 2:
            raise InputError("t_jepa predicts some parts of a sample from others, and here samples have one part only; more columns are needed")
        exists = torch.ones(batch, n, dtype=torch.bool, device=index.device) if tokens.exists is None else tokens.exists
        every = exists.sum(1)
        few = amount(every, *self.context, self.share("context")).clamp(max=(every - 1).clamp(min=1))
        context = self.choose("context", index, exists, few)
        rows, counted = context
        free = exists & ~torch.zeros_like(exists).scatter(1, rows, counted)
        many = torch.minimum(amount(every, *self.targets, self.share("targets")), every - few)
        return context, [self.choose(f"targets/{k}", index, free, many) for k in range(self.masks)]

    def share(self, name: str) -> float:
        """Uniform in [0, 1), one for all samples and ranks."""
        return self.counter.integer(name) / 2**62

    def choose(self, name: str, index: Int[Tensor, "batch"], free: Bool[Tensor, "batch tokens"], count: Int[Tensor, "batch"]) -> Picked:
        """`count` random ones of the tokens that are free."""
        rank = torch.where(free, self.counter.uniform(name, index, free.shape[1]), 2.0)
        rows = rank.argsort(1)[:, : int(count.max())]
        return rows, torch.arange(rows.shape[1], device=rows.device) < count[:, None]

    def after_step(self) -> None:
        ema_update(self.target, self.encoder, self.decay + (1 - self.decay) * self.progress)


def amount(every: Int[Tensor, "batch"], low: float, high: float, share: float) -> Int[Tensor, "batch"]:
    """Between the rounded shares `low` and `high` of all tokens, at least one."""
    least, most = (every * low).round(), (every * high).round()
    return (least + ((most - least) * share).round()).long().clamp(min=1)


def picked(x: Float[Tensor, "batch tokens dim"], rows: Int[Tensor, "batch some"]) -> Float[Tensor, "batch some dim"]:
    return x.gather(1, rows[..., None].expand(-1, -1, x.shape[-1]))
