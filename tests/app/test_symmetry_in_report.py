"""What the report shows of what an encoder ignores and keeps track of."""

from __future__ import annotations

import html
import json
import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import torch

from manyviews.app.plot import Axis, Line, Point, down, legend, plot
from manyviews.app.report import report
from manyviews.app.sections import evaluation
from manyviews.app.symmetry import symmetry as tried
from manyviews.app.symmetry_section import symmetry
from manyviews.contracts import View
from manyviews.evaluate.scores import Score

WHO = ("trained", "untrained", "raw input")
AT = (0.0, 0.5, 1.0)


def score(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.05, "high": value + 0.05}


def transformation(**other: Any) -> dict[str, Any]:
    """As `evaluate` saves it."""
    curves = {"moved": [[at, score(at / 2)] for at in AT], "move explained by a linear map": [[at, score(0.4 - at)] for at in AT[1:]]}
    scores = {"invariance": score(0.7), "explained by a linear map": score(0.4), "R2, perceptron": score(-98.0), "MRR": score(0.5)}
    refused = {f"explained by {map} for each element": "elements come once each" for map in ("a map", "an orthogonal map")}
    beside = {"MRR of chance": 0.34, "move explained by the mean embedding": -0.6}
    return {"transformation": "rotation", "verdict": "measured", "scores": scores, "beside": beside, "refused": refused, "curves": curves, **other}


def content(**symmetries: dict[str, Any]) -> dict[str, Any]:
    """Of a page on which every encoder did the same."""
    scores = {who: {f"{name}: invariance": score(0.7) for name in symmetries} for who in WHO}
    return {"evaluation": {"data": "these", "scores": scores, "symmetry": {who: dict(symmetries) for who in WHO}}, "model": {}}


def drawings(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(one) for one in re.findall(r'<svg viewBox="0 0 300.*?</svg></svg>', page)]


def row(page: str, name: str) -> str:
    found = re.search(rf'<tr><th scope="row">{re.escape(name)}</th>(.*?)</tr>', page)
    assert found, name
    return found[1]


def test_each_curve_has_three_lines_through_its_values_with_their_intervals() -> None:
    moved, explained = drawings(symmetry(content(rotation=transformation())))
    for drawing, values in ((moved, [0, 0.25, 0.5]), (explained, [-0.1, -0.6])):
        assert (
            [line.get("class") for line in drawing.iter("polyline")]
            == ["trained", "untrained", "raw"]
            == [band.get("class") for band in drawing.iter("polygon")]
        )
        line = next(drawing.iter("polyline"))
        points = [tuple(map(float, point.split(","))) for point in (line.get("points") or "").split()]
        assert len(points) == len(values) and [y for _, y in points] == sorted((y for _, y in points), reverse=values[0] < values[1])
        assert len(list(drawing.iter("circle"))) == 3 * len(values)
    assert "trained, 0.5: 0.250 [0.200, 0.300]" in ElementTree.tostring(moved, "unicode")


def test_who_cannot_see_is_told_both_ends_of_each_line() -> None:
    label = drawings(symmetry(content(rotation=transformation())))[0].get("aria-label")
    assert label and label.startswith("How far the embedding moves, from identity (0) to full strength (1): trained 0.000 [-0.050, 0.050] at 0 and 0.500")
    assert all(f"{who} 0.000" in label for who in WHO)


def test_numbers_stand_beside_their_baselines_and_what_few_look_at_is_folded() -> None:
    page = symmetry(content(rotation=transformation()))
    seen, folded = page.split("<details>")
    assert row(seen, "invariance").count("0.700 <small>[0.650, 0.750]") == 3 and "-98.0" in row(seen, "R2, perceptron")
    assert row(seen, "move explained by the mean embedding").count("-0.600") == 3  # what a linear map of noise would reach
    assert row(folded, "MRR").count("0.500 <small>") == 3 and row(folded, "MRR of chance").count("0.340") == 3
    assert '<tr><th scope="row">moved</th><td class="">raw input</td><td class="">0.000</td><td class="">0.250</td><td class="">0.500</td></tr>' in folded


def test_what_was_refused_is_said_once_with_its_reason() -> None:
    page = symmetry(content(rotation=transformation()))
    assert page.count("elements come once each") == 1
    assert "explained by a map for each element, explained by an orthogonal map for each element: elements come once each" in page
    some = content(rotation=transformation())
    some["evaluation"]["symmetry"]["raw input"] = {"rotation": transformation(refused={})}
    assert "for each element (trained, untrained): elements" in symmetry(some)


def test_a_verdict_is_said_of_the_encoder_it_is_about() -> None:
    why = "invariant: the variance within orbits is 1e-9 of all"
    found = content(rotation=transformation())
    found["evaluation"]["symmetry"]["trained"] = {"rotation": transformation(verdict=why, refused={"R2": why, "retrieval": why}, scores={}, curves={})}
    found["evaluation"]["scores"]["trained"] = {}
    page = symmetry(found)
    assert f"<strong>Trained</strong>: {why}. Refused for that: R2, retrieval." in page and page.count(why) == 1 and "Untrained</strong>" not in page
    assert [line.get("class") for line in drawings(page)[0].iter("polyline")] == ["untrained", "raw"]
    assert 'class="none"' in row(page, "invariance")


def test_records_without_curves_are_shown() -> None:
    old = transformation()
    del old["curves"], old["beside"], old["refused"]
    page = symmetry(content(rotation=old))
    assert "<svg" not in page and "0.700" in row(page, "invariance")
    assert not symmetry({"evaluation": None}) and not symmetry({"evaluation": {"scores": {}}}) and not symmetry({"evaluation": {"scores": {}, "symmetry": []}})


def test_curves_of_earlier_versions_stand_in_for_those_that_there_are_not() -> None:
    curves = {"explained by a linear map": [[at, score(0.5)] for at in AT], "error of g, perceptron": [[at, score(at)] for at in AT]}
    page = symmetry(content(rotation=transformation(curves=curves))).split("<details>")[0]
    assert re.findall("<figcaption>(.*?)</figcaption>", page) == ["Explained by a linear map", "Error of g, perceptron"]


def test_rotations_of_space_are_told_in_degrees() -> None:
    curves = {
        name: [[at, score(value)] for at in AT] for name, value in (("angle in degrees, perceptron", 50.0), ("R2 of the world-frame rotation, perceptron", 0.4))
    }
    page = symmetry(content(rotation=transformation(curves=curves)))
    assert re.findall("<figcaption>(.*?)</figcaption>", page) == ["Angle in degrees, perceptron", "R2 of the world-frame rotation, perceptron"]
    assert [tick.text for tick in drawings(page)[0].iter("text")][:4] == ["0", "60", "120", "180"]


def test_levels_stand_with_their_transformation_and_may_lack_the_raw_input() -> None:
    found = content(rotation=transformation(), **{"rotation, level 1": transformation()})
    del found["evaluation"]["symmetry"]["raw input"]["rotation, level 1"]
    page = symmetry(found)
    assert page.count("<h3>") == 1 and page.count("<h4>") == 1 and "<summary>Rotation, level by level</summary>" in page
    alone = symmetry(content(**{"rotation, level 1": transformation()}))
    assert "<h3>Rotation, level 1</h3>" in alone


def test_what_was_measured_apart_of_a_transformation_stands_with_it_and_not_twice() -> None:
    found = content(rotation=transformation())
    for own in found["evaluation"]["scores"].values():
        own.update({"rotation: Lie norm": score(0.25), "knn": score(0.5), "hue: Lie norm": score(3.0)})
    assert "0.250" in row(symmetry(found), "Lie norm")
    page = evaluation(found)
    assert "rotation: " not in page and "knn" in page and "hue: Lie norm" in page and 'href="#symmetry"' in page


def test_axes_are_shared_by_transformations_and_cut_what_is_far_below() -> None:
    far = transformation(curves={"moved": [[at, score(1.2 * at)] for at in AT], "move explained by a linear map": [[1.0, score(-200.0)]]})
    page = symmetry(content(rotation=transformation(), hue=far))
    ticks = [[tick.text for tick in drawing.iter("text")][:-2] for drawing in drawings(page)]
    assert ticks[0] == ticks[2] == ["0", "0.5", "1"] and ticks[1] == ticks[3] == ["-0.5", "0", "0.5", "1"]
    axis = Axis.of_shares([Line("a", "trained", [Point(0.0, 1.2), Point(1.0, -200.0)])])
    assert axis == Axis(-0.5, 1.25, 0.5) and down(1.25, axis) < down(-0.5, axis) < down(-200.0, axis) < 2000


def test_values_that_are_no_numbers_are_left_out_of_curves() -> None:
    odd = {"value": float("nan"), "low": None, "high": None}
    page = symmetry(content(rotation=transformation(curves={"moved": [[0.0, odd], [0.5, {"value": 0.25, "low": None, "high": None}], [1.0, score(0.5)]]})))
    (moved,) = drawings(page)
    assert len(list(moved.iter("circle"))) == 6 and not list(moved.iter("polygon")) and "nan" not in page.lower()


def test_names_cannot_become_markup_in_plots(hostile: tuple[str, str]) -> None:
    evil = hostile[0]
    drawn = plot(evil, [Line(evil, "raw", [Point(0.0, 0.5)])], Axis(0.0, 1.0, 0.5), evil, evil) + legend([(evil, "raw")])
    found = content(**{evil: transformation(verdict=evil, scores={evil: score(0.5)}, refused={evil: evil}, curves={evil: [[0.0, score(0.5)]]})})
    found["evaluation"]["symmetry"][evil] = found["evaluation"]["symmetry"]["trained"]
    for page in (drawn, symmetry(found)):
        assert "<img" not in page and html.escape(evil, quote=True) in page


def test_the_page_has_the_section_where_it_was_measured_and_only_there(tiny_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    config = json.loads((run / "run.json").read_text())
    config["options"]["data"] = str(tmp_path / "gone")  # the rest of the page is not asked about
    (run / "run.json").write_text(json.dumps(config))
    assert 'id="symmetry"' not in report(run).read_text(encoding="utf-8")
    (run / "evaluation.json").write_text(json.dumps(content(rotation=transformation())["evaluation"]))
    page = report(run).read_text(encoding="utf-8")
    assert '<section id="symmetry"' in page and ">Symmetry: what it ignores and what it keeps track of</h2>" in page and page.count('class="plot"') == 2
    assert page.count("<table") == page.count("<caption>") and not re.findall(r"(?:clip-path|fill|href|src)=\"url", page)


def test_what_is_measured_now_fills_the_plots() -> None:
    """From an encoder that turns with its input, through the record, to the page."""

    def clouds() -> Any:
        yield View(torch.randn(40, 16, 3, generator=torch.Generator().manual_seed(0)), torch.arange(40))

    found = {name: one.to_json() for name, one in tried(lambda view: view.x[:, :2].flatten(1), clouds, "points", strengths=AT).items()}
    saved = dict.fromkeys(WHO, found)
    page = symmetry({"evaluation": {"scores": {who: {} for who in WHO}, "symmetry": json.loads(json.dumps(saved))}, "model": {}})
    assert page.count('<div class="transformation">') == len(found)
    seen = re.split("<details>", page)[0]
    names = re.findall("<figcaption>(.*?)</figcaption>", seen)
    assert names == [
        "How far the embedding moves",
        "Move explained by a linear map",
        "Move explained by an orthogonal map for each element",
        "Move explained by a map for each element",
        "Angle in degrees, perceptron",
        "R2 of the world-frame rotation, perceptron",
    ]
    assert all(drawing.get("aria-label") for drawing in drawings(page))


@pytest.mark.parametrize("value", [Score(0.5, 0.4, 0.6), Score(1.0, 1.0, 1.0)])
def test_a_point_says_its_value_and_interval(value: Score) -> None:
    assert str(Point(0.0, value.value, value.low, value.high)) == str(value)
