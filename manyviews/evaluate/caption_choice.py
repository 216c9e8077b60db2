"""Which caption belongs to a picture: among those of other pictures, and against the same words about things exchanged.

A picture and a caption are each a vector, and their product says how well they go together: a cosine (Radford et al. 2021, arXiv:2103.00020), or the logits of
words times which words there are. Captions that go equally well share what there is to win, so that a bag of words that cannot tell k of them wins 1 / k.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

EQUAL = 1e-9  # as a share of the highest score: nearer ones differ by rounding
CHUNK = 512  # texts read at once


def captions_told(
    x: Float[Tensor, "pictures dim"],
    read: Callable[[list[str]], Float[Tensor, "texts dim"]],
    groups: Sequence[Sequence[str]],
    own: Int[np.ndarray, "pictures"],
    rows: Int[np.ndarray, "some"] | None = None,
    right: Sequence[str] = (),
    wrong: Sequence[str] = (),
    unit: bool = True,
) -> dict[str, np.ndarray]:
    """For each picture `zero-shot` and `place` of its group of texts (see `choice`), and for `rows` of them `order`: right (1), wrong (0) or equal (1 / 2).

    groups: equally many texts that say the same; the mean of their vectors stands for them. own: the group of each picture. right, wrong: a text about each
    of `rows`, and the same words about things exchanged. unit: whether vectors are brought to length 1, those of texts before the mean and after.
    """
    scaled = (lambda z: F.normalize(z, dim=-1)) if unit else lambda z: z

    def vectors(texts: list[str]) -> Tensor:
        parts = [texts[i : i + CHUNK] for i in range(0, len(texts), CHUNK)]
        return scaled(torch.cat([read(part).double().cpu() for part in parts]))

    x = scaled(x.double())
    classes = scaled(vectors([text for group in groups for text in group]).unflatten(0, (len(groups), -1)).mean(1))
    found = choice(x @ classes.T, torch.from_numpy(own))
    if rows is not None:
        margin = ((vectors([*right]) - vectors([*wrong])) * x[torch.from_numpy(rows)]).sum(1)
        found["order"] = ((margin > 1e-6).double() + 0.5 * (margin.abs() <= 1e-6)).numpy()
    return found


def choice(scores: Float[Tensor, "pictures captions"], own: Int[Tensor, "pictures"]) -> dict[str, np.ndarray]:
    """`zero-shot`: 1 / k where the own caption is one of k that go best, else 0. `place`: how far up the list it stands, from 0, the last, to 1."""
    mine = scores.gather(1, own[:, None])
    near = EQUAL * scores.abs().amax(1, keepdim=True)
    better, equal = (scores > mine + near).sum(1), ((scores - mine).abs() <= near).sum(1)
    return {
        "zero-shot": ((better == 0).double() / equal).numpy(),
        "place": (1 - (better + 0.5 * (equal.double() - 1)) / max(1, scores.shape[1] - 1)).numpy(),
    }
