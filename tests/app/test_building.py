"""From words to a recipe."""

from __future__ import annotations

from manyviews.app.building import changed
from manyviews.contracts import Recipe


def test_words_replace_what_they_name_and_empty_ones_nothing() -> None:
    recipe = Recipe(views="dino", optimizer="adamw", weight_decay=0.04, final_weight_decay=0.4, warmup=0.1)
    assert changed(recipe, {"views": "", "optimizer": "sgd", "clip": None, "warmup": 0.0, "lr": 3.0}) == Recipe(
        views="dino", optimizer="sgd", weight_decay=0.04, final_weight_decay=0.4, warmup=0.0
    )


def test_a_weight_decay_that_was_asked_for_stays_to_the_end() -> None:
    recipe = changed(Recipe(weight_decay=0.04, final_weight_decay=0.4), {"weight_decay": 0.0})
    assert (recipe.weight_decay, recipe.final_weight_decay) == (0.0, None)
