"""VICReg: does it learn anything here, beside the untrained encoder and the raw pixels?

Bardes, Ponce, LeCun, "VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning", ICLR 2022, arXiv:2105.04906,
Table 1: ImageNet, ResNet-50, 1,000 epochs, linear evaluation: 73.2 % top-1.
Embeddings of 512 dimensions: covariances of 8,192 cannot be estimated from 64 samples.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus

CLAIM = Claim(
    system="vicreg",
    paper="linear evaluation on ImageNet 73.2 % (Table 1), ResNet-50, 1,000 epochs",
    question="Does VICReg learn more about pictures than an untrained encoder and raw pixels know, in a minute?",
    arms={"vicreg": Arm("vicreg", short={"hidden": 512, "out": 512})},
    data=(Arena("cifar10", rows=20000), Arena("clothing_cc0")),
    versus=(
        Versus("vicreg", "untrained"),
        Versus("vicreg", "untrained", "linear"),
        Versus("vicreg", "raw input"),
        Versus("vicreg", "raw input", "linear"),
    ),
    full={"encoder": "resnet18_small", "size": 32, "epochs": 800, "batch": 512},
)
