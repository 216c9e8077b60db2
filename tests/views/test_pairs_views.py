"""Views of pictures with captions: the picture as any picture, the caption as it is."""

import pytest
import torch

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.data.pairs import Pairs
from manyviews.errors import InputError
from manyviews.views import images, pairs


def samples(count: int = 4) -> View:
    g = torch.Generator().manual_seed(0)
    pictures = [torch.randint(0, 256, (20 + 4 * k, 24, 3), generator=g, dtype=torch.uint8) for k in range(count)]
    return View(Pairs(pictures, torch.arange(count * 5).view(count, 5)), torch.arange(count), given={"label": torch.arange(count)})


def test_clip_shows_a_square_of_most_of_the_picture_and_the_whole_caption():
    v = samples()
    seen = pairs.clip(16)(v, Counter(0, 0))
    assert seen["image"].x.shape == (4, 3, 16, 16) and 0 <= float(seen["image"].x.min()) <= float(seen["image"].x.max()) <= 1
    g = seen["image"].g.parameters
    area = torch.tensor([a.shape[0] * a.shape[1] for a in v.x.image])
    assert torch.allclose(g["crop_width"], g["crop_height"])
    square = area == 24 * 24
    assert bool((g["crop_width"] * g["crop_height"] >= 0.899 * area)[square].all())
    assert torch.equal(seen["text"].x, v.x.text) and torch.equal(seen["text"].given["label"], v.index)
    again = pairs.clip(16)(v, Counter(0, 1))
    assert not torch.equal(again["image"].x, seen["image"].x)


def test_plain_is_the_centred_square_that_pictures_have_too():
    v = samples()
    alone = View(v.x.image, v.index)
    expected = images.plain(16)(alone, Counter(0, 0))["v"].x
    for given in (v, alone):
        assert torch.equal(pairs.plain(16)(given, Counter(0, 0))["v"].x, expected)


@pytest.mark.parametrize("name", ["simclr", "dino", "mae", "obow"])
def test_policies_of_pictures_show_the_same_as_without_captions(name: str):
    v, policy = samples(), getattr(images, name)(32)
    mine, theirs = pairs.of_pictures(policy)(v, Counter(3, 1)), policy(View(v.x.image, v.index), Counter(3, 1))
    assert mine.keys() == theirs.keys() and pairs.of_pictures(policy).pixels == policy.pixels
    for role, seen in theirs.items():
        for a, b in zip(*[x if isinstance(x, list) else [x] for x in (seen, mine[role])], strict=True):
            assert torch.equal(a.x, b.x)


def test_weak_strong_and_local_are_views_of_pictures():
    for spec in (pairs.weak(32), pairs.strong(32), pairs.local(32)):
        (seen,) = spec.apply(samples(), Counter(0, 0), ["v"])
        assert seen.x.shape[:2] == (4, 3) and spec.pixels >= 8


def test_pictures_without_captions_cannot_be_shown_with_them():
    with pytest.raises(InputError, match="without captions"):
        pairs.clip(16)(View(samples().x.image, torch.arange(4)), Counter(0, 0))
