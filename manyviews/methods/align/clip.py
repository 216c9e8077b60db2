"""CLIP: of all captions of a batch a picture must find its own, and of all pictures a caption.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, arXiv:2103.00020, Figure 3.
Departs from the paper: the recipe's rate, times batch / 256 as everywhere here, suits batches of about a thousand; for the paper's 32,768 give --lr 5e-4. The
warm-up is their 2,000 steps of 32 epochs of 400 million pairs. Adam's epsilon is PyTorch's. Both linear maps are the encoder's, so that a saved
run can be asked with text; the encoders are whatever `--encoder IMAGE+TEXT` names.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.errors import InputError
from manyviews.nn.distributed import gather, rank
from manyviews.nn.towers import lacking_towers


class CLIP(Method):
    """An encoder of pictures and one of text, compared by the cosine of their embeddings; its weight in the softmax is learned.

    temperature: at the start; what cosines are divided by before the softmax, above 0.
    ceiling: the most that cosines are ever multiplied by, which keeps training stable.
    """

    recipe = Recipe(views="clip", optimizer="adamw", lr=1.25e-4, weight_decay=0.2, warmup=0.005, betas=(0.9, 0.98))

    def __init__(self, encoder: Encoder, temperature: float = 0.07, ceiling: float = 100.0):
        super().__init__()
        problems = lacking_towers("clip", encoder)
        if temperature <= 0:
            problems.append(f"--set temperature={temperature}: it divides similarities and must be above 0; the paper's is 0.07")
        elif ceiling * temperature < 1:
            problems.append(f"--set ceiling={ceiling}: cosines are multiplied by {1 / temperature:.4g} from the start; the paper's is 100")
        if problems:
            raise InputError(*problems)
        self.encoder = encoder
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))  # t
        self.ceiling = ceiling

    def loss(self, image: View, text: View) -> Terms:
        towers: Any = self.encoder
        zi, zt = towers.embed_image(image), towers.embed_text(text)
        with torch.autocast(zi.device.type, enabled=False):
            zi, zt = F.normalize(zi.float(), dim=1), F.normalize(zt.float(), dim=1)
            scale = self.log_scale.exp()
            return {"image_to_text": self.find(zi, zt, scale) / 2, "text_to_image": self.find(zt, zi, scale) / 2, "scale": scale.detach()}

    @staticmethod
    def find(q: Float[Tensor, "batch dim"], k: Float[Tensor, "batch dim"], scale: Float[Tensor, ""]) -> Float[Tensor, ""]:
        """Cross-entropy of each query's own key among those of all ranks."""
        own = rank() * len(q) + torch.arange(len(q), device=q.device)
        return F.cross_entropy(scale * q @ gather(k).T, own)

    @torch.no_grad()
    def after_step(self) -> None:
        self.log_scale.clamp_(max=math.log(self.ceiling))
