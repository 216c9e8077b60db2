"""CMD: does distillation of bags of regions help where classes differ in small parts?

Bi et al., "Cross-level Multi-instance Distillation for Self-supervised Fine-grained Visual Categorization", IEEE TIP 2025, arXiv:2401.08860, abstract: on
CUB-200-2011, Stanford Cars and FGVC Aircraft up to 10.14 % better than contemporary methods and up to 19.78 % better than earlier self-supervised ones, in
top-1 accuracy and rank-1 retrieval; the paper's tables were not at hand.
Here the parts are fingers: ten digits shown by hands. "Regions" is CMD without its
multi-instance terms, which is EsViT; "mean bags" has all of them, and no attention. `rank-1` is whether the most similar training picture is of the same
class. On "marked eights" the class of a picture of a handwritten 8 is one of ten marks of six by six pixels, somewhere on it or beside it, so that where to
look is known: `hit` is whether the region that weighs most in the bag touches the mark, and `chance`, which is also `hit` where all regions weigh the same,
how many regions do. The attention of "regions" is there and never learns.
A slow copy that averages over 250 steps or more has hardly left its start after 120; the short arms' averages over about 50. 256 prototypes for fewer than
2,000 pictures. 120 steps of a small transformer with small heads, as ten crops and a head for each of their regions cost more than two views.
"""

import dataclasses
import itertools

import numpy as np
import torch

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.data.opening import open_data
from manyviews.evaluate.knn import knn
from manyviews.methods.distill.cmd import described

MARK = 6  # pixels: 3 x 3 cells of 2
SIDE = 32

DINO = {"decay": 0.98, "out": 256, "hidden": 256, "bottleneck": 64, "steps": 120, "temperature_warmup": 0.1, "freeze": 1 / 300}
SHORT = {**DINO, "attention": 64}


def patterns(count=10):
    """Marks of 3 x 3 cells, each its own mirror image, as views are mirrored; any two differ in three cells or more."""
    chosen = []
    for left, middle in itertools.product(itertools.product((0, 1), repeat=3), repeat=2):
        mark = np.array([left, middle, left]).T
        if 3 <= mark.sum() <= 7 and all((mark != other).sum() >= 3 for other in chosen):
            chosen.append(mark)
    return np.array(chosen[:count])


def marked(data, part):
    """Handwritten eights with a mark at random; the label is which one, `mark` its centre as (x, y) in shares of the side, as the regions' are."""
    data = data.select(np.flatnonzero(data.labels == data.classes.index("8")))
    rng, marks = np.random.default_rng([2, part == "train"]), patterns()
    x = np.pad(np.stack([data[i] for i in range(len(data))]), ((0, 0), (2, 2), (2, 2), (0, 0)))
    label = rng.integers(0, len(marks), len(x))
    corner = rng.integers(2, SIDE - MARK - 1, (len(x), 2))
    for picture, which, (row, column) in zip(x, label, corner, strict=True):
        picture[row : row + MARK, column : column + MARK, 0] = 255 * np.kron(marks[which], np.ones((2, 2), np.uint8))
    made = open_data(x.repeat(3, axis=3)).with_columns(label=label, mark=(corner[:, ::-1] + MARK / 2) / SIDE)
    return dataclasses.replace(made, classes=[f"mark {k}" for k in range(len(marks))])


def attention(network, levels, view):
    """What each region weighs in its view's bag, (batch, tokens), all the same where there is no attention."""
    x = described(network, view)
    features, real = x[:, 1:, :-1], x[:, 1:, -1] > 0
    score = levels.attention(features)[..., 0] if levels is not None and levels.attention is not None else torch.zeros_like(features[..., 0])
    return score.float().masked_fill(~real, -torch.inf).softmax(1)


def on_mark(where, extent, mark):
    """Which regions overlap the mark: (samples, tokens)."""
    return ((where - mark[:, None]).abs() < (extent + MARK / SIDE) / 2 - 1e-6).all(2)


def hits(weight, on):
    """Of each sample, whether the heaviest region is on the mark; of equally heavy ones, how many are."""
    top = weight >= weight.amax(1, keepdim=True) - 1e-9
    return ((on & top).sum(1) / top.sum(1)).numpy()


def measured(bench, method):
    """Probes, the nearest neighbour's class, and where marks are known, whether attention falls on them, beside chance."""
    network = method.exported
    known, asked = bench.features(network, bench.train), bench.features(network, bench.test)
    found = {**bench.probes(network), "rank-1": (knn(known.x, known.y, asked.x, k=1) == asked.y).numpy()}
    if "mark" not in bench.test.columns or not network.content_width:
        return found
    centres = []

    def weights(view):
        centres.append(network.tokenize(view).where[:1].float().cpu())
        return attention(network, getattr(method, "teacher_levels", None), view)

    weight = bench.features(weights, bench.test).x
    side = round(weight.shape[1] ** 0.5)
    on = on_mark(centres[0], 1 / side, torch.from_numpy(np.asarray(bench.test.columns["mark"])).float())
    return {**found, "hit": hits(weight, on), "chance": on.float().mean(1).numpy()}


CLAIM = Claim(
    system="cmd",
    paper="up to 10.14 % better than contemporary and 19.78 % than earlier self-supervised methods on CUB-200-2011, Cars and Aircraft (abstract)",
    question="Where classes differ in small parts, is DINO with bags of regions better than DINO with regions, and that better than DINO?",
    arms={
        "cmd": Arm("cmd", short=SHORT),
        "dino": Arm("dino", short=DINO),
        "regions": Arm("cmd", intra=0.0, inter=0.0, short=SHORT),
        "mean bags": Arm("cmd", pooling="mean", short=SHORT),
    },
    data=(
        Arena("sign_digits"),
        Arena("mnist_usps/mnist_train.npz", prepare=marked, name="marked eights"),
    ),
    versus=(
        Versus("cmd", "dino"),
        Versus("cmd", "dino", "linear"),
        Versus("cmd", "dino", "rank-1"),
        Versus("cmd", "regions", says="Bags add to regions."),
        Versus("regions", "dino", says="Regions add to views."),
        Versus("cmd", "mean bags", says="Attention makes better bags than equal weights."),
        Versus("cmd", "untrained", "hit", arena=False, says="Attention is on the marks more often than chance."),
        Versus("cmd", "regions", "hit", arena=False, says="It is so more often than the same attention before it learned, on features that were trained."),
        Versus("cmd", "untrained"),
    ),
    common={"encoder": "vit_nano", "weight_decay": 0.05},
    measure=measured,
    arena_metric="knn",
    full={"encoder": "vit_small", "size": 224, "epochs": 300, "batch": 512},
)
