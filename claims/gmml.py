"""GMML: is restoring connected groups of patches a better preparation for a small data set than restoring single ones?

Atito et al., "GMML is All you Need", arXiv:2205.14986: pretrained on the small target set alone, it beats DINO, MoCo v3 and MAE pretrained there, and
training from scratch, on Flowers, Pets, CUB and others. Here: 5,000 pictures of CIFAR-10, then fine-tuning on 1,000 labels. "untrained" is from scratch.
Single patches are groups of the smallest size. The random-token arm and the groups lose equally many tokens.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus


def measure(bench, method):
    return {**bench.probes(method.exported), "fine-tuned": bench.finetune(method.exported)}


CLAIM = Claim(
    system="gmml",
    paper="beats DINO, MoCo v3 and MAE pretrained on the small set itself, and training from scratch",
    question="After pretraining on 5,000 pictures, does fine-tuning from GMML beat fine-tuning from MAE and from scratch?",
    arms={
        "gmml": Arm("gmml"),
        "gmml, single tokens": Arm("gmml", block=0.01),
        "gmml, no other pictures": Arm("gmml", replace=0.0),
        "mae": Arm("mae", short={"dim": 64, "depth": 2, "heads": 4}),
    },
    data=(Arena("cifar10", rows=5000),),
    versus=(
        Versus("gmml", "mae", "fine-tuned"),
        Versus("gmml", "untrained", "fine-tuned"),
        Versus("gmml", "gmml, single tokens", "fine-tuned"),
        Versus("gmml", "gmml, no other pictures", "fine-tuned"),
    ),
    common={"encoder": "vit_nano", "weight_decay": 0.05, "steps": 500, "views": "mae"},
    measure=measure,
    raw=False,
    full={"encoder": "vit_small", "size": 224, "epochs": 800, "batch": 64},
)
