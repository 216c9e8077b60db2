"""GMML: is restoring connected groups of patches a better preparation for a small data set than restoring single ones?

Atito et al., "GMML is All you Need", arXiv:2205.14986: pretrained on the small target set alone, it beats DINO, MoCo v3 and MAE pretrained there, and
training from scratch, on Flowers, Pets, CUB and others. Here: 5,000 pictures of CIFAR-10, then fine-tuning on the same 5,000 with labels. "untrained" is
from scratch. Groups are of up to 4.5 of 8 parts along a side, as large in parts as the paper's of 14. Single patches are groups of the smallest size; the
random-token arm and the groups lose equally many tokens. All arms are asked for the mean over parts, as nothing teaches GMML's token of the whole (the authors
fine-tune both). MoCo v3 sees two views, and takes half the steps.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.contracts import Encoder


class MeanOfParts(Encoder):
    """What an encoder says of a sample's parts, on average."""

    def __init__(self, network):
        super().__init__()
        self.network, self.dim, self.content_width = network, network.dim, network.content_width  # tuned as a transformer is

    def forward(self, view):
        return self.network.encode(self.network.tokenize(view)).parts.mean(1)


def measure(bench, method):
    encoder = MeanOfParts(method.exported)
    return {**bench.probes(encoder), "fine-tuned": bench.finetune(encoder, labels=5000)}


GROUPS = {"block": 0.56}

CLAIM = Claim(
    system="gmml",
    paper="beats DINO, MoCo v3 and MAE pretrained on the small set itself, and training from scratch",
    question="After pretraining on 5,000 pictures, does fine-tuning from GMML beat fine-tuning from MAE, from MoCo v3 and from scratch?",
    arms={
        "gmml": Arm("gmml", short=GROUPS),
        "gmml, single tokens": Arm("gmml", block=0.01),
        "gmml, no other pictures": Arm("gmml", replace=0.0, short=GROUPS),
        "mae": Arm("mae", short={"dim": 64, "depth": 2, "heads": 4}),
        "moco_v3": Arm("moco_v3", views="moco_v3", short={"decay": 0.98, "hidden": 512, "steps": 250}),
    },
    data=(Arena("cifar10", rows=5000),),
    versus=(
        Versus("gmml", "mae", "fine-tuned"),
        Versus("gmml", "moco_v3", "fine-tuned"),
        Versus("gmml", "untrained", "fine-tuned"),
        Versus("gmml", "gmml, single tokens", "fine-tuned"),
        Versus("gmml", "gmml, no other pictures", "fine-tuned"),
        *(Versus("gmml", other, "linear") for other in ("mae", "moco_v3", "untrained")),
    ),
    common={"encoder": "vit_nano", "weight_decay": 0.05, "steps": 500, "views": "mae"},
    measure=measure,
    raw=False,
    full={"encoder": "vit_small", "size": 224, "epochs": 800, "batch": 64},
)
