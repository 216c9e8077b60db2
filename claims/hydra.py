"""Hydra: do pairs of samples of any two classes teach features that transfer better than pairs of one class?

Wu et al., "Rethinking Positive Pairs in Contrastive Learning", arXiv:2410.18200: with pairs of arbitrary classes learning works (CIFAR-10 90.86 % in the
authors' repository, where SupCon has 89.9 and arbitrary pairs without gates 25.3 %), and on ImageNet-1k it transfers better than SupCon, with less collapse of
dimensions. Here all arms learn from eight classes of CIFAR-10 with labels; then probes ask for the seven classes of PACS, for the two classes that were left
out, and for all ten. RankMe is the effective rank of the features. "supervised" sees one view a sample, its own crops and flips, and takes twice the steps.
"""

import dataclasses

import numpy as np

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.evaluate.rankme import rankme

PACS = Arena("pacs64", train=0)


def on_eight_classes(bench):
    data = bench.pretraining.select(bench.pretraining.labels < 8)
    return measured(bench, bench.pretrain(data=dataclasses.replace(data, classes=data.classes[:8])).exported)


def untrained(bench):
    return measured(bench, bench.untrained().exported)


def measured(bench, encoder):
    """Probes of all classes, of those that were left out, and of PACS; and the effective rank."""
    found = bench.probes(encoder)
    others = {
        "left_out": [part.select(part.labels >= 8) for part in (bench.train, bench.test)],
        "pacs": [by_class(part) for part in PACS.open(bench.size)[1:]],
    }
    for name, parts in others.items():
        found |= {f"{name}_{probe}": right for probe, right in bench.probes(encoder, *parts).items()}
    return {**found, "rankme": rankme(bench.features(encoder, bench.test).x[:1000])}


def by_class(data):
    """Pictures of PACS with their class, whatever their domain, as label."""
    classes, label = np.unique([data.name(row).split("/")[-2] for row in range(len(data))], return_inverse=True)
    return dataclasses.replace(data.with_columns(label=label), classes=classes.tolist())


WIDTHS = {"hidden": 512, "gate_hidden": 256, "label_dim": 128}
VIEWS = {"views": "simclr"}

CLAIM = Claim(
    system="hydra",
    paper="learning from 500,500 class pairs of ImageNet-1k works and transfers better than SupCon; CIFAR-10 90.86 %",
    question="After learning from eight classes of CIFAR-10, do Hydra's features tell those of PACS better than SupCon's, and do pairs without gates fail?",
    arms={
        "hydra": Arm("hydra", run=on_eight_classes, short=WIDTHS, **VIEWS),
        "hydra, no gates": Arm("hydra", run=on_eight_classes, gates="open", short=WIDTHS, **VIEWS),
        "hydra, identical pairs": Arm("hydra", run=on_eight_classes, pairs="identical", short=WIDTHS, **VIEWS),
        "supcon": Arm("supcon", run=on_eight_classes, short={"hidden": 512}, **VIEWS),
        "supervised": Arm("supervised", run=on_eight_classes, short={"steps": 800}),
        "untrained": Arm(run=untrained),
    },
    data=(Arena("cifar10", rows=20000),),
    versus=(
        Versus("hydra", "supcon", "pacs_linear"),
        Versus("hydra", "supcon", "left_out_linear", says="On the two classes that were left out as well."),
        Versus("hydra", "supcon", "linear"),
        Versus("hydra", "supcon", "knn"),
        Versus("hydra", "supcon", "rankme", arena=False, says="Its features use more dimensions."),
        Versus("hydra", "supervised", "pacs_linear", says="It transfers better than cross-entropy."),
        Versus("hydra", "hydra, no gates", "linear", arena=False, says="Without gates pairs of any two classes teach less."),
        Versus("hydra", "hydra, identical pairs", "pacs_linear", says="Pairs of any two classes are better than those of one."),
    ),
    full={"encoder": "resnet18_small", "size": 32, "epochs": 50, "batch": 256},
)
