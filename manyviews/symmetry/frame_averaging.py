"""Frame averaging: any network becomes invariant or equivariant by being averaged over the few frames that its input gives itself.

Puny, Atzmon, Smith, Misra, Grover, Ben-Hamu, Lipman, "Frame Averaging for Invariant and Equivariant Network Design", ICLR 2022, arXiv:2110.03336.

Departs from the paper: where principal axes are not unique, which the paper excludes, a finite basis is taken and `nn.frames.Frames.ambiguous` says so
(`strict` raises); there the average is not exactly equivariant. As in the authors' code eigenvectors have no gradient, but the origin keeps its own, with
which the derivative along shifts is exact. Encoders of shapes are averaged over SE(3), 4 frames, as mirror images of things are often other things. FA-GNN
frames its latent vectors about 0 instead of about their mean: vectors do not shift, and their mean is information.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from manyviews.contracts import Encoder, Tokens, View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.groups import Acting, Fields, Permutation, Symmetric, Together, find, trivial
from manyviews.nn.frames import Frames, principal_frames, sorting_frames

MODALITY = "points"
KINDS = ("points", "vectors", "features")  # what moves and turns, what turns, what stays


class FrameAveraging(nn.Module):
    """The mean over frames of g phi(g^-1 x), phi any network. The frames are folded into the batch: phi is called once, on so many times as much.

    backbone: phi, of as many inputs as `takes` names, giving as many outputs as `gives`, batch first. takes, gives: each "points" or "vectors"
    (batch, n, axes), or "features" (batch, ...), which do not change; frames are those of the first input, which must be points. With gives
    "features" alone the result is invariant (Eq. 3), else equivariant (Eq. 4). reflections, shifts: whether the group has them: O and E, SE and E.
    strict: raise InputError for clouds whose frames are not unique.
    """

    def __init__(
        self,
        backbone: nn.Module,
        takes: Sequence[str] = ("points",),
        gives: str | Sequence[str] = "features",
        reflections: bool = True,
        shifts: bool = True,
        strict: bool = False,
    ):
        super().__init__()
        self.backbone, self.takes, self.gives = backbone, tuple(takes), (gives,) if isinstance(gives, str) else tuple(gives)
        self.reflections, self.shifts, self.strict = reflections, shifts, strict
        unknown = [kind for kind in (*self.takes, *self.gives) if kind not in KINDS]
        if unknown or self.takes[:1] != ("points",):
            raise InputError(f"inputs and outputs are {', '.join(KINDS)}, the first input points; not takes={self.takes}, gives={self.gives}")

    def forward(self, *inputs: Tensor, weights: Float[Tensor, "batch n"] | None = None) -> Any:
        if len(inputs) != len(self.takes):
            raise InputError(f"{len(inputs)} inputs for a network that takes {', '.join(self.takes)}")
        frames = principal_frames(inputs[0], weights, self.reflections, self.shifts, self.strict)
        found = self.backbone(*(folded(frames, kind, x) for kind, x in zip(self.takes, inputs, strict=True)))
        outputs = found if isinstance(found, tuple) else (found,)
        averaged = tuple(unfolded(frames, kind, y) for kind, y in zip(self.gives, outputs, strict=True))
        return averaged if isinstance(found, tuple) else averaged[0]


def folded(frames: Frames, kind: str, x: Tensor) -> Tensor:
    """g^-1 x for all frames g, one after the other in the batch."""
    if kind == "features":
        return x.repeat_interleave(frames.count, 0)
    return (frames.seen(x) if kind == "points" else frames.turned(x)).flatten(0, 1)


def unfolded(frames: Frames, kind: str, y: Tensor) -> Tensor:
    """The mean over frames g of g y."""
    y = y.unflatten(0, (-1, frames.count))
    return (y if kind == "features" else frames.returned(y) if kind == "points" else frames.turned_back(y)).mean(1)


class FrameAveraged(Encoder):
    """An encoder of clouds, averaged: columns 0 to 2 are points, 3 to 5, where there are six or more, normals, which turn; the others stay."""

    axes = 3

    def __init__(self, encoder: Encoder, reflections: bool = False):
        super().__init__()
        self.encoder, self.reflections = encoder, reflections
        self.dim, self.widths = encoder.dim, encoder.widths
        self.in_rep, self.out_rep = Acting(find("e3" if reflections else "se3"), "points", (64, 3)), trivial(find("e3" if reflections else "se3"), self.dim)

    def in_frames(self, view: View) -> tuple[Frames, View]:
        """The batch's clouds in all their frames, as one batch."""
        x = view.x
        frames = principal_frames(x[..., :3], reflections=self.reflections)
        vectors = [folded(frames, "vectors", x[..., 3:6])] if x.shape[-1] >= 6 else []
        parts = [folded(frames, "points", x[..., :3]), *vectors, folded(frames, "features", x[..., 6 if vectors else 3 :])]
        return frames, View(torch.cat(parts, -1), view.index.repeat_interleave(frames.count))

    def forward(self, view: View | Tensor) -> Float[Tensor, "batch dim"]:
        view = view if isinstance(view, View) else View(view, torch.arange(len(view), device=view.device))
        frames, seen = self.in_frames(view)
        return unfolded(frames, "features", self.encoder(seen))

    def pyramid(self, view: View) -> list[Tokens]:
        """Features of parts, averaged; their places are those that the first frame has, where the cloud is."""
        frames, seen = self.in_frames(view)

        def level(tokens: Tokens) -> Tokens:
            return Tokens(unfolded(frames, "features", tokens.x), frames.returned(tokens.where.unflatten(0, (-1, frames.count)))[:, 0])

        return [level(tokens) for tokens in self.encoder.pyramid(seen)]


def frame_averaged_pointnet(channels: int = 3, size: int = 1024) -> Encoder:
    """PointNet, invariant under rigid motions: averaged over 4 frames; 1,024 numbers a cloud."""
    from manyviews.backbones.pointnet import PointNet

    return FrameAveraged(PointNet(channels))


def frame_averaged_dgcnn(channels: int = 3, size: int = 1024) -> Encoder:
    """DGCNN, invariant under rigid motions: averaged over 4 frames; 2,048 numbers a cloud."""
    from manyviews.backbones.dgcnn import DGCNN

    return FrameAveraged(DGCNN(channels))


def frame_averaged_micro(channels: int = 3, size: int = 1024) -> Encoder:
    """A small PointNet, invariant under rigid motions: averaged over 4 frames; 256 numbers a cloud, for a CPU in minutes."""
    from manyviews.backbones.pointnet import SmallPointNet

    return FrameAveraged(SmallPointNet(channels))


# --- graphs: frames of permutations -----------------------------------------------------------------------------------------------------------


class PermutationAveraging(nn.Module):
    """Any network of nodes and adjacency, averaged over the orders that the Laplacian's eigenvectors give the nodes (`nn.frames.sorting_frames`).

    backbone: phi(nodes (batch, n, channels), adjacency (batch, n, n)) -> (batch, dim), or, for `equivariant`, (batch, n, dim). samples: orders drawn of
    those that ties leave open; where nodes are alike the mean over them is an estimate, which is invariant in expectation.
    """

    def __init__(self, backbone: nn.Module, samples: int = 10, equivariant: bool = False):
        super().__init__()
        self.backbone, self.samples, self.equivariant = backbone, samples, equivariant

    def forward(
        self, nodes: Float[Tensor, "batch n channels"], adjacency: Float[Tensor, "batch n n"], counter: Counter | None = None
    ) -> Float[Tensor, "batch *n dim"]:
        order, _ = sorting_frames(adjacency, self.samples, counter)
        rows = order.flatten(0, 1)
        x = taken(nodes.repeat_interleave(self.samples, 0), rows, 1)
        a = adjacency.repeat_interleave(self.samples, 0)
        y = self.backbone(x, taken(taken(a, rows, 1), rows, 2))
        if self.equivariant:
            y = taken(y, rows.argsort(1), 1)
        return y.unflatten(0, (-1, self.samples)).mean(1)


def taken(x: Tensor, rows: Int[Tensor, "batch n"], dim: int) -> Tensor:
    """Rows of each sample along an axis."""
    shape = [1] * x.dim()
    shape[0], shape[dim] = rows.shape
    return x.gather(dim, rows.view(shape).expand_as(x))


@dataclasses.dataclass(frozen=True)
class Adjacencies:
    """Weights of undirected edges, (batch, n, n), whose nodes a permutation moves."""

    group: Symmetric

    def act(self, g: Permutation, x: Tensor) -> Tensor:
        return g.act(g.act(x), dim=2)

    def draw(self, count: int, generator: torch.Generator | None, dtype: torch.dtype) -> Float[Tensor, "count n n"]:
        x = torch.randn(count, self.group.n, self.group.n, generator=generator, dtype=torch.float64).abs()
        return (x + x.mT).to(dtype) * (1 - torch.eye(self.group.n, dtype=dtype))


# --- FA-GNN ------------------------------------------------------------------------------------------------------------------------------------


class Messages(nn.Module):
    """h_i + phi(h_i, sum over j of psi(h_i, h_j, e_ij)), over all pairs of a graph's nodes."""

    def __init__(self, width: int, edge_channels: int):
        super().__init__()
        self.own, self.other = nn.Linear(width, width), nn.Linear(width, width, bias=False)  # the first layer of psi, in three parts
        self.edge, self.second = nn.Linear(edge_channels, width, bias=False), nn.Linear(width, width)
        self.node = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, h: Float[Tensor, "batch frames n width"], edges: Float[Tensor, "batch _ n n edge_channels"]) -> Float[Tensor, "batch frames n width"]:
        silu = nn.functional.silu
        m = silu(self.second(silu(self.own(h)[..., :, None, :] + self.other(h)[..., None, :, :] + self.edge(edges))))
        others = 1 - torch.eye(h.shape[-2], dtype=m.dtype, device=m.device)
        return h + self.node(torch.cat([h, (m * others[..., None]).sum(-2)], -1))


class FAGNN(nn.Module):
    """The paper's n-body network: messages between framed particles, a new frame from the latent vectors after each layer but the last.

    width: of node features, a multiple of 3 (they are vectors); paper: 60. depth: layers of messages; 4. reflections: E(3) or SE(3). framed: whether there
    are frames at all; without them this is the plain GNN of the comparison. start: what is predicted is relative to the "centre" (paper) or to the
    "positions" of the particles. Edges know the product of charges and the squared distance.
    """

    def __init__(self, width: int = 60, depth: int = 4, reflections: bool = True, framed: bool = True, start: str = "centre"):
        super().__init__()
        if width % 3 or start not in ("centre", "positions"):
            raise InputError(f"width is a multiple of 3 (latent vectors), not {width}; start is centre or positions, not {start!r}")
        self.reflections, self.framed, self.start = reflections, framed, start
        self.embed = nn.Linear(6, width)
        self.layers = nn.ModuleList(Messages(width, 2) for _ in range(depth))
        self.decoder = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 3))
        group = find("e3" if reflections else "se3")
        self.in_rep = Together((Acting(group, "points", (5, 3)), Acting(group, "vectors", (5, 3)), Fields(trivial(group), (5,))))
        self.out_rep = Acting(group, "points", (5, 3))

    def frames(self, x: Float[Tensor, "batch n 3"], shifts: bool = True) -> Frames:
        if self.framed:
            return principal_frames(x, reflections=self.reflections, shifts=shifts)
        one = torch.eye(3, dtype=x.dtype, device=x.device).expand(len(x), 1, 3, 3)
        return Frames(one, torch.zeros_like(x[:, 0]), torch.ones_like(x[:, 0]), torch.zeros(len(x), dtype=torch.bool, device=x.device))

    def forward(
        self, positions: Float[Tensor, "batch n 3"], velocities: Float[Tensor, "batch n 3"], charges: Float[Tensor, "batch n 1"]
    ) -> Float[Tensor, "batch n 3"]:
        """Where the particles will be."""
        away = (positions[:, :, None] - positions[:, None]).square().sum(-1)
        edges = torch.stack([charges * charges.mT, away], -1)[:, None]
        frames = self.frames(positions)
        centre = frames.origin
        h = self.embed(torch.cat([frames.seen(positions), frames.turned(velocities)], -1))
        for k, layer in enumerate(self.layers):
            h = layer(h, edges)
            if self.framed and k < len(self.layers) - 1:
                latent = frames.turned_back(h.unflatten(-1, (-1, 3)).flatten(2, 3)).mean(1)  # (batch, n * width / 3, 3), the same in every frame
                frames = self.frames(latent, shifts=False)
                h = frames.turned(latent).unflatten(2, (h.shape[2], -1)).flatten(3)
        moved = frames.turned_back(self.decoder(h)).mean(1)
        return moved + (centre[:, None] if self.start == "centre" else positions)


# --- for the test of all layers ---------------------------------------------------------------------------------------------------------------


class Joined(nn.Module):
    """A perceptron of all inputs side by side, for `layers`."""

    def __init__(self, inside: int, *shape: int):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(inside, 32), nn.GELU(), nn.Linear(32, int(torch.tensor(shape).prod())), nn.Unflatten(1, shape))

    def forward(self, *x: Tensor) -> Tensor:
        return self.net(torch.cat([a.flatten(1) for a in x], 1))


def said(layer: nn.Module, in_rep: Any, out_rep: Any) -> nn.Module:
    layer.in_rep, layer.out_rep = in_rep, out_rep
    return layer


def layers() -> dict[str, nn.Module]:
    found: dict[str, nn.Module] = {}
    for name in ("so2", "o2", "se2", "e2", "so3", "o3", "se3", "e3"):
        group, d = find(name), int(name[-1])
        kinds: dict[str, Any] = {"reflections": not name.startswith("s"), "shifts": "e" in name}
        points, vectors, features = Acting(group, "points", (7, d)), Acting(group, "vectors", (7, d)), Fields(trivial(group, 2), (7,))
        takes, inside = ("points", "vectors", "features"), Together((points, vectors, features))
        width = 7 * (2 * d + 2)
        found[f"invariant {name}"] = said(FrameAveraging(Joined(width, 4), takes, **kinds), inside, trivial(group, 4))
        found[f"points {name}"] = said(FrameAveraging(Joined(width, 7, d), takes, "points", **kinds), inside, points)
        found[f"vectors {name}"] = said(FrameAveraging(Joined(width, 7, d), takes, "vectors", **kinds), inside, vectors)
    s5 = Symmetric(5)
    graphs = Together((Acting(s5, "things", (5, 2)), Adjacencies(s5)))
    found["graphs"] = said(PermutationAveraging(Joined(35, 4), 2), graphs, trivial(s5, 4))
    found["nodes"] = said(PermutationAveraging(Joined(35, 5, 3), 2, equivariant=True), graphs, Acting(s5, "things", (5, 3)))
    return found | {"fa_gnn": FAGNN(12, 2), "fa_gnn se3": FAGNN(12, 2, reflections=False), "encoder": frame_averaged_micro(3)}
