"""PONITA's forward pass beside a network of e3nn's tensor products, on the same atoms and edges, of as many layers and channels.

    pip install e3nn                              # needed here and by nothing else in this repository
    python benchmarks/ponita.py                   # 1,000 atoms, 16 neighbours each, 4 layers, 64 channels: about a minute on one core
    python benchmarks/ponita.py --small           # 100 atoms: seconds

e3nn's side is the usual one for atoms (as in NequIP): 64 channels of each degree l <= 2, harmonics of the edges up to l = 2, each channel times the
harmonics by weights of its own, which a perceptron of the distance gives for every edge, then a linear map, a gate and what came in. PONITA has 64 channels
at each of 12 or 20 orientations, and as many kernel functions. Both sides take turns in one process, in one thread, without gradients; times are medians of
processor time. The goal is at most 1.5 times of e3nn's time. Ours takes few nodes at once, so that kernels stay in the cache.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from manyviews.nn.neighbours import knn
from manyviews.symmetry.ponita import Ponita

GOAL, RADIAL, HIDDEN = 1.5, 8, 64


def tensor_products(channels: int, depth: int) -> nn.Module:
    """The network of e3nn. Exits where that is not installed."""
    try:
        from e3nn import o3
        from e3nn.nn import FullyConnectedNet, Gate
    except ImportError as error:
        sys.exit(f"this benchmark compares with e3nn, which cannot be imported ({error}): pip install e3nn")
    harmonics = o3.Irreps.spherical_harmonics(2)
    inner = o3.Irreps(f"{channels}x0e + {channels}x1o + {channels}x2e")

    class Layer(nn.Module):
        def __init__(self, before: o3.Irreps):
            super().__init__()
            out: list[tuple[int, o3.Irrep]] = []
            paths = []
            for i, (mul, one) in enumerate(before):
                for j, (_, other) in enumerate(harmonics):
                    for product in one * other:
                        if product in inner:
                            paths.append((i, j, len(out), "uvu", True))
                            out.append((mul, product))
            middle, order, _ = o3.Irreps(out).sort()
            paths = [(i, j, order[k], mode, train) for i, j, k, mode, train in paths]
            self.product = o3.TensorProduct(before, harmonics, middle, paths, shared_weights=False, internal_weights=False)
            self.weights = FullyConnectedNet([RADIAL, HIDDEN, self.product.weight_numel], torch.nn.functional.silu)
            self.gate = Gate(f"{channels}x0e", [torch.nn.functional.silu], f"{2 * channels}x0e", [torch.sigmoid], f"{channels}x1o + {channels}x2e")
            self.mix, self.own = o3.Linear(middle, self.gate.irreps_in), o3.Linear(before, self.gate.irreps_in)

        def forward(self, f: Tensor, send: Tensor, hear: Tensor, y: Tensor, radial: Tensor) -> Tensor:
            messages = self.product(f[send], y, self.weights(radial))
            heard = torch.zeros(len(f), messages.shape[1]).index_add_(0, hear, messages)
            return self.gate(self.mix(heard) + self.own(f))

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            before = [o3.Irreps(f"{channels}x0e"), *[inner] * (depth - 1)]
            self.embed = nn.Linear(1, channels)
            self.layers = nn.ModuleList(Layer(o3.Irreps(irreps)) for irreps in before)
            self.readout = o3.Linear(inner, "1x0e")

        def forward(self, x: Tensor, scalars: Tensor, rows: Tensor) -> Tensor:
            send, hear = rows[0].flatten(), torch.arange(x.shape[1]).repeat_interleave(rows.shape[2])
            away = x[0, send] - x[0, hear]
            y = o3.spherical_harmonics(harmonics, away, normalize=True, normalization="component")
            radial = (-(away.norm(dim=1, keepdim=True) - torch.linspace(0, 2, RADIAL)).square() * 8).exp()
            f = self.embed(scalars[0])
            for layer in self.layers:
                f = layer(f, send, hear, y, radial)
            return self.readout(f)

    return Network()


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--depth", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    atoms, near, rounds = (100, 16, 3) if asked.small else (1000, 16, asked.rounds)
    channels, depth = (16, 2) if asked.small else (asked.channels, asked.depth)
    x = torch.rand(1, atoms, 3) * (atoms / 4) ** (1 / 3)  # about 4 atoms in a unit of volume
    rows, scalars = knn(x, x, near)[1], torch.ones(1, atoms, 1)
    sides = {"e3nn, l <= 2": tensor_products(channels, depth)}
    for count in (12, 20):
        sides[f"PONITA, {count} orientations"] = Ponita(1, width=channels, basis=channels, depth=depth, orientations=count)
    sides["PONITA, distances alone"] = Ponita(1, width=channels, basis=channels, depth=depth, space="positions")
    times: dict[str, list[float]] = {name: [] for name in sides}
    with torch.no_grad():
        for k in range(rounds + 2):  # e3nn's code is compiled in the first two
            for name, network in sides.items():
                spent = seconds(functools.partial(network.eval(), x, scalars, rows=rows))
                if k > 1:
                    times[name].append(spent)
    theirs = statistics.median(times["e3nn, l <= 2"])
    print(f"{atoms} atoms, {near} neighbours each, {depth} layers, {channels} channels, one thread")
    for name, found in times.items():
        count, ratio = sum(p.numel() for p in sides[name].parameters()), statistics.median(found) / theirs
        goal = "" if "e3nn" in name else f"  {'reached' if ratio <= GOAL else 'missed'} (goal {GOAL})"
        print(f"{name:26s} {1000 * statistics.median(found):8.1f} ms  {count:9,d} parameters  {ratio:5.2f} of e3nn's time{goal}")


if __name__ == "__main__":
    main()
