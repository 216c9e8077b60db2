"""SIE: does the equivariant half of its representation know what was done to a sample better than VICReg's, and the invariant half the class as well?

Garrido, Najman, LeCun, "Self-supervised learning of Split Invariant Equivariant representations", ICML 2023, arXiv:2302.10283: on 3DIEBench rotation is
predicted with an R2 of 0.73 from the equivariant half (VICReg 0.37, EquiMod's perceptron 0.49) and classes with about 82 % from the invariant one (figures
from memory). Here the first data are renders of kaykit's models, which stand upright, from any side and up to 60 degrees above (as `upright` of
manyviews.data.poses), at 32 pixels; pairs are two views of a model, for all arms. The second are digits, turned by any angle when they are drawn. R2 and
the median angle (degrees; less is better) of the relative rotation are read by a perceptron from pairs of test samples' views, fitted on seven tenths of
these samples and scored on the others.
"""

import numpy as np
import torch

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.app.symmetry import poses
from manyviews.evaluate.features import extract
from manyviews.evaluate.linear import linear
from manyviews.evaluate.scores import Labelled
from manyviews.views.finding import plain


def both_halves(bench, method):
    """Pose from the equivariant half, class from the invariant one; from all of it where it is not split."""
    split = getattr(method, "split", 0)
    seen = {}
    for part, data in (("train", bench.train), ("test", bench.test)):
        order = np.array_split(np.arange(len(data)), -(-len(data) // 256))
        seen[part] = extract(method.exported, data.batches(order, bench.threads), plain(bench.size), bench.device)
    z, index = seen["test"]
    known = {name: torch.from_numpy(bench.test.columns[name])[index] for name in ("object", "rotation")}
    scores = poses(z[:, split:], known["object"], known["rotation"], bench.seed).scores
    train, test = [Labelled(x[:, : split or None], torch.from_numpy(data.labels)[rows].long(), len(data.classes))
              for (x, rows), data in ((seen["train"], bench.train), (seen["test"], bench.test))]  # fmt: skip
    right = linear(train, seed=bench.seed).predict(test.x) == test.y
    read = {short: next(s.value for name, s in scores.items() if name.startswith(long) and "perceptron" in name) for short, long in READ.items()}
    return {**read, "class": right.numpy()}


READ = {"R2": "R2 of the body-frame rotation", "angle": "angle in degrees"}
WIDTH = {"hidden": 512, "out": 512}
COEFFICIENTS = {"invariance": 10.0, "variance": 10.0}

CLAIM = Claim(
    system="sie",
    paper="R2 of rotation 0.73 from the equivariant half (VICReg 0.37, EquiMod 0.49) at about 82 % top-1 from the invariant half; 3DIEBench, ResNet-18",
    question="Does SIE's equivariant half know poses of rendered shapes better than VICReg does, and the other half as many classes, in a minute?",
    arms={
        "sie": Arm("sie", short=WIDTH),
        "perceptron": Arm("sie", predictor="mlp", short=WIDTH),
        "equivariance alone": Arm("sie", equivariant=128, short=WIDTH),
        "vicreg": Arm("vicreg", views="sie", **COEFFICIENTS, short=WIDTH),
    },
    data=(
        Arena("renders:shapes69/meshes,views=5,look=3diebench,poses=half_turns,side=32", name="shapes69 on coloured floors", train=0, test=0),
        Arena("renders:shapes69/meshes,views=5,poses=half_turns,side=32", name="shapes69 on white", train=0, test=0),
    ),
    versus=(
        Versus("sie", "vicreg", "R2"),
        Versus("sie", "untrained", "R2"),
        Versus("sie", "perceptron", "R2", says="A map chosen by the transformation is better than a perceptron that sees it."),
        Versus("sie", "vicreg", "angle", higher=False),
        Versus("sie", "vicreg", "class", margin=0.02, says="Its invariant half knows classes as well as VICReg."),
        Versus("sie", "equivariance alone", "class", says="The split keeps classes that equivariance alone loses."),
    ),
    common={"batch": 128},
    full={"encoder": "resnet18", "size": 256, "epochs": 2000, "batch": 1024},
    measure=both_halves,
    raw=False,
    arena_metric=None,
)
