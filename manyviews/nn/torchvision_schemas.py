"""Lets torchvision be imported beside a CPU-only PyTorch.

A CUDA build of torchvision cannot load its compiled operators there, and its Python side then fails with "operator torchvision::nms does not
exist". Declaring the schemas is enough for the import; calling the operators still fails, as it should. Call `declare()` before anything
that imports torchvision (timm, torchmetrics, open_clip). It does nothing where the operators load.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

SCHEMAS = {name: f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor" for name in ("nms", "qnms")}
_declared: list[torch.library.Library] = []  # a library's declarations last as long as it does


def declare() -> bool:
    """Declares the missing schemas; True if there were any missing."""
    if _declared or hasattr(torch.ops.torchvision, "nms"):
        return bool(_declared)
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    for compiled in (*Path(spec.origin).parent.glob("_C.*"), *Path(spec.origin).parent.glob("_C_stable.*")):
        try:
            torch.ops.load_library(str(compiled))
        except OSError:
            continue
    if hasattr(torch.ops.torchvision, "nms"):
        return False
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in SCHEMAS.values():
        library.define(schema)
    _declared.append(library)
    return True
