"""iSogCLR: does a temperature for every sample beat one for all, on long-tailed data?

Qiu et al., "Not All Semantics are Created Equal: Contrastive Self-supervised Learning with Automatic Temperature Individualization", ICML 2023,
arXiv:2305.11965: linear evaluation above SimCLR's at its best temperature, most of all on long-tailed data (CIFAR-100-LT: 37.8 against 34.3 %, from memory).
CIFAR-10 is made long-tailed here as there: class c keeps a share of 100 ** (-c / 9) of its pictures, and 2,000 of these are learned from, so that each is seen
some 13 times and its temperature can move. The test set is balanced. No arm normalises its projector, as in the authors' code. "sogclr" has the running means
and one temperature, that with which iSogCLR begins. The headline is against 0.5, which the SimCLR paper found best on CIFAR-10. Beside accuracy the rank
correlation of a sample's final temperature with the size of its class is measured; the paper expects it above zero.
"""

import numpy as np
from scipy.stats import spearmanr

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.nn.individual_temperatures import UNSEEN


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
    if state is not None and bool(state.temperature.std() > 0):
        size = np.bincount(bench.pretraining.labels)[bench.pretraining.labels]
        seen = state.log_mean.cpu().numpy() > UNSEEN
        found["temperature and class size"] = float(spearmanr(state.temperature.cpu().numpy()[seen], size[seen]).statistic)
    return found


FRAME = {"hidden": 512, "views": "simclr"}
PLAIN = {"norm": False, "last_norm": False}

CLAIM = Claim(
    system="isogclr",
    paper="CIFAR-100-LT, linear evaluation 37.8 against SimCLR's 34.3 % (from memory)",
    question="Does iSogCLR beat SimCLR on long-tailed data, at each of three temperatures?",
    arms={
        "isogclr": Arm("isogclr", **FRAME),
        "sogclr": Arm("isogclr", step=0.0, **FRAME),
        **{f"simclr at {t}": Arm("simclr", temperature=t, **FRAME, **PLAIN) for t in (0.1, 0.2, 0.5)},
    },
    data=(Arena("cifar10", rows=2000, prepare=long_tail, name="cifar10 long-tailed"),),
    versus=(
        Versus("isogclr", "simclr at 0.5", "linear"),
        Versus("isogclr", "simclr at 0.2", "linear"),
        Versus("isogclr", "simclr at 0.1", "linear"),
        Versus("isogclr", "simclr at 0.5", "knn"),
        Versus("isogclr", "sogclr", "linear", says="Temperatures of their own are better than one."),
    ),
    measure=measure,
    full={"encoder": "resnet18_small", "size": 32, "epochs": 400, "batch": 128},
)
