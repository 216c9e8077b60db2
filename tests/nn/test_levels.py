import torch

from manyviews.contracts import Tokens, View
from manyviews.nn.levels import cells_of, coarsest, levels_of


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


def test_cells_of_the_input_say_where_they_are() -> None:
    x = torch.arange(24.0).view(1, 1, 2, 3, 4)
    tokens = cells_of(x)
    k = (1 * 3 + 2) * 4 + 3  # depth 1, row 2, column 3
    torch.testing.assert_close(tokens.x[0, k], torch.tensor([23.0, 3.5 / 4, 2.5 / 3, 1.5 / 2]))
    assert torch.equal(tokens.where[0, k], tokens.x[0, k, 1:])
