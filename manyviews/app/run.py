"""A run: the folder that pretraining leaves, and what can be done with it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from manyviews.errors import InputError


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; of a step logged twice (before and after a resume) the later one; a half-written last line is left out."""
    rows = {}
    if (folder / "metrics.jsonl").exists():
        for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                row = json.loads(line)
                rows[row["step"]] = row
    return [rows[step] for step in sorted(rows)]


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Only one process writes to a run. Raises InputError when another one does; a lock dies with its process."""
    import fcntl

    file = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(file)
        raise InputError(f"{folder} is being written by another process; name another --out, or wait for it") from None
    try:
        yield
    finally:
        os.close(file)


def versions() -> dict[str, str]:
    """Of what decides the numbers of a run, and the commit where this is a checkout."""
    found = {name: metadata.version(name) for name in ("manyviews", "torch", "timm", "lightning-fabric", "numpy")}
    here = Path(__file__).resolve().parents[2]
    if (here / ".git").exists():
        git = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False, cwd=here)
        found["git"] = git.stdout.strip()
    return {**found, "python": platform.python_version()}


class Run:
    """What `pretrain` returns: a folder, or its run.json. Raises InputError for a folder that holds no run."""

    def __init__(self, path: str | Path):
        path = Path(path).expanduser()
        self.file = path if path.suffix == ".json" else path / "run.json"
        self.path = self.file.parent
        try:
            self.config: dict[str, Any] = json.loads(self.file.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(f"{self.path} is not a run: it has no {self.file.name}; `manyviews pretrain ... --out {self.path}` makes one") from None
        except (OSError, ValueError) as error:
            raise InputError(f"{self.file} is damaged: {error}") from None
        if not isinstance(self.config, dict) or not isinstance(self.config.get("options"), dict):
            raise InputError(f"{self.file} is not the run.json of a run: it has no options")

    def __repr__(self) -> str:
        options = self.config["options"]
        return f"Run({str(self.path)!r}: {options['method']}, {options['encoder']}, {options['data']})"

    @functools.cached_property
    def options(self) -> Any:
        """What it was asked for, completed (`manyviews.app.options.Options`)."""
        from manyviews.app.options import Options

        given = self.config["options"]
        known = {field.name for field in dataclasses.fields(Options)}
        if not set(given) <= known or "data" not in given:
            raise InputError(f"{self.file} was written by another version: {', '.join(sorted(set(given) - known)) or 'data'} is not understood")
        return Options(**given)

    def differences(self) -> list[str]:
        """What is not as it was when the run was made, so that numbers may differ in the last digits or more."""
        then, now = self.config.get("versions", {}), versions()
        changed = [f"{name} {then[name]} is now {now.get(name, 'not there')}" for name in then if name != "git" and then[name] != now.get(name)]
        return [f"not the same result to the last bit is promised: {', '.join(changed)}"] if changed else []

    def resume(self, data: Any = None, **options: Any) -> Run:
        """Continue it, if it was stopped. `data`: only where it was given as an object and not by name."""
        from manyviews.app.pretrain import resume

        return resume(self.path, data, **options)

    @functools.cached_property
    def model(self) -> Any:
        """The encoder with its preprocessing (`manyviews.app.model.Model`)."""
        from manyviews.app.model import load

        return load(self.path)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """One row a step."""
        return read_metrics(self.path)

    def evaluate(self, data: Any = None, **options: Any) -> Any:
        """A table of scores beside the untrained encoder and the raw input; by default on the data it was trained on."""
        from manyviews.app.evaluate import evaluate

        return evaluate(self.path, data if data is not None else self.config["options"]["data"], **options)

    def embed(self, data: Any = None, out: str | Path | None = None, **options: Any) -> Any:
        """Vectors of `data` as a table, written to `out` (.parquet) if given."""
        from manyviews.app.embed import embed

        return embed(self.path, data if data is not None else self.config["options"]["data"], out, **options)

    def report(self, out: str | Path | None = None, **options: Any) -> Path:
        """One HTML page about the run; its path."""
        from manyviews.app.report import report

        return report(self.path, out, **options)

    def export(self, to: str, out: str | Path | None = None, **options: Any) -> Path:
        """The encoder as onnx, torchscript, safetensors or timm; the file's path."""
        from manyviews.app.export import export

        return export(self.path, to, out, **options)
