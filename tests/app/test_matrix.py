"""Every method runs from the command line's door on pictures; what is written of other modalities names all methods."""

from __future__ import annotations

import pytest

from manyviews.app.catalogue import methods
from manyviews.app.matrix import PARTS, few, tried, written
from manyviews.data.dataset import Data
from manyviews.data.kinds import MODALITIES

OTHER_DATA = {"bimodal_isogclr": "pairs", "clip": "pairs", "selftask": "graphs"}  # what needs captions, or the nodes of a graph


@pytest.fixture(scope="module")
def samples() -> dict[str, Data]:
    return {modality: few(modality) for modality in ("images", "pairs", "graphs")}


@pytest.mark.parametrize("method", sorted(methods()))
def test_a_method_trains_from_start_to_end(method: str, samples: dict[str, Data]) -> None:
    modality = OTHER_DATA.get(method, "images")
    said = tried(method, modality, samples[modality])
    assert not said, said


def test_a_small_encoder_with_parts_is_known_for_every_modality() -> None:
    assert set(PARTS) == set(MODALITIES)


def test_what_is_written_names_every_method_and_modality() -> None:
    found = written()
    assert set(found) == set(methods()), "python -m manyviews.app.matrix METHOD ... tries what is missing"
    assert all(set(row) == set(MODALITIES) for row in found.values())
    assert not [f"{m} on {k}: {why}" for m, row in found.items() for k, why in row.items() if "Error:" in why]
