import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import trimesh
from gloo_pair import Pair
from small_encoder import PatchEncoder, part, two_views, without_gradient

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.data.opening import open_data
from manyviews.errors import InputError
from manyviews.methods.contrast.transitive_invariance import (
    EDGES,
    ContextPrediction,
    TransitiveInvariance,
    a_neighbour,
    another_frame,
    instances,
    inter_edges,
    lowest,
)  # fmt: skip
from manyviews.views.finding import find_policy

GRAPH = {0: {1}, 1: {0, 2}, 2: {1}, 4: {5}, 5: {4}}  # 0 ~ 1 ~ 2, 4 ~ 5; 3 has no neighbours
NEAR = torch.tensor([[1, -1], [0, 2], [1, -1], [-1, -1], [5, -1], [4, -1]])
INDEX = torch.arange(6)


def make(edges: str = "transitive", **settings: Any) -> TransitiveInvariance:
    return TransitiveInvariance(PatchEncoder(), hidden=10, out=5, edges=edges, **settings)


def related_views(batch: int = 6, near: torch.Tensor = NEAR, **given: torch.Tensor) -> tuple[View, View]:
    return tuple(View(8 * view.x - 4, view.index, given={"neighbours": near, **given}) for view in two_views(batch))  # type: ignore[return-value]


def follow(edges: str, frames: list[tuple[str, int]], instance: list[int]) -> set[tuple[tuple[str, int], tuple[str, int]]]:
    """The positive pairs of the paper, one rule after the other: A - A' is intra, A ~ B inter, and A' ~ B, A ~ B', A' ~ B' what both lead to."""
    intra = {(a, b) for a, b in itertools.permutations(frames, 2) if instance[a[1]] == instance[b[1]]}
    inter = {(a, b) for a, b in itertools.permutations(frames, 2) if b[1] in GRAPH.get(a[1], ()) and a[0] == b[0] == "v"}
    transitive = {(x, y) for a, b in inter for x in frames for y in frames if (x == a or (x, a) in intra) and (y == b or (y, b) in intra)}
    return {"intra": intra, "inter": inter, "both": intra | inter, "transitive": intra | inter | transitive}[edges]


# --- pairs ------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("instance", [[0, 1, 2, 3, 4, 5], [7, 8, 9, 7, 4, 9]])
@pytest.mark.parametrize("edges", EDGES)
def test_pairs_are_those_of_the_graph(edges: str, instance: list[int]) -> None:
    frames = [("v", i) for i in range(6)] + ([] if edges == "inter" else [("w", i) for i in range(6)])
    positive, related = make(edges).relations(INDEX, torch.tensor(instance), NEAR)
    found = {(frames[i], frames[j]) for i, j in positive.nonzero().tolist()}
    assert found == follow(edges, frames, instance)
    everything = {(a, a) for a in frames} | follow("transitive", [*frames, *(("w", i) for i in range(6))], instance)
    assert {(frames[i], frames[j]) for i, j in related.nonzero().tolist()} == {pair for pair in everything if {*pair} <= {*frames}}


def test_two_steps_between_instances_are_one_too_many() -> None:
    positive, related = make().relations(INDEX, INDEX, NEAR)
    assert not positive[0, 2] and not related[0, 2] and positive[0, 1] and positive[1, 2]


def test_one_side_that_names_the_other_is_enough_and_a_neighbour_that_is_not_in_the_batch_is_nobody() -> None:
    positive, _ = make("inter").relations(torch.tensor([10, 11, 12]), torch.tensor([10, 11, 12]), torch.tensor([[11], [-1], [99]]))
    assert positive.nonzero().tolist() == [[0, 1], [1, 0]]


def test_a_row_that_is_in_the_batch_twice_is_no_positive_of_the_same_view_of_itself() -> None:
    positive, related = make().relations(torch.tensor([3, 3]), torch.tensor([3, 3]), torch.tensor([[-1], [-1]]))
    assert positive.tolist() == [[False, False, True, True]] * 2 + [[True, True, False, False]] * 2 and related.all()


def test_an_instance_is_a_track_an_instance_an_object_or_the_row_itself() -> None:
    index = torch.tensor([5, 6, 7])
    assert torch.equal(instances({}, index), index)
    assert torch.equal(instances({"track": index * 10, "instance": index}, index), index * 10)
    unknown = instances({"instance": np.array([4, -1, -1])}, np.array([5, 6, 7]))
    assert unknown[0] == 4 and len({*unknown}) == 3 and (unknown[1:] < 0).all()
    assert torch.equal(instances({"object": index * 10, "view": index}, index), index * 10)
    gaps = instances({"track": np.array([1.5, np.nan, np.nan])}, np.array([5, 6, 7]))  # as a list of files with empty cells gives it
    assert gaps[0] == 1.5 and len({*gaps}) == 3 and (gaps[1:] < 0).all()
    assert instances({"track": torch.tensor([1.5, torch.nan])}, torch.tensor([5, 6])).tolist() == [1.5, -7]


def test_views_of_a_rendered_object_are_frames_of_one_and_never_its_negatives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYVIEWS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "meshes").mkdir()
    for k in range(3):
        trimesh.creation.box((1, 2 + k, 4)).export(tmp_path / f"meshes/{k}.ply")
    data = open_data(f"renders:{tmp_path}/meshes,views=4,side=16,samples=1", None)
    view, obj = data.batch(np.arange(12)), np.arange(12) // 4
    method = make("intra", margin=1.9, negatives=20)
    asked: list[tuple[torch.Tensor, torch.Tensor]] = []

    def seen(z: torch.Tensor, positive: torch.Tensor, related: torch.Tensor) -> dict[str, torch.Tensor]:
        asked.append((positive, related))
        return {}

    method.triplets = seen  # type: ignore[method-assign]
    shown = View(torch.rand(12, 3, 4, 4), view.index, given=view.given)
    method.loss(shown, shown)
    ((positive, related),) = asked
    same = np.equal.outer(np.tile(obj, 2), np.tile(obj, 2))
    assert np.array_equal(positive.numpy(), same & ~np.eye(24, dtype=bool)), "each view with all others of its object"
    assert np.array_equal(related.numpy(), same), "what is related is no negative"
    pairs = obj[make("intra").sampler(12, data.columns, 0, 0).reshape(6, 2)]
    assert (pairs[:, 0] == pairs[:, 1]).all()
    near = inter_edges(groups(np.random.default_rng(0), 2, 6), instances(data.columns, np.arange(12)), neighbours=4, cluster_size=6)
    assert (near >= 0).any() and all(obj[i] != obj[j] for i in range(12) for j in near[i] if j >= 0)


# --- triplets ---------------------------------------------------------------------------------------------------------------------------------


def all_triplets(z: torch.Tensor, positive: torch.Tensor, related: torch.Tensor, margin: float) -> list[list[float]]:
    """Of each positive pair the costs of all negatives, one triplet after the other."""
    z = z.double()

    def far(i: int, j: int) -> float:
        return 1 - float(z[i] @ z[j]) / float(z[i].norm() * z[j].norm())

    return [
        [max(0.0, far(i, j) - far(i, k) + margin) for k in range(len(z)) if not related[i, k] and not related[j, k]] for i, j in positive.nonzero().tolist()
    ]


@pytest.mark.parametrize("edges", EDGES)
def test_with_room_for_all_negatives_the_loss_is_the_mean_over_all_triplets(edges: str) -> None:
    method, (v, w) = make(edges, margin=0.7, negatives=11).eval(), related_views()
    views = [v] if edges == "inter" else [v, w]
    z = torch.cat([method.projector(method.encoder(view)) for view in views])
    costs = all_triplets(z, *method.relations(INDEX, INDEX, NEAR), margin=0.7)
    terms = method.loss(v, w)
    assert terms["triplet"].item() == pytest.approx(sum(map(sum, costs)) / (11 * len(costs)), rel=1e-4)
    assert terms["violating"].item() == pytest.approx(sum(cost > 0 for row in costs for cost in row) / (11 * len(costs)), rel=1e-6)
    assert terms["positives"].item() == pytest.approx(len(costs) / len(z))


def test_the_hardest_negatives_are_taken_and_the_rest_by_chance() -> None:
    z = F.normalize(torch.randn(12, 4), dim=1)
    positive = torch.zeros(12, 12, dtype=torch.bool)
    positive[0, 1] = True
    related = torch.eye(12, dtype=torch.bool)
    related[0, 1] = related[1, 0] = True
    ((*costs,),) = all_triplets(z, positive, related, margin=3.0)
    worst = sorted(costs, reverse=True)
    only_hard = make(margin=3.0, negatives=3, hard=1.0).triplets(z, positive, related)["triplet"]
    assert only_hard.item() == pytest.approx(sum(worst[:3]) / 3, rel=1e-5)
    seen, method = set(), make(margin=3.0, negatives=2, hard=0.5)
    for step in range(200):
        method.counter = Counter(0, step)
        total = 2 * method.triplets(z, positive, related)["triplet"].item()
        (pair,) = [{a, b} for a, b in itertools.combinations(range(len(costs)), 2) if math.isclose(worst[a] + worst[b], total, rel_tol=1e-5)][:1]
        assert pair & {0, 1}, "one of the two is among the two hardest"
        seen |= pair
    assert seen == set(range(len(costs)))


def test_negatives_that_are_far_enough_cost_nothing_and_get_no_gradient() -> None:
    z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    same = torch.tensor([0, 0, 1, 1])[:, None] == torch.tensor([0, 0, 1, 1])
    terms = make().triplets(z, same & ~torch.eye(4, dtype=torch.bool), same)
    terms["triplet"].backward()
    assert terms["triplet"].item() == 0 and terms["violating"].item() == 0 and not z.grad.any()


def test_collapsed_embeddings_cost_the_margin() -> None:
    z = torch.ones(8, 3) / math.sqrt(3)
    same = torch.arange(8)[:, None] // 2 == torch.arange(8) // 2
    assert make(margin=0.4).triplets(z, same & ~torch.eye(8, dtype=torch.bool), same)["triplet"].item() == pytest.approx(0.4)


def test_a_batch_without_pairs_costs_nothing_and_still_has_a_gradient() -> None:
    method, (v, w) = make("inter"), related_views(near=torch.full((6, 2), -1))
    terms = method.loss(v, w)
    terms["triplet"].backward()
    assert terms["triplet"].item() == 0 and terms["positives"].item() == 0
    assert all(p.grad is not None and not p.grad.any() for p in method.parameters() if p.requires_grad)


def test_the_order_of_the_batch_and_the_length_of_embeddings_change_nothing() -> None:
    method, (v, w) = make(margin=1.9, negatives=2).eval(), related_views()
    value, order = method.loss(v, w), torch.tensor([3, 1, 5, 0, 4, 2])
    turned = [View(view.x[order], view.index[order], given={"neighbours": NEAR[order]}) for view in (v, w)]
    for name, term in method.loss(*turned).items():
        torch.testing.assert_close(term, value[name])
    with torch.no_grad():
        for p in method.projector[-1].parameters():
            p *= 3
    torch.testing.assert_close(method.loss(v, w)["triplet"], value["triplet"])


@pytest.mark.parametrize("edges", EDGES)
def test_encoder_and_projector_are_trained_and_nothing_else(edges: str) -> None:
    method = make(edges, margin=1.9)
    assert all(name.startswith("weak") for name in without_gradient(method, *related_views()))
    assert (method.weak is None) == (edges == "intra") and not [p for p in (method.weak or torch.nn.ReLU()).parameters() if p.requires_grad]


def half(fabric: Any, edges: str) -> tuple[dict[str, float], torch.Tensor]:
    """This process's terms, with pairs and their negatives on both processes, and the gradient that both average to."""
    method, (v, w) = make(edges, margin=1.9, negatives=2).eval(), related_views(instance=torch.tensor([0, 1, 2, 0, 3, 3]))
    rows = slice(fabric.global_rank, None, 2)
    terms = method.loss(part(v, rows), part(w, rows))
    terms["triplet"].backward()
    gradient = method.projector[0].weight.grad
    return {name: term.item() for name, term in terms.items()}, gradient


@pytest.mark.parametrize("edges", ["transitive", "inter"])
def test_pairs_across_processes_count_as_in_one(edges: str, pair: Pair) -> None:
    torch.manual_seed(0)
    method, views = make(edges, margin=1.9, negatives=2).eval(), related_views(instance=torch.tensor([0, 1, 2, 0, 3, 3]))
    (first, a), (second, b) = pair(seeded_half, edges)
    terms = method.loss(*views)
    terms["triplet"].backward()
    for name, term in terms.items():
        assert (first[name] + second[name]) / 2 == pytest.approx(term.item(), rel=1e-5), name
    torch.testing.assert_close((a + b) / 2, method.projector[0].weight.grad, rtol=1e-4, atol=1e-7)


def seeded_half(fabric: Any, edges: str) -> tuple[dict[str, float], torch.Tensor]:
    torch.manual_seed(0)
    return half(fabric, edges)


# --- batches ----------------------------------------------------------------------------------------------------------------------------------


def columns(rows: int = 40, **more: np.ndarray) -> dict[str, np.ndarray]:
    """A ring: each row is a neighbour of the next and of the one before it; every fifth has none."""
    near = np.stack([(np.arange(rows) + 1) % rows, (np.arange(rows) - 1) % rows, np.full(rows, -1)], 1)
    near[::5] = -1
    return {"neighbours": near, **more}


@pytest.mark.parametrize("edges", ["transitive", "both", "inter"])
def test_neighbours_are_next_to_each_other(edges: str) -> None:
    given = columns()
    order = make(edges).sampler(40, given, 0, 0)
    assert len(order) == 40 and order.min() >= 0
    for a, b in order.reshape(20, 2):
        assert b in given["neighbours"][a] or a % 5 == 0
    assert len({*order[::2]}) == 20


def test_where_frames_are_known_groups_are_a_sample_its_other_frame_a_neighbour_and_its_other_frame() -> None:
    instance = np.arange(40) // 2
    for a, other, b, last in make().sampler(40, columns(instance=instance), 0, 0).reshape(10, 4):
        assert other == a ^ 1 and last == b ^ 1
    for a, other in make("intra").sampler(40, {"track": instance}, 0, 0).reshape(20, 2):
        assert other == a ^ 1
    assert np.array_equal(make("inter").sampler(40, columns(instance=instance), 0, 0), make("inter").sampler(40, columns(), 0, 0))


def test_intra_edges_alone_need_no_neighbours_and_show_every_row_once() -> None:
    assert sorted(make("intra").sampler(40, {}, 0, 0)) == list(range(40))


def test_every_epoch_has_another_order_and_the_same_epoch_the_same() -> None:
    orders = [make().sampler(40, columns(), seed, epoch) for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert np.array_equal(orders[0], orders[1]) and not np.array_equal(orders[0], orders[2]) and not np.array_equal(orders[0], orders[3])
    shown = np.bincount(np.concatenate([make().sampler(40, columns(), 0, epoch) for epoch in range(50)]), minlength=40)
    assert shown.min() > 20, "no row is left out"


def test_without_neighbours_there_are_no_batches_and_the_way_out_is_told() -> None:
    with pytest.raises(InputError, match=r"neighbours.*first stage.*pretrain"):
        make().sampler(20, {}, 0, 0)


def test_another_frame_is_any_other_of_the_instance_equally_often() -> None:
    instance = np.array([3, 9, 3, 3, 4, 9])
    rng = np.random.default_rng(0)
    found = np.stack([another_frame(instance, np.arange(6), rng) for _ in range(400)])
    assert (found[:, 4] == 4).all() and (found[:, 1] == 5).all() and (found[:, 5] == 1).all()
    assert {*found[:, 0]} == {2, 3} and 150 < (found[:, 0] == 2).sum() < 250


def test_a_neighbour_is_any_of_them_equally_often_and_never_a_gap() -> None:
    near = np.array([[1, -1, 2], [-1, -1, -1], [0, 1, 3], [-1, 2, -1]])
    rng = np.random.default_rng(0)
    found = np.stack([a_neighbour(near, np.arange(4), rng) for _ in range(400)])
    assert {*found[:, 0]} == {1, 2} and {*found[:, 2]} == {0, 1, 3} and {*found[:, 3]} == {2}
    assert 150 < (found[:, 0] == 1).sum() < 250 and found[:, 1].min() >= 0


# --- the graph --------------------------------------------------------------------------------------------------------------------------------


def groups(rng: np.random.Generator, count: int = 4, each: int = 6) -> np.ndarray:
    return np.repeat(10 * rng.normal(size=(count, 8)), each, 0) + 0.5 * rng.normal(size=(count * each, 8))


def test_neighbours_are_the_nearest_of_the_cluster_that_return_it() -> None:
    z = groups(np.random.default_rng(0))
    near = inter_edges(z, np.arange(24), neighbours=3, cluster_size=24)
    centred = z - z.mean(0)
    unit = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    nearest = [set(sorted(set(range(24)) - {i}, key=lambda j: -float(unit[i] @ unit[j]))[:3]) for i in range(24)]
    assert [{*row[row >= 0]} for row in near] == [{j for j in nearest[i] if i in nearest[j]} for i in range(24)]
    assert (near >= 0).any(), "a graph without edges would pass too"


def test_edges_stay_in_clusters_and_go_both_ways() -> None:
    near = inter_edges(groups(np.random.default_rng(1)), np.arange(24), neighbours=10, cluster_size=6)
    for i, j in [(i, j) for i, row in enumerate(near) for j in row if j >= 0]:
        assert i // 6 == j // 6 and i != j and i in near[j]
    assert all({*row[row >= 0]} == {*range(i // 6 * 6, i // 6 * 6 + 6)} - {i} for i, row in enumerate(near)), "of a small cluster all others are nearest"


def test_rows_of_one_instance_are_no_neighbours() -> None:
    instance = np.arange(24) // 2
    near = inter_edges(groups(np.random.default_rng(2)), instance, neighbours=4, cluster_size=6)
    assert all(instance[i] != instance[j] for i in range(24) for j in near[i] if j >= 0) and (near >= 0).any()


def test_rows_that_could_not_be_read_have_no_neighbours() -> None:
    z = groups(np.random.default_rng(3))
    z[[0, 1, 2]] = 0
    near = inter_edges(z, np.arange(24), neighbours=4, cluster_size=24)
    assert (near[:3] == -1).all() and not np.isin(near, [0, 1, 2]).any() and (near[3:] >= 0).any()


def test_the_lowest_are_of_those_among_which_they_are_looked_for() -> None:
    key = torch.tensor([[0.1, 0.2, 0.3, 0.4], [4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
    among = torch.tensor([[False, True, True, True], [True, True, True, True], [False, False, False, True]])
    expected = torch.tensor([[False, True, True, False], [False, False, True, True], [False, False, False, True]])
    assert torch.equal(lowest(key, among, 2), expected)
    assert torch.equal(lowest(key, among, 9), among) and not lowest(key, among, 0).any()


# --- stages -----------------------------------------------------------------------------------------------------------------------------------


class Data:
    """Rows with columns, as far as stages look at them."""

    def __init__(self, rows: int, **columns: np.ndarray):
        self.rows, self.columns = rows, columns

    def __len__(self) -> int:
        return self.rows


class Tools:
    """Features in four groups."""

    def embed(self, encoder: Any, data: Data) -> np.ndarray:
        return groups(np.random.default_rng(0), 4, len(data) // 4)

    def weights(self, module: torch.nn.Module) -> str:
        return "hash"

    def derive(self, data: Data, name: str, compute: Any) -> Data:
        assert name == "transitive_invariance/10/6/hash"
        return Data(len(data), **data.columns, **compute(data))


@pytest.mark.parametrize(("edges", "pretext", "names"), [("transitive", "context", ["context", ""]), ("both", "none", [""]), ("intra", "context", [""])])
def test_weak_features_are_learned_first_where_neighbours_are_wanted(edges: str, pretext: str, names: list[str]) -> None:
    method, stages, trained = make(edges, pretext=pretext, cluster_size=6, pretext_share=0.3), [], []
    for stage in method.stages(Data(24), Tools()):
        stages.append(stage)
        trained.append({name.split(".")[0] for name, p in stage.trainable.named_parameters() if p.requires_grad})
        for p in stage.trainable.parameters():
            p.grad = None if stage.trainable is method else torch.ones_like(p)
    assert [stage.name for stage in stages] == names and stages[-1].trainable is method and trained[-1] == {"encoder", "projector"}
    assert len(names) == 1 or (stages[0].trainable is method.weak and trained[0] == {"encoder", "head"} and stages[0].share == 0.3)
    assert all(p.grad is None for p in method.parameters())
    assert ("neighbours" in stages[-1].data.columns) == (edges != "intra")


def test_neighbours_found_with_tracks_are_cached_apart_from_those_found_without() -> None:
    method, names = make(cluster_size=6, pretext="none"), []

    class Named(Tools):
        def derive(self, data: Data, name: str, compute: Any) -> Data:
            names.append(name)
            return data

    for columns in ({}, {"object": np.arange(24) // 2}):
        list(method.stages(Data(24, **columns), Named()))
    assert names == ["transitive_invariance/10/6/hash", "transitive_invariance/10/6/hash/object"]


def test_a_column_of_neighbours_that_the_data_brings_is_used() -> None:
    data = Data(24, neighbours=np.zeros((24, 2), int))
    (stage,) = make().stages(data, None)
    assert stage.data is data


def test_the_weak_network_begins_as_the_encoder_and_is_another_one() -> None:
    method = make()
    pairs = [*zip(method.encoder.parameters(), method.weak.encoder.parameters(), strict=True)]
    assert all(torch.equal(a, b) and a is not b for a, b in pairs)


# --- the pretext ------------------------------------------------------------------------------------------------------------------------------


def ramps(side: int = 36) -> View:
    """Pictures whose colours are the places: the first channel grows to the right, the second downwards, 0 to 1."""
    at = (torch.arange(side) + 0.5) / side
    x = torch.stack([at.expand(side, side), at[:, None].expand(side, side), torch.zeros(side, side)])
    return View(x.expand(64, 3, side, side), torch.arange(64))


def test_a_patch_is_a_part_of_its_cell_enlarged() -> None:
    weak = ContextPrediction(PatchEncoder(), 8)
    spots = set()
    for cell in range(9):
        patch = weak.patch(ramps(), "p", torch.full((64,), cell))
        assert patch.x.shape == (64, 3, 36, 36)
        for axis, place in ((0, cell % 3), (1, cell // 3)):
            low, high = patch.x[:, axis].amin((1, 2)), patch.x[:, axis].amax((1, 2))
            assert bool((low >= place / 3 - 1e-5).all() and (high <= (place + 1) / 3 + 1e-5).all())
            torch.testing.assert_close(high - low, torch.full((64,), (1 - weak.gap) / 3 * 35 / 36), atol=0.02, rtol=0)
            spots |= {round(float(a) * 20) for a in (low - place / 3) / (weak.gap / 3)}
    assert len(spots) > 15, "anywhere in the cell"


def test_places_are_the_eight_around_equally_often_and_the_loss_is_their_cross_entropy() -> None:
    weak, v = ContextPrediction(PatchEncoder(), 8).eval(), two_views(2000)[0]
    seen: list[torch.Tensor] = []
    weak.patch = lambda v, name, cell: seen.append(cell) or v  # type: ignore[method-assign]
    z = weak.encoder(v)
    logits = weak.head(torch.cat([z, z], 1))
    terms = weak.loss(v)
    counts = seen[1].bincount(minlength=9)
    assert (seen[0] == 4).all() and counts[4] == 0 and all(200 < counts[k] < 300 for k in range(9) if k != 4)
    place = seen[1] - (seen[1] > 4).long()
    expected = -logits.double().log_softmax(1)[torch.arange(2000), place].mean()
    torch.testing.assert_close(terms["context"].double(), expected, rtol=1e-5, atol=0)
    assert terms["right"].item() == pytest.approx((logits.argmax(1) == place).double().mean().item())


def test_the_task_can_be_learned_where_pictures_tell_their_places() -> None:
    torch.manual_seed(0)
    encoder = PatchEncoder()
    encoder.net = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(12, 6))
    weak, view = ContextPrediction(encoder, 32), ramps(12)
    optimizer, losses = torch.optim.Adam(weak.parameters(), 1e-2), []
    for step in range(60):
        weak.counter = Counter(0, step)
        losses.append(weak.loss(view))
        optimizer.zero_grad()
        losses[-1]["context"].backward()
        optimizer.step()
    assert losses[0]["right"] < 0.4 and losses[-1]["right"] > 0.9


# --- views and settings -----------------------------------------------------------------------------------------------------------------------


def test_one_view_is_plain_and_the_other_changes_from_step_to_step() -> None:
    samples = View(torch.randint(0, 255, (3, 20, 20, 3), dtype=torch.uint8), torch.arange(3))
    first, second = (find_policy("transitive_invariance", 16)(samples, Counter(0, step)) for step in range(2))
    assert torch.equal(first["v"].x, second["v"].x) and not torch.allclose(first["w"].x, second["w"].x, atol=0.05)
    assert torch.equal(first["v"].x, find_policy("plain", 16)(samples, Counter(0, 0))["v"].x)


def test_the_defaults_are_the_papers() -> None:
    method = TransitiveInvariance(PatchEncoder())
    assert (method.edges, method.margin, method.negatives, method.hard, method.pretext) == ("transitive", 0.5, 4, 2, "context")
    assert method.projector[-1].out_features == 1024


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"edges": "all"}, "edges=all: there are transitive"), ({"pretext": "jigsaw"}, "pretext=jigsaw"), ({"negatives": 0}, "negatives=0"),
        ({"margin": 0.0}, "margin=0.0"), ({"hard": 1.5}, "hard=1.5"), ({"neighbours": 0}, "neighbours=0"), ({"pretext_share": 0.0}, "pretext_share=0.0"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make(**settings)
