"""MoCo v2: does it learn anything here, beside the untrained encoder and the raw pixels?

Chen et al., "Improved Baselines with Momentum Contrastive Learning", arXiv:2003.04297, Table 2: ImageNet, ResNet-50, 800 epochs, linear
evaluation: 71.1 % top-1.
A slow copy that averages over 250 steps or more has hardly left its start after 400; the short arm's averages over about 50.
A queue of 1,024 holds the keys of 16 batches, as long as the slow copy stays alike.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus

CLAIM = Claim(
    system="moco_v2",
    paper="linear evaluation on ImageNet 71.1 % (Table 2), ResNet-50, 800 epochs",
    question="Does MoCo v2 learn more about pictures than an untrained encoder and raw pixels know, in a minute?",
    arms={"moco_v2": Arm("moco_v2", short={"decay": 0.98, "queue": 1024, "hidden": 512})},
    data=(Arena("cifar10", rows=20000), Arena("clothing_cc0")),
    versus=(
        Versus("moco_v2", "untrained"),
        Versus("moco_v2", "untrained", "linear"),
        Versus("moco_v2", "raw input"),
        Versus("moco_v2", "raw input", "linear"),
    ),
    full={"encoder": "resnet18_small", "size": 32, "epochs": 800, "batch": 512},
)
