"""SIE: does the equivariant half of its representation know what was done to a sample better than VICReg's, and the invariant half the class as well?

Garrido, Najman, LeCun, "Self-supervised learning of Split Invariant Equivariant representations", ICML 2023, arXiv:2302.10283: on 3DIEBench rotation is
predicted with an R2 of 0.73 from the equivariant half (VICReg 0.37, EquiMod's perceptron 0.49) and classes with about 82 % from the invariant one (figures
from memory). The first data are digits, turned by any angle as they are drawn. The second are renders of kaykit's models from 3DIEBench's range of poses, at 32
pixels, whose colours are their normals: that lets so small a network see the pose at all, and there is neither light nor floor to ignore; pairs are two views
of a model, for all arms. "told" is trained to predict from pairs what was done: what can be known of it in as many steps. R2 is of the relative rotation, read
by a perceptron from pairs of up to 1,000 test samples' views (all views of renders), fitted on seven tenths of these samples and scored on the others: `R2`
from the equivariant half, `R2_invariant` from the invariant one, which should not know it; both from all of it where there are no halves. The "perceptron" in
place of the linear map has two layers.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from manyviews.app.building import changed
from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.app.symmetry import poses, symmetry
from manyviews.contracts import Method, Recipe
from manyviews.counters import Counter
from manyviews.evaluate.features import extract
from manyviews.evaluate.linear import linear
from manyviews.evaluate.scores import Labelled
from manyviews.methods.equivary.sie import element
from manyviews.views.finding import plain


def both_halves(bench, method):
    """What was done, from either half; the class, from the invariant one; all from all of it where it is not split."""
    split = getattr(method, "split", 0)
    method.eval()  # an untrained network too: views of digits are shown to a function, which nobody else can tell to rest
    seen = {}
    for part, data in (("train", bench.train), ("test", bench.test)):
        order = np.array_split(np.arange(len(data)), -(-len(data) // 256))
        z, rows = extract(method.exported, data.batches(order, bench.threads), plain(bench.size), bench.device)
        seen[part] = z, rows, Labelled(z[:, : split or None], torch.from_numpy(data.labels)[rows].long(), len(data.classes))
    right = linear(seen["train"][2], seed=bench.seed).predict(seen["test"][2].x) == seen["test"][2].y

    def known(half):
        return of_poses(bench, *seen["test"][:2], half) if "rotation" in bench.test.columns else of_turns(bench, method.exported, half)

    of_all = known(slice(split, None))
    return {"R2": of_all, "R2_invariant": known(slice(0, split)) if split else of_all, "class": right.numpy()}


def of_poses(bench, z, rows, half):
    known = {name: torch.from_numpy(bench.test.columns[name])[rows] for name in ("object", "rotation")}
    return read(poses(z[:, half], known["object"], known["rotation"], "body", bench.seed).scores)


def of_turns(bench, encoder, half):
    """Of test samples turned in the plane."""

    def views():
        for part in np.array_split(np.arange(min(1000, len(bench.test))), 4):
            yield plain(bench.size)(bench.test.batch(part).to(bench.device), Counter(0, 0))["v"]

    found = symmetry(lambda view: encoder(view)[:, half], views, "images", bench.test.channels, bench.seed, only=("rotation",))
    return read(found["rotation"].scores)


def read(scores):
    """0 where it was refused, as of features that do not move."""
    return next((score.value for name, score in scores.items() if name.startswith("R2") and "perceptron" in name), 0.0)


class Told(Method):
    """Pairs in, what happened between them out."""

    def __init__(self, encoder, numbers):
        super().__init__()
        self.encoder, self.head = encoder, nn.Sequential(nn.Linear(2 * encoder.dim, 256), nn.ReLU(), nn.Linear(256, numbers))

    def loss(self, v, w):
        return {"loss": F.mse_loss(self.head(torch.cat([self.encoder(v), self.encoder(w)], 1)).float(), element(v, w))}


def told(bench):
    torch.manual_seed(bench.seed)
    method = Told(bench.encoder(), 4 if "rotation" in bench.train.columns else 6).to(bench.device)
    return both_halves(bench, bench.fit(method, changed(Recipe(views="sie"), bench.words), in_pairs(bench.pretraining)))


def in_pairs(data):
    """Without the objects of which there is one view only, where some rows stand for all."""
    if "object" not in data.columns:
        return data
    _, number, count = np.unique(data.columns["object"], return_inverse=True, return_counts=True)
    return data.select(count[number] > 1)


WIDTH = {"hidden": 512, "out": 512}
FULL_WIDTH = {"hidden": 2048, "out": 2048}
COEFFICIENTS = {"invariance": 10.0, "variance": 10.0}
RECIPE = {"optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-6, "warmup": 0.0, "schedule": "constant"}  # SIE's at the full budget, for all arms
DIGITS = Arena("mnist_usps/mnist_train.npz", rows=20000, name="turned digits")
RENDERS = Arena("renders:kaykit_cc0,views=8,shows=normals,poses=half_turns,side=32", name="normals of kaykit in 3DIEBench's poses", train=0, test=0)

CLAIM = Claim(
    system="sie",
    paper="R2 of rotation 0.73 from the equivariant half (VICReg 0.37, EquiMod 0.49) at about 82 % top-1 from the invariant half; 3DIEBench, ResNet-18",
    question="Does SIE's equivariant half know what was done better than VICReg does, and its invariant half as many classes, in a minute?",
    arms={
        "sie": Arm("sie", **FULL_WIDTH, short=WIDTH),
        "perceptron": Arm("sie", predictor="mlp", predictor_layers=2, **FULL_WIDTH, short=WIDTH),
        "equivariance alone": Arm("sie", equivariant=512, equivariance=1.0, **FULL_WIDTH, short={**WIDTH, "equivariant": 128}),
        "vicreg": Arm("vicreg", views="sie", **COEFFICIENTS, **FULL_WIDTH, short=WIDTH),
        "told": Arm(run=told),
    },
    data=(DIGITS, RENDERS),
    versus=(
        Versus("sie", "vicreg", "R2"),
        Versus("sie", "untrained", "R2"),
        Versus("sie", "vicreg", "R2_invariant", higher=False, says="Its invariant half knows less of what was done than VICReg does."),
        Versus("sie", "perceptron", "R2", says="A map chosen by the transformation is better than a perceptron that sees it."),
        Versus("sie", "vicreg", "class", margin=0.02, says="Its invariant half knows classes as well as VICReg."),
        Versus("sie", "equivariance alone", "class", says="The split keeps classes that equivariance alone loses."),
    ),
    common={"batch": 128, "steps": 600},
    full={"encoder": "resnet18", "size": 256, "epochs": 2000, "batch": 1024, **RECIPE},
    measure=both_halves,
    raw=False,
    arena_metric=None,
)
