"""The report as a file: what stands in it, and that nothing can be smuggled into it."""

from __future__ import annotations

import html
import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manyviews.app.cli import main
from manyviews.app.markup import text
from manyviews.app.report import report
from manyviews.app.run import Run
from manyviews.data.opening import open_data
from manyviews.errors import InputError


@pytest.fixture(scope="module")
def page(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the tiny run, as HTML."""
    return report(tiny_run, tmp_path_factory.mktemp("page") / "page.html").read_text(encoding="utf-8")


def payload(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="payload">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


def test_names_cannot_become_markup(hostile_page: Path, hostile: tuple[str, str]) -> None:
    evil, worse = hostile
    page = hostile_page.read_text(encoding="utf-8")
    assert "<img" not in page and worse not in page and len(re.findall(r"<script", page)) == 2
    assert html.escape(evil, quote=True) in page and html.escape(worse, quote=True) in page
    found = payload(page)
    assert f"{evil} discs" in found["classes"] and f"checks/{evil}.png" in found["names"]


def test_nothing_is_loaded_from_anywhere(hostile_page: Path, page: str) -> None:
    for content in (page, hostile_page.read_text(encoding="utf-8")):
        assert "default-src 'none'" in content
        outside = html.unescape(re.sub(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", "", content))
        assert not re.findall(r"<(?:link|iframe|object|embed|base)\b", content)
        assert not re.findall(r"@import|//cdn|fetch\(|XMLHttpRequest|https?://(?!www\.w3\.org/2000/svg)", outside)
        assert all(target.startswith("#") for target in re.findall(r'href="([^"]*)"', content)) and not re.findall(r'\ssrc="', content)


def test_the_page_holds_every_sample_curve_and_section(page: str, pictures: Path) -> None:
    found, data = payload(page), open_data(pictures)
    assert found["names"] == [data.name(i) for i in range(len(data))] and found["labels"] == data.labels.tolist()
    for who in ("trained", "untrained"):
        for projection in ("tsne", "pca"):
            x, y = found["map"][who][projection]
            assert len(x) == len(y) == 36 and min(x + y) >= 0 and max(x + y) <= 1000 and len(set(zip(x, y, strict=True))) > 30
    assert {"loss", "probe", "lr", "samples_per_second", "waiting"} <= {c["key"] for c in found["curves"]}
    for title in ("Evaluation", "Map of the embedding", "Nearest neighbours", "What it looks at", "Training", "Quarantine", "How to repeat it"):
        assert f">{title}</h2>" in page
    assert page.count('class="tile ') == 3 * (1 + 2 * 8) + 3 * 3  # a query and its neighbours for both encoders; saliency, for each class
    assert "fingerprint has changed" not in page and "Not measured yet" in page


def test_the_run_can_be_repeated_from_the_page(page: str, tiny_run: Path) -> None:
    config = Run(tiny_run).config
    for value in (config["data"]["fingerprint"], Run(tiny_run).model.hash(), config["versions"]["torch"], "manyviews pretrain --from run.json"):
        assert value in page
    assert re.search(r"<th scope=\"row\">steps</th><td class=\"\"><code>6</code>", page)


def test_a_run_on_data_given_in_python_says_that_it_must_be_saved_first(tiny_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    config = json.loads((run / "run.json").read_text())
    config["options"]["data"] = "<given>"
    (run / "run.json").write_text(json.dumps(config))
    page = html.unescape(report(run).read_text(encoding="utf-8"))
    assert "manyviews pretrain DATA --from run.json" in page and "numpy.save('data.npy', array)" in page
    assert "trained on data given in Python, of which it keeps no copy; name data to show with --data" in page and "no data at" not in page


def test_the_given_data_once_saved_repeats_the_run(tiny_run: Path, pictures: Path, tmp_path: Path) -> None:
    from manyviews.app.pretrain import pretrain

    data = open_data(pictures)
    array = np.stack([data[i] for i in range(len(data))])
    first = pretrain(array, "simclr", "resnet_micro", tmp_path / "first", steps=2, batch=16, size=16, precision="32-true", hidden=32, quiet=True)
    np.save(tmp_path / "data.npy", array)
    assert main(["pretrain", str(tmp_path / "data.npy"), "--from", str(first.file), "--out", str(tmp_path / "second"), "--quiet"]) == 0
    assert Run(tmp_path / "second").model.hash() == first.model.hash()


def test_options_of_a_run_cannot_become_markup(hostile: tuple[str, str], tiny_run: Path) -> None:
    from manyviews.app.sections import summary

    config = json.loads((tiny_run / "run.json").read_text())
    config["options"]["size"] = hostile[0]
    said = summary({"config": config, "model": {}, "metrics": [], "changed": False, "problem": "", "method": ""})
    assert "<img" not in said and html.escape(hostile[0], quote=True) in said


def test_a_report_on_other_data_leaves_the_scores_of_the_run(tiny_run: Path, pictures: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    (run / "evaluation.json").write_text('{"data": "mine", "about": {}, "scores": {"trained": {"knn": {"value": 0.5}}}}')
    before = (run / "evaluation.json").read_bytes()
    assert "On 36 images" in report(run, tmp_path / "p.html", data=pictures).read_text(encoding="utf-8")
    assert (run / "evaluation.json").read_bytes() == before


def test_scores_stand_beside_their_baselines(hostile_page: Path, hostile: tuple[str, str]) -> None:
    page = hostile_page.read_text(encoding="utf-8")
    row = re.search(rf"<tr><th scope=\"row\">{re.escape(text(hostile[1]))}</th>(<td.*?)</tr>", page)
    assert row and "0.500 <small>[0.400, 0.600]" in row[1] and "0.200 <small>[0.100, 0.300]" in row[1]
    assert "of an earlier encoder" in page


def test_quarantined_samples_are_listed(hostile_page: Path) -> None:
    page = hostile_page.read_text(encoding="utf-8")
    assert "2 samples could not be read" in page and "ü.png" in page and "empty file" in page


def test_headings_tables_and_pictures_can_be_read_by_a_machine(page: str) -> None:
    levels = [int(level) for level in re.findall(r"<h(\d)", page)]
    assert levels[0] == 1 and levels.count(1) == 1 and all(b - a <= 1 for a, b in itertools.pairwise(levels))
    assert '<html lang="en">' in page and page.count("<table") == page.count("<caption>")
    assert all("aria-label=" in tag for tag in re.findall(r"<(?:canvas|span class=\"tile \w*)[^>]*>", page))


def test_without_its_data_the_page_still_tells_the_rest(tiny_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    config = json.loads((run / "run.json").read_text())
    config["options"]["data"] = str(tmp_path / "gone")
    (run / "run.json").write_text(json.dumps(config))
    page = report(run).read_text(encoding="utf-8")
    assert "Maps, neighbours and saliency are missing" in page and str(tmp_path / "gone") in page and payload(page)["curves"]


def test_other_data_is_shown_and_evaluated(tiny_run: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import manyviews.app.evaluate as evaluation

    class Found:
        def to_json(self) -> dict[str, Any]:
            return {"data": "these", "scores": {"trained": {"knn": {"value": 0.625, "low": 0.5, "high": 0.75}}}}

    monkeypatch.setattr(evaluation, "evaluate", lambda model, data, only, save: Found())
    page = report(tiny_run, tmp_path / "p.html", data=pictures).read_text(encoding="utf-8")
    assert "0.625 <small>[0.500, 0.750]" in page


def test_data_that_has_changed_is_said(tiny_run: Path, pictures: Path, tmp_path: Path) -> None:
    run, data = shutil.copytree(tiny_run, tmp_path / "run"), shutil.copytree(pictures, tmp_path / "data")
    (data / "discs" / "00.png").unlink()
    config = json.loads((run / "run.json").read_text())
    config["options"]["data"] = str(data)
    (run / "run.json").write_text(json.dumps(config))
    assert "fingerprint has changed" in report(run).read_text(encoding="utf-8")


def test_an_encoder_without_a_run_is_reported_on_data(pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["report", "untrained:resnet_micro", "--out", str(tmp_path / "p.html")]) == 2
    assert "add --data" in capsys.readouterr().err
    data = open_data(pictures)
    page = report("untrained:resnet_micro", tmp_path / "p.html", data=open_data(np.stack([data[i] for i in range(12)]))).read_text(encoding="utf-8")
    assert "not trained by manyviews" in page and len(payload(page)["names"]) == 12 and payload(page)["labels"] is None


def test_an_unfinished_run_has_a_page(tiny_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    for name in ("quarantine.csv", "encoder.safetensors", "metrics.jsonl"):
        (run / name).unlink(missing_ok=True)
    page = report(run).read_text(encoding="utf-8")
    assert "No list was kept" in page and "There are no metrics" in page and "has no encoder.safetensors yet" in page


@pytest.mark.parametrize("where", ["", "missing"])
def test_a_folder_that_is_no_run_is_refused(where: str, tmp_path: Path) -> None:
    with pytest.raises(InputError):
        report(tmp_path / where)
