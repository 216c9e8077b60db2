"""Symmetry groups, what they do to data, and their representations.

find("so3").sample(8, counter)    elements: batches of maps with named parameters (`elements`)
group.act(g, x, "images")         actions (`actions`)
irrep(group, 2), intertwiners     representations and the maps that respect them (`representations`, `irreducible`, `equivariance`)
"""

from manyviews.groups.elements import Affine, Colour, Permutation, Picture, Quarter, matrices, rotations_about, rotations_from
from manyviews.groups.equivariance import Acting, Equivariant, Fields, Together, check_layer, intertwiners, is_equivariant
from manyviews.groups.finding import acting_on, describe, find
from manyviews.groups.finite import Cyclic, Dihedral, Flips, Symmetric
from manyviews.groups.group import Group, affine
from manyviews.groups.irreducible import irrep, irreps
from manyviews.groups.linear import GL, SL, Conformal, Scaling
from manyviews.groups.motions import WithShifts, affine_group, e, se, similarity, translation
from manyviews.groups.orthogonal import SO, Axial, Hue, O
from manyviews.groups.representations import Representation, determinant, direct_sum, directions, regular, standard, tensor_product, trivial
from manyviews.groups.resampling import in_pixels
from manyviews.groups.spherical import harmonics, wigner

so2, so3, o2, o3, hue = SO(2), SO(3), O(2), O(3), Hue()
se2, se3, e2, e3 = se(2), se(3), e(2), e(3)

__all__ = [
    "GL",
    "SL",
    "SO",
    "Acting",
    "Affine",
    "Axial",
    "Colour",
    "Conformal",
    "Cyclic",
    "Dihedral",
    "Equivariant",
    "Fields",
    "Flips",
    "Group",
    "Hue",
    "O",
    "Permutation",
    "Picture",
    "Quarter",
    "Representation",
    "Scaling",
    "Symmetric",
    "Together",
    "WithShifts",
    "acting_on",
    "affine",
    "affine_group",
    "check_layer",
    "describe",
    "determinant",
    "direct_sum",
    "directions",
    "e",
    "e2",
    "e3",
    "find",
    "harmonics",
    "hue",
    "in_pixels",
    "intertwiners",
    "irrep",
    "irreps",
    "is_equivariant",
    "matrices",
    "o2",
    "o3",
    "regular",
    "rotations_about",
    "rotations_from",
    "se",
    "se2",
    "se3",
    "similarity",
    "so2",
    "so3",
    "standard",
    "tensor_product",
    "translation",
    "trivial",
    "wigner",
]
