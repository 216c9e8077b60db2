"""Which triangle or point a picture shows at each of its samples, and in what colour: a z-buffer, compiled by numba.

Olano, Greer, "Triangle Scan Conversion using 2D Homogeneous Coordinates", Graphics Hardware 1997: three edge functions, linear in the picture, are
positive inside a triangle and give depth and barycentric coordinates; no triangle has to be clipped. Edges that two triangles share are computed from
the same two products and differ in sign alone, so that no sample between them is lost.

Samples lie in the middle of the cells of a (height, width) grid. `matrix` (4, 4) takes a point (x, y, z, 1) to (w column, w row, w, depth), where column
and row count cells from the upper left corner and depth is along the optical axis: w is depth for a perspective camera and 1 for an orthographic one.
What a sample shows is `hit`: 0 nothing, k + 1 the front of part k, -(k + 1) its back, FLOOR the floor; `where` are the weights of a triangle's second and
third corner. Nothing is checked here: corners must be finite and exist.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np

from manyviews.nn.compiled import compiled

FLOOR = np.iinfo(np.int32).min
SLACK = 0.5 + 1e-9  # of a cell: edges decide whether a sample is inside, the box around a triangle must not be closer


@compiled
@no_type_check
def triangles(vertices, faces, matrix, depth, hit, where):
    """Draws triangles where they are nearer than `depth` and in front of the camera."""
    height, width = depth.shape
    p = np.empty((len(vertices), 4))
    for i in range(len(vertices)):
        x, y, z = vertices[i, 0], vertices[i, 1], vertices[i, 2]
        for k in range(4):
            p[i, k] = matrix[k, 0] * x + matrix[k, 1] * y + matrix[k, 2] * z + matrix[k, 3]
    for f in range(len(faces)):
        a, b, c = p[faces[f, 0]], p[faces[f, 1]], p[faces[f, 2]]
        if a[3] <= 0 and b[3] <= 0 and c[3] <= 0:
            continue
        ax, ay, az = b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0]
        bx, by, bz = c[1] * a[2] - c[2] * a[1], c[2] * a[0] - c[0] * a[2], c[0] * a[1] - c[1] * a[0]
        cx, cy, cz = a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]
        volume = a[0] * ax + a[1] * ay + a[2] * az
        if volume == 0:
            continue  # seen edge-on
        turn = 1.0 if volume > 0 else -1.0
        part = -(f + 1) if volume > 0 else f + 1  # corners run anticlockwise in a picture whose rows count downwards: the front
        top, bottom, left, right = 0, height - 1, 0, width - 1
        if a[2] > 0 and b[2] > 0 and c[2] > 0:
            u0, u1, u2, v0, v1, v2 = a[0] / a[2], b[0] / b[2], c[0] / c[2], a[1] / a[2], b[1] / b[2], c[1] / c[2]
            left, right = int(max(0.0, np.ceil(min(u0, u1, u2) - SLACK))), int(min(width - 1.0, np.floor(max(u0, u1, u2) - 1 + SLACK)))
            top, bottom = int(max(0.0, np.ceil(min(v0, v1, v2) - SLACK))), int(min(height - 1.0, np.floor(max(v0, v1, v2) - 1 + SLACK)))
        for i in range(top, bottom + 1):
            row, entered = i + 0.5, False
            ra, rb, rc = ay * row + az, by * row + bz, cy * row + cz
            for j in range(left, right + 1):
                column = j + 0.5
                ea, eb, ec = turn * (ax * column + ra), turn * (bx * column + rb), turn * (cx * column + rc)
                if ea >= 0 and eb >= 0 and ec >= 0:
                    entered = True
                    total = ea + eb + ec
                    z = (ea * a[3] + eb * b[3] + ec * c[3]) / total
                    if total > 0 and 0 < z < depth[i, j]:
                        depth[i, j], hit[i, j] = z, part
                        where[i, j, 0], where[i, j, 1] = eb / total, ec / total
                elif entered:
                    break


@compiled
@no_type_check
def discs(points, normals, matrix, eye, focal, radius, least, depth, hit):
    """Draws each point as a disc that faces the camera: of `radius` in the scene, which is focal * radius / w cells, or of `least` cells if that is more.

    The cell that a point lies in always belongs to its disc. With `normals` (points, 3; else none), those that point away from the homogeneous `eye`
    (4,) count as backs.
    """
    height, width = depth.shape
    for k in range(len(points)):
        x, y, z = points[k, 0], points[k, 1], points[k, 2]
        w = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2] * z + matrix[2, 3]
        d = matrix[3, 0] * x + matrix[3, 1] * y + matrix[3, 2] * z + matrix[3, 3]
        if d <= 0:
            continue
        u = (matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + matrix[0, 3]) / w
        v = (matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + matrix[1, 3]) / w
        r = max(least, focal * radius / w)
        if not (-r <= u <= width + r and -r <= v <= height + r):
            continue
        part = k + 1
        if len(normals):
            towards = normals[k, 0] * (eye[0] - eye[3] * x) + normals[k, 1] * (eye[1] - eye[3] * y) + normals[k, 2] * (eye[2] - eye[3] * z)
            part = k + 1 if towards >= 0 else -(k + 1)
        own_row, own_column = int(np.floor(v)), int(np.floor(u))
        for i in range(max(0, int(np.floor(v - r))), min(height - 1, int(np.floor(v + r))) + 1):
            for j in range(max(0, int(np.floor(u - r))), min(width - 1, int(np.floor(u + r))) + 1):
                inside = (i + 0.5 - v) ** 2 + (j + 0.5 - u) ** 2 <= r * r or (i == own_row and j == own_column)
                if inside and d < depth[i, j]:
                    depth[i, j], hit[i, j] = d, part


@compiled
@no_type_check
def along(rays, axis, row, column, depth):
    """A coordinate in the world of what is seen in the middle of a cell at some depth.

    `rays` (2, 3, 3): where rays start and how they go on with depth, both linear in (column, row, 1).
    """
    start = rays[0, axis, 0] * (column + 0.5) + rays[0, axis, 1] * (row + 0.5) + rays[0, axis, 2]
    return start + depth * (rays[1, axis, 0] * (column + 0.5) + rays[1, axis, 1] * (row + 0.5) + rays[1, axis, 2])


@compiled
@no_type_check
def floor(level, rays, depth, hit):
    """Lays the plane y = level under what was drawn, seen from above only."""
    for i in range(depth.shape[0]):
        for j in range(depth.shape[1]):
            start = along(rays, 1, i, j, 0.0)
            fall = start - along(rays, 1, i, j, 1.0)
            t = (start - level) / fall if fall > 0 else -1.0
            if 0 < t < depth[i, j]:
                depth[i, j], hit[i, j] = t, FLOOR


@compiled
@no_type_check
def shadows(rays, depth, hit, matrix, light_depth, bias, dark):
    """Marks as `dark` what has something nearer to the light, by more than `bias`: `light_depth` is what an orthographic camera there sees through `matrix`."""
    height, width = light_depth.shape
    for i in range(depth.shape[0]):
        for j in range(depth.shape[1]):
            if hit[i, j] == 0:
                continue
            x, y, z = along(rays, 0, i, j, depth[i, j]), along(rays, 1, i, j, depth[i, j]), along(rays, 2, i, j, depth[i, j])
            column = int(np.floor(matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + matrix[0, 3] - 0.5))
            row = int(np.floor(matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + matrix[1, 3] - 0.5))
            away = matrix[3, 0] * x + matrix[3, 1] * y + matrix[3, 2] * z + matrix[3, 3] - bias
            if 0 <= row < height - 1 and 0 <= column < width - 1:  # all four cells around the place: on a slope one of them is always nearer
                above = light_depth[row, column] < away and light_depth[row, column + 1] < away
                dark[i, j] = above and light_depth[row + 1, column] < away and light_depth[row + 1, column + 1] < away


@compiled
@no_type_check
def shaded(hit, where, dark, colours, normals, light, facing, lamp, ambient, behind, ground, samples, picture):
    """Fills `picture` (height, width, 3) with the mean of samples x samples cells each.

    A surface of colour c (its corners' `colours`, 0 to 255) whose normal n is on the viewer's side shows c (ambient + lamp max(0, n . light)). `light` and
    `normals` (parts, 3, 3) are in the object's frame; with no normals the cosine is `facing`. Behind it all lies the colour `behind`; the floor is
    `ground`, lit (0) or dark (1).
    """
    height, width, _ = picture.shape
    for i in range(height):
        for j in range(width):
            r, g, b = 0.0, 0.0, 0.0
            for k in range(samples * samples):
                y, x = i * samples + k // samples, j * samples + k % samples
                part = hit[y, x]
                if part == 0:
                    r, g, b = r + behind[0], g + behind[1], b + behind[2]
                    continue
                if part == FLOOR:
                    shade = 1 if dark[y, x] else 0
                    r, g, b = r + ground[shade, 0], g + ground[shade, 1], b + ground[shade, 2]
                    continue
                f = abs(part) - 1
                w1, w2 = where[y, x, 0], where[y, x, 1]
                w0 = 1 - w1 - w2
                cosine = facing
                if len(normals):
                    nx = w0 * normals[f, 0, 0] + w1 * normals[f, 1, 0] + w2 * normals[f, 2, 0]
                    ny = w0 * normals[f, 0, 1] + w1 * normals[f, 1, 1] + w2 * normals[f, 2, 1]
                    nz = w0 * normals[f, 0, 2] + w1 * normals[f, 1, 2] + w2 * normals[f, 2, 2]
                    length = np.sqrt(nx * nx + ny * ny + nz * nz)
                    cosine = (nx * light[0] + ny * light[1] + nz * light[2]) / (length if length > 0 else 1.0)
                    cosine = cosine if part > 0 else -cosine
                cosine = 0.0 if dark[y, x] else max(0.0, cosine)
                r += (w0 * colours[f, 0, 0] + w1 * colours[f, 1, 0] + w2 * colours[f, 2, 0]) * (ambient[0] + lamp[0] * cosine)
                g += (w0 * colours[f, 0, 1] + w1 * colours[f, 1, 1] + w2 * colours[f, 2, 1]) * (ambient[1] + lamp[1] * cosine)
                b += (w0 * colours[f, 0, 2] + w1 * colours[f, 1, 2] + w2 * colours[f, 2, 2]) * (ambient[2] + lamp[2] * cosine)
            share = 1 / (samples * samples)
            picture[i, j, 0] = min(255.0, r * share + 0.5)
            picture[i, j, 1] = min(255.0, g * share + 0.5)
            picture[i, j, 2] = min(255.0, b * share + 0.5)


@compiled
@no_type_check
def oriented(hit, where, normals, turn, out):
    """Fills `out` (height, width, 3) with unit normals on the viewer's side, turned by `turn` (3, 3); towards the viewer, (0, 0, -1), where there are none."""
    for i in range(hit.shape[0]):
        for j in range(hit.shape[1]):
            part = hit[i, j]
            if part == 0:
                continue
            if len(normals) == 0:
                out[i, j, 2] = -1
                continue
            f, w1, w2 = abs(part) - 1, where[i, j, 0], where[i, j, 1]
            w0 = 1 - w1 - w2
            nx = w0 * normals[f, 0, 0] + w1 * normals[f, 1, 0] + w2 * normals[f, 2, 0]
            ny = w0 * normals[f, 0, 1] + w1 * normals[f, 1, 1] + w2 * normals[f, 2, 1]
            nz = w0 * normals[f, 0, 2] + w1 * normals[f, 1, 2] + w2 * normals[f, 2, 2]
            length = np.sqrt(nx * nx + ny * ny + nz * nz)
            sign = (1.0 if part > 0 else -1.0) / (length if length > 0 else 1.0)
            for k in range(3):
                out[i, j, k] = sign * (turn[k, 0] * nx + turn[k, 1] * ny + turn[k, 2] * nz)
