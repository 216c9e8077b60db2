"""FT-Transformer: every column of a row becomes a token, and a transformer relates them. Beside it the residual MLP, the baseline without tokens.

Gorishniy et al., "Revisiting Deep Learning Models for Tabular Data", NeurIPS 2021, arXiv:2106.11959, sec. 3.2 and 3.3.
Departs from the paper: the embedding is the mean of the columns' tokens, not the CLS token, which is here all the same, as the one token that nobody can mask
(the regularisation token of T-JEPA, arXiv:2410.05016); blocks are the project's (GELU, four times the width, first normalisation kept) instead of ReGLU with
4/3; there is no dropout. Rare and new categories share one vector, missing values have one a column.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from manyviews.backbones.tokens import TokenEncoder
from manyviews.contracts import Encoder, Tokens, View
from manyviews.data.table_columns import Rows, Scheme
from manyviews.errors import InputError

CLASSES = 256  # categories told apart where they are to be predicted; the rest counts as `other`


class Input(nn.Module):
    """Values in the order of the form's columns, standardised or as numbers of categories."""

    offsets: Int[Tensor, "columns"]  # of each column's first category among all

    def __init__(self, form: Mapping[str, Any] | None, size: int):
        super().__init__()
        columns = (form or {}).get("columns") or [{"name": str(k + 1), "kind": "numeric"} for k in range(size)]
        self.scheme = Scheme(columns)
        self.count = len(columns)
        offsets = (self.scheme.sizes + ~self.scheme.numeric).cumsum(0)
        self.categories = int(offsets[-1])  # of all columns together, each with its `other`
        self.register_buffer("offsets", torch.cat([offsets.new_zeros(1), offsets[:-1]]), persistent=False)

    def forward(self, view: View) -> tuple[Float[Tensor, "batch columns"], Int[Tensor, "batch columns"], Bool[Tensor, "batch columns"]]:
        """Standardised numbers (0 elsewhere), categories (0 elsewhere), and what is missing. Raises InputError for rows of other columns."""
        x = self.arranged(view.x) if isinstance(view.x, Rows) else view.x
        if x.shape[1] != self.count:
            raise InputError(f"the encoder was made for {self.count} columns ({', '.join(self.scheme.names[:5])} ...), and got {x.shape[1]}")
        return self.scheme.standard(x), self.scheme.category(x), x.isnan()

    def arranged(self, rows: Rows) -> Float[Tensor, "batch columns"]:
        """Columns found by name, in the form's order. Raises InputError where one is absent or of another kind."""
        own, given = self.scheme, rows.scheme
        if given.names == own.names and given.kinds == own.kinds:
            return rows.values
        absent = [name for name in own.names if name not in given.names]
        if absent:
            raise InputError(f"the model needs columns that this table does not have: {', '.join(absent)}; it has {', '.join(given.names)}")
        order = [given.names.index(name) for name in own.names]
        other = [
            f"column {name!r} is {given.kinds[k]} here and was {kind} in training; say ?{kind}={name} after the path"
            for name, kind, k in zip(own.names, own.kinds, order, strict=True)
            if given.kinds[k] != kind and not rows.values[:, k].isnan().all()
        ]
        if other:
            raise InputError(*other)
        return rows.values[:, order]


class Columns(nn.Module):
    """A token for each column. Content is (column, standardised number or category); `where` is the column's place in [0, 1]."""

    axes = 1
    classes: Int[Tensor, "columns"]  # that a prediction tells apart, 1 for numbers

    def __init__(self, form: Mapping[str, Any] | None, size: int, dim: int):
        super().__init__()
        self.input = Input(form, size)
        self.dim = dim
        bound = dim**-0.5
        self.weight, self.bias, self.missing = (nn.Parameter(torch.empty(self.input.count, dim).uniform_(-bound, bound)) for _ in range(3))
        self.embedding = nn.Parameter(torch.empty(self.input.categories, dim).uniform_(-bound, bound)) if self.input.categories else None
        sizes = self.input.scheme.sizes.clamp(max=CLASSES - 1) + 1
        self.register_buffer("classes", torch.where(self.input.scheme.numeric, 1, sizes), persistent=False)
        self.content_width = int(self.classes.max())

    def forward(self, view: View) -> Tokens:
        number, category, missing = self.input(view)
        numeric = self.input.scheme.numeric
        t = number[..., None] * self.weight
        if self.embedding is not None:
            at = torch.where(numeric, 0, category + self.input.offsets)
            t = torch.where(numeric[:, None], t, self.embedding[at])
        t = torch.where(missing[..., None], self.missing, t) + self.bias
        place = torch.arange(self.input.count, device=t.device)
        value = torch.where(numeric, number, torch.minimum(category, self.classes - 1).float()).masked_fill(missing, torch.nan)
        content = torch.stack([place.expand_as(value).float(), value], -1)[:, :, None]
        where = ((place + 0.5) / self.input.count)[None, :, None].expand(len(t), -1, -1)
        return Tokens(t, where, content)

    def error(self, prediction: Float[Tensor, "batch tokens width"], content: Float[Tensor, "batch tokens 1 2"]) -> Float[Tensor, "batch tokens"]:
        """The squared difference of standardised numbers, from the first entry; the cross-entropy of categories; 0 for what is missing."""
        column, value = content[..., 0, 0].long(), content[..., 0, 1]
        known = value.nan_to_num(0.0)
        squared = (prediction[..., 0] - known).square()
        beyond = torch.arange(prediction.shape[-1], device=prediction.device) >= self.classes[column][..., None]
        numeric = self.input.scheme.numeric[column]
        wanted = torch.where(numeric, 0, known.long())
        entropy = -prediction.float().masked_fill(beyond, -torch.inf).log_softmax(-1).gather(-1, wanted[..., None])[..., 0]
        return torch.where(numeric, squared, entropy).masked_fill(value.isnan(), 0.0)


class Nowhere(nn.Module):
    """No position: a column's token already is the column's own."""

    def forward(self, where: Float[Tensor, "batch tokens axes"]) -> Float[Tensor, "1"]:
        return where.new_zeros(1)


class FTTransformer(TokenEncoder):
    """The tokens of the columns behind one learned token that is always there; `registers` (1, dim) may be emptied to (0, dim)."""

    def __init__(self, form: Mapping[str, Any] | None, size: int, dim: int, depth: int, heads: int):
        super().__init__(Columns(form, size, dim), depth, heads, Nowhere())
        self.registers = nn.Parameter(torch.empty(1, dim).uniform_(-(dim**-0.5), dim**-0.5))

    def run(self, tokens: Tokens) -> list[Float[Tensor, "batch tokens dim"]]:
        """What leaves the blocks that `pyramid` takes, normalised and without the register; the last one last."""
        t = torch.cat([self.registers.to(tokens.x.dtype).expand(len(tokens.x), -1, -1), tokens.x], 1)
        count, taken = len(self.widths), []
        taking = {(k + 1) * len(self.blocks) // count - 1 for k in range(count)}
        for depth, block in enumerate(self.blocks):
            t = block(t, tokens.where, tokens.exists)
            if depth in taking:
                taken.append(self.norm(t[:, len(self.registers) :]))
        return taken


class ResidualMLP(Encoder):
    """x + linear(relu(linear(norm(x)))), some times; the first layer takes numbers, flags of what is missing, and categories one-hot."""

    def __init__(self, form: Mapping[str, Any] | None, size: int, dim: int, depth: int, ratio: float = 2.0):
        super().__init__()
        self.dim = dim
        self.input = Input(form, size)
        self.first = nn.Linear(2 * self.input.count, dim)
        bound = dim**-0.5
        self.embedding = nn.Parameter(torch.empty(self.input.categories, dim).uniform_(-bound, bound)) if self.input.categories else None
        hidden = int(ratio * dim)
        self.layers = nn.ModuleList(nn.Sequential(nn.BatchNorm1d(dim), nn.Linear(dim, hidden), nn.ReLU(), nn.Linear(hidden, dim)) for _ in range(depth))
        self.last = nn.Sequential(nn.BatchNorm1d(dim), nn.ReLU())

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        number, category, missing = self.input(view)
        x = self.first(torch.cat([number, missing.float()], 1))
        if self.embedding is not None:
            there = (~missing & ~self.input.scheme.numeric)[..., None]
            at = torch.where(self.input.scheme.numeric, 0, category + self.input.offsets)
            x = x + (self.embedding[at] * there).sum(1)
        for layer in self.layers:
            x = x + layer(x)
        return self.last(x)
