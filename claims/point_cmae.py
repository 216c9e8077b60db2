"""Point-CMAE: should what is restored for a group that two masks hide agree?

Ren et al., "Bringing Masked Autoencoders Explicit Contrastive Properties for Point Cloud Self-Supervised Learning", ACCV 2024, arXiv:2407.05862: better than
its masked autoencoder on ScanObjectNN, ModelNet40 and in few-shot learning, while an instance contrast beside the autoencoder makes it worse.
The paper compares a group with itself in the other branch; the released code with all groups: both are asked, and two masks without a contrast.
"""

from manyviews.app.evidence import Arena, Arm, Claim, Versus

SHORT = {"depth": 2, "heads": 3}

CLAIM = Claim(
    system="point_cmae",
    paper="above its masked autoencoder on ScanObjectNN, ModelNet40 and in few-shot; instance contrast beside the autoencoder is worse",
    question="Do a masked autoencoder's features of shapes get better when doubly hidden groups must agree?",
    arms={
        "point_cmae": Arm("point_cmae", short=SHORT),
        "two masks, no contrast": Arm("point_cmae", short=SHORT, contrast="none"),
        "all groups (released code)": Arm("point_cmae", short=SHORT, contrast="all"),
        "instance contrast": Arm("point_cmae", short=SHORT, contrast="instance"),
    },
    data=(Arena("shapes69/points", name="shapes69"),),
    versus=(
        Versus("point_cmae", "two masks, no contrast", "linear"),
        Versus("point_cmae", "all groups (released code)", "linear", says="A group should agree with itself, not with all."),
        Versus("two masks, no contrast", "instance contrast", "linear", says="Instance contrast beside the autoencoder makes it worse."),
    ),
    common={"encoder": "point_transformer_micro", "size": 512, "steps": 200, "batch": 32, "weight_decay": 0.05},
    full={"encoder": "point_transformer", "size": 1024, "epochs": 300, "batch": 128},
)
