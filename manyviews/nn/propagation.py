"""What the labels of some nodes of a graph say about the others: label propagation, iterative classification, labels near a node, prototypes of classes.

Labels are class numbers, -1 where there is none. Zhu, Ghahramani, Lafferty, "Semi-Supervised Learning Using Gaussian Fields and Harmonic Functions",
ICML 2003 (harmonic); Neville, Jensen, "Iterative Classification in Relational Data", AAAI workshop 2000 (iterative_classification); Han, Luo, Wang, "Deep
Self-Learning From Noisy Labels", ICCV 2019, arXiv:1908.02160 (prototypes).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from manyviews.nn.hops import closeness

Csr = Any  # scipy.sparse.csr_matrix
DENSITY = 0.4  # quantile of the similarities above which two samples are close
COPY = 0.95  # similarity to a denser sample from which on one adds nothing


def harmonic(a: Csr, label: Int[np.ndarray, "nodes"], classes: int, iterations: int = 30) -> Float[np.ndarray, "nodes classes"]:
    """Each node's probabilities are the mean of its neighbours', those of labelled nodes stay; all 0 where no label reaches in so many iterations."""
    from scipy.sparse import diags

    known = one_hot(label, classes)
    step = diags((label < 0) / np.maximum(np.diff(a.indptr), 1)) @ a
    found = known
    for _ in range(iterations - 1):
        found = step @ found + known
    return found


def iterative_classification(
    a: Csr, x: Float[np.ndarray, "nodes channels"], label: Int[np.ndarray, "nodes"], classes: int, iterations: int = 10
) -> Float[np.ndarray, "nodes classes"]:
    """Probabilities by a logistic regression on a node's features and on how many neighbours have each label, as they were guessed last.

    The first guesses are those of a regression on features alone, also while the second is fitted; then nodes are guessed one after the other, in their
    order, until nothing changes.
    """
    from sklearn.linear_model import LogisticRegression

    train = np.flatnonzero(label >= 0)
    present, answer = np.unique(label[train], return_inverse=True)
    if len(present) < 2:
        return one_hot(np.where(label < 0, present[0] if len(present) else -1, label), classes)
    now = LogisticRegression(max_iter=1000).fit(x[train], answer).predict(x)
    now[train] = answer
    model = LogisticRegression(max_iter=1000).fit(np.hstack([x[train], (a @ one_hot(now, len(present)))[train]]), answer)
    weights, bias = model.coef_, model.intercept_
    if len(present) == 2:  # there it has one score, of the second class
        weights, bias = np.concatenate([-weights, weights]), np.concatenate([-bias, bias])
    alone, around = x @ weights[:, : x.shape[1]].T + bias, weights[:, x.shape[1] :]
    for _ in range(iterations):
        before = now.copy()
        for node in np.flatnonzero(label < 0).tolist():
            count = np.bincount(now[a.indices[a.indptr[node] : a.indptr[node + 1]]], minlength=len(present))
            now[node] = np.argmax(alone[node] + around @ count)
        if (before == now).all():
            break
    probability = np.zeros((len(x), classes))
    probability[:, present] = model.predict_proba(np.hstack([x, a @ one_hot(now, len(present))]))
    probability[train] = one_hot(label[train], classes)
    return probability


def guessed(kind: str, a: Csr, x: Float[np.ndarray, "nodes channels"], label: Int[np.ndarray, "nodes"], classes: int) -> Int[np.ndarray, "nodes"]:
    """Likeliest labels by label propagation (lp), iterative classification (ica), or the sum of both probabilities (both); -1 where there is no telling."""
    p = np.zeros((len(label), classes))
    if kind in ("lp", "both"):
        p = p + harmonic(a, label, classes)
    if kind in ("ica", "both"):
        p = p + iterative_classification(a, x, label, classes)
    return np.where(p.max(1) > 0, p.argmax(1), -1)


def near_labels(a: Csr, label: Int[np.ndarray, "nodes"], classes: int) -> Float[np.ndarray, "nodes three_classes"]:
    """1 / hops to the labelled nodes of each class: the mean, the largest (the nearest one's) and the smallest; 0 for classes without any."""
    near = np.zeros((a.shape[0], classes, 3), np.float32)
    for k in np.unique(label[label >= 0]):
        to = closeness(a, np.flatnonzero(label == k))
        near[:, k] = np.stack([to.mean(0), to.max(0), to.min(0)], 1)
    return near.reshape(len(near), -1)


def one_hot(label: Int[np.ndarray, "nodes"], classes: int) -> Float[np.ndarray, "nodes classes"]:
    """Rows of zeros for -1."""
    return np.eye(classes + 1)[label][:, :classes]


def label_shares(
    nodes: Int[Tensor, "pairs"], others: Int[Tensor, "pairs"], label: Int[Tensor, "nodes"], classes: int
) -> tuple[Float[Tensor, "nodes classes"], Bool[Tensor, "nodes"]]:
    """Of each node the shares of labels among the others that it is paired with, and whether any of those has one."""
    known = label[others] >= 0
    count = torch.bincount(nodes[known] * classes + label[others][known], minlength=len(label) * classes).view(len(label), classes)
    total = count.sum(1, keepdim=True)
    return count / total.clamp(min=1), total[:, 0] > 0


@torch.no_grad()
def likest_class(
    h: Float[Tensor, "nodes dim"], label: Int[Tensor, "nodes"], classes: int, candidates: int, count: int, lot: Float[Tensor, "nodes"]
) -> Int[Tensor, "nodes"]:
    """For every node the class to whose prototypes its features have the largest mean cosine.

    Of each class `count` prototypes are taken of its `candidates` nodes with the smallest lot.
    """
    with torch.autocast(h.device.type, enabled=False):
        z = F.normalize(h.float(), dim=1)
        score = z.new_full((len(z), classes), -2.0)
        for k in label[label >= 0].unique().tolist():
            members = torch.nonzero(label == k)[:, 0]
            some = z[members[lot[members].argsort()[:candidates]]]
            score[:, k] = z @ some[prototypes(some, count)].mean(0)
    return score.argmax(1)


def prototypes(z: Float[Tensor, "samples dim"], count: int) -> Int[Tensor, "chosen"]:
    """The `count` samples of one class, with embeddings `z` of length 1, that most others are close to, passing over those much like a denser one.

    Similarities are rounded, so that processes whose sums differ in the last digits choose the same.
    """
    close = (z @ z.T).round(decimals=4)
    density = torch.sign(close - close.flatten().kthvalue(int(DENSITY * (close.numel() - 1)) + 1).values).sum(1)
    denser = density[None] > density[:, None]
    likest = torch.where(denser, close, -2.0).amax(1)
    apart = torch.where(denser.any(1), likest, close.amin(1))
    return torch.where(apart >= COPY, 0.0, density).argsort(descending=True, stable=True)[:count]
