"""CPU kernels behind `manyviews.nn.neighbours`, compiled by numba, for clouds of up to a few thousand points. Larger ones: `neighbour_tree`.

Clouds are laid out an axis a row, (3, points), only the points that exist, so that distances to a point are computed many at a time. A squared
distance is not negative, so its bits, read as an integer, are in the same order; minima and maxima of integers are vectorised, those of floats
are not. Sums are rounded as written, like PyTorch's, so that both choose the same points.
"""

from __future__ import annotations

from typing import Any, no_type_check

import numpy as np
from numba import types
from numba.extending import overload

from manyviews.nn.compiled import compiled

STRIP = 1 << 15  # distances that are looked at while they are in the cache


@no_type_check
def as_integer(q: Any) -> Any:
    """The bits of a float, as an integer of its width."""
    return q.view(np.int32 if q.dtype == np.float32 else np.int64)


@overload(as_integer, inline="always")
@no_type_check
def _as_integer(q):
    if q == types.float32:
        return lambda q: np.float32(q).view(np.int32)
    return lambda q: np.float64(q).view(np.int64)


@compiled
@no_type_check
def top(bits):
    """The largest integer of the type of `bits`: above the bits of infinity."""
    return bits.dtype.type(np.iinfo(bits.dtype).max)


@no_type_check
def integers(n: int, like: Any) -> Any:
    """Room for n numbers of `like`, read as integers."""
    return np.empty(n, np.int32 if like.dtype == np.float32 else np.int64)


@overload(integers)
@no_type_check
def _integers(n, like):
    if like.dtype == types.float32:
        return lambda n, like: np.empty(n, np.int32)
    return lambda n, like: np.empty(n, np.int64)


@compiled
@no_type_check
def laid_out(points, exists, c, x, rows):
    """Cloud c of points (batch, points, 3): its coordinates into x (3, points) and their rows; of those that exist, if `exists` has a row a cloud."""
    m = 0
    for i in range(points.shape[1]):
        if len(exists) == 0 or exists[c, i]:
            x[0, m], x[1, m], x[2, m], rows[m] = points[c, i, 0], points[c, i, 1], points[c, i, 2], i
            m += 1
    return m


@compiled
@no_type_check
def measure(x, y, z, first, last, px, py, pz, bits, best):
    """bits[: last - first]: squared distances of points first..last-1 from p. Returns the smallest of them and `best`."""
    first = np.uintp(first)
    for i in range(np.uintp(last) - first):
        a, b, c = x[first + i] - px, y[first + i] - py, z[first + i] - pz
        q = as_integer(a * a + b * b + c * c)
        bits[i] = q
        best = min(best, q)
    return best


@compiled
@no_type_check
def lowest(bits, value, n):
    """The first of n places at which `value` stands."""
    place = np.int32(n)
    for i in range(np.uintp(n)):
        place = min(place, np.int32(i) if bits[i] == value else np.int32(n))
    return place


@compiled
@no_type_check
def smaller(values, n, value):
    """How many of n values are smaller."""
    count = np.int32(0)
    for i in range(np.uintp(n)):
        count += np.int32(values[i] < value)
    return count


@compiled
@no_type_check
def bound(bits, m, k, low):
    """A number that at least k of m, and not many more, are not above: found by bisection among minima of as many parts as `low` has places."""
    lanes = np.uintp(len(low))
    below, above = bits.dtype.type(-1), top(bits)
    if m < 2 * len(low):
        return above
    low[:] = above
    for start in range(np.uintp(0), np.uintp(m) // lanes * lanes, lanes):
        for i in range(lanes):
            low[i] = min(low[i], bits[start + i])
    above = bits.dtype.type(0)
    for i in range(lanes):
        above = max(above, low[i])
    while above - below > 1:
        middle = below + (above - below) // 2
        count = smaller(low, lanes, bits.dtype.type(middle + 1))
        if count >= k:
            above = middle
            if count <= k + k // 8:
                break
        else:
            below = middle
    return bits.dtype.type(above)


@compiled
@no_type_check
def not_above(bits, m, limit, some, near):
    """Places and values, in order, of those of m numbers that are at most `limit`. Returns how many. Nothing branches: no processor could foresee it."""
    count, beyond = np.uintp(0), np.int64(limit) + 1
    for i in range(np.uintp(m)):
        some[count] = np.int32(i)
        count += np.uintp((np.int64(bits[i]) - beyond) >> 63) & np.uintp(1)
    for j in range(count):
        near[j] = bits[some[j]]
    return count


@compiled
@no_type_check
def closest(bits, m, k, low, some, near, rank, order):
    """order[:k]: the places of the k smallest of m numbers, smallest first, of equal ones the first; some, near (m + 32) and low are scratch."""
    k, limit, equal = np.uintp(k), bound(bits, m, k, low), np.uintp(0)
    among = not_above(bits, m, limit, some, near)
    count = among
    if among > 4 * len(low):  # many points in one place: of those at the limit only the first can be among the closest
        count = np.uintp(0)
        for i in range(among):
            if near[i] < limit or equal < k:
                equal += np.uintp(near[i] == limit)
                some[count], near[count] = some[i], near[i]
                count += np.uintp(1)
    whole = (count + np.uintp(31)) // np.uintp(32) * np.uintp(32)
    for i in range(count, whole):
        near[i] = top(near)
    for i in range(whole):
        rank[i] = 0
    for i in range(count):
        value = near[i]
        for j in range(whole):
            rank[j] += np.int32(value < near[j])
    for j in range(k):
        order[j] = -1
    for i in range(count):
        j = np.uintp(rank[i])
        while j < k and order[j] >= 0:  # taken by an equal one
            j += np.uintp(1)
        if j < k:
            order[j] = some[i]


@compiled
@no_type_check
def nearest(queries, points, exists, distances, indices, first, last):
    """The nearest points of queries (batch, queries, 3), nearest first; `first` and `last` count the queries of all clouds. Too few points repeat."""
    count, n, k = queries.shape[1], points.shape[1], indices.shape[2]
    x, rows = np.empty((3, n), points.dtype), np.empty(n, np.int32)
    bits, near = integers(n, points), integers(n + 32, points)
    low = integers(-(-2 * k // 64) * 64, points)
    some, rank, order = np.empty(n + 32, np.int32), np.empty(n + 32, np.int32), np.empty(k, np.int32)
    cloud, m = -1, 0
    for row in range(first, last):
        c, i = row // count, row % count
        if c != cloud:
            cloud, m = c, laid_out(points, exists, c, x, rows)
        px, py, pz = queries[c, i, 0], queries[c, i, 1], queries[c, i, 2]
        measure(x[0], x[1], x[2], 0, m, px, py, pz, bits, low[0])
        closest(bits, m, min(k, m), low, some, near, rank, order)
        for j in range(min(k, m)):
            at = order[j]
            a, b, d = x[0, at] - px, x[1, at] - py, x[2, at] - pz
            distances[c, i, j], indices[c, i, j] = np.sqrt(a * a + b * b + d * d), rows[at]
        for j in range(m, k):
            distances[c, i, j], indices[c, i, j] = distances[c, i, j - m], indices[c, i, j - m]


@compiled
@no_type_check
def inside(queries, points, exists, square, indices, counts, first, last):
    """The first points, in the order of their rows, with a squared distance of at most `square`, and how many; the nearest where there is none.

    indices (batch, queries, k): what is left repeats the first. `first` and `last` count the queries of all clouds.
    """
    count, n, k = queries.shape[1], points.shape[1], indices.shape[2]
    x, rows = np.empty((3, n), points.dtype), np.empty(n, np.int32)
    bits = integers(n, points)
    limit, high = as_integer(square), top(bits)
    cloud, m = -1, 0
    for row in range(first, last):
        c, i = row // count, row % count
        if c != cloud:
            cloud, m = c, laid_out(points, exists, c, x, rows)
        px, py, pz = queries[c, i, 0], queries[c, i, 1], queries[c, i, 2]
        found, start, best = 0, 0, high
        while start < m and found < k:
            end = min(start + 256, m)
            best = measure(x[0], x[1], x[2], start, end, px, py, pz, bits[start:], best)
            for j in range(start, end):
                if bits[j] <= limit and found < k:
                    indices[c, i, found] = rows[j]
                    found += 1
            start = end
        if found == 0:
            indices[c, i, 0] = rows[lowest(bits, best, m)]
        indices[c, i, max(found, 1) :] = indices[c, i, 0]
        counts[c, i] = found


@compiled
@no_type_check
def each_other(x, n, y, m, of_x, of_y, bits, best, least, place):
    """of_x: for each of n points the nearest of m, of_y the other way round, of equally near ones the first. A strip of the table of all distances is
    made at a time, as large as `bits` allows; best, least and place have room for m."""
    wide, high = np.uintp(m), top(bits)
    best[:m] = high
    for first in range(0, n, len(bits) // m):
        strip = min(len(bits) // m, n - first)
        for j in range(wide):
            least[j], place[j] = high, n
        for i in range(strip):
            px, py, pz, row, nearest_yet = x[0, first + i], x[1, first + i], x[2, first + i], np.uintp(i * m), high
            for j in range(wide):
                a, b, c = y[0, j] - px, y[1, j] - py, y[2, j] - pz
                q = as_integer(a * a + b * b + c * c)
                bits[row + j] = q
                nearest_yet, least[j] = min(nearest_yet, q), min(least[j], q)
            of_x[first + i] = lowest(bits[row:], nearest_yet, m)
        for i in range(strip):
            row, here = np.uintp(i * m), np.int32(first + i)
            for j in range(wide):
                place[j] = min(place[j], here if bits[row + j] == least[j] else np.int32(n))
        for j in range(wide):
            if least[j] < best[j]:
                best[j], of_y[j] = least[j], place[j]


@compiled
@no_type_check
def mean_distance(x, rows_x, n, y, rows_y, of_x, squared, grad_x, grad_y, c):
    """Mean distance of n points to those of y named in of_x; its gradient is added to those of cloud c, where they have room."""
    whole, share = 0.0, x.dtype.type(1 / n)
    for i in range(n):
        j = of_x[i]
        d0, d1, d2 = x[0, i] - y[0, j], x[1, i] - y[1, j], x[2, i] - y[2, j]
        q = d0 * d0 + d1 * d1 + d2 * d2
        whole += q if squared else np.sqrt(q)
        if len(grad_x) > 0 and q > 0:
            w = share + share if squared else share / np.sqrt(q)
            here, there = rows_x[i], rows_y[j]
            for axis, d in enumerate((d0, d1, d2)):
                grad_x[c, here, axis] += w * d
                grad_y[c, there, axis] -= w * d
    return whole / n


@compiled
@no_type_check
def chamfer(a, b, exists_a, exists_b, squared, values, grad_a, grad_b, first, last):
    """Chamfer distances of clouds first..last-1, and their gradients, where grad_a and grad_b, full of zeros, have room. 0 where a cloud is empty."""
    most_a, most_b = a.shape[1], b.shape[1]
    x, rows_x, of_x = np.empty((3, most_a), a.dtype), np.empty(most_a, np.int32), np.empty(most_a, np.int32)
    y, rows_y, of_y = np.empty((3, most_b), b.dtype), np.empty(most_b, np.int32), np.empty(most_b, np.int32)
    bits, best, least, place = integers(max(STRIP, most_b), a), integers(most_b, a), integers(most_b, a), np.empty(most_b, np.int32)
    for c in range(first, last):
        n, m = laid_out(a, exists_a, c, x, rows_x), laid_out(b, exists_b, c, y, rows_y)
        values[c] = 0
        if n > 0 and m > 0:
            each_other(x, n, y, m, of_x, of_y, bits, best, least, place)
            values[c] += mean_distance(x, rows_x, n, y, rows_y, of_x, squared, grad_a, grad_b, c)
            values[c] += mean_distance(y, rows_y, m, x, rows_x, of_y, squared, grad_b, grad_a, c)
