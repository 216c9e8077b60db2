"""Invariance-constrained learning: does bounding the loss of transformed samples do as well as augmentation by hand, and withstand a harmful one?

Hounie, Chamon, Ribeiro, "Automatic Data Augmentation via Invariance-Constrained Learning", ICML 2023, arXiv:2209.15031: CIFAR-10, WRN-28-10, about 97 %, on
par with TrivialAugment and others (figures from memory, not checked); on digits that were made invariant the dual variables tell the transformations apart.
Here a classifier of CIFAR-10 with TrivialAugment's 14 operations, and of 3,000 MNIST digits in 24 pixels with mirrors, turns of any angle and mild changes,
where half turns make a 6 of a 9. "uniform" draws transformations and weighs them as much as the samples, as augmentation does; "chain, no constraint" draws
by Metropolis-Hastings with the same fixed weight; the rate of the dual variable is one for 400 steps instead of the paper's 78,000. "own bounds" gives each
transformation its dual variable: `flip_minus_brightness` is how much larger that of the mirrors is than that of brightness, which digits do not mind.
Steps are equal, not compute: a chain of two states costs three more passes forward than no augmentation, and one more backward.
"""

import dataclasses

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.app.evidence.arena import some
from manyviews.evaluate.knn import knn
from manyviews.methods.equivary.invariance_constrained import SPACE

ROWS = {"train": 3000, "test": 2000}
HARMFUL = "identity,flip_x,flip_y,so2,brightness,contrast,translate_x"


def digits(data, part):
    return dataclasses.replace(some(data, ROWS[part]), channels=3)


def measure(bench, method):
    known, asked = (bench.features(method.exported, part) for part in (bench.train, bench.test))
    found = {"knn": (knn(known.x, known.y, asked.x) == asked.y).numpy()}
    if not hasattr(method, "classifier"):
        return found
    said = bench.features(lambda view: method.classifier(method.encoder(view)), bench.test)
    found["accuracy"] = (said.x.argmax(1) == said.y).numpy()
    if hasattr(method, "dual"):
        dual = dict(zip((SPACE if method.names == ["wide"] else method.names) if method.each else ["all"], method.dual.tolist(), strict=True))
        found |= {f"dual_{name}": value for name, value in dual.items()}
        if "flip_y" in dual:
            found["flip_minus_brightness"] = (dual["flip_x"] + dual["flip_y"]) / 2 - dual["brightness"]
    return found


def run(bench):
    """With the transformations that this data asks about."""
    names = HARMFUL if bench.arena.title == "digits" else "wide"
    return measure(bench, bench.pretrain(settings={**bench.words["settings"], "transformations": names}))


def arm(**settings):
    return Arm("invariance_constrained", run=run, **settings)


def constrained(**settings):
    return arm(margin=0.8, short={"dual_rate": 5e-3}, **settings)


CLAIM = Claim(
    system="invariance_constrained",
    paper="CIFAR-10 on par with or better than TrivialAugment, AutoAugment, DeepAA; dual variables tell which transformations data is invariant to",
    question="Does bounding the loss of hard transformed samples do as well as uniform ones, also where some of them are harmful?",
    arms={
        "invariance_constrained": constrained(),
        "chain, no constraint": arm(dual=1.0, dual_rate=0.0),
        "uniform": arm(dual=1.0, dual_rate=0.0, chain=1),
        "uniform, constraint": constrained(chain=1),
        "own bounds": constrained(each=True),
        "none": Arm("supervised"),
    },
    data=(Arena("cifar10", rows=20000), Arena("mnist_usps/mnist_train.npz", name="digits", prepare=digits)),
    versus=(
        Versus("invariance_constrained", "uniform", "accuracy"),
        Versus("invariance_constrained", "none", "accuracy", says="It is better than crops and mirrors alone."),
        Versus("invariance_constrained", "chain, no constraint", "accuracy", says="The dual variable is part of it."),
        Versus("invariance_constrained", "uniform, constraint", "accuracy", says="So is drawing where the loss is high."),
    ),
    common={"lr": 1e-3},
    full={"encoder": "resnet18_small", "size": 32, "epochs": 200, "batch": 128},
    measure=measure,
    arena_metric="knn",
)
