"""The progress bar of a run."""

from __future__ import annotations

from typing import Any

from manyviews.train.fit import Step


class Progress:
    """Steps done, loss, samples a second, share of the time spent waiting for data, the probe, and the time left."""

    def __init__(self, steps: int, quiet: bool = False, start: int = 0, name: str = "pretrain"):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        columns = [TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn(), TextColumn("{task.fields[said]}"), TimeRemainingColumn()]
        self.bar = Bar(*columns, console=Console(stderr=True), disable=quiet)
        self.task = self.bar.add_task(name, total=steps, completed=start, said="")
        self.speed, self.waiting, self.probe = 0.0, 0.0, ""

    def __enter__(self) -> Progress:
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def update(self, step: Step, row: dict[str, Any]) -> None:
        mix = 0.1 if self.speed else 1.0
        self.speed += mix * (row["samples_per_second"] - self.speed)
        self.waiting += mix * (step.waiting / step.seconds - self.waiting)
        if "probe" in row:
            shown = ("knn",) if "knn" in row else ("rankme", "alignment", "uniformity")
            self.probe = "  ".join(f"{name} {row[name]:.3g}" for name in shown if row.get(name) is not None)
        said = f"loss {step.loss:.3f}  {self.speed:,.0f}/s  waiting {self.waiting:.0%}  {self.probe}"
        self.bar.update(self.task, completed=step.number, said=said)
