"""From names to objects: a method with its encoder, and the recipe it trains by."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from manyviews.app.catalogue import Entry, find_method
from manyviews.contracts import Encoder, Method, Recipe
from manyviews.data.dataset import Data
from manyviews.errors import InputError

CHANGES = ("views", "optimizer", "weight_decay", "warmup", "clip", "schedule")  # options that replace a recipe's fields


def build_method(entry: Entry | str, encoder: Encoder, data: Data, **settings: Any) -> tuple[Method, Recipe]:
    """The method around `encoder`, with numbers of samples and classes and names of columns from the data. Raises InputError where it lacks what it needs."""
    entry = find_method(entry) if isinstance(entry, str) else entry
    if "label" in entry.given and data.labels is None:
        raise InputError(f"{entry.name} learns from labels, and this data has none; give one folder a class, or take a method without labels (simclr)")
    module = importlib.import_module(entry.module)
    definition = getattr(module, entry.definition)
    if entry.kind == "objective":
        from manyviews.methods.contrast.joint_embedding import JointEmbedding

        frame = {**getattr(module, "PROJECTOR", {}), **settings}
        return JointEmbedding(encoder, definition, **frame), getattr(module, "RECIPE", Recipe())
    accepts = inspect.signature(definition).parameters
    filled: dict[str, Any] = {}
    if "samples" in accepts:
        filled["samples"] = len(data)
    if "classes" in accepts:
        filled["classes"] = len(data.classes)
    if "columns" in accepts:
        filled["columns"] = tuple(data.columns)
    method = definition(encoder, **filled, **settings)
    return method, method.recipe


def changed(recipe: Recipe, words: Mapping[str, Any]) -> Recipe:
    """The recipe with what `words` say of it. A weight decay that is said stays as it is to the end, whatever the method's own does."""
    changes = {name: words[name] for name in CHANGES if words.get(name) not in (None, "")}
    if "weight_decay" in changes:
        changes["final_weight_decay"] = None
    return dataclasses.replace(recipe, **changes)
