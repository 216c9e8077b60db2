"""Induced representations for pose: features that turn with the picture are taken to features that rotate in space, by the most general map there is.

Howell, Klee, Biza, Zhao, Walters, "Equivariant Single View Pose Prediction Via Induced and Restricted Representations", NeurIPS 2023, arXiv:2307.03704
(authors' code: owenhowell20/Induced-and-Restriction-Representations-for-ML); what follows the map is from Klee et al., "Image to Sphere", ICLR 2023,
arXiv:2302.13926.
Departs from the paper: the encoder is a small steerable network of our own instead of a steerable or a pretrained ResNet; the likelihood is taken at the true
rotation itself, not at the nearest of the grid, which only normalises it; the kernel on the sphere is free in harmonics, not sampled near a pole; AdamW stands
for the SGD of Image to Sphere. The map and what follows it are the encoder's (`manyviews.symmetry.induced_pose`), so that a saved run tells rotations.
"""

from __future__ import annotations

from typing import Any

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.errors import InputError


class InducedPose(Method):
    """An encoder with a density of rotations, trained by the likelihood of `rotation`, (3, 3) from an object's frame to the world, which samples come with."""

    recipe = Recipe(views="plain", optimizer="adamw", lr=1e-3, weight_decay=0.0)

    def __init__(self, encoder: Encoder):
        super().__init__()
        if not all(hasattr(encoder, part) for part in ("density", "log_likelihood")):
            raise InputError(
                "induced_pose learns how objects are turned, and this encoder has no density of rotations; take --encoder induced_pose or induced_pose_micro"
            )
        self.encoder = encoder

    def loss(self, v: View) -> Terms:
        if "rotation" not in v.given:
            raise InputError("induced_pose needs a rotation (3, 3) with every sample: give meshes with --as renders, or data with a column `rotation`")
        network: Any = self.encoder
        return {"loss": -network.log_likelihood(network.density(v), v.given["rotation"]).mean()}
