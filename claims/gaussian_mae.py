"""Gaussian-MAE: do the other parameters of splats, and pooling them, make up for where an optimisation puts their centres?

Ma et al., "ShapeSplat: A Large-scale Dataset of Gaussian Splats and Their Self-Supervised Pretraining", 3DV 2025, arXiv:2408.10906: fine-tuned on ModelNet10
and ModelNet40 and on the parts of ShapeNet, pretrained on splats of ShapeNet; with centres alone classification is worse than with points spread evenly, as
Point-MAE has them; with all parameters, groups in the space of features, and splats pooling it gets better than with centres alone.
Here 512 splats on surfaces: of 69 classes of meshes (1,978 to train on), and of the built-in shapes (400). They are not optimised from pictures but placed
as optimisation leaves them: crowded in some places, as large as their neighbours are apart, flat, coloured by one light, with faint ones that float. Points
spread evenly are of the same surfaces, as many. What stands for the raw input counts splats in 512 cells, with mean and spread of their other numbers. Arms
differ in their network, so each has an untrained one of its own kind to stand beside: "untrained" has all parameters and pooling, "untrained, centres only"
has not. As there are 492 and 200 objects to test on, the probes ask all of them, in five folds, most of which were learned from without labels.
"""

import dataclasses

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.data.builtin_splats import as_splats
from manyviews.evaluate.cross_validation import cross_validated


def covered(data, part):
    """Splats on clouds with normals."""
    return as_splats(data)


def evenly(data, part):
    """Points spread over the same surfaces instead."""
    return as_splats(data, spread_evenly=True)


def even_points(bench):
    """The same training on points that are spread evenly."""
    other = dataclasses.replace(bench, arena=dataclasses.replace(bench.arena, prepare=evenly), seconds=0.0)
    method = other.pretrain()
    bench.seconds += other.seconds
    return measure(other, method)


def measure(bench, method):
    rows = [bench.features(method.exported, data) for data in (bench.train, bench.test)]
    return cross_validated(rows[0].and_also(rows[1]), bench.seed)


SHORT = {"depth": 2, "heads": 3}


def arm(kind="", **options):
    """Gaussian-MAE with one kind of splat transformer."""
    return Arm("gaussian_mae", encoder=f"splat_transformer{kind}", short={**SHORT, "encoder": f"splat_transformer{kind}_micro"}, **options)


CLAIM = Claim(
    system="gaussian_mae",
    paper="ModelNet10, ModelNet40, ShapeNet-Part: centres alone below even points in classification; all parameters, feature groups and pooling above centres",
    question="Do all parameters of splats, pooled, teach more of shapes than their centres alone?",
    arms={
        "all + pooling": arm(),
        "all parameters": arm("_unpooled"),
        "all, groups of features": arm("_by_features"),
        "centres only": arm("_centres"),
        "even points": arm("_centres", run=even_points),
        "untrained, centres only": Arm(encoder="splat_transformer_centres", short={"encoder": "splat_transformer_centres_micro"}),
    },
    data=(Arena("shapes69/points", name="shapes69", prepare=covered), Arena("builtin:splats", name="built-in splats")),
    versus=(
        Versus("all + pooling", "centres only", "linear", arena=False),
        Versus("all parameters", "centres only", "linear", arena=False, says="All parameters teach more than centres alone."),
        Versus("all + pooling", "all parameters", "linear", arena=False, says="Splats pooling adds to all parameters."),
        Versus(
            "all, groups of features",
            "all parameters",
            "linear",
            arena=False,
            says="Groups in the space of all parameters are better than groups in space.",
        ),
        Versus("even points", "centres only", "linear", arena=False, says="Centres of splats alone tell less than points that are spread evenly."),
        Versus("centres only", "untrained, centres only", "linear", arena=False),
        Versus("all + pooling", "untrained", "linear"),
        Versus("all + pooling", "raw input", "linear"),
    ),
    common={"encoder": "splat_transformer_micro", "size": 512, "steps": 300, "batch": 32, "weight_decay": 0.05},
    measure=measure,
    full={"encoder": "splat_transformer", "size": 1024, "epochs": 300, "batch": 128},
)
