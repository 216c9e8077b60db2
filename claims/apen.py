"""APEN: does a network that finds parts and treats each in its own frames know shapes whose parts have moved as they never did in training?

Atzmon et al., "Approximately Piecewise E(3) Equivariant Point Networks", ICLR 2024, arXiv:2402.08529: on human bodies in unseen poses (DFAUST) and in scanned
rooms it generalises better than networks equivariant to one motion and than PointNet and DGCNN with augmentation (abstract; figures were not at hand).
Here each shape is two handwritten digits as flat clouds of 48 points each, and every point is asked which digit it is part of. In training they stand side by
side, upright but for 0.2 rad; in the test each is turned any way in space, and the second lies in any direction from the first. Six digits that no turn makes
equal. `moved` is each test shape's share of points told right, `upright` the same of these shapes in a training pose: as the rivals may know nothing of moved
shapes, they are asked to be better than untrained on upright ones. "augmented" turns each training shape as a whole, as the paper's PointNet does; "frame
averaged, as long" takes about as much time as APEN. Of APEN also whether its last partition keeps the digits apart (`refines`), and how sure it is of it
(`uncertain`). With true parts APEN's votes are trained and not used.
"""

import dataclasses
import functools
import math
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.backbones.pointnet import shared
from manyviews.contracts import Recipe, Trainable
from manyviews.data.arrays import Array
from manyviews.data.locating import located
from manyviews.groups import so3
from manyviews.symmetry.apen import APEN, APENSegmentation, refines, uncertainty
from manyviews.symmetry.frame_averaging import FrameAveraging

DIGITS, POINTS, APART, TILT = (0, 2, 3, 4, 7, 8), 48, 1.3, 0.2
ROWS = {"train": 4000, "test": 600}
STEPS, ALL_STEPS = 1000, 20000  # of the small and of the full budget
LONGER = 3.1  # how many times the steps of one frame for all take as long as those of APEN


def flat_clouds(pictures, rng):
    """Points of strokes, about one unit tall, centred, (count, POINTS, 3)."""
    made = np.empty((len(pictures), POINTS, 3), np.float32)
    for cloud, picture in zip(made, pictures.reshape(-1, 28, 28), strict=True):
        rows, columns = np.nonzero(picture > 100)
        at = rng.integers(len(rows), size=POINTS)
        cloud[:, 0], cloud[:, 1] = columns[at] + rng.random(POINTS), -rows[at] - rng.random(POINTS)
        cloud[:, 2] = rng.uniform(-0.5, 0.5, POINTS)
        cloud -= cloud.mean(0)
        cloud /= 20
    return made


@functools.cache
def shapes(part):
    """Clouds (count, 2, POINTS, 3) and digits (count, 2)."""
    file, rng = np.load(located(f"mnist_usps/mnist_{part}.npz")), np.random.default_rng(0)
    rows = np.flatnonzero(np.isin(file["y"], DIGITS))
    chosen = rng.permutation(rows)[: 2 * ROWS[part]]
    labels = np.searchsorted(DIGITS, file["y"][chosen]).reshape(-1, 2)
    return flat_clouds(file["x"][chosen], rng).reshape(-1, 2, POINTS, 3), labels


def upright(clouds, rng):
    """Side by side."""
    angle = rng.uniform(-TILT, TILT, clouds.shape[:2])
    turn = np.zeros((*clouds.shape[:2], 3, 3), np.float32)
    turn[..., 0, 0], turn[..., 1, 1], turn[..., 2, 2] = np.cos(angle), np.cos(angle), 1
    turn[..., 0, 1], turn[..., 1, 0] = -np.sin(angle), np.sin(angle)
    return clouds @ turn.swapaxes(-1, -2) + APART * np.array([[[-0.5, 0, 0]], [[0.5, 0, 0]]], np.float32)


def anyhow(clouds, rng):
    """Each turned any way, the second in any direction from the first."""
    turns = so3.sample(3 * len(clouds), torch.Generator().manual_seed(0)).matrix[:, :3, :3].numpy().reshape(-1, 3, 3, 3)
    away = (turns[:, 2, :, :1] * APART / 2).swapaxes(-1, -2)
    return clouds @ turns[:, :2].swapaxes(-1, -2) + np.stack([-away, away], 1)


def prepared(data, part):
    """Training shapes side by side; test shapes anyhow, with their upright selves beside them."""
    clouds, labels = shapes(part)
    rng = np.random.default_rng(1)
    side = upright(clouds, rng).reshape(len(clouds), -1, 3).astype(np.float32)
    x = side if part == "train" else anyhow(clouds, rng).reshape(len(clouds), -1, 3).astype(np.float32)
    columns = {"part": np.repeat(np.arange(2)[None], len(x), 0).repeat(POINTS, 1), "point_label": labels.repeat(POINTS, 1), "upright": side}
    store = Array(x, f"pairs of digits ({part})")
    return dataclasses.replace(data, store=store, decode=as_stored, columns=columns, classes=(), rows=None, kept=None, channels=3, seen=None, said="")


def as_stored(raw, pixels=0, channels=0, bits=0):
    return raw


def unchanged(samples, counter):
    return {"v": samples}


def turned(samples, counter):
    """Each shape as a whole, in any way."""
    return {"v": dataclasses.replace(samples, x=so3.sample(samples.index, counter).act(samples.x))}


class PerPoint(nn.Module):
    """PointNet for segmentation: each point beside the maximum over all."""

    def __init__(self):
        super().__init__()
        self.local, self.deep = shared(3, 64, 64), shared(64, 128)
        self.head = nn.Sequential(shared(64 + 128, 128), nn.Linear(128, len(DIGITS)))

    def forward(self, x):
        t = self.local(x)
        return self.head(torch.cat([t, self.deep(t).amax(1, keepdim=True).expand(-1, x.shape[1], -1)], -1))


class Segmenting(Trainable):
    recipe = Recipe(views="plain", optimizer="adamw", weight_decay=0.0, warmup=0.0)

    def __init__(self, network):
        super().__init__()
        self.network = network

    def logits(self, view):
        return self.network(view.x), None

    def loss(self, v):
        return {"classes": F.cross_entropy(self.network(v.x).flatten(0, 1), v.given["point_label"].long().flatten())}


SIZES = {"apen_micro": {"dim": 64, "parts": 16, "variances": (0.02, 0.04), "rounds": 8, "features": (4, 4), "width": 32, "near": 8}, "apen": {}}


def built(kind, encoder):
    if kind.startswith("apen"):
        return APENSegmentation(APEN(**SIZES[encoder]), len(DIGITS), weight=1.0, oracle=kind == "apen, true parts")
    return Segmenting(PerPoint() if kind == "pointnet" else FrameAveraging(PerPoint(), reflections=False))


def run(bench, kind, train=True, policy=unchanged):
    torch.manual_seed(bench.seed)
    method = built(kind, bench.words["encoder"]).to(bench.device)
    if train:
        bench.fit(method, method.recipe, bench.pretraining, policy=policy)
    return measured(bench, method.eval())


@torch.no_grad()
def measured(bench, method):
    found = {}
    for rows in np.array_split(np.arange(len(bench.test)), math.ceil(len(bench.test) / 100)):
        view = bench.test.batch(rows).to(bench.device)
        for name, x in (("moved", view.x), ("upright", view.given["upright"])):
            logits, described = method.logits(dataclasses.replace(view, x=x))
            right = (logits.argmax(-1) == view.given["point_label"]).float().mean(1)
            found.setdefault(name, []).append(right)
            if described is not None and name == "moved" and not method.oracle:
                last = described.partitions[-1]
                found.setdefault("refines", []).append(refines(last.part, view.given["part"]).float())
                found.setdefault("uncertain", []).append(uncertainty(last.probability).float())
    return {name: torch.cat(parts).cpu().numpy() for name, parts in found.items()}


CLAIM = Claim(
    system="apen",
    paper="APEN > networks equivariant to one motion > PointNet, DGCNN with augmentation, on unseen poses (DFAUST, rooms)",
    question="Of digits that have moved apart as never in training, does APEN tell more points right than one frame for all, and that more than PointNet?",
    arms={
        "apen": Arm(run=partial(run, kind="apen")),
        "apen, true parts": Arm(run=partial(run, kind="apen, true parts")),
        "frame averaged": Arm(run=partial(run, kind="frame averaged")),
        "frame averaged, as long": Arm(run=partial(run, kind="frame averaged"), steps=round(LONGER * ALL_STEPS), short={"steps": round(LONGER * STEPS)}),
        "pointnet": Arm(run=partial(run, kind="pointnet")),
        "pointnet, augmented": Arm(run=partial(run, kind="pointnet", policy=turned)),
        "untrained": Arm(run=partial(run, kind="apen", train=False)),
    },
    data=(Arena("builtin:points", prepare=prepared, name="pairs of digits"),),
    versus=(
        Versus("apen", "frame averaged", "moved"),
        Versus("apen", "frame averaged, as long", "moved", says="Also where that takes as much time"),
        Versus("apen", "pointnet, augmented", "moved", says="Shapes that were turned as a whole do not stand for parts that move"),
        Versus("frame averaged", "pointnet", "moved", says="One frame for all is better than none"),
        Versus("apen, true parts", "apen", "moved", says="Known parts are better than found ones"),
        Versus("apen", "pointnet", "moved"),
        Versus("apen", "untrained", "moved"),
    ),
    common={"encoder": "apen_micro", "size": 2 * POINTS, "steps": STEPS, "batch": 16, "lr": 2e-3},
    raw=False,
    arena_metric="upright",
    full={"encoder": "apen", "size": 2 * POINTS, "steps": ALL_STEPS, "batch": 32, "lr": 1e-3},
)
