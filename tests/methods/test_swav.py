import math

import pytest
import torch
import torch.nn.functional as F
from tiny_vit import crops, descend, sum_of, tiny_vit, untouched
from torch import nn

from manyviews.methods.cluster.swav import SwAV


def make(**options: object) -> SwAV:
    return SwAV(tiny_vit(), **{"prototypes": 7, "hidden": 16, "out": 5, "queue": 0, **options})


def balance(scores: torch.Tensor, epsilon: float = 0.05, iterations: int = 3) -> torch.Tensor:
    q = (scores.double() / epsilon).exp()
    for _ in range(iterations):
        q = q / q.sum(0, keepdim=True)
        q = q / q.sum(1, keepdim=True)
    return q.float()


def embeddings(method: SwAV, views: dict) -> list[torch.Tensor]:
    """Each size as one batch, as batch normalisation in the projector sees it."""
    found = []
    for alike in views.values():
        joined = torch.cat([method.encoder(crop) for crop in alike])
        found += F.normalize(method.projector(joined), dim=1).chunk(len(alike))
    return found


def test_the_loss_is_the_papers_swapped_prediction() -> None:
    method, views = make(), crops()
    found = float(method.loss(**views)["swapped"])
    scores = [z @ method.prototypes.T for z in embeddings(method, views)]
    total = 0.0
    for i in range(2):
        q, part = balance(scores[i].detach()), 0.0
        for j in range(4):
            if i != j:
                for n in range(6):
                    e = [math.exp(float(s) / 0.1) for s in scores[j][n]]
                    part -= sum(float(q[n, k]) * math.log(e[k] / sum(e)) for k in range(7)) / 6
        total += part / 3
    assert math.isclose(found, total / 2, rel_tol=1e-4)


def test_assignments_carry_no_gradient() -> None:
    method, views = make(), crops()
    q = method.assign(0, embeddings(method, views)[0] @ method.prototypes.T)
    assert not q.requires_grad
    torch.testing.assert_close(q.sum(1), torch.ones(6))


def test_everything_is_trained() -> None:
    assert untouched(make(), crops()) == set()


def test_prototypes_are_unit_vectors_from_the_start_and_after_each_step_and_hold_still_at_first() -> None:
    method = make(freeze=0.2)
    torch.testing.assert_close(method.prototypes.norm(dim=1), torch.ones(7))
    for progress, still in ((0.0, True), (0.19, True), (0.2, False)):
        method.progress = progress
        method.zero_grad()
        sum_of(method, crops()).backward()
        method.before_step()
        assert (method.prototypes.grad is None) is still
    method.prototypes.data.mul_(3)
    method.after_step()
    torch.testing.assert_close(method.prototypes.norm(dim=1), torch.ones(7))


def test_the_queue_fills_from_its_share_on_and_balances_along_once_it_is_full() -> None:
    method = make(queue=9, queue_from=0.5, freeze=0.0).eval()
    method.progress = 0.4
    method.loss(**crops(6, 1))
    method.after_step()
    assert all((q.owner == -1).all() for q in method.queues)
    method.progress = 0.5
    past = []
    for seed in (2, 3):
        views = crops(6, seed)
        past.append(embeddings(method, views))
        scores = past[-1][0] @ method.prototypes.T
        torch.testing.assert_close(method.assign(0, scores), balance(scores), atol=1e-5, rtol=1e-4)  # not full: it plays no part
        method.loss(**views)
        method.after_step()
    kept = torch.cat([past[0][0], past[1][0]])[-9:]
    assert sorted(method.queues[0].owner.tolist()) == [203, 204, 205, *range(300, 306)]
    torch.testing.assert_close(method.queues[0].rows.sum(0), kept.sum(0))
    scores = embeddings(method, crops(6, 4))[0] @ method.prototypes.T
    torch.testing.assert_close(method.assign(0, scores), balance(torch.cat([scores, kept @ method.prototypes.T]))[:6], atol=1e-5, rtol=1e-4)


def test_the_papers_sizes_are_the_defaults() -> None:
    method = SwAV(tiny_vit())
    assert method.prototypes.shape == (3000, 128) and [len(q) for q in method.queues] == [3840, 3840]
    assert [type(layer) for layer in method.projector] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear] and method.projector[0].out_features == 2048
    assert method.exported is method.encoder


def test_crops_that_all_agree_with_the_assignment_have_its_entropy_at_least() -> None:
    method, views = make(), crops()
    scores = [z @ method.prototypes.T for z in embeddings(method, views)]
    entropy = -sum(float((balance(s) * balance(s).log()).sum(1).mean()) for s in scores[:2]) / 2
    assert float(sum_of(method, views)) >= entropy


def test_local_crops_are_optional() -> None:
    assert make().loss(crops()["global_crops"])["swapped"].isfinite()


@pytest.mark.parametrize("queue", [0, 24])
def test_some_steps_reduce_the_loss(queue: int) -> None:
    losses = descend(make(prototypes=12, queue=queue), crops(8))
    assert losses[-1] < losses[0] - 0.3
