"""Point-BERT: does naming hidden groups of points teach more about shapes than restoring their points, and what do mixing and contrasting clouds add?

Yu et al., "Point-BERT: Pre-training 3D Point Cloud Transformers with Masked Point Modeling", CVPR 2022, arXiv:2111.14819: ModelNet40 fine-tuned 93.8 %,
ScanObjectNN (hardest) 83.1 %, against 91.4 % and 77.2 % of the same transformer from scratch; few-shot, 5 ways and 10 shots, 94.6 against 87.8 %
(the figures from scratch and of few-shot are from memory); 55 classes of ShapeNet, 1,024 points, 300 epochs of tokenizer and of transformer each.
Clouds of 512 points from 69 classes of meshes. The tokenizer has 64 words here, a quarter of the width, and trains for half as many steps as what follows;
"point_mae" restores coordinates instead, the control, in as many steps, and "point_mae, longer" in twice as many, which takes the same time.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus

SHORT = {"codes": 64, "dim": 64, "hidden": 256, "out": 128, "queue": 1024, "tokenizer": 0.5}
RESTORE = {"depth": 2, "heads": 3}

CLAIM = Claim(
    system="point_bert",
    paper="ModelNet40 93.8 %, ScanObjectNN (hardest) 83.1 % against 91.4 and 77.2 % from scratch; few-shot 94.6 against 87.8 %",
    question="Does a transformer that names hidden groups know more about shapes than an untrained one, and than one that restores their points?",
    arms={
        "point_bert": Arm("point_bert", short=SHORT),
        "words alone": Arm("point_bert", short=SHORT, mix=0.0, contrast=0.0),
        "words and mixing, no contrast": Arm("point_bert", short=SHORT, contrast=0.0),
        "with the contrast of whole clouds": Arm("point_bert", short=SHORT, moco=1.0),
        "point_mae": Arm("point_mae", short=RESTORE),
        "point_mae, longer": Arm("point_mae", short={**RESTORE, "steps": 400}),
    },
    data=(Arena("shapes69/points", name="shapes69"),),
    versus=(
        Versus("point_bert", "untrained", "linear"),
        Versus("point_bert", "untrained"),
        Versus("point_bert", "raw input", "linear"),
        Versus("point_bert", "point_mae", "linear", says="Naming hidden groups teaches more than restoring their points."),
        Versus("point_bert", "point_mae, longer", "linear", says="It is worth the time that it takes."),
        Versus("point_bert", "words alone", "linear", says="Mixed clouds, named and told apart, add to it."),
        Versus("point_bert", "words and mixing, no contrast", "linear", says="The contrast of mixed clouds adds to it."),
    ),
    common={"encoder": "point_transformer_micro", "size": 512, "steps": 200, "batch": 32, "weight_decay": 0.05},
    full={"encoder": "point_transformer", "size": 1024, "epochs": 300, "batch": 128},
)
