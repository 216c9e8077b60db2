"""graph transformer: what do methods made for pictures teach it, unchanged?

Rampasek et al. (GraphGPS), NeurIPS 2022, arXiv:2205.12454, whose places by random walks it has; Hou et al. (GraphMAE), arXiv:2205.10803, whose error it has.
No paper asks this question; NCI1, molecules that are active against lung cancer or not (4,110; of the one in seven with more than 40 atoms the transformer
sees the 40 nearest to the atom with most bonds), and the built-in graphs, six kinds. "dino" and "ibot", which see ten crops of each sample, take half the
others' steps.
"""

from manyviews.app.evidence import Arena
from manyviews.app.evidence.learning import learning

CLAIM = learning(
    "graph_nodes",
    "graph_transformer_micro",
    40,
    [Arena("tu_graphs/NCI1.npz", name="NCI1"), Arena("builtin:graphs", name="built-in graphs")],
    paper="none: this asks whether one loop and one set of methods serve every modality",
)
