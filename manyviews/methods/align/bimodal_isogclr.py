"""Bimodal iSogCLR: a picture is told from captions of others, and a caption from other pictures, each at a temperature of its own that is learned.

Qiu et al., "Not All Semantics are Created Equal: Contrastive Self-supervised Learning with Automatic Temperature Individualization", ICML 2023,
arXiv:2305.11965.
Departs from the paper where the authors' code does: the gradients of temperatures are clipped, and the floor of the temperatures is a setting of its own.
From their code for pairs in that a pair is no negative of itself, as in the paper and in their later library (that code sums over it too); in that a sample's
first visit sets its running means, as in that library and in their code for two views (that code begins at zero); and in that these are kept as their
logarithms, which cannot overflow. States are of rows of the data: a picture that comes with several captions has one with each. The recipe is that of their
code for CC3M, the warm-up its 2,000 steps of 30 epochs; but the views are CLIP's (theirs crop at least half, flip, and change colours and shape), and the
encoders whatever `--encoder IMAGE+TEXT` names, with its own maps (theirs a ResNet-50 and DistilBERT, trained before, and maps with biases to 256 numbers).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.errors import InputError
from manyviews.nn.distributed import gather
from manyviews.nn.individual_temperatures import IndividualTemperatures
from manyviews.nn.towers import lacking_towers


class BimodalISogCLR(Method):
    """Pictures against the captions of others and captions against their pictures, each side with a temperature and a running mean for every pair.

    rho: how far weights may go from uniform, as a Kullback-Leibler divergence; the larger, the lower temperatures become, and well above the logarithm of the
        batch all of them sink to the lowest. The authors take 6 with batches of 512.
    temperature: of every picture and caption at the start.
    lowest: what no temperature falls below. highest: what no temperature rises above.
    gamma: share of the batch in a running mean, above 0 and up to 1; 1 forgets all before.
    beta: share of the newest gradient in a temperature's momentum, above 0 and up to 1.
    step: how far a temperature moves against its momentum, with each visit; 0: all stay at the first one, which is SogCLR.
    steepest: the size that the gradient of a temperature is clipped to.
    """

    recipe = Recipe(views="clip", optimizer="adamw", lr=1e-4, weight_decay=0.02, warmup=0.0125, final_lr=0.05)

    def __init__(
        self,
        encoder: Encoder,
        samples: int,
        rho: float = 6.0,
        temperature: float = 0.01,
        lowest: float = 0.005,
        highest: float = 1.0,
        gamma: float = 0.8,
        beta: float = 0.9,
        step: float = 0.03,
        steepest: float = 5.0,
    ):
        super().__init__()
        if problems := lacking_towers("bimodal_isogclr", encoder):
            raise InputError(*problems)
        self.encoder = encoder
        settings = (rho, temperature, lowest, highest, gamma, beta, step, steepest)
        self.image_state, self.text_state = IndividualTemperatures(samples, *settings), IndividualTemperatures(samples, *settings)

    def loss(self, image: View, text: View) -> Terms:
        towers: Any = self.encoder
        zi, zt = towers.embed_image(image), towers.embed_text(text)
        with torch.autocast(zi.device.type, enabled=False):
            zi, zt = F.normalize(zi.float(), dim=1), F.normalize(zt.float(), dim=1)
            own = (zi * zt).sum(1, keepdim=True)
            negative = image.index[:, None] != gather(image.index)
            images = self.image_state(zi @ gather(zt).T - own, negative, image.index)
            texts = self.text_state(zt @ gather(zi).T - own, negative, text.index)
        return {
            "image_to_text": images.mean(),
            "text_to_image": texts.mean(),
            "image_temperature": self.image_state.temperature[image.index].mean(),
            "text_temperature": self.text_state.temperature[text.index].mean(),
        }

    def after_step(self) -> None:
        self.image_state.update()
        self.text_state.update()
