"""Induced representations for pose: does the learned map from pictures to SO(3) tell rotations better than a fixed projection, and than a plain network?

Howell, Klee, Biza, Zhao, Walters, "Equivariant Single View Pose Prediction Via Induced and Restricted Representations", NeurIPS 2023, arXiv:2307.03704:
PASCAL3D+ median error about 9.2 degrees against 9.8 of Image to Sphere, which projects onto a half sphere; on SYMSOL the best or near the best log likelihood
(figures not checked against the paper).
Here: depth pictures of 32 pixels of four meshes of shapes69 (a quadruped, a biplane, a chair, a motorcycle) in uniform rotations, 400 of each to learn from and
150 others to be asked; harmonics up to degree 4, 4,608 rotations that normalise. Depth, because a lamp does not turn with the picture. `log likelihood` is
-2.29 for who knows nothing; `angle` is off the truth in degrees, its median beside it. CNNs are trained at a rate of 1e-3, steerable networks keep 5e-3. With
the full budget all have the sizes of Image to Sphere's program (dmklee/image2sphere): harmonics up to degree 6, 36,864 rotations, batches of 64 at a rate of
1e-3; but pictures of 64 pixels, whose last maps are 8 x 8, where its ResNets have 7 x 7 of 224 pixels.
"""

import dataclasses

import numpy as np
import torch

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.data import mesh_files
from manyviews.data.locating import located
from manyviews.data.renders import renders
from manyviews.symmetry.induced_pose import PoseNet

OBJECTS = ("Quadruped", "Biplane", "NonWheelChair", "Motorcycle")
VIEWS = {"train": 400, "test": 150}


def pictures(data, part):
    """Of the same meshes for both parts, in other rotations."""
    meshes = mesh_files.meshes(located("shapes69/meshes/train"))
    first = [int(np.flatnonzero(meshes.labels == meshes.classes.index(name))[0]) for name in OBJECTS]
    seed = {"train": 0, "test": 1}[part]
    made = renders(meshes.select(np.array(first)), views=VIEWS[part], side=64, shows="depth", seed=seed)
    return dataclasses.replace(made, columns={name: made.columns[name] for name in ("label", "rotation")})


def measure(bench, method):
    """What the encoder says of the test samples' rotations."""
    network: PoseNet = method.exported
    found = bench.features(network.density, bench.test)
    rotation = torch.from_numpy(np.asarray(bench.test.columns["rotation"])).float()
    values = {name: value.numpy() for name, value in network.cpu().scores(found.x.float(), rotation).items()}
    return {**values, "median angle": float(np.median(values["angle"]))}


def arm(encoder, **short):
    """Of the small budget the small encoder of that name."""
    return Arm("induced_pose", encoder=encoder, short={"encoder": f"{encoder}_micro", **short})


SLOWER = {"lr": 1e-3}
CLAIM = Claim(
    system="induced_pose",
    paper="PASCAL3D+ median error 9.2 degrees against 9.8 of a fixed projection (Image to Sphere); SYMSOL log likelihood the best or near it",
    question="Is the likelihood of the true rotation higher by the learned induced map than by a fixed projection, and by either than by a plain network?",
    arms={
        "induced": arm("induced_pose"),
        "projection": arm("projected_pose"),
        "CNN, projection": arm("cnn_projected_pose", **SLOWER),
        "CNN, MLP": arm("cnn_mlp_pose", **SLOWER),
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
    common={"encoder": "induced_pose_micro", "size": 32, "steps": 1000, "batch": 32, "lr": 5e-3},
    full={"encoder": "induced_pose", "size": 64, "epochs": 100, "batch": 64, "lr": 1e-3, "weight_decay": 0.0},
)
