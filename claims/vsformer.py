"""VSFormer: does a transformer over the set of an object's pictures, without places, classify it better than pooling does, also from few pictures?

Sun et al., "VSFormer: Mining Correlations in Flexible View Set for Multi-view 3D Shape Understanding", TVCG 2024, arXiv:2409.09254: state of the art on
ModelNet40, ScanObjectNN, RGBD and SHREC'17, above MVCNN and above transformers with vectors for the cameras; few views suffice (the tables were not at hand).
Eight renders around the vertical of each of 1,978 meshes of 69 classes, and 492 to test: few, so there are six seeds. As in the paper, the network of
pictures (resnet_nano) first learns to classify single ones, in 300 steps, then all learns to classify sets, of which training shows four to eight pictures.
Measured is the classifier itself, with all pictures, and with four, two and one, chosen at random; "unordered" has all of them, in any order, and does not
tell which is which: that is for the arm with cameras.
"""

import torch

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.backbones.vsformer import Pooled, VSFormer
from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.data.renders import view_sets
from manyviews.data.view_sets import single_views
from manyviews.views import images
from manyviews.views.view_sets import Glimpses

VIEWS = 8
SHOWN = {"all": 8, "four": 4, "two": 2, "one": 1}


def sets(data, part):
    return view_sets(data)


@torch.no_grad()
def accuracies(bench, method):
    """Right or wrong for each test object, with so many of its pictures."""
    spec, found = images.plain(bench.size).specs[0], {}
    for name, count in {**SHOWN, "unordered": VIEWS}.items():
        glimpses, right = Glimpses(spec, count / VIEWS, count / VIEWS), []
        for samples in bench.test.batches([range(i, min(i + 64, len(bench.test))) for i in range(0, len(bench.test), 64)], 0):
            view = glimpses.apply(samples.to(bench.device), Counter(bench.seed, 0), ["v"])[0]
            view = View(view.x, view.index) if name == "unordered" else view
            right.append(method.classifier(method.encoder(view)).argmax(1) == samples.given["label"].to(bench.device))
        found[name] = torch.cat(right).cpu().numpy()
    return found


def stages(build):
    """Single pictures first, then sets; both with labels. The network of pictures, and the widths, are those of the words' encoder."""

    def run(bench):
        like = bench.encoder()
        one = bench.pretrain(single_views(bench.pretraining), like.picture, **({"steps": 300, "batch": 128} if "steps" in bench.words else {"epochs": 30}))
        torch.manual_seed(bench.seed)
        two = bench.pretrain(encoder=build(one.encoder, {"dim": like.dim, "heads": like.layers[0].heads}))
        return {**accuracies(bench, two), **bench.probes(two.exported)}

    return run


def arm(build):
    return Arm("supervised", run=stages(build))


CLAIM = Claim(
    system="vsformer",
    paper="state of the art on ModelNet40, ScanObjectNN, RGBD, SHREC'17; above MVCNN and above transformers with cameras; few views suffice",
    question="Does attention among an object's pictures, without order, tell more than their largest or mean features, also with few of them?",
    arms={
        "vsformer": arm(lambda picture, widths: VSFormer(picture, **widths)),
        "max pooling (MVCNN)": arm(lambda picture, widths: Pooled(picture, "max")),
        "mean pooling": arm(lambda picture, widths: Pooled(picture, "mean")),
        "with cameras": arm(lambda picture, widths: VSFormer(picture, **widths, cameras=VIEWS)),
    },
    data=(Arena(f"renders:shapes69/meshes,views={VIEWS},side=32,poses=ring", name="shapes69", prepare=sets),),
    versus=(
        Versus("vsformer", "max pooling (MVCNN)", "all"),
        Versus("vsformer", "mean pooling", "all"),
        Versus("vsformer", "max pooling (MVCNN)", "two", says="It is better with two of eight pictures."),
        Versus("vsformer", "mean pooling", "two"),
        Versus("vsformer", "with cameras", "all", margin=0.01, says="It loses nothing by not knowing the cameras."),
        Versus("vsformer", "with cameras", "unordered", says="It needs no order."),
        Versus("vsformer", "untrained", "linear"),
        Versus("vsformer", "raw input", "linear"),
    ),
    common={"encoder": "vsformer_micro", "size": 32, "steps": 200, "batch": 32},
    seeds=6,
    full={"encoder": "vsformer", "size": 224, "epochs": 300, "batch": 450},
)
