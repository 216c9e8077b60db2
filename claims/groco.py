"""GroCo: is sorting better than the contrastive loss in k-NN, and about as good in linear evaluation?

Shvetsova et al., "Learning by Sorting: Self-supervised Learning with Group Ordering Constraints", ICCV 2023, arXiv:2301.02009: ImageNet, ResNet-50, two
views, 100 epochs: k-NN 60.5 %, linear 69.2 % (the authors' table of checkpoints); better than a contrastive loss in both, and than all methods compared in
k-NN. The contrastive arm has the same projector and views. As the authors give GroCo's positives and negatives no gradient, there is GroCo with that gradient
too, as InfoNCE has it, and GroCo that sorts all negatives.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus

FRAME = {"hidden": 512, "out": 256, "layers": 3, "views": "simclr"}

CLAIM = Claim(
    system="groco",
    paper="ImageNet, ResNet-50, 100 epochs: k-NN 60.5 %, linear 69.2 %; better than a contrastive loss in both",
    question="Does GroCo beat SimCLR's loss in k-NN, with the same views, projector and samples seen?",
    arms={
        "groco": Arm("groco", **FRAME),
        "simclr": Arm("simclr", short={"temperature": 0.2}, last_norm=True, last_affine=False, **FRAME),
        "groco, all negatives": Arm("groco", negatives=1023, short={"negatives": 63}, **FRAME),
        "groco, gradient everywhere": Arm("groco", stop_gradient=False, **FRAME),
    },
    data=(Arena("cifar10", rows=20000),),
    versus=(
        Versus("groco", "simclr"),
        Versus("groco", "simclr", "linear", margin=0.02, says="In linear evaluation it is no worse by more than two points."),
        Versus("groco", "groco, all negatives", says="Sorting only the hardest negatives is better than sorting all."),
    ),
    full={"encoder": "resnet50", "size": 224, "epochs": 100, "batch": 1024},
)
