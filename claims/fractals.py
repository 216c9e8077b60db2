"""Fractals: do networks pre-trained on well-conditioned fractals, several to a picture, learn a real task better than those of FractalDB's systems?

Anderson, Farrell, "Improving Fractal Pre-training", WACV 2022, arXiv:2110.03091: fine-tuned from multi-instance prediction, a ResNet-50 reaches 92.7 to
98.1 % of the accuracy of one pre-trained on ImageNet (abstract; CIFAR-100, Cars, CUB, Aircraft and others); systems drawn by their singular values are better
than FractalDB's, and multi-instance prediction is better than one fractal a picture (the tables were not at hand). Here 100 classes of 100 pictures of
32 pixels, all coloured and on backgrounds, so that what differs is how systems are drawn and how many a picture shows (each then fills 0.4 to 0.9 of the
side, as one of the usual 0.15 would be 5 pixels wide); then 200 steps of fine-tuning on 1,000 labelled pictures of CIFAR-10. "untrained" is fine-tuned too:
training from scratch. "photographs" learns the 101 classes of Caltech in as many steps, as the paper's networks did ImageNet's: if that is no better than
training from scratch, there is nothing to be seen here.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.app.evidence.arena import some
from manyviews.contracts import Recipe
from manyviews.data.fractals import fractals
from manyviews.data.opening import open_data
from manyviews.data.splits import split
from manyviews.methods.predict.supervised import Supervised

LABELS, FINE_TUNING = 1000, {"steps": 200, "batch": 64, "lr": 1e-3}


def measured(bench, method):
    """knn and linear probe of the encoder, then right or wrong of each test sample after fine-tuning all of it."""
    found = bench.probes(method.exported)
    network = Supervised(method.exported, len(bench.train.classes)).to(bench.device)
    bench.fit(network, Recipe(views="supervised", optimizer="adamw", weight_decay=1e-4), some(bench.train, LABELS), FINE_TUNING)
    logits = bench.features(lambda view: network.classifier(network.encoder(view)), bench.test)
    return {**found, "finetuned": (logits.x.argmax(1) == logits.y).numpy()}


def on_photographs(bench):
    train, _ = split(open_data("caltech101_64"), seed=0)
    return measured(bench, bench.pretrain(data=train.reduced(2 * bench.size).keep(1 << 33, threads=bench.threads)))


def on(**settings):
    """Pre-training on fractals."""

    def run(bench):
        data = fractals(100, 100, bench.size, **settings).keep(threads=bench.threads)
        return measured(bench, bench.pretrain(data=data))

    return run


CLAIM = Claim(
    system="fractals",
    paper="fine-tuning reaches 92.7-98.1 % of ImageNet pre-training's accuracy; multi-instance > SVD sampling > FractalDB > scratch (ResNet-50, 224 pixels)",
    question="After fine-tuning, is multi-instance fractal pre-training better than single fractals, FractalDB's systems and none?",
    arms={
        "multi-instance": Arm("multi_label", run=on(instances=5, sizes=(0.4, 0.9)), views="plain"),
        "one fractal": Arm("supervised", run=on(), views="plain"),
        "fractaldb's systems": Arm("supervised", run=on(sampling="uniform"), views="plain"),
        "photographs": Arm("supervised", run=on_photographs),
    },
    data=(Arena("cifar10", rows=5000),),
    versus=(
        Versus("multi-instance", "fractaldb's systems", "finetuned"),
        Versus("multi-instance", "one fractal", "finetuned", says="Several fractals a picture are better than one."),
        Versus("one fractal", "fractaldb's systems", "finetuned", says="Well-conditioned systems are better than FractalDB's."),
        Versus("multi-instance", "untrained", "finetuned", says="Pre-training is better than training from scratch."),
        Versus("multi-instance", "untrained", "linear"),
        Versus("photographs", "untrained", "finetuned", says="Photographs help, so that there is something to be reached."),
    ),
    common={"steps": 1000},
    full={"encoder": "resnet50", "size": 224, "epochs": 90, "batch": 512},
    measure=measured,
    raw=False,
)
