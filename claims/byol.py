"""BYOL: does it learn anything here, beside the untrained encoder and the raw pixels?

Grill et al., "Bootstrap Your Own Latent", NeurIPS 2020, arXiv:2006.07733, Table 1: ImageNet, ResNet-50, 1,000 epochs, linear evaluation:
74.3 % top-1.
A slow copy that averages over 250 steps or more has hardly left its start after 400; the short arm's averages over about 50.
Momentum SGD as in common runs on CIFAR-10: with AdamW the predictor outruns the encoder in so few steps.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus

CLAIM = Claim(
    system="byol",
    paper="linear evaluation on ImageNet 74.3 % (Table 1), ResNet-50, 1,000 epochs",
    question="Does BYOL learn more about pictures than an untrained encoder and raw pixels know, in a minute?",
    arms={"byol": Arm("byol", short={"decay": 0.98, "hidden": 512, "optimizer": "sgd", "lr": 0.05, "weight_decay": 5e-4})},
    data=(Arena("cifar10", rows=20000), Arena("clothing_cc0")),
    versus=(
        Versus("byol", "untrained"),
        Versus("byol", "untrained", "linear"),
        Versus("byol", "raw input"),
        Versus("byol", "raw input", "linear"),
    ),
    full={"encoder": "resnet18_small", "size": 32, "epochs": 800, "batch": 512},
)
