"""What a run writes down at every step: metrics.jsonl, metrics.csv and TensorBoard always; Weights & Biases or MLflow where asked for."""

from __future__ import annotations

import contextlib
import csv
import json
import math
from pathlib import Path
from typing import Any

from manyviews.app.run import read_metrics
from manyviews.train.checkpoint import atomic


class Logs:
    """Rows of numbers, one a step. What was logged after step `start` is dropped first: a resumed run logs it again."""

    def __init__(self, folder: Path, start: int, extra: str = "", config: dict[str, Any] | None = None):
        self.folder = folder
        self.rows = [row for row in read_metrics(folder) if row["step"] <= start]
        with atomic(folder / "metrics.jsonl") as temporary:
            temporary.write_text("".join(line(row) for row in self.rows), encoding="utf-8")
        self.names = list(dict.fromkeys(name for row in self.rows for name in row))
        self.write_table()
        self.rows.clear()
        self.jsonl = open(folder / "metrics.jsonl", "a", encoding="utf-8")  # noqa: SIM115
        self.board = TensorBoard(folder / "tensorboard", start)
        self.extra: WandB | MLflow | None = None
        if extra:
            self.extra = WandB(folder, config or {}) if extra == "wandb" else MLflow(folder, config or {})

    def write_table(self) -> None:
        """metrics.csv anew: it has a column more."""
        with atomic(self.folder / "metrics.csv") as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.names)
            writer.writeheader()
            writer.writerows(read_metrics(self.folder))
        self.table = open(self.folder / "metrics.csv", "a", newline="", encoding="utf-8")  # noqa: SIM115

    def __call__(self, row: dict[str, Any]) -> None:
        self.jsonl.write(line(row))
        self.jsonl.flush()
        new = [name for name in row if name not in self.names]
        if new:
            self.names += new
            self.table.close()
            self.write_table()
        else:
            csv.DictWriter(self.table, self.names).writerow(row)
        self.board(row)
        if self.extra is not None:
            self.extra(row)

    def flush(self) -> None:
        """At every checkpoint: what was logged before it is on the disk."""
        self.table.flush()
        self.board.flush()

    def __enter__(self) -> Logs:
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        closing = [self.jsonl.close, self.table.close, self.board.close, *([self.extra.close] if self.extra is not None else [])]
        for close in closing:
            with contextlib.suppress(OSError) if kind else contextlib.nullcontext():  # a full disk is told once
                close()


def line(row: dict[str, Any]) -> str:
    return json.dumps({name: value if not isinstance(value, float) or math.isfinite(value) else None for name, value in row.items()}) + "\n"


class TensorBoard:
    """Event files, written by tensorboard's own small writer in a thread of its own."""

    def __init__(self, folder: Path, start: int):
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self.writer = EventFileWriter(str(folder))
        if start:  # what an earlier process logged after this step is not shown
            self.writer.add_event(Event(step=start + 1, session_log=SessionLog(status=SessionLog.START)))

    def __call__(self, row: dict[str, Any]) -> None:
        import time

        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=name, simple_value=value) for name, value in row.items() if isinstance(value, int | float) and name != "step"]
        self.writer.add_event(Event(step=row["step"], wall_time=time.time(), summary=Summary(value=values)))

    def flush(self) -> None:
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class WandB:
    """Weights & Biases; its own environment variables say where to and under which name."""

    def __init__(self, folder: Path, config: dict[str, Any]):
        import wandb

        self.run = wandb.init(project="manyviews", name=folder.name, id=identity(folder), resume="allow", dir=str(folder), config=config)

    def __call__(self, row: dict[str, Any]) -> None:
        self.run.log({name: value for name, value in row.items() if name != "step"}, step=row["step"])

    def close(self) -> None:
        self.run.finish()


class MLflow:
    """MLflow; MLFLOW_TRACKING_URI says where to."""

    def __init__(self, folder: Path, config: dict[str, Any]):
        import mlflow

        self.mlflow = mlflow
        mlflow.set_experiment("manyviews")
        mlflow.start_run(run_name=folder.name)
        mlflow.log_params({name: str(value)[:250] for name, value in config.items()})

    def __call__(self, row: dict[str, Any]) -> None:
        self.mlflow.log_metrics({name: float(value) for name, value in row.items() if isinstance(value, int | float) and name != "step"}, step=row["step"])

    def close(self) -> None:
        self.mlflow.end_run()


def identity(folder: Path) -> str:
    """The same for a run and its continuations."""
    import hashlib

    return hashlib.sha256((folder / "run.json").read_bytes()).hexdigest()[:12]
