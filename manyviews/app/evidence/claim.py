"""What a claim file says: arms, data, and which arm should be better than which."""

from __future__ import annotations

import dataclasses
import difflib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from manyviews.app.evidence.files import claims_folder, names
from manyviews.app.options import FIELDS
from manyviews.errors import InputError

if TYPE_CHECKING:
    from manyviews.app.evidence.arena import Arena
    from manyviews.app.evidence.bench import Bench
    from manyviews.contracts import Method

SEEDS = 3
SHORT: dict[str, Any] = {  # what every arm of the small budget shares, unless its claim says otherwise: about a minute on two slow cores
    "encoder": "resnet_nano",
    "size": 32,
    "steps": 400,
    "batch": 64,
    "optimizer": "adamw",
    "lr": 1e-3,
    "weight_decay": 1e-4,
    "warmup": 0.1,
    "schedule": "cosine",
}
Measures = Mapping[str, Any]  # name -> a number, or one number (or right / wrong) for each test sample


class Arm:
    """One way to get numbers: a pretraining of `method`, or whatever `run(bench)` does.

    words: as in `manyviews.pretrain`: options (steps, lr, views, ...) and the method's hyperparameters. short: words of the small budget alone, where the
    paper's value is meant for long training. Without a method the encoder stays untrained. run: `run(bench) -> Measures`, in a claim's file.
    """

    def __init__(self, method: str = "", *, short: Mapping[str, Any] | None = None, run: Callable[[Bench], Measures] | None = None, **words: Any):
        self.method, self.words, self.short, self.run = method, words, dict(short or {}), run

    def resolved(self, common: Mapping[str, Any], budget: str, times: float = 1.0) -> dict[str, Any]:
        """All words of this arm: options first, then hyperparameters under `settings`. times: how many times its steps, or epochs, it trains."""
        words = {**common, **self.words, **(self.short if budget == "small" else {})}
        if times != 1.0:
            words |= {"steps": round(words["steps"] * times)} if words.get("steps") else {"epochs": round(words["epochs"] * times, 2)}
        settings = {name: words.pop(name) for name in [*words] if name not in FIELDS}
        return {"method": self.method, **words, "settings": settings}


@dataclasses.dataclass(frozen=True)
class Versus:
    """One comparison: `better` should exceed `than` in `metric`, or, with `margin`, not fall short of it by more than that."""

    better: str
    than: str
    metric: str = "knn"
    higher: bool = True  # whether more of the metric is better
    margin: float = 0.0
    says: str = ""  # the comparison as a sentence, where the claim has several
    arena: bool = True  # whether `than` must have learned something (see Claim.arena_metric) for it to be worth a verdict


@dataclasses.dataclass(frozen=True)
class Claim:
    """A paper's claim, and how it is checked here."""

    system: str
    paper: str  # what it says, with figures and where they stand
    question: str  # what is asked here, as a sentence
    arms: Mapping[str, Arm]
    data: Sequence[Arena]
    versus: Sequence[Versus]  # the first one on the first data is the headline: the data with most test rows, so that a verdict can fall
    common: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # on top of SHORT, for all arms
    full: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # options of the paper's schedule, for --budget full
    measure: Callable[[Bench, Method], Measures] | None = None  # of a trained method; None: knn and linear probe of what it exports
    seeds: int = SEEDS
    raw: bool = True  # whether the measure makes sense of raw pixels
    arena_metric: str | None = ""  # the baseline must beat the untrained encoder in this; "": the headline's metric; None: not asked

    def words(self, budget: str) -> dict[str, Any]:
        """What the arms share."""
        return {**SHORT, **self.common} if budget == "small" else dict(self.full)

    def all_arms(self) -> dict[str, Arm]:
        """The claim's own, and those that every number stands beside."""
        beside = {"untrained": Arm()} | ({"raw input": Arm("raw")} if self.raw else {})
        return {**self.arms, **{name: arm for name, arm in beside.items() if name not in self.arms}}


def load_claim(name: str) -> Claim:
    """The claim of `claims/NAME.py`. Raises InputError with the nearest names."""
    path = claims_folder() / f"{name}.py"
    if not path.is_file():
        near = difflib.get_close_matches(name, names(), 3, 0.4)
        raise InputError(f"no claim {name!r}" + (f"; the nearest are {', '.join(near)}" if near else "") + f". There are {', '.join(names()) or 'none'}")
    module = f"manyviews_claims.{name}"
    if module not in sys.modules:
        spec = importlib.util.spec_from_file_location(module, path)
        assert spec is not None and spec.loader is not None
        sys.modules[module] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[module])
    claim: Claim = sys.modules[module].CLAIM
    unknown = {arm for v in claim.versus for arm in (v.better, v.than)} - set(claim.all_arms())
    if unknown:
        raise InputError(f"claims/{name}.py compares {', '.join(sorted(unknown))}, and has the arms {', '.join(claim.all_arms())}")
    return claim
