"""SimCLR: does it learn anything here, beside the untrained encoder and the raw pixels?

Chen et al., "A Simple Framework for Contrastive Learning of Visual Representations", ICML 2020, arXiv:2002.05709, Table 6: ImageNet, ResNet-50,
1,000 epochs with batches of 4,096, linear evaluation: 69.3 % top-1. CIFAR-10 (app. B.9), ResNet-50, 1,000 epochs: 94.0 %.
The temperature is one for batches of 64.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus

CLAIM = Claim(
    system="simclr",
    paper="linear evaluation on ImageNet 69.3 % (Table 6), on CIFAR-10 94.0 % (app. B.9), ResNet-50, 1,000 epochs",
    question="Does SimCLR learn more about pictures than an untrained encoder and raw pixels know, in a minute?",
    arms={"simclr": Arm("simclr", short={"temperature": 0.2, "hidden": 512})},
    data=(Arena("cifar10", rows=20000), Arena("clothing_cc0")),
    versus=(
        Versus("simclr", "untrained"),
        Versus("simclr", "untrained", "linear"),
        Versus("simclr", "raw input"),
        Versus("simclr", "raw input", "linear"),
    ),
    full={"encoder": "resnet18_small", "size": 32, "epochs": 800, "batch": 512},
)
