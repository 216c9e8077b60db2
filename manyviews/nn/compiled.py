"""Functions compiled by numba, and their work shared among threads. No kernel starts threads of its own: after a fork those would be missing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch


def compiled(function: Callable | None = None, **options: Any) -> Any:
    """Compiled when first called and kept on disk, where a folder can be written; `@compiled` or `@compiled(fastmath=...)`.

    The interpreter is not held meanwhile, and nothing is raised in it: x / 0 is infinite. Needs numba, which compiles anew when the file has changed,
    but not when a file has that its functions are called from: touch both while developing.
    """
    if function is None:
        return lambda function: compiled(function, **options)
    import numba

    settings: dict[str, Any] = {"nogil": True, "error_model": "numpy"} | options
    try:
        return numba.njit(cache=True, **settings)(function)
    except RuntimeError:  # numba finds no folder for its cache
        return numba.njit(**settings)(function)


def shared(work: Callable[[int, int], None], count: int) -> None:
    """work(first, last) on parts of range(count), in as many threads as PyTorch may use."""
    parts = min(torch.get_num_threads(), count)
    ends = [count * i // parts for i in range(parts + 1)] if parts else [0, 0]
    failed: list[BaseException] = []

    def guarded(first: int, last: int) -> None:
        try:
            work(first, last)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=ends[i : i + 2]) for i in range(1, parts)]
    for thread in threads:
        thread.start()
    guarded(ends[0], ends[1])
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
