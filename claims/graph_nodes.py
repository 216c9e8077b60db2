"""graph transformer: what do methods made for pictures teach it, unchanged?

Rampasek et al. (GraphGPS), NeurIPS 2022, arXiv:2205.12454, whose places by random walks it has; Hou et al. (GraphMAE), arXiv:2205.10803, whose error it has.
No paper asks this question; the built-in graphs, six kinds.
"""

from manyviews.app.evidence import Arena
from manyviews.app.evidence.learning import learning

CLAIM = learning(
    "graph_nodes",
    "graph_transformer_micro",
    40,
    Arena("builtin:graphs", name="built-in graphs"),
    paper="none: this asks whether one loop and one set of methods serve every modality",
)
