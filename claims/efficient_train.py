"""EfficientTrain: is a network that sees low frequencies first as good as one that sees all of them all the time, and sooner done?

Wang et al., "EfficientTrain: Exploring Generalized Curriculum Learning for Training Visual Backbones", ICCV 2023, arXiv:2211.09703: ImageNet, 300 epochs,
ResNet, ConvNeXt, DeiT, PVT, Swin and CSWin, more than 1.5 times faster with the same accuracy (from memory, not checked: DeiT-S 80.3 %, 80.4 with it).
Here a supervised classifier of CIFAR-10; at 32 pixels the sides are 24, 28 and 32, so that the steps of the curriculum cost 0.69 of the full ones. The
control "full size, as much compute" takes 0.69 of the steps, "smaller pictures" resamples pictures to the same sides instead of cropping frequencies, and
"frequencies alone" keeps the augmentation at its full magnitude, "augmentation alone" all frequencies. `seconds` are those of training, of the processor.
"""

import torch

from manyviews.app.building import build_method, changed
from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.evaluate.knn import knn
from manyviews.views.efficient_train import EFFICIENT_TRAIN, easy_first, rand_augment, side_of, stage_of, weaker
from manyviews.views.policy import Curriculum


def answers(bench, method):
    """Right or wrong for each test picture, and how long training took."""
    known, asked = (bench.features(method.exported, part) for part in (bench.train, bench.test))
    measures = {"knn": (knn(known.x, known.y, asked.x) == asked.y).numpy()}
    if hasattr(method, "classifier"):
        found = bench.features(lambda view: method.classifier(method.encoder(view)), bench.test)
        measures.update(accuracy=(found.x.argmax(1) == found.y).numpy(), seconds=bench.seconds)
    return measures


def supervised_with(bench, policy):
    """The supervised classifier trained on the policy's views, otherwise as the words say."""
    words = bench.words
    torch.manual_seed(bench.seed)
    method, recipe = build_method("supervised", bench.encoder(), bench.pretraining)
    recipe = changed(recipe, words)
    return answers(bench, bench.fit(method.to(bench.device), recipe, bench.pretraining, policy=policy))


def smaller_pictures(bench):
    def at(progress):
        share = EFFICIENT_TRAIN[stage_of(progress, EFFICIENT_TRAIN)][1]
        return weaker(rand_augment(side_of(bench.size, share)), progress)

    return supervised_with(bench, Curriculum(at))


def frequencies_alone(bench):
    return supervised_with(bench, easy_first(rand_augment(bench.size), strength=lambda progress: 1.0))


def augmentation_alone(bench):
    return supervised_with(bench, easy_first(rand_augment(bench.size), stages=((1.0, 1.0),)))


CLAIM = Claim(
    system="efficient_train",
    paper="ImageNet, many backbones: more than 1.5 times faster at the same accuracy",
    question="Does seeing low frequencies and weak augmentation first save time on CIFAR-10 without costing accuracy?",
    arms={
        "efficient_train": Arm("supervised", views="efficient_train"),
        "full size": Arm("supervised", views="rand_augment"),
        "full size, as much compute": Arm("supervised", views="rand_augment", epochs=207, short={"steps": 276}),
        "smaller pictures": Arm("supervised", run=smaller_pictures),
        "frequencies alone": Arm("supervised", run=frequencies_alone),
        "augmentation alone": Arm("supervised", run=augmentation_alone),
    },
    data=(Arena("cifar10", rows=20000, test=0),),
    versus=(
        Versus("efficient_train", "full size", "accuracy", margin=0.01, says="It is no worse by more than a point."),
        Versus("efficient_train", "full size", "seconds", higher=False, says="It is sooner done."),
        Versus("efficient_train", "full size, as much compute", "accuracy", says="The time is better spent than on fewer steps."),
        Versus("efficient_train", "smaller pictures", "accuracy", says="Cropping frequencies is better than resampling."),
        Versus("efficient_train", "frequencies alone", "accuracy", says="The growing augmentation is part of it."),
        Versus("efficient_train", "augmentation alone", "accuracy", margin=0.01, says="It is no worse than the growing augmentation on all frequencies."),
    ),
    full={"encoder": "resnet18_small", "size": 32, "epochs": 300, "batch": 256},
    measure=answers,
    arena_metric="knn",
    seeds=4,
)
