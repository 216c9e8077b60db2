"""Rendering of iterated function systems, compiled by numba: the chaos game, its colours, and diamond-square backgrounds.

A system is (maps, 2, 3): the linear part and the shift of each affine map. All random numbers of a picture come from one SplitMix64 stream, whose
state is a uint64 array of one entry; sums and products are rounded as written, whatever instructions a machine has.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from manyviews.nn.compiled import compiled

GOLDEN, MIX1, MIX2 = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))
A, B, C, D = (np.uint64(n) for n in (30, 27, 31, 11))


@compiled
@no_type_check
def draw(state, low, high):
    """Uniform in [low, high)."""
    state[0] += GOLDEN
    z = state[0]
    z = (z ^ (z >> A)) * MIX1
    z = (z ^ (z >> B)) * MIX2
    return low + (high - low) * (np.float64((z ^ (z >> C)) >> D) * 2.0**-53)


@compiled
@no_type_check
def stretch(a):
    """The larger singular value of the linear part of a map (2, 3)."""
    same = np.hypot(a[0, 0] + a[1, 1], a[1, 0] - a[0, 1])
    other = np.hypot(a[0, 0] - a[1, 1], a[1, 0] + a[0, 1])
    return (same + other) / 2


@compiled
@no_type_check
def jittered(system, state):
    """The system with one map scaled by 0.8 to 1.1: of up to four draws the first that stretches no more than 1, or than the system did; else itself."""
    most = 1.0
    for k in range(len(system)):
        most = max(most, stretch(system[k]))
    for _ in range(4):
        k, factor = int(draw(state, 0, len(system))), draw(state, 0.8, 1.1)
        if stretch(system[k]) * factor <= most:
            changed = system.copy()
            changed[k] *= factor
            return changed
    return system


@compiled
@no_type_check
def chaos(system, count, state):
    """`count` points (x, y) of the attractor, by the chaos game: maps are applied one after the other, each as often as |det| says."""
    shares = np.empty(len(system))
    for k in range(len(system)):
        shares[k] = abs(system[k, 0, 0] * system[k, 1, 1] - system[k, 0, 1] * system[k, 1, 0])
    shares = np.cumsum(shares / shares.sum())
    a, b, e, c, d, f = system[0, 0, 0], system[0, 0, 1], system[0, 0, 2], system[0, 1, 0], system[0, 1, 1], system[0, 1, 2]
    det = (1 - a) * (1 - d) - b * c
    x, y = ((1 - d) * e + b * f) / det, (c * e + (1 - a) * f) / det  # what the first map leaves where it is lies in the attractor
    last = len(system) - 1
    points = np.empty((count, 2))
    for i in range(count):
        u, k = draw(state, 0.0, 1.0), 0
        while k < last and u >= shares[k]:
            k += 1
        x, y = system[k, 0, 0] * x + system[k, 0, 1] * y + system[k, 0, 2], system[k, 1, 0] * x + system[k, 1, 1] * y + system[k, 1, 2]
        points[i, 0], points[i, 1] = x, y
    return points


@compiled
@no_type_check
def bounds(points):
    """Centre and extent of the points along each axis, (2,) each; an extent is not 0."""
    low, high = points[0].copy(), points[0].copy()
    for i in range(1, len(points)):
        for k in range(2):
            low[k], high[k] = min(low[k], points[i, k]), max(high[k], points[i, k])
    extent = high - low
    for k in range(2):
        extent[k] = extent[k] if extent[k] > 0 else 1.0
    return (low + high) / 2, extent


@compiled
@no_type_check
def density(points, centre, extent, side, mark):
    """(side, side): how often each cell of the window is hit, over the most; a point marks those of the 3 x 3 cells around its own that `mark` says."""
    counts = np.zeros((side + 2, side + 2))  # with a margin, from which marks reach in
    for i in range(len(points)):
        r = int(np.floor(((points[i, 0] - centre[0]) / extent[0] + 0.5) * (side - 1))) + 1
        c = int(np.floor(((points[i, 1] - centre[1]) / extent[1] + 0.5) * (side - 1))) + 1
        if r >= 0 and c >= 0 and r < side + 2 and c < side + 2:
            counts[r, c] += 1
    spread = np.zeros((side, side))
    for i in range(3):
        for j in range(3):
            if mark[i, j]:
                spread += counts[2 - i : 2 - i + side, 2 - j : 2 - j + side]
    return spread / max(spread.max(), 1.0)


@compiled
@no_type_check
def rgb(hue, saturation, value):
    """Red, green, blue in [0, 1]; hue in turns."""
    h = (hue - np.floor(hue)) * 6
    sector = int(h) % 6
    f = h - np.floor(h)
    p, q, t = value * (1 - saturation), value * (1 - saturation * f), value * (1 - saturation * (1 - f))
    if sector == 0:
        return value, t, p
    if sector == 1:
        return q, value, p
    if sector == 2:
        return p, value, t
    if sector == 3:
        return p, q, value
    if sector == 4:
        return t, p, value
    return value, p, q


@compiled
@no_type_check
def fractal(canvas, system, count, side, top, left, zoomed, state):
    """Paints one fractal of `side` pixels onto the canvas, in one saturation and brightness; its hue says how often a place is hit."""
    points = chaos(system, count, state)
    centre, extent = bounds(points)
    if zoomed:
        for k in range(2):
            centre[k] += extent[k] * draw(state, -0.2, 0.2)
            extent[k] *= draw(state, 0.5, 2.0)
    mark = np.zeros((3, 3), np.bool_)
    while not mark.any():
        for k in range(9):
            mark[k // 3, k % 3] = draw(state, 0, 1) < 0.5
    d = density(points, centre, extent, side, mark)
    turned, upside, mirrored = draw(state, 0, 1) < 0.5, draw(state, 0, 1) < 0.5, draw(state, 0, 1) < 0.5
    hue, saturation, value = draw(state, 0, 1), draw(state, 0.3, 1), draw(state, 0.5, 1)
    for i in range(max(0, -top), min(side, canvas.shape[0] - top)):
        for j in range(max(0, -left), min(side, canvas.shape[1] - left)):
            r, c = side - 1 - i if upside else i, side - 1 - j if mirrored else j
            level = d[c, r] if turned else d[r, c]
            if level > 0:
                canvas[top + i, left + j] = rgb(hue + level, saturation, value)


@compiled
@no_type_check
def plasma(n, roughness, state):
    """(2^n + 1, 2^n + 1): diamond-square noise; the k-th halving adds up to 0.5 exp(-roughness (k - 1)) either way. The rim sees the other side."""
    s = 2**n
    a = np.zeros((s + 1, s + 1))
    for r in (0, s):
        for c in (0, s):
            a[r, c] = draw(state, 0, 1)
    for k in range(1, n + 1):
        h, m = s >> k, 0.5 * np.exp(-roughness * (k - 1))
        for r in range(h, s, 2 * h):
            for c in range(h, s, 2 * h):
                a[r, c] = (a[r - h, c - h] + a[r - h, c + h] + a[r + h, c - h] + a[r + h, c + h]) / 4 + draw(state, -m, m)
        for r in range(0, s + 1, h):
            for c in range(h if (r // h) % 2 == 0 else 0, s + 1, 2 * h):
                up, down = a[r - h if r else s - h, c], a[r + h if r < s else h, c]
                before, after = a[r, c - h if c else s - h], a[r, c + h if c < s else h]
                a[r, c] = (up + down + before + after) / 4 + draw(state, -m, m)
    return a


@compiled
@no_type_check
def background(canvas, state):
    """Fills the canvas with coloured noise."""
    n = 0
    while 2**n < canvas.shape[0]:
        n += 1
    a = plasma(n, draw(state, 0.4, 0.8), state)
    hues, hue = draw(state, 0.25, 1), draw(state, 0, 1)
    saturations, saturation = draw(state, 0.1, 0.3), draw(state, 0.4, 0.6)
    values, value = draw(state, 0.3, 0.6), draw(state, 0.4, 0.6)
    for r in range(canvas.shape[0]):
        for c in range(canvas.shape[1]):
            x = a[r, c]
            canvas[r, c] = rgb(hue + hues * x, min(max(saturation + saturations * x, 0.0), 1.0), min(max(value + values * x, 0.0), 1.0))


@compiled
@no_type_check
def blurred(canvas, sigma):
    """The canvas through a 3 x 3 Gaussian, the rim repeated."""
    side = np.exp(-0.5 / sigma**2)
    middle, side = 1 / (1 + 2 * side), side / (1 + 2 * side)
    last = len(canvas) - 1
    rows = np.empty_like(canvas)
    for r in range(last + 1):
        rows[r] = middle * canvas[r] + side * (canvas[max(r - 1, 0)] + canvas[min(r + 1, last)])
    out = np.empty_like(canvas)
    for c in range(last + 1):
        out[:, c] = middle * rows[:, c] + side * (rows[:, max(c - 1, 0)] + rows[:, min(c + 1, last)])
    return out


@compiled
@no_type_check
def picture(systems, sizes, classes, several, least, largest, side, jitter, state):
    """uint8 (side, side, 3): fractals of `classes` (-1: none), the first one on top; one alone fills the picture, `several` have places and sides, drawn
    between `least` and `largest` shares of the picture's."""
    canvas = np.empty((side, side, 3))
    background(canvas, state)
    for k in range(len(classes) - 1, -1, -1):
        if classes[k] < 0:
            continue
        system = systems[classes[k], : sizes[classes[k]]]
        if jitter:
            system = jittered(system, state)
        if several:
            own = max(1, int(draw(state, least, largest) * side))
            top, left = int(draw(state, 0, side)) - own // 2, int(draw(state, 0, side)) - own // 2
            fractal(canvas, system, max(5000, 8 * own**2), own, top, left, False, state)
        else:
            fractal(canvas, system, max(5000, 2 * side**2), side, 0, 0, True, state)
    if draw(state, 0, 1) < 0.5:
        canvas = blurred(canvas, draw(state, 0.5, 1.0))
    return np.floor(canvas * 255 + 0.5).astype(np.uint8)
