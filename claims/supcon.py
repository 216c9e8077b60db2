"""SupCon: does it learn anything here, beside the untrained encoder and the raw pixels?

Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, arXiv:2004.11362, Table 2: CIFAR-10, ResNet-50, linear evaluation: 96.0 %
(cross-entropy 95.0 %).
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus

CLAIM = Claim(
    system="supcon",
    paper="linear evaluation on CIFAR-10 96.0 %, cross-entropy 95.0 % (Table 2), ResNet-50",
    question="Does SupCon learn more about pictures than an untrained encoder and raw pixels know, in a minute?",
    arms={"supcon": Arm("supcon", short={"hidden": 512})},
    data=(Arena("cifar10", rows=20000), Arena("clothing_cc0")),
    versus=(
        Versus("supcon", "untrained"),
        Versus("supcon", "untrained", "linear"),
        Versus("supcon", "raw input"),
        Versus("supcon", "raw input", "linear"),
    ),
    full={"encoder": "resnet18_small", "size": 32, "epochs": 800, "batch": 512},
)
