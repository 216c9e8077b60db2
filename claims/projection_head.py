"""Projection head study: do the layers that are thrown away after training lose what the views disagree on, and does throwing them away help?

Xue et al., "Investigating the Benefits of Projection Head for Representation Learning", ICLR 2024, arXiv:2403.11391: with MNIST digits on CIFAR-10 pictures
that the augmentation drops, features before the head are better than after it, the more so the more often the digit is dropped; a fixed reweighting
head comes near a trained one. (No table number is known here.)
Here: a digit of 16 pixels is blended into the middle of each CIFAR-10 picture (70 % digit) and the augmentation drops it from either view with probability
0.75, in one arm never. Crops take at least half the picture, so that it is no crop that drops the digit. Heads have no normalisation, as in the paper's linear
and two-layer heads; kappa is 1.05. Both factors are asked for by linear probes and by neighbours before and after the head; as probes standardise features,
fixed weights lose them nothing, and neighbours feel them.
"""

import dataclasses
from functools import partial

import numpy as np
import torch
from torch.nn.functional import avg_pool2d, pad

from manyviews.app.building import build_method, changed
from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.app.evidence.arena import some
from manyviews.data.opening import located, open_data
from manyviews.evaluate.knn import knn
from manyviews.evaluate.linear import linear
from manyviews.views import images
from manyviews.views.picture import apply
from manyviews.views.policy import Policy

ROWS = {"train": 10000, "test": 2000}
BLEND = 0.7  # of the digit, where it is


def with_digits(data, part):
    """The first `ROWS` pictures with a digit each; `clean` is the picture without it, `digit` which one it is."""
    data = some(data, ROWS[part]).keep(1 << 33, threads=1)
    digits = np.load(located(f"mnist_usps/mnist_{part}.npz"))
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(digits["x"]))[: len(data)]
    x = torch.from_numpy(digits["x"][chosen]).float().view(-1, 1, 28, 28)
    small = pad(avg_pool2d(pad(x, (2, 2, 2, 2)), 2), (8, 8, 8, 8)).permute(0, 2, 3, 1).numpy()  # 16 pixels, in the middle of 32
    clean = np.asarray(data.kept)
    pasted = np.where(small > 0, (1 - BLEND) * clean + BLEND * small, clean).round().astype(np.uint8)
    made = open_data(pasted).with_columns(label=data.labels, digit=digits["y"][chosen].astype(np.int64), clean=clean)
    return dataclasses.replace(made, classes=data.classes)


@dataclasses.dataclass(frozen=True)
class Dropped(Policy):
    """Views of pictures from which the digit is gone with probability `p`, in each view by itself."""

    p: float = 0.0

    def __call__(self, samples, counter):
        made = {}
        for role, spec in self.roles.items():
            gone = counter.uniform(f"{role}/digit", samples.index, 1, 1, 1) < self.p
            x = torch.where(gone, samples.given["clean"], samples.x)
            made[role] = apply(spec, dataclasses.replace(samples, x=x, given={}), counter, [role])[0]
        return made


def run(bench, p):
    words = bench.words
    changes = (images.Crop((0.5, 1.0)), images.Flip(), images.Jitter(0.4, 0.4, 0.4, 0.1), images.Grey(0.2))
    network = bench.encoder()
    torch.manual_seed(bench.seed)
    method, recipe = build_method("simclr", network, bench.pretraining, **words["settings"])
    recipe = changed(recipe, words)
    policy = Dropped(images.two(bench.size, changes).roles, p)
    return measure(bench, bench.fit(method.to(bench.device), recipe, bench.pretraining, policy=policy))


def measure(bench, method):
    """Right or wrong about either factor before and after the head, and what the head loses."""
    known, asked = bench.features(method.encoder, bench.train), bench.features(method.encoder, bench.test)
    found = {}
    for factor in ("digit", "label"):
        right = {}
        for where, head in (("before", None), ("after", getattr(method, "projector", None))):
            if where == "after" and head is None:
                continue
            a, b = (part if head is None else dataclasses.replace(part, x=through(head, part.x, bench.device)) for part in (known, asked))
            y, z = (torch.from_numpy(np.asarray(data.columns[factor])).long() for data in (bench.train, bench.test))
            right[where] = {
                "": (linear(dataclasses.replace(a, y=y), seed=bench.seed).predict(b.x) == z).numpy(),
                ", by neighbours": (knn(a.x, y, b.x) == z).numpy(),
            }
        name = {"digit": "digit", "label": "object"}[factor]
        for probe, before in right["before"].items():
            found[f"{name}{probe}"] = before
            if "after" in right:
                found[f"{name} after head{probe}"] = right["after"][probe]
                found[f"{name} lost in head{probe}"] = before.astype(float) - right["after"][probe]
    return found


@torch.no_grad()
def through(head, x, device):
    return head(x.to(device)).float().cpu()


def arm(head, p, **words):
    return Arm("simclr", head=head, temperature=0.5, out=128, run=partial(run, p=p), **words)


MLP = {"short": {"hidden": 256}, "norm": False, "last_norm": False, "last_shift": True}
CLAIM = Claim(
    system="projection_head",
    paper="before the head > after it where the augmentation disrupts a factor, more so the more it does; a fixed reweighting head comes near a trained one",
    question="Does a head lose the factor that views often lack, and do features before it know more of that factor than features trained without a head?",
    arms={
        "mlp head": arm("mlp", 0.75, **MLP),
        "mlp head, digit never dropped": arm("mlp", 0.0, **MLP),
        "linear head": arm("linear", 0.75),
        "reweighting head": arm("reweight", 0.75, kappa=1.05),
        "no head": arm("none", 0.75),
    },
    data=(Arena("cifar10", train=5000, test=2000, name="digits on cifar10", prepare=with_digits),),
    versus=(
        Versus("mlp head", "no head", "digit lost in head", says="The digit is better known before the MLP head than after it (no head loses nothing)"),
        Versus("mlp head", "mlp head, digit never dropped", "digit lost in head", says="More of it is lost where the augmentation drops it"),
        Versus("mlp head", "no head", "digit", says="Features before the MLP head know more of it than features trained without a head"),
        Versus("reweighting head", "no head", "digit", says="So do features before the fixed reweighting head"),
        Versus("linear head", "no head", "digit", says="So do features before the linear head"),
        Versus("reweighting head", "mlp head", "digit", margin=0.02, says="A fixed head comes within two points of a trained one"),
        Versus("reweighting head", "no head", "digit lost in head, by neighbours", says="Neighbours know the digit better before the fixed weights"),
    ),
    measure=measure,
    arena_metric="object",
    full={"encoder": "resnet18_small", "size": 32, "epochs": 400, "batch": 512, "optimizer": "adamw", "lr": 1e-3, "weight_decay": 1e-6},
)
