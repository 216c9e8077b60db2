"""SiT: are restoration and contrast better together than either alone?

Atito et al., "SiT: Self-supervised vIsion Transformer", arXiv:2104.03602: pretrained on the small target set itself, far above training from scratch and
above earlier methods (CIFAR-10, STL-10, Pets, Flowers ...). Here: 5,000 pictures of CIFAR-10, then fine-tuning on the same 5,000 with labels; "untrained"
is from scratch. Contrast alone is SiT without restoration. Restoration alone is GMML with SiT's corruption; it sees one view, of GMML's own crops, and takes
twice the steps. Restoration weighs 5, which the authors advise for small data.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus


def measure(bench, method):
    return {**bench.probes(method.exported), "fine-tuned": bench.finetune(method.exported, labels=5000)}


SHORT = {"decay": 0.98, "hidden": 512}

CLAIM = Claim(
    system="sit",
    paper="pretraining on the small target set itself beats training from scratch by tens of points",
    question="After pretraining on 5,000 pictures, does fine-tuning from SiT beat fine-tuning from contrast alone, restoration alone and from scratch?",
    arms={
        "sit": Arm("sit", restoration_weight=5.0, short=SHORT),
        "contrast alone": Arm("sit", restoration_weight=0.0, short=SHORT),
        "restoration alone (gmml)": Arm("gmml", drop=0.5, fill="zeros", levels=1, short={"steps": 500}),
    },
    data=(Arena("cifar10", rows=5000),),
    versus=(
        *(Versus("sit", other, "fine-tuned") for other in ("untrained", "contrast alone", "restoration alone (gmml)")),
        *(Versus("sit", other, "linear") for other in ("untrained", "contrast alone", "restoration alone (gmml)")),
    ),
    common={"encoder": "vit_nano", "weight_decay": 0.05, "steps": 250},
    measure=measure,
    raw=False,
    full={"encoder": "vit_small", "size": 224, "epochs": 800, "batch": 64},
)
