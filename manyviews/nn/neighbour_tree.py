"""A k-d tree over a cloud, compiled by numba, and what it answers: nearest points, and points in a ball. For large clouds on the CPU.

A tree of depth D over m points is balanced, and so needs no links: node j of level l holds points (m j >> l) .. (m (j + 1) >> l) - 1, its place in
`boxes` is 2^l + j, its children are 2 place and 2 place + 1. A box is (least x, y, z, largest x, y, z) of its points. Rounding is monotone, so the
distance to a box is never above that to a point in it, not by the last bit either: answers are those of a search through all points.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from manyviews.nn.compiled import compiled
from manyviews.nn.neighbour_kernels import as_integer, integers, laid_out, measure, top

LEAF = 32  # the most points of a leaf
FAR = np.int32(2147483647)  # above any row
DEEP = 64  # the most nodes that wait while a tree is searched, one a level


def worth_planting(points: int, queries: int, k: int) -> bool:
    """Whether a tree makes up for its time when each query asks for k points: about 1 + k / 8 us a query, against 1 + points / 1000, and points / 4
    to plant it (one core of an AMD EPYC)."""
    return queries * (points / 1000 - k / 8) > points / 4


@compiled
@no_type_check
def depth_of(m, leaf):
    """Levels below the root of a tree over m points."""
    depth = 0
    while m > leaf << depth:
        depth += 1
    return depth


@compiled
@no_type_check
def split(x, rows, first, last, middle, axis):
    """Reorders points first..last-1 so that those before `middle` are not above it along the axis, those after it not below (Hoare's selection)."""
    v = x[axis]
    while last - first > 1:
        a, b, c = v[first], v[(first + last) // 2], v[last - 1]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = first, last - 1
        while i <= j:
            while v[i] < pivot:
                i += 1
            while v[j] > pivot:
                j -= 1
            if i <= j:
                for r in range(3):
                    x[r, i], x[r, j] = x[r, j], x[r, i]
                rows[i], rows[j] = rows[j], rows[i]
                i, j = i + 1, j - 1
        if middle <= j:
            last = j + 1
        elif middle >= i:
            first = i
        else:
            return


@compiled
@no_type_check
def enclose(x, first, last, box):
    """The box of points first..last-1. Returns the axis along which it is longest."""
    longest = 0
    for r in range(3):
        low = high = x[r, first]
        for i in range(np.uintp(first), np.uintp(last)):
            low, high = min(low, x[r, i]), max(high, x[r, i])
        box[r], box[3 + r] = low, high
        if high - low > box[3 + longest] - box[longest]:
            longest = r
    return longest


@compiled
@no_type_check
def grow(x, rows, m, depth):
    """Boxes of the tree over the m points x (3, points), which are reordered together with their rows."""
    boxes = np.empty((2 << depth, 6), x.dtype)
    for level in range(depth + 1):
        for j in range(1 << level):
            first, last = m * j >> level, m * (j + 1) >> level
            axis = enclose(x, first, last, boxes[(1 << level) + j])
            if level < depth:
                split(x, rows, first, last, m * (2 * j + 1) >> level + 1, axis)
    return boxes


@compiled
@no_type_check
def plant(points, exists, c):
    """The tree over cloud c: coordinates, rows, boxes, the lowest row in each box, and how many points exist."""
    n = points.shape[1]
    x, rows = np.empty((3, n), points.dtype), np.empty(n, np.int32)
    m = laid_out(points, exists, c, x, rows)
    depth = depth_of(m, LEAF)
    boxes, least, leaves = grow(x, rows, m, depth), np.empty(2 << depth, np.int32), 1 << depth
    for node in range(2 * leaves - 1, 0, -1):
        if node < leaves:
            least[node] = min(least[2 * node], least[2 * node + 1])
        else:
            least[node] = rows[m * (node - leaves) >> depth : m * (node - leaves + 1) >> depth].min()
    return x, rows, boxes, least, m


@compiled
@no_type_check
def gap(boxes, node, px, py, pz):
    """Squared distance of p from a box, 0 inside."""
    zero = boxes.dtype.type(0)
    a = max(zero, max(boxes[node, 0] - px, px - boxes[node, 3]))
    b = max(zero, max(boxes[node, 1] - py, py - boxes[node, 4]))
    c = max(zero, max(boxes[node, 2] - pz, pz - boxes[node, 5]))
    return a * a + b * b + c * c


# --- nearest points ---------------------------------------------------------------------------------------------------------------------------


@compiled
@no_type_check
def insert(best, who, q, row):
    """Puts q and its row where they belong among numbers sorted by size, then row; the last falls out."""
    j = len(best) - 1
    while j > 0 and (best[j - 1] > q or (best[j - 1] == q and who[j - 1] > row)):
        best[j], who[j] = best[j - 1], who[j - 1]
        j -= 1
    best[j], who[j] = q, row


@compiled
@no_type_check
def search(x, rows, boxes, least, m, px, py, pz, best, who, bits, nodes, gaps):
    """best, who: the squared distances, as integers, and rows of the points nearest to p, nearest first; `best` starts above everything."""
    leaves, k = len(boxes) // 2, len(best)
    depth = depth_of(leaves, 1)
    nodes[0], gaps[0], waiting = 1, bits.dtype.type(0), 1
    while waiting > 0:
        waiting -= 1
        node = nodes[waiting]
        if gaps[waiting] > best[k - 1] or (gaps[waiting] == best[k - 1] and least[node] > who[k - 1]):
            continue
        while node < leaves:
            node *= 2
            near, far = as_integer(gap(boxes, node, px, py, pz)), as_integer(gap(boxes, node + 1, px, py, pz))
            other = node + 1
            if far < near:
                node, other, far = other, node, near
            if far <= best[k - 1]:
                nodes[waiting], gaps[waiting] = other, far
                waiting += 1
        first, last = m * (node - leaves) >> depth, m * (node - leaves + 1) >> depth
        measure(x[0], x[1], x[2], first, last, px, py, pz, bits, best[0])
        for i in range(last - first):
            if bits[i] < best[k - 1] or (bits[i] == best[k - 1] and rows[first + i] < who[k - 1]):
                insert(best, who, bits[i], rows[first + i])


@compiled
@no_type_check
def nearest(tree, points, queries, distances, indices, first, last):
    """The points (points, 3) of a tree nearest to queries first..last-1 of (queries, 3), nearest first. Too few points repeat."""
    x, rows, boxes, least, m = tree
    k = indices.shape[1]
    best, who = integers(min(k, m), x), np.empty(min(k, m), np.int32)
    bits, nodes, gaps = integers(LEAF, x), np.empty(DEEP, np.int64), integers(DEEP, x)
    for i in range(first, last):
        best[:], who[:] = top(best), FAR
        px, py, pz = queries[i, 0], queries[i, 1], queries[i, 2]
        search(x, rows, boxes, least, m, px, py, pz, best, who, bits, nodes, gaps)
        for j in range(min(k, m)):
            row = who[j]
            a, b, c = points[row, 0] - px, points[row, 1] - py, points[row, 2] - pz
            distances[i, j], indices[i, j] = np.sqrt(a * a + b * b + c * c), row
        for j in range(m, k):
            distances[i, j], indices[i, j] = distances[i, j - m], indices[i, j - m]


# --- points in a ball -------------------------------------------------------------------------------------------------------------------------


@compiled
@no_type_check
def collect(x, rows, boxes, m, px, py, pz, limit, some, bits, nodes):
    """The lowest rows of points whose squared distance is at most `limit`, as many as `some` has room for. Returns how many."""
    leaves, found, waiting = len(boxes) // 2, 0, 1
    depth = depth_of(leaves, 1)
    nodes[0] = 1
    some[:] = FAR
    while waiting > 0:
        waiting -= 1
        node = nodes[waiting]
        if as_integer(gap(boxes, node, px, py, pz)) > limit:
            continue
        if node < leaves:
            nodes[waiting], nodes[waiting + 1] = 2 * node, 2 * node + 1
            waiting += 2
            continue
        first, last = m * (node - leaves) >> depth, m * (node - leaves + 1) >> depth
        measure(x[0], x[1], x[2], first, last, px, py, pz, bits, limit)
        for i in range(last - first):
            if bits[i] <= limit:
                found += 1
                if rows[first + i] < some[-1]:
                    insert(some, some, rows[first + i], rows[first + i])
    return min(found, len(some))


@compiled
@no_type_check
def inside(tree, queries, square, indices, counts, first, last):
    """The first points, in the order of their rows, with a squared distance of at most `square` from queries first..last-1 of (queries, 3), and how
    many; the nearest where there is none. indices (queries, k): what is left repeats the first."""
    x, rows, boxes, least, m = tree
    best, who, some = integers(1, x), np.empty(1, np.int32), np.empty(indices.shape[1], np.int32)
    bits, nodes, gaps = integers(LEAF, x), np.empty(DEEP, np.int64), integers(DEEP, x)
    limit = as_integer(square)
    for i in range(first, last):
        px, py, pz = queries[i, 0], queries[i, 1], queries[i, 2]
        found = collect(x, rows, boxes, m, px, py, pz, limit, some, bits, nodes)
        if found == 0:
            best[0], who[0] = top(best), FAR
            search(x, rows, boxes, least, m, px, py, pz, best, who, bits, nodes, gaps)
            some[0] = who[0]
        indices[i, :found] = some[:found]
        indices[i, max(found, 1) :], indices[i, 0] = some[0], some[0]
        counts[i] = found
