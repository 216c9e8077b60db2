"""ImagiNet: does SelfCon, its baseline, tell synthetic pictures from real ones, also those of an unknown generator and after compression?

Boychev, Cholakov, "ImagiNet", arXiv:2407.20020: SelfCon on ResNet-50, AUC 0.993 in the mean over four families of generators, accuracy 95.9 %, after
compression and resizing; Corvi's detector, trained on the same pictures, 0.960 and 87.5 % (table of the authors' repository). Here the real ones are
CIFAR-10's. Synthetic ones are of three cheap generators that were chosen beforehand: pictures that went through 26 pixels and back by bicubic interpolation,
samples of a Gaussian in the space of 600 principal components, and samples of a small variational autoencoder, which is held out of the training. (With
16 pixels and 200 components one number, the energy of the finest details, would do.) All arms see flips alone, as resampling hides how a picture was made;
half of the pictures to learn from went through JPEG, as in the paper. A linear probe on 5,000 samples gives the scores; JPEG is of quality 50 to 100.
"""

import io

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from torch import nn

from manyviews.app.evidence import Arena, Arm, Claim, Versus
from manyviews.data import images
from manyviews.data.arrays import Array
from manyviews.data.dataset import Data
from manyviews.data.derive import cached
from manyviews.data.opening import open_data
from manyviews.data.splits import split
from manyviews.evaluate.linear import linear

BICUBIC, COMPONENTS, AUTOENCODER = range(3)
SEEN = (BICUBIC, COMPONENTS)
VERSION = "imaginet-claim/2"  # of the synthetic pictures in the cache


def real_pictures(data, rows):
    return np.stack([images.to_channels(data[i], 3) for i in rows])


def through_fewer(pictures, side=26):
    """Down to a smaller side and up again."""
    small = [Image.fromarray(p).resize((side, side), Image.Resampling.BICUBIC) for p in pictures]
    return np.stack([np.asarray(s.resize(p.shape[1::-1], Image.Resampling.BICUBIC)) for s, p in zip(small, pictures, strict=True)])


def of_components(pictures, count, rng):
    """A Gaussian fitted to 600 principal components."""
    x = pictures.reshape(len(pictures), -1).astype(np.float32) / 255
    found = PCA(600, svd_solver="randomized", random_state=0).fit(x)
    z = rng.normal(size=(count, 600)) * np.sqrt(found.explained_variance_)
    return as_bytes(found.inverse_transform(z).reshape(count, *pictures.shape[1:]))


class Autoencoder(nn.Module):
    """Convolutions to 64 numbers and back."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 32, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 4, 2, 1),
            nn.ReLU(),
            nn.Conv2d(64, 64, 4, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(1024, 128),
        )
        self.decoder = nn.Sequential(
            nn.Linear(64, 1024), nn.ReLU(), nn.Unflatten(1, (64, 4, 4)), nn.ConvTranspose2d(64, 64, 4, 2, 1), nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(32, 3, 4, 2, 1), nn.Sigmoid(),
        )  # fmt: skip


def of_autoencoder(pictures, count, steps=500):
    """Samples of a variational autoencoder that was trained on the pictures for some seconds."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network, x = Autoencoder(), torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
        optimizer = torch.optim.Adam(network.parameters(), 2e-3)
        for _ in range(steps):
            batch = x[torch.randint(len(x), (64,))]
            mean, log_variance = network.encoder(batch).chunk(2, 1)
            out = network.decoder(mean + torch.randn_like(mean) * (log_variance / 2).exp())
            divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)
            loss = (F.mse_loss(out, batch, reduction="none").sum((1, 2, 3)) / 0.02 + divergence).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            return as_bytes(network.decoder(torch.randn(count, 64)).permute(0, 2, 3, 1).numpy())


def as_bytes(pictures):
    return (pictures.clip(0, 1) * 255 + 0.5).astype(np.uint8)


def prepare(data, part):
    """Real pictures of the part, and as many synthetic ones; generators learn from training pictures that are not among the real ones."""

    def make():
        few, each, generators = (5000, 2500, SEEN) if part == "train" else (1000, 500, (*SEEN, AUTOENCODER))
        rng = np.random.default_rng([1, part == "train"])
        order = np.random.default_rng(0).permutation(len(data))
        train, _ = split(open_data("cifar10"), seed=0)
        learned = real_pictures(train, np.random.default_rng(0).permutation(len(train))[10000:15000])
        makers = {
            BICUBIC: lambda: through_fewer(real_pictures(data, order[few : few + each])),
            COMPONENTS: lambda: of_components(learned, each, rng),
            AUTOENCODER: lambda: of_autoencoder(learned, each),
        }
        made = [real_pictures(data, order[:few]), *(makers[g]() for g in generators)]
        generator = np.concatenate([np.full(len(m), g) for m, g in zip(made, (-1, *generators), strict=True)])
        pictures = np.concatenate(made)
        if part == "train":
            for row in np.flatnonzero(rng.random(len(pictures)) < 0.5):
                pictures[row] = squeezed(pictures[row], rng.integers(50, 101))
        return {"pictures": pictures, "generator": generator}

    found = cached(f"{VERSION}/{part}/{data.fingerprint()}", make)
    columns = {"label": (found["generator"] >= 0).astype(np.int64), "generator": found["generator"]}
    return Data(Array(found["pictures"], f"real and synthetic pictures, {part}"), images.decode, "images", columns, ["real", "synthetic"])


def squeezed(picture, quality):
    """Through JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=int(quality))
    return np.asarray(Image.open(buffer))


def compressed(data):
    """The same after JPEG."""
    quality = np.random.default_rng(0).integers(50, 101, len(data))
    x = np.stack([squeezed(data[i], q) for i, q in enumerate(quality)])
    return Data(Array(x, "the same after JPEG"), images.decode, "images", data.columns, data.classes)


def measured(bench, method):
    """AUC of the probe's score: generators of the training, the one held out, and all after JPEG."""
    probe = linear(bench.features(method.exported, bench.train), seed=bench.seed)
    generator = bench.test.columns["generator"]

    def area(data, generators):
        x = bench.features(method.exported, data).x
        score = (((x - probe.mean) / probe.scale) @ probe.weight + probe.bias).diff(dim=1)[:, 0].numpy()
        asked = np.isin(generator, [-1, *generators])
        return float(roc_auc_score(generator[asked] >= 0, score[asked]))

    return {
        "auc_seen": area(bench.test, SEEN),
        "auc_held_out": area(bench.test, (AUTOENCODER,)),
        "auc_jpeg": area(compressed(bench.test), (*SEEN, AUTOENCODER)),
    }


CLAIM = Claim(
    system="imaginet",
    paper="SelfCon: AUC 0.993, accuracy 95.9 % after compression and resizing (mean of four families); Corvi's detector on the same pictures 0.960, 87.5 %",
    question="Is SelfCon a better detector of synthetic pictures than cross-entropy and SupCon, for a generator it has not seen and after JPEG?",
    arms={
        "selfcon": Arm("selfcon", temperature=0.07, second="generator", views="detection"),
        "selfcon, origin alone": Arm("selfcon", temperature=0.07, views="detection"),
        "supcon": Arm("supcon", temperature=0.07, hidden=512, views="detection_pair"),
        "supervised": Arm("supervised", views="detection"),
    },
    data=(Arena("cifar10", prepare=prepare, test=0),),
    versus=(
        Versus("selfcon", "supervised", "auc_jpeg"),
        Versus("selfcon", "supervised", "auc_held_out"),
        Versus("selfcon", "supcon", "auc_jpeg"),
        Versus("selfcon", "selfcon, origin alone", "auc_held_out", says="Knowing the generators helps with another one."),
        Versus("selfcon", "untrained", "auc_seen"),
    ),
    full={"encoder": "resnet50", "size": 256, "epochs": 400, "batch": 200, "optimizer": "sgd", "lr": 0.005},
    measure=measured,
)
