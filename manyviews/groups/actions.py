"""What group elements do to data of each kind. Acting twice is acting once with the product: exactly, but for pictures and volumes that must be resampled.

    points    (batch, count, axes)                     p -> A p + b
    vectors   (batch, count, axes)                     v -> A v
    normals   (batch, count, axes)                     n -> A^-T n, as long as before: they stay at right angles to the surface
    clouds    (batch, count, axes + axes or more)      points, normals, and columns that stay; with `normals=False` all other columns stay
    graphs    named tensors                            see `graphs`
    images    (batch, channels, height, width)         pulled back: what is at p goes to A p + b, see `pictures`
    volumes   (batch, channels, depth, height, width)  the same in space
    colours   (batch, count, 3)                        red, green, blue; of `images` each pixel's
    things    (batch, n, ...)                          permuted

Gaussian splats take the same `Affine` elements: `manyviews.views.splats.acted` moves all that a splat is.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from manyviews.errors import InputError
from manyviews.groups.elements import Affine, Colour, Permutation
from manyviews.groups.resampling import pictures

NODES = ("nodes", "positions", "vectors", "normals", "label")  # named tensors of a graph with one row a node


def axes_checked(g: Affine, x: Tensor, what: str) -> None:
    n = g.matrix.shape[-1] - 1
    if x.dim() != 3 or x.shape[-1] != n:
        raise InputError(f"{what} are (batch, count, {n}) for maps in {n} dimensions, not {tuple(x.shape)}")


def points(g: Affine, x: Tensor) -> Float[Tensor, "batch count axes"]:
    axes_checked(g, x, "points")
    return g.act(x)


def vectors(g: Affine, x: Tensor) -> Float[Tensor, "batch count axes"]:
    """Differences of points: shifts do nothing to them."""
    axes_checked(g, x, "vectors")
    return x @ g.matrix[:, :-1, :-1].mT


def normals(g: Affine, x: Tensor) -> Float[Tensor, "batch count axes"]:
    """Normals of surfaces whose points g moves."""
    axes_checked(g, x, "normals")
    turned = x @ torch.linalg.inv(g.matrix[:, :-1, :-1])
    return torch.nn.functional.normalize(turned, dim=-1) * x.norm(dim=-1, keepdim=True)


def clouds(g: Affine, x: Float[Tensor, "batch count columns"], normals: bool = True) -> Float[Tensor, "batch count columns"]:
    """Points in the first columns; then, where there are as many again, their normals; then what stays."""
    n = g.matrix.shape[-1] - 1
    parts = [points(g, x[..., :n])]
    if normals and x.shape[-1] >= 2 * n:
        parts.append(MODALITIES["normals"](g, x[..., n : 2 * n]))
    seen = n * len(parts)
    return torch.cat([*parts, x[..., seen:]], -1)


def graphs(g: Affine | Permutation, x: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Graphs of one number of nodes as named tensors: nodes (batch, nodes, channels), positions, vectors, normals (batch, nodes, axes), label (batch, nodes),
    adjacency (batch, nodes, nodes), edges (batch, 2, edges), edge_x.

    Maps of points move positions, vectors and normals; permutations take node i to place order[i] in all of them. Everything else stays as it is.
    """
    if isinstance(g, Affine):
        spatial = {"positions": points, "vectors": vectors, "normals": normals}
        if not spatial.keys() & x.keys():
            raise InputError(f"maps of points act on graphs with {', '.join(spatial)}; this one has {', '.join(x) or 'nothing'}")
        return {name: spatial[name](g, value) if name in spatial else value for name, value in x.items()}
    out = dict(x)
    for name, value in x.items():
        if name in NODES:
            out[name] = things(g, value)
        elif name == "adjacency":
            out[name] = g.act(things(g, value), dim=2)
        elif name == "edges":
            out[name] = g.order.expand(len(value), -1)[:, None].expand(-1, 2, -1).gather(2, value)
    return out


def things(g: Permutation, x: Tensor) -> Shaped[Tensor, "batch n *rest"]:
    n = g.order.shape[1]
    if x.dim() < 2 or x.shape[1] != n:
        raise InputError(f"permutations of {n} act on (batch, {n}, ...), not {tuple(x.shape)}")
    return g.act(x)


def colours(g: Colour, x: Tensor) -> Float[Tensor, "batch count channels"]:
    channels = g.matrix.shape[1]
    if x.dim() != 3 or x.shape[-1] != channels:
        raise InputError(f"colours are (batch, count, {channels}), not {tuple(x.shape)}")
    return x @ g.matrix[:, :, :-1].mT + g.matrix[:, None, :, -1]


def images(g: Affine | Colour, x: Tensor, **options: Any) -> Shaped[Tensor, "batch channels height width"]:
    """Places moved, or colours mapped (not clamped)."""
    if isinstance(g, Colour):
        if x.dim() != 4 or x.shape[1] != g.matrix.shape[1]:
            raise InputError(f"maps of {g.matrix.shape[1]} colours act on (batch, {g.matrix.shape[1]}, height, width), not {tuple(x.shape)}")
        return g.act(x)
    return pictures(g, x, **options)


MODALITIES: dict[str, Callable[..., Any]] = {
    "points": points,
    "vectors": vectors,
    "normals": normals,
    "clouds": clouds,
    "graphs": graphs,
    "images": images,
    "volumes": pictures,
    "colours": colours,
    "things": things,
}


def modality_checked(modality: str) -> None:
    """Raises InputError for a word that is no modality."""
    if modality == "splats":
        raise InputError("splats are moved by manyviews.views.splats.acted(g, x), with elements of any group of space")
    if modality not in MODALITIES:
        near = difflib.get_close_matches(modality, list(MODALITIES), 2, 0.5)
        hint = f"; the nearest are {', '.join(near)}" if near else ""
        raise InputError(f"groups know no {modality!r}{hint}; there are {', '.join(MODALITIES)}")


def refusal(name: str, modality: str, can: Sequence[str]) -> str:
    """Why a group does not act on a modality, and which groups do."""
    modality_checked(modality)
    from manyviews.groups.finding import acting_on

    return f"{name} cannot act on {modality} (it acts on {', '.join(can)}); those that can are {', '.join(acting_on(modality))}"
