"""CVRL: should all frames of a clip be cropped and coloured alike, and should clips that are near in time be pairs more often?

Qian et al., "Spatiotemporal Contrastive Video Representation Learning", CVPR 2021, arXiv:2008.03800: Kinetics-600, R3D-50, linear 70.4 %, 15.7 points above
ImageNet-supervised inflation and 18.8 above SimCLR on frames; consistent augmentation and a decreasing density of intervals are its best choices.
Videos of shapes in eight kinds of motion, 16 frames of 32 pixels, clips of 8: only time tells the kind.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus

SHORT = {"temperature": 0.2, "hidden": 512}

CLAIM = Claim(
    system="cvrl",
    paper="Kinetics-600 linear 70.4 %, 18.8 above SimCLR inflated; consistent augmentation and decreasing intervals are best",
    question="Do clips with one crop and one set of colours teach more about motion than clips whose frames are changed each for itself?",
    arms={
        "cvrl": Arm("simclr", views="cvrl", short=SHORT),
        "each frame for itself": Arm("simclr", views="cvrl_inconsistent", short=SHORT),
        "uniform intervals": Arm("simclr", views="cvrl_uniform", short=SHORT),
        "increasing intervals": Arm("simclr", views="cvrl_increasing", short=SHORT),
    },
    data=(Arena("builtin:video", name="built-in videos"),),
    versus=(
        Versus("cvrl", "each frame for itself", "linear"),
        Versus("cvrl", "uniform intervals", "linear", says="Near clips should be pairs more often than far ones."),
        Versus("cvrl", "increasing intervals", "linear", says="Far clips should not be pairs more often."),
    ),
    common={"encoder": "r3d_micro", "steps": 250, "batch": 32},
    full={"encoder": "r3d_18", "size": 112, "epochs": 200, "batch": 256},
)
