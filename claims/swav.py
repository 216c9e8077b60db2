"""SwAV: does it learn anything here, beside the untrained encoder and the raw pixels?

Caron et al., "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments", NeurIPS 2020, arXiv:2006.09882, Fig. 2: ImageNet,
ResNet-50, 800 epochs, linear evaluation: 75.3 % top-1.
3,000 prototypes are more than 20,000 pictures can balance in batches of 64; no queue, as it would be a quarter of the training old.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus

CLAIM = Claim(
    system="swav",
    paper="linear evaluation on ImageNet 75.3 %, ResNet-50, 800 epochs",
    question="Does SwAV learn more about pictures than an untrained encoder and raw pixels know, in a minute?",
    arms={"swav": Arm("swav", short={"prototypes": 100, "queue": 0, "hidden": 512})},
    data=(Arena("cifar10", rows=20000), Arena("clothing_cc0")),
    versus=(
        Versus("swav", "untrained"),
        Versus("swav", "untrained", "linear"),
        Versus("swav", "raw input"),
        Versus("swav", "raw input", "linear"),
    ),
    full={"encoder": "resnet18_small", "size": 32, "epochs": 800, "batch": 512},
)
