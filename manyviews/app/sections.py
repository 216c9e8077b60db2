"""The sections of the report, as HTML. Each says in words what it shows, and why where it has nothing to show. One that is empty is left out."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from manyviews.app.markup import duration, each, number, score, table, text, tile
from manyviews.app.options import GIVEN
from manyviews.app.symmetry_section import measured, symmetry

Content = dict[str, Any]

WHO = ("trained", "untrained", "raw input", "chance")
CURVES = {  # key of metrics.jsonl -> title, how values are written
    "loss": ("Loss", "number"),
    "probe": ("Probe", "number"),
    "lr": ("Learning rate", "number"),
    "samples_per_second": ("Images a second", "whole"),
    "waiting": ("Time waiting for data", "percent"),
    "rankme": ("Effective rank (RankMe)", "number"),
    "spread": ("Spread of the vectors, 0 to 1", "number"),
    "alignment": ("Alignment of two views", "number"),
    "uniformity": ("Uniformity", "number"),
}
MEASURES = {
    "attention": "what the class token of the last block attends to, averaged over its heads",
    "contribution": "how much each place of the last feature map contributes to the embedding",
    "occlusion": "how far the embedding turns when a grey square covers the place",
}


def title(key: str) -> str:
    return CURVES[key][0] if key in CURVES else key.replace("_", " ")


def written_as(key: str) -> str:
    return CURVES[key][1] if key in CURVES else "number"


def summary(content: Content) -> str:
    """What was done, in one paragraph, and what is not as it should be."""
    config, model, rows = content["config"], content["model"], content["metrics"]
    said, notes = [], []
    if config:
        options, steps = config["options"], rows[-1]["step"] if rows else 0
        took = duration(sum(row.get("seconds", 0) for row in rows))
        said.append(f"<strong>{text(options['method'])}</strong> trained <strong>{text(options['encoder'])}</strong> on {text(config['data']['described'])}:")
        said.append(f"{steps:,} of {options['steps']:,} steps of {options['batch']:,} pictures at {text(options['size'])} pixels, in {took}.")
    else:
        said.append("An encoder that was not trained by manyviews.")
    if model:
        said.append(f"The encoder has {model['parameters'] / 1e6:.1f} million parameters and gives {model['dim']:,} numbers a picture.")
    if "samples" in content:
        said.append(f"The pictures below are {content['samples']['count']:,} {text(content['samples']['kind'])}.")
    if content["changed"]:
        notes.append("The data is not what it was when this encoder was trained: its fingerprint has changed.")
    if content["problem"]:
        notes.append(f"Maps, neighbours and saliency are missing: {content['problem']}")
    notes += [
        f"The {who} encoder gives nearly the same vector for every picture: it has collapsed." for who, is_so in content.get("collapsed", {}).items() if is_so
    ]
    paper = f'<p class="paper">{text(content["method"])}</p>' if content["method"] else ""
    return f"<p>{' '.join(said)}</p>{paper}" + each('<p class="note">{}</p>'.format, [(text(note),) for note in notes])


def evaluation(content: Content) -> str:
    found = content["evaluation"]
    if found is None:
        body = "<p>Not measured yet. <code>manyviews evaluate RUN LABELLED</code> scores the encoder on labelled data; then make this page again.</p>"
    else:
        body = f"<p>On {text(found.get('data', ''))}. In brackets the 95 % interval over test samples.</p>"
        if found.get("about", {}).get("hash") not in (None, content["model"].get("hash")):
            body += '<p class="note">These scores are of an earlier encoder of this run; <code>manyviews evaluate</code> measures the one it has now.</p>'
        scores = without(found["scores"], {name for own in measured(content).values() for name in own})
        body += beside("Scores", list(scores), scores) if any(scores.values()) else ""
        body += '<p>What it ignores and what it keeps track of is <a href="#symmetry">a section of its own</a>.</p>' if measured(content) else ""
    if "figures" in content:
        figures = {who: {measure: {"value": value} for measure, value in row.items()} for who, row in content["figures"].items()}
        body += "<h3>On the pictures of this page</h3>" + beside("Figures over the pictures of this page", [w for w in WHO if w in figures], figures)
    return body


def without(scores: dict[str, dict[str, Any]], transformations: set[str]) -> dict[str, dict[str, Any]]:
    """Scores but those of symmetry, which have their own section."""
    return {who: {m: s for m, s in row.items() if m.split(": ")[0] not in transformations} for who, row in scores.items()}


def beside(caption: str, who: list[str], scores: dict[str, dict[str, Any]]) -> str:
    """One line a measure, one column an encoder."""
    measures = dict.fromkeys(measure for w in who for measure in scores[w])
    return table(caption, ["measure", *who], [[text(m), *(score(scores[w].get(m)) for w in who)] for m in measures], who)


def missing(content: Content) -> str:
    return f"<p>Nothing to show: {text(content['problem'])}</p>"


def named(content: Content, i: int) -> str:
    """What a person calls picture i of the page: its name, and its class where it is known."""
    s, labels = content["samples"], content["labels"]
    return s["names"][i] + (f" · {s['classes'][labels[i]]}" if labels is not None and 0 <= labels[i] < len(s["classes"]) else "")


def the_map(content: Content) -> str:
    if "map" not in content:
        return missing(content)
    s, coloured = content["samples"], content["labels"] is not None
    plot = """<figure><figcaption>{0} encoder</figcaption><canvas data-who="{0}" tabindex="0" role="img"
aria-label="Map of {1} pictures by the {0} encoder. Left and right arrow keys go through them."></canvas></figure>"""
    key = '<button type="button" aria-pressed="false" data-class="{}"><i></i>{}</button>'
    legend = '<div class="legend" role="group" aria-label="Classes: press to single out">' + each(key.format, enumerate(map(text, s["classes"]))) + "</div>"
    colours = "Colours are classes; methods that learn without labels have not seen them. Press a class to single it out." if coloured else ""
    return f"""<p>Each dot is a picture; near dots have similar embeddings. Point at one to see it, and where it lies on the other map. {colours}</p>
<div class="controls"><label>Projection <select id="projection"><option value="tsne">t-SNE</option>
<option value="pca">principal components</option></select></label>
<label><input type="checkbox" id="as-pictures"> pictures instead of dots</label></div>
<div class="maps">{each(plot.format, [(who, s["count"]) for who in ("trained", "untrained")])}</div>
<p id="said" role="status" class="said">&nbsp;</p>
{legend if coloured else ""}"""


def neighbour_rows(content: Content) -> str:
    if "neighbours" not in content:
        return missing(content)
    n, labels, columns = content["neighbours"], content["labels"], content["sprite"]["columns"]

    def strip(who: str, k: int, query: int) -> str:
        same = [labels is not None and 0 <= labels[i] == labels[query] for i in n[who][k]]
        shown = [(i, columns, named(content, i) + ", same class" * hit, "same" * hit) for i, hit in zip(n[who][k], same, strict=True)]
        count = f"<small>{sum(same)} of {len(same)} of its class</small>" if labels is not None and labels[query] >= 0 else ""
        return f'<td data-who="{who}"><div class="strip">{each(tile, shown)}</div>{count}</td>'

    def row(k: int, query: int) -> str:
        name = named(content, query)
        head = f'<th scope="row">{tile(query, columns, "query: " + name)}<small>{text(name)}</small></th>'
        return f"<tr>{head}{strip('trained', k, query)}{strip('untrained', k, query)}</tr>"

    marked = " A bar below a picture marks the query's class." if labels is not None else ""
    return f"""<p>The pictures of this page that are nearest to each query, by cosine similarity.{marked}</p>
<table class="neighbours"><caption>Nearest neighbours of some pictures</caption><thead><tr><th scope="col">query</th><th scope="col">trained encoder</th>
<th scope="col">untrained encoder</th></tr></thead><tbody>{each(row, enumerate(n["queries"]))}</tbody></table>"""


def saliency(content: Content) -> str:
    if "saliency" not in content:
        return missing(content)
    found = content["saliency"]

    def figure(k: int, i: int) -> str:
        name = named(content, i)
        shown = [(3 * k + j, found["columns"], f"{name}: {what}", "salient") for j, what in enumerate(("picture", "trained encoder", "untrained encoder"))]
        return f"<figure>{each(tile, shown)}<figcaption>{text(name)}</figcaption></figure>"

    return f"""<p>Light falls where a place matters: {MEASURES[found["measure"]]}. From left to right the picture, the trained encoder, the untrained one.
Each map is scaled to its own range: it tells where, not how much.</p><div class="saliency">{each(figure, enumerate(found["samples"]))}</div>"""


def curves(content: Content) -> str:
    if not content["curves"]:
        return "<p>There are no metrics: no step was done, or not by manyviews.</p>"
    rows = [[text(title(c["key"])), *map(number, (c["mean"][0], c["mean"][-1], min(c["low"]), max(c["high"])))] for c in content["curves"]]
    probe = "accuracy of nearest neighbours among training samples" if any("knn" in row for row in content["metrics"]) else "RankMe, the effective rank"
    said = f" The probe is the {probe}; at step 0 it is the untrained encoder's." if any(c["key"] == "probe" for c in content["curves"]) else ""
    return f"""<p>Over optimizer steps; point at a chart to read all of them at that step.{said}</p><div class="charts" id="charts"></div>
<details><summary>The same as a table</summary>
{table("First, last, lowest and highest values", ["curve", "first", "last", "lowest", "highest"], rows)}</details>"""


def quarantine(content: Content, most: int = 200) -> str:
    found = content["quarantine"]
    if found is None:
        return "<p>No list was kept: training did not finish, or was not done by manyviews.</p>"
    if not found:
        return "<p>Every sample that training asked for could be read.</p>"
    more = f"<p>These are the first {most}; <code>quarantine.csv</code> in the run's folder has all.</p>" if len(found) > most else ""
    listed = table("Samples that could not be read", ["sample", "reason"], [[text(sample), text(reason)] for sample, reason in found[:most]])
    return f"<p>{len(found):,} sample{'s' if len(found) > 1 else ''} could not be read and took no part.</p>{listed}{more}"


def repeat(content: Content) -> str:
    config = content["config"]
    if not config:
        return "<p>This encoder was not trained by manyviews, so there is no record of how.</p>"
    words = [str(word) for word in config.get("command", [])]
    typed = [shlex.join(["manyviews", *words[1:]])] if words and Path(words[0]).name == "manyviews" else []
    given = config["options"].get("data") == GIVEN
    last = "manyviews pretrain DATA --from run.json" if given else "manyviews pretrain --from run.json"
    commands = "\n".join([*typed, last])
    how = "The data was given in Python and is not kept: save it to a file, as numpy.save('data.npy', array) does, and name that as DATA. " * given
    facts = {"data": config["data"]["described"], "data fingerprint": config["data"]["fingerprint"], "started": config.get("started", "")}
    facts["encoder's hash"] = content["model"].get("hash", "")
    facts.update({key if key == "git" else f"{key} version": value for key, value in config.get("versions", {}).items()})
    options = {**config["options"], **{f"recipe: {key}": value for key, value in config.get("recipe", {}).items()}}

    def listed(caption: str, pairs: dict[str, Any]) -> str:
        shown = {key: value if isinstance(value, str) else json.dumps(value) for key, value in pairs.items() if value not in ("", None, {})}
        return table(caption, ["name", "value"], [[text(key), f"<code>{text(value)}</code>"] for key, value in shown.items()])

    return f"""<pre tabindex="0"><code>{text(commands)}</code></pre>
<p>{how}The last line, in the run's folder, repeats the run from its record; the same machine and versions give the same weights.</p>
{listed("What it ran on", facts)}<details><summary>Every option, as resolved</summary>{listed("Options", options)}</details>"""


SECTIONS: dict[str, tuple[str, Callable[[Content], str]]] = {
    "evaluation": ("Evaluation", evaluation),
    "symmetry": ("Symmetry: what it ignores and what it keeps track of", symmetry),
    "map": ("Map of the embedding", the_map),
    "neighbours": ("Nearest neighbours", neighbour_rows),
    "saliency": ("What it looks at", saliency),
    "curves": ("Training", curves),
    "quarantine": ("Quarantine", quarantine),
    "repeat": ("How to repeat it", repeat),
}
