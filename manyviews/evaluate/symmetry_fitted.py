"""The numbers of `symmetry` that need a fit: maps of the embedding with retrieval by them, and reading g back. Fitted on training objects, scored on others."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from manyviews.errors import InputError
from manyviews.evaluate.scores import Score
from manyviews.evaluate.symmetry_decoding import READERS, angle, fit_decoder, nearest_rotation
from manyviews.evaluate.symmetry_maps import Linear, composition_error, fit_linear, fit_orthogonal, kept_back
from manyviews.evaluate.symmetry_retrieval import chance, ranks, views_of_objects
from manyviews.evaluate.symmetry_retrieval import hits as within
from manyviews.evaluate.symmetry_scores import mean_over_objects, median_over_objects, one_minus, r2_sie, ratio, skill, squares
from manyviews.evaluate.symmetry_tuples import Tuples

CLOSE = 30.0  # degrees within which a rotation counts as found


@dataclasses.dataclass(frozen=True)
class Setting:
    """Which pairs are fitted and which are scored, and what maps see of g."""

    tuples: Tuples
    train: Int[Tensor, "train"]
    test: Int[Tensor, "test"]
    phi: Float[Tensor, "pairs functions"]
    scale: Float[Tensor, "numbers"]
    basis: Callable[[Tensor], Tensor] | None
    side: str
    seed: int

    @classmethod
    def of(cls, tuples: Tuples, test: Bool[Tensor, "pairs"] | None, basis: Callable[[Tensor], Tensor] | None, side: str, most: int, seed: int) -> Setting:
        objects = tuples.object_of_pair
        test = kept_back(objects, 0.3, seed) if test is None else test.cpu()
        both = set(objects[test].tolist()) & set(objects[~test].tolist())
        if both:
            raise InputError(f"{len(both)} objects have pairs on both sides, {sorted(both)[:3]} ...; what is fitted on an object may not be scored on it")
        if test.all() or not (test & tuples.acting).any():
            raise InputError("fits need pairs of training objects and pairs of test objects; one side is empty")
        generator = torch.Generator().manual_seed(seed)

        def some(mask: Tensor) -> Tensor:
            rows = mask.nonzero()[:, 0]
            return rows[torch.randperm(len(rows), generator=generator)[:most]].sort().values

        train = some(~test)
        size = tuples.parameters[train].double().square().mean(0).sqrt()
        scale = torch.where(size > 0, size, torch.ones_like(size))
        setting = cls(tuples, train, some(test), torch.empty(len(objects), 0, dtype=torch.float64), scale, basis, side, seed)
        return dataclasses.replace(setting, phi=setting.functions(tuples.parameters, tuples.rotation))

    def functions(self, parameters: Float[Tensor, "pairs numbers"], rotation: Float[Tensor, "pairs 3 3"] | None) -> Float[Tensor, "pairs functions"]:
        """phi(g): a 1 and the parameters in units of their size, a 1 and the entries of the rotation, or what `basis` says."""
        if self.basis is not None:
            return self.basis(parameters.double()).double()
        own = parameters.double() / self.scale if rotation is None else rotation.double().flatten(1) / 3**0.5
        return torch.cat([torch.ones(len(own), 1, dtype=own.dtype), own], 1)

    @property
    def scored(self) -> Int[Tensor, "some"]:
        """Test pairs whose element is not the identity."""
        return self.test[self.tuples.acting[self.test]]

    def curve(self, score: Callable[[Int[Tensor, "own"]], Score], size: Float[Tensor, "test"] | None = None) -> list[tuple[float, Score]]:
        """A score of the test pairs at each strength; it gets their places among the test pairs.

        size: what the score is a share of. With it, pairs of the identity are left out, and strengths at which there is nothing to have a share of.
        """
        at, among = self.tuples.strength[self.test], torch.ones(len(self.test), dtype=torch.bool)
        if size is not None:
            acting = self.tuples.acting[self.test]
            among = acting & torch.isin(at, at[acting & (size > 1e-12 * size.mean())])
        return [(s, score(((at == s) & among).nonzero()[:, 0])) for s in at[among].unique().tolist()]


@dataclasses.dataclass
class Found:
    """What has been measured so far; the fields are those of `Symmetry`."""

    scores: dict[str, Score] = dataclasses.field(default_factory=dict)
    beside: dict[str, float] = dataclasses.field(default_factory=dict)
    refused: dict[str, str] = dataclasses.field(default_factory=dict)
    curves: dict[str, list[tuple[float, Score]]] = dataclasses.field(default_factory=dict)


class Part:
    """Numbers that belong together, written into `found`."""

    def __init__(self, setting: Setting, found: Found):
        self.setting = setting
        self.scores, self.beside, self.refused, self.curves = found.scores, found.beside, found.refused, found.curves
        tuples, seed = setting.tuples, setting.seed
        self.x, self.gx, self.objects, self.seed = tuples.before, tuples.after, tuples.object_of_pair, seed


class Maps(Part):
    """How well the move of the embedding is explained by maps of it, whether they compose, and what they find among the views."""

    def __init__(self, setting: Setting, found: Found, compose: Callable[[Tensor, Tensor], Tensor] | None, hits: tuple[int, ...]):
        super().__init__(setting, found)
        self.compose, self.hits = compose, hits

    def measure(self) -> None:
        s, train = self.setting, self.setting.train
        self.centre = self.gx[train].mean(0, keepdim=True)
        self.add("identity", self.x[s.test], move=False)
        shrunk = skill(self.gx[s.scored], self.centre.expand(len(s.scored), -1), self.x[s.scored], self.objects[s.scored], self.seed)
        self.beside["move explained by the mean embedding"] = shrunk.value  # of pure noise already a half
        alone = fit_linear(self.x[train], self.gx[train], s.phi[train], self.objects[train], sees_z=False, seed=self.seed)
        self.add("g alone", alone(s.phi[s.test], self.x[s.test]), move=False)
        linear = fit_linear(self.x[train], self.gx[train], s.phi[train], self.objects[train], seed=self.seed)
        mapped = linear(s.phi[s.test], self.x[s.test])
        self.add("a linear map", mapped)
        self.per_element()
        self.composition(linear)
        self.retrieval(mapped)

    def add(self, name: str, predicted: Float[Tensor, "test dim"], move: bool = True) -> None:
        """The scores and the curve of one prediction of f(gx) for the test pairs."""
        s = self.setting
        truth, own, acting = self.gx[s.test], self.objects[s.test], s.tuples.acting[s.test]

        def share(rows: Tensor, baseline: Tensor) -> Score:
            return skill(truth[rows], predicted[rows], baseline, own[rows], self.seed)

        self.scores[f"explained by {name}"] = share(acting, self.centre)
        self.curves[f"explained by {name}"] = s.curve(lambda rows: share(rows, self.centre))
        if move:
            x = self.x[s.test]
            self.scores[f"move explained by {name}"] = share(acting, x[acting])
            self.curves[f"move explained by {name}"] = s.curve(lambda rows: share(rows, x[rows]), squares(truth - x))

    def per_element(self) -> None:
        s, names = self.setting, ("a map for each element", "an orthogonal map for each element")
        element = s.tuples.element
        if element is None:
            why = "elements come once each; draw the same elements for all objects"
        elif not torch.isin(element[s.test], element[s.train]).all():
            why = "some elements have no training pair; draw the same elements for all objects"
        else:
            element = element.unique(return_inverse=True)[1]
            own = torch.nn.functional.one_hot(element).double()
            x, gx, objects = self.x[s.train], self.gx[s.train], self.objects[s.train]
            self.add(names[0], fit_linear(x, gx, own[s.train], objects, seed=self.seed)(own[s.test], self.x[s.test]))
            orthogonal = fit_orthogonal(x, gx, element[s.train], objects, self.seed)
            self.add(names[1], orthogonal(element[s.test], self.x[s.test]))
            return
        self.refused.update({f"explained by {name}": why for name in names})

    def composition(self, linear: Linear) -> None:
        """Each scored pair's g, followed by that of another scored pair where hg is within the range that was fitted."""
        s, rows = self.setting, self.setting.scored
        others = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.seed))]
        rotation, p = s.tuples.rotation, s.tuples.parameters.double()
        if rotation is not None and s.basis is None:
            g, h = rotation[rows].double(), rotation[others].double()
            both = s.functions(p[rows], h @ g if s.side == "world" else g @ h)
            inside = torch.ones(len(rows), dtype=torch.bool)
        elif self.compose is not None:
            composed = self.compose(p[rows], p[others])
            inside = ((composed >= p[s.train].amin(0)) & (composed <= p[s.train].amax(0))).all(1)
            both = s.functions(composed, None)
        else:
            self.refused["composition error"] = "nothing says how these elements compose"
            return
        if not inside.any():
            self.refused["composition error"] = "no product of two elements is within the range that the maps were fitted on"
            return
        rows, others = rows[inside], others[inside]
        error, size = composition_error(linear, s.phi[rows], s.phi[others], both[inside], self.x[rows], linear.centre)
        self.scores["composition error"] = ratio(error, size, self.objects[rows], self.seed)

    def retrieval(self, mapped: Float[Tensor, "test dim"]) -> None:
        s, acting = self.setting, self.setting.tuples.acting[self.setting.test]
        rows, t = s.scored, s.tuples
        objects = t.objects.unique(return_inverse=True)[1]
        table = views_of_objects(objects, t.target[t.acting].unique())
        candidates = table[objects[t.source[rows]]]
        queries = {"": mapped[acting], " of the identity": self.x[rows]}
        if len(t.source[rows].unique()) == len(objects[t.source[rows]].unique()):
            del queries[" of the identity"]  # one source for all targets of an object: the ranks of an unmapped query are 1 to n, whatever the encoder
        for name, query in queries.items():
            rank, count = ranks(query, t.z, candidates, t.source[rows], t.target[rows])
            if int(count.max()) < 2:
                self.refused["retrieval"] = "an object has one other view only, which every encoder finds"
                return
            self.scores[f"MRR{name}"] = mean_over_objects(1 / rank, self.objects[rows], self.seed)
            self.scores.update({f"H@{k}{name}": mean_over_objects(within(rank, k).double(), self.objects[rows], self.seed) for k in self.hits})
        self.beside.update({f"{name} of chance": value for name, value in chance(count, self.hits).items()})


class Decoding(Part):
    """How much of g can be read from the embeddings of x and gx."""

    def __init__(self, setting: Setting, found: Found, papers: bool):
        super().__init__(setting, found)
        self.papers = papers

    def measure(self) -> None:
        t, s = self.setting.tuples, self.setting
        truth = (t.parameters if t.rotation is None else t.rotation.flatten(1)).double()
        kind = "R2" if t.rotation is None else f"R2 of the {s.side}-frame rotation"
        mean = truth[s.train].mean(0, keepdim=True)
        spread = squares(truth - mean)
        if not spread[s.scored].max() > 1e-12 * truth.square().sum(1).max():
            self.refused["R2"] = "all pairs have the same element, so there is nothing to read"
            return
        acting, own, usual = t.acting[s.test], self.objects[s.test], spread[s.scored].mean().expand(len(s.test))
        for reader in READERS:
            read = self.read(reader, truth, s.test)
            wrong = squares(truth[s.test] - read)
            self.scores[f"{kind}, {reader}"] = skill(truth[s.scored], read[acting], mean, own[acting], self.seed)
            self.curves[f"{kind}, {reader}"] = s.curve(functools.partial(self.share, wrong, spread[s.test], own), spread[s.test])
            if t.rotation is None:
                self.curves[f"error of g, {reader}"] = s.curve(functools.partial(self.error, wrong, usual, own))
            else:
                self.angles(reader, nearest_rotation(read.view(-1, 3, 3)))
        if t.rotation is not None:
            self.baselines()
        if self.papers:
            self.as_in_the_papers()

    def read(self, reader: str, truth: Float[Tensor, "pairs numbers"], rows: Int[Tensor, "some"]) -> Float[Tensor, "some numbers"]:
        """What a reader that was fitted on the training pairs says of others."""
        train = self.setting.train
        return fit_decoder(reader, self.x[train], self.gx[train], truth[train], self.objects[train], self.seed)(self.x[rows], self.gx[rows])

    def error(self, wrong: Tensor, usual: Tensor, own: Tensor, rows: Tensor) -> Score:
        return ratio(wrong[rows], usual[rows], own[rows], self.seed)

    def share(self, wrong: Tensor, spread: Tensor, own: Tensor, rows: Tensor) -> Score:
        return one_minus(self.error(wrong, spread, own, rows))

    def angles(self, reader: str, read: Float[Tensor, "test 3 3"]) -> None:
        s = self.setting
        assert s.tuples.rotation is not None
        degrees, own, acting = angle(s.tuples.rotation[s.test], read), self.objects[s.test], s.tuples.acting[s.test]
        self.scores[f"angle in degrees, {reader}"] = median_over_objects(degrees[acting], own[acting], self.seed)
        self.scores[f"within {CLOSE:g} degrees, {reader}"] = mean_over_objects((degrees[acting] < CLOSE).double(), own[acting], self.seed)
        self.curves[f"angle in degrees, {reader}"] = s.curve(lambda rows: median_over_objects(degrees[rows], own[rows], self.seed))

    def baselines(self) -> None:
        """The angle to the best constant rotation, and to the rotation of another pair."""
        s = self.setting
        assert s.tuples.rotation is not None
        true = s.tuples.rotation[s.scored].double()
        constant = nearest_rotation(s.tuples.rotation[s.train].double().mean(0, keepdim=True))
        other = true[torch.randperm(len(true), generator=torch.Generator().manual_seed(self.seed))]
        for name, read in (("a constant", constant), ("chance", other)):
            degrees = angle(true, read)
            self.beside[f"angle in degrees of {name}"] = float(degrees.median())
            self.beside[f"within {CLOSE:g} degrees of {name}"] = float((degrees < CLOSE).double().mean())

    def as_in_the_papers(self) -> None:
        """SIE's R2 of quaternions as they were drawn, or of the parameters; see `r2_sie` for why it stands apart."""
        t, s = self.setting.tuples, self.setting
        if t.rotation is not None and t.quaternion is None:
            self.refused["R2 as in SIE"] = "it is that of quaternions whose signs are as they were drawn; give them with the pairs"
            return
        truth = (t.quaternion if t.quaternion is not None else t.parameters).double()
        for reader in READERS:
            self.beside[f"R2 as in SIE (one mean over all components), {reader}"] = r2_sie(truth[s.scored], self.read(reader, truth, s.scored))
        constant = truth[s.train].mean(0).expand(len(s.scored), -1)
        self.beside["R2 as in SIE (one mean over all components) of a constant"] = r2_sie(truth[s.scored], constant)
