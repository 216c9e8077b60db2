"""I2P-MAE: does a model of pictures teach a masked autoencoder of clouds what to keep visible, and what to say of it?

Zhang et al., "Learning 3D Representations from 2D Pre-trained Models via Image-to-Point Masked Autoencoders", CVPR 2023, arXiv:2212.06785: linear SVM on
ModelNet40 93.4 % (Point-M2AE 92.9, Point-MAE 91.0, both from memory); ScanObjectNN (hardest) 90.11 %, 3.68 points above the second best; 2,048 points of 55
classes of ShapeNet, 300 epochs, guided by CLIP's ViT-B/16, which saw 400 million captioned pictures.
Here the model of pictures is a small convolutional network that SimCLR trained, in 300 steps, on depth maps of the same clouds: the mechanism is checked,
without what it brings in from outside. Its training comes on top of the equal steps; in full the paper's CLIP is asked. Groups are drawn at a temperature of
0.02, of shares of 16 places; "another temperature" has the paper's 1, a nearly even draw. In full it is the other way: "i2p_mae" has the paper's, and
"another temperature" a sharp 0.002, of shares of 196 places. As there are 492 test clouds, the probes ask all 2,470, in five folds, of which 1,978 were learned
from without labels.
"""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import torch

from manyviews.app.building import build_method
from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.app.model import Model
from manyviews.backbones.building import build_encoder
from manyviews.backbones.i2p_mae import Frame
from manyviews.counters import Counter
from manyviews.data.opening import open_data
from manyviews.evaluate.cross_validation import cross_validated
from manyviews.views.finding import find_policy, plain

SIDE = 32  # pixels


def measure(bench, method):
    rows = [bench.features(method.exported, data) for data in (bench.train, bench.test)]
    return cross_validated(rows[0].and_also(rows[1]), bench.seed)


def depth_maps(bench):
    """Of the clouds to learn from, each from three sides, as pictures."""
    order = np.array_split(np.arange(len(bench.pretraining)), -(-len(bench.pretraining) // 256))
    found = []
    for samples in bench.pretraining.batches(order, bench.threads):
        points = plain(bench.size, bench.pretraining.modality)(samples, Counter(0, 0))["v"].x[..., :3]
        found += [Frame.of(p, SIDE).depth_map(p) for p in (points.roll(k, -1) for k in range(3))]
    x = (255 * torch.cat(found)).round().to(torch.uint8)
    return open_data(x.permute(0, 2, 3, 1).expand(-1, -1, -1, 3).numpy())


def guided(bench):
    """The words' training, guided by a network that learned from depth maps first; in full by the words' own."""
    if "epochs" in bench.words:
        return measure(bench, bench.pretrain())
    maps = depth_maps(bench)
    encoder = build_encoder("resnet_nano", 3, SIDE, seed=bench.seed)
    torch.manual_seed(bench.seed)
    method, recipe = build_method("simclr", encoder, maps, temperature=0.2, hidden=512)
    recipe = dataclasses.replace(recipe, optimizer="adamw", weight_decay=1e-4)
    for _ in bench.steps(method.to(bench.device), maps, find_policy(recipe.views, SIDE), recipe, steps=300, batch=64, lr=1e-3):
        pass
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "guide.safetensors"
        Model(encoder, "resnet_nano", SIDE).save(file)
        return measure(bench, bench.pretrain(settings={**bench.words["settings"], "guide": str(file)}))


SHARP = {"temperature": 0.02, "guide": "untrained:resnet_nano"}  # the guide is replaced by a trained one in `guided`

CLAIM = Claim(
    system="i2p_mae",
    paper="linear SVM on ModelNet40 93.4 % against Point-M2AE's 92.9 %; ScanObjectNN (hardest) 90.11 %, 3.68 points above the second best",
    question="Do masks and targets from a model of pictures make a masked autoencoder of clouds know more about shapes?",
    arms={
        "i2p_mae": Arm("i2p_mae", short=SHARP, run=guided),
        "guided masks, points alone": Arm("i2p_mae", short=SHARP, run=guided, semantic=0.0),
        "random masks, points alone": Arm("i2p_mae", masking="random", semantic=0.0),
        "another temperature": Arm("i2p_mae", short={**SHARP, "temperature": 1.0}, run=guided, temperature=0.002),
    },
    data=(Arena("shapes69/points", name="shapes69"),),
    versus=(
        Versus("i2p_mae", "random masks, points alone", "linear"),
        Versus("i2p_mae", "guided masks, points alone", "linear", says="Features of pictures as targets add to it."),
        Versus("guided masks, points alone", "random masks, points alone", "linear", margin=0.01, says="Guided masks are no worse than random ones."),
        Versus("i2p_mae", "another temperature", "linear"),
        Versus("i2p_mae", "untrained", "linear"),
        Versus("i2p_mae", "untrained"),
        Versus("i2p_mae", "raw input", "linear"),
    ),
    common={"encoder": "point_m2ae_micro", "size": 512, "steps": 200, "batch": 32, "weight_decay": 0.05},
    measure=measure,
    full={"encoder": "point_m2ae", "size": 2048, "epochs": 300, "batch": 64},
)
