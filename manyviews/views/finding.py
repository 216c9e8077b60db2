"""Policies by name: the functions of a modality's file (`manyviews.views.images`) that take a size, and the published ones of pictures (`views/NAME.py`)."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import Any

import manyviews.views
from manyviews.data.kinds import MODALITIES
from manyviews.errors import InputError
from manyviews.views.policy import Policy


def of_modality(modality: str) -> ModuleType:
    """The file with a modality's policies."""
    return importlib.import_module(f"manyviews.views.{modality}")


@functools.cache
def policies(modality: str = "images") -> dict[str, Callable[[int], Any]]:
    """Name -> function of the size. A file of its own says with MODALITY whose views it makes, if not those of pictures."""
    own = [module.name for module in pkgutil.iter_modules(manyviews.views.__path__) if module.name not in MODALITIES]
    modules = [of_modality(modality), *(importlib.import_module(f"manyviews.views.{name}") for name in own if name != "finding")]
    return {
        name: f
        for module in modules
        if module is modules[0] or getattr(module, "MODALITY", "images") == modality
        for name, f in vars(module).items()
        if is_policy(module, name, f)
    }


def is_policy(module: ModuleType, name: str, f: Any) -> bool:
    """Whether it takes a size and returns a policy, and is defined there."""
    if name.startswith("_") or not inspect.isfunction(f) or f.__module__ != module.__name__:
        return False
    required = [p.name for p in inspect.signature(f).parameters.values() if p.default is inspect.Parameter.empty]
    return required == ["size"] and str(f.__annotations__.get("return")) in ("Policy", "Curriculum")


def find_policy(name: str, size: int, modality: str = "images") -> Any:
    """The policy of that name for views of `size` (pixels of a side, points of a cloud). Raises InputError.

    A policy that a paper gives for pictures alone has an analogue elsewhere: the same roles, filled by the modality's own views.
    """
    known = policies(modality)
    if name in known:
        return known[name](size)
    if name in policies():
        module = of_modality(modality)
        if hasattr(module, "of_pictures"):  # samples with pictures in them
            return module.of_pictures(policies()[name](size))
        return analogue(policies()[name](64), module, size)
    raise InputError(f"no views {name!r} of {modality}; there are {', '.join(names(modality))}")


def names(modality: str = "images") -> list[str]:
    """Of everything that `find_policy` finds."""
    return list(dict.fromkeys([*policies(modality), *policies()]))


def analogue(pictures: Any, module: ModuleType, size: int) -> Policy:
    """The roles of a policy of pictures, filled by the `weak`, `strong`, `local` and `plain` views of a modality.

    A lone view is weak; of several, small crops are local, what is called clean is plain, and all others are strong.
    """

    def view(role: str) -> Any:
        if role == "clean":
            return module.plain(size).specs[0]
        kind = "local" if role in ("local_crops", "crops") else "weak" if len(pictures.specs) == 1 else "strong"
        return getattr(module, kind)(size)

    return Policy({role: [view(role)] * len(spec) if isinstance(spec, list) else view(role) for role, spec in pictures.roles.items()})


def plain(size: int, modality: str = "images") -> Any:
    """The policy that shows samples as they are, as view `v`: what evaluation sees."""
    return of_modality(modality).plain(size)


def raw(modality: str = "images") -> Callable[[Any], Any]:
    """What turns a view into plain numbers, (batch, numbers): what stands for the input itself beside every encoder."""
    found = getattr(of_modality(modality), "raw", None)
    return found or flat


def flat(view: Any) -> Any:
    """The numbers of a view, one after the other."""
    return view.x.flatten(1)
