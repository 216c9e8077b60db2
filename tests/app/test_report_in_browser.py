"""The report in a real browser, headless Chromium; skips where there is none."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manyviews.app.run import Run


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
def opened(browser: Any, hostile_page: Path) -> Any:
    browser.set_window_size(1400, 1000)
    for kind in ("browser", "performance"):
        browser.get_log(kind)
    browser.get(hostile_page.as_uri())
    return browser


def inked(browser: Any, who: str) -> int:
    """Pixels of a map that something was drawn on."""
    return browser.execute_script(
        """const c = document.querySelector(`canvas[data-who=${arguments[0]}]`);
        return c.getContext("2d").getImageData(0, 0, c.width, c.height).data.filter((v, i) => i % 4 == 3 && v > 0).length""",
        who,
    )


@pytest.mark.slow
def test_in_a_browser_the_page_draws_without_errors_or_requests(opened: Any, hostile_run: Path) -> None:
    assert opened.title == f"{hostile_run.name} · manyviews"  # the hostile script did not run
    assert [entry for entry in opened.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    messages = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    requests = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert requests and all(url.startswith(("file://", "data:")) for url in requests) and sum(url.startswith("file:") for url in requests) == 1
    assert inked(opened, "trained") > 500 and inked(opened, "untrained") > 500
    drawn = opened.execute_script("return [...document.querySelectorAll('.chart polyline')].map((line) => line.points.numberOfItems)")
    assert len(drawn) >= 5 and max(drawn) == len(Run(hostile_run).metrics)
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
