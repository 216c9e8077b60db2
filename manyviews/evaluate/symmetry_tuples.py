"""What the symmetry measurement is given: embeddings of samples and of their transforms, and which transformation leads from one to the other.

A view here is a row of features: of a sample, or of a transform of it. A pair is two views of one object and the group element that takes the first to
the second. Elements are computed (we apply g and know it) or observed (renders of one object from several sides).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from manyviews.contracts import View
from manyviews.errors import InputError

OPTIONAL = ("element", "rotation", "quaternion")


@dataclasses.dataclass(frozen=True)
class Tuples:
    """Views z of objects, and pairs (x, g, gx) of rows of them. Raises InputError with everything that is wrong."""

    z: Float[Tensor, "views dim"]  # embeddings as the encoder gave them, in float32 or float64
    objects: Int[Tensor, "views"]  # which object each view shows
    source: Int[Tensor, "pairs"]  # the row of x
    target: Int[Tensor, "pairs"]  # the row of gx
    parameters: Float[Tensor, "pairs numbers"]  # of g; zero at the identity (angles in radians, logarithms of scales ...)
    strength: Float[Tensor, "pairs"]  # 0 (the identity) to 1
    element: Int[Tensor, "pairs"] | None = None  # equal numbers are equal elements, where elements come more than once
    rotation: Float[Tensor, "pairs 3 3"] | None = None  # of g, where it is one of space
    quaternion: Float[Tensor, "pairs 4"] | None = None  # the same with the signs as they were drawn: only for the papers' own R2

    def __post_init__(self) -> None:
        problems = [*self.wrong_features(), *self.wrong_pairs(), *self.wrong_elements()]
        if problems:
            raise InputError(*problems)

    def wrong_features(self) -> Iterator[str]:
        bad = int((~self.z.isfinite().all(1)).sum())
        if bad:
            yield f"{bad:,} of {len(self.z):,} feature vectors are not finite: the encoder has diverged, or transformed input leaves the range that it can take"
        if self.z.dtype not in (torch.float32, torch.float64):
            yield f"features are in {str(self.z.dtype).removeprefix('torch.')}; symmetry is measured in float32 or float64: run the encoder without autocast"

    def wrong_pairs(self) -> Iterator[str]:
        if not len(self.source):
            yield "there are no pairs of views to measure: give at least one transform of each object"
            return
        rows = torch.cat([self.source, self.target])
        if not 0 <= int(rows.min()) <= int(rows.max()) < len(self.z):
            yield f"pairs name rows {int(rows.min())} to {int(rows.max())}, but there are {len(self.z)} views, counted from 0"
        elif (self.objects[self.source] != self.objects[self.target]).any():
            yield "some pairs join views of different objects; a pair is x and gx of one object"

    def wrong_elements(self) -> Iterator[str]:
        if not self.parameters.isfinite().all():
            yield "some parameters of group elements are not finite"
        if len(self.strength) and not 0 <= float(self.strength.min()) <= float(self.strength.max()) <= 1:
            yield f"strengths go from {float(self.strength.min()):g} to {float(self.strength.max()):g}; expected 0 (the identity) to 1 (the full range)"
        if self.rotation is not None:
            r = self.rotation.double()
            wrong = int((((r @ r.mT - torch.eye(3, dtype=r.dtype, device=r.device)).abs().amax((1, 2)) > 1e-3) | ~(torch.linalg.det(r) > 0)).sum())
            if wrong:
                yield f"{wrong:,} of {len(r):,} rotations are not orthogonal with determinant 1; pass reflections and scales as parameters, not as rotations"

    @property
    def acting(self) -> Bool[Tensor, "pairs"]:
        """Pairs whose element is not the identity."""
        return self.strength > 0

    @property
    def before(self) -> Float[Tensor, "pairs dim"]:
        return self.z[self.source].double()

    @property
    def after(self) -> Float[Tensor, "pairs dim"]:
        return self.z[self.target].double()

    @property
    def object_of_pair(self) -> Int[Tensor, "pairs"]:
        return self.objects[self.source]

    def orbit_rows(self) -> Int[Tensor, "rows"]:
        """The views gx, without the identity's; with x itself where an object has one transform only."""
        rows = self.target[self.acting].unique()
        _, counts = self.objects[rows].unique(return_counts=True)
        return rows if len(counts) and int(counts.min()) > 1 else torch.cat([rows, self.source[self.acting]]).unique()

    def cpu(self) -> Tuples:
        fields: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        there: dict[str, Any] = {name: a if a is None else a.detach().cpu() for name, a in fields.items()}
        return Tuples(**there)

    @classmethod
    def joined(cls, parts: Sequence[Tuples]) -> Tuples:
        """The pairs of several batches as one."""
        if not parts:
            raise InputError("there are no batches to join")
        widths = sorted({p.z.shape[1] for p in parts})
        if len(widths) > 1:
            raise InputError(f"the encoder gives vectors of different widths: {widths}; symmetry compares vectors of one width")
        starts = torch.tensor([0, *[len(p.z) for p in parts]]).cumsum(0).tolist()
        together: dict[str, Any] = {f.name: [getattr(p, f.name) for p in parts] for f in dataclasses.fields(cls)}
        for name in ("source", "target"):
            together[name] = [rows + start for rows, start in zip(together[name], starts[:-1], strict=True)]
        whole: dict[str, Any] = {name: None if name in OPTIONAL and any(a is None for a in them) else torch.cat(them) for name, them in together.items()}
        return cls(**whole)


def orbits(
    x: Float[Tensor, "objects dim"],
    gx: Float[Tensor, "elements objects dim"],
    parameters: Float[Tensor, "elements objects numbers"],
    strength: Float[Tensor, "elements"] | None = None,
    objects: Int[Tensor, "objects"] | None = None,
    rotation: Float[Tensor, "elements objects 3 3"] | None = None,
    shared: bool = False,
) -> Tuples:
    """Tuples of computed transforms: every object under each of several elements.

    strength: of each element; one for all: 1. shared: the k-th element is the same for all objects, so that a map may be fitted for each.
    """
    count, n = gx.shape[:2]
    own = torch.arange(n, device=x.device) if objects is None else objects
    element = torch.arange(count, device=x.device).repeat_interleave(n) if shared else None
    return Tuples(
        torch.cat([x, gx.flatten(0, 1)]),
        own.repeat(count + 1),
        torch.arange(n, device=x.device).repeat(count),
        torch.arange(n, n * (count + 1), device=x.device),
        parameters.flatten(0, 1),
        (torch.ones(count, device=x.device) if strength is None else strength).repeat_interleave(n),
        element,
        None if rotation is None else rotation.flatten(0, 1),
    )


def observed(
    z: Float[Tensor, "views dim"],
    objects: Int[Tensor, "views"],
    relative: Callable[[Int[Tensor, "pairs"], Int[Tensor, "pairs"]], Mapping[str, Tensor]],
    pairs: int = 4,
    seed: int = 0,
) -> Tuples:
    """Tuples of observed views: `pairs` others at random for each view, both of one object.

    relative: (rows of x, rows of gx) -> what is known of g: "parameters", and if known "strength", "element", "rotation", "quaternion".
    """
    generator = torch.Generator().manual_seed(seed)
    order = objects.cpu().argsort(stable=True)
    sizes = objects.unique(return_counts=True)[1].cpu()
    if int(sizes.max()) < 2:
        raise InputError("every object has one view only; equivariance needs at least two views of an object")
    size, first = sizes.repeat_interleave(sizes), (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    steps = torch.rand(len(order), int(sizes.max()) - 1, generator=generator)
    steps[torch.arange(1, int(sizes.max()))[None] >= size[:, None]] = torch.inf  # more steps than the object has other views
    chosen = steps.argsort(1)[:, :pairs]
    source, column = steps.gather(1, chosen).isfinite().nonzero(as_tuple=True)
    position = (source - first[source] + chosen[source, column] + 1) % size[source]
    rows = order[source].to(z.device), order[first[source] + position].to(z.device)
    known = dict(relative(*rows))
    return Tuples(z, objects, *rows, **{"strength": torch.ones(len(rows[0]), device=z.device), **known})


def orbit(
    encoder: Callable[[View], Float[Tensor, "batch dim"]],
    act: Callable[[Any, View], View],
    elements: Sequence[Any],
    samples: View,
    parameters: Callable[[Any], Float[Tensor, "batch numbers"]],
    strength: Float[Tensor, "elements"] | None = None,
    rotation: Callable[[Any], Float[Tensor, "batch 3 3"]] | None = None,
    shared: bool = False,
) -> Tuples:
    """Tuples of one batch: the encoder on the samples and on each of their transforms, without gradient and never in a lower precision.

    elements: batches of group elements, one of each sample; act(g, samples) transforms them.
    """
    with in_full_precision(encoder):
        x = encoder(samples)
        gx = [encoder(act(g, samples)) for g in elements]
    widths = sorted({z.shape[1] for z in (x, *gx)})
    if len(widths) > 1:
        raise InputError(f"the encoder gives vectors of different widths for transformed input: {widths}; symmetry compares vectors of one width")
    turned = None if rotation is None else torch.stack([rotation(g) for g in elements]).to(x.device)
    named = torch.stack([parameters(g) for g in elements]).to(x.device)
    return orbits(x, torch.stack(gx), named, None if strength is None else strength.to(x.device), samples.index.to(x.device), turned, shared)


def resampling_floor(act: Callable[[Any, View], View], g: Any, samples: View) -> float:
    """What going there and back loses, E|a(g^-1) a(g) x - x|^2 / E|x - mean x|^2: no encoder of such input can be expected to be closer to equivariant."""
    back = act(g.inverse(), act(g, samples)).x.flatten(1).double()
    x = samples.x.flatten(1).double()
    return float((back - x).square().sum() / (x - x.mean(0)).square().sum().clamp(min=torch.finfo(x.dtype).tiny))


@contextlib.contextmanager
def in_full_precision(encoder: Any, gradient: bool = False) -> Iterator[None]:
    """No autocast, no training mode, and no gradient unless asked for."""
    modules = list(encoder.modules()) if isinstance(encoder, nn.Module) else []
    modes = [m.training for m in modules]
    kinds = {"cpu", *[p.device.type for m in modules for p in m.parameters(recurse=False)]}
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.set_grad_enabled(gradient))
        for kind in kinds | ({"cuda"} if torch.cuda.is_available() else set()):
            stack.enter_context(torch.autocast(kind, enabled=False))
        for m in modules:
            m.training = False
        try:
            yield
        finally:
            for m, mode in zip(modules, modes, strict=True):
                m.training = mode
