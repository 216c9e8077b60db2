"""FT-Transformer: what do methods made for pictures teach it, unchanged?

Gorishniy et al., NeurIPS 2021, arXiv:2106.11959: of tables transformers reach trees on some, supervised.
No paper asks this question of these methods; rows of the built-in table.
"""

from manyviews.app.evidence import Arena
from manyviews.app.evidence.learning import learning

CLAIM = learning(
    "ft_transformer",
    "ft_transformer_micro",
    16,
    Arena("builtin:tables", name="built-in table"),
    paper="none: this asks whether one loop and one set of methods serve every modality",
)
