"""Point-CMAE: should what is restored for a group that two masks hide agree?

Ren et al., "Bringing Masked Autoencoders Explicit Contrastive Properties for Point Cloud Self-Supervised Learning", ACCV 2024, arXiv:2407.05862: better than
its masked autoencoder on ScanObjectNN, ModelNet40 and in few-shot learning, while an instance contrast beside the autoencoder makes it worse.
The paper compares a group with itself in the other branch; the released code with all groups: both are asked, and two masks without a contrast. Point-MAE
is the autoencoder, with one mask, in as many steps and, as the second mask costs time, once more for as long.
Fine-tuned, as in the paper, on 700 labelled clouds in 100 steps, and so is the untrained network: training from scratch. As there are 492 test clouds, the
probes ask all 2,470, in five folds, of which 1,978 were learned from without labels. Six seeds, for a point or two are expected.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.evaluate.cross_validation import cross_validated

SHORT = {"depth": 2, "heads": 3}


def measure(bench, method):
    rows = [bench.features(method.exported, data) for data in (bench.train, bench.test)]
    found = cross_validated(rows[0].and_also(rows[1]), bench.seed)
    return found if bench.words["method"] == "raw" else {**found, "finetuned": bench.finetune(method.exported, labels=700, steps=100)}


CLAIM = Claim(
    system="point_cmae",
    paper="above its masked autoencoder on ScanObjectNN, ModelNet40 and in few-shot; instance contrast beside the autoencoder is worse",
    question="Do a masked autoencoder's features of shapes get better when doubly hidden groups must agree?",
    arms={
        "point_cmae": Arm("point_cmae", short=SHORT),
        "point_mae": Arm("point_mae", short=SHORT),
        "two masks, no contrast": Arm("point_cmae", short=SHORT, contrast="none"),
        "all groups (released code)": Arm("point_cmae", short=SHORT, contrast="all"),
        "instance contrast": Arm("point_cmae", short=SHORT, contrast="instance"),
    },
    data=(Arena("shapes69/points", name="shapes69"),),
    versus=(
        Versus("point_cmae", "point_mae", "linear"),
        Versus("point_cmae", "point_mae", "finetuned"),
        Versus("point_cmae", "two masks, no contrast", "linear", says="It is the contrast that helps, not the second mask."),
        Versus("point_cmae", "all groups (released code)", "linear", arena=False, says="A group should agree with itself, not with all."),
        Versus("two masks, no contrast", "instance contrast", "linear", arena=False, says="Instance contrast beside the autoencoder makes it worse."),
        Versus("point_cmae", "untrained", "linear"),
        Versus("point_cmae", "untrained", "finetuned", says="Fine-tuned, it is better than training from scratch."),
    ),
    common={"encoder": "point_transformer_micro", "size": 512, "steps": 200, "batch": 32, "weight_decay": 0.05},
    measure=measure,
    seeds=6,
    full={"encoder": "point_transformer", "size": 1024, "epochs": 300, "batch": 128},
)
