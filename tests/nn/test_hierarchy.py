import itertools

import torch

from manyviews.nn.hierarchy import back_project, compact, scattered


def test_a_finer_group_is_visible_just_where_some_visible_group_holds_it():
    g = torch.Generator().manual_seed(0)
    for groups, members, count in ((6, 4, 20), (3, 8, 5), (5, 1, 9)):
        rows = torch.randint(0, count, (7, groups, members), generator=g)
        visible = torch.rand(7, groups, generator=g) < 0.4
        found = back_project(visible, rows, count)
        for n, i in itertools.product(range(7), range(count)):
            assert bool(found[n, i]) == any(i in rows[n, j].tolist() for j in range(groups) if visible[n, j])


def test_nothing_visible_makes_nothing_visible_and_all_of_it_just_the_members():
    rows = torch.tensor([[[0, 2], [2, 3]]])
    assert not back_project(torch.zeros(1, 2, dtype=torch.bool), rows, 5).any()
    assert back_project(torch.ones(1, 2, dtype=torch.bool), rows, 5).tolist() == [[True, False, True, True, False]]


def test_visible_ones_are_moved_together_and_back():
    visible = torch.tensor([[False, True, False, True], [True, False, False, False], [False, False, False, False]])
    rows, there = compact(visible)
    assert rows[0].tolist() == [1, 3] and there.tolist() == [[True, True], [True, False], [False, False]]
    full, t = torch.arange(12.0).view(3, 4, 1), -torch.ones(3, 2, 1)
    found = scattered(full, rows, there, t)
    assert torch.equal(found[..., 0], torch.where(visible, -1.0, full[..., 0]))
