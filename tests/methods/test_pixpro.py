import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from gloo_pair import Pair
from small_encoder import SmallEncoder, total, without_gradient
from tiny_vit import tiny_vit
from torch import Tensor, nn

from manyviews.backbones.timm_model import cell, cells
from manyviews.contracts import Encoder, Tokens, View
from manyviews.errors import InputError
from manyviews.groups import Affine, Picture, matrices
from manyviews.methods.contrast.pixpro import PixPro, in_the_picture
from manyviews.nn.distributed import synchronise_batch_norm, world

SIDE = 8


class Maps(Encoder):
    """Two feature maps of 8 x 8 pictures: 4 x 4 cells of width 5, then 2 x 2 cells of width 6."""

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.widths = 6, [5, 6]
        self.fine = nn.Sequential(nn.Conv2d(3, 5, 2, 2), nn.BatchNorm2d(5), nn.ReLU())
        self.coarse = nn.Conv2d(5, 6, 2, 2)

    def forward(self, view: View) -> Tensor:
        return self.pyramid(view)[-1].x.mean(1)

    def pyramid(self, view: View) -> list[Tokens]:
        fine = self.fine(view.x)
        levels = []
        for m, parent in ((fine, SIDE // 4), (self.coarse(fine), None)):
            where, extent = (a.expand(len(m), -1, -1) for a in cells(m.shape[2], m.shape[3], m.device))
            levels.append(Tokens(m.flatten(2).mT, where, parent=None if parent is None else cell(where, parent, parent), extent=extent))
        return levels


def make(encoder: Encoder | None = None, **settings: Any) -> PixPro:
    return PixPro(encoder or Maps(), **{"hidden": 10, "out": 7, "level": -2, **settings})


def crop(x: Tensor, box: Tensor, flip: Tensor, index: Tensor | None = None) -> View:
    """A view of SIDE pixels of the `box` (left, top, width, height) of each picture, mirrored where `flip`."""
    left, top, width, height = box.T
    sign = 1 - 2 * flip.float()
    scale = SIDE / width * sign
    shift = torch.where(flip, SIDE + left * SIDE / width, -left * SIDE / width)
    g = Affine(matrices([[scale, 0, shift], [0, SIDE / height, -top * SIDE / height], [0, 0, 1]], like=left))
    return View(x, torch.arange(len(x)) if index is None else index, Picture(g))


def two_crops(batch: int = 6, seed: int = 0, rows: slice = slice(None)) -> tuple[View, View]:
    """Overlapping crops of pictures of 40 x 30, some of them mirrored. The last sample's crops do not meet."""
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(batch, 3, SIDE, SIDE, generator=g)
    views = []
    for k in range(2):
        u = torch.rand(batch, 5, generator=g)
        box = torch.stack([10 * u[:, 0], 8 * u[:, 1], 12 + 16 * u[:, 2], 10 + 11 * u[:, 3]], 1)
        box[-1] = torch.tensor([25.0 * k, 0.0, 10.0, 10.0])
        noise = 0.2 * torch.rand(batch, 3, SIDE, SIDE, generator=g)
        views.append(crop((x + noise)[rows], box[rows], (u[:, 4] < 0.5)[rows], (torch.arange(batch) + 50 * seed)[rows]))
    return views[0], views[1]


def cell_in_the_picture(view: View, n: int, row: int, column: int, sides: int = 4) -> tuple[float, float, float]:
    """The centre of a cell of sample n's view and the length of its diagonal, found from the corners of the crop."""
    (a, _, x0), (_, d, y0), _ = view.g.geometry.matrix[n].tolist()  # x' = a x + x0
    left, right, top, bottom = -x0 / a, (SIDE - x0) / a, -y0 / d, (SIDE - y0) / d  # right of left where it is mirrored
    width, height = (right - left) / sides, (bottom - top) / sides
    return left + (column + 0.5) * width, top + (row + 0.5) * height, math.hypot(width, height)


def pairs(v: View, w: View, n: int, distance: float = 0.7) -> list[tuple[int, int]]:
    found = []
    for i in range(16):
        xi, yi, di = cell_in_the_picture(v, n, *divmod(i, 4))
        for j in range(16):
            xj, yj, dj = cell_in_the_picture(w, n, *divmod(j, 4))
            if math.hypot(xi - xj, yi - yj) / max(di, dj) < distance:
                found.append((i, j))
    return found


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b / (a.norm() * b.norm()))


def embedded(method: PixPro, encoder: Encoder, projector: nn.Module, view: View) -> Tensor:
    x = method.pixels(encoder, view).x
    return projector(x.reshape(-1, x.shape[2])).reshape(len(x), 16, -1).detach()


def both_ways(method: PixPro, v: View, w: View) -> list[tuple[View, View, Tensor, Tensor]]:
    """(view, other view, online embeddings, the target's of the other) for either order."""
    return [
        (a, b, embedded(method, method.encoder, method.projector, a), embedded(method, method.target, method.target_projector, b)) for a, b in ((v, w), (w, v))
    ]


def moved(method: PixPro) -> PixPro:
    """With a target that is not where the online network is."""
    for p in [*method.target.parameters(), *method.target_projector.parameters()]:
        p.add_(0.2 * torch.randn_like(p))
    return method


@pytest.mark.parametrize(("sharpness", "layers"), [(2.0, 1), (1.0, 0), (3.0, 2)])
def test_the_loss_is_the_papers_loop_over_positive_pairs(sharpness: float, layers: int) -> None:
    method, (v, w) = moved(make(sharpness=sharpness, layers=layers)), two_crops()
    slow, count = 0.0, 0
    for a, b, x, k in both_ways(method, v, w):
        g = method.transform(x.flatten(0, 1)).view(x.shape).detach()
        for n in range(6):
            matched = pairs(a, b, n)
            count += len(matched)
            for i, j in matched:
                y = sum(max(cosine(x[n, i], x[n, m]), 0) ** sharpness * g[n, m] / g[n, m].norm() for m in range(16))
                slow -= cosine(y, k[n, j]) / len(matched) / 6
    assert count > 50 and not pairs(v, w, 5)
    assert math.isclose(float(total(method, v, w)), slow, rel_tol=1e-4, abs_tol=1e-5)


def test_without_the_propagation_module_pixels_are_compared_as_they_are() -> None:
    method, (v, w) = moved(make(task="consistency")), two_crops()
    slow = 0.0
    for a, b, x, k in both_ways(method, v, w):
        for n in range(5):
            matched = pairs(a, b, n)
            slow -= sum(cosine(x[n, i], k[n, j]) for i, j in matched) / len(matched) / 6
    assert math.isclose(float(total(method, v, w)), slow, rel_tol=1e-4)


def test_pixcontrast_is_infonce_over_the_other_views_pixels() -> None:
    method, (v, w) = moved(make(task="contrast")), two_crops()
    slow = 0.0
    for a, b, x, k in both_ways(method, v, w):
        for n in range(5):
            matched = pairs(a, b, n)
            rows = {i for i, _ in matched}
            for i in rows:
                e = [math.exp(cosine(x[n, i], k[n, j]) / 0.3) for j in range(16)]
                slow -= math.log(sum(e[j] for m, j in matched if m == i) / sum(e)) / len(rows) / 6
    assert math.isclose(float(total(method, v, w)), slow, rel_tol=1e-4)


def positives(method: PixPro, v: View, w: View) -> Tensor:
    return method.positives((v, method.pixels(method.encoder, v)), (w, method.pixels(method.encoder, w)))


def test_positives_are_the_same_place_and_nothing_else_where_both_views_are_the_same_crop() -> None:
    v, _ = two_crops()
    square = crop(v.x, torch.tensor([[3.0, 2.0, 20.0, 20.0]]).expand(6, -1), torch.zeros(6, dtype=torch.bool))
    assert torch.equal(positives(make(), square, square), torch.eye(16, dtype=torch.bool).expand(6, -1, -1))  # neighbours are 0.707 diagonals away
    near = positives(make(distance=0.71), square, square)
    assert near.sum(2)[0].view(4, 4).tolist() == [[3, 4, 4, 3], [4, 5, 5, 4], [4, 5, 5, 4], [3, 4, 4, 3]]
    assert positives(make(distance=100.0), square, square).all()


def test_a_mirrored_view_has_its_places_mirrored() -> None:
    box, x = torch.tensor([[3.0, 2.0, 20.0, 20.0]]), torch.rand(1, 3, SIDE, SIDE)
    here, there = crop(x, box, torch.tensor([False])), crop(x, box, torch.tensor([True]))
    expected = torch.zeros(16, 16, dtype=torch.bool)
    for i in range(16):
        expected[i, i // 4 * 4 + 3 - i % 4] = True
    assert torch.equal(positives(make(), here, there)[0], expected)


def test_the_frame_that_the_picture_is_measured_in_does_not_matter() -> None:
    v, w = two_crops()
    c, s = 3 * math.cos(0.8), 3 * math.sin(0.8)
    turn = Affine(torch.tensor([[c, -s, 5.0], [s, c, -7.0], [0, 0, 1]]).expand(6, 3, 3))
    turned = [dataclasses.replace(a, g=a.g.geometry @ turn.inverse()) for a in (v, w)]
    assert 50 < int(positives(make(), v, w).sum()) == int((positives(make(), v, w) & positives(make(), turned[0], turned[1])).sum())
    assert torch.equal(positives(make(), v, w), positives(make(), turned[0], turned[1]))


def test_a_view_without_g_is_the_sample_itself() -> None:
    v, w = two_crops()
    whole = crop(v.x, torch.tensor([[0.0, 0.0, SIDE, SIDE]]).expand(6, -1), torch.zeros(6, dtype=torch.bool))
    assert torch.equal(positives(make(), whole, w), positives(make(), dataclasses.replace(whole, g=None), w))


def test_places_far_out_in_a_large_picture_are_told_apart_also_in_bfloat16() -> None:
    method = make(tiny_vit(), level=-1)
    box = torch.tensor([[9000.0, 7000.0, 23.7, 23.7]])
    far = crop(torch.rand(1, 3, 2 * SIDE, 2 * SIDE), box, torch.tensor([False]))
    far = dataclasses.replace(far, g=Affine(torch.diag(torch.tensor([2.0, 2.0, 1.0]))[None]) @ far.g.geometry)  # the view has twice as many pixels
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(positives(method, far, far)[0], torch.eye(64, dtype=torch.bool))


def test_views_need_not_be_square_nor_upright() -> None:
    v, _ = two_crops()
    wide = torch.rand(6, 3, SIDE, 2 * SIDE)  # 4 rows of 8 cells that are 2 x 2 pixels; squeezed to half its width on the way
    turn = Affine(torch.tensor([[0.6, -0.8, 2.0], [0.8, 0.6, 3.0], [0, 0, 1]]).expand(6, 3, 3))
    stretch = Affine(torch.diag(torch.tensor([2.0, 1.0, 1.0])).expand(6, 3, 3))
    here = View(v.x, v.index, turn)
    there = View(wide, v.index, stretch @ turn)
    found = positives(make(), here, there)[0]
    for i in range(16):
        for j in range(32):
            across, down = (i % 4 + 0.5) * 2 - (j % 8 + 0.5), (i // 4 - j // 8) * 2  # in pixels of the picture, turned
            assert bool(found[i, j]) == (math.hypot(across, down) < 0.7 * math.hypot(2, 2))
    coarse = Maps()
    coarse.fine = nn.Sequential(nn.Conv2d(3, 5, (4, 2), (4, 2)))  # cells twice as high as wide
    a = in_the_picture(here, coarse.pyramid(here)[0])[1]
    torch.testing.assert_close(a, torch.full_like(a, math.hypot(2, 4)))
    skewed = Affine(torch.diag(torch.tensor([3.0, 1.0, 1.0])).expand(6, 3, 3)) @ turn
    b = in_the_picture(View(v.x, v.index, skewed), coarse.pyramid(here)[0])[1]
    torch.testing.assert_close(b, torch.full_like(b, math.hypot(2 / 3, 4)))


@pytest.mark.parametrize("task", ["propagation", "consistency", "contrast"])
def test_crops_that_do_not_meet_teach_nothing_and_break_nothing(task: str) -> None:
    method, (v, w) = make(task=task), two_crops()
    box, still = torch.tensor([[0.0, 0.0, 10.0, 10.0]]).expand(6, -1), torch.zeros(6, dtype=torch.bool)
    value = total(method, crop(v.x, box, still), crop(w.x, box + torch.tensor([25.0, 0, 0, 0]), still))
    value.backward()
    gradients = [p.grad for p in method.parameters() if p.grad is not None]
    assert float(value) == 0 and gradients and all(not g.any() for g in gradients)


def test_sharpness_runs_from_the_mean_of_all_pixels_to_each_pixel_alone() -> None:
    x = torch.randn(3, 16, 7)
    x[0, 1] = x[0, 0]
    method = make(sharpness=0.0)
    g = nn.functional.normalize(method.transform(x.flatten(0, 1)).view(x.shape), dim=2)
    torch.testing.assert_close(method.propagate(x), g.sum(1, keepdim=True).expand_as(g))
    method.sharpness = 1e4
    alone = method.propagate(x)
    torch.testing.assert_close(alone[1:], g[1:], atol=5e-3, rtol=0)
    torch.testing.assert_close(alone[0, :2], 2 * g[0, :2], atol=1e-2, rtol=0)  # two that are alike share


@pytest.mark.parametrize("sharpness", [0.0, 0.5, 1.0, 2.0])
def test_the_gradient_is_finite_at_any_sharpness(sharpness: float) -> None:
    method, views = make(sharpness=sharpness), two_crops()
    total(method, *views).backward()
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.requires_grad)
    unlike = torch.eye(7)[None].requires_grad_()  # similarities of exactly zero
    method.propagate(unlike)[..., 0].sum().backward()
    assert unlike.grad is not None and unlike.grad.isfinite().all()


def test_a_perfect_agreement_is_minus_two_and_pixcontrast_with_everything_positive_is_zero() -> None:
    v, _ = two_crops()
    square = crop(v.x, torch.tensor([[3.0, 2.0, 20.0, 20.0]]).expand(6, -1), torch.zeros(6, dtype=torch.bool))
    assert float(total(make(task="consistency"), square, square)) == pytest.approx(-2, abs=1e-5)
    assert float(total(make(task="contrast", distance=100.0), square, square)) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("settings", [{}, {"level": -1}, {"task": "contrast"}, {"instance": 1.0}, {"layers": 2}])
def test_everything_but_the_targets_gets_a_gradient(settings: dict[str, Any]) -> None:
    method = make(**settings)
    left = without_gradient(method, *two_crops())
    assert {name.split(".")[0] for name in left if "target" not in name} == set()
    assert {name.split(".")[0] for name in left} >= {"target", "target_projector"}
    assert method.exported is method.encoder


def test_cells_of_a_finer_level_have_the_features_of_the_coarser_cell_they_lie_in() -> None:
    method, (v, _) = make(), two_crops()
    fine, coarse = method.encoder.pyramid(v)
    x = method.pixels(method.encoder, v).x
    for row in range(4):
        for column in range(4):
            at = row * 4 + column
            torch.testing.assert_close(x[:, at], torch.cat([fine.x[:, at], coarse.x[:, row // 2 * 2 + column // 2]], 1))
    assert method.projector[0].in_features == 11 and make(level=-1).projector[0].in_features == 6


def test_a_transformers_pixels_are_its_patches() -> None:
    encoder = tiny_vit()
    method, (v, w) = make(encoder, level=-1), two_crops()
    torch.testing.assert_close(method.pixels(encoder, v).x, encoder.encode(encoder.tokenize(v)).parts)
    for n in range(6):
        assert positives(method, v, w)[n].nonzero().tolist() == [list(pair) for pair in pairs(v, w, n)]
    assert [name for name in without_gradient(method, v, w) if not name.startswith("target")] == []


def test_the_loss_on_whole_pictures_is_byols_on_the_means_over_pixels() -> None:
    method, (v, w) = moved(make(instance=0.3)), two_crops()
    slow = 0.0
    for a, b in ((v, w), (w, v)):
        x, other = method.pixels(method.encoder, a).x, method.pixels(method.target, b).x
        q = method.whole_predictor(method.whole_projector(x.flatten(0, 1))).view(6, 16, -1)
        z = method.target_whole(other.flatten(0, 1)).view(6, 16, -1)
        slow -= sum(cosine(q[n].mean(0), z[n].mean(0)) for n in range(6)) / 6
    assert math.isclose(float(method.loss(v, w)["instance"]), 0.3 * slow, rel_tol=1e-4)


def test_the_targets_follow_with_a_cosine_from_the_decay_to_one() -> None:
    method = make(instance=1.0, decay=0.9)
    for progress, decay in ((0.0, 0.9), (0.5, 0.95), (1.0, 1.0)):
        slow = [*method.target.parameters(), *method.target_projector.parameters(), *method.target_whole.parameters()]
        fast = [*method.encoder.parameters(), *method.projector.parameters(), *method.whole_projector.parameters()]
        for p in fast:
            p.data.add_(torch.randn_like(p))
        before = [p.clone() for p in slow]
        method.progress = progress
        method.after_step()
        for old, new, online in zip(before, slow, fast, strict=True):
            torch.testing.assert_close(new, decay * old + (1 - decay) * online.detach())


def test_the_papers_sizes_are_the_defaults() -> None:
    method = PixPro(Maps())
    assert [layer.out_features for layer in method.projector if isinstance(layer, nn.Linear)] == [4096, 256]
    assert len(method.transform) == 1 and method.transform[0].weight.shape == (256, 256)
    assert method.projector[0].in_features == 6


@pytest.mark.parametrize("task", ["propagation", "contrast"])
def test_some_steps_reduce_the_loss(task: str) -> None:
    method, views = make(task=task), two_crops()
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], 3e-3)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        value = total(method, *views)
        value.backward()
        optimizer.step()
        losses.append(float(value))
    assert losses[-1] < losses[0] - 0.3


def test_what_cannot_work_is_refused_all_at_once() -> None:
    with pytest.raises(InputError) as error:
        make(task="regress", distance=0.0, sharpness=-1.0, layers=-1, temperature=0.0, level=-3)
    assert len(error.value.problems) == 6
    with pytest.raises(InputError, match="no feature map"):
        make(SmallEncoder(), level=-1)
    with pytest.raises(InputError, match="level=0"):
        make(level=0)


def train(settings: dict[str, Any], rank: int, size: int) -> dict[str, np.ndarray]:
    """Two steps of gradient descent on this rank's rows: the last gradients, and the state."""
    torch.manual_seed(1)
    method = make(**settings).train()
    if world() > 1:
        synchronise_batch_norm(method)
    for step in range(2):
        method.zero_grad()
        total(method, *two_crops(8, seed=step, rows=slice(rank * size, (rank + 1) * size))).backward()
        trained = {key: p for key, p in method.named_parameters() if p.requires_grad}
        for p in trained.values():
            if world() > 1:
                dist.all_reduce(p.grad)
                p.grad /= world()
            p.data.sub_(0.1 * p.grad)
        method.progress = (step + 1) / 5
        method.after_step()
    return {**{f"gradient of {key}": p.grad.numpy() for key, p in trained.items()}, **{key: value.numpy() for key, value in method.state_dict().items()}}


def work(fabric: Any, settings: dict[str, Any]) -> dict[str, np.ndarray]:
    return train(settings, fabric.global_rank, 4)


@pytest.mark.parametrize("settings", [{"instance": 0.5}, {"task": "contrast"}])
def test_two_processes_learn_what_one_does(settings: dict[str, Any], pair: Pair) -> None:
    whole, ranks = train(settings, 0, 8), pair(work, settings)
    for results in ranks:
        for key, expected in whole.items():
            np.testing.assert_allclose(results[key], expected, atol=2e-5, rtol=1e-3, err_msg=key)
