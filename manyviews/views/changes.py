"""What may change in a picture, as data; `manyviews.views.picture` applies it."""

from __future__ import annotations

import dataclasses

from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Crop:
    """A random rectangle of `scale` of the area and width/height `ratio`, stretched to the view (Inception crop)."""

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)


@dataclasses.dataclass(frozen=True)
class Centre:
    """The largest centred rectangle of the view's shape: nothing random."""


@dataclasses.dataclass(frozen=True)
class Flip:
    """Left and right exchanged."""

    p: float = 0.5


@dataclasses.dataclass(frozen=True)
class Rotate:
    """A rotation about the centre by up to `degrees` either way."""

    degrees: float
    p: float = 1.0


@dataclasses.dataclass(frozen=True)
class Jitter:
    """Brightness, contrast and saturation factors in [1 - s, 1 + s], hue turned by up to `hue` of a full turn; in random order."""

    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    p: float = 0.8


@dataclasses.dataclass(frozen=True)
class Shuffle:
    """The colour channels in a random order."""

    p: float = 0.5


@dataclasses.dataclass(frozen=True)
class Grey:
    """All three channels replaced by the luma; pictures of other than three channels stay as they are."""

    p: float = 0.2


@dataclasses.dataclass(frozen=True)
class Blur:
    """A Gaussian of standard deviation `sigma` pixels of the view."""

    p: float = 0.5
    sigma: tuple[float, float] = (0.1, 2.0)


@dataclasses.dataclass(frozen=True)
class Solarize:
    """Values from `threshold` on inverted, after everything else."""

    p: float = 0.2
    threshold: float = 0.5


Change = Crop | Centre | Flip | Rotate | Jitter | Shuffle | Grey | Blur | Solarize
ONE_EACH = 0  # as many numbers as there are channels
NUMBERS: dict[type, dict[str, int]] = {  # how many random numbers each change takes, by name
    Crop: {"shape": 20, "corner": 2},
    Centre: {},
    Flip: {"hit": 1},
    Rotate: {"hit": 1, "angle": 1},
    Jitter: {"hit": 1, "factors": 4, "order": 4},
    Shuffle: {"hit": 1, "order": ONE_EACH},
    Grey: {"hit": 1},
    Blur: {"hit": 1, "sigma": 1},
    Solarize: {"hit": 1},
}
Drawn = list[tuple[Change, dict[str, Tensor]]]  # each change with its numbers in [0, 1), (count, views)
