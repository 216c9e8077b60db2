"""Pictures are handed on, and everything else is told by what needs them."""

import pytest
import torch

from manyviews.contracts import View
from manyviews.errors import InputError
from manyviews.nn.pixels import pixels


def test_pictures_are_handed_on_as_they_are() -> None:
    x = torch.rand(2, 3, 8, 8)
    assert pixels(View(x, torch.arange(2)), "mrdd") is x


@pytest.mark.parametrize("x", [torch.rand(2, 5, 3, 8, 8), torch.rand(2, 7), object()])
def test_everything_else_is_refused(x: object) -> None:
    with pytest.raises(InputError, match="mrdd takes pictures"):
        pixels(View(x, torch.arange(2)), "mrdd")
