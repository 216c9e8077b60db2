"""SiT: are restoration and contrast better together than either alone?

Atito et al., "SiT: Self-supervised vIsion Transformer", arXiv:2104.03602: pretrained on the small target set itself, far above training from scratch and
above earlier methods (CIFAR-10, STL-10, Pets, Flowers ...). Here: 5,000 pictures of CIFAR-10, then fine-tuning on 1,000 labels; "untrained" is from scratch.
Contrast alone is MoCo v3, whose loss and slow copy it is; restoration alone is GMML, whose corruption it is.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus


def measure(bench, method):
    return {**bench.probes(method.exported), "fine-tuned": bench.finetune(method.exported)}


CLAIM = Claim(
    system="sit",
    paper="pretraining on the small target set itself beats training from scratch by tens of points",
    question="After pretraining on 5,000 pictures, does fine-tuning from SiT beat fine-tuning from contrast alone, restoration alone and from scratch?",
    arms={
        "sit": Arm("sit", short={"decay": 0.98, "hidden": 512}),
        "contrast alone (moco_v3)": Arm("moco_v3", short={"decay": 0.98, "hidden": 512}),
        "restoration alone (gmml)": Arm("gmml", views="moco_v3"),
    },
    data=(Arena("cifar10", rows=5000),),
    versus=(
        Versus("sit", "untrained", "fine-tuned"),
        Versus("sit", "contrast alone (moco_v3)", "fine-tuned"),
        Versus("sit", "restoration alone (gmml)", "fine-tuned"),
        Versus("sit", "contrast alone (moco_v3)", "linear"),
    ),
    common={"encoder": "vit_nano", "weight_decay": 0.05, "steps": 250},
    measure=measure,
    raw=False,
    full={"encoder": "vit_small", "size": 224, "epochs": 800, "batch": 64},
)
