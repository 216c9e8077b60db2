"""What is written from the source and from measured results: CATALOGUE.md, and docs/ with a page and a plot for every system.

`python -m manyviews.app.pages` (or `manyviews evidence`) writes them; with --check it exits with 1 when a file is not what it would write.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from manyviews.app import catalogue
from manyviews.app.catalogue import Entry, groups, methods, recipe_fields, small_encoders, systems
from manyviews.app.evidence.claim import load_claim
from manyviews.app.evidence.files import claim_of, names
from manyviews.app.evidence.plot import plot
from manyviews.app.evidence.running import is_stale
from manyviews.app.evidence.said import sentence, spread
from manyviews.app.evidence.store import read_result
from manyviews.app.matrix import PARTS, POSED, WITHOUT, written
from manyviews.app.showing import meaning_of
from manyviews.data.kinds import MODALITIES

SOURCE = "https://github.com/manyviews/manyviews/blob/main/"  # what pages of docs/ link to outside it
WRITTEN = "Written by `make catalogue` from the source and from measured results; do not edit."


def root() -> Path:
    return catalogue.PACKAGE.parent


def pages() -> dict[str, str]:
    """Path below the repository -> text."""
    results = {name: result_of(entry) for name, entry in systems().items()}
    found = {"CATALOGUE.md": catalogue_page(results), "docs/evidence.md": evidence_page(results), "docs/matrix.md": matrix_page()}
    for name, entry in systems().items():
        found[f"docs/systems/{name}.md"] = system_page(entry, results[name])
        result = results[name]
        if result and result["arms"]:
            found[f"docs/systems/{name}.svg"] = plot(result)
    return found


def result_of(entry: Entry) -> dict[str, Any] | None:
    """What was measured of its claim, with `stale`; None where there is no claim's file; without arms where it was not run yet."""
    known = next((stem for stem in (entry.name, Path(entry.path).stem) if stem in names()), claim_of(entry.name))
    if known is None:
        return None
    result = read_result(known)
    if result is None:
        claim = load_claim(known)
        return {"system": known, "paper": claim.paper, "question": claim.question, "arms": {}, "comparisons": [], "verdict": "not run yet", "stale": False}
    full = read_result(known, "full")
    return {**result, "stale": is_stale(known), "full": full and {**full, "stale": is_stale(known, "full")}}


def matrix_page() -> str:
    """Which method runs on what, and why not."""
    tried = written()
    kinds = [m for m in MODALITIES if any(m in row for row in tried.values())]
    lines = [
        "# Which method runs on what",
        "",
        f"<!-- {WRITTEN} -->",
        "",
        "Each was trained for two steps on forty of the built-in samples, by a small encoder with parts: "
        + ", ".join(f"`{PARTS[m][0]}` ({m})" for m in kinds)
        + "; a method that refused it, by "
        + ", ".join(f"`{name}` ({kind})" for kind, name in WITHOUT.items())
        + "; "
        + ", ".join(f"`{method}` by `{name}`" for method, name in POSED.items())
        + " (images, each with a rotation)"
        + ". Repeat it with `python -m manyviews.app.matrix [METHOD ...]`. Whether it learns there is another question: see the [evidence](evidence.md).",
        "",
        "| method | " + " | ".join(kinds) + " |",
        "| --- |" + " --- |" * len(kinds),
    ]
    reasons: dict[str, int] = {}
    for method in sorted(tried):
        cells = []
        for kind in kinds:
            why = tried[method].get(kind)
            cells.append("not tried" if why is None else f"[^{reasons.setdefault(why, len(reasons) + 1)}]" if why else "runs")
        lines.append(f"| [{method}](systems/{method}.md) | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(f"[^{number}]: {why.splitlines()[0]}" for why, number in reasons.items())]) + "\n"


# --- pieces -----------------------------------------------------------------------------------------------------------------------------------


def verdict(result: dict[str, Any] | None) -> str:
    """In a few words, with the difference it rests on."""
    if result is None:
        return "no claim yet"
    text = result["verdict"]
    if result["comparisons"]:
        c = result["comparisons"][0]
        bounds = f" [{c['low']:+.3f}, {c['high']:+.3f}]" if c["low"] is not None else ""
        text += f": {c['metric']} {c['difference']:+.3f}{bounds}, {c['seeds']} seeds, {c['data']}"
    return text + ("; stale: the code or data changed since, or an arm is missing" if result["stale"] else "")


def paper(e: Entry) -> str:
    title = re.search(r'"([^"]+)"', e.citation)
    return f"[{title.group(1) if title else 'arXiv:' + e.arxiv}](https://arxiv.org/abs/{e.arxiv})" if e.arxiv else e.citation


def what(e: Entry) -> str:
    return e.sentence.partition(": ")[2] or e.sentence


def runs_on(e: Entry) -> str:
    """What samples it takes."""
    if e.name not in methods():
        return ""
    return "images, as parts" if re.search(r"\.(tokenize|encode)\(", (catalogue.PACKAGE / e.path).read_text(encoding="utf-8")) else "images"


def row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def tests_of(e: Entry, prefix: str = "") -> str:
    return ", ".join(f"[{t.name}]({prefix}{t.relative_to(root()).as_posix()})" for t in e.tests) or "none"


# --- pages ------------------------------------------------------------------------------------------------------------------------------------


def catalogue_page(results: dict[str, dict[str, Any] | None]) -> str:
    """CATALOGUE.md."""
    lines = ["# What there is", "", f"{WRITTEN} `manyviews show NAME` says more, with every hyperparameter; docs/systems has a page for each.", ""]
    head = [row("name", "what it does", "paper", "file", "equation checked", "two processes", "runs on", "claim"), "|---|---|---|---|---|---|---|---|"]
    for title, chosen in (("Ways to pretrain", methods()), ("Other published systems", {n: e for n, e in systems().items() if n not in methods()})):
        lines += [f"## {title}", "", *head]
        for name, e in chosen.items():
            both = "yes" if name in methods() else ""
            link = f"[`{name}`](docs/systems/{name}.md)"
            lines.append(row(link, what(e), paper(e), f"[{e.path}](manyviews/{e.path})", tests_of(e), both, runs_on(e), verdict(results[name])))
        lines.append("")
    lines += [
        "## Encoders",
        "",
        "These small ones, and every timm model by its name (`manyviews encoders PATTERN`).",
        "",
        row("name", "what it is"),
        "|---|---|",
    ]
    lines += [row(f"`{e.name}`", e.sentence) for e in small_encoders()]
    lines += ["", "## Groups", "", row("name", "what its elements do"), "|---|---|"]
    return "\n".join([*lines, *(row(f"`{g.name}`", g.sentence) for g in groups())]) + "\n"


def evidence_page(results: dict[str, dict[str, Any] | None]) -> str:
    """docs/evidence.md."""
    claimed = {name: result for name, result in results.items() if result is not None}
    counts: dict[str, int] = {}
    for result in claimed.values():
        counts[result["verdict"]] = counts.get(result["verdict"], 0) + 1
    lines = ["# Evidence", "", f"{WRITTEN} How to read it: [Claims](claims.md).", "", ", ".join(f"{n} {v}" for v, n in sorted(counts.items())) + ".", ""]
    lines += [row("system", "the paper says", "asked here", "verdict"), "|---|---|---|---|"]
    lines += [row(f"[{name}](systems/{name}.md)", r["paper"], r["question"], verdict(r)) for name, r in claimed.items()]
    without = [f"[{name}](systems/{name}.md)" for name in results if results[name] is None]
    return "\n".join([*lines, "", f"Without a claim yet: {', '.join(without) or 'none'}."]) + "\n"


def system_page(e: Entry, result: dict[str, Any] | None) -> str:
    """docs/systems/NAME.md."""
    lines = [f"# {e.sentence.partition(': ')[0] if ': ' in e.sentence else e.name}", "", what(e)[:1].upper() + what(e)[1:], "", f"Paper: {e.citation}", ""]
    lines += [*([e.departures, ""] if e.departures else [])]
    if e.name in methods():
        views = ", ".join(f"`{role}`" + (" (several)" if "list" in kind else "") for role, kind in e.views.items())
        needs = f" It needs with every sample: {', '.join(e.given)}." if e.given else ""
        lines += ["    manyviews pretrain PHOTOS --method " + e.name, "", f"Views it takes: {views}.{needs}", ""]
    if e.parameters:
        lines += ["## Hyperparameters" if e.name in methods() else "## Arguments (Python)", "", row("name", "default", "meaning"), "|---|---|---|"]
        lines += [row(f"`{name}`", f"`{default}`", meaning_of(e, name)) for name, default in e.parameters.items()] + [""]
    if e.recipe:
        fields = recipe_fields()
        lines += ["## Recipe", "", "What is used where nothing is said; rates are for 256 samples.", "", row("name", "value", "meaning"), "|---|---|---|"]
        lines += [row(f"`{name}`", f"`{value}`", fields.get(name, ("", ""))[1]) for name, value in e.recipe.items()] + [""]
    lines += ["## Evidence", "", f"File: [manyviews/{e.path}]({SOURCE}manyviews/{e.path}). Tests: {tests_of(e, SOURCE)}.", ""]
    return "\n".join(lines + claim_lines(e, result)).rstrip() + "\n"


def claim_lines(e: Entry, result: dict[str, Any] | None) -> list[str]:
    """The claim, its numbers and its plot."""
    if result is None:
        return ["The paper's claim was not measured here yet."]
    lines = [f"The paper says: {result['paper']}", "", f"Asked here: {result['question']}", ""]
    if not result["arms"]:
        return [*lines, f"Not run yet: `manyviews claim {result['system']}`."]
    lines += measured_lines(result, f"![Every arm's numbers]({e.name}.svg)")
    if result.get("full"):
        lines += ["", "### With the paper's schedule", "", *measured_lines(result["full"])]
    return lines


def measured_lines(result: dict[str, Any], drawn: str = "") -> list[str]:
    """Verdict, numbers and comparisons."""
    lines = [f"**Verdict: {verdict(result)}.**" + (f" {result['why']}" if result.get("why") else ""), "", *([drawn, ""] if drawn else [])]
    for arena, arms in result["arms"].items():
        measures = list(dict.fromkeys(m for arm in arms.values() for m in arm["measures"]))
        lines += [row(arena, *measures, "seconds of training"), "|" + "---|" * (len(measures) + 2)]
        for arm, found in arms.items():
            cells = [spread(found["measures"][m]) if m in found["measures"] else "" for m in measures]
            lines.append(row(arm, *cells, f"{found['training_seconds']:.0f}" if found["training_seconds"] else ""))
        lines.append("")
    lines += [f"- {sentence(c)}" for c in result["comparisons"]]
    about = ", ".join(f"{name} {value}" for name, value in result.get("versions", {}).items())
    return [*lines, "", f"Measured {result['date']} by `{result['command']}`; {about}."]


def main(argv: list[str]) -> int:
    if argv not in ([], ["--check"]):
        print("usage: python -m manyviews.app.pages [--check]", file=sys.stderr)
        return 2
    wanted = pages()
    there = {p.relative_to(root()).as_posix() for p in (root() / "docs" / "systems").glob("*.*")}
    stale = [where for where, text in wanted.items() if not (root() / where).is_file() or (root() / where).read_text(encoding="utf-8") != text]
    stale += sorted(there - set(wanted))
    if argv:
        if stale:
            print(f"{', '.join(stale)}: not what the source and the results give; run `make catalogue`", file=sys.stderr)
        return 1 if stale else 0
    for where in stale:
        path = root() / where
        if where not in wanted:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(wanted[where], encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
