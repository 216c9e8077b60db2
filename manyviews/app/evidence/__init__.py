"""Evidence: what each system's paper claims, the same comparison in small, and what came of it.

A claim is one file, `claims/NAME.py`, that says what is compared (`CLAIM = Claim(...)`). `manyviews claim NAME` trains its arms over seeds, keeps every
arm in `claims/results/arms/`, and writes the verdict to `claims/results/NAME.json`. No verdict is typed by hand.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manyviews.app.evidence.arena import Arena as Arena
    from manyviews.app.evidence.bench import Bench as Bench
    from manyviews.app.evidence.claim import Arm as Arm
    from manyviews.app.evidence.claim import Claim as Claim
    from manyviews.app.evidence.claim import Versus as Versus

HOMES = {"Arena": "arena", "Bench": "bench", "Arm": "claim", "Claim": "claim", "Versus": "claim"}


def __getattr__(name: str) -> Any:
    """What claim files are written with, loaded when it is asked for: showing a result needs no torch."""
    if name in HOMES:
        return getattr(import_module(f"manyviews.app.evidence.{HOMES[name]}"), name)
    raise AttributeError(name)
