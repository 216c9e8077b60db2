"""The vocabulary of manyviews, on one page.

    data -> views -> backbone -> objective / method -> train -> checkpoint -> evaluate, adapt, analyze, embed -> report

A data set yields samples as `View`s of themselves. A policy of `manyviews.views` turns them into named views. An `Encoder` turns a view
into an embedding, or, where it can, into `Tokens` and `Features`. A `Trainable` turns named views into `Terms`, which the one loop sums.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from manyviews.counters import Counter
from manyviews.errors import InputError

Terms = dict[str, Tensor]  # named scalars: those with a gradient are summed by the engine, detached ones are only shown


@dataclasses.dataclass(frozen=True)
class View:
    """A batch of samples, as an encoder sees them."""

    x: Any  # what an encoder eats: images are (batch, channels, height, width) in [0, 1]
    index: Int[Tensor, "batch"]  # the samples' rows in their data set
    g: Any = None  # a group element, sample's frame -> this view's frame; None for the sample itself
    given: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)  # what came with the sample: label, ...

    def __len__(self) -> int:
        return len(self.index)

    def to(self, device: torch.device | str) -> View:
        def move(a: Any) -> Any:
            if isinstance(a, list | tuple):
                return type(a)(move(b) for b in a)
            return a.to(device, non_blocking=True) if hasattr(a, "to") else a

        given = {name: move(value) for name, value in self.given.items()}
        return View(move(self.x), move(self.index), move(self.g), given)


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Parts of each sample, embedded without their position: patches, point groups, columns, nodes, words."""

    x: Float[Tensor, "batch tokens dim"]
    where: Float[Tensor, "batch tokens axes"]  # centres in the view's frame, in [0, 1] for patches
    content: Tensor | None = None  # (batch, tokens, ...) what there is to predict of each
    exists: Bool[Tensor, "batch tokens"] | None = None  # False where padded; None: all are real
    parent: Int[Tensor, "batch tokens"] | None = None  # the row of the coarser level that each belongs to
    extent: Float[Tensor, "batch tokens axes"] | None = None  # how large each is, in the units of `where`; None: as on the encoder's own grid

    def select(self, rows: Int[Tensor, "batch kept"]) -> Tokens:
        """The tokens at `rows`, in that order."""

        def take(a: Tensor | None) -> Tensor | None:
            if a is None:
                return None
            return a.gather(1, rows.reshape(*rows.shape, *[1] * (a.dim() - 2)).expand(-1, -1, *a.shape[2:]))

        return Tokens(*(take(getattr(self, field.name)) for field in dataclasses.fields(self)))  # type: ignore[arg-type]

    def replace(self, hidden: Bool[Tensor, "batch tokens"], x: Float[Tensor, "dim"]) -> Tokens:
        """The same tokens with the `hidden` ones showing `x` (a mask token) instead of themselves."""
        return dataclasses.replace(self, x=torch.where(hidden[..., None], x.to(self.x.dtype), self.x))


@dataclasses.dataclass(frozen=True)
class Features:
    """What an encoder makes of tokens: one vector for the whole sample and one for each part."""

    whole: Float[Tensor, "batch dim"]
    parts: Float[Tensor, "batch tokens dim"]


class Encoder(nn.Module):
    """A view in, one embedding of width `dim` a sample out. The rest is there where the architecture has it."""

    dim: int
    blocks: list[Callable] = []  # block(t, where, exists) -> t, what adapters and prompts wrap
    widths: list[int] = []  # of the levels of `pyramid`
    axes: int = 2  # coordinates of a token's place
    content_width: int = 0  # numbers in each token's `content`; 0 where there are no tokens

    def named(self, base: str) -> str:
        """The name by which `build_encoder` makes it again, where `base` names the encoder that a method was given."""
        return base

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        raise NotImplementedError

    def tokenize(self, view: View) -> Tokens:
        """Parts of the view, without position; raises InputError where the architecture has no tokens."""
        raise InputError(f"{type(self).__name__} has no tokens; methods that mask or compare parts need a transformer, e.g. --encoder vit_micro")

    def encode(self, tokens: Tokens) -> Features:
        """Features of tokens, or of some of them; adds position from `tokens.where`."""
        raise InputError(f"{type(self).__name__} has no tokens; methods that mask or compare parts need a transformer, e.g. --encoder vit_micro")

    def pyramid(self, view: View) -> list[Tokens]:
        """Feature maps from fine to coarse, as tokens."""
        raise InputError(f"{type(self).__name__} has no feature pyramid")

    def content_error(self, prediction: Tensor, content: Tensor) -> Float[Tensor, "batch tokens"]:
        """How wrong a prediction of each token's content is: here the mean squared error."""
        return (prediction - content).square().mean(-1)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a paper trains: what is used where the user says nothing. Rates are for 256 samples and scale with the batch."""

    views: str = "simclr"  # a policy of the modality's file in manyviews.views
    optimizer: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.05
    final_weight_decay: float | None = None  # cosine towards it; None: constant
    warmup: float = 0.1  # share of the training
    final_lr: float = 0.0  # as a share of lr
    schedule: str = "cosine"  # of the rate: a name in manyviews.train.optimizers.SCHEDULES
    vector_lr: float = 1.0  # of biases and normalisations, as a share of lr
    clip: float | None = None  # norm of the gradient
    betas: tuple[float, float] = (0.9, 0.999)


class Trainable(nn.Module):
    """Whatever `manyviews.train.fit` can train. Views reach `loss` by the names of its parameters."""

    recipe: ClassVar[Recipe] = Recipe()
    progress: float = 0.0  # share of this fit done, 0..1; set by the engine before each step
    counter: Counter = Counter(0, 0)  # the step's randomness; set by the engine before each step
    sampler: Callable[[int, Mapping, int, int], Any] | None = None  # (rows, columns, seed, epoch) -> rows in the order they are shown; None: shuffled
    fixed_rate: tuple[str, ...] = ()  # parameters, or modules of them, whose learning rate neither warms up nor decays

    def loss(self, **views: View) -> Terms:
        raise NotImplementedError

    def before_step(self) -> None:
        """Called between backward and the optimizer's step: gradients that must not act are set to None here."""

    def after_step(self) -> None:
        """Called after each optimizer step: moving averages, queues, centres."""

    def step(self, optimize: Callable[..., Terms], **views: Any) -> Terms:
        """One training step; `optimize(loss, **views)` does forward, backward and the optimizer's step."""
        return optimize(self.loss, **views)


@dataclasses.dataclass(frozen=True)
class Stage:
    """One training of several in a row."""

    name: str
    trainable: Trainable
    data: Any
    share: float = 1.0  # of the run's steps


class Method(Trainable):
    """A way to pretrain `encoder`."""

    encoder: Encoder

    def stages(self, data: Any, tools: Any) -> Iterator[Stage]:
        """What is trained, one after the other; the last one is the method itself, the others train modules of it.

        Between two of them data may be derived: `tools.derive(data, name, compute)` adds columns or selects rows, cached under `name`, from what
        `tools.embed(encoder, data)` makes of every sample. Whatever a stage leaves must be in this method's modules: a resume finds it there.
        """
        yield Stage("", self, data)

    @property
    def exported(self) -> Encoder:
        """What is evaluated, saved and handed out."""
        return self.encoder
