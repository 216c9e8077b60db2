"""The scenes on which MMC's claim is asked: what is where in them, and that knowing one's place alone does not answer it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from manyviews.app.evidence.claim import load_claim
from manyviews.data.opening import open_data


@pytest.fixture(scope="module")
def mmc(request: pytest.FixtureRequest):
    load_claim("mmc")
    import sys

    return sys.modules["manyviews_claims.mmc"]


@pytest.fixture(scope="module")
def made(mmc):
    """Pictures of one colour each, so that a scene tells which of them is where."""
    colour = np.arange(1, 41, dtype=np.uint8) * 6
    pictures = np.broadcast_to(colour[:, None, None, None], (40, 32, 32, 3)).copy()
    return mmc.scenes(open_data(pictures).with_columns(label=np.arange(40)), "test"), colour


def test_the_prompt_is_on_the_object_and_the_label_is_the_objects(mmc, made) -> None:
    data, colour = made
    for row in range(0, len(data), 50):
        x, y = (int(side * mmc.SIDE) for side in data.columns["prompt"][row])
        assert data[row][y, x, 0] == colour[data.columns["label"][row]]


def where_of(count: int) -> torch.Tensor:
    side = (torch.arange(8) + 0.5) / 8
    y, x = torch.meshgrid(side, side, indexing="ij")
    return torch.stack([x, y], -1).view(1, 64, 2).expand(count, 64, 2)


def test_parts_that_know_what_they_show_are_right_and_parts_that_know_their_place_alone_are_not(mmc, made) -> None:
    data, _ = made
    pixels = torch.stack([torch.from_numpy(np.asarray(data[row])[2::4, 2::4, 0]).flatten() for row in range(len(data))]).long()
    where = where_of(len(data))
    shown = torch.nn.functional.one_hot(pixels // 6, 42).float()
    sure = mmc.told(shown, where, data)
    assert sure["IoU from a prompt"] > 0.95 and sure["overlap"] < 0.05  # two cells may show one picture
    waves = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
    place = mmc.told(torch.cat([(8 * where @ waves).sin(), (8 * where @ waves).cos()], -1), where, data)
    constant = mmc.told(torch.ones_like(shown), where, data)
    assert place["IoU from a prompt"] == pytest.approx(place["IoU from a prompt, by place"]) and place["IoU from a prompt"] < 0.7
    assert place["IoU from a prompt, places removed"] == pytest.approx(constant["IoU from a prompt, places removed"], abs=0.05)
