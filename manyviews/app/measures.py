"""What can be measured of an encoder, by name; `choosing` says on which data each makes sense."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from manyviews.app.symmetry import BATCH as TOGETHER
from manyviews.app.symmetry import SAMPLES, lie_norms, poses, some_objects, symmetry, symmetry_of_levels
from manyviews.contracts import Tokens, View
from manyviews.counters import Counter
from manyviews.data.dataset import Data, Unreadable
from manyviews.data.regions import Regions, regions
from manyviews.errors import InputError
from manyviews.evaluate.boosted_trees import boosted_trees
from manyviews.evaluate.features import extract
from manyviews.evaluate.few_shot import few_shot
from manyviews.evaluate.knn import knn
from manyviews.evaluate.label_fraction import label_fraction
from manyviews.evaluate.linear import Linear, linear
from manyviews.evaluate.linear_sgd import linear_sgd
from manyviews.evaluate.prompt_patch import LEAST, owners, prompt_patch
from manyviews.evaluate.retrieval import retrieval
from manyviews.evaluate.robustness import robustness
from manyviews.evaluate.scores import Labelled, Score, accuracy
from manyviews.evaluate.segmentation import Located, segmentation
from manyviews.evaluate.svm import svm, trials
from manyviews.evaluate.symmetry import Symmetry
from manyviews.evaluate.zero_shot import class_embeddings, recall, zero_shot_accuracy
from manyviews.nn.levels import Levels, coarsest, levels_of
from manyviews.views import finding
from manyviews.views.corruptions import CORRUPTIONS, corrupted
from manyviews.views.finding import plain
from manyviews.views.policy import Policy

SEVERITIES, CORRUPTED = (1, 3, 5), 1000  # test samples that are corrupted: up to this many
FEW = 40  # samples of which derivatives are taken
PAIRS = 800  # of views in known poses, of each part that fits and scores see
PRECISIONS = {"32": torch.float32, "bf16": torch.bfloat16}
BATCH = 256
SHOWN = re.compile("invariance|explained by a linear map|(R2|angle in degrees).*, perceptron")  # of what is measured of symmetry, the rest is kept


@dataclasses.dataclass
class Case:
    """What there is to measure of one encoder. Features are computed when they are first asked for."""

    encoder: Callable[[View], Tensor]  # a module, or what stands for the raw input
    size: int
    train_rows: Data
    test_rows: Data
    validation_rows: Data | None = None  # the data's own, where it has test rows as well; choices are made on it
    device: str = "cpu"
    seed: int = 0
    products: torch.dtype = torch.float32
    symmetries: dict[str, Symmetry] = dataclasses.field(default_factory=dict)  # transformation -> all that was measured, with curves

    @functools.cached_property
    def train(self) -> Labelled:
        found = self.see(self.train_rows)
        if len(found.y.unique()) < 2:
            raise InputError("of the samples that could be read, fewer than two classes are left to train a classifier")
        return found

    @functools.cached_property
    def test(self) -> Labelled:
        found = self.see(self.test_rows)
        if not len(found):
            raise InputError("none of the samples to test on could be read")
        return found

    @functools.cached_property
    def validation(self) -> Labelled | None:
        return None if self.validation_rows is None else self.see(self.validation_rows)

    @functools.cached_property
    def classifier(self) -> Linear:
        """The linear probe, fitted once for all that need it."""
        return linear(self.train, self.validation, seed=self.seed, products=self.products)

    @property
    def levels(self) -> Levels:
        """What the encoder's levels have at every place; of the raw input, the input."""
        if isinstance(self.encoder, torch.nn.Module):
            return levels_of(self.encoder)
        raw_parts: Levels = finding.of_modality(self.train_rows.modality).raw_parts
        return raw_parts

    def see(self, rows: Data, policy: Callable[[View, Counter], dict] | None = None) -> Labelled:
        """Features of those rows, as they are or as `policy` shows them. Raises InputError when they are not finite or not enough could be read."""
        x, index = self.features(self.encoder, rows, policy or plain(self.size, rows.modality))
        assert rows.labels is not None
        return Labelled(x, torch.from_numpy(rows.labels)[index].long(), len(rows.classes))

    def features(self, encoder: Callable[[View], Tensor], rows: Data, policy: Callable[[View, Counter], dict]) -> tuple[Tensor, Tensor]:
        order = np.array_split(np.arange(len(rows)), -(-len(rows) // BATCH))
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.products == torch.bfloat16):
            found = extract(encoder, rows.batches(order), policy, self.device)
        rows.check_bad()
        return found

    def corrupt(self, name: str, severity: int) -> Labelled:
        """Of up to CORRUPTED test samples, after a corruption."""
        some = self.test_rows
        if len(some) > CORRUPTED:
            some = some.select(np.sort(np.random.default_rng([self.seed, 3]).permutation(len(some))[:CORRUPTED]))
        return self.see(some, corrupted(self.size, name, severity))

    def paired(self, role: str) -> Float[Tensor, "rows out"]:
        """Test samples in the space that both towers share: their `image`, or their `text`."""
        policy = Policy({role: finding.of_modality("pairs").both(self.size).roles[role]})
        towers: Any = self.encoder
        embed = towers.embed_image if role == "image" else towers.embed_text
        towers.eval()
        return self.features(embed, self.test_rows, lambda samples, counter: {"v": policy(samples, counter)[role]})[0]


def located(rows: Data, inside: Regions, size: int, device: str, number: dict[int, int] | None = None) -> Iterator[Located]:
    """Each sample as it is, with the places of it that are shown and what is there, as `number` counts it."""
    policy, module = plain(size, rows.modality), finding.of_modality(rows.modality)
    for i in range(len(rows)):
        try:
            places, there = inside.read(i)
        except Unreadable:
            continue
        samples = rows.batch(np.array([i]))
        if len(samples):
            view = policy(samples.to(device), Counter(0, 0))["v"]
            where = module.placed(view, torch.from_numpy(places)[None].float().to(device))[0].cpu()
            shown = ~where.isnan().any(1)
            known, back = np.unique(there, return_inverse=True)
            labels = np.array([int(n) if number is None else number.get(int(n), -1) for n in known])[back]
            yield Located(view, where[shown], torch.from_numpy(labels)[shown], -1 if rows.labels is None else int(rows.labels[i]))


def score_segmentation(case: Case) -> dict[str, Score]:
    """Of every place in the test samples, by a linear probe on what the encoder's levels have there."""
    train, test = regions(case.train_rows), regions(case.test_rows)
    if train is None or test is None:
        raise InputError("of the training or of the test samples none says what lies where")
    train, test = train.kinds, test.kinds
    there = sorted({int(n) for i in range(len(case.train_rows)) for n in values(train, i)})
    names = [train.names[n] if n < len(train.names) else f"{n}" for n in there]
    number = {n: k for k, n in enumerate(there)}
    known = located(case.train_rows, train, case.size, case.device, number)
    asked = located(case.test_rows, test, case.size, case.device, number)
    return segmentation(case.levels, known, asked, names, train.measure, case.seed)


def score_prompt_patch(case: Case) -> dict[str, Score]:
    """Each object in the test samples from its own central part, and how alike parts are within and between; of the coarsest level with parts enough."""
    inside = regions(case.test_rows)
    if inside is None:
        raise InputError("of the test samples none says what lies where")

    def scenes() -> Iterator[tuple[Tokens, Tensor]]:
        for one in located(case.test_rows, inside, case.size, case.device):
            level = coarsest(case.levels(one.view), LEAST)
            objects = owners(level.where.float().cpu(), one.places[None], one.labels[None])
            yield level, objects if inside.background is None else torch.where(objects == inside.background, -1, objects)

    return prompt_patch(scenes(), case.seed)


def values(inside: Regions, i: int) -> np.ndarray:
    """What there is in sample i, but -1."""
    try:
        there = np.unique(inside.read(i)[1])
    except Unreadable:
        return np.empty(0, np.int64)
    return there[there >= 0]


def score_robustness(case: Case) -> dict[str, Score]:
    """Of the linear probe, under each corruption at three severities."""
    looks = ((name, severity, case.corrupt(name, severity)) for name in CORRUPTIONS for severity in SEVERITIES)
    return robustness(case.classifier.predict, ((name, seen.x, seen.y) for name, _, seen in looks), case.seed)


def score_knn(case: Case) -> dict[str, Score]:
    """k = 20 and temperature 0.07 as published: nothing is chosen."""
    return {"knn": accuracy(knn(case.train.x, case.train.y, case.test.x, products=case.products) == case.test.y, case.seed)}


def score_linear_sgd(case: Case) -> dict[str, Score]:
    heads = linear_sgd(case.train, case.validation, seed=case.seed)
    return {"linear (SGD)": accuracy(heads.predict(case.test.x)[0] == case.test.y, case.seed)}


def score_zero_shot(case: Case) -> dict[str, Score]:
    """By the names of the classes; nothing of an encoder that cannot read them, as the raw input cannot."""
    towers: Any = case.encoder
    if not hasattr(towers, "embed_words"):
        return {}
    classes = class_embeddings(lambda texts: towers.embed_words(texts).cpu(), list(case.test_rows.classes))
    return zero_shot_accuracy(case.paired("image"), classes, torch.from_numpy(case.test_rows.labels).long(), case.seed)  # type: ignore[arg-type]


def score_recall(case: Case) -> dict[str, Score]:
    """Each test picture among the test captions, and the other way."""
    return recall(case.paired("image"), case.paired("text"), seed=case.seed) if hasattr(case.encoder, "embed_text") else {}


def some_views(case: Case, most: int, together: int) -> Callable[[], Iterator[View]]:
    """Batches of some test samples, as the encoder sees them."""
    rows = case.test_rows
    some = np.sort(np.random.default_rng([case.seed, 4]).permutation(len(rows))[:most])
    policy = plain(case.size, rows.modality)

    def views() -> Iterator[View]:
        for part in np.array_split(some, -(-len(some) // together)):
            samples = rows.batch(part)
            if len(samples):
                yield policy(samples.to(case.device), Counter(0, 0))["v"]

    return views


def score_symmetry(case: Case) -> dict[str, Score]:
    """Of each transformation what is ignored, what a linear map explains, and what can be read back; `case.symmetries` keeps the rest."""
    rows = case.test_rows
    case.symmetries.update(symmetry(case.encoder, some_views(case, SAMPLES, TOGETHER), rows.modality, rows.channels, case.seed))
    if {"object", "rotation"} <= set(rows.columns):
        chosen = rows.select(some_objects(rows.columns["object"], case.seed))
        order = np.array_split(np.arange(len(chosen)), -(-len(chosen) // BATCH))
        z, index = extract(case.encoder, chosen.batches(order), plain(case.size, rows.modality), case.device)
        known = {name: torch.from_numpy(chosen.columns[name])[index] for name in ("object", "rotation")}
        found = [poses(z, known["object"], known["rotation"], side, case.seed, most=PAIRS) for side in ("world", "body")]
        case.symmetries.update({symmetry.transformation: symmetry for symmetry in found})
    shown = {f"{name}: {measure}": score for name, found in case.symmetries.items() for measure, score in found.scores.items() if SHOWN.fullmatch(measure)}
    if not shown:
        raise InputError(*(f"{name}: {found.verdict}" for name, found in case.symmetries.items()))
    return shown


def score_levels(case: Case) -> dict[str, Score]:
    """Of each level of the encoder what is ignored and what a linear map explains; nothing where there are no levels, as of the input itself."""
    if not getattr(case.encoder, "widths", []):
        return {}
    rows = case.test_rows
    levels = symmetry_of_levels(case.encoder, some_views(case, SAMPLES, TOGETHER), rows.modality, rows.channels, case.seed)  # type: ignore[arg-type]
    case.symmetries.update({f"{name}, {level}": found for level, row in levels.items() for name, found in row.items()})
    brief = ("invariance", "explained by a linear map")
    return {f"{name}, {level}: {m}": found.scores[m] for level, row in levels.items() for name, found in row.items() for m in brief if m in found.scores}


def score_lie(case: Case) -> dict[str, Score]:
    """The Lie norm of each transformation: how fast the embedding moves at the identity."""
    rows = case.test_rows
    norms = lie_norms(case.encoder, some_views(case, FEW, FEW // 2), rows.modality, rows.channels, case.seed)
    return {f"{name}: Lie norm": norm.score for name, norm in norms.items()}


EVALUATORS: dict[str, Callable[[Case], dict[str, Score]]] = {
    "knn": score_knn,
    "linear": lambda case: {"linear": accuracy(case.classifier.predict(case.test.x) == case.test.y, case.seed)},
    "few_shot": lambda case: few_shot(case.train, case.test, seed=case.seed),
    "retrieval": lambda case: retrieval(case.train, case.test, seed=case.seed),
    "label_fraction": lambda case: label_fraction(case.train, case.test, case.classifier, seed=case.seed),
    "robustness": score_robustness,
    "svm": lambda case: svm(case.train, case.test, case.validation, case.seed),
    "svm_few_shot": lambda case: trials(case.train, case.test, seed=case.seed),
    "segmentation": score_segmentation,
    "boosted_trees": lambda case: {"boosted trees": boosted_trees(case.train.x, case.train.y, case.test.x, case.test.y, seed=case.seed)},
    "zero_shot": score_zero_shot,
    "recall": score_recall,
    "prompt_patch": score_prompt_patch,
    "linear_sgd": score_linear_sgd,
    "symmetry": score_symmetry,
    "symmetry_levels": score_levels,
    "lie_norm": score_lie,
}
