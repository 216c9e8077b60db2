"""Invariance-constrained learning: does bounding the loss of transformed samples do as well as augmentation by hand, and withstand a harmful one?

Hounie, Chamon, Ribeiro, "Automatic Data Augmentation via Invariance-Constrained Learning", ICML 2023, arXiv:2209.15031: CIFAR-10, WRN-28-10, about 97 %, on
par with TrivialAugment and others (figures from memory, not checked); on digits that were made invariant the dual variables tell the transformations apart.
Here a classifier of CIFAR-10 with TrivialAugment's 14 operations, and of 3,000 MNIST digits in 32 pixels with mirrors, turns of any angle and mild changes,
where half turns make a 6 of a 9; digits are neither cropped nor mirrored otherwise. "uniform" draws transformations and weighs them as much as the samples, as
augmentation does; "chain, no constraint" draws by Metropolis-Hastings with the same fixed weight. The rate of the dual variable is one for 400 steps instead
of the paper's 78,000, and the bound on CIFAR-10 1.5 instead of 0.8, which so short a training does not reach; that on digits is 0.3: guesses, made beforehand.
"own bounds" gives each of K transformations its dual variable, at a rate of 1/K, as it is their sum that weighs: `flip_minus_brightness` is how much larger
that of the mirrors is than that of brightness, which digits do not mind; 0 for arms that do not tell them apart. Steps are equal: a chain of two states costs
three more passes forward than no augmentation, and one more backward; "uniform, as long" takes about as much time.
"""

import dataclasses

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.app.evidence.arena import some
from manyviews.evaluate.knn import knn
from manyviews.methods.equivary.invariance_constrained import SPACE

ROWS = {"train": 3000, "test": 2000}
HARMFUL = "identity,flip_x,flip_y,so2,brightness,contrast"


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
    return {"flip_minus_brightness": 0.0, **found} if bench.arena.title == "digits" else found


def run(bench):
    """With the transformations and the bound that this data asks for."""
    digits, settings = bench.arena.title == "digits", dict(bench.words["settings"])
    if bench.words["method"] == "invariance_constrained":
        settings |= {"transformations": HARMFUL, "margin": 0.3} if digits else {"transformations": "wide"}
    if settings.get("each"):
        settings["dual_rate"] /= len(HARMFUL.split(",") if digits else SPACE)
    return measure(bench, bench.pretrain(settings=settings, **({"views": "plain"} if digits else {})))


def arm(**words):
    return Arm("invariance_constrained", run=run, **words)


def uniform(**words):
    return arm(dual=1.0, dual_rate=0.0, chain=1, **words)


def constrained(**words):
    return arm(margin=0.8, dual_rate=1e-4, short={"margin": 1.5, "dual_rate": 5e-3}, **words)


RECIPE = {"optimizer": "sgd", "lr": 0.1, "weight_decay": 5e-4, "warmup": 0.0, "clip": 5.0}  # of the method at the full budget, for all arms

CLAIM = Claim(
    system="invariance_constrained",
    paper="CIFAR-10 on par with or better than TrivialAugment, AutoAugment, DeepAA; dual variables tell which transformations data is invariant to",
    question="Does bounding the loss of hard transformed samples do as well as uniform ones, also where some of them are harmful?",
    arms={
        "invariance_constrained": constrained(),
        "chain, no constraint": arm(dual=1.0, dual_rate=0.0),
        "uniform": uniform(),
        "uniform, as long": uniform(epochs=267, short={"steps": 533}),
        "uniform, constraint": constrained(chain=1),
        "own bounds": constrained(each=True),
        "none": Arm("supervised", run=run),
    },
    data=(Arena("cifar10", rows=20000), Arena("mnist_usps/mnist_train.npz", name="digits", prepare=digits)),
    versus=(
        Versus("invariance_constrained", "uniform", "accuracy"),
        Versus("invariance_constrained", "none", "accuracy", says="It is better than crops and mirrors alone, and on digits than nothing."),
        Versus("invariance_constrained", "uniform, as long", "accuracy", says="It is better than uniform ones for as long."),
        Versus("invariance_constrained", "chain, no constraint", "accuracy", says="The dual variable is part of it."),
        Versus("invariance_constrained", "uniform, constraint", "accuracy", says="So is drawing where the loss is high."),
        Versus("own bounds", "invariance_constrained", "accuracy", says="A bound for each transformation is better than one for all."),
        Versus("own bounds", "none", "flip_minus_brightness", arena=False, says="Its dual variables tell harmful transformations from mild ones."),
    ),
    common={"lr": 1e-3},
    full={"encoder": "resnet18_small", "size": 32, "epochs": 200, "batch": 128, **RECIPE},
    measure=measure,
    arena_metric="knn",
)
