"""PASS: what does it cost to pretrain on pictures without the very things that one is to recognise later?

Asano, Rupprecht, Zisserman, Vedaldi, "PASS: An ImageNet replacement for self-supervised pretraining without humans", NeurIPS 2021 Datasets and
Benchmarks, arXiv:2109.13228. MoCo v2, ResNet-50, 200 epochs, linear evaluation (table of the authors' repository): pretrained on ImageNet 60.6 % on ImageNet
and 50.1 % on Places205, on PASS 59.5 and 52.8 %. PASS has 180 GB; what is asked here is its question in small: CIFAR-10 without animals stands for pictures
without people, as many pictures of all classes for ImageNet. A loss of less than two points, on all classes and on the animals that were never
seen, is the claim; photographs of PACS are another transfer, which should gain.
"""

import numpy as np

from manyviews.app.evidence import Arena, Arm, Claim, Versus

ANIMALS = (2, 3, 4, 5, 6, 7)  # bird, cat, deer, dog, frog, horse
PACS = Arena("pacs64/photo", train=0, test=0)


def measured(bench, method):
    """Probes on all classes, on the animals alone, and on photographs of PACS."""
    found = bench.probes(method.exported)
    train, test = (part.select(np.isin(part.labels, ANIMALS)) for part in (bench.train, bench.test))
    _, pacs_train, pacs_test = PACS.open(bench.size)
    for name, parts in (("animals", (train, test)), ("pacs", (pacs_train, pacs_test))):
        found |= {f"{name}_{probe}": right for probe, right in bench.probes(method.exported, *parts).items()}
    return found


def on(without):
    """Equally many pictures, with or without animals."""

    def run(bench):
        kept = np.flatnonzero(~np.isin(bench.pretraining.labels, ANIMALS))
        rows = kept if without else np.sort(np.random.default_rng(0).permutation(len(bench.pretraining))[: len(kept)])
        return measured(bench, bench.pretrain(data=bench.pretraining.select(rows)))

    return run


SIMCLR = {"short": {"temperature": 0.2, "hidden": 512}}

CLAIM = Claim(
    system="pass_dataset",
    paper="MoCo v2, 200 epochs, linear: ImageNet -> 60.6 % ImageNet, 50.1 % Places205; PASS -> 59.5 % and 52.8 %",
    question="Does SimCLR without any animal in its pictures lose less than two points, on all classes, on animals and on other photographs?",
    arms={"without animals": Arm("simclr", run=on(True), **SIMCLR), "with everything": Arm("simclr", run=on(False), **SIMCLR)},
    data=(Arena("cifar10", rows=20000),),
    versus=(
        Versus("without animals", "with everything", "linear", margin=0.02, says="On all classes it loses less than two points."),
        Versus("without animals", "with everything", "animals_linear", margin=0.02, says="On animals it loses less than two points."),
        Versus("without animals", "with everything", "pacs_linear", says="On photographs of PACS it is better, as on Places in the paper."),
        Versus("without animals", "untrained", "animals_linear"),
    ),
    full={"encoder": "resnet18_small", "size": 32, "epochs": 200, "batch": 256},
    measure=measured,
    raw=False,
)
