"""G-SimCLR: are batches without two samples of a pseudo-class better to contrast than batches by chance?

Chakraborty, Roy Gosthipaty, Paul, "G-SimCLR: Self-Supervised Contrastive Learning with Guided Projection via Pseudo Labelling", ICDM Workshops 2020,
arXiv:2009.12007, table "Linear evaluation" of the authors' repository, one run each, without the head and with one or two of its layers: CIFAR-10, ResNet-20,
15 epochs of batches of 64: 40.5, 41.01 and 38.15 % (SimCLR 39.92, 39.4, 37.69 %); five classes of ImageNet, ResNet-50: 60, 56.8, 56.4 % (52.4, 48.4, 52.8 %).
"simclr" is the same method with batches by chance and no autoencoder. In "its opposite"
a batch is as far as can be of one cluster, so that samples are contrasted with their likes: if the idea is right, that is worse than chance.
The autoencoder is an eighth as wide as the authors' and trains for half as many steps as what follows, instead of one and a half times as many: theirs alone
would take longer than all the rest.
"""

import numpy as np

from manyviews.app.evidence import Arena, Arm, Claim, Versus


def opposite(bench):
    """As "g_simclr", with the rows of each cluster one after the other, clusters, their rows and whole batches in random order."""
    import torch

    from manyviews.app.building import build_method, changed

    batch = int(bench.words["batch"])

    def together(rows, columns, seed, epoch):
        rng = np.random.default_rng([seed, epoch])
        turn = rng.permutation(columns["pseudo_label"].max() + 1)
        order = np.lexsort((rng.random(rows), turn[columns["pseudo_label"]]))
        whole, rest = np.split(order, [rows // batch * batch])
        return np.concatenate([rng.permutation(whole.reshape(-1, batch)).ravel(), rest])

    encoder = bench.encoder()
    torch.manual_seed(bench.seed)
    method, recipe = build_method("g_simclr", encoder, bench.pretraining, **bench.words["settings"])
    method.sampler = together
    recipe = changed(recipe, bench.words)
    return bench.probes(bench.fit(method.to(bench.device), recipe, bench.pretraining).exported)


NARROW = {"autoencoder": 0.5, "width": 8}
CLAIM = Claim(
    system="g_simclr",
    paper="linear evaluation on CIFAR-10: SimCLR 39.92 %, G-SimCLR 40.5 %; on five classes of ImageNet 52.4 and 60 % (one run each), ResNet-20 and ResNet-50",
    question="Does it help to contrast batches without two samples of a pseudo-class?",
    arms={
        "g_simclr": Arm("g_simclr", short=NARROW),
        "simclr": Arm("g_simclr", clusters=1),
        "its opposite": Arm("g_simclr", short=NARROW, run=opposite),
    },
    data=(Arena("cifar10", rows=20000),),
    versus=(
        Versus("g_simclr", "simclr", "linear"),
        Versus("g_simclr", "simclr"),
        Versus("simclr", "its opposite", "linear", says="Batches by chance are better than batches of likes."),
        Versus("g_simclr", "untrained", "linear"),
    ),
    full={"encoder": "resnet18_small", "size": 32, "epochs": 15, "batch": 64},
)
