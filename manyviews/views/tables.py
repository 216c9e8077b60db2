"""Views of rows of a table: values of other rows in place of some (SCARF), values hidden, noise on numbers.

Bahri et al., "SCARF: Self-Supervised Contrastive Learning using Random Feature Corruption", ICLR 2022, arXiv:2106.15147: a value is replaced by one drawn
from its column's own distribution, each column for itself. That distribution comes from the training rows, as the form of the data keeps it, and the draw
from the counter; so what a row becomes depends on no other row of its batch. Departs from the paper: each value is replaced with a probability, instead of a
fixed number of them.

    policy = scarf(size)
    views = policy(samples, Counter(seed=0, step=0))       # samples.x: `Rows` of manyviews.data.table_columns
    views["w"].x.values, views["w"].g.parameters           # (batch, columns), and masks of what was replaced and what hidden

A view stays in the units of the table; an encoder standardises. `size` is the number of columns and decides nothing.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.data.table_columns import Rows
from manyviews.errors import InputError
from manyviews.views.policy import Changed, Policy

ONE_HOT = 20  # the most frequent categories of a column that stand for themselves in `raw`


@dataclasses.dataclass(frozen=True)
class Corrupt:
    """Each value, with probability `share`, replaced by one that its column has in training, as often as it has it (missing ones too)."""

    share: float = 0.6


@dataclasses.dataclass(frozen=True)
class Hide:
    """Each value missing with probability `share`; one stays in every row."""

    share: float = 0.3


@dataclasses.dataclass(frozen=True)
class Noise:
    """Gaussian noise on numbers and dates, of `sigma` standard deviations of their column."""

    sigma: float = 0.1


@dataclasses.dataclass(frozen=True)
class Row:
    """One view: the changes that make it, in this order."""

    changes: tuple[Corrupt | Hide | Noise, ...] = ()

    @property
    def pixels(self) -> int:
        """Rows are read in full."""
        return 0

    def apply(self, samples: View, counter: Counter, roles: list[str]) -> list[View]:
        return [self.view(samples, counter, role) for role in roles]

    def view(self, samples: View, counter: Counter, role: str) -> View:
        """The view of that name. Raises InputError for a bare tensor, whose columns nobody knows, unless nothing is to be changed."""
        rows = samples.x
        if not self.changes:
            return View(rows, samples.index, Changed(), samples.given)
        if not isinstance(rows, Rows):
            raise InputError("views of tables need to know their columns: open them as data (manyviews.data.tables.from_array), not as a tensor")
        x, scheme, parameters = rows.values, rows.scheme, {}
        for k, change in enumerate(self.changes):
            name, shape = f"{role}/{k}", x.shape[1:]
            if isinstance(change, Noise):
                noise = change.sigma * scheme.std * counter.normal(name, samples.index, *shape)
                x = torch.where(scheme.numeric, x + noise, x)
                parameters["noise"] = torch.full((len(x),), change.sigma, device=x.device)
                continue
            u = counter.uniform(name, samples.index, *shape)
            chosen = u < change.share
            if isinstance(change, Corrupt):
                at = (counter.uniform(f"{name}/values", samples.index, *shape) * len(scheme.marginal)).long()
                x = torch.where(chosen, scheme.marginal.gather(0, at), x)
                parameters["replaced"] = chosen
            else:
                chosen = chosen & (u < u.amax(1, keepdim=True))
                x = x.masked_fill(chosen, torch.nan)
                parameters["hidden"] = chosen
        return View(Rows(x, scheme), samples.index, Changed(parameters), samples.given)


# --- policies ---------------------------------------------------------------------------------------------------------------------------------


def plain(size: int) -> Policy:
    """Rows as they are."""
    return Policy({"v": Row()})


def weak(size: int) -> Row:
    """A little noise, and one value in ten from elsewhere."""
    return Row((Corrupt(0.1), Noise(0.05)))


def strong(size: int) -> Row:
    """Two values in five from elsewhere, and noise: both views of a pair are changed so, and share about a third of their values."""
    return Row((Corrupt(0.4), Noise(0.1)))


def local(size: int) -> Row:
    """Some of the columns: three values in five are hidden."""
    return Row((Hide(0.6),))


def scarf(size: int) -> Policy:
    """A row, and itself with three values in five from elsewhere: SCARF (Bahri et al. 2022, arXiv:2106.15147)."""
    return Policy({"v": Row(), "w": Row((Corrupt(0.6),))})


def raw(view: View) -> Float[Tensor, "batch numbers"]:
    """What stands for the input itself: standardised numbers, missing ones at 0 and told apart by a flag, and each column's usual categories one-hot, with
    `other` where there are more; of a missing category all are 0.
    """
    x, scheme = view.x.values, view.x.scheme
    missing = x.isnan()
    parts = [scheme.standard(x)[:, scheme.numeric], missing[:, scheme.numeric].float()]
    category = scheme.category(x)
    for k in (~scheme.numeric).nonzero()[:, 0].tolist():
        most = min(int(scheme.sizes[k]), ONE_HOT)
        parts.append(F.one_hot(category[:, k].clamp(max=most), most + 1) * ~missing[:, k, None])
    return torch.cat([part.float() for part in parts], 1)
