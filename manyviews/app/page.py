"""The report as one HTML file. Nothing in it is loaded from anywhere; a content security policy forbids every request and every script but its own.

The page's frame, style and script are report.html, report_style.html and report_script.html beside this file.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

from manyviews.app import sections
from manyviews.app.markup import each, embedded, text

HERE = Path(__file__).parent


def render(content: dict[str, Any]) -> str:
    """The whole page; `content` is what `manyviews.app.report.report` gathered."""
    parts = [(key, title, body) for key, (title, make) in sections.SECTIONS.items() if (body := make(content))]
    script = (HERE / "report_script.html").read_text(encoding="utf-8").strip().removeprefix("<script>").removesuffix("</script>")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    slots = {
        "policy": f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        "title": text(content["name"]),
        "style": (HERE / "report_style.html").read_text(encoding="utf-8"),
        "sprites": f"<style>:root{{{sprites(content)}}}</style>",
        "summary": sections.summary(content),
        "links": each('<a href="#{}">{}</a>'.format, [part[:2] for part in parts]),
        "sections": each('<section id="{0}" aria-labelledby="{0}-h"><h2 id="{0}-h">{1}</h2>\n{2}\n</section>\n'.format, parts),
        "payload": f'<script type="application/json" id="payload">{embedded(payload(content))}</script>',
        "script": f"<script>{script}</script>",
    }
    first, *rest = (HERE / "report.html").read_text(encoding="utf-8").split("{{")
    return first + "".join(slots[piece.split("}}", 1)[0]] + piece.split("}}", 1)[1] for piece in rest)


def payload(content: dict[str, Any]) -> dict[str, Any]:
    """What the script draws."""
    found: dict[str, Any] = {"curves": [{**c, "title": sections.title(c["key"]), "as": sections.written_as(c["key"])} for c in content["curves"]]}
    if "map" in content:
        s = content["samples"]
        found.update(map=content["map"], names=s["names"], classes=s["classes"], labels=content["labels"])
        found["tile"] = {key: content["sprite"][key] for key in ("columns", "side")}
    return found


def sprites(content: dict[str, Any]) -> str:
    """The two sheets of thumbnails, each in the page once, as custom properties."""
    there = [(name, content[key]) for key, name in (("sprite", "tiles"), ("saliency", "salient")) if key in content]
    return ";".join(f"--{name}:url({sheet['uri']});--{name}-columns:{sheet['columns']}" for name, sheet in there)
