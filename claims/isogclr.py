"""iSogCLR: does a temperature for every sample beat one for all, on long-tailed data?

Qiu et al., "Not All Semantics are Created Equal: Contrastive Self-supervised Learning with Automatic Temperature Individualization", ICML 2023,
arXiv:2305.11965: linear evaluation above SimCLR's at its best temperature, most of all on long-tailed data (CIFAR-100-LT: 37.8 against 34.3 %, from memory).
CIFAR-10 is made long-tailed here as there: class c keeps a share of 100 ** (-c / 9) of its pictures. The test set is balanced. Beside accuracy the rank
correlation of a sample's final temperature with the size of its class is measured; the paper expects it above zero.
"""

import numpy as np
from scipy.stats import spearmanr

from manyviews.app.evidence import Arena, Arm, Claim, Versus


def long_tail(data, part):
    if part == "test":
        return data
    rng = np.random.default_rng(0)
    keep = np.zeros(len(data), bool)
    for c in range(10):
        rows = np.flatnonzero(data.labels == c)
        keep[rng.permutation(rows)[: round(len(rows) * 100 ** (-c / 9))]] = True
    return data.select(keep)


def measure(bench, method):
    found = bench.probes(method.exported)
    state = getattr(method, "state", None)
    if state is not None:
        size = np.bincount(bench.pretraining.labels)[bench.pretraining.labels]
        seen = state.log_mean.cpu().numpy() > -np.inf
        found["temperature and class size"] = float(spearmanr(state.temperature.cpu().numpy()[seen], size[seen]).statistic)
    return found


FRAME = {"hidden": 512, "views": "simclr"}

CLAIM = Claim(
    system="isogclr",
    paper="CIFAR-100-LT, linear evaluation 37.8 against SimCLR's 34.3 % (from memory)",
    question="Does iSogCLR beat SimCLR on long-tailed data, at each of three temperatures?",
    arms={"isogclr": Arm("isogclr", **FRAME), **{f"simclr at {t}": Arm("simclr", temperature=t, **FRAME) for t in (0.1, 0.2, 0.5)}},
    data=(Arena("cifar10", prepare=long_tail, name="cifar10 long-tailed"),),
    versus=(
        Versus("isogclr", "simclr at 0.1", "linear"),
        Versus("isogclr", "simclr at 0.2", "linear", margin=0.01),
        Versus("isogclr", "simclr at 0.5", "linear", margin=0.01),
        Versus("isogclr", "simclr at 0.1", "knn"),
    ),
    measure=measure,
    full={"encoder": "resnet18_small", "size": 32, "epochs": 400, "batch": 128},
)
