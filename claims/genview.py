"""GenView: do pairs of a picture and a generated one teach more, noise fitted to the foreground more than a fixed one, and weights by quality yet more?

Li et al., "GenView: Enhancing View Quality with Pretrained Generative Model for Self-Supervised Learning", ECCV 2024, arXiv:2403.12003: ImageNet, ResNet-50,
200 epochs, linear evaluation: 2.5 points more than MoCo v2, 2.2 more with 1 % of the labels; more than naive use of pictures of Laion400M or
ImageNet-21K. (Table numbers are not known here.)
Here the generator is an autoencoder that saw nothing but the same pictures, in half a minute, and SimCLR of the same seed after half its steps tells the
foreground, where the paper has Stable unCLIP and CLIP, which know hundreds of millions of pictures. So what is checked is the mechanism, without what it
brings in from outside. The training of autoencoder and judge comes on top of the equal steps. As its noise moves a picture less than unCLIP's, levels go up
to 1,000 instead of 400; the fixed level is the middle one of the five. `spread` is the standard deviation of the weights, whose mean is 1: were it 0,
weighting would change nothing.
"""

import numpy as np

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.views.genview import Pairs, genview

LEVELS = (0, 250, 500, 750, 1000)

SHORT = {"temperature": 0.2, "hidden": 512}  # as in the claim of SimCLR: for batches of 64


def pairs(levels, quality):
    def run(bench):
        short = "epochs" not in bench.words
        judge = bench.pretrain(steps=max(1, int(bench.words["steps"]) // 2)) if short else bench.pretrain()
        began = bench.clock()
        columns = genview(
            bench.pretraining, judge.encoder, "autoencoder", bench.size, levels=levels, quality=quality, sampled=2000, steps=250 if short else 20000,
            seed=bench.seed, device=bench.device, threads=bench.threads,
        )  # fmt: skip
        bench.seconds += bench.clock() - began
        method = bench.pretrain(bench.pretraining.with_columns(**columns), views="generated")
        if not quality:
            return bench.probes(method.exported)
        weight = np.exp(Pairs.sharpness * columns["quality"].astype(float))
        return {**bench.probes(method.exported), "spread": float(weight.std() / weight.mean())}

    return run


def arm(levels, quality):
    return Arm("simclr", run=pairs(levels, quality), short=SHORT)


CLAIM = Claim(
    system="genview",
    paper="ImageNet, ResNet-50, linear evaluation: 2.5 points more than MoCo v2; adaptive noise > fixed noise; weighting by quality adds to it",
    question="Is a generated picture a better second view, more so with noise by foreground than with fixed noise, and with pairs weighted by quality?",
    arms={
        "genview": arm(LEVELS, True),
        "adaptive noise, no weights": arm(LEVELS, False),
        "fixed noise, no weights": arm((LEVELS[2],), False),
        "simclr": Arm("simclr", short=SHORT),
    },
    data=(Arena("cifar10", rows=6000),),
    versus=(
        Versus("genview", "simclr"),
        Versus("genview", "simclr", "linear"),
        Versus("adaptive noise, no weights", "fixed noise, no weights", says="Noise that is fitted to the foreground is better than the same for all"),
        Versus("genview", "adaptive noise, no weights", says="Pairs weighted by their quality are better than equal ones"),
    ),
    full={"encoder": "resnet18_small", "size": 32, "epochs": 800, "batch": 512},
)
