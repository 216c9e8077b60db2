"""What an encoder ignores, and what it keeps track of: the transformations that make sense for each kind of data, tried on samples as the encoder sees them.

Elements act on what the encoder is given (a picture of its size, a cloud with its centre at the origin), so that what is measured is the encoder and not the
way its input is prepared. Each sample is transformed by its own random element at every strength, and, beside that, nothing is changed.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.contracts import Encoder, Tokens, View
from manyviews.counters import Counter
from manyviews.data.graph_batch import Graphs
from manyviews.errors import InputError
from manyviews.evaluate.scores import Score
from manyviews.evaluate.symmetry import Symmetry, measure, scored_pairs
from manyviews.evaluate.symmetry_decoding import relative_rotation
from manyviews.evaluate.symmetry_lie import LieNorm, lie_norm
from manyviews.evaluate.symmetry_tuples import Tuples, in_full_precision, observed, orbit
from manyviews.groups import find
from manyviews.groups.lie import log_space, quaternions, relative_quaternion
from manyviews.views.graphs import Permutation
from manyviews.views.splats import acted

STRENGTHS = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
SAMPLES, BATCH = 100, 25
SHARED = (0.25, 0.5, 0.75, 1.0)  # strengths of the elements that all samples have in common
EACH = "for each element"  # in the names of what these are for


@dataclasses.dataclass(frozen=True)
class Transformation:
    """A group, what it does to a view, and its elements as numbers that are zero at the identity."""

    name: str
    group: str
    kind: str  # of `manyviews.groups.actions.MODALITIES`
    numbers: Callable[[Any], Float[Tensor, "batch numbers"]]
    angular: bool = False  # whether the numbers are one angle, in radians
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    common: bool = True  # whether all samples can have one element in common

    def draw(self, view: View, counter: Counter, strength: float, shared: bool) -> Any:
        """An element for each sample: one of its own, or the same for all."""
        rows = view.index.cpu()
        return find(self.group).sample(torch.zeros_like(rows) if shared else rows, counter, strength, name=self.name)

    def act(self, g: Any, view: View) -> View:
        if self.kind == "splats":
            return dataclasses.replace(view, x=acted(g, view.x))
        if self.kind == "video":  # every frame alike
            frames = view.x.transpose(1, 2)
            each = g[torch.arange(len(frames), device=frames.device).repeat_interleave(frames.shape[1])]
            x = find(self.group).act(each, frames.flatten(0, 1), "images", **self.options).view_as(frames).transpose(1, 2)
        else:
            x = find(self.group).act(g, view.x, self.kind, **self.options)
        return dataclasses.replace(view, x=x.clamp(0, 1) if self.group == "hue" else x)

    def flow(self, view: View, direction: int, t: Tensor) -> View:
        """exp(t xi) x for a basis vector xi of the Lie algebra."""
        group = find(self.group)
        return self.act(group.exp(t * torch.eye(group.dim, dtype=t.dtype, device=t.device)[direction].expand(len(view), -1)), view)

    def basis(self, parameters: Float[Tensor, "pairs numbers"]) -> Float[Tensor, "pairs functions"]:
        """1, cos and sin of the angle."""
        return torch.cat([torch.ones_like(parameters), parameters.cos(), parameters.sin()], 1)


@dataclasses.dataclass(frozen=True)
class Reordered:
    """Permutations of the nodes of graphs, one a graph, which may have any number of them."""

    nodes: Permutation
    moved: Float[Tensor, "batch 1"]  # the share of nodes that change places

    def to(self, device: torch.device | str) -> Reordered:
        return Reordered(self.nodes.to(device), self.moved.to(device))


@dataclasses.dataclass(frozen=True)
class Reordering(Transformation):
    """Nodes in another order, as if another file had listed them, and numbered anew: a graph neural network should not see it."""

    def draw(self, view: View, counter: Counter, strength: float, shared: bool) -> Reordered:
        graphs: Graphs = view.x
        rows = view.index.cpu()[: graphs.graphs]  # one graph whose nodes are samples is taken as a whole
        drawn = [find(f"s{n}").sample(row[None], counter, strength, name=self.name).order[0] for n, row in zip(graphs.sizes.tolist(), rows, strict=True)]
        moved = torch.stack([(order != torch.arange(len(order))).float().mean() for order in drawn])
        nodes = torch.cat([start + order.argsort() for start, order in zip(graphs.starts.tolist(), drawn, strict=True)])
        return Reordered(Permutation(nodes), moved.expand(len(view))[:, None])

    def act(self, g: Reordered, view: View) -> View:
        return dataclasses.replace(view, x=dataclasses.replace(g.nodes.act(view.x), number=view.x.number))


def named(name: str) -> Callable[[Any], Float[Tensor, "batch numbers"]]:
    """That parameter of elements, as columns."""
    return lambda g: g.parameters[name].flatten(1) if g.parameters[name].dim() > 1 else g.parameters[name][:, None]


def logarithm(g: Any) -> Float[Tensor, "batch 1"]:
    return g.parameters["factor"].log()[:, None]


def turn(g: Any) -> Float[Tensor, "batch 3"]:
    """Axis times angle."""
    return g.parameters["axis"] * g.parameters["angle"][:, None]


def deformation(g: Any) -> Float[Tensor, "batch 4"]:
    """The matrix, less the identity."""
    linear = g.matrix[:, :2, :2]
    return (linear - torch.eye(2, dtype=linear.dtype, device=linear.device)).flatten(1)


def of_space(kind: str, **options: Any) -> tuple[Transformation, ...]:
    """Rotations of space, shifts and scalings."""
    rows = (("rotation", "so3", turn), ("translation", "t3", named("shift")), ("scaling", "scaling3", logarithm))
    return tuple(Transformation(name, group, kind, numbers, options=options) for name, group, numbers in rows)


EDGE = {"border": "border"}  # nothing black comes in: what is beyond a picture is as its edge


def of_plane(kind: str) -> tuple[Transformation, ...]:
    """Rotations of the plane, shifts, scalings, shears, and hues."""
    return (
        Transformation("rotation", "so2", kind, named("angle"), True, EDGE),
        Transformation("translation", "t2", kind, named("shift"), options=EDGE),
        Transformation("scaling", "scaling2", kind, logarithm, options=EDGE),
        Transformation("shear and stretch", "sl2", kind, deformation, options=EDGE),
        Transformation("hue", "hue", kind, named("hue"), True),
    )


TRANSFORMATIONS: dict[str, tuple[Transformation, ...]] = {
    "images": of_plane("images"),
    "video": of_plane("video"),
    "points": (*of_space("clouds"), Transformation("rotation about y", "so2_about_y", "clouds", named("angle"), True)),
    "volumes": of_space("volumes", border="border"),
    "splats": of_space("splats"),
    "graphs": (Reordering("order of nodes", "s", "graphs", lambda g: g.moved, common=False),),
}
CONTINUOUS = tuple(modality for modality in TRANSFORMATIONS if modality != "graphs")  # where there is a way from the identity to every element


def symmetry(
    encoder: Callable[[View], Tensor],
    views: Callable[[], Any],
    modality: str,
    channels: int = 3,
    seed: int = 0,
    strengths: tuple[float, ...] = (),
    only: tuple[str, ...] = (),
) -> dict[str, Symmetry]:
    """What `encoder` does with each transformation of its modality.

    views: makes the batches, as the encoder sees samples. strengths: default STRENGTHS. only: names of transformations; default: all.
    """
    found = {}
    for t in [t for t in transformations(modality, channels) if not only or t.name in only]:
        own = measured(t, t.name, tried(encoder, views, t, seed, strengths or STRENGTHS), seed)
        fitted = t.common and "explained by a linear map" in own.scores
        found[t.name] = own if not fitted else with_shared(own, tried(encoder, views, t, seed, SHARED, shared=True), t, seed)
    return found


def with_shared(own: Symmetry, together: Tuples, transformation: Transformation, seed: int) -> Symmetry:
    """With a map for each element, which can be fitted where all samples have the same few; everything else needs many."""
    shared = measured(transformation, transformation.name, together, seed)

    def new(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in one.items() if EACH not in name} | {name: value for name, value in other.items() if EACH in name}

    parts: dict[str, Any] = {part: new(getattr(own, part), getattr(shared, part)) for part in ("scores", "curves", "refused")}
    return dataclasses.replace(own, **parts)


def transformations(modality: str, channels: int) -> list[Transformation]:
    """Those that make sense."""
    return [t for t in TRANSFORMATIONS[modality] if t.group != "hue" or channels == 3]


def tried(
    encoder: Callable[[View], Tensor],
    views: Callable[[], Any],
    transformation: Transformation,
    seed: int,
    strengths: tuple[float, ...],
    shared: bool = False,
) -> Tuples:
    """Every sample, and the sample under an element at each strength: one of its own, or the same for all."""
    parts = []
    for view in views():
        elements = [transformation.draw(view, Counter(seed, k), s, shared) for k, s in enumerate(strengths)]
        rotation = (lambda g: g.matrix[:, :3, :3]) if transformation.group == "so3" else None
        moved = [g.to(view.index.device) for g in elements]
        parts.append(orbit(encoder, transformation.act, moved, view, transformation.numbers, torch.tensor(strengths), rotation, shared))
    return Tuples.joined(parts)


def measured(transformation: Transformation, name: str, tuples: Tuples, seed: int) -> Symmetry:
    basis = transformation.basis if transformation.angular else None
    commuting = None if transformation.group in ("so3", "sl2", "s") else torch.add
    return measure(name, tuples, basis=basis, compose=commuting, test=scored_pairs(tuples.object_of_pair, seed=seed), seed=seed)


def symmetry_of_levels(
    encoder: Encoder, views: Callable[[], Any], modality: str, channels: int = 3, seed: int = 0, strengths: tuple[float, ...] = ()
) -> dict[str, dict[str, Symmetry]]:
    """Level of the encoder (of its `pyramid`, the mean over places) -> transformation -> what that level does with it. Raises InputError without levels."""
    if not encoder.widths:
        raise InputError(f"{type(encoder).__name__} has no levels that can be looked at, only its embedding: --only symmetry")
    found: dict[str, dict[str, Symmetry]] = {f"level {k + 1}": {} for k in range(len(encoder.widths))}

    def levels(view: View) -> Tensor:
        return torch.cat([mean_of(level) for level in encoder.pyramid(view)], 1)

    for transformation in transformations(modality, channels):
        with in_full_precision(encoder):
            together = tried(levels, views, transformation, seed, strengths or STRENGTHS)
        for level, z in zip(found, together.z.split(encoder.widths, 1), strict=True):
            name = transformation.name
            found[level][name] = measured(transformation, f"{name}, {level}", dataclasses.replace(together, z=z), seed)
    return found


def mean_of(level: Tokens) -> Float[Tensor, "batch dim"]:
    """Over the parts that exist."""
    if level.exists is None:
        return level.x.mean(1)
    exists = level.exists[..., None]
    return torch.where(exists, level.x, 0.0).sum(1) / exists.sum(1).clamp(min=1)


def lie_norms(encoder: Callable[[View], Tensor], views: Callable[[], Any], modality: str, channels: int = 3, seed: int = 0) -> dict[str, LieNorm]:
    """Transformation -> the relative norm of the Lie derivative, in spreads of the embedding per radian, per unit of shift, per unit of log scale."""
    found = {}
    for transformation in transformations(modality, channels):
        directions = range(find(transformation.group).dim)
        parts = []
        for view in views():
            parts.append((len(view), lie_norm(encoder, functools.partial(transformation.flow, view), directions, view, seed=seed)))
        found[transformation.name] = joined(parts)
    return found


def joined(parts: list[tuple[int, LieNorm]]) -> LieNorm:
    """The mean over batches, by their sizes."""
    total = sum(count for count, _ in parts)
    score = Score(*(sum(count * getattr(norm.score, end) for count, norm in parts) / total for end in ("value", "low", "high")))
    each = tuple(sum(count * norm.each[k] for count, norm in parts) / total for k in range(len(parts[0][1].each)))
    return LieNorm(score, each, " and ".join(sorted({norm.mode for _, norm in parts})))


# --- views that were observed -----------------------------------------------------------------------------------------------------------------

OBJECTS, VIEWS = 150, 8  # of observed views, at most


def some_objects(objects: Int[np.ndarray, "rows"], seed: int = 0) -> Int[np.ndarray, "chosen"]:
    """Rows of up to OBJECTS things with up to VIEWS views each, at least two, chosen at random."""
    order = np.random.default_rng([seed, 5]).permutation(len(objects))
    _, first, counts = np.unique(objects[order], return_index=True, return_counts=True)
    chosen = [order[objects[order] == objects[order[k]]][:VIEWS] for k in np.sort(first[counts > 1])[:OBJECTS]]
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, int)


def poses(
    z: Float[Tensor, "views dim"], objects: Int[Tensor, "views"], rotation: Float[Tensor, "views 3 3"], side: str = "world", seed: int = 0, **options: Any
) -> Symmetry:
    """What is known of the pose in which an object is seen, from views of it with their rotations.

    side: relative rotations are about the axes of the room ("world"), or about the object's own ("body", SIE's), which can be told only where objects
    have a common frame. Whatever else differs between the views of an object (light, floor) differs here too.
    """
    rotation = rotation.double()
    quaternion = quaternions(rotation)

    def relative(source: Int[Tensor, "pairs"], target: Int[Tensor, "pairs"]) -> dict[str, Tensor]:
        g = relative_rotation(rotation[source], rotation[target], side)
        v = log_space(g)
        return {
            "parameters": v,
            "rotation": g,
            "quaternion": relative_quaternion(quaternion[source], quaternion[target]),
            "strength": (v.norm(dim=1) / math.pi * 8).round().clamp(1, 8) / 8,  # eight steps up to half a turn
        }

    return measure(f"pose, {side} frame", observed(z, objects, relative, seed=seed), side=side, seed=seed, **options)
