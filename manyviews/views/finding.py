"""Policies by name: the functions of `manyviews.views.images` that take a size, and the published ones with a file of their own (`views/NAME.py`)."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import Any

import manyviews.views
from manyviews.errors import InputError
from manyviews.views import images


@functools.cache
def policies() -> dict[str, Callable[[int], Any]]:
    """Name -> function of the side in pixels."""
    own = [module.name for module in pkgutil.iter_modules(manyviews.views.__path__)]
    modules = [images, *(importlib.import_module(f"manyviews.views.{name}") for name in own if name not in ("images", "finding"))]
    return {name: f for module in modules for name, f in vars(module).items() if is_policy(module, name, f)}


def is_policy(module: ModuleType, name: str, f: Any) -> bool:
    """Whether it takes a size and returns a policy, and is defined there."""
    if name.startswith("_") or not inspect.isfunction(f) or f.__module__ != module.__name__:
        return False
    required = [p.name for p in inspect.signature(f).parameters.values() if p.default is inspect.Parameter.empty]
    return required == ["size"] and str(f.__annotations__.get("return")) in ("Policy", "Curriculum")


def find_policy(name: str, size: int) -> Any:
    """The policy of that name for views of `size` pixels. Raises InputError."""
    if name not in policies():
        raise InputError(f"no views {name!r}; there are {', '.join(policies())}")
    return policies()[name](size)
