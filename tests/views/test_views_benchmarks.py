"""The benchmarks run; what they measure is for a quiet machine."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["views", "simclr_step"])
def test_a_benchmark_runs_in_small(name: str, tmp_path: Path) -> None:
    pytest.importorskip("skimage")
    done = subprocess.run(
        [sys.executable, BENCHMARKS / f"{name}.py", "--small", "--json", tmp_path / "table.json"], capture_output=True, text=True, timeout=300
    )
    if "lightly, which is not installed" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    assert "lightly" in done.stdout and (tmp_path / "table.json").stat().st_size > 50


def test_without_lightly_a_benchmark_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lightly", "lightly.transforms"):
        monkeypatch.setitem(sys.modules, name, None)
    functions = runpy.run_path(str(BENCHMARKS / "views.py"))
    with pytest.raises(SystemExit, match="lightly, which is not installed"):
        functions["lightly_transforms"]()
