"""point transformer: what do methods made for pictures teach it, unchanged?

Yu et al. (Point-BERT), CVPR 2022, arXiv:2111.14819: the transformer over groups of points, ModelNet40 from scratch 91.4 %, pretrained 93.2 %.
No paper asks this question; clouds of 69 classes of meshes, and of the built-in set, 256 points each. "dino" and "ibot", which see ten crops of each sample,
take half the others' steps.
"""

from manyviews.app.evidence import Arena
from manyviews.app.evidence.learning import learning

CLAIM = learning(
    "point_transformer",
    "point_transformer_micro",
    256,
    [Arena("shapes69/points", name="shapes69"), Arena("builtin:points", name="built-in clouds")],
    paper="none: this asks whether one loop and one set of methods serve every modality",
)
