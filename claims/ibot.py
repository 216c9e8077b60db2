"""iBOT: does it learn anything here, beside the untrained encoder and the raw pixels?

Zhou et al., "iBOT: Image BERT Pre-Training with Online Tokenizer", ICLR 2022, arXiv:2111.07832, Table 1: ImageNet, ViT-S/16, 800 epochs: linear
evaluation 77.9 %, k-NN 75.2 % top-1.
A slow copy that averages over 250 steps or more has hardly left its start after 400; the short arm's averages over about 50.
1,024 prototypes for 20,000 pictures. 150 steps, as ten crops cost more than two views.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus

CLAIM = Claim(
    system="ibot",
    paper="on ImageNet linear evaluation 77.9 % and k-NN 75.2 % (Table 1), ViT-S/16, 800 epochs",
    question="Does iBOT learn more about pictures than an untrained encoder and raw pixels know, in a minute?",
    arms={"ibot": Arm("ibot", short={"decay": 0.98, "out": 1024, "hidden": 512, "bottleneck": 128, "steps": 150})},
    data=(Arena("cifar10", rows=20000), Arena("clothing_cc0")),
    versus=(
        Versus("ibot", "untrained"),
        Versus("ibot", "untrained", "linear"),
        Versus("ibot", "raw input"),
        Versus("ibot", "raw input", "linear"),
    ),
    common={"encoder": "vit_nano", "weight_decay": 0.05},
    full={"encoder": "vit_small", "size": 224, "epochs": 300, "batch": 1024},
)
