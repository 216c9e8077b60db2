"""OBoW: does predicting bags of visual words of a vocabulary that is renewed all the time compete with contrast?

Gidaris et al., "OBoW: Online Bag-of-Visual-Words Generation for Self-Supervised Learning", CVPR 2021, arXiv:2012.11552: ImageNet, ResNet-50, linear
73.8 % top-1, Places205 56.8 %, VOC07 classification 89.3 mAP (from memory); above MoCo v2, SwAV and BYOL on Places and VOC.
2,048 words for 20,000 pictures, which 32 steps renew (the authors' take 32 for ResNet-50, 64 for ResNet-18); sharpness and kappa are theirs for basic blocks;
a slow copy that averages over about 50 steps, and a running mean of distances that follows within tens. The arm without a slow teacher has decay 0 to the
end. In "first words alone" the vocabulary is filled from the untrained teacher and stays as it is. A first try, with 256 words, the sharpness of ResNet-50
and 250 steps, ended 0.085 below SimCLR by the linear probe, below the untrained encoder.
"""

import numpy as np
import torch

from manyviews.app.building import build_method, changed
from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.counters import Counter
from manyviews.views.finding import find_policy

SHORT = {"queue": 2048, "sharpness": 10.0, "kappa": 5.0, "decay": 0.98, "distance_decay": 0.9}


def first_words_alone(bench):
    """OBoW whose words are those of the untrained teacher."""
    torch.manual_seed(bench.seed)
    method, recipe = build_method("obow", bench.encoder(), bench.pretraining, **bench.words["settings"])
    method.to(bench.device)
    policy = find_policy(recipe.views, bench.size)
    batch = int(bench.words["batch"])
    for number, rows in enumerate(np.array_split(np.random.default_rng(bench.seed).permutation(len(bench.pretraining)), len(bench.pretraining) // batch)):
        if number * batch >= len(method.vocabularies[0].rows):
            break
        method.counter = Counter(bench.seed, number)
        with torch.no_grad():
            method.bags(policy(bench.pretraining.batch(rows).to(bench.device), method.counter)["clean"])
        method.after_step()
    for queue in method.vocabularies:
        queue.push = lambda words, index: None
    return bench.probes(bench.fit(method, changed(recipe, bench.words), bench.pretraining).exported)


CLAIM = Claim(
    system="obow",
    paper="ImageNet linear 73.8 %, Places205 56.8 %, VOC07 classification 89.3 mAP; above MoCo v2, SwAV and BYOL on Places and VOC (from memory)",
    question="Are OBoW's features as good as SimCLR's, and do its slow teacher and its renewed words matter?",
    arms={
        "obow": Arm("obow", short=SHORT),
        "obow, teacher = student": Arm("obow", short={**SHORT, "decay": 0.0, "final_decay": 0.0}),
        "first words alone": Arm("obow", short=SHORT, run=first_words_alone),
        "simclr": Arm("simclr", short={"temperature": 0.2, "hidden": 512}),
    },
    data=(Arena("cifar10", rows=20000),),
    versus=(
        Versus("obow", "simclr", "linear"),
        Versus("obow", "simclr"),
        Versus("obow", "obow, teacher = student", "linear", says="A slow teacher is better than the student itself."),
        Versus("obow", "first words alone", "linear", says="Words that are renewed are better than the first ones."),
        Versus("obow", "untrained", "linear"),
    ),
    full={"encoder": "resnet50", "size": 224, "epochs": 200, "batch": 256},
)
