import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from gloo_pair import Pair
from small_encoder import SmallEncoder
from tiny_vit import sum_of, tiny_vit, untouched
from torch import Tensor, nn

from manyviews.backbones.timm_model import cells
from manyviews.contracts import Encoder, Tokens, View
from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.methods.distill.obow import OBoW, interior
from manyviews.nn.distributed import synchronise_batch_norm, world
from manyviews.views import images

WORDS = 9


class Maps(Encoder):
    """Two feature maps: of 14 x 14 pictures 7 x 7 cells of width 5 and 5 x 5 of width 6."""

    def __init__(self) -> None:
        super().__init__()
        self.dim, self.widths = 6, [5, 6]
        self.fine = nn.Sequential(nn.Conv2d(3, 5, 2, 2), nn.BatchNorm2d(5), nn.ReLU())
        self.coarse = nn.Conv2d(5, 6, 3)

    def forward(self, view: View) -> Tensor:
        return self.coarse(self.fine(view.x)).mean((2, 3))

    def pyramid(self, view: View) -> list[Tokens]:
        fine = self.fine(view.x)
        return [as_tokens(fine), as_tokens(self.coarse(fine))]


def as_tokens(m: Tensor) -> Tokens:
    where, extent = (a.expand(len(m), -1, -1) for a in cells(m.shape[2], m.shape[3], m.device))
    return Tokens(m.flatten(2).mT, where, extent=extent)


def make(encoder: Encoder | None = None, **settings: Any) -> OBoW:
    method = OBoW(encoder or Maps(), **{"queue": WORDS, **settings})
    method.counter = Counter(0, 0)
    for p in method.teacher.parameters():
        p.add_(0.1 * torch.randn_like(p))
    for vocabulary in method.vocabularies:
        vocabulary.rows.mul_(0.5 + torch.rand(len(vocabulary), 1))
    return method


def views(batch: int = 6, seed: int = 0, rows: slice = slice(None), sizes: tuple[int, ...] = (10, 10, 6, 6, 6), side: int = 14) -> dict[str, Any]:
    """A clean picture and crops of it, alike within a sample."""
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(batch, 3, 1, 1, generator=g) + 0.5 * torch.rand(batch, 3, side, side, generator=g)
    index = (torch.arange(batch) + 100 * seed)[rows]
    crops = [(x[..., :s, :s] + 0.2 * torch.rand(batch, 3, s, s, generator=g))[rows] for s in sizes]
    return {"clean": View(x[rows], index), "crops": [View(c, index) for c in crops]}


def maps(method: OBoW, clean: View) -> list[Tensor]:
    """The teacher's feature maps, (batch, width, rows, columns)."""
    out = []
    for tokens in method.teacher.pyramid(clean):
        side = math.isqrt(tokens.x.shape[1])
        out.append(tokens.x.mT.unflatten(2, (side, side)))
    return out


def slow_bags(method: OBoW, clean: View) -> list[list[list[float]]]:
    """The paper's targets, written out for each level and sample."""
    bags = []
    for level, m in enumerate(maps(method, clean)):
        words, side = method.vocabularies[level].rows, m.shape[2]
        inside = [(r, c) for r in range(1, side - 1) for c in range(1, side - 1)]
        apart = {(n, r, c): [float((m[n, :, r, c] - v).square().sum()) for v in words] for n in range(len(m)) for r, c in inside}
        smallest = sum(min(d) for d in apart.values()) / len(apart)
        delta = (0.99 * float(method.distance[level]) + 0.01 * smallest) / 15
        bags.append([])
        for n in range(len(m)):
            best = [0.0] * WORDS
            for r, c in inside:
                e = [math.exp(-d / delta) for d in apart[n, r, c]]
                best = [max(b, a / sum(e)) for b, a in zip(best, e, strict=True)]
            bags[-1].append([b / sum(best) for b in best])
    return bags


def test_the_loss_is_the_papers_cross_entropy_with_bags_of_words() -> None:
    method, given = make(), views()
    method.distance.copy_(torch.tensor([0.3, 2.0]))
    targets = slow_bags(method, given["clean"])
    joined = [torch.cat([crop.x for crop in given["crops"][a:b]]) for a, b in ((0, 2), (2, 5))]  # batch normalisation is over crops of one size
    slow = 0.0
    for level in range(2):
        first, norm, _, last = method.generators[level]
        unit = method.vocabularies[level].rows / method.vocabularies[level].rows.norm(dim=1, keepdim=True)
        w = last(torch.relu(norm(first(unit))))
        w = w / w.norm(dim=1, keepdim=True)
        for x in joined:
            z = method.encoder(View(x, torch.zeros(len(x), dtype=torch.long)))
            for row, s in enumerate(z):
                e = [math.exp(8 * float(s @ v)) for v in w]
                slow -= sum(t * math.log(a / sum(e)) for t, a in zip(targets[level][row % 6], e, strict=True)) / len(z) / 2
    assert math.isclose(float(sum_of(method, given)), slow, rel_tol=1e-4)


def test_the_bags_are_shares_of_the_words_found_and_carry_no_gradient() -> None:
    method, given = make(), views()
    for found, expected in zip(method.bags(given["clean"]), slow_bags(method, given["clean"]), strict=True):
        torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(found.sum(1), torch.ones(6))
        assert not found.requires_grad


def test_only_the_teacher_gets_no_gradient_and_the_student_is_what_is_exported() -> None:
    method = make()
    assert untouched(method, views()) == {"teacher"}
    assert method.exported is method.encoder


def test_a_sharp_assignment_counts_each_nearest_word_once_and_a_blunt_one_all_alike() -> None:
    sharp, given = make(sharpness=1e6), views()
    found = sharp.bags(given["clean"])
    for level, m in enumerate(maps(sharp, given["clean"])):
        nearest = torch.cdist(m[:, :, 1:-1, 1:-1].flatten(2).mT, sharp.vocabularies[level].rows).argmin(2)
        for n in range(6):
            present = nearest[n].unique()
            torch.testing.assert_close(found[level][n], torch.zeros(WORDS).index_fill(0, present, 1 / len(present)))
    blunt = make(sharpness=1e-9)
    assert all(torch.allclose(bag, torch.full((6, WORDS), 1 / WORDS)) for bag in blunt.bags(given["clean"]))


def test_the_assignment_adapts_to_the_scale_of_the_features() -> None:
    method, given = make(), views()
    before = method.bags(given["clean"])
    seen = method.teacher.pyramid(given["clean"])
    method.teacher.pyramid = lambda view: [Tokens(10 * t.x, t.where, extent=t.extent) for t in seen]  # type: ignore[method-assign]
    method.distance.mul_(100)
    for queue in method.vocabularies:
        queue.rows.mul_(10)
    for a, b in zip(before, method.bags(given["clean"]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_the_order_of_the_words_does_not_matter() -> None:
    method, given = make(), views()
    value = sum_of(method, given)
    for queue in method.vocabularies:
        queue.rows.copy_(queue.rows[torch.randperm(WORDS)])
    torch.testing.assert_close(sum_of(method, given), value)


def test_crops_of_one_size_are_averaged_and_sizes_are_summed() -> None:
    method, given = make().eval(), views()
    one = [float(sum_of(method, {"clean": given["clean"], "crops": [crop]})) for crop in given["crops"]]
    assert float(sum_of(method, given)) == pytest.approx(sum(one[:2]) / 2 + sum(one[2:]) / 3, rel=1e-5)


def test_a_student_that_prefers_no_word_pays_the_logarithm_of_their_number_for_each_size() -> None:
    assert float(sum_of(make(kappa=1e-9), views())) == pytest.approx(2 * math.log(WORDS), rel=1e-5)
    assert float(sum_of(make(kappa=1e-9), views(sizes=(10, 10)))) == pytest.approx(math.log(WORDS), rel=1e-5)


def test_the_smallest_distance_is_followed_once_a_step() -> None:
    method, given = make(distance_decay=0.8), views()
    smallest = [
        torch.cdist(m[:, :, 1:-1, 1:-1].flatten(2).mT, queue.rows).amin(2).square().mean()
        for m, queue in zip(maps(method, given["clean"]), method.vocabularies, strict=True)
    ]
    method.loss(**given)
    assert method.distance.tolist() == [0.5, 0.5]  # the loss alone changes nothing
    method.after_step()
    torch.testing.assert_close(method.distance, 0.8 * torch.full((2,), 0.5) + 0.2 * torch.stack(smallest), rtol=1e-4, atol=1e-5)
    method.after_step()
    torch.testing.assert_close(method.distance, 0.4 + 0.2 * torch.stack(smallest), rtol=1e-4, atol=1e-5)


def test_a_step_renews_the_oldest_words_with_local_means_of_the_teachers_features() -> None:
    method, given = make(), views(6, seed=1)
    old = [queue.rows.clone() for queue in method.vocabularies]
    means = [F.avg_pool2d(m[:, :, 1:-1, 1:-1], 3, 1).flatten(2).mT for m in maps(method, given["clean"])]
    method.loss(**given)
    assert all(torch.equal(queue.rows, rows) for queue, rows in zip(method.vocabularies, old, strict=True))
    method.after_step()
    for queue, rows, candidates in zip(method.vocabularies, old, means, strict=True):
        assert queue.owner.tolist() == [*range(100, 106), -1, -1, -1] and torch.equal(queue.rows[6:], rows[6:])
        apart = (candidates - queue.rows[:6, None]).abs().amax(2)
        assert (apart.amin(1) < 1e-5).all()
    method.loss(**views(6, seed=2))
    method.after_step()
    assert method.vocabularies[0].owner.tolist() == [203, 204, 205, 103, 104, 105, 200, 201, 202]


def test_every_place_that_has_all_neighbours_becomes_a_word_sooner_or_later_and_which_depends_on_the_sample_alone() -> None:
    method, x = make(), torch.randn(1, 5, 7, 7)
    kept, near = interior(as_tokens(x.expand(400, -1, -1, -1)))
    words = method.new_words("word0", kept, near, torch.arange(400))
    candidates = F.avg_pool2d(x[:, :, 1:-1, 1:-1], 3, 1).flatten(2)[0].T
    drawn = torch.cdist(words, candidates).argmin(1).bincount(minlength=9)
    assert len(drawn) == 9 and drawn.min() > 20
    torch.testing.assert_close(method.new_words("word0", kept[:100], near, torch.arange(300, 400)), words[300:])


@pytest.mark.parametrize(("side", "kept", "neighbours"), [(1, 1, 1), (2, 4, 4), (3, 1, 1), (4, 4, 4), (5, 9, 9), (7, 25, 9)])
def test_the_outermost_cells_are_left_out_wherever_there_are_others(side: int, kept: int, neighbours: int) -> None:
    m = torch.arange(float(side * side)).view(1, 1, side, side).expand(2, -1, -1, -1)
    x, near = interior(as_tokens(m))
    assert x.shape[1] == kept and int(near.sum(1).max()) == neighbours
    if side > 2:
        assert torch.equal(x, m[:, :, 1:-1, 1:-1].flatten(2).mT)


def test_the_teacher_follows_with_a_cosine_from_0_99_to_1() -> None:
    method = make()
    for progress, decay in ((0.0, 0.99), (0.5, 0.995), (1.0, 1.0)):
        before = [p.clone() for p in method.teacher.parameters()]
        for p in method.encoder.parameters():
            p.data.add_(torch.randn_like(p))
        method.progress = progress
        method.after_step()
        for old, new, online in zip(before, method.teacher.parameters(), method.encoder.parameters(), strict=True):
            torch.testing.assert_close(new, decay * old + (1 - decay) * online.detach())


@pytest.mark.parametrize("progress", [0.0, 0.5, 0.97])
def test_without_a_slow_teacher_it_is_the_student_to_the_end(progress: float) -> None:
    method = make(decay=0.0, final_decay=0.0)
    for p in method.encoder.parameters():
        p.data.add_(1.0)
    method.progress = progress
    method.after_step()
    assert all(torch.equal(a, b) for a, b in zip(method.teacher.parameters(), method.encoder.parameters(), strict=True))


def test_all_micro_batches_of_an_accumulated_step_reach_the_vocabulary() -> None:
    method = make()
    for seed in (1, 2):
        method.loss(**views(3, seed=seed))
    method.after_step()
    assert method.vocabularies[1].owner.tolist() == [100, 101, 102, 200, 201, 202, -1, -1, -1]


def test_the_papers_sizes_are_the_defaults() -> None:
    method = OBoW(Maps())
    assert [queue.rows.shape for queue in method.vocabularies] == [(8192, 5), (8192, 6)]
    assert [[layer.out_features for layer in g if isinstance(layer, nn.Linear)] for g in method.generators] == [[12, 6], [12, 6]]
    torch.testing.assert_close(method.classifier(0).norm(dim=1), torch.ones(8192))


def test_one_level_is_the_coarsest_and_a_transformers_are_its_patches_at_several_depths() -> None:
    assert make(levels=1).vocabularies[0].rows.shape == (WORDS, 6)
    method, given = make(tiny_vit()), views(side=8, sizes=(8, 4))
    assert [queue.rows.shape for queue in method.vocabularies] == [(WORDS, 16)] * 2
    assert untouched(method, given) == {"teacher"}


def test_some_steps_reduce_the_loss() -> None:
    method, given = make(decay=1.0), views()
    optimizer = torch.optim.AdamW([p for p in method.parameters() if p.requires_grad], 1e-2)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        value = sum_of(method, given)
        value.backward()
        optimizer.step()
        losses.append(float(value))
    assert losses[-1] < losses[0] - 0.2


def test_what_cannot_work_is_refused_all_at_once() -> None:
    with pytest.raises(InputError) as error:
        make(levels=3, sharpness=0.0, kappa=0.0)
    assert len(error.value.problems) == 3
    with pytest.raises(InputError, match="feature maps"):
        make(SmallEncoder())
    with pytest.raises(InputError, match="queue of 0"):
        make(queue=0)


def test_the_views_are_the_papers_sizes_in_proportion() -> None:
    for size, wide, narrow in ((224, 160, 96), (32, 24, 12), (64, 44, 28)):
        roles = images.obow(size).roles
        assert roles["clean"].size == size and [s.size for s in roles["crops"]] == [wide] * 2 + [narrow] * 5
    samples = View(torch.randint(0, 256, (4, 40, 50, 3), dtype=torch.uint8), torch.arange(4))
    made = images.obow(32)(samples, Counter(0, 0))
    assert made["clean"].g.colour is None and not made["clean"].g.lost  # nothing but a flip is done to the clean picture
    area = [made["crops"][k].g.parameters["crop_width"] * made["crops"][k].g.parameters["crop_height"] / 2000 for k in range(7)]
    assert all(((a >= 0.08) & (a <= 0.6001)).all() for a in area[:2]) and all(((a >= 0.084) & (a <= 0.141)).all() for a in area[2:])


def train(rank: int, size: int) -> dict[str, np.ndarray]:
    """Three steps of gradient descent on this rank's rows: the last gradients, and the state but for what batch normalisation adds to variances."""
    torch.manual_seed(1)
    method = make().train()
    if world() > 1:
        synchronise_batch_norm(method)
    for step in range(3):
        method.progress, method.counter = step / 3, Counter(0, step)
        method.zero_grad()
        sum_of(method, views(8, step, slice(rank * size, (rank + 1) * size))).backward()
        trained = {key: p for key, p in method.named_parameters() if p.requires_grad}
        for p in trained.values():
            if world() > 1:
                dist.all_reduce(p.grad)
                p.grad /= world()
            p.data.sub_(0.1 * p.grad)
        method.after_step()
    state = {key: value.numpy() for key, value in method.state_dict().items() if not (key.startswith("generators") and "running_var" in key)}
    return {**{f"gradient of {key}": p.grad.numpy() for key, p in trained.items()}, **state}


def work(fabric: Any) -> dict[str, np.ndarray]:
    return train(fabric.global_rank, 4)


def test_two_processes_learn_what_one_does(pair: Pair) -> None:
    whole, ranks = train(0, 8), pair(work)
    for results in ranks:
        for key, expected in whole.items():
            np.testing.assert_allclose(results[key], expected, atol=2e-5, rtol=1e-3, err_msg=key)
