"""splat transformer: what do methods made for pictures teach it, unchanged?

Ma et al. (ShapeSplat), arXiv:2408.10906: groups of splats under the transformer of Point-MAE.
No paper asks this question of these methods; 256 splats each on meshes of 69 classes, placed there as an optimisation leaves them, and the built-in splats.
"dino" and "ibot", which see ten crops of each sample, take half the others' steps.
Every object has one colour of its own here, which says nothing of its class. Until views changed colours, all methods ended near chance by neighbours
on both sets (SimCLR: knn 0.033, linear 0.113 on meshes, where the untrained encoder has 0.157 and 0.237): they told objects by colour. "simclr, colours kept"
asks that again.
"""

import dataclasses

from manyviews.app.evidence import Arena, Arm, Versus
from manyviews.app.evidence.learning import learning
from manyviews.data.builtin_splats import as_splats


def covered(data, part):
    """Splats on clouds with normals."""
    return as_splats(data)


METHODS = learning(
    "splat_groups",
    "splat_transformer_micro",
    256,
    [Arena("shapes69/points", name="shapes69", prepare=covered), Arena("builtin:splats", name="built-in splats")],
    paper="none: this asks whether one loop and one set of methods serve every modality",
)

CLAIM = dataclasses.replace(
    METHODS,
    arms={**METHODS.arms, "simclr, colours kept": Arm("simclr", views="kept_colours")},
    versus=[
        *METHODS.versus,
        Versus("simclr", "simclr, colours kept", "knn", arena=False, says="Changed colours keep it from telling objects by their colour."),
        Versus("simclr", "simclr, colours kept", "linear", arena=False),
    ],
)
