"""Reading ahead: order, exceptions, early stops and Ctrl-C."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from manyviews.data.loading import prefetch


def readers() -> int:
    return sum(t.name.startswith("manyviews-read") for t in threading.enumerate())


def settle(most: int, seconds: float = 5.0) -> bool:
    """Whether at most that many reading threads are left after a while."""
    end = time.monotonic() + seconds
    while readers() > most and time.monotonic() < end:
        time.sleep(0.01)
    return readers() <= most


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_results_come_in_order_whichever_is_ready_first(threads: int) -> None:
    def work(i: int) -> int:
        time.sleep(0.002 * (i % 3))
        return i * i

    assert list(prefetch(work, range(30), threads)) == [i * i for i in range(30)]


def test_no_more_than_two_items_a_thread_are_ahead() -> None:
    taken = []

    def items() -> Iterator[int]:
        for i in range(1000):
            taken.append(i)
            yield i

    stream = prefetch(lambda i: i, items(), 3)
    for i in range(5):
        assert next(stream) == i
        assert len(taken) <= i + 1 + 6
    stream.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("threads", [0, 2])
def test_what_the_work_raises_is_raised_in_its_place_and_nothing_is_left_running(threads: int) -> None:
    before = readers()

    def work(i: int) -> int:
        if i == 3:
            raise KeyError("three")
        return i

    stream = prefetch(work, range(1000), threads)
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(KeyError, match="three"):
        next(stream)
    assert settle(before)


@pytest.mark.parametrize("threads", [0, 2])
def test_what_the_order_raises_is_raised_after_the_results_before_it(threads: int) -> None:
    def items() -> Iterator[int]:
        yield from range(2)
        raise ValueError("the sampler broke")

    stream = prefetch(lambda i: i, items(), threads)
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(ValueError, match="the sampler broke"):
        next(stream)


def test_a_reader_that_stops_early_leaves_nothing_running() -> None:
    before, done = readers(), []

    def work(i: int) -> int:
        time.sleep(0.01)
        done.append(i)
        return i

    for i in prefetch(work, iter(range(10**9)), 4):
        if i == 3:
            break
    assert settle(before) and len(done) <= 4 + 8 + 4


def test_the_first_results_do_not_wait_for_an_endless_order() -> None:
    def endless() -> Iterator[int]:
        i = 0
        while True:
            yield i
            i += 1

    stream = prefetch(lambda i: i, endless(), 2)
    assert [next(stream) for _ in range(10)] == list(range(10))
    stream.close()  # type: ignore[attr-defined]


def test_ctrl_c_ends_a_process_that_waits_for_its_readers() -> None:
    code = (
        "import time\nfrom manyviews.data.loading import prefetch\n"
        "def work(i):\n    time.sleep(0.5 if i else 0)\n    return i\n"
        "for i in prefetch(work, range(10**6), 4):\n    print(i, flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "0\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode != 0 and "KeyboardInterrupt" in errors
