"""Which method runs on what: each is trained for two steps on forty samples of every modality, by a small encoder with parts,
or, where it needs one, by one of convolutions or of messages between nodes, or of its own kind; and what it says is written down.

`python -m manyviews.app.matrix` writes claims/results/matrix.json, from which docs/matrix.md is made; some fifteen minutes on two cores.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from manyviews.app import catalogue
from manyviews.data.kinds import MODALITIES
from manyviews.errors import InputError
from manyviews.train.checkpoint import atomic

PARTS = {  # a small encoder with parts, and the size of its views
    "images": ("vit_nano", 32),
    "points": ("point_transformer_micro", 64),
    "volumes": ("vit3d_micro", 12),
    "video": ("tubelet_vit_micro", 16),
    "tables": ("ft_transformer_micro", 16),
    "pairs": ("two_towers_nano", 32),
    "splats": ("splat_transformer_micro", 64),
    "graphs": ("graph_transformer_micro", 40),
    "view_sets": ("vsformer_micro", 16),
    "text": ("text_transformer_micro", 32),
}
WITHOUT = {"images": "resnet_nano", "graphs": "gcn_micro"}  # for methods that need convolutions, or messages between nodes
POSED = {"induced_pose": "induced_pose_micro"}  # methods that learn the rotations of what pictures show, by an encoder that has some
SMALL = {"hidden": 32, "out": 16, "bottleneck": 8, "dim": 48, "depth": 1, "heads": 2, "predictor_depth": 1, "words": 64, "clusters": 8, "queue": 64}


def few(modality: str, rows: int = 40) -> Any:
    """As many of the built-in samples, every fourth for testing, with three classes."""
    from manyviews.data.opening import open_data

    data = open_data("builtin" if modality == "images" else f"builtin:{modality}")
    chosen = data.select(np.random.default_rng(0).permutation(len(data))[:rows])
    return chosen.with_columns(split=np.where(np.arange(rows) % 4 == 0, "test", "train"), label=np.arange(rows) % 3)


def nodes(count: int = 40) -> Any:
    """One graph whose nodes are the samples: three circles with chords, and what each node is."""
    from manyviews.data.graphs import from_array

    rng = np.random.default_rng(0)
    ring = [(k, (k + step) % count) for k in range(count) for step in (1, 3)]
    label = np.arange(count) % 3
    split = np.where(np.arange(count) % 4 == 0, "test", "train")
    return from_array({"edges": np.array(ring).T, "x": rng.normal(size=(count, 8)) + label[:, None], "label": label, "split": split})


def posed(data: Any) -> Any:
    """The same pictures, each with a rotation."""
    from manyviews.data.poses import POSES

    return data.with_columns(rotation=POSES["uniform"](np.arange(len(data)), 1, 0)[:, 0].astype(np.float32))


def tried(method: str, modality: str, data: Any, steps: int = 2) -> str:
    """What comes of training by an encoder with parts, or by one without: nothing where it runs, else what the first one says."""
    encoder, size = PARTS[modality]
    said = trained(method, data, encoder, size, steps)
    if said and modality == "images" and method in POSED:
        return trained(method, posed(data), POSED[method], size, steps)
    if said and modality in WITHOUT:
        other = nodes() if modality == "graphs" else data
        return trained(method, other, WITHOUT[modality], size, steps) and said
    return said


def trained(method: str, data: Any, encoder: str, size: int, steps: int) -> str:
    """What comes of training: nothing where it runs, else what it says."""
    from manyviews.app.pretrain import pretrain

    settings = {key: value for key, value in SMALL.items() if key in catalogue.methods()[method].parameters}
    with tempfile.TemporaryDirectory() as folder:
        try:
            run = pretrain(data, method, encoder, Path(folder) / "run", steps=steps, batch=8, size=size, settings=settings, precision="32-true", quiet=True)
        except InputError as error:
            return str(error)
        losses = [row["loss"] for row in run.metrics if "loss" in row]
    return "" if losses and all(math.isfinite(x) for x in losses) else "its loss is not finite"


def main() -> None:
    """All of them, or the methods that are named."""
    file = path()
    found = written()
    for method in sys.argv[1:] or sorted(catalogue.methods()):
        row = found[method] = {}
        for modality in MODALITIES:
            try:
                row[modality] = tried(method, modality, few(modality))
            except Exception as error:  # a method that fails otherwise is told too: it is what there is to mend
                row[modality] = f"{type(error).__name__}: {error}"
            print(f"{method} on {modality}: {row[modality] or 'runs'}", flush=True)
        with atomic(file) as temporary:
            temporary.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def path() -> Path:
    return catalogue.PACKAGE.parent / "claims" / "results" / "matrix.json"


def written() -> dict[str, dict[str, str]]:
    """Method -> modality -> what was said last; empty where nothing was tried yet."""
    return json.loads(path().read_text(encoding="utf-8")) if path().is_file() else {}


if __name__ == "__main__":
    main()
