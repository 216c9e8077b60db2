"""Symmetry: what does an encoder ignore, and what does it keep track of?

For one transformation, on tuples (x, g, gx), z = f(x). Fits see training objects, their scores other objects; intervals resample objects. The shares below
are skill(T, P, B) = 1 - E|T - P|^2 / E|T - B|^2, where B is the training mean unless said otherwise.

- invariance = 1 - omega, omega = E_x Var_g f(gx) / Var_{x,g} f(gx). A constant encoder is called collapsed, not invariant.
- moved (curve) = E|f(gx) - f(x)|^2 / E(|f(gx) - m|^2 + |f(x) - m|^2): 0 unmoved, 1 as far as unrelated samples are; m is the mean embedding.
- equivariance = 1 - E|f(gx) - rho(g) f(x)|^2 / E|f(gx) - mean f|^2 where rho is given; beside it what resampling the input loses.
- explained by P: skill with T = f(gx) and P = f(x) (identity), b(g) (g alone), W(g) f(x) with W(g) = sum_k phi_k(g) W_k (a linear map), a linear or an
  orthogonal map for each element. move explained by P: the same with B = f(x), a share of the move; beside it that of the mean.
- composition error = E|W(h) W(g) z - W(hg) z|^2 / E|W(hg) z - m|^2.
- R2: skill with T the parameters of g and P read from (z, f(gx)) by a linear reader and a perceptron; of rotations with T their matrices, beside the angle in
  degrees between true and read rotation (median), and the share within 30 degrees.
- MRR, H@k: means of 1 / rank and of rank <= k, where rank is that of f(gx) by cosine with W(g) f(x) among the other views of the object.
- Lie norm: `symmetry_lie`.
- curves: moved, explained, R2 and the angle of the pairs of each strength, fitted on all; shares of a move and of g begin beyond the identity. Error of g
  (curve) = E|T - P|^2 / E|T - B|^2, the latter over all strengths.

Garrido et al., "Self-supervised learning of Split Invariant Equivariant representations" (SIE), ICML 2023, arXiv:2302.10283, measure R2, MRR and H@k.
Departs from the papers: R2 has one mean a component, ranks leave the source view out and share ties; `papers=True` adds SIE's own R2, which is not comparable.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

from jaxtyping import Bool, Float, Int
from torch import Tensor

from manyviews.errors import InputError
from manyviews.evaluate.scores import Score
from manyviews.evaluate.symmetry_fitted import Decoding, Found, Maps, Setting
from manyviews.evaluate.symmetry_lie import LieNorm
from manyviews.evaluate.symmetry_maps import kept_back
from manyviews.evaluate.symmetry_scores import INVARIANT, collapsed, given_error, one_minus, orbit_variance, ratio, squares
from manyviews.evaluate.symmetry_tuples import Tuples

Curve = list[tuple[float, Score]]
FITTED = ("explained", "R2", "retrieval")
FEWEST = 8  # objects for which a fit on some says anything of others


@dataclasses.dataclass(frozen=True)
class Symmetry:
    """What an encoder does with one transformation."""

    transformation: str
    verdict: str  # one sentence
    scores: Mapping[str, Score]
    beside: Mapping[str, float] = dataclasses.field(default_factory=dict)  # what chance, a constant or the input itself reach
    refused: Mapping[str, str] = dataclasses.field(default_factory=dict)  # what was not measured, and why
    curves: Mapping[str, Curve] = dataclasses.field(default_factory=dict)  # name -> (strength, score), from the identity to full strength

    def rows(self) -> list[tuple[str, str]]:
        """The table: a name and what is to be printed beside it."""
        lines = [(name, f"{score}") for name, score in self.scores.items()]
        lines += [(name, f"{value:.3g}") for name, value in self.beside.items()]
        return lines + [(name, f"refused: {why}") for name, why in self.refused.items()]

    def with_lie(self, norm: LieNorm) -> Symmetry:
        """The same with the Lie norm, which needs the encoder itself and is measured apart (`lie_norm`)."""
        return dataclasses.replace(self, scores={**self.scores, f"Lie norm ({norm.mode})": norm.score})

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` reads them."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Symmetry:
        scores = {name: Score(**s) for name, s in saved["scores"].items()}
        curves = {name: [(float(at), Score(**s)) for at, s in points] for name, points in saved["curves"].items()}
        return cls(saved["transformation"], saved["verdict"], scores, saved["beside"], saved["refused"], curves)


def measure(
    transformation: str,
    tuples: Tuples,
    expected: Float[Tensor, "pairs dim"] | None = None,
    floor: float | None = None,
    basis: Callable[[Float[Tensor, "pairs numbers"]], Float[Tensor, "pairs functions"]] | None = None,
    compose: Callable[[Tensor, Tensor], Tensor] | None = None,
    side: str = "world",
    test: Bool[Tensor, "pairs"] | None = None,
    papers: bool = False,
    hits: tuple[int, ...] = (1, 5),
    most: int = 2000,
    seed: int = 0,
) -> Symmetry:
    """All that can be said of one transformation. Everything is computed in float64 on the CPU, from the embeddings alone.

    expected: rho(g) f(x) of each pair, where a representation is declared; floor: what resampling loses of the input.
    basis: the functions phi of the parameters; None: 1 and the parameters, or 1 and the matrix where g is a rotation.
    compose: (parameters of g, of h) -> those of hg, g first; None: known for rotations alone. side: of rotations, "world" or "body".
    test: pairs to score on; None: those of 3 in 10 objects. most: pairs of each part that fits and scores use.
    """
    tuples = tuples.cpu()
    if not tuples.acting.any():
        raise InputError(f"every element of {transformation!r} is the identity (strength 0), so there is nothing to measure; give strengths up to 1")
    if collapsed(tuples.z):
        why = "collapsed, not invariant: the encoder gives one vector for all samples, whatever is done to them"
        return Symmetry(transformation, why, {}, refused=dict.fromkeys(("invariance", *FITTED), why))
    rows, found = tuples.orbit_rows(), Found()
    omega = orbit_variance(tuples.z[rows], tuples.objects[rows], seed)
    found.scores["invariance"], found.beside["orbit variance ratio"] = one_minus(omega), omega.value
    found.curves["moved"] = moved(tuples, seed)
    if expected is not None:
        given(found, tuples, expected.detach().cpu().double(), floor, seed)
    reason = unfit(tuples, omega.value)
    if reason is None:
        setting = Setting.of(tuples, test, basis, side, most, seed)
        Maps(setting, found, compose, hits).measure()
        Decoding(setting, found, papers).measure()
    else:
        found.refused.update(dict.fromkeys(FITTED, reason))
    return Symmetry(transformation, reason or "measured", found.scores, found.beside, found.refused, found.curves)


def unfit(tuples: Tuples, omega: float) -> str | None:
    """Why what needs a fit is not measured; None: it is."""
    if omega < INVARIANT:
        left = "what is left of g is float noise, and a score would measure that"
        return f"invariant: the variance within orbits is {omega:.1e} of all, below {INVARIANT:g}; {left}"
    objects = len(tuples.object_of_pair.unique())
    if objects < FEWEST:
        return f"fits need at least {FEWEST} objects, some to fit and some to score; there are {objects}"
    return None


def given(found: Found, tuples: Tuples, expected: Float[Tensor, "pairs dim"], floor: float | None, seed: int) -> None:
    """Equivariance under a representation that is declared: all objects count, for nothing is fitted."""
    at = tuples.acting
    error = given_error(tuples.after[at], expected[at], tuples.object_of_pair[at], seed)
    found.scores["equivariance, rho given"] = one_minus(error)
    found.beside["equivariance error, rho given"] = error.value
    if floor is not None:
        found.beside["equivariance error that resampling the input makes"] = floor


def moved(tuples: Tuples, seed: int = 0) -> Curve:
    """How far the embedding moves at each strength: 0 not at all, 1 as far as from one sample to an unrelated one."""
    mean = tuples.z.double().mean(0)
    curve = []
    for at in tuples.strength.unique().tolist():
        own = tuples.strength == at
        x, gx = tuples.z[tuples.source[own]].double(), tuples.z[tuples.target[own]].double()
        curve.append((at, ratio(squares(gx - x), squares(gx - mean) + squares(x - mean), tuples.object_of_pair[own], seed)))
    return curve


def measure_layers(transformation: str, layers: Mapping[str, Float[Tensor, "views _"]], tuples: Tuples, **options: Any) -> dict[str, Symmetry]:
    """`measure` of each layer's features, whose rows are those of `tuples.z`."""
    wrong = [f"layer {name!r} has {len(z)} rows of features; there are {len(tuples.z)} views" for name, z in layers.items() if len(z) != len(tuples.z)]
    if wrong:
        raise InputError(*wrong)
    return {name: measure(transformation, dataclasses.replace(tuples, z=z), **options) for name, z in layers.items()}


def scored_pairs(objects: Int[Tensor, "pairs"], share: float = 0.3, seed: int = 0) -> Bool[Tensor, "pairs"]:
    """The pairs of a random share of the objects: give it to several measurements so that all are scored on the same objects."""
    return kept_back(objects, share, seed)
