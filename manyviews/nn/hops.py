"""How far nodes of a graph are from each other in edges, which are most alike in features, and parts of a graph that hang together.

Graphs here are undirected: symmetric sparse matrices without loops. Nodes are taken a few hundred at a time, so that no memory grows with the square of
their number. Parts are found as METIS does on its coarsest graph (Karypis and Kumar, "A Fast and High Quality Multilevel Scheme for
Partitioning Irregular Graphs", SIAM Journal on Scientific Computing 1998): by greedy growing, then by moves of single nodes (Fiduccia and Mattheyses).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from manyviews.counters import Counter

CHUNK = 256  # nodes that searches start from at once, a bit each
SLACK = 0.05  # by which share a part may be larger or smaller than the mean
SWEEPS = 10  # over all nodes, of moves from part to part
Csr = Any  # scipy.sparse.csr_matrix


def adjacency(edges: Int[np.ndarray, "2 edges"], nodes: int) -> Csr:
    """The symmetric matrix with 1 for each two nodes that an edge joins, either way; no loops."""
    from scipy.sparse import csr_matrix

    source, target = edges[:, edges[0] != edges[1]]
    ones = np.ones(2 * len(source), np.float32)
    matrix = csr_matrix((ones, (np.concatenate([source, target]), np.concatenate([target, source]))), (nodes, nodes))
    matrix.data[:] = 1  # where an edge was there more than once, sums are
    return matrix


def hops(a: Csr, sources: Int[np.ndarray, "sources"], most: int = -1) -> Iterator[tuple[Int[np.ndarray, "some"], Int[np.ndarray, "some nodes"]]]:
    """The least number of edges from each source to every node, for up to CHUNK sources at a time: (sources, hops). -1 stands for more than `most`.

    most: where the search ends; -1: nowhere, and -1 stands for nodes that no path leads to. All sources of a chunk go at once, as the bits of words.
    """
    joined = np.flatnonzero(np.diff(a.indptr))
    for chunk in (sources[k : k + CHUNK] for k in range(0, len(sources), CHUNK)):
        start = np.zeros((a.shape[0], CHUNK), bool)
        start[chunk, np.arange(len(chunk))] = True
        far = np.where(start, 0, -1).astype(np.int32)
        seen = np.packbits(start, axis=1, bitorder="little").view(np.uint64)
        hop = 0
        while len(joined) and hop != most:
            hop += 1
            reached = seen.copy()
            reached[joined] |= np.bitwise_or.reduceat(seen[a.indices], a.indptr[joined], axis=0)
            fresh = reached & ~seen
            if not fresh.any():
                break
            far[np.unpackbits(fresh.view(np.uint8), axis=1, bitorder="little").view(bool)] = hop
            seen = reached
        yield chunk, np.ascontiguousarray(far.T[: len(chunk)])


def closeness(a: Csr, sources: Int[np.ndarray, "sources"]) -> Float[np.ndarray, "sources nodes"]:
    """1 / hops from each source to every node: 1 for neighbours and the source itself, 0 where no path leads."""
    found = [np.where(far < 0, 0, 1 / np.maximum(far, 1)).astype(np.float32) for _, far in hops(a, sources)]
    return np.concatenate(found) if found else np.zeros((0, a.shape[0]), np.float32)


def rings(a: Csr, farthest: int, keep: int, counter: Counter) -> tuple[Int[np.ndarray, "classes nodes"], Int[np.ndarray, "classes nodes keep"]]:
    """Of each node how many others are 1, 2, ... hops away and `farthest` or more (or not joined at all), and `keep` of each of these, drawn with repetition.

    Where there are none, the node itself stands for them.
    """
    nodes = a.shape[0]
    count = np.zeros((farthest, nodes), np.int64)
    members = np.broadcast_to(np.arange(nodes)[:, None], (farthest, nodes, keep)).copy()
    for chunk, far in hops(a, np.arange(nodes), farthest - 1):
        far[far < 0] = farthest
        for k in range(farthest):
            row, column = np.nonzero(far == k + 1)
            count[k, chunk] = here = np.bincount(row, minlength=len(chunk))
            u = counter.uniform(f"ring {k}", torch.from_numpy(chunk), keep).double().numpy()
            at = (np.cumsum(here) - here)[:, None] + (u * here[:, None]).astype(np.int64)
            members[k, chunk[here > 0]] = column[at[here > 0]]
    return count, members


def surroundings(a: Csr, radius: int, most: int, counter: Counter) -> tuple[Int[np.ndarray, "pairs"], Int[np.ndarray, "pairs"]]:
    """All pairs of a node and another within `radius` hops of it: (nodes, others). Of a node that has more than `most` of them, `most` are drawn."""
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    for chunk, far in hops(a, np.arange(a.shape[0]), radius):
        row, column = np.nonzero(far > 0)
        count = np.bincount(row, minlength=len(chunk))
        if count.max(initial=0) > most:
            lot = counter.uniform("surroundings", torch.from_numpy(chunk[row] * a.shape[0] + column)).numpy()
            order = np.lexsort((lot, row))
            rank = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
            kept = np.sort(order[rank < most])
            row, column = row[kept], column[kept]
        pairs.append((chunk[row], column))
    return np.concatenate([p for p, _ in pairs]), np.concatenate([q for _, q in pairs])


def similar_pairs(x: Float[Tensor, "nodes channels"], each: int, counter: Counter) -> tuple[Int[Tensor, "2 pairs"], Float[Tensor, "pairs"]]:
    """Each node with the `each` most and least similar others, every pair once, and the cosines of their features; lots decide between equals."""
    z, nodes = F.normalize(x, dim=1), len(x)
    each = min(each, nodes - 1)
    every = torch.arange(nodes, device=x.device)
    lot = 1e-5 * counter.uniform("equals", every)
    keys = [every[:0]]
    for rows in every.split(CHUNK):
        cosine = z[rows] @ z.T
        for sign in (1.0, -1.0):
            score = sign * cosine + lot[(every + 7919 * rows[:, None]) % nodes]  # other lots for every node
            score[torch.arange(len(rows), device=x.device), rows] = -9.0  # not itself
            other = score.topk(each, 1).indices
            keys.append((torch.minimum(other, rows[:, None]) * nodes + torch.maximum(other, rows[:, None])).flatten())
    key = torch.cat(keys).unique()
    pair = torch.stack([key // nodes, key % nodes])
    return pair, torch.cat([(z[i] * z[j]).sum(1) for i, j in zip(pair[0].split(8192), pair[1].split(8192), strict=True)])


# --- parts ------------------------------------------------------------------------------------------------------------------------------------


def partition(a: Csr, parts: int) -> Int[np.ndarray, "nodes"]:
    """The part of each node: `parts` of about equal size, with few edges between them. Nothing is drawn."""
    part = grown(a, seeds(a, parts), parts)
    nodes = a.shape[0]
    links = np.zeros((nodes, parts), np.int64)
    np.add.at(links, (np.repeat(np.arange(nodes), np.diff(a.indptr)), part[a.indices]), 1)
    size = np.bincount(part, minlength=parts)
    least, most = np.floor((1 - SLACK) * nodes / parts), np.ceil((1 + SLACK) * nodes / parts)
    for _ in range(SWEEPS):
        gain = links.max(1) - links[np.arange(nodes), part]
        moved = 0
        for node in np.flatnonzero(gain > 0)[np.argsort(-gain[gain > 0], kind="stable")]:
            old, new = part[node], np.argmax(np.where(size < most, links[node], -1))
            if size[old] > least and links[node, new] > links[node, old]:
                part[node] = new
                size[old], size[new] = size[old] - 1, size[new] + 1
                around = a.indices[a.indptr[node] : a.indptr[node + 1]]
                links[around, old] -= 1
                links[around, new] += 1
                moved += 1
        if not moved:
            break
    return part


def seeds(a: Csr, parts: int) -> list[int]:
    """The node with the most edges in the largest component, and, again and again, the one of its component that is farthest from all of them."""
    from scipy.sparse.csgraph import connected_components

    degree = np.diff(a.indptr)
    _, component = connected_components(a, directed=False)
    inside = component == np.argmax(np.bincount(component))
    found = [int(np.argmax(np.where(inside, degree, -1)))]
    nearest = next(hops(a, np.array(found)))[1][0]
    while len(found) < min(parts, inside.sum()):
        score = np.where(inside & (nearest > 0), nearest.astype(np.int64) * (degree.max() + 1) + degree, -1)
        found.append(int(np.argmax(score)))
        nearest = np.minimum(nearest, next(hops(a, np.array(found[-1:])))[1][0])
    return found


def grown(a: Csr, starts: list[int], parts: int) -> Int[np.ndarray, "nodes"]:
    """From each start a part grows, always the smallest one, by the node that leaves the fewest edges outside; one that cannot, starts elsewhere as well."""
    nodes, degree = a.shape[0], np.diff(a.indptr)
    part, links = np.full(nodes, -1), np.zeros((parts, nodes), np.int64)
    fringes: list[list[tuple[int, int]]] = [[(-nodes, start)] for start in starts] + [[] for _ in range(parts - len(starts))]
    sizes = [(0, k) for k in range(parts)]
    waiting = iter(np.argsort(-degree, kind="stable").tolist())
    for _ in range(nodes):
        size, own = heapq.heappop(sizes)
        node = -1
        while fringes[own] and node < 0:
            candidate = heapq.heappop(fringes[own])[1]
            node = candidate if part[candidate] < 0 else -1
        while node < 0:
            candidate = next(waiting)
            node = candidate if part[candidate] < 0 else -1
        part[node] = own
        heapq.heappush(sizes, (size + 1, own))
        around = a.indices[a.indptr[node] : a.indptr[node + 1]]
        links[own, around] += 1
        for other in around[part[around] < 0].tolist():
            heapq.heappush(fringes[own], (int(degree[other] - 2 * links[own, other]), other))
    return part


def centres(a: Csr, part: Int[np.ndarray, "nodes"]) -> Int[np.ndarray, "parts"]:
    """Of each part the node with the most edges inside it, the first of equals."""
    row = np.repeat(np.arange(a.shape[0]), np.diff(a.indptr))
    inside = np.bincount(row[part[row] == part[a.indices]], minlength=a.shape[0])
    return np.array([np.argmax(np.where(part == k, inside, -1)) for k in np.unique(part)])
