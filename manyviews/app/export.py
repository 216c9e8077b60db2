"""`manyviews export`: the encoder in a form that other programs load. Every file is loaded again and compared before it is put in its place.

What goes in is a float picture in [0, 1], (batch, channels, height, width), of the size trained at and any batch; what comes out is (batch, dim). ONNX and
TorchScript graphs contain the normalisation; timm does it by the mean and std of its configuration. Clouds, splats, volumes and video go in as their views
`plain` give them, clouds with the number of points trained at; neighbours are found by PyTorch's own operations there, not by this package's kernels.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib.util
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.app.model import Model, load
from manyviews.contracts import Encoder, View
from manyviews.errors import InputError

TOLERANCE = 1e-4  # of an embedding's largest entry, or of 1 where that is larger
ONNX = ("onnx", "onnxruntime", "onnxscript")
LARGEST = 1_800_000_000  # bytes that one ONNX file can hold; above, the weights go beside it


class Graph(nn.Module):
    """The encoder as a function of a tensor."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Float[Tensor, "batch *shape"]) -> Float[Tensor, "batch dim"]:
        return self.encoder(View(x, torch.arange(x.shape[0], device=x.device)))


Pictures = Float[Tensor, "batch *shape"]
Reloaded = Callable[[Tensor], Tensor]


def export(reference: str | Path | Model, to: str, out: str | Path | None = None, say: Callable[[str], None] | None = None) -> Path:
    """Write the encoder as `to` (onnx, torchscript, safetensors or timm) and return the file's path; for timm that of a folder.

    out: by default in the folder `export` of a run, else in the current folder. Raises InputError, and leaves no file, where the written encoder cannot
    be loaded again or does not give the same embeddings.
    """
    problems = check_format(to)
    try:
        model = reference if isinstance(reference, Model) else load(reference)
        problems += check_timm(model) if to == "timm" else []
    except InputError as error:
        problems += error.problems
    if problems:
        raise InputError(*problems)
    path = Path(out).expanduser() if out else default_path(reference, model, to)
    if (to == "timm" and path.is_file()) or (to != "timm" and path.is_dir()):
        raise InputError(
            f"{path} is a {'file' if path.is_file() else 'folder'}, and {to} is written to a {'folder' if to == 'timm' else 'file'}; name another --out"
        )
    blocked = next((p for p in path.parents if p.exists() and not p.is_dir()), None)
    if blocked:
        raise InputError(f"{blocked} is no folder, so {path} cannot be written there; name another --out")
    with whole(path, folder=to == "timm") as temporary:
        if to == "safetensors" and model.modality not in shapes(model):
            same(model, temporary)
            worst = 0.0
        else:
            worst = compare(model, WRITERS[to](model, temporary), to)
    if say and model.modality not in shapes(model):
        say(f"{path}: {model.architecture}, loaded again and compared: weights and preprocessing are the same")
        say(f"input: any {model.modality}; manyviews.load('{path}')(samples)")
    elif say:
        shape = f"(batch, {', '.join(map(str, shape_of(model)))})"
        eaten = "in [0, 1], not normalised" if model.modality == "images" else f"as the views plain of {model.modality} give them"
        say(f"{path}: {model.architecture}, loaded again and compared: embeddings of random {model.modality} differ by at most {worst:.1g}")
        say(f"input: {USES[to].format(modality=model.modality, shape=shape, eaten=eaten, path=path)}")
    return path


def check_format(to: str) -> list[str]:
    """What is wrong with the format asked for."""
    if to not in WRITERS:
        near = difflib.get_close_matches(to, WRITERS, 1)
        return [f"no format {to!r}" + (f"; did you mean {near[0]}?" if near else "") + f" There are {', '.join(WRITERS)}"]
    missing = [name for name in ONNX if importlib.util.find_spec(name) is None] if to == "onnx" else []
    return [f"--to onnx needs {', '.join(missing)}: pip install 'manyviews[onnx]'"] if missing else []


def check_timm(model: Model) -> list[str]:
    """Why timm could not build this encoder."""
    if (getattr(getattr(model.encoder, "model", None), "pretrained_cfg", None) or {}).get("architecture"):
        return []
    return [f"timm has no {model.architecture}, so it could not load the weights; use --to safetensors for manyviews, --to onnx or torchscript for others"]


def shape_of(model: Model) -> tuple[int, ...]:
    """Of one sample as the encoder eats it. Raises InputError for modalities whose samples are no single array."""
    if model.modality not in shapes(model):
        raise InputError(f"encoders of {model.modality} are exported as safetensors alone: what they eat is no single array")
    return shapes(model)[model.modality]


def shapes(model: Model) -> dict[str, tuple[int, ...]]:
    """Modality -> the shape of a sample, where samples are one array."""
    n, c = model.size, model.channels
    return {"images": (c, n, n), "points": (n, c), "splats": (n, c), "volumes": (c, n, n, n), "video": (c, 8, n, n)}


def same(model: Model, path: Path) -> None:
    """Written, and read again. Raises InputError where something else comes back."""
    model.save(path)
    if load(path, device=model.device).hash() != model.hash():
        raise InputError(f"the weights of {model.architecture} or what goes before it are not the same when they are read again; nothing was written")


def default_path(reference: str | Path | Model, model: Model, to: str) -> Path:
    """RUN/export/encoder.SUFFIX for a run, else NAME.SUFFIX here."""
    suffix = {"onnx": ".onnx", "torchscript": ".pt", "safetensors": ".safetensors", "timm": ""}[to]
    if not isinstance(reference, Model) and Path(reference).is_dir():
        return Path(reference) / "export" / (f"encoder{suffix}" if suffix else "timm")
    name = "".join(c if c.isalnum() or c in "._-" else "-" for c in model.name or model.architecture)
    return Path(f"{name}-{to}{suffix}")


@contextlib.contextmanager
def whole(path: Path, folder: bool) -> Iterator[Path]:
    """A name in a temporary folder beside `path`; what is there at the end takes its place, file by file. Nothing is left if anything fails."""
    parent = path if folder else path.parent
    new = [p for p in (parent, *parent.parents) if not p.exists()]
    parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=parent, prefix=".export."))
    done = False
    try:
        yield temporary if folder else temporary / path.name
        for file in sorted(temporary.iterdir(), reverse=True):  # weights before what refers to them
            with open(file, "rb+") as written:
                os.fsync(written.fileno())
            os.chmod(file, 0o644)
            os.replace(file, parent / file.name)
        done = True
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):
            for made in [] if done else new:
                made.rmdir()


@torch.no_grad()
def compare(model: Model, reloaded: Reloaded, to: str) -> float:
    """The largest difference between the encoder's embeddings and those of the file, on batches of 3 and 1. Raises InputError when it is too large."""
    graph = Graph(model.encoder)
    worst = 0.0
    for batch in (3, 1):
        x = pictures(model, batch)
        ours = graph(x).cpu()
        theirs = reloaded(x).detach().cpu()
        if theirs.shape != ours.shape:
            raise InputError(
                f"{model.architecture} as {to} gives {tuple(theirs.shape)} for {tuple(x.shape)}, expected {tuple(ours.shape)}; nothing was written"
            )
        difference = float((ours - theirs).abs().max())
        if not difference <= TOLERANCE * max(1.0, float(ours.abs().max())):
            raise InputError(
                f"{model.architecture} as {to} gives embeddings that differ by {difference:.2g}, more than {TOLERANCE:g} allows; nothing was written"
            )
        worst = max(worst, difference)
    return worst


def pictures(model: Model, batch: int) -> Pictures:
    """Random pictures, the same ones each time."""
    x = torch.rand(batch, *shape_of(model), generator=torch.Generator().manual_seed(batch))
    return x.to(model.device)


@contextlib.contextmanager
def tracing() -> Iterator[None]:
    """Without shape checks, which would fix the batch in the graph, and without the exporters' chatter."""
    from jaxtyping import config

    checked = config.jaxtyping_disable
    config.update("jaxtyping_disable", True)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            yield
    finally:
        config.update("jaxtyping_disable", checked)


def write_onnx(model: Model, path: Path) -> Reloaded:
    """With the batch dynamic and the preprocessing in the metadata; reloaded by onnxruntime."""
    import onnxruntime

    graph = Graph(model.encoder).eval()
    batch = torch.export.Dim("batch", min=1)
    with tracing():
        try:
            program = torch.onnx.export(
                graph, (pictures(model, 2),), input_names=["image"], output_names=["embedding"], dynamic_shapes=({0: batch},), dynamo=True, verbose=False
            )  # fmt: skip
        except Exception as error:  # the exporter raises what it likes
            why = str(error).strip().splitlines() or [type(error).__name__]
            raise InputError(f"PyTorch cannot export {model.architecture} to onnx: {why[0][:300]}; try --to torchscript") from None
        assert program is not None
        apart(program.model.graph)
        program.model.metadata_props["manyviews"] = json.dumps(model.meta())
        size = sum(t.numel() * t.element_size() for t in model.encoder.state_dict().values())
        program.save(str(path), external_data=size > LARGEST)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"image": x.cpu().numpy()})[0])


def apart(graph: Any) -> None:
    """Values inside that have the name of the output, as the exporter gives what a table is read for, get another."""
    for node in graph:
        for value in node.outputs:
            if value.name == graph.outputs[0].name and value is not graph.outputs[0]:
                value.name = f"{value.name}_inside"


def write_torchscript(model: Model, path: Path) -> Reloaded:
    """A traced graph with the preprocessing as an extra file; reloaded by torch.jit."""
    with tracing():
        try:
            traced = torch.jit.trace(Graph(model.encoder).eval(), (pictures(model, 2),), check_trace=False)
        except Exception as error:  # the tracer raises what it likes
            why = str(error).strip().splitlines() or [type(error).__name__]
            raise InputError(f"PyTorch cannot trace {model.architecture}: {why[0][:300]}; try --to onnx") from None
        torch.jit.save(traced, str(path), _extra_files={"manyviews.json": json.dumps(model.meta())})
        return torch.jit.load(str(path), map_location=model.device)


def write_safetensors(model: Model, path: Path) -> Reloaded:
    """manyviews' own format: weights, with the preprocessing in the header."""
    model.save(path)
    return Graph(load(path, device=model.device).encoder).eval()


def write_timm(model: Model, folder: Path) -> Reloaded:
    """model.safetensors and config.json, as on timm's hub; reloaded by timm.create_model, with timm's own preprocessing."""
    import timm
    from timm.models import save_for_hf

    inner: nn.Module = model.encoder.model  # type: ignore[assignment]
    stats = {name: [float(v) for v in tensor.expand(model.channels, 1, 1).flatten()] for name, tensor in model.normalisation().items()}
    side = shape_of(model)
    save_for_hf(inner, str(folder), safe_serialization=True, data_config={"input_size": side, "crop_pct": 1.0, **stats})
    if not model.name.startswith("timm:"):
        disown(folder / "config.json")
    reloaded = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval().to(model.device)
    config: dict[str, Any] = timm.data.resolve_model_data_config(reloaded)
    if tuple(config["input_size"]) != side:
        raise InputError(f"timm reads the pictures of {model.architecture} as {tuple(config['input_size'])}, expected {side}; nothing was written")
    mean, std = (torch.tensor(config[name], device=model.device).view(-1, 1, 1) for name in ("mean", "std"))
    return lambda x: reloaded((x - mean) / std)


def disown(path: Path) -> None:
    """Take out of a configuration what is true of timm's own weights only."""
    config = json.loads(path.read_text(encoding="utf-8"))
    for key in ("tag", "license", "description", "origin_url", "paper_name", "paper_ids", "notes"):
        config["pretrained_cfg"].pop(key, None)
    path.write_text(json.dumps(config, indent=2), encoding="utf-8")


WRITERS: dict[str, Callable[[Model, Path], Reloaded]] = {
    "onnx": write_onnx,
    "torchscript": write_torchscript,
    "safetensors": write_safetensors,
    "timm": write_timm,
}
USES = {
    "onnx": "float32 {shape} {eaten}; onnxruntime.InferenceSession('{path}').run(None, {{'image': x}})",
    "torchscript": "float32 {shape} {eaten}; torch.jit.load('{path}')(x)",
    "safetensors": "any {modality}; manyviews.load('{path}')(samples)",
    "timm": "{shape}, normalised as timm.data.resolve_model_data_config says; timm.create_model('local-dir:{path}', pretrained=True, num_classes=0)",
}
