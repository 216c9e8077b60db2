"""Random field augmentations: affine and colour changes whose parameters vary over the picture, as smooth Gaussian random fields.

Mansfield, Afkanpour, Morningstar, Singhal, "Random Field Augmentations for Self-Supervised Representation Learning", 2023, arXiv:2311.03629.
Departs from the paper in what its abstract leaves open, which is all that was at hand, as there is no public code: fields are stationary, of covariance
exp(-r^2 / (2 length^2)) along each axis, with distances in sides of the view; the strengths, lengths and probabilities are choices of ours. Fields follow
SimCLR's changes and compose with them: one resampling through one map a pixel, then the global colour matrix and each pixel's own, clamped once. Where a crop
shrinks the picture each pixel is a mean of samples, as without fields; what the field itself shrinks is not averaged.

The limit of infinite length is one global affine map and one colour matrix a view, with normally distributed parameters: the control, `random_field_global`.
"""

from __future__ import annotations

import dataclasses
import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.groups import Affine, Colour, Picture, matrices
from manyviews.views import resample
from manyviews.views.changes import Change, Drawn
from manyviews.views.composing import LUMA, compose_colour, compose_geometry, hue_turn, term_by_term
from manyviews.views.images import simclr
from manyviews.views.picture import Spec, draw, extents, gone
from manyviews.views.policy import Curriculum, Policy
from manyviews.views.resample import CHUNK, FARTHEST, Pictures, bilinear, blur, laid_out, nearer, see, shrinkage, understood

SPREADS = {  # of each parameter at strength 1: its standard deviation
    "affine": {"rotation": 0.15, "scale": 0.1, "shear": 0.1, "right": 0.03, "down": 0.03},  # radians, logarithm of the factor, slope, shares of the side
    "colour": {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.05},  # factors less 1, and turns
}
SHORTEST = 1 / 64  # correlation length, in sides of the view
REACH = 20**0.5  # waves of a length times wave number above this have less than 1e-4 of the power and are left out


def random_field(size: int, affine: float = 1.0, colour: float = 1.0, length: float = 0.25, p: float = 0.5) -> Policy:
    """SimCLR's views, with fields on top.

    affine, colour: strength of the local affine maps and of the local colour changes, on the scale of `SPREADS`. length: over which the fields are correlated,
    in sides of the view; infinite: one value for the whole view. p: of the affine and of the colour field, each for itself.
    """
    return with_fields(simclr(size), affine, colour, length, p)


def random_field_affine(size: int) -> Policy:
    """Local affine maps alone."""
    return random_field(size, colour=0.0)


def random_field_colour(size: int) -> Policy:
    """Local colour changes alone."""
    return random_field(size, affine=0.0)


def random_field_mild(size: int) -> Policy:
    """Both, of half the strength."""
    return random_field(size, 0.5, 0.5)


def random_field_strong(size: int) -> Policy:
    """Both, of twice the strength."""
    return random_field(size, 2.0, 2.0)


def random_field_global(size: int) -> Policy:
    """The control: changes of the same strength that are the same everywhere in a view."""
    return random_field(size, length=math.inf)


def with_fields(policy: Policy | Curriculum, affine: float = 1.0, colour: float = 1.0, length: float = 0.25, p: float = 0.5) -> Policy:
    """Any policy of pictures with fields on top of each of its views.

    Raises ValueError for one that does more than its specs say, which goes around this one (`styled(with_fields(simclr(32)))`,
    `easy_first(...)`, `Pairs(with_fields(simclr(32)).roles)`), and for specs of another kind.
    """
    kind = type(policy).__name__
    if isinstance(policy, Curriculum) or type(policy).__call__ is not Policy.__call__:
        raise ValueError(f"fields are drawn with a view's other changes, and {kind} makes more of its views than those; put {kind} around this")
    strange = ", ".join(sorted({type(s).__name__ for s in policy.specs if not isinstance(s, Spec)}))
    if strange:
        raise ValueError(f"fields follow the changes of plain pictures, and these views are made by {strange}; take a policy such as simclr")

    def of(spec: Spec) -> FieldSpec:
        return FieldSpec(spec.size, spec.changes, affine, colour, length, p)

    return dataclasses.replace(policy, roles={role: [of(s) for s in spec] if isinstance(spec, list) else of(spec) for role, spec in policy.roles.items()})


@dataclasses.dataclass(frozen=True)
class FieldSpec:
    """One view: its side in pixels, the changes that make it, and the fields that follow them."""

    size: int
    changes: tuple[Change, ...]
    affine: float = 1.0
    colour: float = 1.0
    length: float = 0.25
    p: float = 0.5

    def __post_init__(self) -> None:
        wrong = [f"{name} {getattr(self, name)}: expected 0 (none) or more" for name in ("affine", "colour") if getattr(self, name) < 0]
        if not self.length >= SHORTEST:
            wrong.append(f"length {self.length}: expected sides of the view, at least 1/{round(1 / SHORTEST)}; for noise in single pixels take another change")
        if not 0 <= self.p <= 1:
            wrong.append(f"p {self.p}: expected a probability, 0 to 1")
        if wrong:
            raise ValueError("; ".join(wrong))

    @property
    def pixels(self) -> int:
        return Spec(self.size, self.changes).pixels

    def apply(self, samples: View, counter: Counter, roles: list[str]) -> list[View]:
        """Crop, warp, blur, colours: as `manyviews.views.picture.apply`, with maps and matrices that depend on the place."""
        count = len(samples)
        drawn = draw(Spec(self.size, self.changes), int(samples.x[0].shape[-1]), samples.index, counter, roles)
        geometry = compose_geometry(self.size, extents(samples).repeat(len(roles), 1), drawn)
        numbers = {kind: self.numbers(kind, samples.index, counter, roles) for kind in SPREADS}
        lost, threshold = gone(drawn)
        if math.isinf(self.length):
            geometry = warped(geometry, synthesised(numbers["affine"], self.at(1, geometry)), self.size)
            x, mean = see(samples.x, geometry.matrix, self.size, lost.get("blur"))
        else:
            x, mean = self.look(samples.x, geometry, numbers["affine"], lost.get("blur"))
            lost |= {f"{kind}_field": z.flatten(1).square().mean(1).sqrt() for kind, z in numbers.items()}
        colour, x = self.paint(x, mean, drawn, numbers["colour"], threshold)
        g = Picture(geometry, colour, lost)
        parts = [slice(i * count, (i + 1) * count) for i in range(len(roles))]
        return [View(x[part], samples.index, g[part], samples.given) for part in parts]

    def numbers(self, kind: str, index: Int[Tensor, "batch"], counter: Counter, roles: list[str]) -> Float[Tensor, "views fields waves waves"]:
        """What the fields of one kind are made of, by parameter in the order of SPREADS; 0 where a view has none."""
        spread = getattr(self, kind) * torch.tensor([*SPREADS[kind].values()], device=index.device)
        waves = len(self.at(1, index))
        found = []
        for role in roles:
            hit = counter.uniform(f"{role}/{kind}_field/hit", index) < self.p
            z = counter.normal(f"{role}/{kind}_field", index, len(spread), waves, waves) if getattr(self, kind) else 0.0
            found.append(z * (hit[:, None] * spread)[:, :, None, None] * torch.ones(waves, waves, device=index.device))
        return torch.cat(found)

    def at(self, fine: int, like: Affine | Tensor) -> Float[Tensor, "waves places"]:
        """The waves at the centres of `fine` times as many pixels a side; one place is enough where nothing depends on it."""
        device = like.device if isinstance(like, Tensor) else like.matrix.device
        places = self.size * fine if math.isfinite(self.length) else 1
        return basis(self.length, (torch.arange(places, device=device, dtype=torch.float64) + 0.5) / places)

    def look(
        self, x: Pictures, geometry: Affine, numbers: Float[Tensor, "views fields waves waves"], sigma: Float[Tensor, "views"] | None
    ) -> tuple[Float[Tensor, "views channels size size"], Float[Tensor, "views channels"]]:
        """Pictures seen through the crop, warped where there is a field, and each view's mean before the blur."""
        out, mean = see(x, geometry.matrix, self.size)
        hit = numbers.flatten(1).any(1).nonzero()[:, 0]
        if len(hit):
            chosen = [x[i] for i in (hit % len(x)).tolist()]
            out[hit] = self.warped(chosen, geometry.matrix[hit], numbers[hit])
            mean[hit] = out[hit].mean((2, 3), dtype=torch.float64).float()
        return (out if sigma is None else blur(out, sigma)), mean

    def warped(self, x: Pictures, matrix: Float[Tensor, "views 3 3"], numbers: Float[Tensor, "views fields waves waves"]) -> Tensor:
        """Pictures through one map a pixel: the inverse of the crop after the field's."""
        x = understood(x)
        if float(shrinkage(matrix).max()) > FARTHEST:
            x, matrix = nearer(x, matrix)
        flat, start, extent = laid_out(x)
        channels, back = x[0].shape[-1], torch.linalg.inv(matrix.double())
        fine = (shrinkage(matrix) - 1e-3).ceil().clamp(min=1).long()
        out = torch.empty(len(matrix), channels, self.size, self.size, device=matrix.device)
        for k in fine.unique().tolist():
            waves = self.at(k, matrix)
            for rows in (fine == k).nonzero()[:, 0].split(max(1, CHUNK // (8 * (self.size * k) ** 2))):
                right, down = sources(synthesised(numbers[rows], waves), self.size)
                places = [back[rows, i, 0, None, None] * right + back[rows, i, 1, None, None] * down + back[rows, i, 2, None, None] for i in (0, 1)]
                seen = bilinear(flat, start[rows], extent[rows], channels, places)
                out[rows] = F.avg_pool2d(seen, k) if k > 1 else seen
        return out

    def paint(
        self, x: Float[Tensor, "views channels size size"], mean: Float[Tensor, "views channels"], drawn: Drawn, numbers: Tensor, threshold: Tensor | None
    ) -> tuple[Colour, Float[Tensor, "views channels size size"]]:
        """The colours through the global matrix and the field's, clamped once; what is the same everywhere is in the Colour that comes back."""
        whole = compose_colour(mean, drawn) or Colour(torch.eye(x.shape[1], x.shape[1] + 1, device=x.device).repeat(len(x), 1, 1))
        level, hit = whole.act(mean[:, :, None, None])[:, :, 0, 0], numbers.flatten(1).any(1).nonzero()[:, 0]
        if math.isinf(self.length):
            local = colour_matrices(synthesised(numbers, self.at(1, numbers)), level)[..., 0, 0]
            whole = Colour((Colour(local) @ whole).matrix, whole.parameters)
            return whole, resample.paint(x, whole, threshold)
        x, waves = whole.act(x), self.at(1, numbers)
        for rows in hit.split(max(1, CHUNK // (32 * self.size**2))):
            m = colour_matrices(synthesised(numbers[rows], waves), level[rows])
            values = m[:, :, -1]
            for channel in range(x.shape[1]):
                values = torch.addcmul(values, m[:, :, channel], x[rows, channel, None])
            x[rows] = values
        return whole, resample.paint(x, None, threshold)


# --- Gaussian random fields -------------------------------------------------------------------------------------------------------------------


def basis(length: float, at: Float[Tensor, "places"]) -> Float[Tensor, "waves places"]:
    """Cosines and sines along one axis, weighted: with z standard normal, sum_ij z_ij basis_i(y) basis_j(x) is a field of variance 1 and of covariance
    exp(-r^2 / (2 length^2)).

    It is white noise on a torus filtered by exp(-length^2 k^2 / 4): power exp(-length^2 k^2 / 2). The torus is four lengths longer than the view, so that
    its opposite edges know nothing of each other; waves that the filter takes away are not drawn.
    """
    if math.isinf(length):
        return torch.ones(1, len(at), device=at.device)
    period = 1 + 4 * length
    count = math.ceil(REACH * period / (2 * math.pi * length))
    k = 2 * math.pi * torch.arange(count + 1, device=at.device, dtype=torch.float64) / period
    power = (-0.5 * (length * k).square()).exp() * torch.where(k > 0, 2.0, 1.0)
    amplitude = (power / power.sum()).sqrt()[:, None]
    waves = torch.cat([amplitude * (k[:, None] * at).cos(), amplitude[1:] * (k[1:, None] * at).sin()])
    return waves.float()


def synthesised(z: Float[Tensor, "views fields waves waves"], waves: Float[Tensor, "waves places"]) -> Float[Tensor, "views fields places places"]:
    """The fields, summed term by term: a product of matrices may round otherwise in another batch."""
    rows = z[..., :1] * waves[0]
    for j in range(1, len(waves)):
        rows = torch.addcmul(rows, z[..., j, None], waves[j])
    out = rows[..., :1, :] * waves[0][:, None]
    for i in range(1, len(waves)):
        out = torch.addcmul(out, rows[..., i, None, :], waves[i][:, None])
    return out


# --- places -----------------------------------------------------------------------------------------------------------------------------------


def local_maps(fields: Float[Tensor, "views 5 *places"]) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """The linear part of each place's map: turned, sheared, scaled."""
    angle, scale, shear = fields[:, 0].double(), fields[:, 1].double().exp(), fields[:, 2].double()
    cos, sin = scale * angle.cos(), scale * angle.sin()
    return (cos, shear * cos - sin), (sin, shear * sin + cos)


def sources(fields: Float[Tensor, "views 5 fine fine"], size: int) -> tuple[Tensor, Tensor]:
    """Where each pixel of the warped view comes from in the view as it was cropped, in its pixels: A(theta(x)) x + shift(theta(x)), about the centre."""
    places = fields.shape[-1]
    at = ((torch.arange(places, device=fields.device, dtype=torch.float64) + 0.5) / places - 0.5) * size
    (a, b), (c, d) = local_maps(fields)
    right, down = fields[:, 3].double() * size, fields[:, 4].double() * size
    return a * at + b * at[:, None] + right + size / 2, c * at + d * at[:, None] + down + size / 2


def warped(geometry: Affine, fields: Float[Tensor, "views 5 1 1"], size: int) -> Affine:
    """The crop followed by the same warp everywhere."""
    (a, b), (c, d) = ((entry[:, 0, 0] for entry in row) for row in local_maps(fields))
    right, down = fields[:, 3, 0, 0].double() * size, fields[:, 4, 0, 0].double() * size
    h = size / 2
    back = matrices([[a, b, h + right - a * h - b * h], [c, d, h + down - c * h - d * h], [0, 0, 1]], like=a)
    parameters = {name: fields[:, i, 0, 0] for i, name in enumerate(SPREADS["affine"])}
    matrix = (torch.linalg.inv(back) @ geometry.matrix.double()).to(geometry.matrix.dtype)
    return Affine(matrix, {**geometry.parameters, **parameters})


# --- colours ----------------------------------------------------------------------------------------------------------------------------------


def colour_matrices(fields: Float[Tensor, "views 4 *places"], mean: Float[Tensor, "views channels"]) -> Float[Tensor, "views channels columns *places"]:
    """One matrix a place: hue, saturation, contrast about the view's mean grey, brightness; without three channels contrast and brightness alone."""
    b, c, s = (1 + fields[:, :3]).clamp(min=0).unbind(1)
    channels, places = mean.shape[1], fields.shape[2:]
    grey = term_by_term(LUMA if channels == 3 else [1 / channels] * channels, mean)
    offset = (b * (1 - c) * grey.view(-1, *[1] * len(places)))[:, None, None].expand(-1, channels, 1, *places)
    if channels != 3:
        unit = torch.eye(channels, device=mean.device).view(1, channels, channels, *[1] * len(places))
        return torch.cat([unit * (b * c)[:, None, None], offset], 2)
    turn = hue_turn(2 * math.pi * fields[:, 3].flatten()).view(*fields[:, 3].shape, 3, 3).movedim((-2, -1), (1, 2))
    luma = LUMA[0] * turn[:, 0] + LUMA[1] * turn[:, 1] + LUMA[2] * turn[:, 2]
    linear = (b * c)[:, None, None] * (s[:, None, None] * turn + (1 - s)[:, None, None] * luma[:, None])
    return torch.cat([linear, offset], 2)
