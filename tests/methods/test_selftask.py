"""SelfTask: what each task asks and how wrong an answer counts, against slow loops; the whole graph counts in every step, by labels for training alone."""

from __future__ import annotations

import dataclasses
import io
import itertools
from collections import deque
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gloo_pair import Pair
from small_encoder import SmallEncoder
from tiny_vit import tiny_vit

from manyviews.app.building import build_method
from manyviews.app.preparing import Tools
from manyviews.backbones.building import build_encoder
from manyviews.backbones.message_passing import GCN
from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.data.dataset import Data
from manyviews.data.graph_batch import Union
from manyviews.data.graphs import from_array
from manyviews.errors import InputError
from manyviews.methods.predict.selftask import LABELS, TASKS, SelfTask
from manyviews.train.fit import fit
from manyviews.views.finding import find_policy

NODES, CLASSES = 60, 3
SMALL = {"components": 4, "clusters": 3, "pairs": 40, "similar_pairs": 50, "candidates": 10, "prototypes": 2}
EVERY = "+".join(TASKS)


def planted(seed: int = 0, nodes: int = NODES, inside: float = 0.12) -> Data:
    """Nodes of three classes that mostly join their like; the last three are alone. Four of each class have a label for training."""
    r = np.random.default_rng(seed)
    true = np.arange(nodes) % CLASSES
    a, b = np.triu_indices(nodes - 3, 1)
    kept = r.uniform(size=len(a)) < np.where(true[a] == true[b], inside, 0.01)
    x = (r.normal(size=(nodes, 7)) + 0.7 * np.eye(7)[true]).astype(np.float32)
    split = np.where(np.arange(nodes) < 4 * CLASSES, "train", np.where(np.arange(nodes) % 2, "test", "validation"))
    return from_array({"edges": np.stack([a[kept], b[kept]]), "x": x, "label": true, "split": split})


def view(data: Data | None = None, rows: Any = None) -> View:
    data = planted() if data is None else data
    return data.batch(np.arange(len(data)) if rows is None else np.asarray(rows))


def make(task: str = EVERY, step: int = 2, seed: int = 1, **options: Any) -> SelfTask:
    torch.manual_seed(0)
    method = SelfTask(GCN(7, 8), CLASSES, task, **{**SMALL, "dropout": 0.0, **options})
    method.counter = Counter(seed, step)
    return method.eval()


def looked(method: SelfTask, v: View) -> Any:
    return method.look(v.x, method.check(v))


def distances(v: View) -> np.ndarray:
    """All by slow searches; 0 stands for no path, and for itself."""
    far = np.zeros((len(v.x.x), len(v.x.x)), int)
    around = [v.x.edges[1][v.x.edges[0] == i].tolist() for i in range(len(far))]
    for start in range(len(far)):
        queue, seen = deque([(start, 0)]), {start}
        while queue:
            node, hop = queue.popleft()
            far[start, node] = hop
            for other in around[node]:
                if other not in seen:
                    seen.add(other)
                    queue.append((other, hop + 1))
    return far


def squared(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).square().mean())


# --- the sum ----------------------------------------------------------------------------------------------------------------------------------


def test_the_loss_is_the_cross_entropy_of_labelled_nodes_and_each_tasks_error_times_a_weight():
    method, v = make("distance2labeled+node_property", weight=3.0, supervised=2.0), view()
    terms, seen = method.loss(v), looked(method, v)
    logits = method.classifier(method.encoder.nodes(v.x))
    wanted = sum(float(-logits[i].log_softmax(0)[v.given["label"][i]]) for i in range(12)) / 12
    assert float(terms["classification"]) == pytest.approx(2 * wanted, rel=1e-5)
    assert float(terms["accuracy"]) == pytest.approx(float((logits[:12].argmax(1) == v.given["label"][:12]).float().mean()))
    for name in ("distance2labeled", "node_property"):
        assert float(terms[name]) == pytest.approx(3 * float(getattr(method, name)(seen)), rel=1e-5)
    assert [*terms] == ["classification", "accuracy", "distance2labeled", "node_property"]


@pytest.mark.parametrize("task", ["none", EVERY])
def test_the_whole_graph_counts_whichever_nodes_make_the_batch(task):
    method = make(task)
    terms = [{name: float(term) for name, term in method.loss(view(rows=rows)).items()} for rows in (None, [5], [59, 3, 20])]
    assert terms[0] == terms[1] == terms[2]


def test_tasks_are_predicted_from_below_the_last_layer_and_alone_from_it():
    v = view()
    levels = make().encoder.levels(v.x)
    torch.testing.assert_close(looked(make("node_property"), v).h, levels[0])
    torch.testing.assert_close(looked(make("node_property", above=0), v).h, levels[1])
    torch.testing.assert_close(looked(make("node_property", supervised=0.0), v).h, levels[1])


def test_dropout_zeroes_a_share_of_the_features_and_keeps_their_mean():
    method, v = make("node_property", dropout=0.4), view()
    seen = looked(method, v)
    gone = (seen.t == 0) & (seen.h != 0)
    assert 0.3 < float(gone.sum() / (seen.h != 0).sum()) < 0.5
    kept = seen.t != 0
    torch.testing.assert_close(seen.t[kept], seen.h[kept] / 0.6)


def test_what_is_asked_is_found_once_a_graph():
    method, v, calls = make("corrected_label"), view(), []
    real = method.facts
    method.facts = lambda *a: calls.append(1) or real(*a)  # type: ignore[assignment]
    for _ in range(3):
        method.loss(v)
    assert len(calls) == 1
    method.loss(view(planted(seed=5)))
    assert len(calls) == 2


# --- each task --------------------------------------------------------------------------------------------------------------------------------


def test_degrees_are_three_classes():
    method, v = make("node_property"), view()
    seen = looked(method, v)
    p = method.heads["node_property"](seen.t).log_softmax(1)
    degree = [int((v.x.edges[1] == i).sum()) for i in range(NODES)]
    wanted = -np.mean([float(p[i, 0 if d <= 2 else 1 if d <= 7 else 2]) for i, d in enumerate(degree)])
    assert float(method.node_property(seen)) == pytest.approx(wanted, rel=1e-5)


def test_hidden_edges_are_gone_both_ways_and_are_told_from_pairs_without_an_edge():
    method, v, shown = make("edge_mask", mask_ratio=0.3), view(), []
    real = method.encoder.levels
    method.encoder.levels = lambda graphs: shown.append(graphs) or real(graphs)  # type: ignore[assignment]
    seen = looked(method, v)
    edges = {*map(tuple, v.x.edges.T.tolist())}
    left = {*map(tuple, shown[0].edges.T.tolist())}
    gone = edges - left
    assert left < edges and {(b, a) for a, b in gone} == gone
    assert {(a, b) for a, b in gone if a < b} == {*map(tuple, seen.edges.T.tolist())}
    assert 0.15 < len(gone) / len(edges) < 0.45
    asked: list[torch.Tensor] = []
    compare = method.compare
    method.compare = lambda name, seen, a, b: asked.append(torch.stack([a, b])) or compare(name, seen, a, b)  # type: ignore[assignment]
    loss, pairs, count = float(method.edge_mask(seen)), asked[0], seen.edges.shape[1]
    assert pairs.shape[1] == 2 * count and torch.equal(pairs[:, :count], seen.edges)
    assert all(a != b and (a, b) not in edges for a, b in pairs[:, count:].T.tolist())
    p = method.heads["edge_mask"]((seen.t[pairs[0]] - seen.t[pairs[1]]).abs()).log_softmax(1)
    assert loss == pytest.approx(-float(p[:count, 1].sum() + p[count:, 0].sum()) / (2 * count), rel=1e-5)


def test_hidden_features_are_of_unlabelled_nodes_and_their_principal_components_are_restored():
    method, v, shown = make("attribute_mask", mask_ratio=0.3), view(), []
    real = method.encoder.levels
    method.encoder.levels = lambda graphs: shown.append(graphs) or real(graphs)  # type: ignore[assignment]
    seen = looked(method, v)
    hidden = seen.nodes
    assert not hidden[:12].any() and 5 <= int(hidden.sum()) <= 25
    assert not shown[0].x[hidden].any() and torch.equal(shown[0].x[~hidden], v.x.x[~hidden])
    x = v.x.x.double() - v.x.x.double().mean(0)
    _, _, axes = torch.linalg.svd(x, full_matrices=False)
    wanted = x @ axes[:4].T
    torch.testing.assert_close(seen.facts["components"].double().abs(), wanted.abs(), atol=1e-4, rtol=1e-4)
    error = squared(method.heads["attribute_mask"](seen.t)[hidden], seen.facts["components"][hidden])
    assert float(method.attribute_mask(seen)) == pytest.approx(error, rel=1e-5)


def test_at_least_one_thing_is_hidden():
    seen = looked(make("edge_mask+attribute_mask", mask_ratio=1e-6), view())
    assert seen.edges.shape[1] == 1 and int(seen.nodes.sum()) == 1


def test_pairs_of_each_distance_are_asked_equally_often_and_all_pairs_about_equally():
    method, v = make("pairwise_distance", pairs=30000), view()
    seen, far = looked(method, v), distances(view())
    asked: list[torch.Tensor] = []
    compare = method.compare
    method.compare = lambda name, seen, a, b: asked.append(torch.stack([a, b])) or compare(name, seen, a, b)  # type: ignore[assignment]
    loss, (first, second) = float(method.pairwise_distance(seen)), asked[0]
    answer = np.arange(4).repeat(30000)
    truth = far[first, second]
    truth = np.where((truth == 0) | (truth > 4), 4, truth) - 1
    np.testing.assert_array_equal(truth, answer)
    assert (first != second).all()
    p = method.heads["pairwise_distance"]((seen.t[first] - seen.t[second]).abs()).log_softmax(1)
    assert loss == pytest.approx(-float(p[torch.arange(120000), torch.from_numpy(answer)].mean()), rel=1e-4)
    neighbours = np.bincount(first[:30000], minlength=NODES) / 30000
    degree = np.bincount(v.x.edges[0], minlength=NODES)
    np.testing.assert_allclose(neighbours, degree / degree.sum(), atol=0.005)


def test_distances_that_a_graph_does_not_have_are_not_asked():
    every = np.array([*itertools.combinations(range(6), 2)]).T
    data = from_array({"edges": every, "x": np.eye(6, dtype=np.float32), "label": np.arange(6) % 2, "split": np.array(["train"] * 3 + ["test"] * 3)})
    method = SelfTask(GCN(6, 8), 2, "pairwise_distance", pairs=5)
    assert np.isfinite(float(method.loss(view(data))["pairwise_distance"]))


def test_distances_to_the_centres_of_parts_are_told_by_their_inverse():
    method, v = make("distance2clusters"), view()
    seen, far = looked(method, v), distances(v)
    near = seen.facts["near_centres"]
    assert near.shape == (NODES, 3)
    for column in near.T:
        centre = [i for i in range(NODES) if np.allclose(column, np.where(far[i] > 0, 1 / np.maximum(far[i], 1), np.arange(NODES) == i))]
        assert len(centre) == 1
    assert float(method.distance2clusters(seen)) == pytest.approx(squared(method.heads["distance2clusters"](seen.t), near), rel=1e-5)


def test_similarities_of_the_most_and_the_least_similar_pairs_are_told():
    method, v = make("pairwise_attr_sim", similar_pairs=10**6), view()
    seen = looked(method, v)
    (first, second), head = seen.facts["similar"], method.heads["pairwise_attr_sim"]
    errors = [float(head((seen.t[a] - seen.t[b]).abs()) - F.cosine_similarity(v.x.x[a], v.x.x[b], dim=0)) ** 2 for a, b in zip(first.tolist(), second.tolist())]
    assert float(method.pairwise_attr_sim(seen)) == pytest.approx(np.mean(errors), rel=1e-4)


def test_distances_to_the_labelled_nodes_of_each_class_are_told_for_the_others():
    method, v = make("distance2labeled"), view()
    seen, far = looked(method, v), distances(v)
    out, errors = method.heads["distance2labeled"](seen.t), []
    for i in range(12, NODES):
        for k in range(CLASSES):
            near = [1 / far[i, j] if far[i, j] else 0.0 for j in range(12) if j % CLASSES == k]
            for wanted, got in zip((np.mean(near), max(near), min(near)), out[i, 3 * k : 3 * k + 3]):
                errors.append(float(got - wanted) ** 2)
    assert float(method.distance2labeled(seen)) == pytest.approx(np.mean(errors), rel=1e-4)


def slow_context(v: View, label: np.ndarray) -> dict[int, torch.Tensor]:
    """Of unlabelled nodes the shares of labels at one and two hops, where there are any."""
    far, shares = distances(v), {}
    for i in range(12, NODES):
        around = [label[j] for j in range(NODES) if 0 < far[i, j] <= 2 and label[j] >= 0]
        if around:
            shares[i] = torch.tensor([around.count(k) / len(around) for k in range(CLASSES)])
    return shares


@pytest.mark.parametrize(("task", "guess", "kind"), [("context_label", "lp", "lp"), ("context_label", "ica", "ica"), ("ensemble_label", "lp", "both")])
def test_labels_around_unlabelled_nodes_are_told_as_shares(task, guess, kind):
    method, v = make(task, guess=guess), view()
    seen = looked(method, v)
    label = seen.facts[f"guess_{kind}"].numpy()
    np.testing.assert_array_equal(label[:12], np.arange(12) % CLASSES)
    shares = slow_context(v, label)
    assert len(shares) < NODES - 12  # those that are alone take no part
    p = method.heads[task](seen.t).softmax(1)
    wanted = np.mean([squared(p[i], share) for i, share in shares.items()])
    assert float(getattr(method, task)(seen)) == pytest.approx(wanted, rel=1e-4)


def test_corrected_labels_are_those_of_the_likest_prototypes_and_known_ones_stay():
    method, v = make("corrected_label", alpha=1.7, candidates=1000, guess="ica"), view()
    seen = looked(method, v)
    guess, h = seen.facts["guess_ica"], F.normalize(seen.h.detach(), dim=1)
    from manyviews.nn.propagation import prototypes

    corrected = guess.clone()
    score = torch.full((NODES, CLASSES), -2.0)
    lot = method.counter.uniform("candidates", torch.arange(NODES))
    for k in range(CLASSES):
        members = sorted(torch.nonzero(guess == k)[:, 0].tolist(), key=lambda i: float(lot[i]))
        chosen = [members[c] for c in prototypes(h[members], 2).tolist()]
        for i in range(NODES):
            score[i, k] = np.mean([float(h[i] @ h[c]) for c in chosen])
    corrected[12:] = score.argmax(1)[12:]
    assert (corrected != guess).any()
    p = method.heads["corrected_label"](seen.t).softmax(1)
    wanted = [np.mean([squared(p[i], share) for i, share in slow_context(v, label.numpy()).items()]) for label in (guess, corrected)]
    assert float(method.corrected_label(seen)) == pytest.approx(wanted[0] + 1.7 * wanted[1], rel=1e-4)


# --- as a method ------------------------------------------------------------------------------------------------------------------------------


def built(seed: int = 0, task: str = EVERY, **options: Any) -> tuple[SelfTask, Any]:
    torch.manual_seed(seed)
    method, recipe = build_method("selftask", build_encoder("gcn_micro", 7, 8, seed=seed), planted(), task=task, **{**SMALL, **options})
    return method, dataclasses.replace(recipe, lr=1e-3)


def steps(method: SelfTask, recipe: Any, count: int = 3, batch: int = 20, **options: Any) -> Any:
    (stage,) = method.stages(planted(), Tools(8))
    return fit(method, stage.data, find_policy(recipe.views, 8, "graphs"), steps=count, batch=batch, recipe=recipe, threads=0, **options)


def test_every_part_is_trained():
    for supervised in (0.0, 1.0):
        method, recipe = built(supervised=supervised)
        for _ in steps(method, recipe, 1):
            assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in method.parameters())
    method, recipe = built(task="none")
    for _ in steps(method, recipe, 1):
        assert all(p.grad is not None for p in method.parameters())


def test_a_checkpoint_goes_on_exactly_in_a_clone_built_from_another_seed():
    method, recipe = built()
    middle = io.BytesIO()
    for step in steps(method, recipe):
        if step.number == 2:
            torch.save(step.checkpoint(), middle)
    clone, _ = built(seed=1)
    (last,) = steps(clone, recipe, resume=torch.load(io.BytesIO(middle.getvalue()), weights_only=True))
    assert (last.loss, last.terms) == (step.loss, step.terms)
    assert all(torch.equal(a, b) for a, b in zip(method.state_dict().values(), clone.state_dict().values(), strict=True))


def gradients(fabric: Any) -> tuple[list[float], dict[str, np.ndarray]]:
    method, recipe = built()
    recipe = dataclasses.replace(recipe, optimizer="sgd", weight_decay=0.0)
    losses = [step.loss for step in steps(method, recipe, lr=1e-5, fabric=fabric)]
    return losses, {name: p.grad.numpy() for name, p in method.named_parameters()}


def test_two_processes_get_the_gradient_that_one_gets(pair: Pair):
    losses, alone = gradients(None)
    (losses0, first), (losses1, second) = pair(gradients)
    assert losses0 == losses1 == pytest.approx(losses, rel=1e-4)
    whole = np.sqrt(sum(np.square(g).sum() for g in alone.values()))
    for name, g in alone.items():
        np.testing.assert_array_equal(first[name], second[name])
        assert np.linalg.norm(first[name] - g) <= 1e-4 * max(np.linalg.norm(g), 0.01 * whole), name


def test_it_learns_the_classes_of_nodes_whose_labels_it_never_saw():
    data = planted(inside=0.3)
    method = make("corrected_label", dropout=0.5)
    for _ in fit(method, data, find_policy("plain", 8, "graphs"), steps=60, batch=NODES, recipe=method.recipe, lr=0.01, threads=0):
        pass
    v = view(data)
    right = method.eval().predict(v).argmax(1) == v.given["label"]
    assert float(right[12:57].float().mean()) > 0.85


def test_labels_outside_training_change_nothing():
    data = planted()
    other = dataclasses.replace(data, columns={**data.columns, "label": np.where(np.arange(NODES) < 12, data.columns["label"], 0)})
    results = [{name: float(term) for name, term in make().loss(view(d)).items()} for d in (data, other)]
    assert results[0] == results[1]


def test_a_graph_without_labels_is_learned_from_by_tasks_alone():
    v = view()
    bare = dataclasses.replace(v, x=dataclasses.replace(v.x, columns={}), given={})
    method = SelfTask(GCN(7, 8), 0, "+".join(name for name in TASKS if name not in LABELS), supervised=0.0, **SMALL)
    assert all(bool(term.isfinite()) and term.requires_grad for term in method.loss(bare).values())
    with pytest.raises(InputError, match="no classes"):
        method.predict(bare)


# --- what it cannot use -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", [SmallEncoder, lambda: tiny_vit(0)])
def test_encoders_without_features_of_nodes_are_refused(encoder):
    with pytest.raises(InputError, match=r"passes messages.*gcn_micro"):
        SelfTask(encoder(), CLASSES)


def test_everything_wrong_is_told_at_once():
    with pytest.raises(InputError) as caught:
        SelfTask(GCN(7, 8), 1, "edge_mask+edges+edge_mask", dropout=1.0, above=2, prototypes=0)
    for word in ("'edges'", "named twice", "dropout=1.0", "above=2", "prototypes", "classes of nodes"):
        assert word in str(caught.value)
    with pytest.raises(InputError, match="nothing is left"):
        SelfTask(GCN(7, 8), 0, "none", supervised=0.0)


def test_graphs_that_are_not_one_whole_and_as_they_are_are_refused():
    method, v = make("node_property"), view()
    with pytest.raises(InputError, match="one graph"):
        many = Union(7)([node.around() for node in planted()._read(range(4))])
        method.loss(View(many, torch.arange(4)))
    with pytest.raises(InputError, match="hops=0"):
        method.loss(dataclasses.replace(v, x=v.x.with_nodes(torch.arange(NODES) != 7)))
    with pytest.raises(InputError, match="hops=0"):
        method.loss(dataclasses.replace(v, x=v.x.with_nodes(torch.arange(NODES) < 50)))
    with pytest.raises(InputError, match="--views plain"):
        method.loss(find_policy("grace", 8, "graphs")(v, Counter(0, 0))["v"])
    with pytest.raises(InputError, match="labels of some nodes"):
        method.loss(dataclasses.replace(v, x=dataclasses.replace(v.x, columns={})))
