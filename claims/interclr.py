"""InterCLR: does agreement between samples of one cluster add to MoCo v2, and do the paper's three recipes for it hold?

Xie et al., "Delving into Inter-Image Invariance for Unsupervised Visual Representations", IJCV 2022, arXiv:2008.11702: online labels are better than offline
ones, semi-hard negatives than hard ones, a less stringent margin than a stricter one, and with all three it is better than what learns within samples alone.
ImageNet, ResNet-50, 200 epochs, linear evaluation: 68.04 % top-1 (the authors' released model, mmselfsup), where MoCo v2 has 67.5 % (arXiv:2003.04297,
Table 1); the paper's own tables were not at hand.
A slow copy that averages over 250 steps or more has hardly left its start after 400; the short arms' averages over about 50. 5,000 pictures, so that each
row of the memory is renewed five times; 100 clusters of them, whose minimal size is to their mean size as in the paper; 64 negatives, the paper's share of
the pool.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus

MOCO = {"decay": 0.98, "queue": 1024, "hidden": 512}
SHORT = {**MOCO, "clusters": 100, "least": 8, "negatives": 64}

CLAIM = Claim(
    system="interclr",
    paper="MoCo v2 and InterCLR: 67.5 and 68.04 % linear evaluation on ImageNet (released model), ResNet-50, 200 epochs",
    question="Does InterCLR learn more than MoCo v2, and are online labels, semi-hard negatives and a negative margin the better ones?",
    arms={
        "interclr": Arm("interclr", short=SHORT),
        "moco_v2": Arm("moco_v2", short=MOCO),
        "offline labels": Arm("interclr", labels="offline", short=SHORT),
        "hard negatives": Arm("interclr", draw="hard", short=SHORT),
        "no margin": Arm("interclr", margin=0.0, short=SHORT),
        "margin 0.5": Arm("interclr", margin=0.5, short=SHORT),
    },
    data=(Arena("cifar10", rows=5000),),
    versus=(
        Versus("interclr", "moco_v2"),
        Versus("interclr", "moco_v2", "linear"),
        Versus("interclr", "offline labels", says="Online labels are better than offline ones."),
        Versus("interclr", "hard negatives", says="Semi-hard negatives are better than hard ones."),
        Versus("interclr", "no margin", says="A less stringent margin is better than none."),
        Versus("interclr", "margin 0.5", says="A less stringent margin is better than a stricter one."),
        Versus("interclr", "untrained"),
    ),
    full={"encoder": "resnet18_small", "size": 32, "epochs": 200, "batch": 256},
)
