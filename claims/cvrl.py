"""CVRL: should all frames of a clip be cropped and coloured alike, and should clips that are near in time be pairs more often?

Qian et al., "Spatiotemporal Contrastive Video Representation Learning", CVPR 2021, arXiv:2008.03800: Kinetics-600, R3D-50, linear 70.4 %, 15.7 points above
ImageNet-supervised inflation and 18.8 above SimCLR on frames; consistent augmentation and a decreasing density of intervals are its best choices.
Films of shapes in eight kinds of motion, 200 of each to train on and 150 to test, 16 frames of 32 pixels, clips of 8: only time tells the kind. So that clips
far apart can be wrong pairs, as in films of people, the thing goes on in another motion in half of the training films, from a random frame of their middle
half on. Probes learn from the other half of the films, and test films keep to one motion.
"""

import functools

import numpy as np

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.data.builtin_video import MOTIONS, TIME, filmed, films_of, paths
from manyviews.data.dataset import Data
from manyviews.data.video import VideoArray, decode

TRAIN, TEST, SEED = 200, 150, 20262


@functools.cache
def made(part):
    """Films, their (first) motions, and whether these change."""
    if part == "test":
        films = np.concatenate([films_of(motion, TEST, [SEED, 1, k]) for k, motion in enumerate(MOTIONS)])
        return films, np.repeat(np.arange(len(MOTIONS)), TEST), np.zeros(len(films), np.int64)
    films = [half for k, motion in enumerate(MOTIONS) for half in (films_of(motion, TRAIN // 2, [SEED, 0, k]), changing(k, TRAIN // 2))]
    return np.concatenate(films), np.repeat(np.arange(len(MOTIONS)), TRAIN), np.tile(np.repeat([0, 1], TRAIN // 2), len(MOTIONS))


def changing(k, count):
    """Films that begin with motion number k and end with another; where the thing is and how large and fast goes on as it was drawn."""
    rng = np.random.default_rng([SEED, 2, k])
    other, frame = (k + rng.integers(1, len(MOTIONS), count)) % len(MOTIONS), rng.integers(TIME // 4, TIME - TIME // 4, count)
    every = [paths(motion, count, np.random.default_rng([SEED, 3, k])) for motion in MOTIONS]  # of one seed, so that they differ in their motion alone
    now = np.where(np.arange(TIME) < frame[:, None], k, other[:, None])
    rows, times = np.arange(count)[:, None], np.arange(TIME)
    return filmed(*(np.stack(part)[now, rows, times] for part in zip(*every, strict=True)), rng)


def more(data, part):
    films, label, changes = made(part)
    store = VideoArray(films, f"films to {part} with", frames=TIME)
    return Data(store, decode, "video", {"label": label, "changes": changes}, MOTIONS, form={"frames": TIME})


def measure(bench, method):
    return bench.probes(method.exported, bench.train.select(bench.train.columns["changes"] == 0))


SHORT = {"temperature": 0.2, "hidden": 512, "layers": 2}
PAPERS = {"layers": 3, "hidden": 2048, "temperature": 0.1}

CLAIM = Claim(
    system="cvrl",
    paper="Kinetics-600 linear 70.4 %, 18.8 above SimCLR inflated; consistent augmentation and decreasing intervals are best",
    question="Do clips with one crop and one set of colours teach more about motion than clips whose frames are changed each for itself?",
    arms={
        "cvrl": Arm("simclr", views="cvrl", short=SHORT, **PAPERS),
        "each frame for itself": Arm("simclr", views="cvrl_inconsistent", short=SHORT, **PAPERS),
        "uniform intervals": Arm("simclr", views="cvrl_uniform", short=SHORT, **PAPERS),
        "increasing intervals": Arm("simclr", views="cvrl_increasing", short=SHORT, **PAPERS),
    },
    data=(Arena("builtin:video", name="built-in videos", prepare=more),),
    versus=(
        Versus("cvrl", "each frame for itself", "linear"),
        Versus("cvrl", "uniform intervals", "linear", says="Near clips should be pairs more often than far ones."),
        Versus("cvrl", "increasing intervals", "linear", says="Far clips should not be pairs more often."),
        Versus("cvrl", "untrained", "linear"),
    ),
    common={"encoder": "r3d_micro", "steps": 250, "batch": 32},
    measure=measure,
    full={"encoder": "r3d_18", "size": 112, "epochs": 200, "batch": 256},
)
