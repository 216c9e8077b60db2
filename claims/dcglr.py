"""DCGLR: are distillation from whole to part and contrast between clouds better together than each alone?

Fu et al., "Distillation with Contrast is All You Need for Self-Supervised Point Cloud Representation Learning", 2022, arXiv:2202.04241: best linear
classification of ModelNet40 and ScanObjectNN among self-supervised methods of its time; the combination above either part.
A slow copy that averages over about 50 steps; 256 prototypes for fewer than 2,000 clouds.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus

SHORT = {"out": 256, "hidden": 256, "bottleneck": 64, "decay": 0.98}

CLAIM = Claim(
    system="dcglr",
    paper="linear ModelNet40 and ScanObjectNN best of its time; distillation with contrast above either alone",
    question="Is distillation with contrast better for clouds than distillation or contrast alone?",
    arms={
        "dcglr": Arm("dcglr", short=SHORT),
        "distillation alone": Arm("dcglr", short=SHORT, contrast=0.0),
        "contrast alone": Arm("dcglr", short=SHORT, distill=0.0),
    },
    data=(Arena("shapes69/points", name="shapes69"),),
    versus=tuple(Versus("dcglr", other, "linear") for other in ("distillation alone", "contrast alone")),
    common={"encoder": "point_transformer_micro", "size": 256, "steps": 150, "batch": 32, "weight_decay": 0.05},
    full={"encoder": "dgcnn", "size": 1024, "epochs": 200, "batch": 64},
)
