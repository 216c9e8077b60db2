"""cuboids (volumes): what do methods made for pictures teach it, unchanged?

Dosovitskiy et al. (ViT), ICLR 2021, arXiv:2010.11929, with boxes of voxels for patches.
No paper asks this question; the built-in volumes, 16 voxels a side, with 150 new ones of each of the eight kinds to test on. "dino" and "ibot", which see
ten crops of each sample, take half the others' steps.
"""

import dataclasses

import numpy as np

from manyviews.app.evidence import Arena
from manyviews.app.evidence.learning import learning
from manyviews.data.arrays import Array
from manyviews.data.builtin_volumes import KINDS, SIDE, volumes_of

TEST, SEED = 150, 20261


def more_tests(data, part):
    """TEST volumes of each kind instead of the 32 that there are."""
    if part == "train":
        return data
    volumes = np.concatenate([volumes_of(kind, TEST, SIDE, [SEED, k]) for k, kind in enumerate(KINDS)])
    columns = {"label": np.repeat(np.arange(len(KINDS)), TEST)}
    return dataclasses.replace(data, store=Array(volumes, "more of the built-in volumes"), columns=columns, rows=None, seen=None, bad={})


CLAIM = learning(
    "cuboids",
    "vit3d_micro",
    16,
    [Arena("builtin:volumes", name="built-in volumes", prepare=more_tests)],
    paper="none: this asks whether one loop and one set of methods serve every modality",
)
