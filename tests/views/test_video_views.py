"""Views of video: consistent in time, exactly as for a picture in each frame; clips begin where CVRL says."""

import dataclasses

import pytest
import torch

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.views import cvrl, images, video
from manyviews.views.changes import Crop, Flip, Jitter
from manyviews.views.finding import find_policy
from manyviews.views.picture import Spec


def samples(count: int = 4, time: int = 16, side: int = 40) -> View:
    x = torch.randint(0, 255, (count, time, side, side + 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return View(x, torch.arange(count) + 5)


def test_a_clip_is_half_of_the_frames_and_plain_takes_the_middle():
    seen = video.plain(40)(samples(), Counter(0, 0))["v"]
    assert seen.x.shape == (4, 3, 8, 40, 40) and seen.g.parameters["first"].tolist() == [4] * 4
    assert torch.allclose(seen.x[:, :, 0], samples().x[:, 4, :, 4:44].permute(0, 3, 1, 2) / 255, atol=1e-6)


def test_every_frame_is_seen_as_a_picture_with_the_same_draw_would_be():
    v = samples()
    clip = video.Clip(24, (Crop((0.3, 1.0)), Flip()), start="middle")
    seen = clip.apply(v, Counter(1, 2), ["v"])[0]
    for t in range(8):
        alone = Spec(24, clip.changes).apply(View(v.x[:, 4 + t], v.index), Counter(1, 2), ["v"])[0]
        assert torch.allclose(seen.x[:, :, t], alone.x, atol=1e-5)


def test_colours_change_alike_in_all_frames_and_not_where_they_are_told_to():
    still = View(samples().x[:, :1].expand(-1, 16, -1, -1, -1), samples().index)
    clip = video.Clip(24, (Crop((0.3, 0.8)), Flip(), Jitter(0.4, 0.4, 0.4, 0.1)))
    seen = clip.apply(still, Counter(0, 0), ["v"])[0].x
    assert torch.allclose(seen, seen[:, :, :1].expand_as(seen), atol=1e-5)
    loose = dataclasses.replace(clip, consistent=False).apply(still, Counter(0, 0), ["v"])[0].x
    assert float((loose - loose[:, :, :1]).abs().max()) > 0.1


def test_videos_of_several_sizes_are_a_batch_and_a_view_is_the_same_in_another_batch():
    v = samples()
    ragged = View([v.x[0], v.x[1, :, :30], v.x[2, :, :, :25]], v.index[:3])
    policy = find_policy("cvrl", 16, "video")
    made = policy(ragged, Counter(0, 3))
    assert made["v"].x.shape == (3, 3, 8, 16, 16)
    assert torch.allclose(policy(View([v.x[0]], v.index[:1]), Counter(0, 3))["w"].x, made["w"].x[:1], atol=1e-5)


@pytest.mark.parametrize(("slope", "mean"), [("decreasing", 1 / 3), ("uniform", 1 / 2), ("increasing", 2 / 3)])
def test_intervals_have_the_density_that_is_asked_for(slope: str, mean: float):
    u = (torch.arange(10000) + 0.5) / 10000
    s = cvrl.share(u, slope)
    assert abs(float(s.mean()) - mean) < 1e-3 and float(s.min()) >= 0 and float(s.max()) < 1
    density = torch.histc(s, 4, 0, 1) / 10000
    wanted = {"decreasing": [7, 5, 3, 1], "uniform": [4, 4, 4, 4], "increasing": [1, 3, 5, 7]}[slope]
    assert torch.allclose(density, torch.tensor(wanted) / 16, atol=2e-3)


def test_pairs_lie_inside_the_video_in_either_order():
    v = View(torch.zeros(400, 16, 8, 8, 3, dtype=torch.uint8), torch.arange(400))
    made = cvrl.cvrl(8)(v, Counter(0, 0))
    a, b = made["v"].g.parameters["first"], made["w"].g.parameters["first"]
    assert int(torch.stack([a, b]).min()) == 0 and int(torch.stack([a, b]).max()) == 8
    assert int((a < b).sum()) > 100 and int((a > b).sum()) > 100
    assert float((a - b).abs().float().mean()) < 3  # of at most 8: near ones are likelier


def test_policies_of_pictures_have_analogues():
    made = find_policy("dino", 16, "video")(samples(2), Counter(0, 0))
    assert [tuple(x.x.shape) for x in made["global_crops"]] == [(2, 3, 8, 16, 16)] * 2 and made["local_crops"][0].x.shape == (2, 3, 8, 8, 8)
    assert images.dino(16).roles.keys() == made.keys()
