import dataclasses
import math

import numpy as np
import pytest
import torch
from gloo_pair import Pair

from manyviews.contracts import Encoder, Tokens
from manyviews.counters import Counter
from manyviews.nn.corruption import Corruption, first_box, grouped, lowest, moments, of_another, restoration, restorer, unit_places
from manyviews.nn.distributed import world

COUNTER = Counter(3, 7)


def grid(batch: int, side: int = 14, dim: int = 4) -> Tokens:
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    where = ((torch.stack([x, y], -1).view(1, -1, 2) + 0.5) / side).expand(batch, -1, -1)
    g = torch.Generator().manual_seed(0)
    return Tokens(torch.randn(batch, side * side, dim, generator=g), where, torch.rand(batch, side * side, 6, generator=g))


def connected(hidden: torch.Tensor, side: int = 14) -> float:
    """How often the left neighbour of a hidden token is hidden."""
    h = hidden.view(-1, side, side).float()
    return float((h[:, :, 1:] * h[:, :, :-1]).sum() / h[:, :, 1:].sum())


@pytest.mark.parametrize("share", [0.0, 0.3, 0.75, 1.0])
def test_groups_hold_exactly_their_share(share: float) -> None:
    hidden = grouped(COUNTER, "g", torch.arange(50), grid(50), torch.full((50,), share), 0.3)
    assert hidden.sum(1).eq(math.floor(share * 196)).all()


def test_groups_are_connected_and_the_larger_the_block_the_more() -> None:
    half = torch.full((200,), 0.3)
    single, small, large = (connected(grouped(COUNTER, "g", torch.arange(200), grid(200), half, block)) for block in (1e-6, 0.3, 0.8))
    assert abs(single - 0.3) < 0.05 and single + 0.25 < small < large


def test_one_group_is_a_box_with_its_corner_at_a_token() -> None:
    place = unit_places(grid(1).where, torch.ones(1, 196, dtype=torch.bool))
    low = torch.tensor([[[3 / 13, 5 / 13], [0.0, 0.0]]]) - 1e-6
    box = first_box(place, low, low + torch.tensor([2.5 / 13, 1.5 / 13])).view(14, 14)
    for row in range(14):
        for column in range(14):
            first = 0 if row in (5, 6) and column in (3, 4, 5) else 1 if row in (0, 1) and column in (0, 1, 2) else 2
            assert box[row, column] == first


def test_places_span_zero_to_one_whatever_the_units_and_padding() -> None:
    where = torch.rand(3, 9, 2)
    exists = torch.arange(9).expand(3, -1) < 6
    found = unit_places(100 * where - 7, exists)
    torch.testing.assert_close(found[:, :6].amin(1), torch.zeros(3, 2))
    torch.testing.assert_close(found[:, :6].amax(1), torch.ones(3, 2))
    torch.testing.assert_close(found[exists], unit_places(where, exists)[exists], atol=1e-4, rtol=1e-4)


def test_the_lowest_are_taken_among_those_that_exist() -> None:
    key = torch.tensor([[3.0, 1.0, 2.0, 0.0]])
    exists = torch.tensor([[True, True, True, False]])
    assert lowest(key, exists, torch.tensor([0.7])).tolist() == [[False, True, True, False]]


def test_points_in_space_and_columns_in_a_row_have_groups_too() -> None:
    for axes in (1, 3):
        where = torch.rand(10, 400, axes, generator=torch.Generator().manual_seed(axes))
        hidden = grouped(COUNTER, "g", torch.arange(10), Tokens(torch.zeros(10, 400, 2), where), torch.full((10,), 0.4), 0.3)
        distance = torch.cdist(where, where).masked_fill(torch.eye(400, dtype=torch.bool), torch.inf)
        nearest = hidden.gather(1, distance.argmin(2))
        assert hidden.sum(1).eq(160).all() and float(nearest[hidden].float().mean()) > 0.6


def test_half_the_samples_lose_groups_and_the_others_show_another_sample_there() -> None:
    tokens, index = grid(150), torch.arange(150)
    shown, corrupted = Corruption(0.75, 0.3, "zeros")(COUNTER, "a", tokens, index)
    assert torch.equal(shown.x[~corrupted], tokens.x[~corrupted]) and shown.content is tokens.content
    zero = (shown.x == 0).all(2)
    alien = ~zero.any(1)
    assert 0.38 < float(alien.float().mean()) < 0.62
    share = corrupted.float().mean(1)
    assert torch.equal(zero[~alien], corrupted[~alien]) and 0.49 < float(share[~alien].min()) < 0.54 and 0.71 < float(share[~alien].max()) <= 0.75
    assert corrupted[alien].sum(1).eq(math.floor(0.3 * 196)).all()
    same = (shown.x[alien][:, None] == tokens.x[None]).all(3)  # (aliens, samples, tokens)
    owners = (same & corrupted[alien][:, None]).sum(2)
    assert owners.max(1).values.eq(corrupted[alien].sum(1)).all()
    assert (owners.argmax(1) != alien.nonzero()[:, 0]).all()


def test_exchanging_embedded_patches_is_exchanging_patches() -> None:
    tokens, index = grid(20, 4, 6), torch.arange(20)
    embed = torch.nn.Linear(6, 5)
    before, hidden = Corruption(0.0, 0.5, "zeros")(COUNTER, "a", dataclasses.replace(tokens, x=tokens.content), index)
    after, again = Corruption(0.0, 0.5, "zeros")(COUNTER, "a", dataclasses.replace(tokens, x=embed(tokens.content)), index)
    assert torch.equal(hidden, again) and hidden.any()
    torch.testing.assert_close(embed(before.x), after.x)


def test_noise_has_the_statistics_of_the_batch_and_nothing_of_the_sample() -> None:
    tokens, index = grid(300), torch.arange(300)
    tokens = dataclasses.replace(tokens, x=tokens.x * torch.tensor([1.0, 2.0, 3.0, 4.0]) + torch.tensor([0.0, 5.0, -5.0, 1.0]))
    shown, corrupted = Corruption(0.75, 0.0, "noise")(COUNTER, "a", tokens, index)
    noise, was = shown.x[corrupted], tokens.x[corrupted]
    torch.testing.assert_close(noise.mean(0), tokens.x.mean((0, 1)), atol=0.1, rtol=0)
    torch.testing.assert_close(noise.std(0), tokens.x.flatten(0, 1).std(0), atol=0, rtol=0.02)
    together = torch.corrcoef(torch.cat([noise, was], 1).T)[:4, 4:]
    assert together.abs().max() < 0.02


def test_without_replacement_none_are_replaced_and_without_dropping_half_are_clean() -> None:
    tokens, index = grid(100), torch.arange(100)
    _, corrupted = Corruption(0.6, 0.0)(COUNTER, "a", tokens, index)
    assert corrupted.any(1).all()
    _, corrupted = Corruption(0.0, 0.3)(COUNTER, "a", tokens, index)
    assert 30 < corrupted.any(1).sum() < 70


def test_corruption_depends_on_the_sample_the_step_and_the_name_and_not_on_the_order() -> None:
    tokens, index = grid(30), torch.arange(30)
    corrupt = Corruption()
    shown, hidden = corrupt(COUNTER, "a", tokens, index)
    back, again = corrupt(COUNTER, "a", dataclasses.replace(tokens, x=tokens.x.flip(0)), index.flip(0))
    torch.testing.assert_close(back.x.flip(0), shown.x)
    assert torch.equal(again.flip(0), hidden)
    assert not torch.equal(hidden, corrupt(COUNTER, "b", tokens, index)[1])
    assert not torch.equal(hidden, corrupt(Counter(3, 8), "a", tokens, index)[1])


def test_every_sample_gives_its_tokens_to_one_other() -> None:
    tokens = dataclasses.replace(grid(20), x=torch.arange(20.0)[:, None, None].expand(-1, 196, 4))
    other, _ = of_another(COUNTER, "a", tokens, torch.arange(20))
    giver = other[:, 0, 0]
    assert sorted(giver.tolist()) == [*range(20)] and (giver != torch.arange(20)).all()


def test_padding_is_neither_corrupted_nor_shown_nor_counted() -> None:
    tokens = grid(60, 5)
    exists = torch.arange(25) < torch.arange(1, 61)[:, None] % 25 + 1
    for value in (torch.inf, -3.0):
        x = tokens.x.masked_fill(~exists[..., None], 1e6 if value == torch.inf else value)
        shown, corrupted = Corruption()(COUNTER, "a", dataclasses.replace(tokens, x=x, exists=exists), torch.arange(60))
        assert corrupted.any() and not (corrupted & ~exists).any()
        assert shown.x[exists].abs().max() < 100


def test_moments_are_those_of_the_real_tokens() -> None:
    x, exists = torch.randn(4, 5, 3), torch.rand(4, 5) < 0.6
    mean, deviation = moments(x, exists)
    torch.testing.assert_close(mean, x[exists].mean(0))
    torch.testing.assert_close(deviation, x[exists].std(0, correction=0))


def test_the_error_is_the_mean_absolute_one_over_all_corrupted_numbers_normalised() -> None:
    views, total, count = [], 0.0, 0
    for k in range(2):
        tokens = grid(3, 2)
        tokens = dataclasses.replace(tokens, content=tokens.content + torch.arange(6) + k)
        prediction, corrupted = torch.randn(3, 4, 6), torch.rand(3, 4, generator=torch.Generator().manual_seed(k)) < 0.5
        numbers = tokens.content.flatten().tolist()
        mean = sum(numbers) / len(numbers)
        spread = math.sqrt(sum((a - mean) ** 2 for a in numbers) / len(numbers))
        views.append((prediction, tokens, corrupted))
        for n in range(3):
            for t in range(4):
                if corrupted[n, t]:
                    total += sum(abs(float(prediction[n, t, i]) - (float(tokens.content[n, t, i]) - mean) / spread) for i in range(6))
                    count += 6
    assert count > 0
    assert float(restoration(Encoder(), *views)) == pytest.approx(total / count, rel=1e-5)


def test_the_error_does_not_depend_on_the_units_and_is_zero_where_nothing_is_corrupted() -> None:
    tokens, prediction = grid(3, 2), torch.randn(3, 4, 6)
    corrupted = torch.ones(3, 4, dtype=torch.bool)
    scaled = dataclasses.replace(tokens, content=255 * tokens.content - 30)
    torch.testing.assert_close(restoration(Encoder(), (prediction, scaled, corrupted)), restoration(Encoder(), (prediction, tokens, corrupted)))
    assert float(restoration(Encoder(), (prediction, tokens, ~corrupted))) == 0


def test_content_that_is_no_plain_numbers_has_the_encoders_own_error() -> None:
    class Words(Encoder):
        def content_error(self, prediction: torch.Tensor, content: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.cross_entropy(prediction.mT, content, reduction="none")

    tokens = dataclasses.replace(grid(2, 2), content=torch.tensor([[0, 1, 2, 0], [1, 1, 1, 1]]))
    prediction = torch.randn(2, 4, 3)
    expected = torch.nn.functional.cross_entropy(prediction.flatten(0, 1), tokens.content.flatten())
    torch.testing.assert_close(restoration(Words(), (prediction, tokens, torch.ones(2, 4, dtype=torch.bool))), expected)


def test_the_restorer_is_three_layers_of_the_encoders_width_and_a_linear_map() -> None:
    layers = restorer(8, 12)
    assert [(a.in_features, a.out_features) for a in layers if isinstance(a, torch.nn.Linear)] == [(8, 8), (8, 8), (8, 8), (8, 12)]
    assert sum(isinstance(a, torch.nn.GELU) for a in layers) == 3


def test_what_is_wrong_is_all_said() -> None:
    assert not Corruption().problems()
    assert len(Corruption(1.2, 0.3, "black", 0.0).problems()) == 3
    assert len(Corruption(0.0, 0.0).problems()) == 1


def corrupted_here(fabric: object | None, rank: int, size: int) -> dict[str, np.ndarray]:
    """The tokens that a loss sees, and its gradient for what they were made of."""
    tokens, rows = grid(8, 5), slice(rank * size, (rank + 1) * size)
    weight = torch.ones(4, requires_grad=True)
    part = Tokens(tokens.x[rows] * weight, tokens.where[rows], tokens.content[rows])
    shown, corrupted = Corruption()(COUNTER, "a", part, torch.arange(8)[rows])
    loss = (shown.x.square().sum(2) * torch.arange(25) * corrupted).sum() / size + restoration(Encoder(), (shown.x.repeat(1, 1, 2)[..., :6], part, corrupted))
    loss.backward()
    if world() > 1:
        torch.distributed.all_reduce(weight.grad)
        torch.distributed.all_reduce(value := loss.detach().clone())
        return {"x": shown.x.detach().numpy(), "gradient": (weight.grad / 2).numpy(), "loss": (value / 2).numpy()}
    return {"x": shown.x.detach().numpy(), "gradient": weight.grad.numpy(), "loss": loss.detach().numpy()}


def work(fabric: object) -> dict[str, np.ndarray]:
    return corrupted_here(fabric, fabric.global_rank, 4)


def test_two_processes_corrupt_as_one_does_and_send_gradients_back(pair: Pair) -> None:
    whole, (first, second) = corrupted_here(None, 0, 8), pair(work)
    np.testing.assert_allclose(np.concatenate([first["x"], second["x"]]), whole["x"], atol=1e-5)
    for part in (first, second):
        np.testing.assert_allclose(part["gradient"], whole["gradient"], rtol=1e-4)
        np.testing.assert_allclose(part["loss"], whole["loss"], rtol=1e-5)
