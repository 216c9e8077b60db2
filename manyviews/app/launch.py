"""Processes: one, several on this machine (started by Fabric), or those that torchrun or SLURM started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def from_outside() -> tuple[int, int] | None:
    """(processes a node, nodes) where torchrun or srun started this process as one of several, else None."""
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        local = int(env["LOCAL_WORLD_SIZE"])
        return local, int(env["WORLD_SIZE"]) // local
    tasks = int(env.get("SLURM_STEP_NUM_TASKS", "1"))
    if tasks > 1:
        nodes = int(env.get("SLURM_STEP_NUM_NODES", "1"))
        return tasks // nodes, nodes
    return None


def is_one_of_several() -> bool:
    """Whether others were started beside this process: by torchrun, by SLURM, or by Fabric."""
    return from_outside() is not None or "LOCAL_RANK" in os.environ


def is_first() -> bool:
    """Whether this is the process that speaks and writes."""
    env = os.environ
    name = "RANK" if "TORCHELASTIC_RUN_ID" in env else "SLURM_PROCID" if from_outside() else "LOCAL_RANK"
    return int(env.get(name, "0")) == 0


def say(text: str, quiet: bool = False) -> None:
    """Prints, in the first process."""
    if is_first() and not quiet:
        print(text, flush=True)


def leave_as_one() -> None:
    """Ends the processes that Fabric started beside the first one; the first one's exit status speaks for all."""
    if not is_first() and from_outside() is None:
        raise SystemExit(0)


def make_fabric(devices: int = 1, precision: str = "32-true", strategy: str = "") -> Fabric:
    """A launched Fabric over `devices` GPUs, or processes where there is no GPU; torchrun's and SLURM's numbers overrule.

    strategy: "ddp" (each process holds everything; the default) or "fsdp" (weights, gradients and optimizer state are shared out).
    """
    import logging
    import warnings

    import torch
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment
    from lightning_fabric.strategies import DDPStrategy, ModelParallelStrategy

    for name in ("lightning.fabric", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated")  # what takes its place is newer than the oldest PyTorch that will do
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")  # 1x1 kernels in channels_last: the same memory, written twice
    outside = from_outside()
    devices, nodes = outside or (devices, 1)
    chosen: Any = "auto"
    if strategy == "fsdp":
        chosen = ModelParallelStrategy(shard, data_parallel_size=devices * nodes, tensor_parallel_size=1)
    elif devices * nodes > 1:
        chosen = DDPStrategy(broadcast_buffers=False)
    accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    plugins = None if outside else [LightningEnvironment()]  # not SLURM's one in a job of one task
    fabric = Fabric(accelerator=accelerator, devices=devices, num_nodes=nodes, strategy=chosen, precision=precision, plugins=plugins)  # type: ignore[arg-type]
    fabric.launch()
    return fabric


def shard(module: Any, mesh: Any) -> Any:
    """FSDP2: every transformer block, then the rest, shared out over the processes of `mesh`."""
    from torch.distributed.fsdp import fully_shard

    from manyviews.contracts import Encoder

    for encoder in [m for m in module.modules() if isinstance(m, Encoder)]:
        for block in encoder.modules():
            if type(block).__name__.endswith("Block"):
                fully_shard(block, mesh=mesh["data_parallel"])
    return fully_shard(module, mesh=mesh["data_parallel"])


def in_processes(arguments: list[str]) -> None:
    """Runs `manyviews` with these arguments in a new interpreter, which can start others; a script that calls us is thus run only once.

    Raises KeyboardInterrupt or SystemExit where that was stopped by a signal, RuntimeError where it failed.
    """
    process = subprocess.Popen([sys.executable, "-m", "manyviews", *arguments])
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, lambda *_: process.terminate()) if main else None
    try:
        code = process.wait()
    except KeyboardInterrupt:  # it got the signal too, and saves
        code = process.wait()
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
    if code == 130:
        raise KeyboardInterrupt
    if code == 143:
        raise SystemExit(143)
    if code:
        raise RuntimeError(f"the training processes stopped with status {code}; what they said is above")


class Stop:
    """While it is entered, the first SIGINT or SIGTERM is only noted, so that the loop can save; a second one acts as usual."""

    def __init__(self) -> None:
        self.signal = 0

    def __bool__(self) -> bool:
        return self.signal != 0

    def __enter__(self) -> Stop:
        main = threading.current_thread() is threading.main_thread()
        self.before = {number: signal.signal(number, self.note) for number in (signal.SIGINT, signal.SIGTERM)} if main else {}
        return self

    def note(self, number: int, frame: object) -> None:
        self.signal = number
        self.restore()

    def restore(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def __exit__(self, *error: object) -> None:
        self.restore()
