"""Claims: what is run, what is kept, what is stale, and what is concluded."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import numpy as np
import pytest

from manyviews.app.building import build_method
from manyviews.app.cli import main
from manyviews.app.evidence import claim as claims
from manyviews.app.evidence import fingerprints, running, store
from manyviews.app.evidence.arena import Arena
from manyviews.app.evidence.bench import Bench
from manyviews.app.evidence.claim import Arm, Claim, Versus, load_claim
from manyviews.app.evidence.files import names
from manyviews.app.evidence.plot import plot
from manyviews.app.evidence.said import result_table
from manyviews.app.evidence.verdicts import HOLDS, NO_ARENA, NOT_HERE, UNDECIDED, bootstrap, decide, detectable, interval
from manyviews.errors import InputError
from manyviews.views.finding import find_policy

MINE = '''
"""Mine."""
import numpy as np
from manyviews.app.evidence import Arena, Arm, Claim, Versus

def fixed(value):
    def run(bench):
        return {"score": value + 0.01 * bench.seed, "right": np.arange(20) < 10 + 20 * value}
    return run

def measure(bench, method):
    return {"score": 0.1, "right": np.arange(20) < 2}

CLAIM = Claim(
    system="mine", paper="Table 1", question="Is it?", arms={"mine": Arm(run=fixed(0.3)), "old": Arm(run=fixed(0.1))},
    data=(Arena("pictures.npz", rows=64, train=64, test=32, name="pictures"),), common={"size": 16}, arena_metric=None, measure=measure,
    versus=(Versus("mine", "old", "score"), Versus("mine", "old", "right"), Versus("old", "mine", "score", higher=False)),
)
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A claims folder with one claim that trains nothing."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 255, (128, 16, 16, 3), dtype=np.uint8), np.arange(128) % 4
    np.savez(tmp_path / "pictures.npz", x_train=x[:96], y_train=y[:96], x_test=x[96:], y_test=y[96:])
    monkeypatch.setenv("MANYVIEWS_DATA", str(tmp_path))
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.setenv("MANYVIEWS_CLAIMS", str(tmp_path))
    monkeypatch.delitem(claims.sys.modules, "manyviews_claims.mine", raising=False)
    return tmp_path


# --- verdicts ---------------------------------------------------------------------------------------------------------------------------------


def test_the_interval_is_students() -> None:
    d = np.array([1.0, 2.0, 4.0])
    half = 4.302652729911275 * d.std(ddof=1) / math.sqrt(3)  # t of 2 degrees of freedom at 0.975, from tables
    assert interval(d) == pytest.approx((7 / 3 - half, 7 / 3 + half))
    assert interval(np.array([1.0])) == (-math.inf, math.inf)


@pytest.mark.parametrize(
    ("differences", "margin", "verdict"),
    [
        ([0.10, 0.11, 0.12], 0.0, HOLDS), ([-0.10, -0.11, -0.12], 0.0, NOT_HERE), ([-0.10, 0.11, 0.12], 0.0, UNDECIDED),
        ([-0.010, -0.011, -0.012], 0.02, HOLDS), ([-0.10, -0.11, -0.12], 0.02, NOT_HERE), ([0.1], 0.0, UNDECIDED),
    ],
)  # fmt: skip
def test_the_verdict_follows_from_where_the_interval_lies(differences: list[float], margin: float, verdict: str) -> None:
    assert decide(np.array(differences), margin)["verdict"] == verdict


def test_where_the_baseline_has_learned_nothing_there_is_nothing_to_compare() -> None:
    found = decide(np.array([0.10, 0.11, 0.12]), arena=(0.3, 0.3))
    assert found["verdict"] == NO_ARENA and "0.300" in found["why"]
    assert decide(np.array([0.10, 0.11, 0.12]), arena=(0.31, 0.3))["verdict"] == HOLDS


def test_an_undecided_verdict_tells_what_would_have_been_found() -> None:
    d = np.array([-0.02, 0.0, 0.05])
    assert decide(d)["detectable"] == pytest.approx(detectable(d))
    rng = np.random.default_rng(0)
    size = detectable(rng.normal(0, 1, 100_000)) * math.sqrt(100_000 / 16)  # the spread known, sixteen seeds
    found = [interval(rng.normal(size, 1, 16))[0] > 0 for _ in range(2000)]
    assert 0.7 < np.mean(found) < 0.9


def test_the_bootstrap_is_over_test_samples_and_keeps_pairs() -> None:
    a = np.random.default_rng(0).random((3, 50)) < 0.5
    low, high = bootstrap(a.astype(float), a.astype(float))
    assert low == high == 0.0
    low, high = bootstrap(np.ones((3, 50)), a.astype(float))
    assert 0 < low < (1 - a.mean()) < high < 1


# --- what is kept -----------------------------------------------------------------------------------------------------------------------------


def test_right_and_wrong_are_kept_as_bits_and_numbers_as_they_are() -> None:
    right = np.random.default_rng(0).random(37) < 0.4
    kept = store.packed({"knn": right, "error": np.array([0.25, 0.5]), "seconds": 3.5})
    assert kept["knn"]["value"] == pytest.approx(right.mean(), abs=1e-6) and kept["seconds"] == {"value": 3.5}
    assert np.array_equal(store.each(kept["knn"]), right) and np.array_equal(store.each(kept["error"]), [0.25, 0.5])
    assert store.each(kept["seconds"]) is None


def test_a_claim_runs_its_arms_over_seeds_once_and_concludes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert running.is_stale("mine")
    assert running.run_claims(["mine"], jobs=1, quiet=True)
    result = store.read_result("mine")
    assert result is not None and result["verdict"] == HOLDS and not running.is_stale("mine")
    first, second, third = result["comparisons"]
    assert first["difference"] == pytest.approx(0.2) and first["seeds"] == 3 and "bootstrap" not in first
    assert second["difference"] == pytest.approx(0.2) and second["bootstrap"][0] < 0.2 < second["bootstrap"][1]
    assert third["verdict"] == HOLDS and third["difference"] == pytest.approx(0.2)  # less is better there
    assert set(result["arms"]["pictures"]) == {"mine", "old", "untrained", "raw input"}
    before = {path: path.stat().st_mtime_ns for path in (folder / "results/arms").iterdir()}
    assert len(before) == 4 and running.run_claims(["mine"], jobs=1, quiet=True)
    assert {path: path.stat().st_mtime_ns for path in (folder / "results/arms").iterdir()} == before
    text = result_table(result)
    assert "verdict: holds" in text and "0.310 ± 0.010" in text and "untrained" in text
    svg = plot(result)
    assert svg.count("<circle") == 3 * 2 * 4 and "Is it?" in svg
    assert main(["claim", "mine", "--show"]) == 0 and "verdict: holds" in capsys.readouterr().out


def test_more_seeds_are_added_to_those_there_are_and_no_arm_stays_that_nobody_asks_for(folder: Path) -> None:
    running.run_claims(["mine"], seeds=2, jobs=1, quiet=True)
    mine = store.task(load_claim("mine"), "mine", load_claim("mine").data[0], "small")
    first = store.read_arm(mine)["seeds"]["0"]
    running.run_claims(["mine"], seeds=3, jobs=1, quiet=True)
    assert list(store.read_arm(mine)["seeds"]) == ["0", "1", "2"] and store.read_arm(mine)["seeds"]["0"] == first
    stray = folder / "results/arms/stray-pictures-00000000.json"
    stray.write_text("{}")
    assert running.prune() == [stray] and mine.path.exists()


def test_another_question_or_other_code_makes_a_result_stale_and_a_comment_does_not(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running.run_claims(["mine"], seeds=2, jobs=1, quiet=True)
    (folder / "mine.py").write_text("# a remark\n" + MINE)
    assert not running.is_stale("mine")
    (folder / "mine.py").write_text(MINE.replace("0.3", "0.4"))
    assert running.is_stale("mine")
    (folder / "mine.py").write_text(MINE)
    assert not running.is_stale("mine")
    monkeypatch.setattr(store, "of_files", lambda files: "other")
    assert running.is_stale("mine")


def test_the_papers_schedule_is_another_result_beside_the_small_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="the claim mine has no full budget"):
        running.run_claims(["mine"], budget="full", jobs=1, quiet=True)
    small = 'Arm(run=fixed(0.3), short={"steps": 7})'
    full = MINE.replace("Arm(run=fixed(0.3))", small).replace(
        "arena_metric=None,", 'arena_metric=None, full={"encoder": "resnet_micro", "size": 16, "epochs": 9},'
    )
    (folder / "mine.py").write_text(full)
    claims.sys.modules.pop("manyviews_claims.mine")
    running.run_claims(["mine"], seeds=2, jobs=1, quiet=True)
    before = (folder / "results/mine.json").read_text()
    assert main(["claim", "mine", "--budget", "full", "--seeds", "2", "--jobs", "1"]) == 0 and "verdict: holds" in capsys.readouterr().out
    assert (folder / "results/mine.json").read_text() == before
    result = store.read_result("mine", "full")
    assert result is not None and result["command"] == "manyviews claim mine --seeds 2 --budget full" and not running.is_stale("mine", "full")
    words = {b: store.task(load_claim("mine"), "mine", load_claim("mine").data[0], b).words for b in ("small", "full")}
    assert words["full"] == {"method": "", "encoder": "resnet_micro", "size": 16, "epochs": 9, "settings": {}} and words["small"]["steps"] == 7
    assert running.prune() == []


def test_what_fails_is_told_and_a_claim_that_cannot_run_says_why(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mine.py").write_text(MINE.replace('Arena("pictures.npz"', 'Arena("nowhere_to_be_found"'))
    assert running.run_claims(["mine"], jobs=1, quiet=True)
    result = store.read_result("mine")
    assert result is not None and result["verdict"] == "not runnable here" and "nowhere_to_be_found" in result["why"]
    assert "nowhere_to_be_found" in capsys.readouterr().err
    assert not running.is_stale("mine")
    assert main(["claim", "--stale"]) == 0  # asked again, as the data may have come
    assert "nowhere_to_be_found" in capsys.readouterr().err


def test_without_time_nothing_is_begun_and_it_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(["claim", "mine", "--minutes", "0"])
    assert "not finished" in capsys.readouterr().out and not (folder / "results/mine.json").exists()


def test_wrong_names_are_answered_with_the_nearest(folder: Path) -> None:
    with pytest.raises(InputError, match="no claim 'mime'; the nearest are mine"):
        load_claim("mime")
    (folder / "mine.py").write_text(MINE.replace('Versus("mine", "old", "right")', 'Versus("mine", "older")'))
    with pytest.raises(InputError, match="compares older, and has the arms mine, old, untrained, raw input"):
        load_claim("mine")
    assert main(["claim", "mine", "--seeds", "1"]) == 2


# --- what a number depends on -----------------------------------------------------------------------------------------------------------------


def test_code_is_told_apart_by_what_it_does() -> None:
    plain = "def f(x):\n    return x + 1\n"
    assert fingerprints.code_hash(plain) == fingerprints.code_hash('"""Doc."""\ndef f(x):  # why\n    """Doc."""\n    return (x + 1)\n')
    assert fingerprints.code_hash(plain) != fingerprints.code_hash(plain.replace("1", "2"))


def test_an_arm_depends_on_what_its_method_imports_and_not_on_other_methods() -> None:
    byol = {path.name for path in fingerprints.closure(frozenset([fingerprints.PACKAGE / "methods/distill/byol.py"]))}
    assert {"byol.py", "ema.py", "mlp.py", "contracts.py"} <= byol and not {"dino.py", "swav.py", "cli.py"} & byol


def test_what_claims_measure_with_counts_and_the_rest_of_the_product_does_not() -> None:
    found = {p.relative_to(fingerprints.PACKAGE.parent).as_posix() for p in fingerprints.closure(frozenset([fingerprints.PACKAGE.parent / "claims/ponita.py"]))}
    assert {"manyviews/app/evidence/particles.py", "manyviews/nn/egnn.py", "manyviews/data/nbody.py"} <= found and "manyviews/app/building.py" not in found


def test_an_arm_depends_on_the_file_of_its_views(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(store, "of_files", lambda files: seen.append([path.name for path in files]) or "")
    for views in ({}, {"views": "bss"}):
        claim = Claim("a", "", "", {"x": Arm("simclr", **views)}, (Arena("builtin"),), [Versus("x", "untrained")])
        store.task(claim, "x", claim.data[0], "small")
    assert "images.py" in seen[0] and "bss.py" not in seen[0] and "bss.py" in seen[1]


def test_an_arm_of_a_method_is_shared_by_the_claims_that_ask_for_it() -> None:
    data = (Arena("builtin"),)
    a = Claim("a", "", "", {"x": Arm("simclr", temperature=0.2)}, data, [Versus("x", "untrained")])
    b = Claim("b", "", "", {"y": Arm("simclr", short={"temperature": 0.2})}, data, [Versus("y", "untrained")])
    assert store.task(a, "x", data[0], "small").path == store.task(b, "y", data[0], "small").path
    assert store.task(a, "untrained", data[0], "small").path == store.task(b, "untrained", data[0], "small").path
    longer = Claim("c", "", "", {"y": Arm("simclr", temperature=0.2)}, data, [Versus("y", "untrained")], common={"steps": 401})
    assert store.task(longer, "y", data[0], "small").path != store.task(a, "x", data[0], "small").path
    assert store.task(longer, "untrained", data[0], "small").path == store.task(a, "untrained", data[0], "small").path


def test_short_words_are_those_of_the_small_budget_alone() -> None:
    arm = Arm("byol", short={"decay": 0.98, "lr": 0.1}, hidden=64)
    assert arm.resolved({"lr": 1.0, "steps": 5}, "small") == {"method": "byol", "lr": 0.1, "steps": 5, "settings": {"hidden": 64, "decay": 0.98}}
    assert arm.resolved({"epochs": 9}, "full") == {"method": "byol", "epochs": 9, "settings": {"hidden": 64}}


# --- the bench --------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bench() -> Bench:
    words = Arm("simclr", hidden=16, out=8).resolved({**claims.SHORT, "size": 16, "steps": 2, "batch": 16}, "small")
    return Bench(Arena("builtin", rows=96, train=64, test=32), words, seed=0, precision="32-true")  # builtin: tests need no data


def test_the_bench_trains_and_probes_on_parts_that_do_not_meet(bench: Bench) -> None:
    assert (len(bench.pretraining), len(bench.train), len(bench.test)) == (96, 64, 32)
    method = bench.pretrain()
    assert bench.seconds > 0 and not method.training
    found = bench.probes(method.exported)
    assert set(found) == {"knn", "linear"} and all(right.shape == (32,) and right.dtype == bool for right in found.values())
    assert bench.finetune(method.exported, labels=48, steps=2).shape == (32,)


def test_the_canary_sings_the_same_twice_and_another_song_for_another_temperature(bench: Bench) -> None:
    again = Bench(bench.arena, bench.words, 0, precision="32-true").canary()
    assert bench.canary() == pytest.approx(again, rel=1e-6)
    other = {**bench.words, "settings": {**bench.words["settings"], "temperature": 0.5}}
    assert not running.alike(Bench(bench.arena, other, 0, precision="32-true").canary(), again)


TRAINED = """method, recipe = build_method("simclr", bench.encoder(), bench.pretraining, hidden=16, out=8)
        seen = float(bench.features(bench.fit(method, recipe, bench.pretraining, {"steps": 5, "batch": 20}).exported, bench.test).x.abs().mean())
        return {"seen": seen, """
OWN = MINE.replace("import numpy", "from manyviews.app.building import build_method\nimport numpy").replace(
    "def run(bench):\n        return {", f"def run(bench):\n        {TRAINED}"
)


def test_an_arm_with_a_training_of_its_own_has_a_canary_too_and_keeps_its_result_where_only_other_code_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "mine.py").write_text(OWN)
    assert running.run_claims(["mine"], seeds=2, jobs=1, quiet=True)
    mine = store.task(load_claim("mine"), "mine", load_claim("mine").data[0], "small")
    before = store.read_arm(mine)
    assert len(before["canary"]) > 10
    monkeypatch.setattr(store, "of_files", lambda files: "other")
    assert running.is_stale("mine") and running.refresh(["mine"], quiet=True, jobs=1) == 4 and not running.is_stale("mine")
    monkeypatch.setattr(store, "of_files", lambda files: "yet another")
    monkeypatch.setattr(running, "sing", lambda *rest: [1.0])
    assert running.refresh(["mine"], quiet=True, jobs=1) == 0 and running.is_stale("mine")


def test_songs_are_told_apart_by_more_than_rounding() -> None:
    known = [0.5] * 2 + [0.1] * 18
    assert running.alike(known, known) and not running.alike(known[:-1], known)
    assert running.alike([*known[:-2], 0.102, 0.0985], known)  # two of twenty: signs of gradients that are zero but for rounding
    assert not running.alike([*known[:-5], *[0.1003] * 5], known)
    assert not running.alike([*known[:-1], 0.11], known)


def test_a_brief_bench_sees_some_rows_and_takes_three_small_steps() -> None:
    words = Arm("simclr", hidden=16, out=8).resolved({**claims.SHORT, "size": 16, "steps": 50, "batch": 32}, "small")
    bench = Bench(Arena("builtin", rows=96, train=64, test=0), words, seed=0, precision="32-true", brief=True)
    method, recipe = build_method("simclr", bench.encoder(), bench.pretraining)
    seen = [step.samples for step in bench.steps(method, bench.pretraining, find_policy("simclr", 16), recipe, steps=50, batch=32)]
    assert seen == [16, 16, 16] and bench.seconds > 0 and len(bench.test) == 200
    assert len(bench.heard) == sum(p.requires_grad for p in method.parameters())


def test_an_arm_depends_on_the_files_of_its_modality(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []
    monkeypatch.setattr(store, "of_files", lambda files: seen.extend(files) or "code")
    for name, wanted in (
        ("point_mae", {"backbones/point_transformer.py", "views/points.py", "nn/neighbours.py"}),
        ("cvrl", {"views/cvrl.py", "backbones/maps.py"}),
    ):
        seen.clear()
        claim = load_claim(name)
        store.task(claim, name, claim.data[0], "small")
        assert {fingerprints.PACKAGE / file for file in wanted} <= fingerprints.closure(frozenset(seen))


def test_raw_input_knows_no_seed_and_is_measured_once(folder: Path) -> None:
    claim = load_claim("mine")
    assert [(one.arm, seed) for one, seed in running.missing(claim, 3, "small") if one.words["method"] == "raw"] == [("raw input", 0)]
    (one,) = (one for one in running.wanted(claim, "small") if one.words["method"] == "raw")
    store.write_seed(one, 0, {"measures": {"knn": {"value": 0.5}}})
    assert [row["measures"]["knn"]["value"] for row in store.seeds_of(one, 3).values()] == [0.5, 0.5, 0.5]


def test_arms_whose_code_changed_and_whose_numbers_did_not_keep_their_results(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    simple = (
        MINE.replace("Arm(run=fixed(0.3))", "Arm(short=dict(encoder='resnet_nano'))").replace("Arm(run=fixed(0.1))", 'Arm("raw")').replace('"score"', '"knn"')
    )
    (folder / "mine.py").write_text(simple.replace('"right"', '"linear"').replace(", measure=measure", ""))
    running.run_claims(["mine"], seeds=2, jobs=1, quiet=True)
    monkeypatch.setattr(store, "of_files", lambda files: "other")
    assert running.is_stale("mine")
    assert running.refresh(["mine"], quiet=True) == 2 and not running.is_stale("mine")
    for path in (folder / "results/arms").iterdir():
        path.write_text(path.read_text().replace('"canary": [\n  0.', '"canary": [\n  9.').replace('"code": "other"', '"code": "before"'))
    assert running.refresh(["mine"], quiet=True) == 0 and running.is_stale("mine")


@pytest.mark.parametrize("name", names())
def test_every_claim_has_a_header_its_arms_have_names_that_exist_and_its_question_is_one(name: str) -> None:
    claim = load_claim(name)
    doc = ast.get_docstring(ast.parse((claims.claims_folder() / f"{name}.py").read_text(encoding="utf-8"))) or ""
    assert claim.system == name and "arXiv:" in doc and claim.question.endswith("?") and claim.paper
    for arena in claim.data:
        for arm in claim.all_arms():
            assert store.task(claim, arm, arena, "small").key
