"""Hydra: do pairs of samples of any two classes teach features that transfer better than pairs of one class?

Wu et al., "Rethinking Positive Pairs in Contrastive Learning", arXiv:2410.18200: with pairs of arbitrary classes learning works (CIFAR-10 90.86 % in the
authors' repository), and on ImageNet-1k it transfers better than SupCon, with less collapse of dimensions. Here all arms learn from eight classes of
CIFAR-10 with labels, and the probes ask for all ten; RankMe is the effective rank of the features.
"""

import dataclasses

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.evaluate.rankme import rankme


def on_eight_classes(bench):
    data = bench.pretraining.select(bench.pretraining.labels < 8)
    method = bench.pretrain(data=dataclasses.replace(data, classes=data.classes[:8]))
    return {**bench.probes(method.exported), "rankme": rankme(bench.features(method.exported, bench.test).x[:1000])}


def untrained(bench):
    method = bench.untrained()
    return {**bench.probes(method.exported), "rankme": rankme(bench.features(method.exported, bench.test).x[:1000])}


VIEWS = {"views": "simclr"}

CLAIM = Claim(
    system="hydra",
    paper="learning from 500,500 class pairs of ImageNet-1k works and transfers better than SupCon; CIFAR-10 90.86 %",
    question="After learning from eight of ten classes, do Hydra's features tell all ten better than SupCon's?",
    arms={
        "hydra": Arm("hydra", run=on_eight_classes, hidden=512, gate_hidden=256, label_dim=128, **VIEWS),
        "hydra, identical pairs": Arm("hydra", run=on_eight_classes, pairs="identical", hidden=512, gate_hidden=256, label_dim=128, **VIEWS),
        "supcon": Arm("supcon", run=on_eight_classes, hidden=512, **VIEWS),
        "supervised": Arm("supervised", run=on_eight_classes, **VIEWS),
        "untrained": Arm(run=untrained),
    },
    data=(Arena("cifar10", rows=20000),),
    versus=(
        Versus("hydra", "supcon", "linear"),
        Versus("hydra", "supcon", "knn"),
        Versus("hydra", "supcon", "rankme", says="Its features use more dimensions."),
        Versus("hydra", "hydra, identical pairs", "linear"),
    ),
    full={"encoder": "resnet18_small", "size": 32, "epochs": 50, "batch": 256},
)
