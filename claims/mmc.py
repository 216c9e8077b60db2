"""MMC: does masking with momentum distillation and contrast give parts that tell objects apart, without any training for it?

Wu et al., "Masked Momentum Contrastive Learning for Zero-shot Semantic Understanding", arXiv:2308.11448: best zero-shot segmentation from a point prompt
among DINO, iBOT, MAE, MSN and SiT (COCO, ADE20K, VOC), and the least overlap of the similarities within and between objects. Scenes of four CIFAR-10
pictures, cut at a row and a column that are drawn for each, stand for scenes with objects whose masks are known; one of the four, drawn too, is the object, and
one of its parts the prompt. As parts near each other are often of one object, a part that knows nothing but its place does better than chance: the same is
asked once more without what all scenes have in common at a place, the mean over scenes of each place's parts, and of that mean alone ("by place"). All arms
take equally many steps; DINO and iBOT have their local crops beside. "raw input" are the patches' pixels.
"""

import dataclasses

import numpy as np
import torch
from torch.nn.functional import avg_pool2d

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.data.opening import open_data
from manyviews.evaluate.prompt_patch import object_similarities, prompt_segmentation
from manyviews.views import images

SIDE, GRID = 32, 8  # pixels, and parts that the encoder sees along a side
SHRUNK = 16  # pixels of a picture that is repeated, mirrored, where its cell is larger


def scenes(data, part):
    """Four pictures each; columns `cut` (row and column where the four meet, in parts), `chosen` (the object, in reading order), `prompt` (x and y, 0 to 1)."""
    data = data.keep(1 << 33, threads=1)
    count, rng = (16000, np.random.default_rng(0)) if part == "train" else (1000, np.random.default_rng(1))
    small = avg_pool2d(torch.from_numpy(np.asarray(data.kept)).permute(0, 3, 1, 2).float(), data.kept.shape[1] // SHRUNK)
    small = small.permute(0, 2, 3, 1).round().to(torch.uint8).numpy()
    rows, cut, chosen = rng.integers(0, len(data), (count, 4)), rng.integers(2, GRID - 1, (count, 2)), rng.integers(0, 4, count)
    x, prompt = np.empty((count, SIDE, SIDE, 3), np.uint8), np.empty((count, 2))
    for scene in range(count):
        for quarter, (down, across) in enumerate(cells(cut[scene])):
            height, width = ((side.stop - side.start) * SIDE // GRID for side in (down, across))
            picture = np.pad(small[rows[scene, quarter]], ((0, max(0, height - SHRUNK)), (0, max(0, width - SHRUNK)), (0, 0)), "symmetric")
            x[scene, down.start * SIDE // GRID :, across.start * SIDE // GRID :][:height, :width] = picture[:height, :width]
            if quarter == chosen[scene]:
                prompt[scene] = [(rng.integers(side.start, side.stop) + 0.5) / GRID for side in (across, down)]
    label = np.asarray(data.labels)[rows[np.arange(count), chosen]]
    return dataclasses.replace(open_data(x).with_columns(label=label, cut=cut, chosen=chosen, prompt=prompt), classes=data.classes)


def cells(cut):
    """Rows and columns of the four, in parts, in reading order."""
    down, across = ((slice(0, at), slice(at, GRID)) for at in cut.tolist())
    return [(d, a) for d in down for a in across]


def measure(bench, method):
    encoder, parts, where = method.exported.eval(), [], []
    raw = not encoder.content_width
    network = bench.encoder("vit_nano").eval() if raw else encoder
    for rows in np.array_split(np.arange(len(bench.test)), 8):
        view = images.plain(bench.size)(bench.test.batch(rows).to(bench.device), None)["v"]
        with torch.no_grad():
            tokens = network.tokenize(view)
            parts.append((tokens.content if raw else network.encode(tokens).parts).float().cpu())
            where.append(tokens.where.cpu())
    return told(torch.cat(parts), torch.cat(where), bench.test)


def told(parts, where, data):
    """Of scenes' parts, (scenes, parts, dim): IoU from a prompt and overlap of similarities, as they are, without their places' mean, and by that alone."""
    cut, chosen, prompt = (torch.from_numpy(np.asarray(data.columns[name])) for name in ("cut", "chosen", "prompt"))
    owner = (where[..., 1] * GRID > cut[:, :1]).long() * 2 + (where[..., 0] * GRID > cut[:, 1:]).long()
    found, mask = {}, owner == chosen[:, None]
    mean = parts.mean(0, keepdim=True)
    for how, x in (("", parts), (", places removed", parts - mean), (", by place", mean.expand_as(parts))):
        found[f"IoU from a prompt{how}"] = prompt_segmentation(x, mask, where, prompt.to(where.dtype)).best.value
        found[f"overlap{how}"] = object_similarities(x, owner).overlap
    return found


SLOW = {"decay": 0.98, "hidden": 512}
CROPS = {**SLOW, "out": 1024, "bottleneck": 128}
OTHERS = ("mae", "sit", "dino", "ibot", "raw input")

CLAIM = Claim(
    system="mmc",
    paper="best zero-shot segmentation from a point prompt among DINO, iBOT, MAE, MSN and SiT; least overlap of similarities within and between objects",
    question="Do MMC's parts segment an object from one prompt better than those of MAE, SiT, DINO and iBOT?",
    arms={
        "mmc": Arm("mmc", short={**SLOW, "prototypes": 1024, "prototype_hidden": 512, "bottleneck": 128}),
        "sit": Arm("sit", short=SLOW),
        "ibot": Arm("ibot", short=CROPS),
        "dino": Arm("dino", short=CROPS),
        "mae": Arm("mae", short={"dim": 64, "depth": 2, "heads": 4}),
    },
    data=(Arena("cifar10", train=1000, test=1000, prepare=scenes, name="scenes of cifar10"),),
    versus=(
        *(Versus("mmc", other, "IoU from a prompt") for other in OTHERS),
        *(Versus("mmc", other, "IoU from a prompt, places removed", says="Without what parts know of their place:") for other in OTHERS),
        *(Versus("mmc", other, "overlap", higher=False) for other in OTHERS),
    ),
    common={"encoder": "vit_nano", "weight_decay": 0.05, "steps": 150},
    measure=measure,
    full={"encoder": "vit_small", "size": 224, "epochs": 800, "batch": 64},
)
