"""Groups by name, and what is said of them."""

from __future__ import annotations

import pytest

from manyviews.errors import InputError
from manyviews.groups import Cyclic, Dihedral, Symmetric, acting_on, describe, find, so3, translation
from manyviews.groups.actions import MODALITIES
from manyviews.groups.finding import KNOWN


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_every_group_is_found_and_described(name: str) -> None:
    assert find(name) == KNOWN[name] and KNOWN[name].name == name
    text = describe(name)
    assert text.startswith(f"{name}: ")
    for word in ("Size: ", "Samples: ", "Parameters: ", "Acts on: ", "Representations"):
        assert word in text
    assert describe(find(name)) == text


def test_groups_are_found_in_other_spellings_and_of_any_number() -> None:
    assert find("SO(3)") == so3 and find("GL+(2)").name == "gl2" and find("so2 about y").name == "so2_about_y"
    assert find("c12") == Cyclic(12) and find("D10") == Dihedral(10) and find("s100") == Symmetric(100) and find("t5").dim == translation(5).dim


@pytest.mark.parametrize(("wrong", "near"), [("so33", "so3"), ("simlarity3", "similarity3"), ("affin2", "affine2"), ("", "so2")])
def test_a_wrong_name_is_answered_with_the_nearest(wrong: str, near: str) -> None:
    with pytest.raises(InputError, match=f"no group '{wrong}'.*{near}"):
        find(wrong)


@pytest.mark.parametrize("name", ["c0", "s0", "t0"])
def test_numbers_that_make_no_group_are_refused(name: str) -> None:
    with pytest.raises(InputError):
        find(name)


def test_large_groups_are_described_without_counting() -> None:
    assert "Size: 1000! elements" in describe("s1000")


def test_splats_are_sent_where_they_are_moved() -> None:
    with pytest.raises(InputError, match=r"manyviews\.views\.splats\.acted"):
        acting_on("splats")


def test_something_acts_on_every_modality() -> None:
    assert all(acting_on(modality) for modality in MODALITIES)


def test_what_is_said_of_so3() -> None:
    text = describe("so3")
    assert "rotations of space" in text and "dimension 3, compact" in text and "angle, axis" in text and "volumes" in text and "degree 2 (5)" in text
