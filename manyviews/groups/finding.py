"""Groups by name: `find("so3")`, `find("c8")`, `acting_on("images")`, and what there is to say about each."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable

from manyviews.errors import InputError
from manyviews.groups import actions
from manyviews.groups.finite import Cyclic, Dihedral, Finite, Flips, Symmetric
from manyviews.groups.group import Group
from manyviews.groups.irreducible import frequencies, irreps
from manyviews.groups.linear import GL, SL, Conformal, Scaling
from manyviews.groups.motions import affine_group, e, se, similarity, translation
from manyviews.groups.orthogonal import SO, Axial, Hue, O
from manyviews.groups.representations import standard

KNOWN: dict[str, Group] = {
    group.name: group
    for group in (
        *(Flips(2, axis) for axis in (0, 1)),
        *(Flips(3, axis) for axis in (0, 1, 2)),
        *(Cyclic(n) for n in (2, 3, 4, 6, 8)),
        *(Dihedral(n) for n in (1, 2, 3, 4, 6, 8)),
        *(SO(n) for n in (2, 3)),
        *(O(n) for n in (2, 3)),
        *(Axial(axis) for axis in (0, 1, 2)),
        *(translation(n) for n in (1, 2, 3)),
        *(f(n) for f in (se, e, similarity) for n in (2, 3)),
        *(f(n) for f in (Scaling, Conformal, GL, SL, affine_group) for n in (2, 3)),
        *(Symmetric(n) for n in (2, 3, 4, 5)),
        Hue(),
    )
}
COUNTED: dict[str, Callable[[int], Group]] = {"c": Cyclic, "d": Dihedral, "s": Symmetric, "t": translation}


def find(name: str) -> Group:
    """The group of that name: `so3`, `c12`, `s100` ... Raises InputError that names the nearest."""
    word = re.sub(r"[\s()_+,-]", "", name.lower())
    same = {re.sub(r"_", "", known): known for known in KNOWN}
    if word in same:
        return KNOWN[same[word]]
    found = re.fullmatch(r"([cdst])(\d{1,6})", word)
    if found:
        return COUNTED[found[1]](int(found[2]))
    near = difflib.get_close_matches(name.lower(), list(KNOWN), 3, 0.4) or ["so2", "so3", "se3"]
    raise InputError(f"no group {name!r}; the nearest are {', '.join(near)}; c, d, s and t take any number, as in c12")


def acting_on(modality: str) -> list[str]:
    """The names of the groups that act on `images`, `points` ... Raises InputError for what is no modality."""
    actions.modality_checked(modality)
    return [name for name, group in KNOWN.items() if modality in group.modalities]


def describe(name: str | Group) -> str:
    """What a group is: its elements, how they are drawn, what they act on, its parameters and representations, a line each."""
    group = find(name) if isinstance(name, str) else name
    g = group.sample(1, None)
    if isinstance(group, Symmetric) and group.n > 10:
        size = f"{group.n}! elements"
    else:
        size = f"{group.order:,} elements" if group.order is not None else f"a continuous group of dimension {group.dim}"
    names = ", ".join(group.parameters(g))
    real = [f"standard ({standard(group).dim})", *(["regular"] if isinstance(group, Finite | Symmetric) else [])]
    real += [f"{rep.name} ({rep.dim})" for rep in irreps(group, 2)]
    more = frequencies(group)
    lines = [
        f"{group.name}: {group.about}",
        f"Size: {size}{', compact' if group.haar else ''}",
        f"Samples: {group.sampling}",
        f"Parameters: {names}" if names else "Parameters: none",
        f"Acts on: {', '.join(group.modalities)}",
        f"Representations (dimension): {', '.join(real)}{f' ... up to {more}' if more > 2 else ''}",
    ]
    return "\n".join(lines)
