"""Uni4Eye: does one encoder learn more of pictures and of volumes from both than from either, and do gradients to restore help?

Cai et al., "Uni4Eye: Unified 2D and 3D Self-supervised Pre-training via Masked Image Modeling Transformer for Ophthalmic Image Classification", MICCAI 2022,
arXiv:2203.04614: fine-tuned on six sets of fundus photographs and OCT volumes above MAE, SimCLR and others (the tables were not at hand).
Here digits: half of them as they are, and half as volumes of 16 slices, each the digit turned a bit further, from -40 to 40 degrees, and smaller to both
ends. All arms see equally many samples; SimCLR learns from both kinds too. Probes are asked of test pictures and of test volumes apart, 2,000 each.
"""

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.data.dataset import Data
from manyviews.evaluate.knn import knn
from manyviews.evaluate.linear import linear

ROWS, SLICES = {"train": 6000, "test": 4000}, 16


@dataclasses.dataclass
class Samples:
    """A store of arrays of several shapes."""

    arrays: list
    origin: str

    def __len__(self):
        return len(self.arrays)

    def raw(self, row):
        return self.arrays[row]

    def name(self, row):
        return str(row)

    def describe(self):
        return f"pictures and stacks of {self.origin}"

    def fingerprint(self):
        return f"stacks/1/{len(self)}/{self.origin}"


def as_it_is(raw, pixels=0, channels=0, bits=0):
    return raw


def stacked(x):
    """Pictures (count, height, width, 1) of 8 bits as volumes (count, SLICES, height, width, 1)."""
    at = torch.linspace(-1, 1, SLICES)
    angle, zoom = torch.deg2rad(40 * at), 1 / (1 - 0.5 * at.square())
    turn = torch.stack([torch.stack([angle.cos(), -angle.sin()], -1), torch.stack([angle.sin(), angle.cos()], -1)], 1) * zoom[:, None, None]
    grid = F.affine_grid(torch.cat([turn, torch.zeros(SLICES, 2, 1)], 2), [SLICES, 1, *x.shape[1:3]], align_corners=False)
    slices = [F.grid_sample(torch.from_numpy(x[None, ..., 0]).float(), g[None], align_corners=False)[0] for g in grid]
    return torch.stack(slices, 1).round().byte().numpy()[..., None]


def both(data, part):
    """Digits, of which every second is a volume."""
    chosen = data.select(np.sort(np.random.default_rng(0).permutation(len(data))[: ROWS[part]]))
    x = np.stack([chosen[i] for i in range(len(chosen))])
    deep = stacked(x[1::2])
    arrays = [x[i][None] if i % 2 == 0 else deep[i // 2] for i in range(len(x))]
    columns = {"label": chosen.labels, "flat": (np.arange(len(x)) + 1) % 2}
    return Data(Samples(arrays, f"{part} {chosen.fingerprint()}"), as_it_is, "volumes", columns, data.classes, channels=1, bits=8)


def measure(bench, method):
    found = {}
    for name, flat in (("pictures", 1), ("volumes", 0)):
        known, asked = (bench.features(method.exported, data.select(data.columns["flat"] == flat)) for data in (bench.train, bench.test))
        found[name] = (linear(known, seed=bench.seed).predict(asked.x) == asked.y).numpy()
        found[f"{name}_knn"] = (knn(known.x, known.y, asked.x) == asked.y).numpy()
    return found


def on(flat):
    """The same training on samples of one kind."""

    def run(bench):
        data = bench.pretraining.select(bench.pretraining.columns["flat"] == flat)
        return measure(bench, bench.pretrain(data=data))

    return run


SHORT = {"dim": 96, "depth": 2, "heads": 3}

CLAIM = Claim(
    system="uni4eye",
    paper="fine-tuned on six sets of ophthalmic pictures and volumes above MAE, SimCLR and others",
    question="Does an encoder learn more of pictures, and of volumes, from both together, and more when gradients are restored too?",
    arms={
        "uni4eye": Arm("uni4eye", short=SHORT),
        "pictures alone": Arm("uni4eye", short=SHORT, run=on(1)),
        "volumes alone": Arm("uni4eye", short=SHORT, run=on(0)),
        "content alone": Arm("uni4eye", short=SHORT, gradient=0.0),
        "simclr": Arm("simclr", short={"hidden": 512}),
    },
    data=(Arena("mnist_usps/mnist_train.npz", test=4000, name="digits and stacks of them", prepare=both),),
    versus=(
        Versus("uni4eye", "content alone", "pictures", says="Restoring gradients too helps with pictures."),
        Versus("uni4eye", "content alone", "volumes", says="Restoring gradients too helps with volumes."),
        Versus("uni4eye", "pictures alone", "pictures", says="Of pictures it learns more from both."),
        Versus("uni4eye", "volumes alone", "volumes", says="Of volumes it learns more from both."),
        Versus("uni4eye", "simclr", "pictures", says="Of pictures it learns more than SimCLR does."),
        Versus("uni4eye", "simclr", "volumes", says="Of volumes it learns more than SimCLR does."),
        Versus("uni4eye", "untrained", "pictures"),
        Versus("uni4eye", "untrained", "volumes"),
        Versus("uni4eye", "raw input", "pictures"),
        Versus("uni4eye", "raw input", "volumes"),
    ),
    common={"encoder": "unified_vit_micro", "size": 16, "steps": 250, "batch": 64, "weight_decay": 0.05},
    measure=measure,
    full={"encoder": "unified_vit", "size": 224, "epochs": 200, "batch": 64},
)
