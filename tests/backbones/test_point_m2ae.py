import dataclasses
import itertools

import pytest
import torch

from manyviews.backbones.building import build_encoder
from manyviews.contracts import View
from manyviews.errors import InputError
from manyviews.nn.hierarchy import back_project


def clouds(count: int = 3, points: int = 128) -> View:
    x = torch.randn(count, points, 3, generator=torch.Generator().manual_seed(0))
    return View(x / x.norm(dim=-1).amax(1)[:, None, None], torch.arange(count))


def encoder():
    return build_encoder("point_m2ae_micro", 3, 128, seed=0).eval()


def masks(levels, top):
    """Visible groups of each level, from those of the coarsest."""
    visible = [top]
    for level, finer in zip(levels[:0:-1], levels[-2::-1], strict=True):
        visible.append(back_project(visible[-1], level.rows, finer.where.shape[1]))
    return visible[::-1]


def test_each_level_groups_the_centres_of_the_one_before():
    v, e = clouds(), encoder()
    levels, points = e.levels(v), v.x
    assert [level.where.shape[1] for level in levels] == [64, 32, 8] and levels[0].rows is None
    for level, members in zip(levels, (16, 8, 8), strict=True):
        for n, g in itertools.product(range(3), range(0, level.where.shape[1], 5)):
            near = (points[n] - level.where[n, g]).norm(dim=1).argsort()[:members]
            assert torch.allclose(level.content[n, g], points[n, near] - level.where[n, g], atol=1e-6)
            assert level.rows is None or level.rows[n, g].tolist() == near.tolist()
        points = level.where


@torch.no_grad()
def test_hidden_groups_influence_nothing_and_visible_ones_are_encoded_as_if_alone():
    v, e = clouds(), encoder()
    levels = e.levels(v)
    top = torch.zeros(3, 8, dtype=torch.bool)
    top[0, [1, 4]], top[1, [0]], top[2, [2, 3, 7]] = True, True, True
    visible = masks(levels, top)
    found = e.encode_levels(levels, visible)
    changed = torch.where(visible[0][..., None, None], levels[0].x, 9.0)
    other = e.encode_levels([dataclasses.replace(levels[0], x=changed), *levels[1:]], visible)
    for a, b, shown in zip(found, other, visible, strict=True):
        assert torch.allclose(a, b, atol=1e-5) and not a[~shown].any() and a[shown].abs().sum(-1).min() > 0
    for n in range(3):  # one sample at a time, without what is hidden
        t = levels[0].x[n]
        for k, level in enumerate(levels):
            t = e.embeddings[k]((t if level.rows is None else t[level.rows[n]])[None])
            rows = visible[k][n].nonzero()[:, 0]
            out = e.attend(k, t[:, rows], level.where[n : n + 1, rows], None)[0]
            assert torch.allclose(found[k][n, rows], out, atol=1e-5)
            t = t[0].clone()
            t[rows] = out


@torch.no_grad()
def test_with_everything_visible_masks_change_nothing():
    v, e = clouds(), encoder()
    levels = e.levels(v)
    everything = [torch.ones(level.where.shape[:2], dtype=torch.bool) for level in levels]
    for a, b in zip(e.encode_levels(levels), e.encode_levels(levels, everything), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    assert torch.allclose(e(v), e.encode_levels(levels)[-1].amax(1))


def test_a_parent_is_the_nearest_group_of_the_coarser_level():
    v, e = clouds(), encoder()
    fine, middle, coarse = e.pyramid(v)
    assert coarse.parent is None
    for a, b in ((fine, middle), (middle, coarse)):
        assert torch.equal(a.parent, torch.cdist(a.where, b.where).argmin(-1))


def test_its_error_is_chamfers_and_too_few_points_are_refused():
    e = encoder()
    content = torch.randn(2, 3, 8, 3)
    assert float(e.content_error(content.flip(2).flatten(2), content).abs().max()) < 1e-6
    a, b = torch.randn(8, 3), content[0, 0]
    square = torch.cdist(a, b).square()
    prediction = a.flatten().expand(2, 3, -1)
    assert float(e.content_error(prediction, content)[0, 0]) == pytest.approx(float(square.amin(0).mean() + square.amin(1).mean()), rel=1e-4)
    with pytest.raises(InputError, match="64 groups need at least as many points, and views have 40"):
        e(clouds(1, 40))
