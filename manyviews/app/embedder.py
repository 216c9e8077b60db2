"""`mv.Embedder`: a model as a scikit-learn transformer, from pictures to vectors.

pipeline = make_pipeline(mv.Embedder("runs/first"), LogisticRegression())
pipeline.fit(paths, labels).predict(more_paths)
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from sklearn.base import BaseEstimator, TransformerMixin

from manyviews.app.model import Model, load
from manyviews.app.run import Run
from manyviews.contracts import View
from manyviews.data.dataset import Unreadable, stack
from manyviews.data.images import decode
from manyviews.data.loading import prefetch
from manyviews.errors import InputError
from manyviews.evaluate.features import extract


class Embedder(TransformerMixin, BaseEstimator):
    """Embeds pictures; there is nothing to fit.

    run: a run folder, `timm:NAME`, `untrained:NAME`, a .safetensors file, a Run or a Model. batch: pictures at a time. device: cpu, cuda, ...;
    by default cuda where there is one. size: side in pixels, by default the model's own.
    """

    def __init__(self, run: str | Path | Run | Model, batch: int = 256, device: str | None = None, size: int | None = None):
        self.run = run
        self.batch = batch
        self.device = device
        self.size = size

    def fit(self, X: Any = None, y: Any = None) -> Embedder:
        """Loads the model, so that what is wrong with it shows early. Raises InputError."""
        self.model  # noqa: B018
        return self

    @property
    def model(self) -> Model:
        """The encoder with its preprocessing."""
        if isinstance(self.run, Model):
            return self.run
        reference = self.run.path if isinstance(self.run, Run) else self.run
        return loaded(str(reference), self.size, self.device or ("cuda" if torch.cuda.is_available() else "cpu"))

    def transform(self, X: Any) -> Float[np.ndarray, "rows dim"]:
        """One float32 row a picture, in order.

        X: uint8 (or 16-bit, or float in [0, 1]) pictures (rows, height, width, channels) or (rows, height, width), or a sequence of paths, PIL
        images or such arrays. Raises InputError that lists every picture that cannot be read.
        """
        model, pictures = self.model, as_pictures(X)
        problems: dict[int, str] = {}

        def read(rows: np.ndarray) -> View:
            samples = []
            for i in rows:
                try:
                    samples.append(read_picture(pictures[i], model))
                except (Unreadable, OSError) as error:
                    problems[int(i)] = f"picture {i}{f' ({pictures[i]})' if isinstance(pictures[i], str | Path) else ''}: {error}"
            return View(stack(samples), torch.from_numpy(rows[: len(samples)]))

        def batches() -> Iterator[View]:
            for view in prefetch(read, np.array_split(np.arange(len(pictures)), max(1, -(-len(pictures) // self.batch)))):
                if not problems:
                    yield view

        x, _ = extract(model.encoder, batches(), model.policy, model.device)
        if problems:
            raise InputError(*[problems[i] for i in sorted(problems)])
        return x.numpy()

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """embedder0, embedder1, ...: for `set_output(transform="pandas")`."""
        return np.array([f"embedder{i}" for i in range(self.model.encoder.dim)], dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True
        tags.input_tags.two_d_array, tags.input_tags.three_d_array, tags.input_tags.string = False, True, True
        tags.transformer_tags.preserves_dtype = []
        return tags


@functools.lru_cache(maxsize=2)
def loaded(reference: str, size: int | None, device: str) -> Model:
    """Read once, however often an Embedder is cloned."""
    return load(reference, size, device=device)


def as_pictures(X: Any) -> Any:
    """Something with a length and rows. Raises InputError for what holds no pictures."""
    if hasattr(X, "iloc"):
        X = X.squeeze(1).tolist() if getattr(X, "ndim", 1) == 2 else X.tolist()
    if isinstance(X, np.ndarray) and X.dtype.kind in "OU":
        X = X.ravel().tolist()
    if isinstance(X, np.ndarray) and X.ndim not in (3, 4):
        raise InputError(f"an array of shape {X.shape} holds no pictures; expected (rows, height, width, channels) or (rows, height, width)")
    if isinstance(X, str | Path):
        raise InputError(f"one path ({X}) where several pictures are expected; pass [{str(X)!r}], or the paths of a folder's files")
    if len(X) == 0:
        raise InputError("0 pictures (n_samples = 0) where at least one is expected")
    return X


def read_picture(picture: Any, model: Model) -> np.ndarray:
    """One picture as (height, width, channels), with the model's channels. Raises Unreadable."""
    raw = Path(picture).expanduser().read_bytes() if isinstance(picture, str | Path) else picture if hasattr(picture, "mode") else np.asarray(picture)
    return decode(raw, model.policy.pixels, model.channels)
