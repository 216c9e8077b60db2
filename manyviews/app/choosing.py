"""Which measurements are asked for, and which of them make sense for some data and a model."""

from __future__ import annotations

import difflib

import numpy as np

from manyviews.app.measures import EVALUATORS, PRECISIONS
from manyviews.app.model import Model
from manyviews.app.symmetry import CONTINUOUS, TRANSFORMATIONS
from manyviews.data.dataset import Data
from manyviews.data.regions import regions
from manyviews.errors import InputError

OF = {  # what is measured of some modalities alone
    "robustness": ("images",),
    "svm": ("points",),
    "svm_few_shot": ("points",),
    "boosted_trees": ("tables",),
    "zero_shot": ("pairs",),
    "recall": ("pairs",),
    **dict.fromkeys(("symmetry", "symmetry_levels"), tuple(TRANSFORMATIONS)),
    "lie_norm": CONTINUOUS,
}
PLACES = ("segmentation", "prompt_patch")  # what needs to be told what lies where
UNLABELLED = (*PLACES, "recall", "symmetry", "symmetry_levels", "lie_norm")  # what needs no label of the whole sample
SELDOM = ("linear_sgd", "prompt_patch", "symmetry", "symmetry_levels", "lie_norm")  # take long; the first seldom says more than linear


def why_not(name: str, data: Data, model: Model) -> str:
    """Why that cannot be measured of a model on `data`; empty where it can."""
    if name in OF and model.modality not in OF[name]:
        return f"{name} is measured of {' and '.join(OF[name])}, and this is a model of {model.modality}"
    if name == "recall" and data.modality != "pairs":
        return f"recall needs pictures with captions, and {data.describe()} has none"
    if name in PLACES and regions(data) is None:
        return f"{name} needs samples that say what lies where, as parts of shapes and label maps of volumes and pictures do, and {data.describe()} does not"
    if name in (*PLACES, "symmetry_levels") and not model.encoder.widths:
        return f"{name} needs an encoder with features of parts, and {model.architecture} has none"
    if name not in UNLABELLED and data.labels is None:
        return f"{name} needs labels, and {data.describe()} has none; put each class into a folder of its own"
    if name == "svm_few_shot" and able(data) < 5:
        return "svm_few_shot tells five classes or more apart that have ten samples each to learn from, and here are fewer"
    return ""


def able(data: Data, shots: int = 10) -> int:
    """Classes with as many training samples, and one to test on."""
    own = data.columns.get("split")
    assert data.labels is not None
    known = data.labels[data.labels >= 0] if own is None else data.labels[(data.labels >= 0) & (own == "train")]
    return int((np.bincount(known) >= (shots * 5 / 4 if own is None else shots)).sum()) if len(known) else 0


def choose(only: list[str] | str | None, precision: str, data: Data, model: Model) -> list[str]:
    """The measurements asked for, or all that make sense. Raises InputError with the nearest names of all that do not exist, or not for this data."""
    problems = []
    if only is None or not len(only):
        wanted = [name for name in EVALUATORS if name not in SELDOM and not why_not(name, data, model)]
        if not wanted:
            problems.append(f"evaluation needs labels, and {data.describe()} has none; put each class into a folder of its own")
    else:
        wanted = list(dict.fromkeys([only] if isinstance(only, str) else only))
        for name in wanted:
            if name not in EVALUATORS:
                near = difflib.get_close_matches(name, EVALUATORS, 2, 0.4)
                hint = f"; did you mean {' or '.join(near)}?" if near else "."
                problems.append(f"no measurement {name!r}{hint} There is {', '.join(EVALUATORS)}")
            elif why_not(name, data, model):
                problems.append(why_not(name, data, model))
    if precision not in PRECISIONS:
        problems.append(f"--precision {precision}: expected {' or '.join(PRECISIONS)}")
    if problems:
        raise InputError(*problems)
    return wanted
