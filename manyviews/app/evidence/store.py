"""Where results are kept: a file for every arm with all its seeds, a file for every claim. Both are JSON that a person can read."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from manyviews.app.catalogue import PACKAGE, find_method
from manyviews.app.evidence.arena import Arena
from manyviews.app.evidence.claim import Claim
from manyviews.app.evidence.files import claims_folder
from manyviews.app.evidence.fingerprints import ROOTS, code_hash, of_files
from manyviews.backbones.building import SMALL, modality_of
from manyviews.train.checkpoint import atomic
from manyviews.views.finding import policies


@dataclasses.dataclass(frozen=True)
class Task:
    """One arm on one arena: what is trained once, whatever claims ask for it."""

    claim: str
    arm: str
    arena: Arena
    words: dict[str, Any]
    description: dict[str, Any]  # what decides its numbers, beside the seed and the code
    code: str  # hash of the code that they depend on
    times: float = 1.0  # how many times the steps that the claim gives it

    @property
    def title(self) -> str:
        return self.arm if self.times == 1.0 else f"{self.arm}, as long"

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(self.description, sort_keys=True).encode()).hexdigest()[:8]

    @property
    def seedless(self) -> bool:
        return bool(self.words["method"] == "raw")

    @property
    def path(self) -> Path:
        readable = (self.words["method"] or "untrained") if not self.description["own"] else f"{self.claim}-{self.title}"
        return results_folder() / "arms" / (re.sub(r"[^\w.-]+", "_", f"{readable}-{self.arena.title}-{self.key}") + ".json")


def results_folder() -> Path:
    return claims_folder() / "results"


def task(claim: Claim, arm: str, arena: Arena, budget: str, times: float = 1.0) -> Task:
    """What there is to do for an arm. An arm with code of its own (`run`, or the claim's `measure`) depends on the claim's file too."""
    words = claim.all_arms()[arm].resolved(claim.words(budget), budget, times)
    own = [f for f in (claim.all_arms()[arm].run, claim.measure) if f is not None]
    trained = words["method"] not in ("", "raw") and claim.all_arms()[arm].run is None
    if not trained and not claim.all_arms()[arm].run:  # the encoder as it came: how it would be trained says nothing
        words = {"method": words["method"], "size": words["size"], "settings": {}} | ({} if words["method"] else {"encoder": words["encoder"]})
    description = {"words": words, "arena": arena.describe(), "own": ""}
    if own:  # another measure gives other numbers, whatever the canary sings
        description["own"] = f"{claim.system}/{arm if claim.all_arms()[arm].run else ''}/{claim_code(claim)}"
    modality = modality_of(str(words.get("encoder", "")))
    files = [PACKAGE / root for root in ROOTS] + [PACKAGE / "views" / f"{modality}.py"]
    views = words.get("views", "")
    if words["method"] not in ("", "raw"):
        entry = find_method(words["method"])
        files += [PACKAGE / entry.path, PACKAGE / "methods" / "contrast" / "joint_embedding.py"]
        views = views or entry.recipe.get("views", "").strip("'\"")
    if views in policies(modality):  # views may have a file of their own
        files.append(PACKAGE / "views" / f"{policies(modality)[views].__module__.rpartition('.')[2]}.py")
    files.append(PACKAGE / "backbones" / (f"{modality}.py" if modality != "images" else "small.py" if words.get("encoder") in SMALL else "timm_model.py"))
    if own:
        files.append(claims_folder() / f"{claim.system}.py")
    return Task(claim.system, arm, arena, words, description, of_files(files), times)


# --- arms -------------------------------------------------------------------------------------------------------------------------------------


def read_arm(task: Task) -> dict[str, Any]:
    """Its seeds so far: seed -> numbers; and whether the code has changed since."""
    try:
        content = json.loads(task.path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"seeds": {}, "stale": False}
    return {**content, "stale": content["code"] != task.code}


def seeds_of(task: Task, seeds: int) -> dict[str, Any]:
    """The arm's seeds so far. Raw input knows no seed: it is measured once, and stands beside every one."""
    rows: dict[str, Any] = read_arm(task)["seeds"]
    return {str(seed): rows["0"] for seed in range(seeds)} if task.seedless and "0" in rows else rows


def write_seed(task: Task, seed: int, row: dict[str, Any], canary: list[float] | None = None) -> None:
    """Adds one seed; seeds of other code are dropped."""
    before = read_arm(task)
    seeds = {} if before["stale"] else before["seeds"]
    canary = canary or ([] if before["stale"] else before.get("canary", []))
    seeds = dict(sorted({**seeds, str(seed): row}.items(), key=lambda pair: int(pair[0])))
    save(task, {**task.description, "code": task.code, "canary": [float(f"{value:.6g}") for value in canary], "seeds": seeds})


def keep(task: Task) -> None:
    """The code has changed and the numbers have not: what there is belongs to the code as it is now."""
    content = read_arm(task)
    content.pop("stale")
    save(task, {**content, "code": task.code})


def save(task: Task, content: dict[str, Any]) -> None:
    with atomic(task.path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def packed(measures: dict[str, Any]) -> dict[str, Any]:
    """Numbers as they are; right or wrong for each test sample as bits in base64; other numbers for each sample rounded."""
    found: dict[str, Any] = {}
    for name, value in measures.items():
        values = np.asarray(value)
        if values.ndim == 0:
            found[name] = {"value": round(float(values), 6)}
        elif values.dtype == bool:
            found[name] = {"value": round(float(values.mean()), 6), "count": len(values), "right": base64.b64encode(np.packbits(values).tobytes()).decode()}
        else:
            found[name] = {"value": round(float(values.mean()), 6), "each": [round(float(v), 4) for v in values]}
    return found


def each(measure: dict[str, Any]) -> np.ndarray | None:
    """The measure of each test sample, where it was kept."""
    if "right" in measure:
        return np.unpackbits(np.frombuffer(base64.b64decode(measure["right"]), np.uint8))[: measure["count"]].astype(float)
    return np.array(measure["each"]) if "each" in measure else None


# --- claims -----------------------------------------------------------------------------------------------------------------------------------


def result_path(name: str, budget: str = "small") -> Path:
    return results_folder() / (f"{name}.json" if budget == "small" else f"{name}.{budget}.json")


def read_result(name: str, budget: str = "small") -> dict[str, Any] | None:
    try:
        return json.loads(result_path(name, budget).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def write_result(name: str, content: dict[str, Any]) -> None:
    with atomic(result_path(name, content["budget"])) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def claim_code(claim: Claim) -> str:
    """Of the claim's own file: another question is another result."""
    return code_hash((claims_folder() / f"{claim.system}.py").read_text(encoding="utf-8"))
