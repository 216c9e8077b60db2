"""Encoders of point clouds, by name. They take clouds of `size` points with `channels` numbers each, coordinates first."""

from __future__ import annotations

from manyviews.contracts import Encoder

SIZE = 1024  # points, where nothing is said


def point_transformer(channels: int = 3, size: int = SIZE) -> Encoder:
    """Groups of neighbours under a transformer of 12 blocks, 384 wide (Point-BERT, Point-MAE): 22 million parameters."""
    from manyviews.backbones.point_transformer import grouped

    return grouped(channels, 384, 12, 6, *groups(size))


def point_transformer_micro(channels: int = 3, size: int = SIZE) -> Encoder:
    """Groups of neighbours under a transformer of 4 blocks, 96 wide: for a CPU in minutes."""
    from manyviews.backbones.point_transformer import grouped

    return grouped(channels, 96, 4, 3, *groups(size, 32))


def point_m2ae(channels: int = 3, size: int = SIZE) -> Encoder:
    """Groups of groups of groups under transformers of 5 blocks each, 96, 192 and 384 wide (Point-M2AE, I2P-MAE): 13 million parameters."""
    from manyviews.backbones.point_m2ae import levelled

    return levelled(channels, size, 512, (96, 192, 384), (5, 5, 5), 6)


def point_m2ae_micro(channels: int = 3, size: int = SIZE) -> Encoder:
    """Groups of groups of groups under transformers of 2 blocks each, 24, 48 and 96 wide: for a CPU in minutes."""
    from manyviews.backbones.point_m2ae import levelled

    return levelled(channels, size, 128, (24, 48, 96), (2, 2, 2), 6)


def pointnet(channels: int = 3, size: int = SIZE) -> Encoder:
    """PointNet (Qi et al. 2017, arXiv:1612.00593): 2.8 million parameters, 1,024 numbers a cloud."""
    from manyviews.backbones.pointnet import PointNet

    return PointNet(channels)


def pointnet_micro(channels: int = 3, size: int = SIZE) -> Encoder:
    """PointNet without its transforms, four layers wide 64 to 256: 46,000 parameters, 256 numbers a cloud, for a CPU in minutes."""
    from manyviews.backbones.pointnet import SmallPointNet

    return SmallPointNet(channels)


def pointnet2(channels: int = 3, size: int = SIZE) -> Encoder:
    """PointNet++ with single-scale grouping (Qi et al. 2017, arXiv:1706.02413): 0.8 million parameters, 1,024 numbers a cloud."""
    from manyviews.backbones.pointnet import PointNet2

    return PointNet2(channels, size)


def dgcnn(channels: int = 3, size: int = SIZE) -> Encoder:
    """DGCNN (Wang et al. 2019, arXiv:1801.07829): 0.6 million parameters, 2,048 numbers a cloud."""
    from manyviews.backbones.dgcnn import DGCNN

    return DGCNN(channels)


def sparse_unet(channels: int = 3, size: int = SIZE) -> Encoder:
    """A sparse voxel U-Net (arXiv:1711.10275) of three levels, 32 to 128 wide, over voxels of a twentieth of the radius."""
    from manyviews.backbones.sparse_unet import SparseUNet

    return SparseUNet(channels)


def groups(size: int, most: int = 64) -> tuple[int, int]:
    """How many groups, and of how many points each: twice as many in all as there are points, as in the papers' 64 of 32 for 1,024."""
    count = max(4, min(most, size // 16))
    return count, max(4, min(32, 2 * size // count))


def natural(size: int) -> str:
    """What this machine can train."""
    import torch

    return "point_transformer" if torch.cuda.is_available() else "point_transformer_micro"
