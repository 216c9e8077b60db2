"""Which claim asks about a system, and which comparisons of a claim are made on which data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from manyviews.app.evidence.arena import Arena
from manyviews.app.evidence.claim import Arm, Claim, Versus
from manyviews.app.evidence.comparing import asked
from manyviews.app.evidence.files import claim_of

MINE = """
from manyviews.app.evidence import Arena, Arm, Claim, Versus

CLAIM = Claim(
    system="mine", paper="", question="Is it?", arms={"old": Arm("simclr"), "new": Arm("selfcon", temperature=0.1)}, data=(Arena("builtin"),),
    versus=(Versus("new", "old"), Versus("old", "untrained")),
)
"""


def test_a_system_without_a_claim_of_its_name_is_asked_about_by_the_one_whose_headline_it_leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYVIEWS_CLAIMS", str(tmp_path))
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "unwritten.py").write_text("arms = {}\nCLAIM = Claim(system='unwritten', arms=arms, versus=[Versus('a', 'b')])\n")
    (tmp_path / "no_claim.py").write_text("CLAIM = learning('no_claim')\n")
    assert claim_of("mine") == "mine" and claim_of("selfcon") == "mine"
    assert claim_of("simclr") is None


def test_selfcon_and_multi_label_are_asked_about_where_their_papers_use_them() -> None:
    assert (claim_of("selfcon"), claim_of("multi_label"), claim_of("groco"), claim_of("few_shot")) == ("imaginet", "fractals", "groco", None)


def test_a_metric_of_some_data_alone_is_compared_there_and_one_that_is_nowhere_everywhere() -> None:
    data = (Arena("builtin", name="plain"), Arena("builtin", name="marked"))
    versus = (Versus("x", "y"), Versus("x", "y", "hit"), Versus("x", "y", "misspelt"))
    claim = Claim("mine", "", "", {"x": Arm(), "y": Arm()}, data, versus)

    def arm(*names: str) -> dict[str, Any]:
        return {"measures": dict.fromkeys(names)}

    arms = {"plain": {"x": arm("knn"), "y": arm("knn")}, "marked": {"x": arm("knn", "hit"), "y": arm("knn", "hit")}}
    found = [(on, v.metric) for on, v in asked(claim, arms)]
    assert found == [("plain", "knn"), ("plain", "misspelt"), ("marked", "knn"), ("marked", "hit"), ("marked", "misspelt")]
    assert asked(claim, {"plain": arms["marked"], "marked": {"x": arm(), "y": arm()}})[0] == ("plain", versus[0])
