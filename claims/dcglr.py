"""DCGLR: are distillation from whole to part and contrast between clouds better together than each alone?

Fu et al., "Distillation with Contrast is All You Need for Self-Supervised Point Cloud Representation Learning", 2022, arXiv:2202.04241: best linear
classification of ModelNet40 and ScanObjectNN among self-supervised methods of its time; the combination above either part.
Clouds of 256 points from 69 classes of meshes, and a small PointNet, which takes a third of a small transformer's time a step, for 400 steps. A slow copy that
averages over about 50 steps; 256 prototypes for fewer than 2,000 clouds. As there are 492 test clouds, the probes ask all 2,470, in five folds, of which 1,978
were learned from without labels.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.evaluate.cross_validation import cross_validated

SHORT = {"out": 256, "hidden": 256, "bottleneck": 64, "decay": 0.98}


def measure(bench, method):
    rows = [bench.features(method.exported, data) for data in (bench.train, bench.test)]
    return cross_validated(rows[0].and_also(rows[1]), bench.seed)


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
    versus=tuple(Versus("dcglr", other, "linear") for other in ("distillation alone", "contrast alone", "untrained")),
    common={"encoder": "pointnet_micro", "size": 256, "steps": 400, "batch": 32, "weight_decay": 0.05},
    measure=measure,
    full={"encoder": "dgcnn", "size": 1024, "epochs": 200, "batch": 64},
)
