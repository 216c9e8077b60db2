"""SLA: does one label for class and rotation, with a vote of all rotations, classify better than the class alone?

Lee, Hwang, Shin, "Self-supervised Label Augmentation via Input Transformations", ICML 2020, arXiv:1910.05872: on CIFAR-10, CIFAR-100, tiny-ImageNet and
fine-grained sets the vote (SLA+AG) and the distilled classifier (SLA+SD) beat plain training, telling the rotation apart by a second classifier hardly
helps, and rotating as augmentation hurts. From memory, not checked: CIFAR-100 74.8 %, SLA+AG 79.4, SLA+SD 77.6, two classifiers 74.7, augmentation 69.6.
Here on 5,000 pictures of CIFAR-10. All arms but the last see a batch as often; as four copies of each picture cost about 2.7 times as much with this small
encoder, the last one takes so many more steps. `aggregated` is the vote over copies (of the plain baseline there is one), `single` one pass over the
picture as it is: of "sla" the joint classifier's answers under no rotation (SLA+SI), of "sla, distilled" the classifier that learned from the vote (SLA+SD)
in the same training, which in the paper are two.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.evaluate.knn import knn


def answers(bench, method):
    """Right or wrong for each test picture."""
    known, asked = (bench.features(method.exported, part) for part in (bench.train, bench.test))
    measures = {"knn": (knn(known.x, known.y, asked.x) == asked.y).numpy()}
    ways = {}
    if hasattr(method, "aggregated"):
        ways = {"aggregated": method.aggregated, "single": method.predict}
    elif hasattr(method, "classifier"):
        ways = dict.fromkeys(("aggregated", "single"), lambda view: method.classifier(method.encoder(view)))
    for name, way in ways.items():
        found = bench.features(way, bench.test)
        measures[name] = (found.x.argmax(1) == found.y).numpy()
    return measures


CLAIM = Claim(
    system="sla",
    paper="CIFAR-100: plain 74.8 %, vote of SLA 79.4, distilled 77.6, two classifiers 74.7, rotations as augmentation 69.6 (from memory)",
    question="Do joint labels of class and rotation make a small classifier of CIFAR-10 better?",
    arms={
        "sla": Arm("sla", distil=False),
        "sla, distilled": Arm("sla"),
        "multi-task": Arm("sla", task="multi"),
        "augmentation": Arm("sla", task="augment"),
        "supervised": Arm("supervised"),
        "supervised, as much compute": Arm("supervised", short={"steps": 1100}),
    },
    data=(Arena("cifar10", rows=5000),),
    versus=(
        Versus("sla", "supervised", "aggregated"),
        Versus("sla", "supervised, as much compute", "aggregated", says="It is more than the longer training."),
        Versus("sla, distilled", "supervised", "single", says="One pass of the distilled classifier is better than plain training."),
        Versus("sla, distilled", "supervised, as much compute", "single", says="And better than the longer one."),
        Versus("sla", "multi-task", "single", says="A joint label teaches more than two labels."),
        Versus("sla", "multi-task", "aggregated"),
        Versus("sla", "augmentation", "aggregated", says="The vote is worth more than that of a classifier that does not tell rotations."),
        Versus("supervised", "augmentation", "single", says="Rotating as augmentation hurts."),
    ),
    full={"encoder": "resnet18_small", "size": 32, "steps": 80000, "batch": 128},
    measure=answers,
    arena_metric="knn",
)
