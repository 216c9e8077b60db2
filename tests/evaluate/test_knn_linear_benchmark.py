"""The benchmark runs, and its two sides agree."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest


def test_both_sides_of_the_small_benchmark_agree_within_a_tenth_of_a_point(capsys: pytest.CaptureFixture[str]) -> None:
    rows = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "knn_linear.py"))["main"](["--small", "--threads", "1"])
    assert [(row["task"], row["side"]) for row in rows] == [(task, side) for task in ("knn", "linear") for side in ("scikit-learn", "float32", "bf16")]
    assert all(abs(row["gap"]) <= 0.1 + 1e-9 and row["accuracy"] > 60 for row in rows)
    assert "times as fast" in capsys.readouterr().out
