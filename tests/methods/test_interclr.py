import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from gloo_pair import Pair
from small_encoder import SmallEncoder, part, total, two_views, without_gradient
from torch import Tensor

from manyviews.counters import Counter
from manyviews.errors import InputError
from manyviews.methods.contrast.interclr import InterCLR, Memory, halves
from manyviews.nn.distributed import synchronise_batch_norm, world


def make(samples: int = 60, **settings: Any) -> InterCLR:
    return InterCLR(SmallEncoder(), samples, **{"hidden": 10, "out": 5, "queue": 12, "clusters": 6, "least": 3, "pool": 0.4, "negatives": 6, **settings})


def memory(samples: int = 60, clusters: int = 6, least: int = 3, renewal: float = 1.0) -> Memory:
    return Memory(samples, clusters, 5, least, renewal)


def blobs(sizes: list[int], seed: int = 0) -> tuple[Tensor, Tensor]:
    """Unit vectors around as many directions as there are sizes, and which direction each is of."""
    g = torch.Generator().manual_seed(seed)
    centre = F.normalize(torch.randn(len(sizes), 5, generator=g), dim=1)
    of = torch.repeat_interleave(torch.tensor(sizes))
    return F.normalize(centre[of] + 0.05 * torch.randn(len(of), 5, generator=g), dim=1), of


def unit(z: Tensor) -> Tensor:
    return z / z.norm(dim=1, keepdim=True)


def infonce(q: Tensor, positive: Tensor, negatives: list[Tensor], margin: float = 0.0) -> float:
    e = math.exp(float(q @ positive - margin) / 0.2)
    return -math.log(e / (e + sum(math.exp(float(q @ n) / 0.2) for n in negatives)))


@pytest.mark.parametrize(("inter", "margin"), [(0.25, -0.5), (0.6, 0.3)])
def test_the_loss_is_infonce_within_and_between_samples(inter: float, margin: float) -> None:
    method, (v, w) = make(inter=inter, margin=margin), two_views()
    method.queue.owner[3] = v.index[0]  # an earlier key of the first sample
    terms = method.loss(v, w)
    positive, negative, other = method.pairs(unit(method.projector(method.encoder(v))) @ method.memory.rows.T, v.index)
    q, k, rows = unit(method.projector(method.encoder(v))), unit(method.target(w)), method.memory.rows
    within = sum(infonce(q[i], k[i], [row for n, row in enumerate(method.queue.rows) if (i, n) != (0, 3)]) for i in range(8)) / 8
    between = sum(infonce(q[i], rows[positive[i, 0]], [rows[j] for j in negative[i]], margin) for i in range(8)) / 8
    assert other.all()
    assert math.isclose(float(terms["intra"]), (1 - inter) * within, rel_tol=1e-4)
    assert math.isclose(float(terms["inter"]), inter * between, rel_tol=1e-4)


def test_a_lower_margin_makes_the_loss_between_samples_less_stringent() -> None:
    views = two_views()
    method = make()
    losses = []
    for method.margin in (-10.0, -0.5, 0.0, 0.5):
        losses.append(float(method.loss(*views)["inter"]))
    assert losses == sorted(losses) and losses[0] < 1e-6 < losses[1]


def drawn(method: InterCLR, steps: int = 200) -> tuple[Tensor, list[set[int]], list[set[int]]]:
    """Similarities of two queries to the memory, and which positives and negatives they meet in many steps."""
    index = torch.tensor([4, 11])
    similarity = unit(torch.randn(2, 5)) @ method.memory.rows.T
    positives: list[set[int]] = [set(), set()]
    negatives: list[set[int]] = [set(), set()]
    for step in range(steps):
        method.counter = Counter(0, step)
        positive, negative, _ = method.pairs(similarity, index)
        for i in range(2):
            assert len(set(negative[i].tolist())) == negative.shape[1]  # without replacement
            positives[i].add(int(positive[i, 0]))
            negatives[i].update(negative[i].tolist())
    return similarity, positives, negatives


@pytest.mark.parametrize(("draw", "count"), [("semihard", 24), ("hard", 6), ("random", 50)])
def test_positives_are_the_others_of_the_cluster_and_negatives_the_nearest_of_other_clusters(draw: str, count: int) -> None:
    method = make(draw=draw)
    label = method.memory.label
    similarity, positives, negatives = drawn(method)
    for i, sample in enumerate((4, 11)):
        assert positives[i] == set((label == label[sample]).nonzero()[:, 0].tolist()) - {sample}
        others = (label != label[sample]).nonzero()[:, 0]
        assert negatives[i] == set(others[similarity[i, others].argsort(descending=True)[:count]].tolist())


def test_every_positive_and_every_negative_of_the_pool_is_drawn_equally_often() -> None:
    method = make(negatives=1)
    index = torch.arange(60)
    picked, met = torch.zeros(60, 60), torch.zeros(60, 60)
    similarity = unit(torch.randn(60, 5)) @ method.memory.rows.T
    for step in range(600):
        method.counter = Counter(1, step)
        positive, negative, _ = method.pairs(similarity, index)
        picked.scatter_add_(1, positive, torch.ones(60, 1))
        met.scatter_add_(1, negative, torch.ones(60, 1))
    own = method.memory.label == method.memory.label[:, None]
    own.fill_diagonal_(False)
    assert picked[~own].eq(0).all() and (picked[own] / 600 - 1 / 9).abs().max() < 0.07
    pool = met > 0
    assert pool.sum(1).eq(24).all() and (met[pool] / 600 - 1 / 24).abs().max() < 0.05


def test_a_sample_alone_in_its_cluster_is_its_own_positive() -> None:
    bank = memory()
    bank.label.fill_(0)
    bank.label[7] = 1
    assert bank.another(torch.tensor([7, 7]), torch.tensor([0.0, 0.99])).tolist() == [7, 7]
    assert bank.another(torch.tensor([0, 59, 59]), torch.tensor([0.0, 0.0, 1 - 2.0**-24])).tolist() == [1, 0, 58]


def test_a_cluster_that_holds_everything_leaves_no_negatives_and_costs_nothing_between_samples() -> None:
    method = make()
    method.memory.label.fill_(2)
    terms = method.loss(*two_views())
    assert float(terms["inter"]) == 0 and float(terms["largest_cluster"]) == 1
    (terms["intra"] + terms["inter"]).backward()
    assert all(p.grad.isfinite().all() for p in method.parameters() if p.requires_grad)


def test_everything_but_the_key_encoder_gets_a_gradient_and_the_memory_none() -> None:
    method = make()
    assert without_gradient(method, *two_views()) == [f"target.{name}" for name, _ in method.target.named_parameters()]
    assert not method.memory.rows.requires_grad


def test_a_step_puts_the_keys_into_the_queue_and_into_their_samples_rows() -> None:
    method, (v, w) = make(), two_views(start=10)
    before = method.memory.rows.clone()
    method.loss(v, w)
    assert torch.equal(method.memory.rows, before)  # the loss alone changes nothing
    k = unit(method.target(w))
    method.after_step()
    torch.testing.assert_close(method.memory.rows[10:18], k)
    torch.testing.assert_close(method.queue.rows[:8], k)
    assert torch.equal(method.memory.rows[18:], before[18:]) and method.queue.owner.tolist()[:8] == [*range(10, 18)]


def test_renewal_is_the_share_of_the_new_key() -> None:
    bank = memory(renewal=0.25)
    old, k = bank.rows[3].clone(), unit(torch.randn(2, 5))
    bank.write(k, torch.tensor([3, 9]), assign=False)
    torch.testing.assert_close(bank.rows[3], unit((0.75 * old + 0.25 * k[0])[None])[0])


def test_of_a_sample_that_comes_twice_the_last_key_stays() -> None:
    bank = memory()
    k = unit(torch.randn(4, 5))
    bank.write(k, torch.tensor([9, 3, 9, 3]), assign=False)
    torch.testing.assert_close(bank.rows[[9, 3]], k[2:])


def test_online_labels_are_the_nearest_centroids_when_a_sample_is_seen_and_offline_ones_wait() -> None:
    for labels in ("online", "offline"):
        method, (v, w) = make(labels=labels, least=1), two_views(start=10)
        before = method.memory.label.clone()
        centroids = method.memory.centroids.clone()
        method.loss(v, w)
        k = unit(method.target(w))
        method.after_step()
        nearest = [min(range(6), key=lambda c: float((k[i] - centroids[c]).square().sum())) for i in range(8)]
        assert method.memory.label[10:18].tolist() == (nearest if labels == "online" else before[10:18].tolist())
        assert torch.equal(method.memory.label[18:], before[18:])
        assert torch.equal(method.memory.centroids, centroids)  # every ten steps


def test_centroids_of_online_labels_move_to_the_means_every_interval() -> None:
    method = make(interval=3, least=1)
    for step in range(3):
        old = method.memory.centroids.clone()
        method.counter = Counter(0, step)
        method.loss(*two_views(start=8 * step))
        method.after_step()
        assert torch.equal(method.memory.centroids, old) == (step < 2)
    for c in range(6):
        rows = method.memory.rows[method.memory.label == c]
        torch.testing.assert_close(method.memory.centroids[c], rows.mean(0) if len(rows) else old[c])


def test_offline_labels_are_made_anew_after_each_epoch() -> None:
    method = make(samples=32, labels="offline", clusters=4, least=2)
    changed = []
    for step in range(8):  # of four batches an epoch
        old = method.memory.centroids.clone()
        method.counter = Counter(0, step)
        method.loss(*two_views(seed=step, start=8 * (step % 4)))
        method.after_step()
        changed.append(not torch.equal(method.memory.centroids, old))
    assert changed == [False, False, False, True] * 2


def test_the_micro_batches_of_an_accumulated_step_count_as_one() -> None:
    method = make(samples=32, labels="offline", clusters=4, least=2)
    changed = []
    for step in range(6):
        old = method.memory.centroids.clone()
        for start in (0, 8):
            method.counter = Counter(0, 2 * step + start // 8)
            method.loss(*two_views(seed=step, start=start))
        method.after_step()
        changed.append(not torch.equal(method.memory.centroids, old))
    assert changed == [False, True] * 3


def test_the_mean_of_a_cluster_does_not_depend_on_the_order_of_its_samples() -> None:
    bank, again = memory(600), memory(600)
    order = torch.randperm(600)
    bank.label.copy_(torch.randint(6, (600,)))
    bank.recentre()
    again.rows.copy_(bank.rows[order])
    again.label.copy_(bank.label[order])
    again.recentre()
    assert torch.equal(bank.centroids, again.centroids)
    for c in range(6):
        torch.testing.assert_close(bank.centroids[c], bank.rows[bank.label == c].mean(0))


def test_k_means_finds_clusters_that_are_there() -> None:
    rows, of = blobs([30, 12, 9, 9])
    bank = memory(60, 4)
    bank.fill(3 * rows)
    torch.testing.assert_close(bank.rows, rows)
    assert len({(int(a), int(b)) for a, b in zip(of, bank.label, strict=True)}) == 4
    for c in range(4):
        torch.testing.assert_close(bank.centroids[c], rows[bank.label == c].mean(0))


def test_small_clusters_are_dissolved_and_the_largest_is_halved_for_each() -> None:
    rows, of = blobs([40, 15, 3, 2])
    bank = memory(60, 4)
    bank.rows.copy_(rows)
    bank.label.copy_(of)
    bank.recentre()
    bank.settle()
    assert bank.sizes().min() >= 3
    assert torch.equal(bank.label[of == 2], of[of == 2])  # three are enough
    assert set(bank.label[of == 3].tolist()) <= set(bank.label[of != 3].tolist()) and len(set(bank.label[of == 0].tolist())) == 2


@pytest.mark.parametrize("seed", range(5))
def test_no_cluster_is_ever_too_small_after_a_step(seed: int) -> None:
    bank, g = memory(120, 12, 5), torch.Generator().manual_seed(seed)
    bank.rows.copy_(F.normalize(torch.randn(120, 5, generator=g) + torch.tensor([3.0, 0, 0, 0, 0]), dim=1))
    bank.label.copy_(torch.randint(12, (120,), generator=g) * torch.randint(2, (120,), generator=g))
    bank.recentre()
    bank.settle()
    assert bank.sizes().sum() == 120 and bank.sizes().min() >= 5


def test_a_cluster_of_equal_rows_is_cut_in_the_middle() -> None:
    assert halves(torch.ones(9, 4), 2).sum() == 5
    x = torch.tensor([[0.0], [0.1], [0.2], [0.3], [50.0]])
    assert halves(x, 1).tolist() == [False] * 4 + [True] or halves(x, 1).tolist() == [True] * 4 + [False]
    assert halves(x, 2).sum() in (2, 3)


def test_the_first_stage_fills_the_memory_from_the_untrained_network() -> None:
    method = make()
    z = torch.randn(60, 5)

    class Tools:
        def embed(self, network: Any, data: Any) -> np.ndarray:
            assert network[0] is method.encoder and network[1] is method.projector
            return z.numpy()

    (stage,) = method.stages("data", Tools())
    assert stage.trainable is method and stage.data == "data"
    torch.testing.assert_close(method.memory.rows, unit(z))
    assert method.memory.sizes().min() >= 3


def test_the_papers_numbers_are_the_defaults_and_no_more_than_the_data_allows() -> None:
    method = InterCLR(SmallEncoder(), 1_281_167, out=2)
    assert (len(method.memory.centroids), method.memory.least, method.negatives, len(method.queue)) == (10000, 20, 16384, 65536)
    assert round(method.pool, -3) == 128_000
    small = InterCLR(SmallEncoder(), 1000, out=2)
    assert (len(small.memory.centroids), small.memory.least, small.pool, small.negatives, len(small.queue)) == (25, 20, 100, 25, 1000)
    tiny = InterCLR(SmallEncoder(), 24, out=2)
    assert (len(tiny.memory.centroids), tiny.memory.least, tiny.negatives) == (2, 6, 1)


def test_a_checkpoint_continues_to_the_same_losses() -> None:
    method, views = make(), two_views()
    method.loss(*views)
    method.after_step()
    clone = make()
    clone.load_state_dict(method.state_dict())
    assert torch.equal(total(clone, *views), total(method, *views))


def test_what_cannot_work_is_refused_all_at_once() -> None:
    with pytest.raises(InputError) as error:
        make(samples=3, temperature=0.0, inter=2.0, clusters=1, least=0, interval=0, negatives=0, labels="none", draw="easy", renewal=0.0, pool=1.5)
    assert len(error.value.problems) == 11


def train(settings: dict[str, Any], rank: int, size: int) -> dict[str, np.ndarray]:
    """Some steps of gradient descent on this rank's rows: the last gradients, and the state."""
    torch.manual_seed(1)
    method = make(samples=36, **settings).train()
    if world() > 1:
        synchronise_batch_norm(method)
    for step in range(4):
        views = [part(view, slice(rank * size, (rank + 1) * size)) for view in two_views(12, seed=step, start=12 * (step % 3))]
        method.zero_grad()
        method.counter = Counter(0, step)
        total(method, *views).backward()
        trained = {key: p for key, p in method.named_parameters() if p.requires_grad}
        for p in trained.values():
            if world() > 1:
                dist.all_reduce(p.grad)
                p.grad /= world()
            p.data.sub_(0.1 * p.grad)
        method.after_step()
    return {**{f"gradient of {key}": p.grad.numpy() for key, p in trained.items()}, **{key: value.numpy() for key, value in method.state_dict().items()}}


def work(fabric: Any, settings: dict[str, Any]) -> dict[str, np.ndarray]:
    return train(settings, fabric.global_rank, 6)


@pytest.mark.parametrize("settings", [{"interval": 2}, {"labels": "offline", "draw": "hard"}, {"draw": "random"}])
def test_two_processes_learn_what_one_does(settings: dict[str, Any], pair: Pair) -> None:
    whole, (first, second) = train(settings, 0, 12), pair(work, settings)
    for key, expected in whole.items():
        np.testing.assert_allclose(first[key], expected, atol=2e-5, rtol=1e-3, err_msg=key)
        if key.startswith("memory"):
            np.testing.assert_array_equal(first[key], second[key], err_msg=key)
