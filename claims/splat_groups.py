"""splat transformer: what do methods made for pictures teach it, unchanged?

Ma et al. (ShapeSplat), arXiv:2408.10906: groups of splats under the transformer of Point-MAE.
No paper asks this question of these methods; 256 splats each on meshes of 69 classes, placed there as an optimisation leaves them, and the built-in splats.
"dino" and "ibot", which see ten crops of each sample, take half the others' steps.
"""

from manyviews.app.evidence import Arena
from manyviews.app.evidence.learning import learning
from manyviews.data.builtin_splats import as_splats


def covered(data, part):
    """Splats on clouds with normals."""
    return as_splats(data)


CLAIM = learning(
    "splat_groups",
    "splat_transformer_micro",
    256,
    [Arena("shapes69/points", name="shapes69", prepare=covered), Arena("builtin:splats", name="built-in splats")],
    paper="none: this asks whether one loop and one set of methods serve every modality",
)
