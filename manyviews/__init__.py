"""manyviews: one representation from many views.

import manyviews as mv

run = mv.pretrain("photos/", method="simclr", encoder="resnet18_small")
run.evaluate("labelled/"); run.embed("photos/"); run.report()
encoder = mv.load("runs/first")
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "pretrain": "app.pretrain",
    "resume": "app.pretrain",
    "load": "app.model",
    "Run": "app.run",
    "Embedder": "app.embedder",
    "evaluate": "app.evaluate",
    "open_data": "data.opening",
    "View": "contracts",
    "Encoder": "contracts",
    "Method": "contracts",
    "InputError": "errors",
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    """Names are imported when they are first used, so that `import manyviews` is instant."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"manyviews.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'manyviews' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
