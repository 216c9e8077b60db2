"""One arm with one seed: train what it says, measure what its claim asks. Runs in a process of its own, and depends on nothing but its arguments."""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from manyviews.app.building import build_method, changed
from manyviews.app.evidence.arena import Arena, some
from manyviews.app.options import has_bf16
from manyviews.app.preparing import Tools
from manyviews.backbones.building import build_encoder
from manyviews.contracts import Encoder, Method, Recipe, Stage, View
from manyviews.data.dataset import Data
from manyviews.evaluate.features import extract
from manyviews.evaluate.knn import knn
from manyviews.evaluate.linear import linear
from manyviews.evaluate.scores import Labelled
from manyviews.train.fit import Step, fit
from manyviews.views.finding import find_policy, plain, raw


class Untrained(Method):
    """An encoder as it came."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.encoder = encoder


class Raw(Encoder):
    """The input itself."""

    def __init__(self, modality: str):
        super().__init__()
        self.dim, self.numbers = 0, raw(modality)  # as many as the input has

    def forward(self, view: View) -> Tensor:
        return self.numbers(view)


@dataclasses.dataclass
class Bench:
    """What an arm may use. `words` are the arm's options, with hyperparameters under `settings`."""

    arena: Arena
    words: Mapping[str, Any]
    seed: int
    threads: int = 1
    precision: str = ""  # default: bf16 where the hardware has it
    seconds: float = 0.0  # spent in training: of the processor, which other work on the machine does not change, or on the clock where a GPU does the work
    brief: bool = False  # for a canary: some rows, and no training of more than three small steps
    heard: list[float] = dataclasses.field(default_factory=list)  # where it is brief: a few numbers of all that was trained and of all features

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)  # for arms with a training of their own
        self.size = int(self.words["size"])
        self.pretraining, self.train, self.test = self.arena.open(self.size)
        if self.brief:
            self.pretraining, self.train, self.test = some(self.pretraining, 2000), some(self.train, 500), some(self.test, 200)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.fabric = Fabric(accelerator=self.device, devices=1, precision=self.precision or ("bf16-mixed" if has_bf16() else "32-true"))  # type: ignore[arg-type]

    def clock(self) -> float:
        return time.process_time() if self.device == "cpu" else time.perf_counter()

    def encoder(self, name: str = "") -> Encoder:
        """Untrained, with weights that the seed alone decides."""
        return build_encoder(name or str(self.words["encoder"]), self.train.channels or 3, self.size, seed=self.seed, form=self.train.form)

    def untrained(self) -> Method:
        if self.words["method"] == "raw":
            return Untrained(Raw(self.train.modality))
        return Untrained(self.encoder()).to(self.device)

    def pretrain(self, data: Data | None = None, encoder: Encoder | None = None, **changes: Any) -> Method:
        """The words' method (`changes` replace some words), trained through all its stages on the arena's or on other data."""
        words = {**self.words, **changes}
        data = self.pretraining if data is None else data
        network = encoder if encoder is not None else self.encoder(words["encoder"])
        torch.manual_seed(self.seed)
        method, recipe = build_method(words["method"], network, data, **words["settings"])
        method.to(self.device)
        return self.fit(method, changed(recipe, words), data, words)

    def fit(self, method: Any, recipe: Recipe, data: Data, words: Mapping[str, Any] | None = None, policy: Callable[..., Any] | None = None) -> Any:
        """`method` (any Trainable), trained for the words' steps or epochs. policy: its views, where they are not the recipe's."""
        words = words or self.words
        stages = method.stages(data, Tools(self.size, self.device, self.threads)) if isinstance(method, Method) else [Stage("", method, data)]
        batch = min(int(words.get("batch", 256)), len(data))
        steps = int(words.get("steps") or 0) or round(float(words["epochs"]) * len(data) / batch)
        for stage in stages:
            main = stage.trainable is method
            own, lr, count = (recipe, words.get("lr"), steps) if main else (stage.trainable.recipe, None, max(1, round(stage.share * steps)))
            views = policy or find_policy(own.views, self.size, data.modality)
            for _ in self.steps(stage.trainable, stage.data, views, own, steps=count, batch=batch, lr=lr):
                pass
        return method.eval()

    def steps(
        self, trainable: Any, data: Data, policy: Callable[..., Any], recipe: Recipe, *, steps: int, batch: int, lr: float | None = None, more: int = 0
    ) -> Iterator[Step]:
        """The engine's steps on this bench, for those that have something to do between them; what they do counts as training. more: added to the seed."""
        if self.brief:
            steps, batch = min(steps, 3), min(batch, 16)
        began = self.clock()
        yield from fit(
            trainable, data, policy, steps=steps, batch=batch, recipe=recipe, lr=lr, seed=self.seed + more, fabric=self.fabric, threads=self.threads,
            channels_last=True,
        )  # fmt: skip
        self.seconds += self.clock() - began
        if self.brief:
            self.heard += sizes(trainable)

    def canary(self) -> list[float]:
        """A few numbers that change when the arm's code does what it did not do before: three small steps and the probes after them, in float32."""
        method = self.pretrain(steps=3, batch=16) if self.words["method"] not in ("", "raw") else self.untrained()
        few = [part.select(np.arange(min(len(part), 200))) for part in (self.train, self.test)]
        x = self.features(method.exported, few[1]).x
        return [float(x.mean()), float(x.std()), *sizes(method)]

    # --- measuring --------------------------------------------------------------------------------------------------------------------------

    def features(self, encoder: Callable[[View], Tensor], data: Data) -> Labelled:
        """Of plain views, with labels, all 0 where there are none."""
        order = np.array_split(np.arange(len(data)), -(-len(data) // 256))
        x, index = extract(encoder, data.batches(order, self.threads), plain(self.size, data.modality), self.device)
        if self.brief:
            self.heard += [float(x.mean()), float(x.std())]
        labels = np.zeros(len(data), np.int64) if data.labels is None else data.labels
        return Labelled(x, torch.from_numpy(labels)[index].long(), max(1, len(data.classes)))

    def finetune(self, encoder: Encoder, labels: int = 1000, steps: int = 150) -> np.ndarray:
        """Right or wrong for each test sample, after training encoder and classifier on so many labelled samples.

        With crops, flips and half a cosine; SGD at 0.05, encoders of parts (transformers) with AdamW at 0.001.
        """
        rows = self.train.select(np.sort(np.random.default_rng(1).permutation(len(self.train))[:labels]))
        torch.manual_seed(self.seed)
        method: Any
        method, recipe = build_method("supervised", copy.deepcopy(encoder).requires_grad_(True), rows)
        transformer = bool(encoder.content_width)
        words = {"steps": steps, "batch": 64, "lr": 1e-3 if transformer else 0.05}
        recipe = dataclasses.replace(recipe, optimizer="adamw" if transformer else "sgd", weight_decay=0.05 if transformer else 5e-4)
        spent = self.seconds
        self.fit(method.to(self.device), recipe, rows, words)
        self.seconds = spent  # what is recorded is the time of pretraining
        found = self.features(lambda view: method.classifier(method.encoder(view)), self.test)
        return (found.x.argmax(1) == found.y).numpy()

    def probes(self, encoder: Callable[[View], Tensor], train: Data | None = None, test: Data | None = None) -> dict[str, np.ndarray]:
        """`knn` (20 neighbours, weighted) and `linear` (L-BFGS): right or wrong for each test sample."""
        known, asked = self.features(encoder, train or self.train), self.features(encoder, test or self.test)
        return {
            "knn": (knn(known.x, known.y, asked.x) == asked.y).numpy(),
            "linear": (linear(known, seed=self.seed).predict(asked.x) == asked.y).numpy(),
        }


def sizes(trained: nn.Module) -> list[float]:
    """How large the weights are that can be trained, one number each."""
    return [float(p.detach().abs().double().mean()) for p in trained.parameters() if p.requires_grad and p.numel()]
