"""Maps of the embedding that stand for a transformation, fitted on some objects to be scored on others.

Linear maps W(g) = sum_k phi_k(g) W_k are the family of the hypernetwork of SIE (Garrido et al., ICML 2023, arXiv:2302.10283), here fitted exactly: such a map
is linear in z (x) phi(g), whose inner products are the products of those of z and of phi, so ridge regression needs one matrix of pairs x pairs and no
d^2 k unknowns. A 1 stands beside z, so that a shift of the embedding counts as a map of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from manyviews.errors import InputError
from manyviews.evaluate.symmetry_scores import squares

PENALTIES = (1e-9, 1e-7, 1e-5, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # relative to the mean of the kernel's diagonal
TIES = (1e-3, 1e-2, 1e-1, 1.0)  # of orthogonal maps to the identity, relative to the mean squared embedding


def kept_back(objects: Int[Tensor, "pairs"], share: float, seed: int) -> Bool[Tensor, "pairs"]:
    """The pairs of a random share of the objects, at least one of them and never all."""
    names, own = objects.unique(return_inverse=True)
    if len(names) < 2:
        raise InputError("all pairs are of one object; a map is fitted on some objects and scored on others, so there must be more")
    count = min(max(1, round(share * len(names))), len(names) - 1)
    chosen = torch.zeros(len(names), dtype=torch.bool)
    chosen[torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))[:count]] = True
    return chosen[own]


def ridge(kernel: Float[Tensor, "pairs pairs"], targets: Float[Tensor, "pairs columns"], penalties: tuple[float, ...]) -> list[Float[Tensor, "pairs columns"]]:
    """The dual coefficients of kernel ridge regression for each penalty."""
    scale = kernel.diagonal().mean().clamp(min=torch.finfo(kernel.dtype).tiny)
    eye = torch.eye(len(kernel), dtype=kernel.dtype)
    return [torch.cholesky_solve(targets, torch.linalg.cholesky(kernel + penalty * scale * eye)) for penalty in penalties]


def fit_dual(
    kernel: Float[Tensor, "pairs pairs"],
    y: Float[Tensor, "pairs dim"],
    starts: Float[Tensor, "starts pairs dim"],
    objects: Int[Tensor, "pairs"],
    seed: int = 0,
) -> tuple[Float[Tensor, "pairs dim"], int]:
    """Ridge regression of y beyond one of the predictions `starts` (zero, the identity), on the dual side.

    The penalty and the start are those that are best on a fifth of the objects; then all are fitted. Returns the coefficients and the start's number.
    """
    out = kept_back(objects, 0.2, seed)
    beyond = y - starts
    count, dim = len(starts), y.shape[1]
    columns = beyond.transpose(0, 1).flatten(1)
    found = ridge(kernel[~out][:, ~out], columns[~out], PENALTIES)
    errors = torch.stack([(kernel[out][:, ~out] @ a - columns[out]).square().view(-1, count, dim).sum((0, 2)) for a in found])
    best = int(errors.argmin())
    penalty, start = PENALTIES[best // count], best % count
    return ridge(kernel, beyond[start], (penalty,))[0], start


@dataclasses.dataclass(frozen=True)
class Linear:
    """W(g) z, in dual form: its coefficients on the training pairs."""

    coefficients: Float[Tensor, "train dim"]
    phi: Float[Tensor, "train basis"]
    z: Float[Tensor, "train dim"]
    centre: Float[Tensor, "dim"]
    scale: float
    from_identity: bool  # W(g) is the identity plus what was fitted; else nothing plus it
    sees_z: bool = True

    def __call__(self, phi: Float[Tensor, "pairs basis"], z: Float[Tensor, "pairs dim"]) -> Float[Tensor, "pairs dim"]:
        kernel = phi @ self.phi.T
        if self.sees_z:
            kernel = kernel * (((z - self.centre) / self.scale) @ ((self.z - self.centre) / self.scale).T + 1)
        return kernel @ self.coefficients + (z if self.from_identity else self.centre)


def fit_linear(
    before: Float[Tensor, "pairs dim"],
    after: Float[Tensor, "pairs dim"],
    phi: Float[Tensor, "pairs basis"],
    objects: Int[Tensor, "pairs"],
    sees_z: bool = True,
    seed: int = 0,
) -> Linear:
    """The linear map of each g, by ridge regression towards the identity or towards the mean.

    sees_z: without, the same vector for all objects: what g alone says about f(gx), which is no equivariance.
    """
    centre = torch.cat([before, after]).mean(0)
    scale = max(float(squares(before - centre).mean().sqrt()), torch.finfo(before.dtype).tiny)
    kernel = phi @ phi.T
    starts = torch.zeros(1, *after.shape, dtype=after.dtype)
    if sees_z:
        lifted = (before - centre) / scale
        kernel = kernel * (lifted @ lifted.T + 1)
        starts = torch.cat([starts, (before - centre)[None]])
    coefficients, start = fit_dual(kernel, after - centre, starts, objects, seed)
    return Linear(coefficients, phi, before, centre, scale, bool(start), sees_z)


@dataclasses.dataclass(frozen=True)
class Orthogonal:
    """One orthogonal map for each element, between the mean before and the mean after."""

    spans: list[Float[Tensor, "dim _"]]  # of each element's training embeddings; outside them its map is the identity
    turns: list[Float[Tensor, "_ _"]]  # inside them
    before: Float[Tensor, "dim"]
    after: Float[Tensor, "elements dim"]

    def __call__(self, element: Int[Tensor, "pairs"], z: Float[Tensor, "pairs dim"]) -> Float[Tensor, "pairs dim"]:
        moved = z - self.before
        for e in element.unique().tolist():
            own, inside = element == e, (z[element == e] - self.before) @ self.spans[e]
            moved[own] += (inside @ self.turns[e].T - inside) @ self.spans[e].T
        return self.after[element] + moved


def fit_orthogonal(
    before: Float[Tensor, "pairs dim"], after: Float[Tensor, "pairs dim"], element: Int[Tensor, "pairs"], objects: Int[Tensor, "pairs"], seed: int = 0
) -> Orthogonal:
    """Procrustes' problem for each element, tied to the identity: the orthogonal Q with the least |y - Qz|^2 + tie |Q - I|^2.

    Its solution is U V^T of the singular value decomposition of y^T z + tie I. The tie is the best on a fifth of the objects.
    """
    out = kept_back(objects, 0.2, seed)
    errors = []
    for tie in TIES:
        maps = procrustes(before[~out], after[~out], element[~out], int(element.max()) + 1, tie)
        errors.append(float(squares(maps(element[out], before[out]) - after[out]).sum()))
    return procrustes(before, after, element, int(element.max()) + 1, TIES[errors.index(min(errors))])


def procrustes(before: Float[Tensor, "pairs dim"], after: Float[Tensor, "pairs dim"], element: Int[Tensor, "pairs"], elements: int, tie: float) -> Orthogonal:
    start = before.mean(0)
    ends = after.mean(0).repeat(elements, 1)
    spans, turns = [], []
    for e in range(elements):
        own = element == e
        if own.any():
            ends[e] = after[own].mean(0)
        z, y = before[own] - start, after[own] - ends[e]
        spans.append(span(torch.cat([z, y])))
        z, y = z @ spans[e], y @ spans[e]
        strength = tie * max(float(z.square().sum()), torch.finfo(z.dtype).tiny) / max(1, z.shape[1])
        u, _, v = torch.linalg.svd(y.T @ z + strength * torch.eye(z.shape[1], dtype=z.dtype))
        turns.append(u @ v)
    return Orthogonal(spans, turns, start, ends)


def span(rows: Float[Tensor, "rows dim"]) -> Float[Tensor, "dim rank"]:
    """An orthonormal basis of the space of the rows."""
    if len(rows) >= rows.shape[1]:
        return torch.eye(rows.shape[1], dtype=rows.dtype)
    return torch.linalg.qr(rows.T).Q


def composition_error(
    one: Callable[[Tensor, Tensor], Tensor],
    first: Float[Tensor, "pairs basis"],
    second: Float[Tensor, "pairs basis"],
    both: Float[Tensor, "pairs basis"],
    z: Float[Tensor, "pairs dim"],
    centre: Float[Tensor, "dim"],
) -> tuple[Float[Tensor, "pairs"], Float[Tensor, "pairs"]]:
    """|W(h) W(g) z - W(hg) z|^2 and |W(hg) z|^2, the latter about the mean embedding: 0 for maps that compose as the group does."""
    direct = one(both, z)
    return squares(one(second, one(first, z)) - direct), squares(direct - centre)
