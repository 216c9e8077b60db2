"""Reading a transformation's parameters back from the embeddings of x and gx: what an encoder keeps track of.

The readers are a linear one and a wide perceptron: ridge regression with the neural tangent kernel of one hidden layer of ReLUs (Jacot et al., NeurIPS 2018,
arXiv:1806.07572), which is that perceptron trained to the end by gradient descent in the limit of many units; so that nothing depends on a seed or a schedule.
A rotation is predicted as a matrix, which has no two-fold sign, and brought to the nearest rotation (Levinson et al., NeurIPS 2020, arXiv:2006.14616).
"""

from __future__ import annotations

import dataclasses
import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.errors import InputError
from manyviews.evaluate.symmetry_maps import fit_dual

READERS = ("linear", "perceptron")


def angle(a: Float[Tensor, "rows 3 3"], b: Float[Tensor, "#rows 3 3"]) -> Float[Tensor, "rows"]:
    """The angle of the rotation between two, in degrees, 0 to 180; by the half angle, which is precise at both ends."""
    return 360 / math.pi * torch.asin((torch.linalg.matrix_norm(a.double() - b.double()) / math.sqrt(8)).clamp(max=1))


def nearest_rotation(m: Float[Tensor, "rows 3 3"]) -> Float[Tensor, "rows 3 3"]:
    """The rotation with the least squared distance to each matrix."""
    u, _, v = torch.linalg.svd(m)
    last = torch.ones(*m.shape[:-1], dtype=m.dtype)
    last[..., -1] = torch.linalg.det(u @ v).sign()
    return u * last[..., None, :] @ v


def relative_rotation(first: Float[Tensor, "rows 3 3"], second: Float[Tensor, "rows 3 3"], side: str) -> Float[Tensor, "rows 3 3"]:
    """The element from one observed pose to another: "world": R2 R1^-1, about fixed axes; "body": R1^-1 R2, about the object's (SIE's)."""
    if side not in ("world", "body"):
        raise InputError(f"the side of a relative rotation is 'world' (R2 R1^-1) or 'body' (R1^-1 R2), not {side!r}; they are different rotations")
    return second @ first.mT if side == "world" else first.mT @ second


@dataclasses.dataclass(frozen=True)
class Pair:
    """What a reader is shown: both embeddings and their difference side by side, each feature standardised by the training pairs.

    The difference tells a linear reader nothing new; the perceptron would need many samples to find how far the embedding moved.
    """

    mean: Float[Tensor, "inputs"]
    std: Float[Tensor, "inputs"]

    @classmethod
    def of(cls, before: Float[Tensor, "pairs dim"], after: Float[Tensor, "pairs dim"]) -> Pair:
        both = torch.cat([before, after, after - before], 1)
        std = both.std(0, unbiased=False)
        return cls(both.mean(0), std.clamp(min=max(1e-4 * float(std.max()), torch.finfo(std.dtype).tiny)))

    def __call__(self, before: Float[Tensor, "pairs dim"], after: Float[Tensor, "pairs dim"]) -> Float[Tensor, "pairs inputs_and_1"]:
        """Scaled to about unit length, with a 1 beside them."""
        u = (torch.cat([before, after, after - before], 1) - self.mean) / self.std / math.sqrt(len(self.mean))
        return torch.cat([u, torch.ones(len(u), 1, dtype=u.dtype)], 1)


def kernel(reader: str, a: Float[Tensor, "rows inputs"], b: Float[Tensor, "columns inputs"]) -> Float[Tensor, "rows columns"]:
    """Inner products of what the reader is linear in."""
    products = a @ b.T
    if reader == "linear":
        return products
    norms = a.norm(dim=1)[:, None] * b.norm(dim=1)
    cosine = (products / norms).clamp(-1, 1)
    theta = cosine.acos()
    active = (math.pi - theta) / math.pi  # how often both inputs are on the same side of a random unit
    return norms * ((1 - cosine.square()).sqrt() / math.pi + cosine * active) + products * active


@dataclasses.dataclass(frozen=True)
class Decoder:
    """A fitted reader."""

    reader: str
    pair: Pair
    inputs: Float[Tensor, "train inputs"]
    coefficients: Float[Tensor, "train numbers"]
    mean: Float[Tensor, "numbers"]

    def __call__(self, before: Float[Tensor, "pairs dim"], after: Float[Tensor, "pairs dim"]) -> Float[Tensor, "pairs numbers"]:
        return self.mean + kernel(self.reader, self.pair(before, after), self.inputs) @ self.coefficients


def fit_decoder(
    reader: str,
    before: Float[Tensor, "pairs dim"],
    after: Float[Tensor, "pairs dim"],
    truth: Float[Tensor, "pairs numbers"],
    objects: Int[Tensor, "pairs"],
    seed: int = 0,
) -> Decoder:
    """The parameters of g from the embeddings of x and gx, the penalty chosen on a fifth of the objects."""
    pair, mean = Pair.of(before, after), truth.mean(0)
    inputs = pair(before, after)
    coefficients, _ = fit_dual(kernel(reader, inputs, inputs), truth - mean, torch.zeros(1, *truth.shape, dtype=truth.dtype), objects, seed)
    return Decoder(reader, pair, inputs, coefficients, mean)
