"""FT-Transformer: what do methods made for pictures teach it, unchanged?

Gorishniy et al., NeurIPS 2021, arXiv:2106.11959: of tables transformers reach trees on some, supervised.
No paper asks this question of these methods; rows of Adult, with the fourteenth column as it came, of Covertype (10,959 rows), and of the built-in table.
"dino" and "ibot", which see ten crops of each sample, take half the others' steps.
"""

from manyviews.app.evidence import Arena
from manyviews.app.evidence.learning import learning

CLAIM = learning(
    "ft_transformer",
    "ft_transformer_micro",
    16,
    [
        Arena("tables/adult_train.csv.gz?header=no&label=15", rows=20000, test=6000, name="adult"),
        Arena("tables/covertype_10959_scaled.csv.gz?label=class", name="covertype"),
        Arena("builtin:tables", name="built-in table"),
    ],
    paper="none: this asks whether one loop and one set of methods serve every modality",
)
