"""What a system costs beside its baseline: when a baseline is trained for as long, how long that is, and what the page says of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manyviews.app.evidence import claim as claims
from manyviews.app.evidence import running, store
from manyviews.app.evidence.bench import Bench
from manyviews.app.evidence.claim import Arm, load_claim
from manyviews.app.evidence.cost import cost, is_longer
from manyviews.app.evidence.plot import plot
from manyviews.app.evidence.said import result_table
from manyviews.app.evidence.verdicts import HOLDS

MINE = '''
"""Mine."""
from manyviews.app.evidence import Arena, Arm, Claim, Versus

def own(bench):
    return {"knn": 0.5}

CLAIM = Claim(
    system="costly", paper="Table 1", question="Is it?",
    arms={"mine": Arm("barlow_twins", hidden=16, out=8), "old": Arm("simclr", hidden=16, out=8)},
    data=(Arena("pictures.npz", rows=64, train=64, test=32, name="pictures"), Arena("pictures.npz", rows=32, train=32, test=16, name="few")),
    common={"size": 16, "steps": 10, "batch": 16},
    versus=(Versus("mine", "old"), Versus("mine", "untrained")), seeds=2,
    full={"encoder": "resnet_nano", "size": 16, "epochs": 3, "batch": 16},
)
'''
SCORES = {"mine": 0.6, "old": 0.5, "old, as long": 0.55, "untrained": 0.2, "raw input": 0.3}


class Arms:
    """Stands for training: what `run_arm` would give, with the seconds that a test wants of each arm."""

    def __init__(self, **seconds: float):
        self.seconds, self.ran, self.failing = {"mine": 0.0, "old": 0.0, **seconds}, list[tuple[str, str, int]](), ""

    def __call__(
        self, claim: str, arm: str, arena: str, seed: int, threads: int, budget: str, times: float = 1.0
    ) -> tuple[dict[str, Any] | None, str, list[float] | None]:
        definition = load_claim(claim)
        one = store.task(definition, arm, next(a for a in definition.data if a.title == arena), budget, times)
        self.ran.append((one.title, arena, seed))
        if one.title == self.failing:
            return None, "it broke", None
        row = {"measures": {"knn": {"value": SCORES[one.title] + 0.001 * seed * len(one.title)}}, "training_seconds": times * self.seconds.get(arm, 0.0)}
        return {**row, "machine": "x", "threads": 1}, "", None


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 255, (128, 16, 16, 3), dtype=np.uint8), np.arange(128) % 4
    np.savez(tmp_path / "pictures.npz", x_train=x[:96], y_train=y[:96], x_test=x[96:], y_test=y[96:])
    monkeypatch.setenv("MANYVIEWS_DATA", str(tmp_path))
    monkeypatch.setenv("MANYVIEWS_CLAIMS", str(tmp_path))
    write(tmp_path, MINE, monkeypatch)
    return tmp_path


def write(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "costly.py").write_text(text)
    monkeypatch.delitem(claims.sys.modules, "manyviews_claims.costly", raising=False)


def run(arms: Arms, monkeypatch: pytest.MonkeyPatch, minutes: float | None = None, seeds: int | None = None) -> dict[str, Any]:
    monkeypatch.setattr(running, "run_arm", arms)
    running.run_claims(["costly"], seeds, minutes=minutes, jobs=1, quiet=True)
    result = store.read_result("costly")
    assert result is not None
    return result


def test_a_baseline_is_trained_for_as_long_as_a_system_that_costs_more_and_the_verdict_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = Arms(mine=20.0, old=10.0)
    result = run(arms, monkeypatch)
    assert [ran for ran in arms.ran if ran[0] == "old, as long"] == [("old, as long", "pictures", 0), ("old, as long", "pictures", 1)]  # the headline's data
    first, second, third = result["comparisons"][:3]
    assert (first["than"], second["than"], third["than"]) == ("old", "old, as long", "untrained")
    assert result["verdict"] == first["verdict"] == HOLDS and first["cost"]["ratio"] == 2.0 and first["cost"]["times"] == pytest.approx(1.1**7, abs=1e-3)
    assert second["difference"] == pytest.approx(0.05 + 0.0005 * (4 - 12))
    longer = result["arms"]["pictures"]["old, as long"]
    assert longer["training_seconds"] == pytest.approx(19.49, abs=0.01) and "old, as long" not in result["arms"]["few"]
    text = result_table(result)
    assert "mine took 2.00 times the training seconds of old; at equal time stands old, as long" in text
    assert "At equal time: old with 1.95 times the steps.\n  pictures: mine against old, as long, knn" in text
    assert plot(result).count("old, as long") == 1
    assert not running.is_stale("costly")
    count = len(arms.ran)
    run(arms, monkeypatch)
    assert len(arms.ran) == count  # trained once
    assert running.prune() == []


@pytest.mark.parametrize("seconds", [{"mine": 11.9, "old": 10.0}, {"mine": 5.0, "old": 10.0}, {"mine": 20.0}, {}])
def test_up_to_a_fifth_more_is_called_equal_and_without_seconds_nothing_is_said(
    folder: Path, monkeypatch: pytest.MonkeyPatch, seconds: dict[str, float]
) -> None:
    arms = Arms(**seconds)
    result = run(arms, monkeypatch)
    assert "old, as long" not in {arm for arm, _, _ in arms.ran} and "cost" not in result["comparisons"][0]


def test_seconds_of_other_threads_or_precision_are_not_compared(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(Arms(mine=20.0, old=10.0), monkeypatch)
    definition = load_claim("costly")
    old = store.task(definition, "old", definition.data[0], "small")
    row = store.read_arm(old)["seeds"]["0"]
    store.write_seed(old, 0, {**row, "threads": 2, "training_seconds": 1.0})
    assert (found := cost(definition, "small")) is not None and found.ratio == 2.0  # the other seed's
    store.write_seed(old, 1, {**row, "precision": "bf16"})
    assert cost(definition, "small") is None


def test_an_arm_that_is_there_stays_while_the_ratio_changes_little_and_is_replaced_when_it_changes_much(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(Arms(mine=20.0, old=10.0), monkeypatch)
    changed = Arms(mine=23.0, old=10.0)
    run(changed, monkeypatch, seeds=3)  # 2.1 times over three seeds
    assert changed.ran.count(("old, as long", "pictures", 2)) == 1 and ("old, as long", "pictures", 0) not in changed.ran
    slower = Arms(mine=60.0, old=10.0)
    run(slower, monkeypatch, seeds=6)  # over four times
    assert [seed for arm, _, seed in slower.ran if arm == "old, as long"] == [0, 1, 2, 3, 4, 5]
    assert [path.name.startswith("simclr-pictures") for path in running.prune()] == [True]


def test_without_time_for_it_the_verdict_is_written_and_the_claim_stays_to_be_finished(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = Arms(mine=20.0, old=10.0)
    work, rounds = running.work, iter([None, 0.0])
    monkeypatch.setattr(running, "work", lambda todo, minutes, *rest: work(todo, next(rounds), *rest))
    result = run(arms, monkeypatch)
    assert result["verdict"] == HOLDS and "old, as long: it is not trained yet" in result_table(result)
    assert running.is_stale("costly") and [(one.title, seed) for one, seed in running.missing(load_claim("costly"), 2, "small")] == [
        ("old, as long", 0),
        ("old, as long", 1),
    ]
    monkeypatch.setattr(running, "work", work)
    assert len(run(arms, monkeypatch)["comparisons"]) == 5 and not running.is_stale("costly")


def test_where_it_fails_the_verdict_stays_and_why_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    arms = Arms(mine=20.0, old=10.0)
    arms.failing = "old, as long"
    result = run(arms, monkeypatch)
    assert result["verdict"] == HOLDS and "at equal time stands old, as long: it broke" in result_table(result)
    assert arms.ran.count(("old, as long", "pictures", 0)) == 1 and "costly: old, as long on pictures, seed 0: it broke" in capsys.readouterr().err


def test_a_claim_that_has_such_an_arm_gets_no_second_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    longer = MINE.replace('arms={"mine"', 'arms={"old, longer": Arm("simclr", hidden=16, out=8, steps=19), "mine"')
    write(folder, longer.replace('Versus("mine", "untrained")', 'Versus("mine", "old, longer")'), monkeypatch)
    monkeypatch.setitem(SCORES, "old, longer", 0.5)
    arms = Arms(mine=20.0, old=10.0, **{"old, longer": 19.0})
    result = run(arms, monkeypatch)
    assert "at equal time stands old, longer" in result_table(result) and "old, as long" not in {arm for arm, _, _ in arms.ran}
    write(folder, longer, monkeypatch)  # an arm that nothing is compared with is no such arm
    assert (found := cost(load_claim("costly"), "small")) is not None and found.beside == "old, as long"


def test_an_arm_with_a_training_of_its_own_is_left_and_the_page_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, MINE.replace('Arm("simclr", hidden=16, out=8)', "Arm(run=own)"), monkeypatch)
    arms = Arms(mine=20.0, old=10.0)
    text = result_table(run(arms, monkeypatch))
    assert "nothing stands beside it at equal time: old has a training of its own, which the claim does not lengthen" in text
    assert "old, as long" not in {arm for arm, _, _ in arms.ran} and not running.is_stale("costly")


def test_longer_is_more_steps_of_the_same_and_nothing_else() -> None:
    def own(bench: object, kind: str) -> dict[str, float]:
        return {}

    base, common = Arm("simclr", hidden=16, run=partial(own, kind="a")), {"steps": 10}
    assert is_longer(Arm("simclr", hidden=16, run=partial(own, kind="a"), short={"steps": 20}), base, common, "small")
    for other in (
        Arm("simclr", hidden=16, run=partial(own, kind="a"), steps=5), Arm("simclr", hidden=16, run=partial(own, kind="b"), steps=20),
        Arm("simclr", hidden=32, run=partial(own, kind="a"), steps=20), Arm("byol", hidden=16, run=partial(own, kind="a"), steps=20),
    ):  # fmt: skip
        assert not is_longer(other, base, common, "small")


def test_as_long_multiplies_steps_or_epochs_and_changes_the_key() -> None:
    arm = Arm("simclr", temperature=0.2)
    assert arm.resolved({"steps": 400}, "small", 1.1**6) == {"method": "simclr", "steps": 709, "settings": {"temperature": 0.2}}
    assert arm.resolved({"epochs": 100}, "full", 2.0)["epochs"] == 200


def test_the_longer_arm_really_trains_so_long(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(Bench, "fit", lambda self, method, recipe, data, words=None: seen.append(words["steps"]) or method.eval())
    row, failure, canary = running.run_arm("costly", "old", "pictures", 1, 1, "small", times=2.0)
    assert row is not None and not failure and canary is None and seen == [20]
    assert running.sing("costly", "old", "pictures", "small", 2.0) is not None and seen == [20, 3]
