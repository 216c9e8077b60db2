"""`manyviews pretrain`: starting, repeating and continuing runs, from the command line and from Python."""

from __future__ import annotations

import dataclasses
import datetime
import json
import tempfile
from pathlib import Path
from typing import Any

from manyviews.app import launch
from manyviews.app.options import FIELDS, GIVEN, Options, resolve
from manyviews.app.run import Run
from manyviews.app.training import train
from manyviews.data.dataset import Data
from manyviews.data.opening import open_data
from manyviews.errors import InputError
from manyviews.train.checkpoint import load_checkpoint

# --- from Python ------------------------------------------------------------------------------------------------------------------------------


def pretrain(data: Any, method: str = "", encoder: str = "", out: str | Path | None = None, *, quiet: bool = False, **options: Any) -> Run:
    """Pretrain on `data` (a path, a name, an array, a `Data`) and return the `Run`.

    options: the fields of `manyviews.app.options.Options`; other names are the method's hyperparameters. Several `devices` are several processes,
    started beside this one. Raises InputError with everything that is wrong at once, Diverged (with the batch saved) when training cannot go on,
    KeyboardInterrupt after Ctrl-C and a checkpoint.
    """
    settings = dict(options.pop("settings", {}))
    settings.update({name: options.pop(name) for name in [*options] if name not in FIELDS})
    named = isinstance(data, str | Path)
    chosen = Options(str(data) if named else GIVEN, method, encoder, settings=settings, **options)
    opened = None if named else open_data(data, options.get("modality"))
    if chosen.devices == 1 or launch.is_one_of_several():
        return start(chosen, out, opened, quiet)
    if opened is not None:
        raise InputError("several processes cannot share data that was given as an object; save it (numpy.savez) and give the file's name")
    _, chosen, _ = resolve(chosen)
    folder = folder_for(chosen, out)
    with tempfile.TemporaryDirectory() as temporary:
        config = Path(temporary) / "run.json"
        config.write_text(json.dumps({"options": dataclasses.asdict(chosen)}), encoding="utf-8")
        launch.in_processes(["pretrain", "--from", str(config), "--out", str(folder), *["--quiet"] * quiet])
    return Run(folder)


def resume(out: str | Path, data: Any = None, quiet: bool = False) -> Run:
    """Continue a run that was stopped, to the weights it would have had. `data`: only where it was given as an object and not by name."""
    if Run(out).options.devices == 1 or launch.is_one_of_several():
        return carry_on(out, None if data is None else open_data(data), quiet)
    launch.in_processes(["pretrain", "--resume", str(out), *["--quiet"] * quiet])
    return Run(out)


# --- from the command line, where Fabric, torchrun or SLURM run the same command in every process ---------------------------------------------


def start(options: Options, out: str | Path | None = None, opened: Data | None = None, quiet: bool = False, problems: list[str] | None = None) -> Run:
    """Resolve the options, make the run's folder, train. `problems` are told together with what `resolve` finds."""
    data, options, reasons = resolve(options, opened, problems or [])
    for line in (data.describe(), *reasons):
        launch.say(line, quiet)
    return train(options, folder_for(options, out), data, None, quiet)


def folder_for(options: Options, out: str | Path | None) -> Path:
    return Path(out).expanduser() if out else Path("runs") / f"{options.method}-{datetime.datetime.now():%Y%m%d-%H%M%S}"


def repeat(
    config: str | Path,
    changes: dict[str, Any],
    out: str | Path | None = None,
    opened: Data | None = None,
    quiet: bool = False,
    problems: list[str] | None = None,
) -> Run:
    """The run of a run.json (or of a run folder) once more, with some options changed; the method's settings stay unless the method changes."""
    run = Run(config)
    own = {} if changes.get("method", run.options.method) != run.options.method else run.options.settings
    options = dataclasses.replace(run.options, **{**changes, "settings": {**own, **changes.get("settings", {})}})
    for line in run.differences():
        launch.say(line, quiet)
    return start(options, out, opened, quiet, problems)


def carry_on(out: str | Path, opened: Data | None = None, quiet: bool = False) -> Run:
    """Train from the last checkpoint of the run in `out`, or from the first step where there is none."""
    run = Run(out)
    if run.options.data == GIVEN and opened is None:
        raise InputError(f"{out} was trained on data given in Python; continue it there, with mv.Run({str(out)!r}).resume(data)")
    data, options, _ = resolve(run.options, opened)
    last = run.path / "last.ckpt"
    state = load_checkpoint(last) if last.exists() else None
    if {run.config["data"]["fingerprint"], *([state["fingerprint"]] if state else [])} != {data.fingerprint()}:
        raise InputError(
            f"{options.data} is not the data that {out} was trained on (its fingerprint changed); start a new run, with --weights {out} to go on from it"
        )
    for line in (*run.differences(), f"{out}: continuing after step {state['step']:,}" if state else f"{out}: no checkpoint yet, starting at the first step"):
        launch.say(line, quiet)
    return train(options, run.path, data, state, quiet, fresh=False)
