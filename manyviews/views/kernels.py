"""CPU kernels behind `manyviews.views.resample`: the same definitions as its plain PyTorch, a picture at a time, compiled by numba.

Where a map keeps the axes (crops and flips), its grid of bilinear samples is a product of one weight table an axis. Columns are summed first,
along the picture's rows in memory; strips of output rows are then turned on their side, so that rows are summed many at a time as well.
"""

from __future__ import annotations

import math
from typing import no_type_check

import numpy as np

from manyviews.nn.compiled import compiled

FARTHEST = 16  # maps shrink by no more
TAPS = 20  # pixels that one output pixel may see along an axis, and a few more
CUT = 3  # standard deviations at which a Gaussian ends


fast = compiled(fastmath={"contract", "nsz"})  # a product and a sum may be rounded as one

# Sums of runs of n numbers. Places are unsigned, or numba would look for negative ones and nothing would be vectorised.


@fast
@no_type_check
def two(out, o, x, a, b, n, wa, wb):
    """out[o + p] = wa x[a + p] + wb x[b + p]."""
    o, a, b = np.uintp(o), np.uintp(a), np.uintp(b)
    for p in range(np.uintp(n)):
        out[o + p] = wa * np.float32(x[a + p]) + wb * np.float32(x[b + p])


@fast
@no_type_check
def four(out, o, x, a, b, c, d, n, wa, wb, wc, wd):
    """The same of four."""
    o, a, b, c, d = np.uintp(o), np.uintp(a), np.uintp(b), np.uintp(c), np.uintp(d)
    for p in range(np.uintp(n)):
        out[o + p] = wa * np.float32(x[a + p]) + wb * np.float32(x[b + p]) + wc * np.float32(x[c + p]) + wd * np.float32(x[d + p])


@fast
@no_type_check
def four_more(out, o, x, a, b, c, d, n, wa, wb, wc, wd):
    """out[o + p] += the same."""
    o, a, b, c, d = np.uintp(o), np.uintp(a), np.uintp(b), np.uintp(c), np.uintp(d)
    for p in range(np.uintp(n)):
        out[o + p] += wa * np.float32(x[a + p]) + wb * np.float32(x[b + p]) + wc * np.float32(x[c + p]) + wd * np.float32(x[d + p])


@fast
@no_type_check
def weighted(out, o, x, start, step, last, n, w, v, taps):
    """out[o + p] = sum over t < taps of w[v + t] x[min(start + t step, last) + p]; w is 0 from taps on."""
    a, b = start, min(start + step, last)
    if taps <= 2:
        two(out, o, x, a, b, n, w[v], w[v + 1])
        return
    four(out, o, x, a, b, min(start + 2 * step, last), min(start + 3 * step, last), n, w[v], w[v + 1], w[v + 2], w[v + 3])
    for t in range(4, taps, 4):
        a, b = min(start + t * step, last), min(start + (t + 1) * step, last)
        c, d = min(start + (t + 2) * step, last), min(start + (t + 3) * step, last)
        four_more(out, o, x, a, b, c, d, n, w[v + t], w[v + t + 1], w[v + t + 2], w[v + t + 3])


@fast
@no_type_check
def turn(x, a, a_step, out, o, o_step, n, m):
    """out[o + j o_step + i] = x[a + i a_step + j] for i < n, j < m."""
    a, a_step, o, o_step, n, m = np.uintp(a), np.uintp(a_step), np.uintp(o), np.uintp(o_step), np.uintp(n), np.uintp(m)
    for first in range(np.uintp(0), n, np.uintp(32)):
        for j in range(m):
            if first + np.uintp(32) <= n:
                for i in range(np.uintp(32)):
                    out[o + j * o_step + first + i] = x[a + (first + i) * a_step + j]
            else:
                for i in range(first, n):
                    out[o + j * o_step + i] = x[a + i * a_step + j]


@fast
@no_type_check
def table(scale, offset, pixels, size, k, low, w, seen):
    """What each of `size` outputs sees of an axis of `pixels`: weights w[j TAPS :] of the pixels from low[j] on, the mean of k bilinear samples.

    seen: how much each pixel, from the first that is seen on, counts in the mean output. Returns the most pixels that one output sees.
    """
    longest = 1
    w[:], seen[:] = 0, 0
    for j in range(size):
        end = scale * (j + (0.5 if scale > 0 else k - 0.5) / k) + offset - 0.5
        low[j] = int(min(max(end, 0.0), pixels - 1.0))
    start = min(low[0], low[size - 1])
    for j in range(size):
        first = low[j]
        for m in range(k):
            p = min(max(scale * (j + (m + 0.5) / k) + offset - 0.5, 0.0), pixels - 1.0)
            i = int(p)
            f = p - i
            w[j * TAPS + i - first] += np.float32((1 - f) / k)
            seen[i - start] += np.float32((1 - f) / (k * size))
            if f > 0:
                w[j * TAPS + i - first + 1] += np.float32(f / k)
                seen[i - start + 1] += np.float32(f / (k * size))
            longest = max(longest, i - first + (2 if f > 0 else 1))
    return longest


@fast
@no_type_check
def strip_height(size):
    """How many output rows are worked on at once: up to 112, evenly shared, in whole vectors."""
    strips = -(-size // 112)
    return -(-size // (16 * strips)) * 16


@fast
@no_type_check
def upright(x, start, height, width, channels, top, ay, by, ax, bx, size, k, out, o, mean, memory, low_y, low_x, w_y, w_x, seen_y, seen_x):
    """out[o:] (channels, size, size) at (x, y) shows the picture x[start:] (height, width, channels) at (ax x + bx, ay y + by). And its mean."""
    taps_y = table(ay, by, height, size, k, low_y, w_y, seen_y)
    taps_x = table(ax, bx, width, size, k, low_x, w_x, seen_x)
    w_y *= np.float32(1 / top)
    length = width * channels
    first_y, first_x = min(low_y[0], low_y[size - 1]), min(low_x[0], low_x[size - 1])
    end_y, end_x = min(max(low_y[0], low_y[size - 1]) + taps_y, height), min(max(low_x[0], low_x[size - 1]) + taps_x, width)
    left, right = first_x * channels, end_x * channels
    whole = -(-(right - left) // 16) * 16  # whole vectors, where the row has them
    if whole <= length:
        left = min(left, length - whole)
        right = left + whole
    run, high, block = right - left, strip_height(size), channels * strip_height(size)
    side, flat = high * run, 2 * high * run  # where they start in memory; the strip starts at 0
    final = start + (height - 1) * length + left
    memory[:run] = 0
    for y in range(first_y, end_y, 4):
        a, v = start + y * length + left, y - first_y
        b, c, d = min(a + length, final), min(a + 2 * length, final), min(a + 3 * length, final)
        four_more(memory, 0, x, a, b, c, d, run, seen_y[v], seen_y[v + 1], seen_y[v + 2], seen_y[v + 3])
    mean[:] = 0
    for i in range(first_x, end_x):
        for c in range(channels):
            mean[c] += memory[i * channels - left + c] * seen_x[i - first_x] / np.float32(top)
    for above in range(0, size, high):
        count = min(high, size - above)
        for r in range(count):
            a, v = start + low_y[above + r] * length + left, (above + r) * TAPS
            if taps_y <= 2:
                two(memory, r * run, x, a, min(a + length, final), run, w_y[v], w_y[v + 1])
            else:
                weighted(memory, r * run, x, a, length, final, run, w_y, v, taps_y)
        memory[count * run : high * run] = 0
        turn(memory, 0, run, memory, side, high, high, run)
        for j in range(size):
            a, v = side + (low_x[j] * channels - left) * high, j * TAPS
            if taps_x <= 2:
                two(memory, flat + j * block, memory, a, min(a + block, flat - block), block, w_x[v], w_x[v + 1])
            else:
                weighted(memory, flat + j * block, memory, a, block, flat - block, block, w_x, v, taps_x)
        for c in range(channels):
            turn(memory, flat + c * high, block, out, o + (c * size + above) * size, size, size, count)


@fast
@no_type_check
def slanted(x, start, height, width, channels, top, matrix, size, k, out, o, mean):
    """The same through any affine map `matrix` (2, 3), view pixels -> picture pixels."""
    mean[:] = 0
    for place in range(size * size):
        for c in range(channels):
            out[o + c * size * size + place] = 0
        for m in range(k * k):
            u, v = place % size + (m % k + 0.5) / k, place // size + (m // k + 0.5) / k
            px = min(max(matrix[0, 0] * u + matrix[0, 1] * v + matrix[0, 2] - 0.5, 0.0), width - 1.0)
            py = min(max(matrix[1, 0] * u + matrix[1, 1] * v + matrix[1, 2] - 0.5, 0.0), height - 1.0)
            i, j = int(px), int(py)
            fx, fy = np.float32(px - i), np.float32(py - j)
            above, below = start + j * width * channels, start + min(j + 1, height - 1) * width * channels
            left, right = i * channels, min(i + 1, width - 1) * channels
            for c in range(channels):
                a = (np.float32(1) - fx) * np.float32(x[above + left + c]) + fx * np.float32(x[above + right + c])
                b = (np.float32(1) - fx) * np.float32(x[below + left + c]) + fx * np.float32(x[below + right + c])
                out[o + c * size * size + place] += ((np.float32(1) - fy) * a + fy * b) / np.float32(k * k * top)
        for c in range(channels):
            mean[c] += out[o + c * size * size + place] / (size * size)


@fast
@no_type_check
def fold(i, n):
    """The place 0..n-1 that mirroring at the middle of the end pixels gives to any place i."""
    i = abs(i) % max(1, 2 * n - 2)
    return min(i, 2 * n - 2 - i)


@fast
@no_type_check
def blurred(x, o, channels, size, sigma, memory):
    """A Gaussian of standard deviation `sigma` over each plane of x[o:] (channels, size, size), in place."""
    radius = max(1, math.ceil(CUT * sigma))
    taps = -(-(2 * radius + 1) // 4) * 4
    w = np.zeros(taps, np.float32)
    whole = 0.0
    for t in range(2 * radius + 1):
        whole += math.exp(-0.5 * ((t - radius) / sigma) ** 2)
    for t in range(2 * radius + 1):
        w[t] = math.exp(-0.5 * ((t - radius) / sigma) ** 2) / whole
    tall = size + taps - 1
    for c in range(channels):
        plane = o + c * size * size
        for y in range(tall):  # mirrored above and below
            two(memory, y * size, x, plane + fold(y - radius, size) * size, plane, size, np.float32(1), np.float32(0))
        row = tall * size
        for y in range(size):
            weighted(memory, row + radius, memory, y * size, size, row, size, w, 0, taps)
            for t in range(radius):
                memory[row + t] = memory[row + radius + fold(t - radius, size)]
            for t in range(taps - radius):
                memory[row + radius + size + t] = memory[row + radius + fold(size + t, size)]
            weighted(x, plane + y * size, memory, row, 1, row + taps, size, w, 0, taps)


@fast
@no_type_check
def look(x, count, height, width, channels, top, maps, sigmas, first, out, size, means):
    """Views of the `count` pictures x (count, height, width, channels), blurred: view i sees picture (first + i) % count through maps[i].

    x and out (views, channels, size, size) are flat; maps (views, 3, 3) take picture pixels to view pixels; sigmas and means are an entry a view.
    Returns by how much the maps shrink at most. Views that shrink by more than FARTHEST are left out, those without an inverse are not a number.
    """
    high = strip_height(size)
    memory = np.empty(max(2 * high * (width * channels + 16) + size * channels * high, (3 * size + 8) * (size + 1)), np.float32)
    low_y, low_x = np.empty(size, np.int64), np.empty(size, np.int64)
    w_y, w_x = np.empty(size * TAPS, np.float32), np.empty(size * TAPS, np.float32)
    seen_y, seen_x = np.empty(height + 4, np.float32), np.empty(width + 4, np.float32)
    inverse = np.empty((2, 3))
    step = channels * size * size
    farthest = 0.0
    for i in range(len(maps)):
        m = maps[i]
        whole = m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0]
        a, b, c, d = m[1, 1] / whole, -m[0, 1] / whole, -m[1, 0] / whole, m[0, 0] / whole
        e, f = -(a * m[0, 2] + b * m[1, 2]), -(c * m[0, 2] + d * m[1, 2])
        shrink = 0.5 * (math.hypot(a + d, c - b) + math.hypot(a - d, b + c))  # the larger singular value
        if not math.isfinite(shrink + e + f):
            out[i * step : (i + 1) * step] = np.nan
            means[i] = np.nan
            continue
        farthest = max(farthest, shrink)
        if shrink > FARTHEST:
            continue
        k = max(1, math.ceil(shrink - 1e-3))
        start = ((first + i) % count) * height * width * channels
        if b == 0 and c == 0:
            upright(x, start, height, width, channels, top, d, f, a, e, size, k, out, i * step, means[i], memory, low_y, low_x, w_y, w_x, seen_y, seen_x)
        else:
            inverse[0], inverse[1] = (a, b, e), (c, d, f)
            slanted(x, start, height, width, channels, top, inverse, size, k, out, i * step, means[i])
        if sigmas[i] > 0:
            blurred(out, i * step, channels, size, min(float(sigmas[i]), size / CUT), memory)
    return farthest


@fast
@no_type_check
def paint(x, colours, thresholds, first, last):
    """Pictures first..last-1 of x (batch, channels, pixels) through `colours`, clamped, and inverted from their threshold on; in place."""
    channels, pixels = x.shape[1:]
    old = np.empty(channels, np.float32)
    for i in range(first, last):
        m, threshold = colours[i], thresholds[i]
        if channels == 3:
            r, g, b = x[i, 0], x[i, 1], x[i, 2]
            for p in range(pixels):
                u, v, w = r[p], g[p], b[p]
                r[p] = min(max(m[0, 0] * u + m[0, 1] * v + m[0, 2] * w + m[0, 3], np.float32(0)), np.float32(1))
                g[p] = min(max(m[1, 0] * u + m[1, 1] * v + m[1, 2] * w + m[1, 3], np.float32(0)), np.float32(1))
                b[p] = min(max(m[2, 0] * u + m[2, 1] * v + m[2, 2] * w + m[2, 3], np.float32(0)), np.float32(1))
        else:
            for p in range(pixels):
                old[:] = x[i, :, p]
                for c in range(channels):
                    s = m[c, channels]
                    for d in range(channels):
                        s += m[c, d] * old[d]
                    x[i, c, p] = min(max(s, np.float32(0)), np.float32(1))
        if threshold <= 1:
            flat = x[i].reshape(-1)
            for p in range(flat.shape[0]):
                flat[p] = np.float32(1) - flat[p] if flat[p] >= threshold else flat[p]
