"""Encoders of view sets, by name. They take sets of pictures (batch, views, channels, height, width) of `size` pixels a side, NaN where one is missing."""

from __future__ import annotations

from manyviews.contracts import Encoder

SIZE = 64  # pixels, where nothing is said


def vsformer(channels: int = 3, size: int = SIZE) -> Encoder:
    """VSFormer (arXiv:2409.09254) on ResNet-18, whose stem is CIFAR's up to 64 pixels: 20 million parameters."""
    from manyviews.backbones.vsformer import VSFormer

    return VSFormer(resnet18(channels, size))


def vsformer_micro(channels: int = 3, size: int = 32) -> Encoder:
    """VSFormer of 4 blocks, 128 wide, on resnet_nano: 0.9 million parameters, for a CPU in minutes."""
    from manyviews.backbones.vsformer import VSFormer

    return VSFormer(nano(channels, size), dim=128, heads=4)


def mvcnn_max(channels: int = 3, size: int = SIZE) -> Encoder:
    """MVCNN (Su et al. 2015, arXiv:1505.00880): the largest of each of ResNet-18's features over the pictures: 11 million parameters."""
    from manyviews.backbones.vsformer import Pooled

    return Pooled(resnet18(channels, size), "max")


def mvcnn_max_micro(channels: int = 3, size: int = 32) -> Encoder:
    """The largest of each of resnet_nano's features over the pictures: 0.3 million parameters."""
    from manyviews.backbones.vsformer import Pooled

    return Pooled(nano(channels, size), "max")


def mvcnn_mean(channels: int = 3, size: int = SIZE) -> Encoder:
    """The mean of ResNet-18's features over the pictures: 11 million parameters."""
    from manyviews.backbones.vsformer import Pooled

    return Pooled(resnet18(channels, size), "mean")


def mvcnn_mean_micro(channels: int = 3, size: int = 32) -> Encoder:
    """The mean of resnet_nano's features over the pictures: 0.3 million parameters."""
    from manyviews.backbones.vsformer import Pooled

    return Pooled(nano(channels, size), "mean")


def resnet18(channels: int, size: int):  # type: ignore[no-untyped-def]  # an annotation would make it an encoder of sets
    """Of single pictures."""
    from manyviews.backbones.building import build_encoder

    return build_encoder("resnet18_small" if size <= 64 else "resnet18", channels, size)


def nano(channels: int, size: int):  # type: ignore[no-untyped-def]
    """Of single pictures."""
    from manyviews.backbones.building import build_encoder

    return build_encoder("resnet_nano", channels, size)


def natural(size: int) -> str:
    """What this machine can train."""
    import torch

    return "vsformer" if torch.cuda.is_available() else "vsformer_micro"
