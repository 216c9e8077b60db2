"""OBoW: does predicting bags of visual words of a vocabulary that is renewed all the time compete with contrast?

Gidaris et al., "OBoW: Online Bag-of-Visual-Words Generation for Self-Supervised Learning", CVPR 2021, arXiv:2012.11552: ImageNet, ResNet-50, linear
73.8 % top-1, Places205 56.8 %, VOC07 classification 89.3 mAP (from memory); above MoCo v2, SwAV and BYOL on Places and VOC.
256 words for 20,000 pictures, and a running mean of distances that follows within tens of steps. The arm without a slow teacher has decay 0.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus

SHORT = {"queue": 256, "decay": 0.98, "distance_decay": 0.9, "steps": 250}

CLAIM = Claim(
    system="obow",
    paper="ImageNet linear 73.8 %, Places205 56.8 %, VOC07 classification 89.3 mAP; above MoCo v2, SwAV and BYOL on Places and VOC (from memory)",
    question="Are OBoW's features as good as SimCLR's, and does its slow teacher matter?",
    arms={
        "obow": Arm("obow", short=SHORT),
        "obow, teacher = student": Arm("obow", short={**SHORT, "decay": 0.0}),
        "simclr": Arm("simclr", short={"temperature": 0.2, "hidden": 512}),
    },
    data=(Arena("cifar10", rows=20000),),
    versus=(Versus("obow", "simclr", "linear"), Versus("obow", "simclr"), Versus("obow", "obow, teacher = student", "linear")),
    full={"encoder": "resnet50", "size": 224, "epochs": 200, "batch": 256},
)
