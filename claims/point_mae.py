"""Point-MAE: does restoring hidden groups of points teach anything here, beside the untrained encoder and the raw cloud?

Pang et al., "Masked Autoencoders for Point Cloud Self-supervised Learning", ECCV 2022, arXiv:2203.06604: ModelNet40 fine-tuned 93.8 %, ScanObjectNN (hardest)
85.18 %, against 77.24 % of the same transformer from scratch; 55 classes of ShapeNet, 1,024 points, 300 epochs.
Clouds of 512 points from 69 classes of meshes, and the built-in clouds; what stands for the raw input counts points in 512 cells. As in the paper the network
is fine-tuned, here on 700 labelled clouds in 100 steps, and so is the untrained one: training from scratch. As there are 492 test clouds, the probes ask all
2,470, in five folds, of which 1,978 were learned from without labels.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.evaluate.cross_validation import cross_validated


def measure(bench, method):
    rows = [bench.features(method.exported, data) for data in (bench.train, bench.test)]
    found = cross_validated(rows[0].and_also(rows[1]), bench.seed)
    return found if bench.words["method"] == "raw" else {**found, "finetuned": bench.finetune(method.exported, labels=700, steps=100)}


CLAIM = Claim(
    system="point_mae",
    paper="ModelNet40 93.8 %, ScanObjectNN (hardest) 85.18 % against 77.24 % from scratch",
    question="Is fine-tuning from Point-MAE better than from scratch, and does it know more about shapes than an untrained encoder and the raw clouds?",
    arms={"point_mae": Arm("point_mae", short={"depth": 2, "heads": 3})},
    data=(Arena("shapes69/points", name="shapes69"), Arena("builtin:points", name="built-in clouds")),
    versus=(
        Versus("point_mae", "untrained", "finetuned", says="Fine-tuned, it is better than training from scratch."),
        Versus("point_mae", "untrained", "linear"),
        Versus("point_mae", "untrained"),
        Versus("point_mae", "raw input"),
        Versus("point_mae", "raw input", "linear"),
    ),
    common={"encoder": "point_transformer_micro", "size": 512, "steps": 300, "batch": 32, "weight_decay": 0.05},
    measure=measure,
    full={"encoder": "point_transformer", "size": 1024, "epochs": 300, "batch": 128},
)
