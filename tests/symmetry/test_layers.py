"""Every equivariant layer of manyviews/symmetry, found in its file and tried: f(in_rep(g) x) = out_rep(g) f(x)."""

import importlib
import pkgutil

import pytest
import torch

import manyviews.symmetry
from manyviews.groups import check_layer

MODULES = [importlib.import_module(f"manyviews.symmetry.{module.name}") for module in pkgutil.iter_modules(manyviews.symmetry.__path__)]


def found():
    """(name, layer) of what every file gives."""
    for module in MODULES:
        torch.manual_seed(0)
        for name, layer in module.layers().items():
            yield pytest.param(layer, id=f"{module.__name__.rsplit('.', 1)[1]}-{name}")


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rsplit(".", 1)[1])
def test_every_file_gives_its_layers(module):
    assert module.layers()


@pytest.mark.parametrize("layer", found())
def test_a_layer_respects_its_group_exactly_or_says_how_far_it_is_off(layer):
    errors = check_layer(layer)  # raises above 1e-9 in float64 and 1e-3 in float32, unless the layer says exact = False
    assert set(errors) == {torch.float64, torch.float32}
    if not getattr(layer, "exact", True):
        assert errors[torch.float64] > 1e-9, "what is exact should not say that it is not"
