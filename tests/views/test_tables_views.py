"""Views of rows: what is replaced comes from the column, what is drawn depends on the row alone, what is plain is the row."""

import numpy as np
import pytest
import torch

from manyviews.contracts import View
from manyviews.counters import Counter
from manyviews.data.builtin_tables import builtin_tables
from manyviews.data.table_columns import Rows
from manyviews.data.tables import from_array
from manyviews.errors import InputError
from manyviews.views import tables
from manyviews.views.finding import is_policy
from manyviews.views.policy import Changed
from manyviews.views.tables import Corrupt, Hide, Noise, Row


def some(count: int = 200) -> View:
    return builtin_tables().batch(np.arange(count))


def one(row: Row, v: View, role: str = "v", step: int = 0) -> View:
    return row.apply(v, Counter(3, step), [role])[0]


def test_the_plain_view_is_the_row():
    v = some(5)
    seen = tables.plain(16)(v, Counter(0, 0))["v"]
    assert seen.x is v.x and seen.given is v.given and seen.g.inverse() == Changed()


def test_corrupted_values_come_from_the_columns_training_values_and_the_others_stay():
    v = some()
    seen = one(Row((Corrupt(0.6),)), v)
    replaced = seen.g.parameters["replaced"]
    assert 0.55 < float(replaced.float().mean()) < 0.65
    assert torch.equal(seen.x.values[~replaced].nan_to_num(-7), v.x.values[~replaced].nan_to_num(-7))
    for k in range(replaced.shape[1]):
        known = set(v.x.scheme.marginal[:, k].nan_to_num(-7).tolist())
        assert set(seen.x.values[replaced[:, k], k].nan_to_num(-7).tolist()) <= known


def test_what_is_drawn_is_distributed_as_the_column_is_in_training():
    data = from_array({"c": ["a"] * 70 + ["b"] * 20 + [None] * 10, "x": np.arange(100.0)})
    v = View(data.batch(np.arange(100)).x, torch.arange(100))
    seen = [one(Row((Corrupt(1.0),)), v, step=step).x for step in range(30)]
    category = torch.cat([x.scheme.category(x.values)[:, 0].masked_fill(x.values[:, 0].isnan(), 9) for x in seen])
    shares = [float((category == k).float().mean()) for k in (0, 1, 9)]
    assert shares == pytest.approx([0.7, 0.2, 0.1], abs=0.03)
    assert float(torch.cat([x.values[:, 1] for x in seen]).mean()) == pytest.approx(49.5, abs=2)


def test_a_row_becomes_the_same_whatever_else_is_in_the_batch():
    row = Row((Corrupt(0.5), Hide(0.2), Noise(0.1)))
    v = some(8)
    whole = one(row, v).x.values
    part = one(row, View(Rows(v.x.values[3:5], v.x.scheme), v.index[3:5])).x.values
    assert torch.equal(whole[3:5].nan_to_num(-7), part.nan_to_num(-7))


def test_two_roles_and_two_steps_draw_different_numbers():
    v, row = some(8), Row((Noise(0.1),))
    a, b = row.apply(v, Counter(3, 0), ["v", "w"])
    assert not torch.equal(a.x.values.nan_to_num(), b.x.values.nan_to_num())
    assert not torch.equal(a.x.values.nan_to_num(), one(row, v, step=1).x.values.nan_to_num())


def test_noise_moves_numbers_by_shares_of_their_deviation_and_no_category():
    v = some(1000)
    seen = one(Row((Noise(0.5),)), v)
    moved = (seen.x.values - v.x.values) / v.x.scheme.std
    numeric = v.x.scheme.numeric
    assert float(moved[:, numeric].nan_to_num().std()) == pytest.approx(0.5, abs=0.03)
    assert float(moved[:, ~numeric].nan_to_num().abs().max()) == 0


def test_hidden_values_are_missing_and_one_stays_in_every_row():
    data = from_array(np.arange(40.0).reshape(10, 4))
    v = data.batch(np.arange(10))
    seen = one(Row((Hide(1.0),)), v)
    assert seen.x.values.isnan().sum(1).tolist() == [3] * 10
    with pytest.raises(ValueError, match="hidden.* cannot be brought back"):
        seen.g.inverse()


def test_raw_holds_standardised_numbers_flags_and_one_hot_categories():
    data = from_array({"x": [1.0, 3.0, None, 2.0], "c": ["a", "a", "b", None], "many": [f"m{k // 2}" for k in range(4)]})
    found = tables.raw(data.batch(np.arange(4)))
    z = (1.5) ** 0.5
    expected = [[-z, 0, 1, 0, 1, 0, 0], [z, 0, 1, 0, 1, 0, 0], [0, 1, 0, 1, 0, 1, 0], [0, 0, 0, 0, 0, 1, 0]]
    codes = data.form["columns"][2]["categories"]
    order = [0, 1, 2, 3, *(4 + codes.index(name) for name in ("m0", "m1")), 6]
    assert torch.allclose(found[:, order], torch.tensor(expected), atol=1e-5)


def test_raw_has_as_many_numbers_for_every_batch():
    data = builtin_tables()
    assert tables.raw(data.batch(np.arange(3))).shape[1] == tables.raw(data.batch(np.array([99]))).shape[1]


def test_bare_tensors_cannot_be_changed():
    with pytest.raises(InputError, match="need to know their columns"):
        one(Row((Noise(0.1),)), View(torch.randn(2, 3), torch.arange(2)))


def test_the_policies_are_those_of_tables():
    assert is_policy(tables, "scarf", tables.scarf) and is_policy(tables, "plain", tables.plain)
    assert tables.weak(3).pixels == tables.plain(3).pixels == 0
    assert set(tables.scarf(3).roles) == {"v", "w"} and tables.local(4) != tables.strong(4)
