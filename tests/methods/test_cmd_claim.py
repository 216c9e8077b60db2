"""What CMD's claim measures beside probes: whether attention falls on the mark that makes the class."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch

from manyviews.app.evidence.claim import load_claim
from manyviews.backbones.building import build_encoder
from manyviews.contracts import View
from manyviews.data.opening import open_data
from manyviews.methods.distill.cmd import CMD


@pytest.fixture(scope="module")
def claim() -> Any:
    load_claim("cmd")
    return sys.modules["manyviews_claims.cmd"]


def eights(count: int) -> Any:
    x = np.random.default_rng(0).integers(0, 100, (2 * count, 28, 28, 1), dtype=np.uint8)
    data = open_data(x).with_columns(label=np.arange(2 * count) % 2)
    return type(data)(**{**data.__dict__, "classes": ["3", "8"]})


def test_marks_are_their_own_mirror_images_and_far_from_each_other(claim: Any) -> None:
    marks = claim.patterns()
    assert marks.shape == (10, 3, 3) and (marks == marks[:, :, ::-1]).all()
    assert min((a != b).sum() for i, a in enumerate(marks) for b in marks[:i]) >= 3


def test_a_marked_picture_shows_its_class_where_the_column_says(claim: Any) -> None:
    data = claim.marked(eights(40), "train")
    assert len(data) == 40 and len(data.classes) == 10
    for i in range(len(data)):
        column, row = np.round(np.asarray(data.columns["mark"][i]) * 32 - 3).astype(int)
        cells = data[i][row : row + 6 : 2, column : column + 6 : 2, 0] == 255
        assert (cells == claim.patterns()[data.labels[i]]).all()


def test_regions_on_the_mark_are_those_whose_pixels_it_changes(claim: Any) -> None:
    encoder, corner = build_encoder("vit_nano", 3, 32, seed=0), np.array([[2, 20], [13, 7], [4, 8]])
    x = torch.zeros(3, 3, 32, 32)
    for picture, (row, column) in zip(x, corner, strict=True):
        picture[:, row : row + 6, column : column + 6] = 1.0
    black, tokens = (encoder.tokenize(View(a, torch.arange(3))) for a in (torch.zeros_like(x), x))
    changed = (tokens.x - black.x).abs().amax(2) > 1e-6
    on = claim.on_mark(tokens.where, 1 / round(tokens.where.shape[1] ** 0.5), torch.from_numpy((corner[:, ::-1] + 3) / 32).float())
    assert torch.equal(on, changed)


def test_the_heaviest_region_hits_or_not_and_equal_weights_hit_by_chance(claim: Any) -> None:
    on = torch.tensor([[True, False, False, False], [True, False, True, False]])
    assert claim.hits(torch.tensor([[0.4, 0.2, 0.2, 0.2], [0.2, 0.4, 0.2, 0.2]]), on).tolist() == [1.0, 0.0]
    assert claim.hits(torch.full((2, 4), 0.25), on).tolist() == [0.25, 0.5]
    assert claim.hits(torch.tensor([[0.4, 0.4, 0.1, 0.1], [0.1, 0.1, 0.4, 0.4]]), on).tolist() == [0.5, 0.5]


def test_attention_is_that_of_the_bag_and_uniform_without_one(claim: Any) -> None:
    view = View(torch.rand(2, 3, 32, 32), torch.arange(2))
    torch.manual_seed(0)
    method = CMD(build_encoder("vit_nano", 3, 32, seed=0), out=8, hidden=16, bottleneck=4, attention=8).eval()
    with torch.no_grad():
        weight = claim.attention(method.teacher, method.teacher_levels, view)
        tokens = method.teacher.tokenize(view)
        parts = method.teacher.encode(tokens).parts
        scores = method.teacher_levels.attention(parts.flatten(0, 1)).view(2, -1)
        equal = claim.attention(method.teacher, None, view)
    assert weight == pytest.approx(scores.softmax(1), abs=1e-5) and float(weight.std()) > 0
    assert equal == pytest.approx(torch.full_like(equal, 1 / equal.shape[1]))
