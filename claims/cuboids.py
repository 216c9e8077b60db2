"""cuboids (volumes): what do methods made for pictures teach it, unchanged?

Dosovitskiy et al. (ViT), ICLR 2021, arXiv:2010.11929, with boxes of voxels for patches.
No paper asks this question; the built-in volumes, 16 voxels a side.
"""

from manyviews.app.evidence import Arena
from manyviews.app.evidence.learning import learning

CLAIM = learning(
    "cuboids",
    "vit3d_micro",
    16,
    Arena("builtin:volumes", name="built-in volumes"),
    paper="none: this asks whether one loop and one set of methods serve every modality",
)
