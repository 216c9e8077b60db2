"""Point-MAE: does restoring hidden groups of points teach anything here, beside the untrained encoder and the raw cloud?

Pang et al., "Masked Autoencoders for Point Cloud Self-supervised Learning", ECCV 2022, arXiv:2203.06604: ModelNet40 fine-tuned 93.8 %, ScanObjectNN (hardest)
85.18 %, against 77.24 % of the same transformer from scratch; 55 classes of ShapeNet, 1,024 points, 300 epochs.
Clouds of 512 points from 69 classes of meshes, and the built-in clouds; what stands for the raw input counts points in 512 cells.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus

CLAIM = Claim(
    system="point_mae",
    paper="ModelNet40 93.8 %, ScanObjectNN (hardest) 85.18 % against 77.24 % from scratch",
    question="Does Point-MAE learn more about shapes than an untrained encoder and the raw clouds know, in a minute?",
    arms={"point_mae": Arm("point_mae", short={"depth": 2, "heads": 3})},
    data=(Arena("shapes69/points", name="shapes69"), Arena("builtin:points", name="built-in clouds")),
    versus=(
        Versus("point_mae", "untrained"),
        Versus("point_mae", "untrained", "linear"),
        Versus("point_mae", "raw input"),
        Versus("point_mae", "raw input", "linear"),
    ),
    common={"encoder": "point_transformer_micro", "size": 512, "steps": 300, "batch": 32, "weight_decay": 0.05},
    full={"encoder": "point_transformer", "size": 1024, "epochs": 300, "batch": 128},
)
