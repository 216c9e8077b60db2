"""Barlow Twins: does it learn anything here, beside the untrained encoder and the raw pixels?

Zbontar et al., "Barlow Twins: Self-Supervised Learning via Redundancy Reduction", ICML 2021, arXiv:2103.03230, Table 1: ImageNet, ResNet-50,
1,000 epochs, linear evaluation: 73.2 % top-1.
Embeddings of 512 dimensions: correlations of 8,192 cannot be estimated from 64 samples.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus

CLAIM = Claim(
    system="barlow_twins",
    paper="linear evaluation on ImageNet 73.2 % (Table 1), ResNet-50, 1,000 epochs",
    question="Does Barlow Twins learn more about pictures than an untrained encoder and raw pixels know, in a minute?",
    arms={"barlow_twins": Arm("barlow_twins", short={"hidden": 512, "out": 512})},
    data=(Arena("cifar10", rows=20000), Arena("clothing_cc0")),
    versus=(
        Versus("barlow_twins", "untrained"),
        Versus("barlow_twins", "untrained", "linear"),
        Versus("barlow_twins", "raw input"),
        Versus("barlow_twins", "raw input", "linear"),
    ),
    full={"encoder": "resnet18_small", "size": 32, "epochs": 800, "batch": 512},
)
