"""The benchmark runs, and its two sides agree."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from manyviews.nn.hardware import has_bf16


def test_both_sides_of_the_small_benchmark_agree_within_a_tenth_of_a_point(capsys: pytest.CaptureFixture[str]) -> None:
    rows = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "knn_linear.py"))["main"](["--small", "--threads", "1"])
    assert [(row["task"], row["side"]) for row in rows] == [(task, side) for task in ("knn", "linear") for side in ("scikit-learn", "float32", "bf16")]
    assert all(abs(row["gap"]) <= 0.1 + 1e-9 and row["accuracy"] > 60 for row in rows)
    said = capsys.readouterr().out
    assert "times as fast" in said and ("was done in float32" in said) == (not has_bf16("cpu"))
    assert {row["products"] for row in rows if row["side"] == "bf16"} == {"bfloat16" if has_bf16("cpu") else "float32"}
