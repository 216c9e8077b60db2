"""SimCore: does a coreset that is like a small target set help its pretraining more than random samples, or all there is?

Kim, Bae, Yun, "Coreset Sampling from Open-Set for Fine-Grained Self-Supervised Learning", CVPR 2023, arXiv:2303.11101: with SimCLR, ResNet-50, linear
evaluation, pretraining on target and coreset is better by 10.5 points than on the target alone (README, mean of 11 fine-grained sets, with the
stopping rule), and better than with as many random samples of ImageNet and than with all of it (the tables were not at hand). Here the target are
1,000 pictures of four animals, the open set what 20,000 of CIFAR-10 have of the other six classes; the coreset, like the random samples, is 5 % of it. All
arms have equal steps; SimCore's encoder of the target is trained for 200 more before, which its seconds count.
"""

import dataclasses

import numpy as np

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.app.preparing import Tools
from manyviews.data.simcore import simcore

CLOSE = (3, 4, 5, 7)  # cat, deer, dog, horse
SHARE = 0.05


def close(data):
    """The samples of the target's classes."""
    data = data.select(np.isin(data.labels, CLOSE))
    return dataclasses.replace(data.with_columns(label=np.searchsorted(CLOSE, data.labels)), classes=[data.classes[k] for k in CLOSE])


def measured(bench, method):
    return bench.probes(method.exported, close(bench.train), close(bench.test))


def parts(bench):
    """Rows of the target and of the open set."""
    member = np.isin(bench.pretraining.labels, CLOSE)
    return np.flatnonzero(member)[:1000], np.flatnonzero(~member)


def on(rows_of):
    """SimCLR on the target and on what is added to it."""

    def run(bench):
        target, openset = parts(bench)
        more = rows_of(bench, target, openset)
        return {**measured(bench, bench.pretrain(data=bench.pretraining.select(np.concatenate([target, more])))), "added": len(more)}

    return run


def coreset(bench, target, openset):
    retrieval = bench.pretrain(data=bench.pretraining.select(target), **({"steps": 200} if bench.words.get("steps") else {}))
    tools = Tools(bench.size, bench.device, bench.threads)
    chosen = simcore(*(bench.pretraining.select(rows) for rows in (target, openset)), lambda data: tools.embed(retrieval.exported, data), share=SHARE)
    return openset[chosen]


def as_many(bench, target, openset):
    return np.random.default_rng(bench.seed).permutation(openset)[: int(SHARE * len(openset))]


SIMCLR = {"short": {"temperature": 0.2, "hidden": 512}}

CLAIM = Claim(
    system="simcore",
    paper="target + coreset is 10.5 points better than the target alone (mean of 11 fine-grained sets), and better than random samples and all of ImageNet",
    question="Does SimCore's coreset help to tell four animals apart more than random pictures, none, or all of the open set?",
    arms={
        "coreset": Arm("simclr", run=on(coreset), **SIMCLR),
        "random": Arm("simclr", run=on(as_many), **SIMCLR),
        "target alone": Arm("simclr", run=on(lambda bench, target, openset: openset[:0]), **SIMCLR),
        "all": Arm("simclr", run=on(lambda bench, target, openset: openset), **SIMCLR),
    },
    data=(Arena("cifar10", rows=20000, test=0),),
    versus=(
        Versus("coreset", "random", "linear"),
        Versus("coreset", "random", "knn"),
        Versus("coreset", "target alone", "linear", says="A coreset is better than none."),
        Versus("coreset", "all", "linear", says="A coreset is better than all of the open set."),
    ),
    full={"encoder": "resnet50", "size": 224, "epochs": 5000, "batch": 512},
    measure=measured,
    seeds=5,
)
