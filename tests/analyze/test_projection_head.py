import pytest
import torch

from manyviews.analyze.projection_head import (
    balanced,
    dfr,
    imbalance,
    learned_weights,
    measured_weights,
    projection_head,
    spectral_loss,
    time_to_learn,
    train_linear,
    worst_group,
)
from manyviews.errors import InputError
from manyviews.evaluate.scores import Labelled

STRENGTH = torch.tensor([1.5, 1.0, 0.8], dtype=torch.float64)
DISRUPTED = torch.tensor([0.2, 0.6, 0.3], dtype=torch.float64)
AGREEMENT, VARIANCE = STRENGTH**2, STRENGTH**2 + DISRUPTED**2


def covariances() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of views and of two views of a sample, in coordinates in which features are no single inputs; and the features' directions."""
    directions = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    return directions.T @ VARIANCE.diag() @ directions, directions.T @ AGREEMENT.diag() @ directions, directions


# --- the linear theory ------------------------------------------------------------------------------------------------------------------------


def test_the_loss_is_the_spectral_contrastive_one_summed_over_samples_and_views() -> None:
    samples = torch.tensor([[1.0, 0.5], [-1.0, -0.5], [0.5, -1.0], [-0.5, 1.0]])
    noise = torch.tensor([[0.3, 0.0], [-0.3, 0.0]])  # each view of a sample has one of the two
    whole = torch.tensor([[0.7, -0.2], [0.1, 0.9], [0.4, 0.4]])
    views = [[x + e for e in noise] for x in samples]
    flat = [v for own in views for v in own]
    pull = sum(float((whole @ v) @ (whole @ w)) for own in views for v in own for w in own) / (4 * 2 * 2)
    push = sum(float((whole @ v) @ (whole @ u)) ** 2 for v in flat for u in flat) / 8**2
    covariance = sum(torch.outer(v, v) for v in flat) / 8
    agreement = sum(torch.outer(v, w) for own in views for v in own for w in own) / 16
    torch.testing.assert_close(float(spectral_loss(whole, covariance, agreement)), -2 * pull + push, rtol=1e-5, atol=0)


@pytest.mark.parametrize("widths", [[3], [6, 5], [4, 4, 4]])
def test_trained_layers_weight_features_as_the_closed_form_says(widths: list[int]) -> None:
    covariance, agreement, directions = covariances()
    layers = train_linear(covariance, agreement, widths, time=15.0, scale=0.6)
    expected = learned_weights(VARIANCE, AGREEMENT, depth=len(widths))
    torch.testing.assert_close(measured_weights(layers, directions), expected, rtol=2e-3, atol=0)


def test_the_end_is_a_minimum_of_the_loss() -> None:
    covariance, agreement, directions = covariances()
    whole = learned_weights(VARIANCE, AGREEMENT)[-1].diag() @ directions
    whole.requires_grad_()
    least = spectral_loss(whole, covariance, agreement)
    (slope,) = torch.autograd.grad(least, whole)
    torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-9, rtol=0)
    assert all(spectral_loss(whole + 0.1 * torch.randn_like(whole), covariance, agreement) > least for _ in range(10))


def test_features_before_the_last_layer_are_more_balanced_than_after_it() -> None:
    covariance, agreement, directions = covariances()
    before, after = imbalance(measured_weights(train_linear(covariance, agreement, [6, 5], time=12.0), directions))
    torch.testing.assert_close(before, after / 2, rtol=0.01, atol=0)
    torch.testing.assert_close(imbalance(learned_weights(VARIANCE, AGREEMENT, depth=4)) / imbalance(learned_weights(VARIANCE, AGREEMENT, depth=1)),
                               torch.tensor([0.25, 0.5, 0.75, 1.0], dtype=torch.float64))  # fmt: skip


def test_a_feature_that_augmentation_destroys_vanishes_and_one_that_it_spares_is_whitened() -> None:
    one = torch.ones(1, dtype=torch.float64)
    kept, halved, gone = (float(learned_weights(one, share * one)[-1]) for share in (1.0, 0.25, 0.0))
    assert (kept, halved, gone) == (1.0, 0.5, 0.0)
    strength = torch.tensor([3.0, 0.2], dtype=torch.float64)
    torch.testing.assert_close(learned_weights(strength**2, strength**2)[-1] * strength, torch.ones(2, dtype=torch.float64))


def test_disruption_costs_a_feature_more_after_the_head_than_before_it() -> None:
    before, after = learned_weights(torch.ones(2), torch.tensor([1.0, 0.1])).unbind()
    torch.testing.assert_close(before[1] / before[0], (after[1] / after[0]).sqrt())
    assert after[1] / after[0] < before[1] / before[0] < 1


def test_a_narrow_network_keeps_the_features_that_views_agree_on_most() -> None:
    covariance, agreement, directions = covariances()
    expected = learned_weights(VARIANCE, AGREEMENT, width=2)
    assert (expected[-1] == 0).tolist() == [False, True, False]
    found = measured_weights(train_linear(covariance, agreement, [5, 2], time=20.0, scale=0.6), directions)
    torch.testing.assert_close(found[-1], expected[-1], atol=5e-3, rtol=5e-3)


@pytest.mark.parametrize("depth", [1, 2])
def test_gradient_descent_needs_the_time_of_the_closed_form(depth: int) -> None:
    variance, agreement, start = torch.tensor([1.3], dtype=torch.float64), torch.tensor([0.9], dtype=torch.float64), 0.05
    layers = [torch.full((1, 1), start ** (1 / depth), dtype=torch.float64) for _ in range(depth)]
    weight, rate, steps = start, 0.004, 0
    while weight < 0.5:
        for layer in layers:
            layer.requires_grad_()
        product = layers[0] if depth == 1 else layers[1] @ layers[0]
        slopes = torch.autograd.grad(spectral_loss(product, variance.diag(), agreement.diag()), layers)
        layers = [(layer - rate * slope).detach() for layer, slope in zip(layers, slopes, strict=True)]
        weight, steps = float(torch.stack(layers).prod()), steps + 1
    predicted = float(time_to_learn(torch.tensor([weight], dtype=torch.float64), start, variance, agreement, depth))
    assert steps * rate == pytest.approx(predicted, rel=0.01)


def test_features_are_learned_one_after_the_other_in_the_order_of_their_agreement() -> None:
    times = time_to_learn(learned_weights(VARIANCE, AGREEMENT)[-1] / 2, 1e-3, VARIANCE, AGREEMENT)
    assert times.argsort().tolist() == AGREEMENT.argsort(descending=True).tolist()


def test_impossible_strengths_and_depths_are_refused() -> None:
    with pytest.raises(InputError, match="agreement"):
        learned_weights(torch.ones(2), torch.tensor([0.5, 1.5]))
    with pytest.raises(InputError, match="depth 3"):
        time_to_learn(torch.ones(1), 0.1, torch.ones(1), torch.ones(1), depth=3)
    with pytest.raises(InputError, match="rate 5"):
        train_linear(torch.eye(2), torch.eye(2), [2], time=500.0, rate=5.0, scale=1.0)


# --- probes of real features ------------------------------------------------------------------------------------------------------------------


def two_factors(rows: int, share: float = 0.5, seed: int = 0) -> tuple[Labelled, torch.Tensor]:
    """Features of which the first tells the label and the second, more strongly, a background that agrees with it in `share` of the rows; and groups."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.randint(2, (rows,), generator=generator)
    background = torch.where(torch.rand(rows, generator=generator) < share, y, 1 - y)
    x = torch.stack([2.0 * y - 1, 6.0 * background - 3], 1) + 0.8 * torch.randn(rows, 2, generator=generator)
    return Labelled(x, y, 2), 2 * y + background


def test_a_head_that_drops_what_tells_the_label_is_found_out() -> None:
    train, test = two_factors(600)[0], two_factors(300, seed=1)[0]
    found = projection_head(train, test, lambda x: x[:, 1:])
    assert list(found) == ["linear before the head", "knn before the head", "linear after the head", "knn after the head"]
    assert found["linear before the head"].value > 0.85
    assert found["linear after the head"].value < 0.6


def test_a_head_that_keeps_everything_changes_nothing_and_none_is_no_column() -> None:
    train, test = two_factors(300)[0], two_factors(200, seed=1)[0]
    found = projection_head(train, test, torch.nn.Identity())
    assert found["linear before the head"] == found["linear after the head"]
    assert list(projection_head(train, test)) == ["linear before the head", "knn before the head"]


def test_balanced_last_layers_are_right_in_the_group_that_a_plain_probe_gives_up() -> None:
    (train, groups), (test, asked) = two_factors(2000, share=0.98), two_factors(1000, seed=1)
    found = projection_head(train, test, torch.nn.Identity(), groups, asked)
    worst = found["DFR, worst group, before the head"]
    assert worst == found["DFR, worst group, after the head"]
    from manyviews.evaluate.linear import linear

    plain = worst_group(linear(train).predict(test.x) == test.y, asked)
    assert worst.value > 0.8 > plain.value + 0.1


def test_the_mean_of_the_retrained_layers_is_what_each_says_where_they_agree() -> None:
    train, groups = two_factors(400)
    once, often = dfr(train, groups, draws=1), dfr(train, groups, draws=10)
    assert (once(train.x) == often(train.x)).double().mean() > 0.97


def test_a_balanced_draw_has_as_many_rows_of_each_group_as_the_smallest_and_none_of_the_unknown() -> None:
    groups = torch.tensor([0] * 7 + [1] * 3 + [-1] * 5 + [2] * 4)
    rows = balanced(groups, [0, 1, 2], seed=0)
    assert groups[rows].bincount().tolist() == [3, 3, 3]
    assert len(rows.unique()) == 9 and not torch.equal(rows, balanced(groups, [0, 1, 2], seed=1))


def test_one_group_cannot_be_balanced() -> None:
    train, groups = two_factors(50)
    with pytest.raises(InputError, match="1 group:"):
        dfr(train, torch.zeros_like(groups))


def test_the_worst_group_is_the_one_with_the_lowest_accuracy() -> None:
    right = torch.tensor([True, True, False, True, False, False])
    assert worst_group(right, torch.tensor([0, 0, 1, 1, -1, -1])).value == 0.5
