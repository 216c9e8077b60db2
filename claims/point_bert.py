"""Point-BERT: does naming hidden groups of points teach more about shapes than restoring their points, and what do mixing and contrasting clouds add?

Yu et al., "Point-BERT: Pre-training 3D Point Cloud Transformers with Masked Point Modeling", CVPR 2022, arXiv:2111.14819: ModelNet40 fine-tuned 93.8 %,
ScanObjectNN (hardest) 83.1 %, against 91.4 % and 77.2 % of the same transformer from scratch; few-shot, 5 ways and 10 shots, 94.6 against 87.8 %
(the figures from scratch and of few-shot are from memory); 55 classes of ShapeNet, 1,024 points, 300 epochs of tokenizer and of transformer each.
Clouds of 512 points from 69 classes of meshes. The tokenizer has 64 words here and a quarter of the width, and trains for as many steps as what follows; the
slow copy averages over about 50 steps. "point_mae" restores coordinates instead, in as many steps and, as the tokenizer costs time, once more for as long.
Fine-tuned, as in the paper, on 700 labelled clouds in 100 steps, and so is the untrained network: training from scratch. As there are 492 test clouds, the
probes ask all 2,470, in five folds, of which 1,978 were learned from without labels. "words" is how many of the 64 are in use, as the exponential of the
entropy of how often each is the likeliest: near 1, there is nothing to name.
"""

import torch

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.evaluate.cross_validation import cross_validated

SHORT = {"codes": 64, "dim": 64, "hidden": 256, "out": 128, "queue": 1024, "decay": 0.98}


def measure(bench, method):
    rows = [bench.features(method.exported, data) for data in (bench.train, bench.test)]
    found = cross_validated(rows[0].and_also(rows[1]), bench.seed)
    if hasattr(method, "dvae"):
        found["words"] = words_used(bench.features(lambda view: method.dvae.words(view).float(), bench.test).x.long())
    return found if bench.words["method"] == "raw" else {**found, "finetuned": bench.finetune(method.exported, labels=700, steps=100)}


def words_used(words):
    """The number of words that, used alike, would be as hard to guess as these are."""
    share = words.flatten().bincount() / words.numel()
    return float(torch.special.entr(share).sum().exp())


CLAIM = Claim(
    system="point_bert",
    paper="ModelNet40 93.8 %, ScanObjectNN (hardest) 83.1 % against 91.4 and 77.2 % from scratch; few-shot 94.6 against 87.8 %",
    question="Does a transformer that names hidden groups know more about shapes than one that restores their points, and than an untrained one?",
    arms={
        "point_bert": Arm("point_bert", short=SHORT),
        "words alone": Arm("point_bert", short=SHORT, mix=0.0, contrast=0.0),
        "words and mixing, no contrast": Arm("point_bert", short=SHORT, contrast=0.0),
        "with the contrast of whole clouds": Arm("point_bert", short=SHORT, moco=1.0),
        "point_mae": Arm("point_mae", short={"depth": 2, "heads": 3}),
    },
    data=(Arena("shapes69/points", name="shapes69"),),
    versus=(
        Versus("point_bert", "point_mae", "linear", says="Naming hidden groups teaches more than restoring their points."),
        Versus("point_bert", "untrained", "finetuned", says="Fine-tuned, it is better than training from scratch."),
        Versus("point_bert", "untrained", "linear"),
        Versus("point_bert", "untrained"),
        Versus("point_bert", "raw input", "linear"),
        Versus("point_bert", "words alone", "linear", says="Mixed clouds, named and told apart, add to it."),
        Versus("point_bert", "words and mixing, no contrast", "linear", says="The contrast of mixed clouds adds to it."),
        Versus("with the contrast of whole clouds", "point_bert", "linear", says="The contrast of whole clouds, off in the released code, adds to it."),
    ),
    common={"encoder": "point_transformer_micro", "size": 512, "steps": 200, "batch": 32, "weight_decay": 0.05},
    measure=measure,
    full={"encoder": "point_transformer", "size": 1024, "epochs": 300, "batch": 128},
)
