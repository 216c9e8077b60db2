import math

import pytest
import torch

from manyviews.contracts import Tokens
from manyviews.errors import InputError
from manyviews.evaluate.prompt_patch import (
    Similarities,
    central_part,
    intersection_over_union,
    object_similarities,
    owners,
    prompt_at,
    prompt_patch,
    prompt_segmentation,
    similarity_map,
)


def grid(batch: int, side: int = 4) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return ((torch.stack([x, y], -1).reshape(1, -1, 2) + 0.5) / side).expand(batch, -1, -1)


def scene(batch: int = 6, noise: float = 0.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Parts near one direction on the object (the left half) and near another off it."""
    g = torch.Generator().manual_seed(0)
    mask = grid(batch)[..., 0] < 0.5
    parts = torch.where(mask[..., None], torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 1.0, 0.0]))
    return parts + noise * torch.randn(batch, 16, 3, generator=g), mask


def test_the_map_is_the_cosine_to_the_prompts_feature() -> None:
    parts, prompt = torch.randn(3, 5, 4), torch.tensor([0, 4, 2])
    found = similarity_map(parts, prompt)
    for n in range(3):
        p = parts[n, prompt[n]].tolist()
        for t in range(5):
            q = parts[n, t].tolist()
            slow = sum(a * b for a, b in zip(p, q, strict=True)) / math.sqrt(sum(a * a for a in p) * sum(b * b for b in q))
            assert float(found[n, t]) == pytest.approx(slow, abs=1e-5)
        assert float(found[n, prompt[n]]) == pytest.approx(1, abs=1e-5)


def test_scaling_or_rotating_all_features_changes_nothing() -> None:
    parts, mask = scene(noise=0.5)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)))
    a, b = prompt_segmentation(parts, mask, grid(6)), prompt_segmentation(7 * parts @ q, mask, grid(6))
    assert a.mean == pytest.approx(b.mean, abs=1e-6)
    objects = mask.long()
    assert object_similarities(parts, objects).overlap == pytest.approx(object_similarities(7 * parts @ q, objects).overlap, abs=0.02)


def test_intersection_over_union_is_counted_part_by_part() -> None:
    guess = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]]).bool()
    mask = torch.tensor([[0, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 0]]).bool()
    assert intersection_over_union(guess, mask).tolist() == pytest.approx([1 / 3, 1.0, 3 / 4])
    exists = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0]]).bool()
    assert intersection_over_union(guess, mask, exists).tolist() == pytest.approx([1 / 2, 1.0, 1.0])


def test_a_point_prompts_the_nearest_part_and_padding_is_never_prompted() -> None:
    point = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
    assert prompt_at(grid(2), point).tolist() == [3, 12]
    exists = torch.ones(2, 16, dtype=torch.bool)
    exists[0, 3] = False
    assert prompt_at(grid(2), point, exists)[0] in (2, 7)


def test_the_central_part_lies_on_the_object_even_where_its_centre_does_not() -> None:
    ring = torch.ones(1, 5, 5, dtype=torch.bool)
    ring[:, 1:4, 1:4] = False
    mask = ring.view(1, 25)
    assert mask[0, central_part(grid(1, 5), mask)]
    assert central_part(grid(1, 5), torch.ones(1, 25, dtype=torch.bool)).tolist() == [12]


def test_parts_of_one_direction_an_object_are_segmented_perfectly() -> None:
    parts, mask = scene()
    sweep = prompt_segmentation(parts, mask, grid(6))
    assert sweep.best.value == 1 and 0 < sweep.threshold <= 1
    off = prompt_segmentation(parts, mask, grid(6), point=torch.tensor([[0.9, 0.5]]).expand(6, -1), thresholds=(0.5,))
    assert off.best.value == 0  # a prompt beside the object finds the other half


def test_one_threshold_is_for_all_samples_and_the_extremes_take_everything_or_the_prompt() -> None:
    parts, mask = scene(noise=0.6)
    sweep = prompt_segmentation(parts, mask, grid(6), thresholds=(-1.1, 0.3, 0.999999))
    assert sweep.mean[0] == pytest.approx(0.5) and sweep.mean[2] == pytest.approx(1 / 8)
    similarity = similarity_map(parts, central_part(grid(6), mask))
    slow = [len({t for t in range(16) if similarity[n, t] >= 0.3 and mask[n, t]}) / int(((similarity[n] >= 0.3) | mask[n]).sum()) for n in range(6)]
    assert sweep.mean[1] == pytest.approx(sum(slow) / 6)
    assert sweep.best.value == pytest.approx(max(sweep.mean)) and sweep.threshold == sweep.thresholds[sweep.mean.index(max(sweep.mean))]


def test_padding_changes_no_score() -> None:
    parts, mask = scene(noise=0.6)
    more = torch.cat([parts, torch.randn(6, 3, 3)], 1)
    longer, where = torch.cat([mask, torch.ones(6, 3, dtype=torch.bool)], 1), torch.cat([grid(6), torch.zeros(6, 3, 2)], 1)
    exists = torch.arange(19).expand(6, -1) < 16
    assert prompt_segmentation(more, longer, where, exists=exists).mean == pytest.approx(prompt_segmentation(parts, mask, grid(6)).mean)
    objects = mask.long()
    padded = torch.cat([objects, torch.full((6, 3), -1)], 1)
    assert torch.equal(object_similarities(more, padded).within, object_similarities(parts, objects).within)


def test_histograms_are_those_of_a_loop_over_pairs_in_the_same_sample() -> None:
    parts, objects = torch.randn(4, 6, 3), torch.randint(-1, 3, (4, 6), generator=torch.Generator().manual_seed(0))
    counts = [[0] * 10, [0] * 10]
    for n in range(4):
        for i in range(6):
            for j in range(i):
                if objects[n, i] >= 0 and objects[n, j] >= 0:
                    cosine = float(torch.nn.functional.cosine_similarity(parts[n, i], parts[n, j], dim=0))
                    counts[int(objects[n, i] != objects[n, j])][min(9, int((cosine + 1) / 2 * 10))] += 1
    found = object_similarities(parts, objects, bins=10)
    for row, histogram in zip(counts, (found.within, found.between), strict=True):
        assert histogram.tolist() == pytest.approx([c / sum(row) for c in row])
    shared = sum(min(a / sum(counts[0]), b / sum(counts[1])) for a, b in zip(*counts, strict=True))
    assert found.overlap == pytest.approx(shared, abs=1e-6)


def test_the_overlap_is_zero_for_separate_objects_and_high_for_random_features() -> None:
    parts, mask = scene()
    assert object_similarities(parts, mask.long()).overlap == 0
    g = torch.Generator().manual_seed(0)
    assert object_similarities(torch.randn(200, 16, 3, generator=g), mask[:1].expand(200, -1).long(), bins=20).overlap > 0.95
    same = torch.full((4,), 0.25)
    assert Similarities(same, same).overlap == 1


def test_what_cannot_be_measured_is_said() -> None:
    parts, mask = scene()
    with pytest.raises(InputError, match="1 of 6 samples have no part"):
        prompt_segmentation(parts, mask & (torch.arange(6) > 0)[:, None], grid(6))
    with pytest.raises(InputError, match="two objects"):
        object_similarities(parts, torch.zeros(6, 16, dtype=torch.long))
    with pytest.raises(InputError, match="no threshold"):
        prompt_segmentation(parts, mask, grid(6), thresholds=())
    with pytest.raises(InputError, match="0 bins"):
        object_similarities(parts, mask.long(), bins=0)


def test_parts_belong_to_what_most_places_near_them_say() -> None:
    where = torch.tensor([[[0.25, 0.5], [0.75, 0.5], [5.0, 5.0]]])
    places = torch.tensor([[[0.1, 0.5], [0.2, 0.4], [0.3, 0.6], [0.7, 0.5], [0.8, 0.5], [0.9, 0.5]]])
    assert owners(where, places, torch.tensor([[9, 9, 2, 2, -1, -1]])).tolist() == [[9, 2, -1]]
    assert owners(where, places, torch.full((1, 6), -1)).tolist() == [[-1, -1, -1]]


def test_every_object_of_every_scene_is_prompted() -> None:
    """Features that are the object's own direction give each object whole; the same features everywhere give all parts."""
    objects = torch.where(grid(1)[..., 0] < 0.5, 3, torch.where(grid(1)[..., 1] < 0.5, 1, -1))  # half, a quarter, and a quarter of none
    own = torch.nn.functional.one_hot(objects + 1, 5).float()
    found = prompt_patch([(Tokens(own, grid(1)), objects)] * 3)
    assert found["IoU from a prompt"].value == pytest.approx(1.0) and found["overlap of similarities"].value == pytest.approx(0.0)
    blind = prompt_patch([(Tokens(torch.ones_like(own), grid(1)), objects)] * 3)
    assert blind["IoU from a prompt"].value == pytest.approx((1 / 2 + 1 / 4) / 2) and blind["overlap of similarities"].value == pytest.approx(1.0)
    assert prompt_patch([(Tokens(own, grid(1)), (objects == 3).long() - 1)]).keys() == {"IoU from a prompt"}, "one object: there is nothing between"
    with pytest.raises(InputError, match="no sample shows an object of two parts"):
        prompt_patch([(Tokens(own, grid(1)), torch.full_like(objects, -1))])


def test_of_a_scene_of_very_many_parts_some_are_looked_at() -> None:
    side = 64
    objects = (grid(1, side)[..., 0] < 0.5).long()
    found = prompt_patch([(Tokens(torch.nn.functional.one_hot(objects, 2).float(), grid(1, side)), objects)])
    assert found["IoU from a prompt"].value == pytest.approx(1.0)
