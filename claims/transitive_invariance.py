"""Transitive Invariance: is what two kinds of edges lead to together worth more than the two kinds side by side, and than each alone?

Wang, He, Gupta, "Transitive Invariance for Self-supervised Visual Representation Learning", ICCV 2017, arXiv:1708.02901, abstract: detection on PASCAL VOC
2007, Fast R-CNN, VGG16: 63.2 mAP, where supervised pretraining on ImageNet has 67.3. The paper's own comparison is with context prediction (inter), with
tracking (intra) and with both as two tasks at once; its figures for these were not at hand.
Renders of one object in other poses stand for a tracked frame; of photographs of hands, which are of one frame each, a changed view does, so that
intra edges teach there what crops, turns and colours do. All arms see as many samples with triplets; those with inter edges predict contexts before, for half
as many steps. Heads of 512 and 256.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus

SHORT = {"hidden": 512, "out": 256, "pretext_share": 0.5}

CLAIM = Claim(
    system="transitive_invariance",
    paper="63.2 mAP on PASCAL VOC 2007 (ImageNet pretraining 67.3), VGG16, better than either kind of pairs or both as two tasks",
    question="Do pairs that transitivity gives teach more than intra and inter pairs at once, and than either alone?",
    arms={
        "transitive": Arm("transitive_invariance", short=SHORT),
        "both": Arm("transitive_invariance", edges="both", short=SHORT),
        "intra": Arm("transitive_invariance", edges="intra", short=SHORT),
        "inter": Arm("transitive_invariance", edges="inter", short=SHORT),
    },
    data=(
        Arena("renders:kaykit_cc0,views=8,look=3diebench,poses=half_turns,side=32", name="kaykit in 3DIEBench's poses", test=0),
        Arena("sign_digits"),
    ),
    versus=(
        Versus("transitive", "both"),
        Versus("transitive", "intra"),
        Versus("transitive", "inter"),
        Versus("both", "intra", says="Two kinds of edges are better than intra edges alone."),
        Versus("both", "inter", says="Two kinds of edges are better than inter edges alone."),
        Versus("transitive", "untrained"),
    ),
    full={"encoder": "resnet18_small", "size": 64, "epochs": 200, "batch": 100},
)
