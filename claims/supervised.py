"""Supervised: the yardstick. How much does training with labels give here, beside the untrained encoder and the raw pixels?

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385, Table 6: CIFAR-10, ResNet-20: 91.25 % with all labels.
Measured as everything else is: probes on its frozen features.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus

CLAIM = Claim(
    system="supervised",
    paper="CIFAR-10 91.25 % (Table 6), ResNet-20",
    question="Does training with labels give features that tell more than an untrained encoder and raw pixels, in a minute?",
    arms={"supervised": Arm("supervised")},
    data=(Arena("cifar10", rows=20000), Arena("clothing_cc0")),
    versus=(
        Versus("supervised", "untrained"),
        Versus("supervised", "untrained", "linear"),
        Versus("supervised", "raw input"),
    ),
    full={"encoder": "resnet18_small", "size": 32, "epochs": 164, "batch": 128},
)
