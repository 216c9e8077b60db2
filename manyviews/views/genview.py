"""GenView: the second view of a pair comes from a generated picture, noised the more the more foreground its original has; good pairs count more.

Li et al., "GenView: Enhancing View Quality with Pretrained Generative Model for Self-Supervised Learning", ECCV 2024, arXiv:2403.12003.
Departs from the paper: one encoder of the user's tells the foreground of originals and of views, where there CLIP's ViT-H does the first and its
ConvNeXt-B the second; the sign of the principal direction, which theirs is given by hand, is the one under which foreground lies nearer to the centre. As
in the authors' code, projections are not centred (the threshold makes up for it) and levels change at 20, 40, 60 and 80 % of foreground; the threshold
leaves 40 % of the parts as foreground, as the text says (65th percentile in their code). Weights are normalised over the batch of all processes, not of
each one. The column `quality` judges the pair once, before augmentation, so that training costs nothing more; `Pairs(..., judge)` judges the augmented
views at each step, as the paper does. Beside Stable unCLIP there is a small autoencoder that is trained on the data at hand, whose latents are noised by
unCLIP's schedule. As what it decodes is blurred, a generated picture is the original plus what the noise changes in the decoded one: at level 0 it is the
original, whose fine detail stays at all others; it is moved within what the autoencoder knows, which is nothing that the data does not show.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from lightning_fabric import Fabric
from torch import Tensor, nn

from manyviews.contracts import Encoder, Recipe, Terms, Trainable, View
from manyviews.counters import Counter
from manyviews.data.dataset import Data
from manyviews.errors import InputError
from manyviews.train.fit import fit
from manyviews.views import images
from manyviews.views.policy import Policy

LEVELS = (0, 100, 200, 300, 400)  # of noise, of 1000, from little foreground to much
MODEL = "stabilityai/stable-diffusion-2-1-unclip"  # at Hugging Face
CELLS = 16  # parts that a feature map must have at least for a foreground to be seen in it
Generator = Callable[[View, Tensor, Counter], Tensor]  # (originals, noise levels, randomness) -> pictures in [0, 1]


# --- what is foreground -----------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Foreground:
    """Parts whose feature lies beyond `threshold` in `direction` are foreground."""

    encoder: Encoder
    direction: Float[Tensor, "dim"]
    threshold: float

    def project(self, view: View) -> tuple[Float[Tensor, "batch tokens dim"], Float[Tensor, "batch tokens"]]:
        """The parts and how far each lies in the direction."""
        x = parts(self.encoder, view)[0]
        return x, x @ self.direction.to(x.device)

    def ratio(self, view: View) -> Float[Tensor, "batch"]:
        """The share of each picture that is foreground."""
        return (self.project(view)[1] > self.threshold).float().mean(1)

    def quality(self, v: View, w: View) -> Float[Tensor, "batch"]:
        """Cosine of the two views' foregrounds less that of their backgrounds, -2 to 2: high where the thing is the same and its surroundings are not."""
        (fv, bv), (fw, bw) = (aggregate(*self.project(view)) for view in (v, w))
        return F.cosine_similarity(fv, fw, dim=1) - F.cosine_similarity(bv, bw, dim=1)


@torch.no_grad()
def parts(encoder: Encoder, view: View) -> tuple[Float[Tensor, "batch tokens dim"], Float[Tensor, "batch tokens axes"]]:
    """The coarsest feature map with CELLS parts or more (else the finest), by an encoder that is not trained by it; and where its parts are."""
    training = encoder.training
    levels = encoder.eval().to(view.x.device).pyramid(view)
    encoder.train(training)
    level = next((level for level in reversed(levels) if level.x.shape[1] >= CELLS), levels[0])
    return level.x.float(), level.where.float()


def aggregate(x: Float[Tensor, "batch tokens dim"], projection: Float[Tensor, "batch tokens"]) -> tuple[Tensor, Tensor]:
    """The mean part, weighted by the map of the foreground (the projection stretched to 0..1), and by that of the background."""
    low, high = projection.amin(1, keepdim=True), projection.amax(1, keepdim=True)
    front = (projection - low) / (high - low + 1e-7)
    return mean_of(x, front), mean_of(x, 1 - front)


def mean_of(x: Float[Tensor, "batch tokens dim"], weight: Float[Tensor, "batch tokens"]) -> Float[Tensor, "batch dim"]:
    return torch.einsum("bn,bnd->bd", weight / (weight.sum(1, keepdim=True) + 1e-7), x)


def find_foreground(encoder: Encoder, views: Iterable[View], share: float = 0.4) -> Foreground:
    """From the parts of some views: their first principal direction, pointing to the centre, and the threshold beyond which `share` of them lie."""
    if not 0 < share < 1:
        raise InputError(f"share {share}: of the parts that are foreground, between 0 and 1; the paper's is 0.4")
    encoder = copy.deepcopy(encoder).requires_grad_(False)
    found = [parts(encoder, view) for view in views]
    x, where = (torch.cat([f[k].flatten(0, 1).cpu() for f in found]) for k in (0, 1))
    centred = (x - x.mean(0)).double()
    direction = torch.linalg.eigh(centred.T @ centred).eigenvectors[:, -1].float()
    along, outside = x @ direction, (where - 0.5).norm(dim=1)
    if float(((along - along.mean()) * (outside - outside.mean())).sum()) > 0:
        direction, along = -direction, -along
    return Foreground(encoder, direction, float(np.quantile(along.numpy(), 1 - share)))


def noise_level(ratio: Float[Tensor, "batch"], levels: tuple[int, ...] = LEVELS) -> Int[Tensor, "batch"]:
    """Of `levels`, as many steps up as the share of foreground has passed of equal steps from 0 to 1; a border belongs to the step below it."""
    step = ((ratio.double() * len(levels) - 1e-6).ceil() - 1).clamp(0, len(levels) - 1).long()
    return torch.tensor(levels, device=ratio.device)[step]


# --- pairs ------------------------------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Pairs(Policy):
    """View v from the original, w from its generated picture, which comes as `given["generated"]` (uint8, one shape for all).

    judge: what weights each pair by exp(sharpness * quality); None: the column `quality` does, where there is one. Losses take the mean by these weights,
    which is a softmax over the batch, times its size.
    """

    judge: Foreground | None = None
    sharpness: float = 1.0  # gamma in the authors' code

    def __call__(self, samples: View, counter: Counter) -> dict[str, View | list[View]]:
        if "generated" not in samples.given:
            raise InputError("these views need a generated picture with every sample, in the column `generated`; manyviews.views.genview makes it")
        given = {name: value for name, value in samples.given.items() if name not in ("generated", "weight")}
        pictures = {"v": samples.x, "w": samples.given["generated"]}
        v, w = (self.roles[role].apply(View(x, samples.index, samples.g, given), counter, [role])[0] for role, x in pictures.items())
        quality = given.get("quality") if self.judge is None else self.judge.quality(v, w)
        if quality is not None:
            given["weight"] = (self.sharpness * quality.float()).exp()
        return {"v": v, "w": w}


def generated(size: int) -> Policy:
    """With SimCLR's changes."""
    return Pairs(images.simclr(size).roles)


def generated_moco(size: int) -> Policy:
    """With those of MoCo v2, for it and for SimSiam."""
    return Pairs(images.moco(size).roles)


def generated_byol(size: int) -> Policy:
    """With BYOL's."""
    return Pairs(images.byol(size).roles)


def generated_moco_v3(size: int) -> Policy:
    """With those of MoCo v3."""
    return Pairs(images.moco_v3(size).roles)


# --- the generated pictures -------------------------------------------------------------------------------------------------------------------


def genview(
    target: Data,
    encoder: Encoder,
    generator: str = "unclip",
    size: int = 224,
    side: int = 0,
    levels: tuple[int, ...] = LEVELS,
    share: float = 0.4,
    sampled: int = 10000,
    quality: bool = True,
    steps: int = 2000,
    model: str = "",
    folder: str = "",
    seed: int = 0,
    device: str = "cpu",
    threads: int = 2,
) -> dict[str, np.ndarray]:
    """Columns for each row of `target`: `generated`, a picture; `foreground`, its original's share of it; `noise`, the level; and `quality` of the pair.

    generator: unclip, Stable unCLIP by diffusers; autoencoder, a small one trained on `target`.
    size: of the pictures that are looked at, in pixels.
    side: of the generated pictures in pixels (the paper's is 512); 0: as `size`.
    levels: of noise, 0 to 1000, from little foreground to much; one alone is the same for all pictures.
    share: of their parts that shall be foreground, 0..1. sampled: from how many pictures, at most, that is found.
    quality: whether to judge the pairs; the policies weight them then.
    steps: of the autoencoder's training. device: where everything runs. threads: that decode.
    model: unclip's weights, a folder or a name at Hugging Face; "": those that the paper takes.
    folder: where generated.npy is written, to be read piece by piece; "": pictures are kept in memory.
    seed: of the rows looked at, the autoencoder and the noise. Rows that cannot be read get black pictures.
    """
    side, plain = side or size, images.plain(size)
    target = target.in_channels(3).reduced(max(target.pixels, plain.pixels))

    def look(rows: np.ndarray) -> Iterable[View]:
        order = np.array_split(rows, -(-len(rows) // 64))
        return (plain(samples.to(device), Counter(0, 0))["v"] for samples in target.batches(order, threads) if len(samples))  # type: ignore[misc]

    front = find_foreground(encoder.to(device), look(np.random.default_rng(seed).permutation(len(target))[:sampled]), share)
    make = build_generator(generator, target, size, steps, model, seed, device)
    shape = (len(target), side, side, 3)
    pictures = np.lib.format.open_memmap(Path(folder) / "generated.npy", "w+", np.uint8, shape) if folder else np.zeros(shape, np.uint8)
    kinds = {"foreground": np.float32, "noise": np.int64, **({"quality": np.float32} if quality else {})}
    found: dict[str, np.ndarray] = {name: np.zeros(len(target), kind) for name, kind in kinds.items()}
    for v in look(np.arange(len(target))):
        rows, ratio = v.index.cpu().numpy(), front.ratio(v)
        made = make(v, noise_level(ratio, levels), Counter(seed, 0))
        pictures[rows] = bytes_of(F.interpolate(made, (side, side), mode="bilinear", antialias=True) if made.shape[-1] != side else made)
        found["foreground"][rows], found["noise"][rows] = ratio.cpu().numpy(), noise_level(ratio, levels).cpu().numpy()
        if quality:
            w = plain(View(torch.from_numpy(pictures[rows]).to(device), v.index), Counter(0, 0))["v"]
            found["quality"][rows] = front.quality(v, w).cpu().numpy()  # type: ignore[arg-type]
    return {"generated": pictures, **found}


def summary(columns: Mapping[str, np.ndarray]) -> str:
    """What pairs with these columns will weigh, under the policies' own sharpness; "" where they were not judged."""
    if "quality" not in columns:
        return ""
    quality = columns["quality"].astype(np.float64)
    weight = np.exp(Pairs.sharpness * quality)
    weight /= weight.mean()
    worth = 1 / np.square(weight).mean()
    return (
        f"quality {quality.min():.3f} to {quality.max():.3f}, so that a pair weighs {weight.min():.2f} to {weight.max():.2f} times the mean "
        f"(standard deviation {weight.std():.3f}); all of them are worth {worth:.0%} of as many equal ones"
    )


def bytes_of(x: Float[Tensor, "batch 3 height width"]) -> UInt8[np.ndarray, "batch height width 3"]:
    return (x.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()


def build_generator(name: str, target: Data, size: int, steps: int, model: str, seed: int, device: str) -> Generator:
    """Raises InputError for a name that there is not, and for unclip where diffusers is not installed."""
    if name == "unclip":
        return Unclip(model or MODEL, device=device)
    if name != "autoencoder":
        raise InputError(f"no generator {name!r}; there are unclip and autoencoder")
    torch.manual_seed(seed)
    made, fabric = Autoencoder(size), Fabric(accelerator="cuda" if device.startswith("cuda") else "cpu", devices=1)
    for _ in fit(made, target, images.plain(size), steps=steps, batch=min(64, len(target)), recipe=made.recipe, seed=seed, fabric=fabric):
        pass
    return made.eval().requires_grad_(False).generate


class Unclip:
    """Stable unCLIP: diffusion from noise to a picture that has, to CLIP's eyes, the content of the original, noised to a level of 0 to 1000."""

    def __init__(self, model: str, steps: int = 20, guidance: float = 10.0, device: str = "cpu"):
        try:
            from diffusers import StableUnCLIPImg2ImgPipeline
        except ImportError:
            raise InputError("the generator unclip needs diffusers: pip install 'manyviews[generate]'; or take generator=autoencoder") from None
        try:
            pipe = StableUnCLIPImg2ImgPipeline.from_pretrained(model)
        except (OSError, ValueError) as error:
            raise InputError(f"no weights of Stable unCLIP at {model!r} ({str(error).partition(chr(10))[0]}); name a folder or another model") from None
        self.pipe, self.steps, self.guidance = pipe.to(device, torch.float16 if device.startswith("cuda") else torch.float32), steps, guidance
        self.pipe.set_progress_bar_config(disable=True)

    def __call__(self, view: View, level: Int[Tensor, "batch"], counter: Counter) -> Float[Tensor, "batch 3 height width"]:
        """Pictures of the model's own size; each with noise that its row decides. The prompt is empty."""
        from PIL import Image

        originals = [Image.fromarray(picture) for picture in bytes_of(view.x)]
        seeds = counter.bits("unclip", view.index, 1)[:, 0].bitwise_and((1 << 62) - 1).tolist()
        made: dict[int, Tensor] = {}
        for at in level.unique().tolist():
            rows = (level == at).nonzero()[:, 0].tolist()
            found = self.pipe(
                [originals[i] for i in rows], prompt=[""] * len(rows), noise_level=at, num_inference_steps=self.steps, guidance_scale=self.guidance,
                generator=[torch.Generator().manual_seed(seeds[i]) for i in rows], output_type="pt",
            ).images  # fmt: skip
            made.update(zip(rows, found.float(), strict=True))
        return torch.stack([made[i] for i in range(len(view))]).to(view.x.device)


class Autoencoder(Trainable):
    """A variational autoencoder (Kingma and Welling, arXiv:1312.6114) of convolutions, whose latents form a grid of 4 to 7 cells a side."""

    recipe = Recipe(views="plain", optimizer="adamw", lr=4e-3, weight_decay=0.0, warmup=0.02, clip=1.0)

    def __init__(self, size: int, width: int = 32, latent: int = 16, prior: float = 1e-3):
        super().__init__()
        halvings = max(1, math.floor(math.log2(size / 4)))
        widths = [min(256, width << k) for k in range(halvings)]
        down = [[nn.Conv2d(a, b, 4, 2, 1), nn.GroupNorm(8, b), nn.SiLU()] for a, b in itertools.pairwise([3, *widths])]
        up = [[nn.ConvTranspose2d(a, b, 4, 2, 1), nn.GroupNorm(8, b), nn.SiLU()] for a, b in itertools.pairwise(widths[::-1])]
        self.encoder = nn.Sequential(*itertools.chain(*down), nn.Conv2d(widths[-1], 2 * latent, 1))
        first, last = nn.Conv2d(latent, widths[-1], 1), nn.ConvTranspose2d(widths[0], 3, 4, 2, 1)
        self.decoder = nn.Sequential(first, *itertools.chain(*up), last, nn.Sigmoid())
        self.prior = prior  # weight of the latents' divergence from the standard normal; as large as pixels with a deviation of 0.1 ask for

    def loss(self, v: View) -> Terms:
        mean, log = self.encoder(v.x).chunk(2, 1)
        log = log.clamp(-10, 10)
        z = mean + (log / 2).exp() * self.counter.normal("latent", v.index, *mean.shape[1:])
        return {"error": (self.decode(z, v) - v.x).square().mean(), "prior": self.prior * (mean.square() + log.exp() - 1 - log).mean() / 2}

    def decode(self, z: Float[Tensor, "batch latent rows columns"], view: View) -> Float[Tensor, "batch 3 height width"]:
        x = self.decoder(z)
        return x if x.shape[2:] == view.x.shape[2:] else F.interpolate(x, view.x.shape[2:], mode="bilinear")

    def generate(self, view: View, level: Int[Tensor, "batch"], counter: Counter) -> Float[Tensor, "batch 3 height width"]:
        """The original + decode(noised mean latent) - decode(mean latent), clamped to [0, 1]: at level 0 the original itself.

        The difference is all that noise changes in the decoded picture; what decoding loses, which is the same at every level, cancels.
        """
        mean, _ = self.encoder(view.x).chunk(2, 1)
        kept = remaining(level)[:, None, None, None]
        noised = kept.sqrt() * mean + (1 - kept).sqrt() * counter.normal("noise", view.index, *mean.shape[1:])
        return (view.x + (self.decode(noised, view) - self.decode(mean, view))).clamp(0, 1)


def remaining(level: Int[Tensor, "batch"]) -> Float[Tensor, "batch"]:
    """The share of the variance that is signal at a level, 1 to 0: unCLIP's squared cosine (Nichol and Dhariwal, arXiv:2102.09672, Eq. (17))."""
    return (((level.float() / 1000 + 0.008) / 1.008 * math.pi / 2).cos() / math.cos(0.008 / 1.008 * math.pi / 2)).square().clamp(0, 1)
