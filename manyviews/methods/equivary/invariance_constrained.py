"""Invariance-constrained learning: fit the data while the loss of transformed samples, drawn where it is high, may not exceed a bound.

Hounie, Chamon, Ribeiro, "Automatic Data Augmentation via Invariance-Constrained Learning", ICML 2023, arXiv:2209.15031. The problem
min E[l(f(x), y)] with E[l(f(g x), y)] <= margin, where g is drawn with a density that grows with its loss, is solved by primal descent and dual ascent.
Departs from the paper in that transformations act on the recipe's view, cropped and mirrored already, which resamples it twice, and in levels that are drawn
from a continuum instead of 31. There is no cutout. Where each transformation has a bound of its own (`each`) a sample is asked about one of them a step.

A transformation is a name: an operation on pictures of `PICTURES`, or any group of `manyviews.groups`, which then acts on whatever samples are: pictures,
volumes, clouds. So the method draws them itself, and needs nothing of the views but the samples.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.errors import InputError
from manyviews.groups import Affine, Colour, affine, find
from manyviews.nn.distributed import total, world

Pictures = Float[Tensor, "batch channels height width"]
Level = Float[Tensor, "batch"]  # in [-1, 1]; what has no two directions looks at its size alone
UNKNOWN = -1
WIDEST = 9  # columns of a cloud: places, normals, colours
LUMA = (0.299, 0.587, 0.114)


class InvarianceConstrained(Method):
    """The encoder and a linear classifier; the encoder is what is kept.

    transformations: names, separated by commas: operations on pictures (rotate, shear_x, solarize ...) or groups (so2, c4, flip_x, so3 ...); wide: the 14
    of TrivialAugment; wide on anything but pictures: the rotations, mirrors and scalings of space.
    margin: the bound on the loss of transformed samples; 0: as well as possible.
    chain: length of the Metropolis-Hastings chain, whose last state is used; 1: uniform transformations, of whatever loss.
    dual_rate: by how much a step changes the dual variable, times the excess over the bound; 0: it stays at `dual`.
    dual: the dual variable at the beginning, which is the weight of the transformed samples.
    each: whether each transformation has its own bound and dual variable; else one stands for all of them.
    """

    recipe = Recipe(views="supervised", optimizer="sgd", lr=0.2, weight_decay=5e-4, warmup=0.0, clip=5.0)

    def __init__(
        self,
        encoder: Encoder,
        classes: int,
        transformations: str = "wide",
        margin: float = 0.8,
        chain: int = 2,
        dual_rate: float = 1e-4,
        dual: float = 0.0,
        each: bool = False,
    ):
        super().__init__()
        wrong = [f"{name}={value}: expected 0 or more" for name, value in (("margin", margin), ("dual_rate", dual_rate), ("dual", dual)) if value < 0]
        wrong += [f"chain={chain}: expected 1 (uniform) or more"] if chain < 1 else []
        if wrong:
            raise InputError(*wrong)
        self.encoder = encoder
        self.classifier = nn.Linear(encoder.dim, classes)
        self.names = checked(transformations)
        self.margin, self.states, self.dual_rate, self.each = margin, chain, dual_rate, each
        slots = (len(SPACE) if self.names == ["wide"] else len(self.names)) if each else 1
        self.dual: Tensor
        self.register_buffer("dual", torch.full((slots,), float(dual)))
        self.seen: list[Tensor] = []  # of this step's micro-batches: sums of losses, and of how many samples

    def loss(self, v: View) -> Terms:
        if "label" not in v.given:
            raise InputError("invariance_constrained needs a label with every sample, which this data does not have; class folders give one")
        names = space_of(self.names, v)
        moved, which, accepted = self.sampled(v, names)
        known = (v.given["label"] >= 0).float()
        share = world() / total(known.sum()).clamp(min=1)
        hard = self.errors(moved) * known
        slot = which if self.each else torch.zeros_like(which)
        excess, count = self.per_slot(hard, known, slot)
        self.seen.append(torch.stack([excess.detach(), count]))
        terms = {"loss": (self.errors(v) * known).sum() * share, "constraint": (self.dual * excess / count.clamp(min=1)).sum() * world()}
        labels = [f"dual_{name}" for name in names] if self.each else ["dual"]
        terms |= {label: self.dual[k].clone() for k, label in enumerate(labels)}
        return {**terms, "transformed": hard.detach().sum() * share, "accepted": accepted.mean()}

    def per_slot(self, hard: Float[Tensor, "batch"], known: Float[Tensor, "batch"], slot: Int[Tensor, "batch"]) -> tuple[Tensor, Tensor]:
        """Of each dual variable the sum of its losses here, and the number of its samples on all ranks."""
        count = known.new_zeros(len(self.dual)).index_add_(0, slot, known)
        return hard.new_zeros(len(self.dual)).index_add_(0, slot, hard), total(count)

    def after_step(self) -> None:
        """Dual ascent: what is above its bound weighs more from now on. A transformation that no sample showed stays as it is."""
        losses, count = torch.stack(self.seen).sum(0)
        self.seen = []
        excess = torch.where(count > 0, total(losses) / count.clamp(min=1) - self.margin, 0.0)
        self.dual.copy_((self.dual + self.dual_rate * excess).clamp(min=0))

    def errors(self, view: View) -> Float[Tensor, "batch"]:
        """The loss of each sample, 0 where its label is not known."""
        label = view.given["label"].long().clamp(min=UNKNOWN)
        return F.cross_entropy(self.classifier(self.encoder(view)).float(), label, ignore_index=UNKNOWN, reduction="none")

    # --- Metropolis-Hastings ----------------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sampled(self, v: View, names: list[str]) -> tuple[View, Int[Tensor, "batch"], Float[Tensor, "batch"]]:
        """For each sample a transformed one with a density in proportion to its loss, by independent uniform proposals; which transformation it was; and how
        often a proposal was accepted."""
        proposals = [self.propose(v, names, step) for step in range(self.states)]
        x, which = proposals[0]
        moves = torch.zeros(len(v), device=v.index.device)
        if self.states > 1:
            errors = [self.errors(transformed(v, x)) for x, _ in proposals]
            now = errors[0]
            for step in range(1, self.states):
                take = accept(errors[step], now, self.counter.uniform(f"chain/{step}", v.index))
                x = torch.where(take.view(-1, *[1] * (x.dim() - 1)), proposals[step][0], x)
                which, now = torch.where(take, proposals[step][1], which), torch.where(take, errors[step], now)
                moves += take.float() / (self.states - 1)
        return transformed(v, x), which, moves

    def propose(self, v: View, names: list[str], step: int) -> tuple[Tensor, Int[Tensor, "batch"]]:
        """Each sample under a transformation of uniform kind and level. With a bound for each, the kind stays the same along a chain."""
        which = (self.counter.uniform(f"kind/{0 if self.each else step}", v.index) * len(names)).long()
        level = 2 * self.counter.uniform(f"level/{step}", v.index) - 1
        out = v.x.clone()
        for k, name in enumerate(names):
            rows = (which == k).nonzero()[:, 0]
            if not len(rows):
                continue
            if name in PICTURES:
                out[rows] = PICTURES[name](v.x[rows], level[rows]).to(out.dtype)
            else:
                group = find(name)
                g = group.sample(v.index[rows], self.counter, dtype=v.x.dtype, name=f"{name}/{step}")
                out[rows] = group.act(g, v.x[rows], kind_of(v))
        return out, which


def transformed(v: View, x: Tensor) -> View:
    return View(x, v.index, None, v.given)


def accept(new: Float[Tensor, "batch"], now: Float[Tensor, "batch"], u: Float[Tensor, "batch"]) -> Bool[Tensor, "batch"]:
    """With probability min(1, new / now): the proposal is uniform, so that the losses alone decide."""
    return u * now < new


# --- what there is to choose from -------------------------------------------------------------------------------------------------------------


def checked(transformations: str) -> list[str]:
    """The names. Raises InputError for all that there are not."""
    names = [name.strip() for name in transformations.split(",") if name.strip()]
    wrong = [] if names else ["transformations are empty: expected names such as rotate,flip_x, or wide"]
    wrong += ["transformations: wide stands alone; leave the other names out"] if "wide" in names and len(names) > 1 else []
    wrong += [f"transformations: {name} is there {names.count(name)} times" for name in dict.fromkeys(names) if names.count(name) > 1]
    for name in set(names) - {*PICTURES, "wide"}:
        try:
            find(name)
        except InputError:
            near = difflib.get_close_matches(name, list(PICTURES), 2, 0.5)
            wrong.append(f"no transformation {name!r}{f'; near: {chr(44).join(near)}' if near else ''}: expected wide, a group, or {', '.join(PICTURES)}")
    if wrong:
        raise InputError(*wrong)
    return names


def space_of(names: list[str], v: View) -> list[str]:
    """The names for samples of this kind; each of them has one place in `dual`. Raises InputError for samples that nothing here acts on."""
    kind = kind_of(v)
    if names != ["wide"]:
        if kind != "images" and set(names) & set(PICTURES):
            raise InputError(f"{', '.join(sorted(set(names) & set(PICTURES)))} change pictures, and these samples are {kind}; name groups, such as so3")
        return names
    return SPACE if kind == "images" else SPATIAL


def kind_of(v: View) -> str:
    """What groups call these samples: clouds with no more than normals and colours, pictures, or what the view's own element moves in space: volumes."""
    kinds = {3: "clouds", 4: "images", 5: "volumes"}
    kind = kinds.get(v.x.dim(), "") if isinstance(v.x, Tensor) and v.x.is_floating_point() else ""
    drawn = getattr(v.g, "geometry", v.g)
    in_space = v.g is None or (isinstance(drawn, Affine) and drawn.matrix.shape[-1] == 4)
    if not kind or (kind == "volumes" and not in_space) or (kind == "clouds" and v.x.shape[-1] > WIDEST):
        raise InputError("invariance_constrained transforms pictures (batch, channels, height, width), volumes and clouds, and these samples are none of them")
    return kind


# --- pictures, in [0, 1] ----------------------------------------------------------------------------------------------------------------------


def mapped(x: Pictures, a: Tensor | float, b: Tensor | float, c: Tensor | float, d: Tensor | float, right: Tensor | float, down: Tensor | float) -> Pictures:
    """Points p -> ((a, b), (c, d)) p + (right, down), in halves of the shortest side about the centre."""
    one = x.new_ones(len(x))
    linear = torch.stack([torch.stack([a * one, b * one], -1), torch.stack([c * one, d * one], -1)], -2)
    shift = torch.stack([right * one, down * one], -1)
    return find("affine2").act(affine(linear, shift), x, "images")


def rotate(x: Pictures, level: Level) -> Pictures:
    angle = math.radians(135) * level
    return mapped(x, angle.cos(), -angle.sin(), angle.sin(), angle.cos(), 0.0, 0.0)


def painted(x: Pictures, factor: Level, ends: Tensor) -> Pictures:
    """Away from `ends` by a factor, or towards it."""
    factor = factor.view(-1, 1, 1, 1)
    return (factor * x + (1 - factor) * ends).clamp(0, 1)


def grey(x: Pictures) -> Float[Tensor, "batch one height width"]:
    weights = x.new_tensor(LUMA if x.shape[1] == 3 else [1 / x.shape[1]] * x.shape[1])
    return Colour(F.pad(weights, (0, 1)).expand(len(x), x.shape[1], -1)).act(x)[:, :1]


def posterize(x: Pictures, level: Level) -> Pictures:
    """From 8 bits down to 2."""
    step = 2.0 ** (6 * level.abs()).round().view(-1, 1, 1, 1)
    return ((x * 255).round() / step).floor() * step / 255


def solarize(x: Pictures, level: Level) -> Pictures:
    return torch.where(x >= (256 / 255) * (1 - level.abs()).view(-1, 1, 1, 1), 1 - x, x)


def sharpness(x: Pictures, level: Level) -> Pictures:
    """Away from a smoothed picture, or towards it; the border stays."""
    kernel = (x.new_tensor([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13).expand(x.shape[1], 1, 3, 3)
    smooth = x.clone()
    smooth[:, :, 1:-1, 1:-1] = F.conv2d(x, kernel, groups=x.shape[1])
    return painted(x, 1 + 0.99 * level, smooth)


def auto_contrast(x: Pictures, level: Level) -> Pictures:
    low, high = x.amin((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
    return torch.where(high > low, (x - low) / (high - low).clamp(min=1 / 255), x)


def equalize(x: Pictures, level: Level) -> Pictures:
    """Each channel's values as the share of its pixels that are no brighter, from 0 to 1, in 256 steps."""
    values = (x * 255).round().long().flatten(2)
    count = torch.zeros(*values.shape[:2], 256, device=x.device).scatter_add_(2, values, torch.ones_like(values, dtype=torch.float32))
    below = count.cumsum(2)
    first = below.gather(2, values.amin(2, keepdim=True))
    table = (below - first).clamp(min=0) / (values.shape[2] - first).clamp(min=1)
    return torch.where(first < values.shape[2], table.gather(2, values), x.flatten(2).float()).view(x.shape)


PICTURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "identity": lambda x, level: x,
    "auto_contrast": auto_contrast,
    "equalize": equalize,
    "rotate": rotate,  # up to 135 degrees either way
    "solarize": solarize,  # values from a threshold on inverted
    "saturation": lambda x, level: painted(x, 1 + 0.99 * level, grey(x)),
    "posterize": posterize,
    "contrast": lambda x, level: painted(x, 1 + 0.99 * level, grey(x).mean((2, 3), keepdim=True)),
    "brightness": lambda x, level: painted(x, 1 + 0.99 * level, torch.zeros_like(x)),
    "sharpness": sharpness,
    "shear_x": lambda x, level: mapped(x, 1.0, 0.99 * level, 0.0, 1.0, 0.0, 0.0),
    "shear_y": lambda x, level: mapped(x, 1.0, 0.0, 0.99 * level, 1.0, 0.0, 0.0),
    "translate_x": lambda x, level: mapped(x, 1.0, 0.0, 0.0, 1.0, 2 * level, 0.0),  # up to the whole side, as in the paper's space for pictures of 32 pixels
    "translate_y": lambda x, level: mapped(x, 1.0, 0.0, 0.0, 1.0, 0.0, 2 * level),
}
SPACE = list(PICTURES)
SPATIAL = ["so3", "flip_x3", "scaling3"]
