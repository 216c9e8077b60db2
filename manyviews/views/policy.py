"""Policies: which views of a sample a method gets, whatever the samples are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from torch import Tensor

from manyviews.contracts import View
from manyviews.counters import Counter


class Spec(Protocol):
    """How one view is made: plain data, with equal ones equal. `manyviews.views.picture.Spec` is that of pictures."""

    @property
    def pixels(self) -> int:
        """How finely a sample must have been read: of pictures the shorter side, of clouds the points; 0: in full."""

    def apply(self, samples: View, counter: Counter, roles: list[str]) -> list[View]:
        """For each role the view that `counter` draws; the roles' names keep their randomness apart."""

    def __hash__(self) -> int: ...


@dataclasses.dataclass(frozen=True)
class Changed:
    """What happened to samples whose changes are no group's: by name how much was touched (shares, or masks of what), or nothing."""

    parameters: Mapping[str, Tensor] = dataclasses.field(default_factory=dict)

    def inverse(self) -> Changed:
        """Raises ValueError where anything was changed: what is gone cannot be brought back."""
        if self.parameters:
            raise ValueError(f"samples that were changed ({', '.join(self.parameters)}) cannot be brought back")
        return self


@dataclasses.dataclass(frozen=True)
class Policy:
    """Which views a method gets, by the names of its `loss`'s parameters: one view, or a list of them."""

    roles: dict[str, Any]  # a Spec, or a list of them
    _: dataclasses.KW_ONLY
    sampler: Callable[[int, Mapping, int, int], Any] | None = None  # (rows, columns, seed, epoch) -> rows in order, where views are made of several rows
    grouped: int = 1  # how many rows, side by side in that order, one process gets

    def __call__(self, samples: View, counter: Counter) -> dict[str, View | list[View]]:
        alike: dict[Any, list[str]] = {}
        for role, spec in self.roles.items():
            for i, s in enumerate(spec if isinstance(spec, list) else [spec]):
                alike.setdefault(s, []).append(f"{role}{i}" if isinstance(spec, list) else role)
        made: dict[str, View] = {}
        for s, names in alike.items():
            made.update(zip(names, s.apply(samples, counter, names), strict=True))
        return {role: [made[f"{role}{i}"] for i in range(len(spec))] if isinstance(spec, list) else made[role] for role, spec in self.roles.items()}

    def at(self, progress: float) -> Policy:
        """The policy for this share of a training, 0..1: itself; a `Curriculum` has others."""
        return self

    @property
    def specs(self) -> list[Any]:
        return [s for spec in self.roles.values() for s in (spec if isinstance(spec, list) else [spec])]

    @property
    def pixels(self) -> int:
        """How finely samples must be read for the view that needs most; 0: in full."""
        needed = [s.pixels for s in self.specs]
        return max(needed) if all(needed) else 0


@dataclasses.dataclass(frozen=True)
class Curriculum:
    """A policy that changes as the training goes on: a pure function of `progress`."""

    at: Callable[[float], Policy]

    def __call__(self, samples: View, counter: Counter) -> dict[str, View | list[View]]:
        return self.at(1.0)(samples, counter)

    @property
    def roles(self) -> dict[str, Any]:
        return self.at(1.0).roles

    @property
    def specs(self) -> list[Any]:
        return self.at(1.0).specs

    @property
    def pixels(self) -> int:
        """What its end needs, and so its beginning, which shows no more."""
        return self.at(1.0).pixels

    @property
    def sampler(self) -> Callable[[int, Mapping, int, int], Any] | None:
        return self.at(1.0).sampler

    @property
    def grouped(self) -> int:
        return self.at(1.0).grouped
