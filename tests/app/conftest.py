"""What tests of the application share: a run in which every text that can be hostile is."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

EVIL = "<img src=x onerror=alert(1)>\"&'"
WORSE = "</script><script>document.title='taken'</script>"


@pytest.fixture(scope="session")
def hostile() -> tuple[str, str]:
    """What an attacker might call a file, and what one might write into a file's content."""
    return EVIL, WORSE


@pytest.fixture(scope="session")
def hostile_run(tiny_run: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose name, classes, files, quarantine, metrics and options are all hostile."""
    folder = tmp_path_factory.mktemp("evil")
    data = shutil.copytree(pictures, folder / "data")
    (data / "discs").rename(data / f"{EVIL} discs")
    (data / "checks" / "00.png").rename(data / "checks" / f"{EVIL}.png")
    run = shutil.copytree(tiny_run, folder / f"run {EVIL}")
    config = json.loads((run / "run.json").read_text())
    config["options"].update(data=str(data), method=WORSE, settings={WORSE: WORSE})
    config["data"].update(described=WORSE)
    config["command"] = ["/usr/bin/manyviews", "pretrain", WORSE]
    config["versions"] = {WORSE: WORSE}
    (run / "run.json").write_text(json.dumps(config))
    metrics = [json.dumps({**json.loads(line), WORSE: 1.0}) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (run / "metrics.jsonl").write_text("\n".join(metrics) + "\n")
    with open(run / "quarantine.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["sample", "reason"], [WORSE, EVIL], ["ü.png", "empty file"]])
    about = {"hash": "of another encoder"}
    scores = {EVIL: {WORSE: {"value": 0.5, "low": 0.4, "high": 0.6}}, "untrained": {WORSE: {"value": 0.2, "low": 0.1, "high": 0.3}}}
    (run / "evaluation.json").write_text(json.dumps({"data": WORSE, "about": about, "scores": scores}))
    return run


@pytest.fixture(scope="session")
def hostile_page(hostile_run: Path) -> Path:
    """Its report."""
    from manyviews.app.report import report

    return report(hostile_run)
