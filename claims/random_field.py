"""Random field augmentations: do changes that vary over the picture make better features than changes that are the same everywhere?

Mansfield et al., "Random Field Augmentations for Self-Supervised Representation Learning", 2023, arXiv:2311.03629, abstract: on ImageNet 1.7 points more
top-1 than without them, on iNaturalist, which was not trained on, 3.6 points; mild changes improve representations, strong ones degrade them.
Here SimCLR on CIFAR-10, otherwise as in its own claim; then probes ask for its classes, and, for what transfers, for the seven of PACS: photographs, paintings
and drawings that were not trained on. "global" is the control: affine maps and colour changes of the same strengths and probabilities, the same everywhere in
a view, so that what is more is the field alone. The strengths are half, once and twice those of `views/random_field.py`.
"""

import dataclasses

import numpy as np

from manyviews.app.evidence import Arena, Arm, Claim, Versus

PACS = Arena("pacs64", train=0)
SHORT = {"temperature": 0.2, "hidden": 512}  # as in the claim of SimCLR: for batches of 64


def measure(bench, method):
    """Probes of the classes of CIFAR-10, and of those of PACS."""
    found, parts = bench.probes(method.exported), [by_class(part) for part in PACS.open(bench.size)[1:]]
    return found | {f"pacs_{probe}": right for probe, right in bench.probes(method.exported, *parts).items()}


def by_class(data):
    """Pictures of PACS with their class, whatever their domain, as label."""
    classes, label = np.unique([data.name(row).split("/")[-2] for row in range(len(data))], return_inverse=True)
    return dataclasses.replace(data.with_columns(label=label), classes=classes.tolist())


def arm(views):
    return Arm("simclr", views=views, short=SHORT)


CLAIM = Claim(
    system="random_field",
    paper="ImageNet 1.7 points, iNaturalist 3.6 points more top-1 than the baseline; mild fields help, strong ones degrade",
    question="Do SimCLR's features get better with local affine and colour changes on top, more than with global ones of the same strength?",
    arms={
        "random_field": arm("random_field"),
        "half as strong": arm("random_field_mild"),
        "twice as strong": arm("random_field_strong"),
        "field affine": arm("random_field_affine"),
        "field colour": arm("random_field_colour"),
        "global": arm("random_field_global"),
        "simclr": arm("simclr"),
    },
    data=(Arena("cifar10", rows=20000, test=0),),
    versus=(
        Versus("random_field", "simclr", "linear"),
        Versus("random_field", "simclr"),
        Versus("random_field", "simclr", "pacs_linear", says="They transfer better as well."),
        Versus("random_field", "global", "linear", says="Changes that vary over the picture are better than global ones of the same strength."),
        Versus("random_field", "global", "pacs_linear", says="More than with global ones."),
        Versus("half as strong", "twice as strong", "linear", says="Mild fields are better than strong ones."),
        Versus("field affine", "simclr", "linear", says="Local affine maps alone help."),
        Versus("field colour", "simclr", "linear", says="Local colour changes alone help."),
    ),
    measure=measure,
    full={"encoder": "resnet18_small", "size": 32, "epochs": 800, "batch": 512},
)
