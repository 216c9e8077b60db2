"""What the processors of this machine can do by themselves, rather than be made to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def has_bf16(device: torch.device | str | None = None) -> bool:
    """Whether products in bfloat16 are fast on `device`: a GPU that has them, or a CPU with AMX or AVX-512 BF16. None: the GPU, where there is one.

    Elsewhere PyTorch gives the same numbers some five times slower than products in float32.
    """
    import torch

    kind = torch.device(device).type if device is not None else "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    checks = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
    return kind == "cpu" and any(check is not None and check() for check in checks)
