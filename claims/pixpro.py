"""PixPro: does comparing pixels teach what is where better than comparing whole pictures?

Xie et al., "Propagate Yourself: Exploring Pixel-Level Consistency for Unsupervised Visual Representation Learning", CVPR 2021, arXiv:2011.10043: Pascal VOC
60.2 AP, COCO 41.4 / 40.5 mAP, Cityscapes 77.2 mIoU: 2.6, 0.8, 1.0 and 1.0 above the best method on whole pictures; PixPro above PixContrast. Collages of four
CIFAR-10 pictures stand for scenes: a linear classifier says from the features of a cell of the map what lies there. The last map of the small encoder is 2 x
2; PixPro works on the 4 x 4 one, and all arms are asked on it. A slow copy of decay 0.98 for 400 steps; heads of 256, twice the encoder's width as in the
paper. All arms take SGD, as in the claim of BYOL: with AdamW at the usual rate all that have a slow copy and no negatives ended below the untrained encoder.
"""

import numpy as np
import torch

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.data.collage import collage
from manyviews.evaluate.linear import linear
from manyviews.evaluate.scores import Labelled
from manyviews.views import images


def scenes(data, part):
    return collage(data.keep(1 << 33, threads=1), 16000 if part == "train" else 1500)


def places(encoder, data, size, device):
    """Features of the 4 x 4 map's cells that lie whole in one quarter, averaged over it, with what lies there."""
    found = []
    for rows in np.array_split(np.arange(len(data)), -(-len(data) // 256)):
        view = images.plain(size)(data.batch(rows).to(device), None)["v"]
        with torch.no_grad():
            t = encoder.pyramid(view)[-2]
        quarter = (t.where[..., 1] > 0.5).long() * 2 + (t.where[..., 0] > 0.5).long()
        found.append(torch.stack([t.x[quarter == q].view(len(rows), -1, t.x.shape[-1]).mean(1) for q in range(4)], 1).float().cpu())
    return Labelled(torch.cat(found).flatten(0, 1), torch.from_numpy(data.columns["cells"]).long().flatten(), len(data.classes))


def measure(bench, method):
    encoder = method.exported.eval()
    known, asked = (places(encoder, data, bench.size, bench.device) for data in (bench.train, bench.test))
    return {"what is where": (linear(known, seed=bench.seed).predict(asked.x) == asked.y).numpy()}


SHORT = {"decay": 0.98, "hidden": 256}

CLAIM = Claim(
    system="pixpro",
    paper="VOC 60.2 AP, COCO 41.4 / 40.5 mAP, Cityscapes 77.2 mIoU: 2.6, 0.8, 1.0, 1.0 above the best method on whole pictures",
    question="Do PixPro's features tell what lies where in a picture better than BYOL's?",
    arms={
        "pixpro": Arm("pixpro", short=SHORT, level=-2, views="byol"),
        "byol": Arm("byol", short=SHORT, views="byol"),
        "pixcontrast": Arm("pixpro", short=SHORT, level=-2, task="contrast", views="byol"),
        "pixpro without propagation": Arm("pixpro", short=SHORT, level=-2, task="consistency", views="byol"),
    },
    data=(Arena("cifar10", train=3000, test=1500, prepare=scenes, name="collages of cifar10"),),
    versus=tuple(Versus("pixpro", other, "what is where") for other in ("byol", "pixcontrast", "pixpro without propagation")),
    common={"steps": 300, "optimizer": "sgd", "lr": 0.05, "weight_decay": 5e-4},
    measure=measure,
    raw=False,
    full={"encoder": "resnet50", "size": 224, "epochs": 400, "batch": 1024},
)
