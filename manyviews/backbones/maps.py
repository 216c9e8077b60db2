"""Networks that give feature maps over space or time, as encoders: the embedding is the mean of the last map, the maps are the pyramid."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from manyviews.backbones.cuboids import places
from manyviews.contracts import Encoder, Tokens, View


class Maps(Encoder):
    """`maps(x)` gives (batch, width, depth, height, width) maps from fine to coarse, of the widths named. Inputs in [0, 1] are shown to it as [-1, 1]."""

    axes = 3

    def __init__(self, net: nn.Module, maps: Callable[[nn.Module, Tensor], list[Tensor]], widths: list[int]):
        super().__init__()
        self.net, self.maps, self.widths = net, maps, widths
        self.dim = widths[-1]

    def forward(self, view: View) -> Float[Tensor, "batch dim"]:
        return self.maps(self.net, 2 * view.x - 1)[-1].mean((2, 3, 4))

    def pyramid(self, view: View) -> list[Tokens]:
        found = []
        for level in self.maps(self.net, 2 * view.x - 1):
            where, extent = places(list(level.shape[2:]), level)
            t = level.flatten(2).mT
            found.append(Tokens(t, where.expand(len(t), -1, -1), extent=extent.expand(len(t), t.shape[1], -1)))
        return found


def one_after_the_other(net: nn.Module, x: Tensor) -> list[Tensor]:
    """For networks that are a sequence of stages."""
    found = []
    for stage in net.children():
        x = stage(x)
        found.append(x)
    return found
