"""The report: what it computes, that nothing can be smuggled into it, and (in a real browser) that it draws."""

from __future__ import annotations

import csv
import html
import itertools
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from manyviews.app.cli import main
from manyviews.app.markup import embedded, number, score, text
from manyviews.app.report import curves, report
from manyviews.app.run import Run
from manyviews.app.sampled import SAME, Sampled, figures, layout, lit, without_self
from manyviews.app.sections import summary
from manyviews.app.thumbnails import sprite, thumbnail
from manyviews.data.opening import open_data
from manyviews.errors import InputError

EVIL = "<img src=x onerror=alert(1)>\"&'"
WORSE = "</script><script>document.title='taken'</script>"


@pytest.fixture(scope="module")
def evil_run(tiny_run: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
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


@pytest.fixture(scope="module")
def evil_page(evil_run: Path) -> Path:
    return report(evil_run)


@pytest.fixture(scope="module")
def page(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the tiny run, as HTML."""
    return report(tiny_run, tmp_path_factory.mktemp("page") / "page.html").read_text(encoding="utf-8")


def payload(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="payload">(.*?)</script>', page, re.S)
    assert found
    return json.loads(found[1])


# --- the page as text -----------------------------------------------------------------------------------------------------------------------


def test_names_cannot_become_markup(evil_page: Path) -> None:
    page = evil_page.read_text(encoding="utf-8")
    assert "<img" not in page and WORSE not in page and len(re.findall(r"<script", page)) == 2
    assert html.escape(EVIL, quote=True) in page and html.escape(WORSE, quote=True) in page
    found = payload(page)
    assert f"{EVIL} discs" in found["classes"] and f"checks/{EVIL}.png" in found["names"]


def test_nothing_is_loaded_from_anywhere(evil_page: Path, page: str) -> None:
    for content in (page, evil_page.read_text(encoding="utf-8")):
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


def test_scores_stand_beside_their_baselines(evil_page: Path) -> None:
    page = evil_page.read_text(encoding="utf-8")
    row = re.search(rf"<tr><th scope=\"row\">{re.escape(text(WORSE))}</th>(<td.*?)</tr>", page)
    assert row and "0.500 <small>[0.400, 0.600]" in row[1] and "0.200 <small>[0.100, 0.300]" in row[1]
    assert "of an earlier encoder" in page


def test_quarantined_samples_are_listed(evil_page: Path) -> None:
    page = evil_page.read_text(encoding="utf-8")
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

    monkeypatch.setattr(evaluation, "evaluate", lambda model, data, **options: Found())
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


# --- what it computes -----------------------------------------------------------------------------------------------------------------------


def test_figures_count_neighbours_of_the_same_class() -> None:
    x = torch.randn(20, 5)
    labels = np.array([0, 1, -1, 2, 0] * 4)
    s = Sampled(open_data(np.zeros((20, 8, 8, 3), np.uint8)), "samples", {"trained": x}, labels, list("abc"), [str(i) for i in range(20)])
    unit = torch.nn.functional.normalize(x, dim=1)
    order = (unit @ unit.T).fill_diagonal_(-2).argsort(1, descending=True)[:, :8].numpy()
    hits = [labels[j] == labels[i] for i in range(20) if labels[i] >= 0 for j in order[i]]
    found = figures(s, {"trained": order})
    assert found["trained"][SAME] == pytest.approx(np.mean(hits))
    pairs = [labels[i] == labels[j] for i in range(20) if labels[i] >= 0 for j in range(20)]
    assert found["chance"][SAME] == pytest.approx(np.mean(pairs))


def test_a_sample_is_not_among_its_own_neighbours_even_with_duplicates() -> None:
    index = np.array([[0, 2, 1], [2, 1, 0], [0, 1, 3], [3, 0, 1]])  # row 2 does not find itself: a duplicate stands in its place
    assert without_self(index, 2).tolist() == [[2, 1], [2, 0], [0, 1], [0, 1]]


def test_the_principal_map_is_that_of_the_covariance_and_keeps_its_proportions() -> None:
    x = torch.randn(60, 7) * torch.arange(1, 8)
    found = np.array(layout(x, 0)["pca"], float)
    z = torch.nn.functional.normalize(x.double(), dim=1).numpy()
    values, vectors = np.linalg.eigh(np.cov(z.T))
    expected = (z - z.mean(0)) @ vectors[:, ::-1][:, :2]
    for axis in range(2):
        assert abs(np.corrcoef(found[axis], expected[:, axis])[0, 1]) > 0.9999
    assert found[0].std() / found[1].std() == pytest.approx((values[-1] / values[-2]) ** 0.5, rel=0.01)


def test_the_map_keeps_clusters_together_and_is_the_same_each_time() -> None:
    centres = 6 * torch.randn(4, 10)
    x = torch.cat([c + 0.1 * torch.randn(15, 10) for c in centres])
    found = np.array(layout(x, 0)["tsne"], float).T
    distance = np.linalg.norm(found[:, None] - found, axis=-1) + 1e9 * np.eye(60)
    assert (distance.argmin(1) // 15 == np.arange(60) // 15).all()
    assert layout(x, 0) == layout(x, 0)


def test_a_collapsed_encoder_is_recognised_and_lies_in_the_middle() -> None:
    assert {tuple(axis) for axis in layout(torch.ones(10, 4) * (torch.rand(10, 1) + 1), 0)["tsne"]} == {(500,) * 10}
    said = summary(
        {"config": {}, "model": {}, "metrics": [], "changed": False, "problem": "", "method": "", "collapsed": {"trained": True, "untrained": False}}
    )
    assert "The trained encoder gives nearly the same vector" in said and "The untrained" not in said


def test_curves_are_binned_with_their_extremes_and_skip_what_is_no_number() -> None:
    rows = [{"step": k, "loss": float(k % 7), "lr": 1e-3, "seconds": 0.5, "waiting": 0.1} for k in range(1, 5001)]
    rows[10]["loss"] = float("nan")
    found = {c["key"]: c for c in curves(rows)}
    loss = found["loss"]
    assert len(loss["steps"]) == 500 and loss["steps"][-1] == 5000 and min(loss["low"]) == 0 and max(loss["high"]) == 6
    assert np.mean(loss["mean"]) == pytest.approx(3, abs=0.02) and set(found["waiting"]["mean"]) == {0.2} and "seconds" not in found
    assert json.dumps(curves(rows), allow_nan=False)


def test_the_sheet_of_thumbnails_never_outgrows_its_limit() -> None:
    rng = np.random.default_rng(0)
    tiles = [Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)) for _ in range(100)]
    large, small = sprite(tiles, 32, 200_000), sprite(tiles, 32, 20_000)
    assert large["side"] == 32 and small["side"] < 32 and large["columns"] == 10
    assert len(small["uri"]) < 20_000 * 4 / 3 + 100


@pytest.mark.parametrize("shape", [(20, 30, 1), (30, 20, 2), (7, 7, 3), (200, 100, 5)])
def test_any_picture_has_a_thumbnail(shape: tuple[int, int, int]) -> None:
    for dtype in (np.uint8, np.uint16):
        a = np.full(shape, np.iinfo(dtype).max // 2, dtype)
        tile = np.asarray(thumbnail(a, 32))
        assert tile.shape == (32, 32, 3) and (abs(tile.astype(int) - 127) <= 1).all()


def test_light_falls_on_the_highest_place() -> None:
    picture = Image.new("RGB", (40, 40), (200, 100, 50))
    m = np.zeros((4, 4), np.float32)
    m[0, 0] = 3.0
    shown = np.asarray(lit(picture, m)).astype(int)
    assert abs(shown[2, 2] - [200, 100, 50]).max() < 10 and shown[30, 30].max() < 60


def test_cells_and_numbers_are_plain() -> None:
    assert [number(v) for v in (0.12345, 12.345, 123456, 3e-5, float("nan"))] == ["0.123", "12.3", "123,456", "3.0e-05", "not a number"]
    assert "bar" not in score({"value": 7.0}) and "--v:0.5000" in score({"value": 0.5}) and "none" in score(None)
    assert json.loads(embedded(WORSE + EVIL)) == WORSE + EVIL and not set("<>&") & set(embedded(WORSE + EVIL))


# --- in a browser ---------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Headless Chromium; skips where there is none."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("the browser test needs chromium and chromedriver (Debian: apt install chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    profile = tmp_path_factory.mktemp("profile")
    for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument(f"--user-data-dir={profile}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    found = webdriver.Chrome(options=options, service=Service(driver))
    found.set_page_load_timeout(60)
    yield found
    found.quit()


@pytest.fixture
def opened(browser: Any, evil_page: Path) -> Any:
    browser.set_window_size(1400, 1000)
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(evil_page.as_uri())
    return browser


def inked(browser: Any, who: str) -> int:
    """Pixels of a map that something was drawn on."""
    return browser.execute_script(
        """const c = document.querySelector(`canvas[data-who=${arguments[0]}]`);
        return c.getContext("2d").getImageData(0, 0, c.width, c.height).data.filter((v, i) => i % 4 == 3 && v > 0).length""",
        who,
    )


@pytest.mark.slow
def test_in_a_browser_the_page_draws_without_errors_or_requests(opened: Any, evil_run: Path) -> None:
    assert opened.title == f"{evil_run.name} · manyviews"  # the hostile script did not run
    assert [entry for entry in opened.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    messages = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    requests = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert requests and all(url.startswith(("file://", "data:")) for url in requests) and sum(url.startswith("file:") for url in requests) == 1
    assert inked(opened, "trained") > 500 and inked(opened, "untrained") > 500
    drawn = opened.execute_script("return [...document.querySelectorAll('.chart polyline')].map((line) => line.points.numberOfItems)")
    assert len(drawn) >= 5 and max(drawn) == len(Run(evil_run).metrics)
    loaded = opened.execute_script("return getComputedStyle(document.querySelector('.tile')).backgroundImage.startsWith('url(\"data:image/jpeg')")
    assert loaded


@pytest.mark.slow
def test_in_a_browser_pointing_at_the_map_shows_the_picture_on_both_maps(opened: Any) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.by import By

    canvas, hover = opened.find_element(By.CSS_SELECTOR, "canvas[data-who=trained]"), opened.find_element(By.ID, "hover")
    assert not hover.is_displayed()
    opened.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", canvas)
    x, y = opened.execute_script(
        """const c = arguments[0], [xs, ys] = payload.map.trained.tsne, margin = Math.max(14, c.clientWidth * 0.04), side = c.clientWidth - 2 * margin;
        return [margin + side * xs[5] / 1000 - c.clientWidth / 2, margin + side * (1 - ys[5] / 1000) - c.clientWidth / 2]""",
        canvas,
    )
    before = inked(opened, "untrained")
    ActionChains(opened).move_to_element_with_offset(canvas, round(x), round(y)).perform()
    assert hover.is_displayed()
    said = opened.find_element(By.ID, "said").text
    names, style = opened.execute_script("return [payload.names, getComputedStyle(document.querySelector('#hover .tile'))['background-position']]")
    shown = next(i for i, name in enumerate(names) if said.startswith(name))
    columns = opened.execute_script("return payload.tile.columns")
    assert style == f"{-128 * (shown % columns)}px {-128 * (shown // columns)}px".replace("-0px", "0px")
    assert inked(opened, "untrained") != before  # a ring around the same sample
    ActionChains(opened).move_to_element_with_offset(canvas, 0, -round(canvas.size["height"] / 2) - 30).perform()
    assert not hover.is_displayed()


@pytest.mark.slow
def test_in_a_browser_the_maps_answer_to_keys_classes_and_projection(opened: Any) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select

    canvas, said = opened.find_element(By.CSS_SELECTOR, "canvas[data-who=untrained]"), opened.find_element(By.ID, "said")
    canvas.send_keys(Keys.ARROW_RIGHT)
    first = said.text
    canvas.send_keys(Keys.ARROW_RIGHT)
    assert first and said.text and said.text != first
    canvas.send_keys(Keys.ESCAPE)
    assert not said.text.strip()

    def picture() -> str:
        return opened.execute_script("return document.querySelector('canvas[data-who=trained]').toDataURL()")

    plain = picture()
    button = opened.find_elements(By.CSS_SELECTOR, ".legend button")[0]
    button.click()
    assert button.get_attribute("aria-pressed") == "true" and (dimmed := picture()) != plain
    button.click()
    assert picture() == plain
    Select(opened.find_element(By.ID, "projection")).select_by_value("pca")
    assert picture() not in (plain, dimmed)
    opened.find_element(By.ID, "as-pictures").click()
    assert inked(opened, "trained") > 2000


@pytest.mark.slow
@pytest.mark.parametrize("width", [400, 1600])
def test_in_a_browser_the_page_fits_narrow_and_wide_windows(opened: Any, width: int) -> None:
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False})
    try:
        assert opened.execute_script("return innerWidth") == width and opened.execute_script("return document.documentElement.scrollWidth") <= width
        outside = opened.execute_script(
            """const outside = (e) => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1 || e.getBoundingClientRect().left < -1;
            return [...document.querySelectorAll('p, h1, h2, canvas, svg, .tile, nav a')].filter((e) => e.closest('.scroll, #hover') === null)
            .filter(outside).map((e) => e.outerHTML.slice(0, 80))"""
        )
        assert outside == []
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser_text_has_enough_contrast_in_both_schemes(opened: Any, scheme: str) -> None:
    """WCAG AA: 4.5 to 1 for text on the page's colour."""
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})

    def luminance(name: str) -> float:
        rgb = opened.execute_script(
            """const e = document.createElement('i'); e.style.color = `var(${arguments[0]})`; document.body.append(e);
            const found = getComputedStyle(e).color.match(/[0-9.]+/g).slice(0, 3).map(Number); e.remove(); return found""",
            name,
        )
        linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    try:
        paper = {name: luminance(name) for name in ("--paper", "--shade")}
        assert (paper["--paper"] > 0.5) == (scheme == "light")
        for ink in ("--ink", "--quiet", "--trained"):
            for ground in paper.values():
                bright, dark = sorted([luminance(ink), ground], reverse=True)
                assert (bright + 0.05) / (dark + 0.05) >= 4.5
    finally:
        opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
