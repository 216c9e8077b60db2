"""MMC: does masking with momentum distillation and contrast give parts that tell objects apart, without any training for it?

Wu et al., "Masked Momentum Contrastive Learning for Zero-shot Semantic Understanding", arXiv:2308.11448: best zero-shot segmentation from a point prompt
among DINO, iBOT, MAE, MSN and SiT (COCO, ADE20K, VOC), and the least overlap of the similarities within and between objects. Collages of four CIFAR-10
pictures stand for scenes with objects whose masks are known: the upper left picture is the object, prompted at its centre. Local crops are left out of no
arm: DINO and iBOT have theirs, and 150 steps instead of 250, which is about the same number of views.
"""

import numpy as np
import torch

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.data.collage import collage
from manyviews.evaluate.prompt_patch import object_similarities, prompt_segmentation
from manyviews.views import images


def scenes(data, part):
    return collage(data.keep(1 << 33, threads=1), 16000 if part == "train" else 1000)


def measure(bench, method):
    encoder, parts, where = method.exported.eval(), [], []
    for rows in np.array_split(np.arange(len(bench.test)), 8):
        view = images.plain(bench.size)(bench.test.batch(rows).to(bench.device), None)["v"]
        with torch.no_grad():
            tokens = encoder.tokenize(view)
            parts.append(encoder.encode(tokens).parts.float().cpu())
            where.append(tokens.where.cpu())
    parts, where = torch.cat(parts), torch.cat(where)
    quarter = (where[..., 1] > 0.5).long() * 2 + (where[..., 0] > 0.5).long()
    return {
        "IoU from a prompt": prompt_segmentation(parts, quarter == 0, where).best.value,
        "overlap": object_similarities(parts, quarter).overlap,
    }


SLOW = {"decay": 0.98, "hidden": 512}
CROPS = {**SLOW, "out": 1024, "bottleneck": 128, "steps": 150}

CLAIM = Claim(
    system="mmc",
    paper="best zero-shot segmentation from a point prompt among DINO, iBOT, MAE, MSN and SiT; least overlap of similarities within and between objects",
    question="Do MMC's parts segment an object from one prompt better than those of MAE, DINO and iBOT?",
    arms={
        "mmc": Arm("mmc", short={**SLOW, "prototypes": 1024, "prototype_hidden": 512, "bottleneck": 128}),
        "ibot": Arm("ibot", short=CROPS),
        "dino": Arm("dino", short=CROPS),
        "mae": Arm("mae", short={"dim": 64, "depth": 2, "heads": 4, "steps": 500}),
    },
    data=(Arena("cifar10", train=1000, test=1000, prepare=scenes, name="collages of cifar10"),),
    versus=(
        *(Versus("mmc", other, "IoU from a prompt") for other in ("mae", "dino", "ibot")),
        *(Versus("mmc", other, "overlap", higher=False) for other in ("mae", "dino", "ibot")),
    ),
    common={"encoder": "vit_nano", "weight_decay": 0.05, "steps": 250},
    measure=measure,
    raw=False,
    full={"encoder": "vit_small", "size": 224, "epochs": 800, "batch": 64},
)
