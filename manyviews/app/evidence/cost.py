"""What a system costs beside its baseline, and the baseline trained for as long.

Arms take equal steps, and a system whose steps cost more may owe its lead to the time alone. Where the headline's better arm took more than 1.2 times the
training seconds of the one that it is compared with, that one is trained once more with as many times the steps, and stands beside the headline as
"BASELINE, as long". Seconds vary from run to run: how many times is rounded to a power of 1.1, and an arm that is there stays while it is within two.
"""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from typing import Any

from manyviews.app.evidence.claim import Arm, Claim, Versus
from manyviews.app.evidence.store import Task, seeds_of, task

LIMIT = 1.2  # up to here, times are called equal
STEP = 1.1
LIKE = ("machine", "threads", "precision", "clock")  # seconds of rows that differ in these cannot be compared


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of the headline's better arm, where it is over the limit."""

    ratio: float  # its training seconds over those of the arm that it is compared with, mean over seeds
    beside: str = ""  # the arm that stands beside the headline at equal time
    longer: Task | None = None  # what to train for that, where the claim has no such arm itself
    why: str = ""  # there is none

    def describe(self) -> dict[str, Any]:
        """As plain values, for the result."""
        found = {"ratio": round(self.ratio, 3), "beside": self.beside, "why": self.why}
        return found | ({"times": round(self.longer.times, 3)} if self.longer else {})


def cost(claim: Claim, budget: str) -> Cost | None:
    """From the seconds on the disk; None where they are about equal, or there are none to compare."""
    headline, arms = claim.versus[0], claim.all_arms()
    ratio = seconds_ratio(task(claim, headline.better, claim.data[0], budget), task(claim, headline.than, claim.data[0], budget))
    if ratio is None or ratio <= LIMIT:
        return None
    own = lengthened(claim, headline, budget)
    if own:
        return Cost(ratio, own)
    if arms[headline.than].run is not None:
        return Cost(ratio, why=f"{headline.than} has a training of its own, which the claim does not lengthen")
    longer = nearest(claim, headline.than, ratio, budget)
    return Cost(ratio, longer.title, longer)


def seconds_ratio(better: Task, than: Task) -> float | None:
    """Of training seconds, over the seeds that both took alike; None where one of them did not train."""
    (a, b) = (seeds_of(one, 1) for one in (better, than))
    common = [seed for seed in a if seed in b and all(a[seed].get(name) == b[seed].get(name) for name in LIKE)]
    spent, beside = (sum(rows[seed].get("training_seconds", 0.0) for seed in common) for rows in (a, b))
    return spent / beside if spent and beside else None


def nearest(claim: Claim, arm: str, ratio: float, budget: str) -> Task:
    """The arm with about `ratio` times its steps: one that was begun already, if it is near enough."""
    exact = math.log(ratio, STEP)
    powers = sorted((k for k in range(math.floor(exact) - 1, math.ceil(exact) + 2) if k > 0), key=lambda k: abs(k - exact))
    found = [task(claim, arm, claim.data[0], budget, times=STEP**k) for k in powers]
    return next((one for one in found if one.path.exists()), found[0])


def lengthened(claim: Claim, headline: Versus, budget: str) -> str:
    """The arm of the claim's own that is the headline's baseline with more steps and is compared with the same system; "" where it has none."""
    asked = [v.than for v in claim.versus if v.better == headline.better and v.than != headline.than]
    base = claim.all_arms()[headline.than]
    return next((name for name in asked if is_longer(claim.all_arms()[name], base, claim.words(budget), budget)), "")


def is_longer(arm: Arm, base: Arm, common: dict[str, Any], budget: str) -> bool:
    """Whether it differs from the other in nothing but a longer training."""
    (words, length), (others, than) = (split_length(one.resolved(common, budget)) for one in (arm, base))
    return words == others and code_of(arm) == code_of(base) and length > than


def split_length(words: dict[str, Any]) -> tuple[dict[str, Any], float]:
    rest = {name: value for name, value in words.items() if name not in ("steps", "epochs")}
    return rest, float(words.get("steps") or words.get("epochs") or 0)


def code_of(arm: Arm) -> object:
    """What it runs; partial functions are equal where what they call, and with what, is."""
    run = arm.run
    return (run.func, run.args, run.keywords) if isinstance(run, partial) else run
