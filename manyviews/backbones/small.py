"""Small encoders for pictures of 28 to 64 pixels, built from timm's blocks."""

from __future__ import annotations

import math
from typing import Any

from torch import nn


def resnet_micro(channels: int = 3, size: int = 32) -> nn.Module:
    """A ResNet of four basic blocks, 32 to 256 wide, with a 3x3 stem of stride 2: 1.2 million parameters, for a CPU in minutes."""
    return thin_resnet(channels, 32)


def resnet_nano(channels: int = 3, size: int = 32) -> nn.Module:
    """A ResNet of four basic blocks, 16 to 128 wide, with a 3x3 stem of stride 2: 0.3 million parameters, for experiments of a minute."""
    return thin_resnet(channels, 16)


def thin_resnet(channels: int, width: int) -> nn.Module:
    """One block a stage. Residual branches do not start at zero: with so few steps they would hardly start to learn."""
    from timm.models.resnet import BasicBlock, ResNet

    block: Any = BasicBlock
    model = ResNet(block, (1, 1, 1, 1), num_classes=0, in_chans=channels, channels=(width, 2 * width, 4 * width, 8 * width), zero_init_last=False)
    model.bn1, model.layer1 = nn.BatchNorm2d(width), nn.Sequential(BasicBlock(width, width))
    model.feature_info[0]["num_chs"] = width
    model.init_weights(zero_init_last=False)
    return stem3x3(model, channels, width, stride=2)


def resnet18_small(channels: int = 3, size: int = 32) -> nn.Module:
    """ResNet-18 with a 3x3 stem and no pooling before the first stage, as all CIFAR-10 papers use it: 11 million parameters."""
    from timm.models.resnet import BasicBlock, ResNet

    block: Any = BasicBlock
    return stem3x3(ResNet(block, (2, 2, 2, 2), num_classes=0, in_chans=channels, zero_init_last=False), channels)


def vit_micro(channels: int = 3, size: int = 32) -> nn.Module:
    """A vision transformer of 6 blocks, 192 wide, 3 heads: 2.7 million parameters. Patches are about an eighth of the side, and divide it."""
    return transformer(channels, size, 192, 6)


def vit_nano(channels: int = 3, size: int = 32) -> nn.Module:
    """A vision transformer of 4 blocks, 96 wide, 3 heads: 0.5 million parameters, for experiments of minutes. Patches as in vit_micro."""
    return transformer(channels, size, 96, 4)


def transformer(channels: int, size: int, width: int, depth: int) -> nn.Module:
    """With three heads, and patches of the divisor of the side that is nearest to an eighth of it."""
    from timm.models.vision_transformer import VisionTransformer

    patch = min((side for side in range(1, size + 1) if size % side == 0), key=lambda side: abs(math.log(8 * side / size)))
    return VisionTransformer(size, patch, channels, num_classes=0, embed_dim=width, depth=depth, num_heads=3, dynamic_img_size=True, dynamic_img_pad=True)


def stem3x3(model: nn.Module, channels: int, width: int = 64, stride: int = 1) -> nn.Module:
    """A 3x3 stem and no max-pooling in place of the 7x7 stem for large pictures."""
    model.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    return model
