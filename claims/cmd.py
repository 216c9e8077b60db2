"""CMD: does distillation of bags of regions help where classes differ in small parts?

Bi et al., "Cross-level Multi-instance Distillation for Self-supervised Fine-grained Visual Categorization", IEEE TIP 2025, arXiv:2401.08860, abstract: on
CUB-200-2011, Stanford Cars and FGVC Aircraft up to 10.14 % better than contemporary methods and up to 19.78 % better than earlier self-supervised ones, in
top-1 accuracy and rank-1 retrieval; the paper's tables were not at hand.
Here the parts are fingers: ten digits shown by hands, and then what tells four kinds of tops apart, sleeves and collars. "Regions" is CMD without its
multi-instance terms, which is EsViT; "mean bags" has all of them, and no attention.
A slow copy that averages over 250 steps or more has hardly left its start after 120; the short arms' averages over about 50. 256 prototypes for fewer than
2,000 pictures. 120 steps of a small transformer with small heads, as ten crops and a head for each of their regions cost more than two views.
"""

import numpy as np

from manyviews.app.evidence import Arena, Arm, Claim, Versus

DINO = {"decay": 0.98, "out": 256, "hidden": 256, "bottleneck": 64, "steps": 120}
SHORT = {**DINO, "attention": 64}


def tops(data, part):
    """Garments for the upper body."""
    wanted = [data.classes.index(name) for name in ("longsleeve", "outwear", "shirt", "t-shirt")]
    return data.select(np.flatnonzero(np.isin(data.labels, wanted)))


CLAIM = Claim(
    system="cmd",
    paper="up to 10.14 % better than contemporary and 19.78 % than earlier self-supervised methods on CUB-200-2011, Cars and Aircraft (abstract)",
    question="Where classes differ in small parts, is DINO with bags of regions better than DINO with regions, and that better than DINO?",
    arms={
        "cmd": Arm("cmd", short=SHORT),
        "dino": Arm("dino", short=DINO),
        "regions": Arm("cmd", intra=0.0, inter=0.0, short=SHORT),
        "mean bags": Arm("cmd", pooling="mean", short=SHORT),
    },
    data=(Arena("sign_digits"), Arena("clothing_cc0", prepare=tops, name="tops of clothing_cc0")),
    versus=(
        Versus("cmd", "dino"),
        Versus("cmd", "dino", "linear"),
        Versus("cmd", "regions", says="Bags add to regions."),
        Versus("regions", "dino", says="Regions add to views."),
        Versus("cmd", "mean bags", says="Attention makes better bags than equal weights."),
        Versus("cmd", "untrained"),
    ),
    common={"encoder": "vit_nano", "weight_decay": 0.05},
    full={"encoder": "vit_small", "size": 224, "epochs": 300, "batch": 512},
)
