"""What is written from the source and the results."""

import re
from pathlib import Path

import pytest

from manyviews.app import pages
from manyviews.app.catalogue import PACKAGE, methods, systems

ROOT = PACKAGE.parent


@pytest.fixture(scope="module")
def written():
    return pages.pages()


def test_the_written_pages_are_the_ones_that_the_source_and_the_results_give(capsys):
    assert pages.main(["--check"]) == 0, capsys.readouterr().err


def test_a_stale_page_fails_the_check_until_it_is_written_and_a_page_too_many_goes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pages, "pages", lambda: {"CATALOGUE.md": "a", "docs/systems/b.md": "c"})
    monkeypatch.setattr(pages, "root", lambda: tmp_path)
    (tmp_path / "docs/systems").mkdir(parents=True)
    (tmp_path / "docs/systems/gone.md").write_text("x")
    assert pages.main(["--check"]) == 1
    assert "docs/systems/gone.md: not what the source and the results give; run `make catalogue`" in capsys.readouterr().err
    assert pages.main([]) == 0 and pages.main(["--check"]) == 0
    assert not (tmp_path / "docs/systems/gone.md").exists()
    (tmp_path / "CATALOGUE.md").write_text("b")
    assert pages.main(["--check"]) == 1


def test_the_catalogue_has_a_full_row_for_every_system_and_links_that_exist(written):
    rows = {m.group(1): line for line in written["CATALOGUE.md"].splitlines() if (m := re.match(r"\| \[`(\w+)`\]", line))}
    assert set(rows) == set(systems()) >= set(methods())
    for name, line in rows.items():
        assert len(re.findall(r"(?<!\\)\|", line)) == 9, name
        for link in re.findall(r"\]\(([^)]+)\)", line):
            assert link.startswith("https://arxiv.org/abs/") or link in written or (ROOT / link).is_file(), link


@pytest.mark.parametrize("name", list(systems()))
def test_every_system_has_a_page_with_its_sentence_its_paper_and_its_hyperparameters(written, name):
    page, entry = written[f"docs/systems/{name}.md"], systems()[name]
    assert page.startswith("# ") and entry.citation in page and entry.departures in page
    titles = [line for line in page.splitlines() if line in ("## Hyperparameters", "## Arguments (Python)")]
    assert titles == (["## Hyperparameters" if name in methods() else "## Arguments (Python)"] if entry.parameters else [])
    for hyperparameter, default in entry.parameters.items():
        assert f"| `{hyperparameter}` | `{default}` |".replace("| `", "| `") in page.replace("\\|", "|")


def test_the_site_builds_and_asks_for_nothing_outside(tmp_path):
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True))
    html = (tmp_path / "index.html").read_text(encoding="utf-8") + (tmp_path / "systems" / "simclr.html").read_text(encoding="utf-8")
    loaded = re.findall(r"<(?:script|img|link)[^>]+(?:src|href)=[\"']([^\"']+)", html)
    assert loaded and not [address for address in loaded if re.match(r"(https?:)?//", address)]


def test_verdicts_are_told_with_the_difference_they_rest_on():
    comparison = {"metric": "knn", "difference": 0.05, "low": 0.01, "high": 0.09, "seeds": 3, "data": "cifar10"}
    result = {"verdict": "holds", "comparisons": [comparison], "stale": True}
    assert pages.verdict(result) == "holds: knn +0.050 [+0.010, +0.090], 3 seeds, cifar10; stale: the code or data changed since, or an arm is missing"
    assert pages.verdict(None) == "no claim yet"


def test_pages_take_no_other_arguments(capsys):
    assert pages.main(["--all"]) == 2
    assert Path(capsys.readouterr().err.split()[1]).name == "python"
