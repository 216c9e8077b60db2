"""Induced representations for pose: does the learned map from pictures to SO(3) tell rotations better than a fixed projection, and than a plain network?

Howell, Klee, Biza, Zhao, Walters, "Equivariant Single View Pose Prediction Via Induced and Restricted Representations", NeurIPS 2023, arXiv:2307.03704:
PASCAL3D+ median error about 9.2 degrees against 9.8 of Image to Sphere, which projects onto a half sphere; on SYMSOL the best or near the best log likelihood
(figures not checked against the paper).
Here: depth pictures of 32 pixels of four meshes of shapes69 (a quadruped, a biplane, a chair, a motorcycle) in uniform rotations, 400 of each to learn from and
150 others to be asked; harmonics up to degree 4, 4,608 rotations that normalise. Depth, because a lamp does not turn with the picture. `log likelihood` is
-2.29 for who knows nothing; `angle` is off the truth in degrees, its median beside it.
"""

import dataclasses

import numpy as np
import torch

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.data import mesh_files
from manyviews.data.locating import located
from manyviews.data.renders import renders
from manyviews.symmetry.induced_pose import InducedPose

OBJECTS = ("Quadruped", "Biplane", "NonWheelChair", "Motorcycle")
VIEWS = {"train": 400, "test": 150}


def pictures(data, part):
    """Of the same meshes for both parts, in other rotations."""
    meshes = mesh_files.meshes(located("shapes69/meshes/train"))
    first = [int(np.flatnonzero(meshes.labels == meshes.classes.index(name))[0]) for name in OBJECTS]
    seed = {"train": 0, "test": 1}[part]
    made = renders(meshes.select(np.array(first)), views=VIEWS[part], side=32, shows="depth", seed=seed)
    return dataclasses.replace(made, columns={name: made.columns[name] for name in ("label", "rotation")})


def built(bench):
    torch.manual_seed(bench.seed)
    settings = bench.words["settings"] or {"maps": "induced"}
    channels = bench.train.channels or 3
    return InducedPose(bench.encoder(), bench.size, degree=4, level=2, sphere_channels=12, channels=channels, **settings).to(bench.device)


def run(bench):
    method = built(bench)
    words = bench.words
    recipe = dataclasses.replace(method.recipe, **{name: words[name] for name in ("views", "optimizer", "weight_decay", "warmup", "schedule")})
    return scores(bench, bench.fit(method, recipe, bench.pretraining))


def measure(bench, method):
    """Of the network as it came."""
    return scores(bench, built(bench).eval())


def scores(bench, method):
    found = bench.features(lambda view: method.density(view), bench.test)
    rotation = torch.from_numpy(np.asarray(bench.test.columns["rotation"])).float()
    values = {name: value.numpy() for name, value in method.cpu().scores(found.x.float(), rotation).items()}
    return {**values, "median angle": float(np.median(values["angle"]))}


STEERABLE, CNN = "induced_pose_micro", "resnet_nano"
CLAIM = Claim(
    system="induced_pose",
    paper="PASCAL3D+ median error 9.2 degrees against 9.8 of a fixed projection (Image to Sphere); SYMSOL log likelihood the best or near it",
    question="Is the likelihood of the true rotation higher by the learned induced map than by a fixed projection, and by either than by a plain network?",
    arms={
        "induced": Arm(run=run, maps="induced", encoder=STEERABLE),
        "projection": Arm(run=run, maps="orthographic", encoder=STEERABLE),
        "CNN, projection": Arm(run=run, maps="orthographic", stage=2, encoder=CNN),
        "CNN, MLP": Arm(run=run, maps="mlp", encoder=CNN),
    },
    data=(Arena("shapes69/meshes/train", name="renders of shapes69", prepare=pictures),),
    versus=(
        Versus("induced", "projection", "log likelihood", says="The learned map is above the fixed projection of the same features"),
        Versus("induced", "CNN, projection", "log likelihood", says="It is above Image to Sphere, a projection of a CNN's features"),
        Versus("induced", "CNN, MLP", "log likelihood", says="It is above a CNN with a perceptron"),
        Versus("induced", "projection", "angle", higher=False, says="The learned map is nearer to the truth"),
        Versus("induced", "CNN, projection", "angle", higher=False, says="So it is than Image to Sphere"),
        Versus("induced", "CNN, MLP", "angle", higher=False, says="And than a CNN with a perceptron"),
        Versus("induced", "untrained", "log likelihood"),
    ),
    measure=measure,
    raw=False,
    arena_metric=None,
    common={"encoder": "induced_pose_micro", "size": 32, "steps": 240, "batch": 32, "views": "plain", "lr": 5e-3, "weight_decay": 1e-4},
    full={"encoder": "induced_pose", "size": 64, "epochs": 100, "batch": 64, "views": "plain", "lr": 1e-3},
)
