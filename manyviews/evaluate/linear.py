"""The linear probe: multinomial logistic regression on features that stay as they are.

By L-BFGS, with the penalty chosen on held-out training rows, as in Kornblith et al., "Do Better ImageNet Models Transfer Better?", CVPR 2019,
arXiv:1805.08974, Sec. 3, and Radford et al. (CLIP), arXiv:2103.00020, Sec. 3.2.
Departs from the papers: features are standardised, and the grid has seven penalties instead of 45 or 96.
"""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.evaluate.lbfgs import Objective, Precondition, minimize
from manyviews.evaluate.scores import Labelled, held_out
from manyviews.nn.hardware import has_bf16

PENALTIES = tuple(10.0**e for e in range(-6, 1))
CHUNK = 2048  # rows whose logits and their gradient are in the cache at the same time


@dataclasses.dataclass(frozen=True)
class Linear:
    """A linear classifier with its standardisation."""

    mean: Float[Tensor, "dim"]
    scale: Float[Tensor, "dim"]
    weight: Float[Tensor, "dim classes"]
    bias: Float[Tensor, "classes"]
    penalty: float
    converged: bool = True

    def predict(self, x: Float[Tensor, "rows dim"]) -> Int[Tensor, "rows"]:
        return (((x.float() - self.mean) / self.scale) @ self.weight + self.bias).argmax(1)


def linear(
    train: Labelled,
    validation: Labelled | None = None,
    penalties: tuple[float, ...] = PENALTIES,
    seed: int = 0,
    products: torch.dtype = torch.float32,
    tolerance: float = 1e-5,
) -> Linear:
    """The classifier of `train`, with the penalty that is best on `validation`, or else on a fifth of the training rows; fitted then on both.

    Of penalties that are equally good, the largest.
    """
    fitted = train
    if len(penalties) > 1:
        some, rest = (train, validation) if validation is not None else held_out(train, seed)
        candidates = fit(some, penalties, products, tolerance)
        right = [int((c.predict(rest.x) == rest.y).sum()) for c in candidates]
        penalties = (max(zip(right, penalties, strict=True))[1],)
        fitted = train if validation is None else train.and_also(validation)
    return fit(fitted, penalties, products, tolerance)[0]


def fit(
    train: Labelled, penalties: tuple[float, ...], products: torch.dtype = torch.float32, tolerance: float = 1e-5, standardise: bool = True
) -> list[Linear]:
    """Minimizes, for each penalty, the mean cross-entropy plus penalty / 2 times the squared weights (not the biases) of standardised features.

    Stops when no entry of the gradient exceeds `tolerance` in size. products: bfloat16 goes there with products in that precision, and the last
    way in float32, so that the same rule holds; where the hardware has no bfloat16, float32 is faster and is taken all the way.
    """
    x = train.x.float()
    mean, scale = (x.mean(0), x.std(0, correction=0)) if standardise else (torch.zeros(x.shape[1]), torch.ones(x.shape[1]))
    scale = torch.where(scale > 1e-6 * x.abs().amax(0).clamp(min=1e-30), scale, 1.0)
    x = (x - mean) / scale if standardise else x
    basis = torch.eye(x.shape[1])
    if len(x) < x.shape[1]:  # the weights are combinations of the rows, so as many numbers as rows are enough
        basis = torch.linalg.qr(x.T).Q
        x = x @ basis
    w = torch.zeros(len(penalties), x.shape[1] + 1, train.classes)
    strength = torch.tensor(penalties)
    near = newton_at_zero(x, train.classes, strength)
    if products != torch.float32 and has_bf16(x.device):
        w = minimize(cross_entropy(x, train.y, strength, products, train.classes), w, tolerance, precondition=near, noise=1e-6).w
    found = minimize(cross_entropy(x, train.y, strength), w, tolerance, precondition=near)
    return [
        Linear(mean, scale, basis @ one[:-1] if len(basis) != len(one) - 1 else one[:-1], one[-1], penalty, bool(done))
        for one, penalty, done in zip(found.w, penalties, found.converged, strict=True)
    ]


def cross_entropy(
    x: Float[Tensor, "rows dim"], y: Int[Tensor, "rows"], penalties: Float[Tensor, "problems"], products: torch.dtype = torch.float32, classes: int = 0
) -> Objective:
    """Values and gradients of the penalised mean cross-entropy for weights (problems, dim + 1, classes), the last row being the biases.

    Rows go through in chunks, forward and backward while they are in the cache; all but the products is in float32, and sums are in float64.
    """
    low = x.to(products)
    anchor = None if products == torch.float32 else Anchor(x, torch.zeros(len(penalties), x.shape[1], classes))

    def objective(w: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        problems, inputs, classes = w.shape
        weights = anchor.difference(w[:, :-1], which) if anchor else w[:, :-1]
        flat = side_by_side(weights).to(products)
        total = torch.zeros(problems, dtype=torch.float64)
        gradient = torch.zeros(inputs - 1, problems * classes)
        biases = torch.zeros(problems, classes)
        for start in range(0, len(x), CHUNK):
            rows = slice(start, start + CHUNK)
            part, labels = low[rows], y[rows]
            logits = (part @ flat).float().view(len(part), problems, classes) + w[:, -1]
            if anchor:
                logits += anchor.logits[rows] if problems == anchor.logits.shape[1] else anchor.logits[rows][:, which]
            p = torch.log_softmax(logits, -1)
            own = labels[:, None, None].expand(-1, problems, 1)
            total -= p.gather(2, own)[:, :, 0].double().sum(0)
            p = p.exp_().scatter_add_(2, own, torch.full(own.shape, -1.0))
            gradient += part.T @ p.view(len(part), -1).to(products)
            biases += p.sum(0)
        slope = torch.cat([gradient.view(inputs - 1, problems, classes).permute(1, 0, 2), biases[:, None]], 1) / len(x)
        slope[:, :-1] += penalties[which, None, None] * w[:, :-1]
        return total / len(x) + penalties[which] / 2 * w[:, :-1].double().square().sum((1, 2)), slope

    return objective


class Anchor:
    """Logits of nearby weights in float32, renewed now and then: only the rest is left to rough products, whose error shrinks with it."""

    def __init__(self, x: Float[Tensor, "rows dim"], zero: Float[Tensor, "problems dim classes"], every: int = 8):
        self.x, self.w, self.every, self.count = x, zero, every, 0
        self.logits = torch.zeros(len(x), len(zero), zero.shape[2])

    def difference(self, w: Float[Tensor, "some dim classes"], which: Int[Tensor, "some"]) -> Float[Tensor, "some dim classes"]:
        """Weights less those whose logits are known; every eighth time the logits of `w` are found first."""
        self.count += 1
        if self.count % self.every == 0:
            self.w[which] = w
            flat = side_by_side(w)
            for start in range(0, len(self.x), CHUNK):
                rows = slice(start, start + CHUNK)
                self.logits[rows, which] = (self.x[rows] @ flat).view(-1, *w[:, 0].shape)
        return w - self.w[which]


def side_by_side(w: Float[Tensor, "problems dim classes"]) -> Float[Tensor, "dim problems_classes"]:
    """For one product that serves all problems."""
    return w.permute(1, 0, 2).flatten(1)


def newton_at_zero(x: Float[Tensor, "rows dim"], classes: int, penalties: Float[Tensor, "problems"]) -> Precondition:
    """The inverse of the Hessian at zero weights, which is x'x / (rows * classes) + penalty for each class (up to what all classes share).

    With it, features that are correlated or of few directions cost no more steps than white ones.
    """
    second = x.T @ x / (len(x) * classes)
    factors = [factor(second, float(penalty)) for penalty in penalties]

    def precondition(gradient: Tensor, which: Tensor) -> Tensor:
        solved = [torch.cholesky_solve(g[:-1], factors[k]) for g, k in zip(gradient, which.tolist(), strict=True)]
        return torch.cat([torch.stack(solved), classes * gradient[:, -1:]], 1)

    return precondition


def factor(matrix: Float[Tensor, "dim dim"], penalty: float) -> Float[Tensor, "dim dim"]:
    """The Cholesky factor of the matrix with the penalty on its diagonal, and as much more as float32 needs to see that it is definite."""
    more = 1e-6 * float(matrix.diagonal().sum()) + 1e-30
    while True:
        lower, info = torch.linalg.cholesky_ex(matrix + (penalty + more) * torch.eye(len(matrix)))
        if not int(info):
            return lower
        more *= 10
