"""Reading a transformation back, retrieval among views, and the traps of the published definitions."""

import math

import pytest
import torch
from scipy.spatial.transform import Rotation

from manyviews.errors import InputError
from manyviews.evaluate.symmetry import measure
from manyviews.evaluate.symmetry_decoding import angle, nearest_rotation, relative_rotation
from manyviews.evaluate.symmetry_retrieval import chance, ranks
from manyviews.evaluate.symmetry_scores import r2_sie
from manyviews.evaluate.symmetry_tuples import Tuples, orbits
from manyviews.groups.lie import relative_quaternion

DOUBLE = torch.float64


def rotations(count, seed=0):
    return torch.tensor(Rotation.random(count, random_state=seed).as_matrix())


def test_parameters_that_are_there_are_read_and_those_that_are_not_are_not():
    x, t = torch.randn(80, 5, dtype=DOUBLE), torch.randn(4, 80, 1, dtype=DOUBLE)
    kept, lost = torch.cat([x.repeat(4, 1, 1), x.sum(1)[None, :, None] + t], 2), x + 0.1 * torch.randn(4, 80, 5, dtype=DOUBLE)
    before = torch.cat([x, x.sum(1, keepdim=True)], 1)
    assert measure("hue", orbits(before, kept, t)).scores["R2, linear"].value > 0.999
    assert measure("hue", orbits(x, lost, t)).scores["R2, perceptron"].value < 0.1


def test_angles_are_exact_at_both_ends_and_the_nearest_rotation_is_one():
    r = rotations(50)
    for degrees in (1e-6, 1.0, 90.0, 179.0, 180.0):
        by = torch.tensor(Rotation.from_rotvec([0, 0, math.radians(degrees)]).as_matrix())
        assert angle(r @ by, r) == pytest.approx(torch.full((50,), degrees).tolist(), rel=1e-6)
    near = nearest_rotation(torch.randn(50, 3, 3, dtype=DOUBLE))
    assert torch.allclose(torch.linalg.det(near), torch.ones(50, dtype=DOUBLE)) and torch.allclose(nearest_rotation(3 * r), r)


def benchmark_poses(count=20000):
    """Two poses of an object, as 3DIEBench draws them: each angle uniform within a quarter turn to both sides."""
    angles = torch.rand(2, count, 3, generator=torch.Generator().manual_seed(0)).sub(0.5).mul(math.pi).numpy()
    return [Rotation.from_euler("xyz", a) for a in angles]


def test_the_papers_r2_gives_a_constant_credit_and_a_perfect_reader_with_other_signs_less_than_one():
    poses = benchmark_poses()
    one, two = (torch.tensor(p.as_quat())[:, [3, 0, 1, 2]] for p in poses)
    target = relative_quaternion(one, two)
    assert r2_sie(target, target.mean(0).expand_as(target)) == pytest.approx(0.229, abs=0.01)
    assert r2_sie(target, target * target[:, :1].sign()) == pytest.approx(0.81, abs=0.02)
    assert r2_sie(target, target) == 1
    matrix = torch.tensor((poses[0].inv() * poses[1]).as_matrix())
    w = relative_rotation(*(torch.tensor(p.as_matrix()) for p in poses), "body")
    assert torch.allclose(w, matrix)


def test_the_world_frame_rotation_is_another_than_the_body_frame_one():
    one, two = (torch.tensor(p.as_matrix()) for p in benchmark_poses())
    world, body = (relative_rotation(one, two, side) for side in ("world", "body"))
    assert angle(world, body).mean() == pytest.approx(77, abs=2)
    with pytest.raises(InputError, match="'world'.*'body'"):
        relative_rotation(one, two, "left")


def test_the_papers_r2_is_an_option_and_labelled_as_such():
    x, r = torch.randn(60, 4, 3, dtype=DOUBLE), rotations(180).view(3, 60, 3, 3)
    tuples = orbits(x.flatten(1), (x @ r.mT).flatten(2), torch.zeros(3, 60, 1), rotation=r)
    assert not any("SIE" in name for name in measure("so3", tuples).beside)
    assert "signs" in measure("so3", tuples, papers=True).refused["R2 as in SIE"]
    q = torch.tensor(Rotation.from_matrix(tuples.rotation.numpy()).as_quat())
    found = measure("so3", Tuples(**{**vars(tuples), "quaternion": q}), papers=True, side="body")
    assert "R2 as in SIE (one mean over all components), perceptron" in found.beside and "R2 of the body-frame rotation, linear" in found.scores


def test_ranks_leave_the_source_out_and_share_ties():
    z = torch.eye(4)[[0, 0, 1, 2, 3]]
    candidates, source, target = torch.tensor([[0, 1, 2, 3, -1]]), torch.tensor([0]), torch.tensor([1])
    rank, count = ranks(z[[0]], z, candidates, source, target)
    assert rank.tolist() == [1] and count.tolist() == [3]  # the source itself, just as near, is not there
    rank, _ = ranks(torch.ones(1, 4), z, candidates, source, target)
    assert rank.tolist() == [2]  # three that are alike: the middle, not the first


def test_ranks_are_those_of_a_slow_loop_and_random_ranks_reach_chance():
    z, query = torch.randn(40, 6), torch.randn(40, 6)
    source = torch.arange(40)
    target = (source // 10) * 10 + (source + 3) % 10
    rank, count = ranks(query, z, (torch.arange(10) + (source // 10 * 10)[:, None]), source, target)
    for i in range(40):
        others = [j for j in range(i // 10 * 10, i // 10 * 10 + 10) if j != i]
        cosine = {j: float(torch.cosine_similarity(query[i].double(), z[j].double(), 0)) for j in others}
        assert rank[i] == 1 + sum(cosine[j] > cosine[int(target[i])] for j in others)
    assert (count == 9).all()


def test_chance_over_fifty_views_is_what_the_papers_scores_stand_beside():
    assert chance(torch.tensor([50]), (1, 5)) == pytest.approx({"MRR": 0.090, "H@1": 0.02, "H@5": 0.1}, abs=5e-4)
