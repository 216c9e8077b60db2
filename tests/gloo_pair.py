"""Two processes joined by gloo, which wait for functions to run: what one process and two must agree on is tested with them."""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


def serve(rank: int, port: int, line: Connection) -> None:
    """One of the two: joins the other, then runs what comes down the line."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WORLD_SIZE="2", NODE_RANK="0", LOCAL_RANK=str(rank), OMP_NUM_THREADS="1")
    import torch

    from manyviews.app.launch import make_fabric

    torch.set_num_threads(1)
    fabric = make_fabric(devices=2, precision="32-true")
    while True:
        function, arguments = line.recv()
        try:
            line.send((True, function(fabric, *arguments)))
        except Exception:
            line.send((False, traceback.format_exc()))


class Pair:
    """`pair(function, *arguments)` calls function(fabric, *arguments) in both processes and returns both results. Raises RuntimeError with their traceback."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.lines: list[Connection] = []
        self.processes: list[multiprocessing.process.BaseProcess] = []
        for rank in range(2):
            here, there = context.Pipe()
            process = context.Process(target=serve, args=(rank, port, there), daemon=True)
            process.start()
            self.lines.append(here)
            self.processes.append(process)

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        for line in self.lines:
            line.send((function, arguments))
        results = []
        for line in self.lines:
            if not line.poll(120):
                raise RuntimeError("a process of the pair does not answer: one of them waits for the other")
            results.append(line.recv())
        for fine, result in results:
            if not fine:
                raise RuntimeError(result)
        return [result for _, result in results]

    def close(self) -> None:
        for process in self.processes:
            process.kill()
            process.join()
