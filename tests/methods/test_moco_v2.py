import math

import pytest
import torch
from small_encoder import SmallEncoder, total, two_views, without_gradient
from torch import nn

from manyviews.errors import InputError
from manyviews.methods.contrast.moco_v2 import MoCoV2


def make(samples: int = 1000, queue: int = 12, **settings: float) -> MoCoV2:
    return MoCoV2(SmallEncoder(), samples, hidden=10, out=5, queue=queue, **settings)


def test_the_loss_is_infonce_against_the_queue() -> None:
    method, (v, w) = make(), two_views()
    value = float(total(method, v, w))
    q, k = method.projector(method.encoder(v)), method.target(w)
    slow = 0.0
    for i in range(8):
        qi, ki = q[i] / q[i].norm(), k[i] / k[i].norm()
        positive = math.exp(float(qi @ ki) / 0.2)
        slow -= math.log(positive / (positive + sum(math.exp(float(qi @ row) / 0.2) for row in method.queue.rows))) / 8
    assert math.isclose(value, slow, rel_tol=1e-4)


def test_everything_but_the_key_encoder_gets_a_gradient() -> None:
    method = make()
    assert without_gradient(method, *two_views()) == [f"target.{name}" for name, _ in method.target.named_parameters()]


def test_a_step_puts_the_keys_into_the_queue_with_their_samples() -> None:
    method, (v, w) = make(), two_views(start=100)
    before = method.queue.rows.clone()
    method.loss(v, w)
    assert torch.equal(method.queue.rows, before)  # the loss alone changes nothing
    k = method.target(w)
    method.after_step()
    torch.testing.assert_close(method.queue.rows[:8], k / k.norm(dim=1, keepdim=True))
    assert method.queue.owner.tolist() == [*range(100, 108), -1, -1, -1, -1] and torch.equal(method.queue.rows[8:], before[8:])
    method.loss(*two_views(start=200))
    method.after_step()
    assert method.queue.owner.tolist() == [204, 205, 206, 207, 104, 105, 106, 107, 200, 201, 202, 203]


def test_all_micro_batches_of_an_accumulated_step_reach_the_queue() -> None:
    method = make()
    for start in (0, 50):
        method.loss(*two_views(4, start=start))
    method.after_step()
    assert method.queue.owner.tolist()[:8] == [0, 1, 2, 3, 50, 51, 52, 53]


def test_a_query_is_not_pushed_from_an_older_key_of_its_own_sample() -> None:
    method, (v, w) = make(), two_views()
    value = total(method, v, w)
    method.queue.rows[3], method.queue.owner[3] = method.target(w)[0] / method.target(w)[0].norm(), 0
    q = method.projector(method.encoder(v))
    slow = 0.0
    for i in range(8):
        k = method.target(w)[i]
        logits = [float(q[i] @ k / (q[i].norm() * k.norm()))]
        logits += [float(q[i] @ row / q[i].norm()) for j, row in enumerate(method.queue.rows) if not (i == 0 and j == 3)]
        slow += (math.log(sum(math.exp(a / 0.2) for a in logits)) - logits[0] / 0.2) / 8
    assert math.isclose(float(total(method, v, w)), slow, rel_tol=1e-4) and not math.isclose(float(value), slow, rel_tol=1e-4)


def test_a_queue_of_nothing_but_own_keys_costs_nothing_and_breaks_nothing() -> None:
    method, (v, w) = make(samples=1, queue=4), two_views(2)
    method.queue.owner.fill_(0)
    v.index.fill_(0)
    value = total(method, v, w)
    value.backward()
    assert float(value) == 0 and all(p.grad is None or p.grad.isfinite().all() for p in method.parameters())


def test_the_queue_is_the_papers_but_never_longer_than_the_data_set() -> None:
    assert len(MoCoV2(SmallEncoder(), samples=1_281_167, out=2).queue) == 65536
    assert len(make(samples=7, queue=12).queue) == 7


def test_the_key_encoder_follows_at_a_constant_rate() -> None:
    method = make(decay=0.9)
    before = [p.clone() for p in method.target.parameters()]
    for p in method.encoder.parameters():
        p.data.add_(1.0)
    method.progress = 0.7
    method.after_step()
    online = [*method.encoder.parameters(), *method.projector.parameters()]
    for old, slow, fast in zip(before, method.target.parameters(), online, strict=True):
        torch.testing.assert_close(slow.detach(), 0.9 * old + 0.1 * fast.detach())


def test_a_checkpoint_continues_to_the_same_losses() -> None:
    method, views = make(), two_views()
    method.loss(*views)
    method.after_step()
    clone = make()
    clone.load_state_dict(method.state_dict())
    assert torch.equal(total(clone, *views), total(method, *views))


def test_the_projector_has_two_layers_without_normalisation() -> None:
    method = MoCoV2(SmallEncoder(), 10)
    assert [type(layer) for layer in method.projector] == [nn.Linear, nn.ReLU, nn.Linear]
    assert (method.projector[0].out_features, method.projector[2].out_features) == (2048, 128)


def test_a_temperature_that_is_not_positive_is_refused() -> None:
    with pytest.raises(InputError, match="temperature 0"):
        make(temperature=0.0)
