"""The claim of an encoder of parts: methods that were made for pictures teach it something about what it is shown, unchanged."""

from __future__ import annotations

from typing import Any

from manyviews.app.evidence.arena import Arena
from manyviews.app.evidence.claim import Arm, Claim, Versus

ARMS: dict[str, dict[str, Any]] = {  # method -> what the small budget changes
    "simclr": {},
    "byol": {"hidden": 512},
    "vicreg": {"hidden": 512, "out": 512},
    "dino": {"hidden": 512, "out": 2048},
    "ibot": {"hidden": 512, "out": 2048},
    "mae": {"depth": 2, "dim": 96, "heads": 3},
}


def learning(system: str, encoder: str, size: int, arena: Arena, paper: str, **common: Any) -> Claim:
    """Six methods, each against the untrained encoder and the raw input, by neighbours and by a linear probe."""
    pairs = [Versus(name, than, metric) for name in ARMS for than in ("untrained", "raw input") for metric in ("knn", "linear")]
    return Claim(
        system=system,
        paper=paper,
        question=f"Which methods that were made for pictures teach {encoder} more about {arena.name or arena.source} than it knows untrained, in a minute?",
        arms={name: Arm(name, short=short) for name, short in ARMS.items()},
        data=(arena,),
        versus=pairs,
        common={"encoder": encoder, "size": size, "steps": 300, "batch": 32, "weight_decay": 0.05, **common},
        full={"encoder": encoder, "size": size, "epochs": 300, "batch": 128},
    )
