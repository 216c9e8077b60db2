"""The claim of an encoder of parts: methods that were made for pictures teach it something about what it is shown, unchanged.

In the small budget slow copies average over about 50 steps, and DINO and iBOT have 256 prototypes, for some hundred or thousand samples. These two see ten
crops of each sample: they take half as many steps, and their copies, which are what is asked, average over 25.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from manyviews.app.evidence.arena import Arena
from manyviews.app.evidence.claim import Arm, Claim, Versus

CROPS = {"hidden": 512, "out": 256, "bottleneck": 64, "decay": 0.96, "steps": 150}
ARMS: dict[str, dict[str, Any]] = {  # method -> what the small budget changes
    "simclr": {},
    "byol": {"hidden": 512, "decay": 0.98},
    "vicreg": {"hidden": 512, "out": 512},
    "dino": CROPS,
    "ibot": CROPS,
    "mae": {"depth": 2, "dim": 96, "heads": 3},
}


def learning(system: str, encoder: str, size: int, arenas: Sequence[Arena], paper: str, **common: Any) -> Claim:
    """Six methods, each against the untrained encoder and the raw input, by neighbours and by a linear probe. arenas: the one with most test rows first."""
    names = " and ".join(arena.title for arena in arenas)
    pairs = [Versus(name, than, metric) for name in ARMS for than in ("untrained", "raw input") for metric in ("knn", "linear")]
    return Claim(
        system=system,
        paper=paper,
        question=f"Which methods that were made for pictures teach {encoder} more about {names} than it knows untrained, in a minute?",
        arms={name: Arm(name, short=short) for name, short in ARMS.items()},
        data=tuple(arenas),
        versus=pairs,
        common={"encoder": encoder, "size": size, "steps": 300, "batch": 32, "weight_decay": 0.05, **common},
        full={"encoder": encoder, "size": size, "epochs": 300, "batch": 128},
    )
