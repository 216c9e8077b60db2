"""Lie group decompositions: does a network over GL+(2) or SL(2), trained on upright digits, know them better when they are sheared, scaled and turned?

Mironenco, Forre, "Lie Group Decompositions for Equivariant Neural Networks", ICLR 2024, arXiv:2310.11366: trained on MNIST alone and tested on affNIST, about
97.9 % over SL(2) and 97.4 % over GL+(2), above affine-equivariant networks before it and capsules; a CNN is far below (figures not checked against the paper).
Here: 4,000 MNIST digits in 24 pixels, upright in training; the test moves 2,000 others by exp(S) and a turn of up to 60 degrees, entries of S up to 0.3.
Networks of 8 channels and 16 samples of the group, which are 4 stretches with 4 turns each: few, but as many as a minute allows; as many steps for all. The CNN
is a small ResNet, once as it is and once with training digits moved as in the test, which is the honest rival; it has 307,248 parameters, the network over
SL(2) 20,136. SE(2) is the same network over turns alone. `accuracy` is by each network's own classifier, beside untrained ones by a linear one. At the full
budget there are as many digits, and SE(2), of which there is no larger network, stays small.
"""

import dataclasses

import numpy as np
import torch
from torch.nn.functional import pad

from manyviews.app.building import changed
from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.app.evidence.arena import some
from manyviews.counters import Counter
from manyviews.data.opening import open_data
from manyviews.groups import GL
from manyviews.methods.predict.supervised import Supervised

ROWS = {"train": 4000, "test": 2000}
GROUP, STRENGTH = GL(2, spread=0.9), 1 / 3  # turns within 60 degrees, entries of S within 0.3


def moved(x, counter, index, name):
    return GROUP.act(GROUP.sample(index, counter, STRENGTH, name=name), x, "images")


def digits(data, part):
    """With room around them, in 40 pixels, as affNIST has them; those of the test moved."""
    data = some(data, ROWS[part]).keep(1 << 33, threads=1)
    x = torch.from_numpy(np.asarray(data.kept)).permute(0, 3, 1, 2).float() / 255
    x = pad(x, (6, 6, 6, 6))
    if part == "test":
        x = moved(x, Counter(0, 0), torch.arange(len(x)), "test").clamp(0, 1)
    made = open_data((255 * x).round().byte().permute(0, 2, 3, 1).numpy()).with_columns(label=data.labels)
    return dataclasses.replace(made, classes=data.classes, channels=1)


class Moving(Supervised):
    """With training pictures moved as those of the test are."""

    def loss(self, v):
        return super().loss(dataclasses.replace(v, x=moved(v.x, self.counter, v.index, "train").clamp(0, 1)))


def augmented(bench):
    torch.manual_seed(bench.seed)
    method = Moving(bench.encoder(), len(bench.train.classes)).to(bench.device)
    return measure(bench, bench.fit(method, changed(method.recipe, bench.words), bench.pretraining))


def measure(bench, method):
    if not hasattr(method, "classifier"):
        return {"accuracy": bench.probes(method.exported)["linear"]}
    said = bench.features(lambda view: method.classifier(method.encoder(view)), bench.test)
    return {"accuracy": (said.x.argmax(1) == said.y).numpy()}


def arm(encoder, small="", **options):
    return Arm("supervised", encoder=encoder, short={"encoder": small or encoder}, **options)


CLAIM = Claim(
    system="lie_decomposition",
    paper="MNIST to affNIST about 97.9 % over SL(2), 97.4 % over GL+(2); CNNs and networks that are equivariant to less are below",
    question="Do networks over SL(2) and GL+(2), trained on upright digits, know moved ones better than over turns alone, and than a CNN?",
    arms={
        "GL+(2)": arm("lie_decomposition_gl", "lie_decomposition_gl_micro"),
        "SL(2)": arm("lie_decomposition", "lie_decomposition_micro"),
        "SE(2)": arm("lie_decomposition_so_micro"),
        "CNN": arm("resnet_nano"),
        "CNN, moved in training": arm("resnet_nano", run=augmented),
    },
    data=(Arena("mnist_usps/mnist_train.npz", name="moved MNIST", prepare=digits),),
    versus=(
        Versus("SL(2)", "CNN", "accuracy", says="A network over SL(2) knows moved digits better than a CNN"),
        Versus("GL+(2)", "CNN", "accuracy", says="So does one over GL+(2)"),
        Versus("SL(2)", "SE(2)", "accuracy", says="Stretches add to turns"),
        Versus("GL+(2)", "SE(2)", "accuracy", says="So do stretches that change areas"),
        Versus("SE(2)", "CNN", "accuracy", says="Turns add to shifts"),
        Versus("SL(2)", "CNN, moved in training", "accuracy", margin=0.0, says="SL(2) without moved digits is above a CNN trained on them"),
    ),
    measure=measure,
    common={"encoder": "lie_decomposition_micro", "size": 24, "steps": 400, "batch": 32, "views": "plain", "lr": 3e-3, "weight_decay": 1e-4},
    full={"encoder": "lie_decomposition", "size": 40, "epochs": 50, "batch": 128, "views": "plain", "optimizer": "adamw", "lr": 2e-4, "weight_decay": 5e-3},
)
