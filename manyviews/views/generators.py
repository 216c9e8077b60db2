"""Generators of pictures for GenView's second views: Stable unCLIP by diffusers, and a small autoencoder that is trained on the data at hand.

What they know is what they bring: unCLIP hundreds of millions of pictures, the autoencoder nothing that the data does not show. Its latents are noised by
unCLIP's schedule. As what it decodes is blurred, a generated picture is the original plus what the noise changes in the decoded one: at level 0 it is the
original, whose fine detail stays at all others.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from lightning_fabric import Fabric
from torch import Tensor, nn

from manyviews.contracts import Recipe, Terms, Trainable, View
from manyviews.counters import Counter
from manyviews.data.dataset import Data
from manyviews.errors import InputError
from manyviews.train.fit import fit
from manyviews.views import images

MODEL = "stabilityai/stable-diffusion-2-1-unclip"  # at Hugging Face
Generator = Callable[[View, Tensor, Counter], Tensor]  # (originals, noise levels, randomness) -> pictures in [0, 1]


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
