"""MoCo v3: does it learn anything here, beside the untrained encoder and the raw pixels?

Chen et al., "An Empirical Study of Training Self-Supervised Vision Transformers", ICCV 2021, arXiv:2104.02057: ImageNet, ViT-S/16, 300 epochs,
linear evaluation: 73.2 % top-1.
A slow copy that averages over 250 steps or more has hardly left its start after 400; the short arm's averages over about 50.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus

CLAIM = Claim(
    system="moco_v3",
    paper="linear evaluation on ImageNet 73.2 %, ViT-S/16, 300 epochs",
    question="Does MoCo v3 learn more about pictures than an untrained encoder and raw pixels know, in a minute?",
    arms={"moco_v3": Arm("moco_v3", short={"decay": 0.98, "hidden": 512})},
    data=(Arena("cifar10", rows=20000), Arena("clothing_cc0")),
    versus=(
        Versus("moco_v3", "untrained"),
        Versus("moco_v3", "untrained", "linear"),
        Versus("moco_v3", "raw input"),
        Versus("moco_v3", "raw input", "linear"),
    ),
    full={"encoder": "resnet18_small", "size": 32, "epochs": 800, "batch": 512},
)
