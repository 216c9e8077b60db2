"""Encoders of video, by name. They take clips (batch, channels, time, height, width) of `size` pixels a side."""

from __future__ import annotations

from torch import nn

from manyviews.backbones.maps import Maps, one_after_the_other
from manyviews.contracts import Encoder
from manyviews.nn import torchvision_schemas

SIZE = 112  # pixels, where nothing is said


def r3d_18(channels: int = 3, size: int = SIZE) -> Encoder:
    """ResNet-18 with all kernels 3-D (Tran et al. 2018, arXiv:1711.11248), as torchvision has it: 33 million parameters."""
    return residual("r3d_18", channels)


def r2plus1d_18(channels: int = 3, size: int = SIZE) -> Encoder:
    """R(2+1)D: each 3-D kernel split into one over space and one over time (Tran et al. 2018, arXiv:1711.11248): 31 million parameters."""
    return residual("r2plus1d_18", channels)


def r3d_micro(channels: int = 3, size: int = 32) -> Encoder:
    """Three stages of one 3-D residual block, 16 to 64 wide: 0.3 million parameters, for clips of 32 pixels on a CPU."""
    stages = [step(channels, 16, (1, 2, 2)), step(16, 32, (2, 2, 2)), step(32, 64, (2, 2, 2))]
    return Maps(nn.Sequential(*stages), one_after_the_other, [16, 32, 64])


def tubelet_vit_small(channels: int = 3, size: int = SIZE) -> Encoder:
    """A ViT-S over tubelets of 2 frames x 16 x 16 pixels (ViViT, arXiv:2103.15691): 12 blocks, 384 wide, 6 heads."""
    from manyviews.backbones.cuboids import vit3d

    return vit3d(channels, 384, 12, 6, (2, 16, 16))


def tubelet_vit_micro(channels: int = 3, size: int = 32) -> Encoder:
    """A transformer of 4 blocks, 96 wide, over tubelets of 2 frames and about an eighth of the side: for a CPU in minutes."""
    from manyviews.backbones.cuboids import vit3d

    patch = max(2, size // 8)
    return vit3d(channels, 96, 4, 3, (2, patch, patch))


def residual(name: str, channels: int) -> Maps:
    """One of torchvision's, without its classifier, its stem made for `channels`."""
    torchvision_schemas.declare()
    from torchvision.models import video

    model = getattr(video, name)(weights=None)
    if channels != 3:
        old = model.stem[0]
        model.stem[0] = nn.Conv3d(channels, old.out_channels, old.kernel_size, old.stride, old.padding, bias=False)
    stages = nn.Sequential(nn.Sequential(model.stem, model.layer1), model.layer2, model.layer3, model.layer4)
    return Maps(stages, one_after_the_other, [64, 128, 256, 512])


def step(inside: int, outside: int, stride: tuple[int, int, int]) -> nn.Module:
    return nn.Sequential(nn.Conv3d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm3d(outside), nn.ReLU(), Residual(outside))


class Residual(nn.Module):
    """Two 3-D convolutions added to their input (He et al. 2016)."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv3d(width, width, 3, 1, 1, bias=False), nn.BatchNorm3d(width), nn.ReLU(), nn.Conv3d(width, width, 3, 1, 1, bias=False), nn.BatchNorm3d(width)
        )

    def forward(self, x):  # type: ignore[no-untyped-def]
        return (x + self.body(x)).relu()


def natural(size: int) -> str:
    """What this machine can train."""
    import torch

    return "r3d_18" if torch.cuda.is_available() else "r3d_micro"
