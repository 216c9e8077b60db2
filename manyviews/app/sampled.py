"""The samples that the report shows, as the trained encoder, the untrained one and the raw pixels see them: maps, neighbours, saliency, figures."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from manyviews.analyze.saliency import saliency
from manyviews.app.drawing import drawn
from manyviews.app.model import Model
from manyviews.app.probe import FLAT
from manyviews.app.thumbnails import sprite, thumbnail
from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.data.dataset import Data
from manyviews.errors import InputError
from manyviews.evaluate.features import extract
from manyviews.evaluate.knn import neighbours
from manyviews.evaluate.rankme import rankme
from manyviews.evaluate.rankme import spread as spread_of
from manyviews.views.finding import plain
from manyviews.views.finding import raw as plain_numbers

QUERIES, NEAREST, SALIENT, LIT = 8, 8, 8, 112  # rows of neighbours, pictures in each, saliency maps, their side in pixels
SAME = f"same class among the nearest {NEAREST}"


@dataclasses.dataclass
class Sampled:
    """The samples that the page shows, as each encoder sees them."""

    data: Data
    kind: str  # which samples these are, in words
    features: dict[str, Float[Tensor, "rows dim"]]  # who -> features
    labels: Int[np.ndarray, "rows"] | None
    classes: list[str]
    names: list[str]


def sample(model: Model, data: Data, most: int, seed: int) -> Sampled:
    """Up to `most` readable samples and what each encoder makes of them; fewer of large pictures where there is no GPU."""
    split = data.columns.get("split")
    rows, kind = np.arange(len(data)), "samples"
    for name in ("test", "validation"):
        if split is not None and (split == name).any():
            rows, kind = rows[split == name], f"samples of the {name} split"
            break
    most = min(most, most if model.size <= 96 or model.device != "cpu" else 400)
    if len(rows) > most:
        rows, kind = np.sort(np.random.default_rng(seed).permutation(rows)[:most]), f"of {len(rows):,} {kind}, drawn at random"
    data = model.reading(data).select(rows).in_channels(model.channels).reduced(max(model.policy.pixels, 64)).keep()
    x, index = model.features(data)
    if len(index) < 4:
        raise InputError(f"only {len(index)} of {len(data)} samples could be read; a map and neighbours need at least four")
    if not bool(x.isfinite().all()):
        raise InputError("the encoder's vectors are not finite: it has diverged")
    data = data.select(index)
    features = {"trained": x, "untrained": model.untrained().features(data)[0], "raw input": raw(data, model)}  # in this order on the page
    labels = data.labels if data.labels is not None and (data.labels >= 0).any() else None
    names = [data.name(i) for i in range(len(data))]
    return Sampled(data, kind, features, labels, [str(c) for c in data.classes] if labels is not None else [], names)


def raw(data: Data, model: Model) -> Float[Tensor, "rows numbers"]:
    """The pixels themselves, at no more than 32 a side."""
    policy = plain(min(model.size, 32) if model.modality == "images" else model.size, model.modality)
    order = np.array_split(np.arange(len(data)), -(-len(data) // 256))
    return extract(plain_numbers(model.modality), data.batches(order), policy)[0]


def pictures(model: Model, s: Sampled, seed: int) -> dict[str, Any]:
    """Everything on the page that shows samples: the map, the rows of neighbours, the saliency maps, and their sprites."""
    shown = [drawn(s.data[i], model.modality, s.data.form) for i in range(len(s.data))]
    side = 32 if min(shown[0].shape[:2]) <= 40 else 64
    tiles = [thumbnail(a, side) for a in shown]
    found = {who: neighbours(x, x, NEAREST + 1) for who, x in s.features.items()}
    rows = {who: without_self(index.numpy(), NEAREST) for who, (_, index) in found.items()}
    queries = spread(s, QUERIES, seed)
    return {
        **(salient_part(model, s, seed) if model.modality == "images" else {}),
        "samples": {"count": len(s.data), "kind": s.kind, "described": s.data.describe(), "names": s.names, "classes": s.classes},
        "labels": None if s.labels is None else [int(label) for label in s.labels],
        "sprite": sprite(tiles, side, 1_400_000),
        "map": {who: layout(s.features[who], seed) for who in ("trained", "untrained")},
        "collapsed": {who: spread_of(s.features[who]) < FLAT for who in ("trained", "untrained")},
        "neighbours": {"queries": queries, **{who: rows[who][queries].tolist() for who in ("trained", "untrained")}},
        "figures": figures(s, rows),
    }


def salient_part(model: Model, s: Sampled, seed: int) -> dict[str, Any]:
    """What the page shows of pictures alone."""
    chosen = spread(s, SALIENT, seed + 1)
    tiles, how = saliency_tiles(model, s, chosen, LIT)
    return {"saliency": {**sprite(tiles, LIT, 400_000), "samples": chosen, "measure": how}}


def without_self(index: Int[np.ndarray, "rows found"], k: int) -> Int[np.ndarray, "rows k"]:
    """Each row's k nearest others; of exact duplicates any may stand first."""
    own = index == np.arange(len(index))[:, None]
    own[~own.any(1), -1] = True
    return index[~own].reshape(len(index), -1)[:, :k]


def figures(s: Sampled, rows: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Numbers over all samples of the page: who -> measure -> value."""
    table: dict[str, dict[str, float]] = {}
    for who, x in s.features.items():
        table[who] = {}
        if s.labels is not None:
            table[who][SAME] = float((s.labels[rows[who]] == s.labels[:, None])[s.labels >= 0].mean())
        table[who]["effective rank (RankMe)"] = rankme(x[:1000])
    if s.labels is not None:
        known = s.labels[s.labels >= 0]
        counts = np.bincount(known)
        table["chance"] = {SAME: float((counts * (counts - 1)).sum() / len(known) / (len(s.labels) - 1))}  # a sample is not its own neighbour
    return table


def spread(s: Sampled, count: int, seed: int) -> list[int]:
    """Some samples: of different classes where there are labels, else at random."""
    order = np.random.default_rng([seed, 2]).permutation(len(s.names))
    if s.labels is None:
        return sorted(int(i) for i in order[:count])
    present = np.unique(s.labels[s.labels >= 0])
    chosen = present[np.linspace(0, len(present) - 1, min(count, len(present))).round().astype(int)]
    return [int(order[np.flatnonzero(s.labels[order] == c)[0]]) for c in chosen]


def layout(x: Float[Tensor, "rows dim"], seed: int) -> dict[str, list[list[int]]]:
    """Two-dimensional maps of unit vectors as whole numbers from 0 to 1000: the first two principal components, and t-SNE started from them.

    t-SNE: van der Maaten and Hinton, JMLR 9, 2008, on up to 50 principal components, by scikit-learn.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    z = torch.nn.functional.normalize(x.double(), dim=1).numpy()
    if np.ptp(z, axis=0).max() < 1e-9:  # all vectors are the same
        return {"tsne": [[500] * len(z)] * 2, "pca": [[500] * len(z)] * 2}
    reduced = PCA(min(50, *z.shape), random_state=seed, svd_solver="full").fit_transform(z)
    plane = np.pad(reduced[:, :2], ((0, 0), (0, max(0, 2 - reduced.shape[1]))))
    start = plane / plane[:, 0].std() * 1e-4
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's, about defaults that will change
        placed = TSNE(perplexity=min(30.0, (len(z) - 1) / 3), init=start.astype(np.float32), random_state=seed, max_iter=750).fit_transform(
            reduced.astype(np.float32)
        )
    return {"tsne": whole(placed), "pca": whole(plane)}


def whole(points: Float[np.ndarray, "rows 2"]) -> list[list[int]]:
    """x and y as whole numbers from 0 to 1000, the aspect kept; y up."""
    low, high = points.min(0), points.max(0)
    scaled = (points - (low + high) / 2) / max(float((high - low).max()), 1e-12) * 1000 + 500
    return [scaled[:, 0].round().astype(int).tolist(), scaled[:, 1].round().astype(int).tolist()]


def saliency_tiles(model: Model, s: Sampled, chosen: list[int], side: int) -> tuple[list[Image.Image], str]:
    """For each sample the picture and, as light on it, what matters to the trained and to the untrained encoder; and by which measure."""
    view = model.policy(s.data.batch(np.array(chosen)).to(model.device), Counter(0, 0))["v"]
    assert isinstance(view, View)
    maps = [saliency(m.encoder, view) for m in (model, model.untrained())]  # type: ignore[arg-type]
    tiles = []
    for k in range(len(chosen)):
        seen = (255 * view.x[k].float().cpu().numpy() + 0.5).astype(np.uint8).transpose(1, 2, 0)
        picture = thumbnail(seen, side)
        tiles += [picture, *(lit(picture, found.map[k].float().cpu().numpy()) for found in maps)]
    return tiles, maps[0].measure


def lit(picture: Image.Image, m: Float[np.ndarray, "height width"]) -> Image.Image:
    """The picture in grey, dark where the map is low, and in its own colours where it is high."""
    m = (m - m.min()) / max(float(m.max() - m.min()), 1e-12)
    light = np.asarray(Image.fromarray(m.astype(np.float32)).resize(picture.size, Image.Resampling.BICUBIC)).clip(0, 1)[..., None]
    colour = np.asarray(picture, np.float32)
    grey = colour.mean(-1, keepdims=True) * 0.25 + 14
    return Image.fromarray((grey * (1 - light) + colour * light).clip(0, 255).astype(np.uint8))
