"""SIE: one half of the representation ignores how a sample was transformed, and the other keeps track of it by a linear map that the transformation chooses.

Garrido, Najman, LeCun, "Self-supervised learning of Split Invariant Equivariant representations", ICML 2023, arXiv:2302.10283.
Departs from the paper: quaternions have w >= 0 before they are composed, as they have in the paper's range of poses; where samples come without poses, the
group elements of two views that were drawn stand for them (matrices, in units of a view), so that it runs wherever views have some. The recipe is the
authors' command, with Adam's weight decay apart from the gradient; their program says 4.5 for `equivariance` where nothing is said, the command 0.45.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.errors import InputError
from manyviews.groups import Affine, Picture
from manyviews.groups.lie import quaternions, relative_quaternion
from manyviews.nn.distributed import gather
from manyviews.nn.mlp import mlp
from manyviews.objectives.vicreg import narrowness, redundancy

PREDICTORS = ("hypernetwork", "mlp")


class SIE(Method):
    """The first numbers of the representation are invariant, the last `equivariant` ones equivariant.

    equivariant: how many numbers of the representation are; None: half of them (256 of 512). All of them: equivariance alone, the paper's
        ablation, which has `equivariance` 1.
    predictor: "hypernetwork", linear maps that depend linearly on what happened, or "mlp", a perceptron that sees it beside the embedding.
    predictor_layers: linear layers of that perceptron.
    invariance: weight of the squared distance of the invariant halves. equivariance: that of the equivariant ones after prediction, as a share of it.
    variance: weight of the hinges that keep deviations above 1: of both whole embeddings, and of what is predicted. covariance: see vicreg.
    facts: names, with commas, of what else is told of a pair beside pose or element: "floor_hue,light_hue" of 3DIEBench, "hue" of drawn views.
    side: of relative poses: "body", about the object's own axes (the paper's), or "world", about those of the room.
    numbers: how many numbers tell two views apart; None: 4 for poses, 6 or 12 for drawn elements of the plane or of space, and one for each of `facts`.
    """

    recipe = Recipe(views="sie", optimizer="adamw", lr=1e-3 / 4, weight_decay=1e-6, warmup=0.0, schedule="constant")

    def __init__(
        self,
        encoder: Encoder,
        hidden: int = 2048,
        out: int = 2048,
        equivariant: int | None = None,
        predictor: str = "hypernetwork",
        predictor_layers: int = 1,
        invariance: float = 10.0,
        equivariance: float = 0.45,
        variance: float = 10.0,
        covariance: float = 1.0,
        facts: str = "",
        side: str = "body",
        numbers: int | None = None,
        columns: Sequence[str] = (),
    ):
        super().__init__()
        equivariant = encoder.dim // 2 if equivariant is None else equivariant
        problems = [
            *([f"equivariant={equivariant}; 1 to all {encoder.dim} numbers of the representation are"] if not 0 < equivariant <= encoder.dim else []),
            *([f"predictor={predictor!r}; there are {', '.join(PREDICTORS)}"] if predictor not in PREDICTORS else []),
            *([f"side={side!r}; expected body or world"] if side not in ("body", "world") else []),
        ]
        if problems:
            raise InputError(*problems)
        self.encoder, self.split, self.side = encoder, encoder.dim - equivariant, side
        self.facts = [fact.strip() for fact in facts.split(",") if fact.strip()]
        usual = 4 if "rotation" in columns else 12 if encoder.axes == 3 else 6
        self.numbers = usual + len(self.facts) if numbers is None else numbers
        share = equivariant / encoder.dim
        widths = [(round(hidden * part), round(out * part)) for part in (1 - share, share)]
        self.invariant_projector = mlp(self.split, widths[0][0], *widths[0], last_bias=False) if self.split else None
        self.equivariant_projector = mlp(equivariant, widths[1][0], *widths[1], last_bias=False)
        width = widths[1][1]
        self.predictor = Hypernetwork(self.numbers, width) if predictor == "hypernetwork" else Perceptron(self.numbers, width, predictor_layers)
        self.weights = (invariance, equivariance * invariance, variance, covariance)

    def loss(self, v: View, w: View) -> Terms:
        happened = self.happened(v, w)
        (vi, ve), (wi, we) = self.embeddings(v), self.embeddings(w)
        with torch.autocast(ve.device.type, enabled=False):
            vi, ve, wi, we = vi.float(), ve.float(), wi.float(), we.float()
            predicted = self.predictor(ve, happened.to(ve))
            invariance, equivariance, variance, covariance = self.weights
            both = [gather(torch.cat(halves, 1)) for halves in ((vi, ve), (wi, we))]  # the halves together, so that they do not say the same
            terms = {
                "equivariance": equivariance * F.mse_loss(predicted, we),
                "variance": variance * (narrowness(both[0]) + narrowness(both[1])) / 2,
                "prediction_variance": variance * narrowness(gather(predicted)) / 2,
                "covariance": covariance * (redundancy(both[0]) + redundancy(both[1])),
            }
            return {"invariance": invariance * F.mse_loss(vi, wi), **terms} if self.split else terms

    def embeddings(self, view: View) -> tuple[Float[Tensor, "batch invariant"], Float[Tensor, "batch equivariant"]]:
        """Of both halves; the first one has no numbers where there is no invariant half."""
        y = self.encoder(view)
        equivariant = self.equivariant_projector(y[:, self.split :])
        return self.invariant_projector(y[:, : self.split]) if self.invariant_projector is not None else equivariant[:, :0], equivariant

    def happened(self, v: View, w: View) -> Float[Tensor, "batch numbers"]:
        """What tells w from v, as the predictor gets it. Raises InputError where the views do not say it, or in other numbers."""
        z = torch.cat([element(v, w, self.side), *(fact(w, name) - fact(v, name) for name in self.facts)], 1)
        if z.shape[1] != self.numbers:
            raise InputError(f"{z.shape[1]} numbers tell these views apart, and the predictor was made for {self.numbers}: --set numbers={z.shape[1]}")
        return z


class Hypernetwork(nn.Module):
    """y = W(z) x with W(z) = sum_k z_k W_k: no bias anywhere, so that what happened cannot be ignored."""

    def __init__(self, numbers: int, width: int):
        super().__init__()
        self.maps = nn.Parameter(torch.empty(numbers, width, width).uniform_(-1, 1) / math.sqrt(numbers))

    def forward(self, x: Float[Tensor, "batch width"], z: Float[Tensor, "batch numbers"]) -> Float[Tensor, "batch width"]:
        return torch.einsum("bk,bki->bi", z, torch.einsum("kij,bj->bki", self.maps, x))


class Perceptron(nn.Module):
    """y = MLP(z, x): the predictor of EquiMod (Devillers, Lefort, ICLR 2023, arXiv:2211.01244), which may ignore z."""

    def __init__(self, numbers: int, width: int, layers: int):
        super().__init__()
        self.layers = mlp(numbers + width, *[width] * layers, norm=False)

    def forward(self, x: Float[Tensor, "batch width"], z: Float[Tensor, "batch numbers"]) -> Float[Tensor, "batch width"]:
        return self.layers(torch.cat([z, x], 1))


# --- what happened ----------------------------------------------------------------------------------------------------------------------------


def element(v: View, w: View, side: str = "body") -> Float[Tensor, "batch numbers"]:
    """The relative pose as a quaternion, or the map from view v to view w of what was drawn, as the rows of its matrix."""
    a, b = (geometry(view.g) for view in (v, w))
    if a is None or b is None:
        raise InputError(
            f"sie needs to know how views came about, as group elements, and these say {type(v.g).__name__}: give samples with poses (--as renders), "
            "or views that turn, shift or scale (pictures, points, volumes)"
        )
    if posed(v.g) and posed(w.g):
        p, q = quaternions(a.matrix[:, :3, :3]), quaternions(b.matrix[:, :3, :3])
        if side == "body":
            return relative_quaternion(p, q)
        back = torch.tensor([1.0, -1.0, -1.0, -1.0], device=p.device)
        return relative_quaternion(q * back, p * back)  # q2 conj(q1)
    n = a.matrix.shape[-1] - 1
    scale = unit(v, n).to(a.matrix)
    relative = torch.linalg.inv(scale) @ (b @ a.inverse()).matrix @ scale
    return relative[:, :n].flatten(1)


def geometry(g: Any) -> Affine | None:
    return g.geometry if isinstance(g, Picture) else g if isinstance(g, Affine) else None


def posed(g: Any) -> bool:
    """Whether it is a pose alone: a motion of space without a shift that nobody drew (drawn elements tell more, as `Picture`)."""
    return isinstance(g, Affine) and g.matrix.shape[-1] == 4 and not bool(g.matrix[:, :3, 3].any())


def unit(view: View, axes: int) -> Float[Tensor, "n n"]:
    """From coordinates in which a picture goes from -1 to 1 to its pixels; of what is no picture, coordinates are as they are."""
    m = torch.eye(axes + 1)
    if axes == 2 and isinstance(view.x, Tensor) and view.x.dim() >= 4:
        half = torch.tensor([view.x.shape[-1] / 2, view.x.shape[-2] / 2])
        m[0, 0], m[1, 1], m[:2, 2] = half[0], half[1], half
    return m


def fact(view: View, name: str) -> Float[Tensor, "batch 1"]:
    """A number that came with the samples, or that was drawn for the view."""
    drawn = getattr(view.g, "parameters", {})
    found = view.given.get(name, drawn.get(name))
    if found is None or found.dim() > 1:
        there = [key for key, value in {**drawn, **view.given}.items() if value.dim() == 1]
        raise InputError(f"facts={name}: these views do not say it; there are {', '.join(there) or 'none'}")
    return found.float()[:, None]
