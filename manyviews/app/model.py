"""A trained (or untrained) encoder with its preprocessing: what `mv.load` returns and every verb works on.

Wherever a RUN is asked for, these will do: a run folder, `timm:NAME` (pretrained weights; `timm:NAME@FILE` takes them from a file),
`untrained:NAME`, or a .safetensors file that manyviews wrote.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from manyviews.backbones.building import build_encoder, modality_of
from manyviews.backbones.pretrained import default_size, listed, load_weights, normalise_as, read_tensors, timm_pretrained
from manyviews.contracts import Encoder, View
from manyviews.data.dataset import Data
from manyviews.data.opening import of_modality, open_data
from manyviews.errors import InputError
from manyviews.evaluate.features import extract
from manyviews.views.finding import plain


@dataclasses.dataclass
class Model:
    """An encoder and how its input is made."""

    encoder: Encoder
    architecture: str
    size: int
    channels: int = 3
    modality: str = "images"
    name: str = ""
    trained: bool = True
    device: str = "cpu"
    form: dict[str, Any] = dataclasses.field(default_factory=dict)  # what else the encoder had to know of its data

    def __post_init__(self) -> None:
        self.encoder.eval().to(self.device)

    @property
    def policy(self) -> Any:
        """How it sees samples."""
        return plain(self.size, self.modality)

    def reading(self, data: Data) -> Data:
        """The data as this encoder reads it: texts in the tokens that it was trained with. Raises InputError."""
        if data.modality != self.modality or not self.form or data.form == self.form:
            return data
        in_form = getattr(of_modality(self.modality), "in_form", None)
        return data if in_form is None else in_form(data, self.form)

    def features(self, data: Data, batch: int = 256, threads: int = 2) -> tuple[Float[Tensor, "rows dim"], np.ndarray]:
        """Embeddings of the readable samples, and their rows in `data`."""
        policy = self.policy
        rows = np.arange(len(data))
        order = [rows[i : i + batch] for i in range(0, len(rows), batch)]
        data = self.reading(data)
        x, index = extract(self.encoder, data.in_channels(self.channels).reduced(max(data.pixels, policy.pixels)).batches(order, threads), policy, self.device)
        return x, index.numpy()

    def __call__(self, samples: Any) -> np.ndarray:
        """Embeddings of samples: a list of paths, of PIL images or of arrays as the modality's reader gives them (pictures: uint8); of a model of texts, a
        string is a text, and a Path a file. Raises Unreadable.
        """
        if isinstance(samples, str | Path):
            samples = [samples]
        features, _ = extract(self.encoder, (View(self.alone(s), torch.tensor([i])) for i, s in enumerate(samples)), self.policy, self.device)
        return features.numpy()

    def alone(self, sample: Any) -> Any:
        """One sample as a View holds it."""
        module = of_modality(self.modality)
        if isinstance(sample, str) and hasattr(module, "of_words"):
            sample = module.of_words(sample, self.form)
        if self.modality not in ("images", "pairs") and isinstance(sample, str | Path):
            return self.reading(open_data(sample, self.modality)).in_channels(self.channels).batch(np.array([0])).x
        held = self.read(sample)
        together = getattr(module, "held", None)
        if together is not None:  # samples are no single array
            return together([held], self.channels, self.form)
        if self.modality == "images":
            from manyviews.data.images import to_channels

            held = to_channels(held, self.channels)
        return [torch.from_numpy(np.ascontiguousarray(held))]

    def read(self, sample: Any) -> Any:
        """A sample by path, or as it is. Raises Unreadable."""
        if self.modality in ("images", "pairs"):  # of a pair its picture
            from manyviews.data.images import decode

            return decode(Path(sample).read_bytes() if isinstance(sample, str | Path) else np.asarray(getattr(sample, "image", sample)))
        return self.reading(open_data(sample, self.modality)).in_channels(self.channels)[0] if isinstance(sample, str | Path) else sample

    def untrained(self) -> Model:
        """The same architecture with new weights: the baseline that every number stands beside."""
        name = (
            self.architecture.partition("@")[0] if "hf:" in self.architecture or self.architecture.startswith("open_clip:") else self.architecture
        )  # what stands behind it are weights
        encoder = build_encoder(name, self.channels, self.size, seed=0, form=self.form)
        return dataclasses.replace(self, encoder=encoder, name=f"untrained {name}", trained=False)

    def hash(self) -> str:
        """Of weights and preprocessing: what vectors must agree on to be compared. The same on every machine and device, after saving and loading."""
        h = hashlib.sha256(f"{self.architecture}/{self.size}/{self.channels}".encode())
        for name, tensor in sorted({**self.encoder.state_dict(), **self.normalisation()}.items()):
            h.update(name.encode() + tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return h.hexdigest()[:16]

    def normalisation(self) -> dict[str, Tensor]:
        """The channels' mean and standard deviation, where the encoder normalises."""
        return {name: getattr(self.encoder, name) for name in ("mean", "std") if isinstance(getattr(self.encoder, name, None), Tensor)}

    def meta(self) -> dict[str, Any]:
        """What a reader must know to rebuild the encoder and make its input."""
        values = {name: [float(str(x)) for x in tensor.flatten().cpu().numpy()] for name, tensor in self.normalisation().items()}
        form = {"form": self.form} if self.form else {}
        return {"architecture": self.architecture, "size": self.size, "channels": self.channels, "modality": self.modality, **form, **values}

    def save(self, path: Path) -> None:
        """A .safetensors file with the preprocessing in its header, written at once or not at all."""
        from safetensors.torch import save_file

        from manyviews.train.checkpoint import atomic

        tensors = {k: v.detach().cpu().contiguous().clone() for k, v in self.encoder.state_dict().items()}
        with atomic(path) as temporary:
            save_file(tensors, temporary, metadata={"manyviews": json.dumps(self.meta())})


def load(reference: str | Path, size: int | None = None, channels: int = 3, device: str = "cpu", form: dict[str, Any] | None = None) -> Model:
    """A model by run folder, `timm:NAME` (or `timm:NAME@FILE`), `untrained:NAME` or .safetensors file.

    size: of the pictures in pixels; by default what the run was trained with, or what timm's configuration says (32 for the small encoders).
    Raises InputError; never falls back to random weights.
    """
    text = str(reference)
    if text.startswith("untrained:"):
        name = text.removeprefix("untrained:")
        size = size or default_size(name)
        return Model(build_encoder(name, channels, size, seed=0, form=form), name, size, channels, modality_of(name), text, False, device, dict(form or {}))
    if text.startswith("timm:"):
        encoder, own = timm_pretrained(text.removeprefix("timm:"), channels, size)
        return Model(encoder, text.removeprefix("timm:").partition("@")[0], own, channels, name=text, device=device)
    path = Path(reference).expanduser()
    if path.is_dir():
        if not (path / "run.json").is_file():
            raise InputError(f"{path} is not a run: it has no run.json; `manyviews pretrain ... --out {path}` makes one")
        if not (path / "encoder.safetensors").is_file():
            raise InputError(f"{path} has no encoder.safetensors yet; continue it with `manyviews pretrain --resume {path}`")
        model = from_safetensors(path / "encoder.safetensors", size, device)
        model.name = path.name
        return model
    if not path.exists():
        raise InputError(f"no model {text!r}: there is no such file or folder, and it is neither timm:NAME nor untrained:NAME")
    return from_safetensors(path, size, device)


def from_safetensors(path: Path, size: int | None = None, device: str = "cpu") -> Model:
    """The model of a file that `Model.save` wrote, for pictures of its own size or of `size`. Raises InputError that says what is wrong with the file."""
    tensors, meta = read_tensors(path)
    if not meta:
        raise InputError(f"{path} was not written by manyviews: its header does not say which encoder it holds; use --weights {path} with --encoder NAME")
    kinds = {"architecture": str, "size": int, "channels": int}
    wrong = [f"{key} ({meta[key]!r})" if key in meta else key for key, kind in kinds.items() if type(meta.get(key)) is not kind]
    if wrong:
        raise InputError(
            f"the header of {path} does not say which encoder it holds: {', '.join(wrong)} missing or not understood; was it written by a newer version?"
        )
    try:
        encoder = build_encoder(meta["architecture"], meta["channels"], size or meta["size"], form=meta.get("form"))
    except InputError as error:
        raise InputError(*(f"{path}: {problem}" for problem in error.problems)) from None
    if size and size != meta["size"]:
        load_weights(encoder, path)
    else:
        wanted = encoder.state_dict()
        problems = [
            f"{key} is {tuple(tensors[key].shape)}, expected {tuple(wanted[key].shape)}"
            for key in wanted
            if key in tensors and tensors[key].shape != wanted[key].shape
        ]
        problems += [f"{key} is missing" for key in wanted if key not in tensors] + [f"{key} has no place" for key in tensors if key not in wanted]
        if problems:
            raise InputError(f"{path} does not hold the {meta['architecture']} for {meta['size']} pixels that its header names: {listed(problems)}")
        encoder.load_state_dict(tensors)
    normalise_as(encoder, meta.get("mean"), meta.get("std"))
    modality, form = meta.get("modality", "images"), meta.get("form") or {}
    return Model(encoder, meta["architecture"], size or meta["size"], meta["channels"], modality, path.stem, device=device, form=form)
