"""Irreducible representations over the real numbers, by frequency or degree, and by parity where there are reflections.

    irrep(so2, 3), irrep(o2, 0, parity=-1), irrep(c8, 4), irrep(so3, 2), irrep(o3, 1, parity=1), irrep(s5, 1, parity=-1)
    irreps(so3, most=4)                       # those up to degree 4

Groups with shifts have those of their linear part, under which shifts do nothing: all that are orthogonal and of finite dimension.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from manyviews.errors import InputError
from manyviews.groups.finite import Cyclic, Dihedral, Flips, Symmetric
from manyviews.groups.group import Group
from manyviews.groups.linear import GL, Conformal, Scaling
from manyviews.groups.motions import Still, WithShifts
from manyviews.groups.orthogonal import SO, Axial, Hue, O
from manyviews.groups.representations import Representation, determinant, trivial
from manyviews.groups.spherical import LARGEST, wigner

Plane = Callable[[Tensor], tuple[Tensor, Tensor]]


def irrep(group: Group, k: int = 0, parity: int | None = None) -> Representation:
    """The irreducible representation of frequency or degree k. Raises InputError where there is none.

    `parity`, +-1: in the plane and for mirrors and permutations, -1 multiplies by the determinant (the sign); in O(3) it is what the inversion p -> -p does,
    by default (-1)^k as for harmonics. S_n has k = 0, the trivial one or the sign, and k = 1, n numbers that add up to 0; its others are not here.
    """
    if parity not in (None, 1, -1):
        raise InputError(f"parity is 1 or -1, not {parity}")
    if k < 0 or k > frequencies(group):
        raise InputError(f"{group.name} has irreps of frequency or degree 0 to {frequencies(group)} here, not {k}")
    base = group.part if isinstance(group, WithShifts) else group
    if isinstance(base, O) and base.axes == 3:
        return of_space(group, k, parity)
    if parity == -1 and not has_parity(base, k):
        raise InputError(f"the irrep {k} of {group.name} has no twin of parity -1")
    sign = parity == -1
    if k == 0:
        return determinant(group) if sign else trivial(group)
    if isinstance(base, Symmetric):
        return sums_to_zero(base, sign)
    if isinstance(base, SO) and base.axes == 3:
        return Representation(group, f"degree {k}", 2 * k + 1, lambda m: wigner(k, m[:, :-1, :-1]))
    half = isinstance(base, Cyclic) and 2 * k == base.n
    plane = plane_of(base)
    if half:
        return Representation(group, f"frequency {k}{'-' if sign else ''}", 1, lambda m: alternating(plane(m), k, m, sign))
    return Representation(group, f"frequency {k}", 2, lambda m: turning(plane(m), k, reflects(base), m))


def irreps(group: Group, most: int = 2) -> list[Representation]:
    """All that `irrep` gives up to frequency or degree `most`, the trivial one first."""
    base = group.part if isinstance(group, WithShifts) else group
    out = []
    for k in range(min(most, frequencies(group)) + 1):
        if isinstance(base, O) and base.axes == 3:
            out += [irrep(group, k, 1), irrep(group, k, -1)]
        else:
            out += [irrep(group, k), *([irrep(group, k, -1)] if has_parity(base, k) else [])]
    return out


def frequencies(group: Group) -> int:
    """The largest frequency or degree of `irrep`."""
    base = group.part if isinstance(group, WithShifts) else group
    if isinstance(base, Symmetric):
        return 1 if base.n > 2 else 0
    if isinstance(base, Cyclic):
        return base.n // 2
    if isinstance(base, Flips | Still | Scaling | GL | Conformal):
        return 0
    if isinstance(base, SO | O) and base.axes == 3:
        return LARGEST
    return 1000  # of turns: beyond, float64 loses three digits


def has_parity(base: Group, k: int) -> bool:
    """Whether the irrep k times the determinant is another one."""
    if isinstance(base, Dihedral):
        return k == 0 or 2 * k == base.n
    if isinstance(base, Symmetric):
        return base.n > 1 if k == 0 else base.n > 3
    return k == 0 and (isinstance(base, O | Flips))


def reflects(base: Group) -> bool:
    return isinstance(base, O | Dihedral)


def plane_of(base: Group) -> Plane:
    """Cosine and sine of the turn in an element's matrix (before a reflection)."""
    if isinstance(base, Axial):
        i, j = (base.axis + 1) % 3, (base.axis + 2) % 3
        return lambda m: (m[:, i, i], m[:, j, i])
    if isinstance(base, Hue):
        return lambda m: (
            (m[:, 0, 0] + m[:, 1, 1] + m[:, 2, 2] - 1) / 2,
            (m[:, 1, 0] + m[:, 2, 1] + m[:, 0, 2] - m[:, 0, 1] - m[:, 1, 2] - m[:, 2, 0]) / 12**0.5,
        )
    if isinstance(base, Cyclic | SO):
        return lambda m: (m[:, 0, 0], m[:, 1, 0])
    raise InputError(f"{base.name} has no irreps by frequency here")


def multiple(plane: tuple[Tensor, Tensor], k: int) -> tuple[Float[Tensor, "batch"], Float[Tensor, "batch"]]:
    """Cosine and sine of k times the turn, by squaring."""
    c, s = plane
    out, power = (torch.ones_like(c), torch.zeros_like(s)), (c, s)
    while k:
        if k & 1:
            out = (out[0] * power[0] - out[1] * power[1], out[0] * power[1] + out[1] * power[0])
        power, k = (power[0] ** 2 - power[1] ** 2, 2 * power[0] * power[1]), k >> 1
    return out


def turning(plane: tuple[Tensor, Tensor], k: int, reflected: bool, m: Float[Tensor, "batch n n"]) -> Float[Tensor, "batch 2 2"]:
    """Turns by k times the angle, after a reflection where the element has one."""
    c, s = multiple(plane, k)
    d = torch.linalg.det(m[:, :-1, :-1]) if reflected else torch.ones_like(c)
    return torch.stack([torch.stack([c, -s * d], -1), torch.stack([s, c * d], -1)], -2)


def alternating(plane: tuple[Tensor, Tensor], k: int, m: Float[Tensor, "batch n n"], sign: bool) -> Float[Tensor, "batch 1 1"]:
    """+-1 for even and odd turns."""
    c = multiple(plane, k)[0]
    return (c * torch.linalg.det(m[:, :-1, :-1]) if sign else c)[:, None, None]


def of_space(group: Group, degree: int, parity: int | None) -> Representation:
    """Of O(3): D of the rotation in it, times `parity` where it inverts."""
    parity = (-1) ** degree if parity is None else parity

    def of(m: Tensor) -> Tensor:
        a = m[:, :-1, :-1]
        inverted = (torch.linalg.det(a.detach()) < 0)[:, None, None]
        d = wigner(degree, torch.where(inverted, -a, a))
        return torch.where(inverted, parity * d, d)

    return Representation(group, f"degree {degree} {'even' if parity == 1 else 'odd'}", 2 * degree + 1, of)


@functools.cache
def helmert(n: int) -> Float[Tensor, "fewer n"]:
    """Orthonormal rows that add up to 0, in float64."""
    out = torch.zeros(n - 1, n, dtype=torch.float64)
    for k in range(1, n):
        out[k - 1, :k], out[k - 1, k] = (k * k + k) ** -0.5, -k * (k * k + k) ** -0.5
    return out


def sums_to_zero(group: Symmetric, sign: bool) -> Representation:
    """n numbers that add up to 0, in n - 1 coordinates."""

    def of(m: Tensor) -> Tensor:
        h = helmert(group.n).to(m)
        out = h @ m @ h.T
        return out * torch.linalg.det(m)[:, None, None] if sign else out

    return Representation(group, "standard of sum 0" + (" x sign" if sign else ""), group.n - 1, of)
