"""TinvNN: is a plain network on coordinates without a pose as good on turned clouds as on upright ones, and better than augmentation?

Zhang et al., "Revisiting Transformation Invariant Geometric Deep Learning: Are Initial Representations All You Need?", arXiv:2112.12345: PointNet and DGCNN on
such coordinates classify turned clouds of ModelNet40 better than layers made to be invariant, at little cost (no table was at hand).
Clouds of 128 points, so that the mean over signs, which sees each cloud eight times, can have as many of them as the others: those of 69 classes of meshes and
the built-in ones; the network is a small PointNet without transforms. All arms have the same number of steps, of clouds turned about the vertical, or in any
way ("augmented"). Measured is the classifier: `z` on clouds turned about the vertical, `so3` on clouds turned in any way, so that z/z and z/SO(3) of an arm
stand side by side, and SO(3)/SO(3) is that of "augmented". "PCA" has one frame, of axes as the eigenvectors come. The untrained network (of TinvNN) and the raw
clouds (points counted in 512 cells) are read by a linear classifier of clouds turned about the vertical. As TinvNN ignores turns without any training, no
baseline is asked to be better than it is untrained; whether it is itself is asked.
"""

from functools import partial

import numpy as np
import torch

from manyviews.app.building import build_method, changed
from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.counters import Counter
from manyviews.evaluate.features import extract
from manyviews.evaluate.linear import linear
from manyviews.evaluate.scores import Labelled
from manyviews.symmetry.tinvnn import TinvNN
from manyviews.views.points import Cloud, Jitter, Scale, Turn
from manyviews.views.policy import Policy

UPRIGHT, ANY = Turn(1), Turn(None)


def network(bench, signs):
    """That of the words, which is behind invariant coordinates, with signs chosen in another way or without such coordinates."""
    behind = bench.encoder().encoder
    return behind if signs is None else TinvNN(behind, signs)


def run(bench, signs=None, turn=UPRIGHT):
    words = bench.words
    torch.manual_seed(bench.seed)
    method, recipe = build_method("supervised", network(bench, signs), bench.pretraining)
    recipe = changed(recipe, words)
    policy = Policy({"v": Cloud(bench.size, (turn, Scale(0.8, 1.25), Jitter(0.01, 0.05)))})
    bench.fit(method.to(bench.device), recipe, bench.pretraining, policy=policy)
    return measure(bench, method.eval())


def turned(turn, size):
    """Evenly thinned clouds, turned the same way for every arm."""
    spec = Cloud(size, (turn,), even=True)
    return lambda samples, counter: {"v": spec.apply(samples, Counter(0, 0), ["v"])[0]}


def seen(bench, encoder, data, turn):
    order = np.array_split(np.arange(len(data)), -(-len(data) // 256))
    x, index = extract(encoder, data.batches(order, bench.threads), turned(turn, bench.size), bench.device)
    return Labelled(x, torch.from_numpy(data.labels)[index].long(), len(data.classes))


def measure(bench, method):
    """Right or wrong for each test cloud, by the classifier; by a linear one on upright clouds where nothing was trained."""
    encoder, known = method.exported, None
    if bench.words["method"] == "raw" or not hasattr(method, "classifier"):
        known = linear(seen(bench, encoder, bench.train, UPRIGHT), seed=bench.seed)
    found = {}
    for name, turn in (("z", UPRIGHT), ("so3", ANY)):
        asked = seen(bench, encoder, bench.test, turn)
        said = known.predict(asked.x) if known is not None else method.classifier(asked.x.to(bench.device)).argmax(1).cpu()
        found[name] = (said == asked.y).numpy()
    return found


CLAIM = Claim(
    system="tinvnn",
    paper="PointNet and DGCNN on invariant coordinates classify turned clouds better than invariant layers do, at little cost",
    question="Trained upright, does a plain network on invariant coordinates tell clouds turned in any way better than with augmentation, or one PCA frame?",
    arms={
        "tinvnn": Arm("supervised", run=partial(run, signs="moments")),
        "tinvnn, mean over signs": Arm("supervised", run=partial(run, signs="average")),
        "augmented": Arm("supervised", run=partial(run, turn=ANY)),
        "PCA, one frame": Arm("supervised", run=partial(run, signs="any")),
        "plain": Arm("supervised", run=run),
    },
    data=(
        Arena("shapes69/points", name="shapes69"),
        Arena("builtin:points", name="built-in clouds"),
    ),
    versus=(
        Versus("tinvnn", "augmented", "so3"),
        Versus("tinvnn", "plain", "so3", says="Invariant coordinates are better than none on clouds turned in any way"),
        Versus("tinvnn", "PCA, one frame", "so3", says="It matters how signs are settled"),
        Versus("tinvnn, mean over signs", "augmented", "so3", says="The mean over signs is better than augmentation"),
        Versus("tinvnn", "plain", "z", margin=0.05, says="Little is lost on upright clouds"),
        Versus("tinvnn", "untrained", "so3"),
        Versus("tinvnn", "raw input", "so3"),
    ),
    common={"encoder": "tinvnn_micro", "size": 128, "steps": 400, "batch": 32, "lr": 2e-3, "weight_decay": 1e-4},
    full={"encoder": "tinvnn_pointnet", "size": 1024, "epochs": 250, "batch": 32, "optimizer": "adamw", "lr": 1e-3},
    measure=measure,
    arena_metric=None,
)
