"""A trained (or untrained) encoder with its preprocessing: what `mv.load` returns and every verb works on.

Wherever a RUN is asked for, these will do: a run folder, `timm:NAME` (pretrained weights), `untrained:NAME`, or a .safetensors file that manyviews wrote.
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

from manyviews.errors import InputError
from manyviews.backbones.building import build_encoder
from manyviews.contracts import Encoder, View
from manyviews.data.dataset import Data
from manyviews.evaluate.features import extract
from manyviews.views import images


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

    def __post_init__(self) -> None:
        self.encoder.eval().to(self.device)

    @property
    def policy(self) -> images.Policy:
        return images.plain(self.size)

    def features(self, data: Data, batch: int = 256, threads: int = 2) -> tuple[Float[Tensor, "rows dim"], np.ndarray]:
        """Embeddings of the readable samples, and their rows in `data`."""
        policy = self.policy
        rows = np.arange(len(data))
        order = [rows[i : i + batch] for i in range(0, len(rows), batch)]
        x, index = extract(self.encoder, data.reduced(max(data.pixels, policy.pixels)).batches(order, threads), policy, self.device)
        return x, index.numpy()

    def __call__(self, pictures: Any) -> np.ndarray:
        """Embeddings of pictures: a list of paths, PIL images or uint8 arrays. Raises Unreadable."""
        from manyviews.data.images import decode, to_channels

        def read(picture: Any) -> np.ndarray:
            raw = Path(picture).read_bytes() if isinstance(picture, str | Path) else np.asarray(picture)
            return to_channels(decode(raw), self.channels)

        if isinstance(pictures, str | Path):
            pictures = [pictures]
        samples = [torch.from_numpy(np.ascontiguousarray(read(p))) for p in pictures]
        features, _ = extract(self.encoder, (View([s], torch.tensor([i])) for i, s in enumerate(samples)), self.policy, self.device)
        return features.numpy()

    def untrained(self) -> Model:
        """The same architecture with new weights: the baseline that every number stands beside."""
        encoder = build_encoder(self.architecture, self.channels, self.size, seed=0)
        return dataclasses.replace(self, encoder=encoder, name=f"untrained {self.architecture}", trained=False)

    def hash(self) -> str:
        """Of the weights: what vectors must agree on to be compared."""
        h = hashlib.sha256(f"{self.architecture}/{self.size}/{self.channels}".encode())
        for name, tensor in sorted(self.encoder.state_dict().items()):
            h.update(name.encode() + tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return h.hexdigest()[:16]

    def save(self, path: Path) -> None:
        """A .safetensors file with the preprocessing in its header, written at once or not at all."""
        from safetensors.torch import save_file

        from manyviews.train.checkpoint import atomic

        meta = {"architecture": self.architecture, "size": self.size, "channels": self.channels, "modality": self.modality}
        tensors = {k: v.detach().cpu().contiguous().clone() for k, v in self.encoder.state_dict().items()}
        with atomic(path) as temporary:
            save_file(tensors, temporary, metadata={"manyviews": json.dumps(meta)})


def load(reference: str | Path, size: int | None = None, channels: int = 3, device: str = "cpu") -> Model:
    """A model by run folder, `timm:NAME`, `untrained:NAME` or .safetensors file. Raises InputError; never falls back to random weights."""
    text = str(reference)
    if text.startswith("untrained:"):
        name = text.removeprefix("untrained:")
        size = size or 224
        return Model(build_encoder(name, channels, size, seed=0), name, size, channels, name=text, trained=False, device=device)
    if text.startswith("timm:"):
        from manyviews.backbones.pretrained import timm_pretrained

        encoder, own = timm_pretrained(text.removeprefix("timm:"), channels, size)
        return Model(encoder, text.removeprefix("timm:"), own, channels, name=text, device=device)
    path = Path(reference).expanduser()
    if path.is_dir():
        if not (path / "run.json").is_file():
            raise InputError(f"{path} is not a run: it has no run.json; `manyviews pretrain ... --out {path}` makes one")
        if not (path / "encoder.safetensors").is_file():
            raise InputError(f"{path} has no encoder.safetensors yet; continue it with `manyviews pretrain --resume {path}`")
        model = from_safetensors(path / "encoder.safetensors", device)
        model.name = path.name
        return model
    if path.suffix == ".safetensors" and path.is_file():
        return from_safetensors(path, device)
    raise InputError(f"no model {text!r}: it is neither a run folder, nor timm:NAME, nor untrained:NAME, nor a .safetensors file")


def from_safetensors(path: Path, device: str = "cpu") -> Model:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            meta = json.loads((file.metadata() or {}).get("manyviews", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from None
    if meta is None:
        raise InputError(f"{path} was not written by manyviews: its header does not say which encoder it holds; use --weights {path} with --encoder NAME")
    encoder = build_encoder(meta["architecture"], meta["channels"], meta["size"])
    encoder.load_state_dict(tensors)
    return Model(encoder, meta["architecture"], meta["size"], meta["channels"], meta["modality"], path.stem, device=device)
