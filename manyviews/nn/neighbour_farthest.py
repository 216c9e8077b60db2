"""CPU kernels of farthest point sampling, compiled by numba.

A cloud is cut into blocks of points. Each knows how far its points are at most from those chosen; one whose box is farther from the last choice than
that cannot change, and is passed over. For few choices a tree of such boxes is not worth its time: then blocks are runs of rows, never passed over.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from manyviews.nn.compiled import compiled
from manyviews.nn.neighbour_kernels import as_integer, integers, laid_out, lowest, top
from manyviews.nn.neighbour_tree import FAR, depth_of, gap, grow

BLOCK = 512  # the most points of a block


def worth_a_tree(count: int) -> bool:
    """Whether a tree makes up for its time when so many points are chosen (one core of an AMD EPYC)."""
    return count >= 400


@compiled
@no_type_check
def approach(x, bits, first, last, px, py, pz):
    """Points first..last-1 are now no farther from those chosen than from p. Returns the largest of their squared distances from those chosen."""
    farthest = bits.dtype.type(-1)
    for i in range(np.uintp(first), np.uintp(last)):
        a, b, c = x[0, i] - px, x[1, i] - py, x[2, i] - pz
        q = min(as_integer(a * a + b * b + c * c), bits[i])
        bits[i] = q
        farthest = max(farthest, q)
    return farthest


@compiled
@no_type_check
def lowest_row(bits, value, rows, first, last):
    """The lowest row of points first..last-1 where `value` stands."""
    row = FAR
    for i in range(np.uintp(first), np.uintp(last)):
        row = min(row, rows[i] if bits[i] == value else FAR)
    return row


@compiled
@no_type_check
def spread(x, rows, m, boxes, depth, start, chosen):
    """Rows of points, each the farthest from those before it: blocks of points whose box is too far away to be changed by a choice are passed over."""
    leaves, at = 1 << depth, 0
    bits, farthest = integers(m, x), integers(leaves, x)
    bits[:], farthest[:] = top(bits), top(bits)
    for i in range(m):
        at = i if rows[i] == start else at
    for k in range(min(len(chosen), m)):
        chosen[k] = rows[at]
        bits[at] = -1  # not again
        px, py, pz = x[0, at], x[1, at], x[2, at]
        best = bits.dtype.type(-1)
        for j in range(leaves):
            if as_integer(gap(boxes, leaves + j, px, py, pz)) <= farthest[j]:
                farthest[j] = approach(x, bits, m * j >> depth, m * (j + 1) >> depth, px, py, pz)
            best = max(best, farthest[j])
        row, at = FAR, -1
        for j in range(leaves):
            first, last = m * j >> depth, m * (j + 1) >> depth
            if farthest[j] == best and lowest_row(bits, best, rows, first, last) < row:
                row = lowest_row(bits, best, rows, first, last)
                at = first + lowest(rows[first:], row, last - first)
    for k in range(m, len(chosen)):
        chosen[k] = chosen[k - m]


@compiled
@no_type_check
def farthest(points, exists, start, chosen, planted, first, last):
    """Farthest points of clouds first..last-1 of points (batch, points, 3) from the rows `start` on; with a tree if `planted`, else in blocks that are
    never passed over."""
    n = points.shape[1]
    x, rows = np.empty((3, n), points.dtype), np.empty(n, np.int32)
    for c in range(first, last):
        m = laid_out(points, exists, c, x, rows)
        depth = depth_of(m, BLOCK)
        if planted:
            boxes = grow(x, rows, m, depth)
        else:
            boxes = np.empty((2 << depth, 6), points.dtype)
            boxes[:, :3], boxes[:, 3:] = -np.inf, np.inf
        spread(x, rows, m, boxes, depth, start[c], chosen[c])
