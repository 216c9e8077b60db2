"""`manyviews report`: one HTML page about a run, which opens offline.

Up to 1,500 samples (of the test split, where there is one) go through the trained encoder, the untrained one and, as pixels, through none: for
the maps, the neighbours and the saliency. Every number stands beside its baselines.
"""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from manyviews.app import page
from manyviews.app.catalogue import find_method
from manyviews.app.model import Model, load
from manyviews.app.options import GIVEN, training_rows
from manyviews.app.run import Run
from manyviews.app.sampled import pictures, sample
from manyviews.data.dataset import Data
from manyviews.data.opening import open_data
from manyviews.errors import InputError
from manyviews.train.checkpoint import atomic

POINTS = 500  # of a curve
KNOWN = ("step", "epoch", "seconds")  # of metrics.jsonl, not drawn


def report(run: str | Path | Run, out: str | Path | None = None, data: Any = None, samples: int = 1500, seed: int = 0) -> Path:
    """Write the page and return its path: by default report.html in the run's folder.

    run: a run folder; or timm:NAME, untrained:NAME or a .safetensors file, with `data`. data: what to show and, where it has labels, to evaluate
    on by knn and a linear probe; by default what the run was trained on, with the scores that `manyviews evaluate` left. Raises InputError; a part
    that cannot be made says why on the page.
    """
    folder = run.path if isinstance(run, Run) else Path(run).expanduser()
    record = Run(folder) if folder.is_dir() else None
    if record is None and data is None:
        raise InputError(f"{run} is not a run folder, so there is nothing to report without data: add --data DATA")
    target = Path(out).expanduser() if out else (folder / "report.html" if record else Path("report.html"))
    if target.is_dir():
        raise InputError(f"--out {target} is a folder; name a file in it, e.g. {target / 'report.html'}")
    model, sampled, problem = None, None, ""
    try:
        model = load(str(run) if record is None else folder, device="cuda" if torch.cuda.is_available() else "cpu")
        opened = open_data(data, model.modality) if record is None or data is not None else again(record)
        sampled = sample(model, opened, samples, seed)
    except InputError as error:
        if record is None or data is not None:
            raise
        problem = str(error)
    content: dict[str, Any] = {
        "name": folder.name if record else str(run),
        "config": record.config if record else {},
        "metrics": record.metrics if record else [],
        "curves": curves(record.metrics) if record else [],
        "evaluation": evaluation(record, model, opened if data is not None and sampled else None),
        "quarantine": quarantine(folder) if record else None,
        "problem": problem,
        "changed": record is not None and data is None and sampled is not None and training_rows(opened).fingerprint() != record.config["data"]["fingerprint"],
        "method": sentence(record.config["options"]["method"]) if record else "",
        "model": describe(model) if model else {},
    }
    if sampled is not None and model is not None:
        content.update(pictures(model, sampled, seed))
    with atomic(target) as temporary:
        temporary.write_text(page.render(content), encoding="utf-8")
    return target


def again(record: Run) -> Data:
    """What the run was trained on."""
    options = record.config["options"]
    if options["data"] == GIVEN:
        raise InputError(
            "this run was trained on data given in Python, of which it keeps no copy; name data to show with --data, or mv.Run(...).report(data=...)"
        )
    return open_data(options["data"], options.get("modality") or None)


def curves(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What metrics.jsonl holds, at most 500 points each: mean, lowest and highest of the steps that a point stands for."""
    rows = [{**row, "waiting": row["waiting"] / row["seconds"]} if row.get("waiting") is not None and row.get("seconds") else row for row in rows]
    keys = dict.fromkeys(key for row in rows for key, value in row.items() if key not in KNOWN and isinstance(value, int | float))
    if "probe" in keys:  # the same numbers as one of its companions
        keys.pop("knn" if "knn" in keys else "rankme", None)
    first = ["loss", "probe", "lr", "samples_per_second", "waiting"]
    found = []
    for key in sorted(keys, key=lambda k: first.index(k) if k in first else len(first)):
        pairs = [(row["step"], float(row[key])) for row in rows if isinstance(row.get(key), int | float) and math.isfinite(row[key])]
        if not pairs:
            continue
        steps, values = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
        bins = np.array_split(np.arange(len(pairs)), min(len(pairs), POINTS))
        found.append({
            "key": key, "steps": [int(steps[b[-1]]) for b in bins],
            **{name: [round_to(of(values[b])) for b in bins] for name, of in (("mean", np.mean), ("low", np.min), ("high", np.max))},
        })  # fmt: skip
    return found


def round_to(value: float, digits: int = 5) -> float:
    return float(f"{float(value):.{digits}g}")


def evaluation(run: Run | None, model: Model | None, data: Data | None) -> dict[str, Any] | None:
    """What `manyviews evaluate` found: on `data` if given and labelled, else what lies in the run's folder."""
    if data is not None and model is not None and data.labels is not None:
        from manyviews.app.evaluate import evaluate

        return evaluate(run or model, data, ["knn", "linear"], save=False).to_json()  # what the run's folder holds may be of other data, and more
    path = run.path / "evaluation.json" if run else None
    if path is None or not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return found if isinstance(found.get("scores"), dict) else None
    except (ValueError, AttributeError):
        return None


def quarantine(folder: Path) -> list[list[str]] | None:
    """Sample and reason of each unreadable sample; None when the run did not get as far as listing them."""
    path = folder / "quarantine.csv"
    if not path.is_file():
        return None
    with open(path, newline="", encoding="utf-8", errors="backslashreplace") as file:
        return [row[:2] for row in list(csv.reader(file))[1:] if len(row) >= 2]


def sentence(method: str) -> str:
    """What the method does, from its docstring; nothing for one that is not there any more."""
    try:
        entry = find_method(method)
    except InputError:
        return ""
    return f"{entry.sentence} {entry.citation}"


def describe(model: Model) -> dict[str, Any]:
    parameters = sum(p.numel() for p in model.encoder.parameters())
    return {"architecture": model.architecture, "parameters": parameters, "dim": model.encoder.dim, "size": model.size, "hash": model.hash()}
