"""SimSiam: does it learn anything here, beside the untrained encoder and the raw pixels?

Chen and He, "Exploring Simple Siamese Representation Learning", CVPR 2021, arXiv:2011.10566, Table 4: ImageNet, ResNet-50, 800 epochs, linear
evaluation: 71.3 % top-1. CIFAR-10 (app. D), ResNet-18, 800 epochs: 91.8 %.
Momentum SGD as in the paper's runs on CIFAR-10.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus

CLAIM = Claim(
    system="simsiam",
    paper="linear evaluation on ImageNet 71.3 % (Table 4), on CIFAR-10 91.8 % (app. D), ResNet-18, 800 epochs",
    question="Does SimSiam learn more about pictures than an untrained encoder and raw pixels know, in a minute?",
    arms={"simsiam": Arm("simsiam", short={"hidden": 512, "out": 512, "bottleneck": 128, "optimizer": "sgd", "lr": 0.05, "weight_decay": 5e-4, "warmup": 0.0})},
    data=(Arena("cifar10", rows=20000), Arena("clothing_cc0")),
    versus=(
        Versus("simsiam", "untrained"),
        Versus("simsiam", "untrained", "linear"),
        Versus("simsiam", "raw input"),
        Versus("simsiam", "raw input", "linear"),
    ),
    full={"encoder": "resnet18_small", "size": 32, "epochs": 800, "batch": 512},
)
