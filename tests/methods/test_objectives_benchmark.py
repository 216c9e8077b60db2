"""The benchmark of training steps runs; what it measures is for a quiet machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "objectives.py"


@pytest.mark.slow
def test_it_runs_in_small_and_has_every_side_on_both_clocks(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, BENCHMARK, "--small", "--threads", "1", "--json", tmp_path / "table.json"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "table.json").read_text(encoding="utf-8"))
    for what in ("clock", "processor"):
        assert all(table[what][f"{name}, seconds"] > 0 for name in ("simclr", "groco", "isogclr", "pixpro", "byol"))
        assert all(0 < table[what][name] < 100 for name in ("groco", "isogclr", "pixpro", "pixpro beside byol"))
    assert done.stdout.count("goal: at most 1.3") == 3
