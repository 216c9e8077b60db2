"""MAE: does it learn anything here, beside the untrained encoder and the raw pixels?

He et al., "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, arXiv:2111.06377, Table 1: ImageNet, ViT-L/16, 800 epochs: linear probing
73.5 %, fine-tuning 84.9 % top-1.
A decoder that is small beside a small encoder. 600 steps, as one view of which a quarter is seen costs less than two views.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus

CLAIM = Claim(
    system="mae",
    paper="on ImageNet linear probing 73.5 %, fine-tuning 84.9 % (Table 1), ViT-L/16, 800 epochs",
    question="Does MAE learn more about pictures than an untrained encoder and raw pixels know, in a minute?",
    arms={"mae": Arm("mae", short={"dim": 64, "depth": 2, "heads": 4, "steps": 600})},
    data=(Arena("cifar10", rows=20000), Arena("clothing_cc0")),
    versus=(
        Versus("mae", "untrained"),
        Versus("mae", "untrained", "linear"),
        Versus("mae", "raw input"),
        Versus("mae", "raw input", "linear"),
    ),
    common={"encoder": "vit_nano", "weight_decay": 0.05},
    full={"encoder": "vit_base", "size": 224, "epochs": 800, "batch": 4096},
)
