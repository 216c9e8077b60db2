import torch

from manyviews.contracts import Tokens, View
from manyviews.nn.levels import coarsest, levels_of


def test_an_encoder_is_asked_as_it_is_in_evaluation() -> None:
    class Net(torch.nn.Module):
        def pyramid(self, view: View) -> list[Tokens]:
            self.was = self.training
            return [Tokens(view.x, view.x)]

    net = Net().train()
    levels_of(net)(View(torch.zeros(1, 4, 3), torch.zeros(1, dtype=torch.long)))
    assert not net.was and net.training


def test_the_coarsest_level_is_one_with_parts_enough() -> None:
    levels = [Tokens(torch.zeros(1, n, 2), torch.zeros(1, n, 2)) for n in (256, 49, 16, 16)]
    assert coarsest(levels, 49) is levels[1] and coarsest(levels, 17) is levels[1]
    assert coarsest(levels[2:], 49) is levels[3], "the last of those with as many as any"
