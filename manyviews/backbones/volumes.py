"""Encoders of volumes, by name. They take (batch, channels, depth, height, width) of `size` voxels a side, with values in [0, 1]."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from manyviews.backbones.maps import Maps, one_after_the_other
from manyviews.contracts import Encoder
from manyviews.errors import InputError

SIZE = 32  # voxels a side, where nothing is said


def resnet10_3d(channels: int = 1, size: int = SIZE) -> Encoder:
    """ResNet-10 with 3-D kernels (Hara et al. 2018, arXiv:1711.09577; Med3D, arXiv:1904.00625) from MONAI: 14 million parameters."""
    return residual("resnet10", channels, size)


def resnet18_3d(channels: int = 1, size: int = SIZE) -> Encoder:
    """ResNet-18 with 3-D kernels (Hara et al. 2018, arXiv:1711.09577; Med3D, arXiv:1904.00625) from MONAI: 33 million parameters."""
    return residual("resnet18", channels, size)


def resnet3d_micro(channels: int = 1, size: int = SIZE) -> Encoder:
    """Three stages of one 3-D residual block, 16 to 64 wide: 0.3 million parameters, for a CPU in minutes."""
    from manyviews.backbones.video import step

    stages = [step(channels, 16, (2, 2, 2)), step(16, 32, (2, 2, 2)), step(32, 64, (2, 2, 2))]
    return Maps(nn.Sequential(*stages), one_after_the_other, [16, 32, 64])


def unet3d(channels: int = 1, size: int = SIZE) -> Encoder:
    """The contracting half of a 3-D U-Net (Cicek et al. 2016, arXiv:1606.06650), as MONAI's BasicUNet has it: 32 to 256 wide."""
    net = monai().BasicUNet(spatial_dims=3, in_channels=channels, out_channels=1, features=(32, 32, 64, 128, 256, 32))
    return Maps(nn.Sequential(net.conv_0, net.down_1, net.down_2, net.down_3, net.down_4), one_after_the_other, [32, 32, 64, 128, 256])


def swin3d(channels: int = 1, size: int = SIZE) -> Encoder:
    """The encoder of Swin UNETR (Hatamizadeh et al. 2022, arXiv:2201.01266) from MONAI: windows of 7 voxels, 48 to 768 wide; sides must be multiples of 32."""
    if size % 32:
        raise InputError(f"swin3d halves its sides five times: --size {size} is no multiple of 32; take {32 * max(1, round(size / 32))}")
    net = monai().SwinUNETR(in_channels=channels, out_channels=1, feature_size=48, use_checkpoint=False)
    return Maps(net.swinViT, shifted, [48, 96, 192, 384, 768])


def vit3d_small(channels: int = 1, size: int = SIZE) -> Encoder:
    """A ViT-S over cubes of an eighth of the side (UNETR, arXiv:2103.10504): 12 blocks, 384 wide, 6 heads."""
    from manyviews.backbones.cuboids import vit3d

    return vit3d(channels, 384, 12, 6, (max(2, size // 8),) * 3)


def vit3d_micro(channels: int = 1, size: int = SIZE) -> Encoder:
    """A transformer of 4 blocks, 96 wide, over cubes of a quarter of the side: for a CPU in minutes."""
    from manyviews.backbones.cuboids import vit3d

    return vit3d(channels, 96, 4, 3, (max(2, size // 4),) * 3)


def unified_vit(channels: int = 1, size: int = SIZE) -> Encoder:
    """A ViT-B over squares of pictures and cubes of volumes of an eighth of the side (Uni4Eye, arXiv:2203.04614): 12 blocks, 768 wide, 12 heads."""
    from manyviews.backbones.uni4eye import unified

    return unified(channels, 768, 12, 12, max(2, size // 8))


def unified_vit_micro(channels: int = 1, size: int = SIZE) -> Encoder:
    """A transformer of 4 blocks, 96 wide, over squares of pictures and cubes of volumes of a quarter of the side: for a CPU in minutes."""
    from manyviews.backbones.uni4eye import unified

    return unified(channels, 96, 4, 3, max(2, size // 4))


def monai() -> Any:
    """MONAI's networks. Raises InputError with the extra that installs them."""
    try:
        from monai.networks import nets
    except ImportError:
        raise InputError("this encoder is MONAI's, which is not installed; pip install 'manyviews[volumes]', or take resnet3d_micro or vit3d_small") from None
    return nets


def residual(name: str, channels: int, size: int) -> Maps:
    net = getattr(monai(), name)(
        spatial_dims=3, n_input_channels=channels, num_classes=1, conv1_t_size=7 if size > 64 else 3, conv1_t_stride=2 if size > 64 else 1
    )
    stem = nn.Sequential(net.conv1, net.bn1, net.act, nn.Identity() if net.no_max_pool else net.maxpool, net.layer1)
    return Maps(nn.Sequential(stem, net.layer2, net.layer3, net.layer4), one_after_the_other, [64, 128, 256, 512])


def shifted(net: nn.Module, x: Tensor) -> list[Tensor]:
    """The five levels of MONAI's Swin transformer."""
    return list(net(x))


def natural(size: int) -> str:
    """What this machine can train."""
    import torch

    return "resnet18_3d" if torch.cuda.is_available() else "resnet3d_micro"
