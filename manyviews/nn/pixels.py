"""Pictures, for methods that work on their pixels and on nothing else."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from manyviews.contracts import View
from manyviews.errors import InputError


def pixels(view: View, what: str) -> Float[Tensor, "batch channels height width"]:
    """The pictures of a view. Raises InputError, with `what` needs them, where samples are none."""
    if not isinstance(view.x, Tensor) or view.x.dim() != 4:
        raise InputError(f"{what} takes pictures, and these samples are none")
    return view.x
