"""Reading ahead: work in threads, results in order, nothing left running when the reader stops or fails.

Decoders release the interpreter lock, so threads are enough; they start at once, share memory and need no pickling.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

A = TypeVar("A")
B = TypeVar("B")


def prefetch(work: Callable[[A], B], items: Iterable[A], threads: int = 2) -> Iterator[B]:
    """`map(work, items)` computed up to two items a thread ahead; with no threads, computed when asked for.

    What `work` or `items` raise is raised here, after the results before it. A reader that stops early leaves at most one item a thread to finish.
    """
    if threads <= 0:
        yield from map(work, items)
        return
    todo = iter(items)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="manyviews-read")
    waiting: deque[Future[B]] = deque()
    ended: BaseException | None = None

    def submit(count: int) -> None:
        nonlocal ended
        try:
            waiting.extend(pool.submit(work, item) for item in itertools.islice(todo, 0 if ended else count))
        except Exception as error:
            ended = error

    try:
        submit(2 * threads)
        while waiting:
            result = waiting.popleft().result()
            submit(1)
            yield result
        if ended is not None:
            raise ended
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
