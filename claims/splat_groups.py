"""splat transformer: what do methods made for pictures teach it, unchanged?

Ma et al. (ShapeSplat), arXiv:2408.10906: groups of splats under the transformer of Point-MAE.
No paper asks this question of these methods; the built-in splats, 256 each.
"""

from manyviews.app.evidence import Arena
from manyviews.app.evidence.learning import learning

CLAIM = learning(
    "splat_groups",
    "splat_transformer_micro",
    256,
    Arena("builtin:splats", name="built-in splats"),
    paper="none: this asks whether one loop and one set of methods serve every modality",
)
