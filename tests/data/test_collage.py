"""Pictures side by side, and what lies where."""

import numpy as np
import pytest

from manyviews.data.collage import collage
from manyviews.data.opening import open_data


def plain_pictures(side=8):
    """Twelve pictures of one grey each, in three classes: class c is 80 * c + 10."""
    y = np.arange(12) % 3
    x = np.broadcast_to((80 * y + 10).astype(np.uint8)[:, None, None, None], (12, side, side, 3)).copy()
    return open_data(x).with_columns(label=y).keep()


def test_each_cell_shows_a_picture_of_the_class_that_its_label_names():
    made = collage(plain_pictures(), 20, grid=2, side=4)
    assert len(made) == 20 and made[0].shape == (8, 8, 3)
    for i in range(20):
        for k, label in enumerate(made.columns["cells"][i]):
            row, column = divmod(k, 2)
            assert (made[i][4 * row : 4 * row + 4, 4 * column : 4 * column + 4] == 80 * label + 10).all()
        assert made.labels[i] == made.columns["cells"][i][0]


def test_it_is_the_same_each_time_and_another_with_another_seed():
    data = plain_pictures()
    assert np.array_equal(collage(data, 5, side=4).kept, collage(data, 5, side=4).kept)
    assert not np.array_equal(collage(data, 5, side=4).kept, collage(data, 5, side=4, seed=1).kept)
    assert collage(data, 5, side=4).fingerprint() != collage(data, 5, side=4, seed=1).fingerprint()


def test_cells_larger_than_the_pictures_are_refused():
    with pytest.raises(ValueError, match="cells of 16 pixels from pictures of 8"):
        collage(plain_pictures(), 5, side=16)
