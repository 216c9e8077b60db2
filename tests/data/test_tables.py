"""Tables: what a file says becomes numbers that mean the same in every file, and what cannot be read is said."""

import dataclasses
import functools
import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
import torch

from manyviews.data import table_columns, table_files
from manyviews.data.builtin_tables import builtin_tables
from manyviews.data.dataset import Data, Unreadable
from manyviews.data.splits import split
from manyviews.data.table_columns import FAR, MARGINAL, Scheme, code
from manyviews.data.tables import formed, from_array, looks_like_tables, natural_size, open_tables
from manyviews.errors import InputError

PEOPLE = "age,town,member,since,label\n31,Rome,yes,2020-01-02,a\n?,Oslo,no,2020-01-03,b\n47.5,Rome,,1969-12-31,a\n20,NA,yes,,b\n"


@pytest.fixture
def write(tmp_path: Path):
    def write(content: str | bytes, name: str = "table.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def kinds(data: Data) -> dict[str, str]:
    return {c["name"]: c["kind"] for c in data.form["columns"]}


def test_types_are_told_from_the_cells_and_said_in_one_line(write):
    data = open_tables(write(PEOPLE))
    assert kinds(data) == {"age": "numeric", "town": "categorical", "member": "boolean", "since": "date"}
    assert list(data.columns["label"]) == [0, 1, 0, 1] and data.classes == ["a", "b"]
    expected = [[31, code("Rome"), 1, 18263], [np.nan, code("Oslo"), 0, 18264], [47.5, code("Rome"), np.nan, -1], [20, np.nan, 1, np.nan]]
    assert np.array_equal(np.stack([data[i] for i in range(4)]), np.array(expected, np.float32), equal_nan=True)
    assert data[0].dtype == np.float32 and natural_size(data.look(2)) == 4
    assert "1 numeric + 1 categorical (town) + 1 boolean (member) + 1 date (since)" in data.describe() and "\n" not in data.describe()


def test_the_form_has_the_mean_and_the_deviation_of_training_rows_alone(write):
    data = open_tables(write("x,kind,split\n1,a,train\n3,a,train\n100,b,test\n100,b,test\n"))
    x, kind = data.form["columns"]
    assert (x["mean"], x["std"]) == (2.0, 1.0)
    assert kind["codes"] == [code("a")] and kind["categories"] == ["a"]
    assert len(x["marginal"]) == MARGINAL and set(x["marginal"]) == {1.0, 3.0}


def test_a_category_that_training_has_not_is_other_and_codes_depend_on_no_file(write):
    known = open_tables(write("c,x\nred,1\nred,2\nblue,3\nblue,4\nblue,5\nonce,6\n", "a.csv"))
    later = open_tables(write("c,x\ngreen,1\nblue,2\nred,3\n,4\n", "b.csv"))
    scheme = Scheme(known.form["columns"])
    assert known.form["columns"][0]["categories"] == ["blue", "red"]  # by how often; what occurs once is not remembered
    x = later.batch(np.arange(4)).x.values
    assert scheme.category(x)[:, 0].tolist() == [2, 0, 1, 2]
    assert scheme.category(x)[:, 1].tolist() == [0] * 4


def test_standardised_numbers_agree_with_numpy_and_are_cut_far_out():
    x = np.random.default_rng(0).normal(5, 3, (50, 3))
    scheme = Scheme(from_array(x).form["columns"])
    assert np.allclose(scheme.standard(torch.from_numpy(x).float()).numpy(), (x - x.mean(0)) / x.std(0), atol=1e-5)
    assert scheme.standard(torch.tensor([[1e30, -torch.inf, torch.nan]]))[0].tolist() == [FAR, -FAR, 0.0]


def test_formed_sees_the_selection_alone():
    data = from_array({"x": [1.0, 3.0, 50.0], "c": ["a", "a", "b"]})
    part = formed(data.select(np.array([0, 1])))
    assert part.form["columns"][0]["mean"] == 2.0 and part.form["columns"][1]["categories"] == ["a"]
    assert part.batch(np.arange(2)).x.scheme.mean[0] == 2.0


@pytest.mark.parametrize(
    ("content", "name", "names"),
    [
        ("\ufeffa,b\n1,2\n3,4\n", "t.csv", ["a", "b"]),
        ("a;b\n1,5;2\n3,25;4\n", "t.csv", ["a", "b"]),
        ("a\tb\n1\t2\n3\t4\n", "t.tsv", ["a", "b"]),
        ("a|b\n1|2\n3|4\n", "t.csv", ["a", "b"]),
        ("1,2\n3,4\n", "t.csv", ["1", "2"]),
        ("a,a,\n1,2,3\n4,5,6\n", "t.csv", ["a", "a (2)", "column 3"]),
        (gzip.compress(b"a,b\n1,2\n3,4\n", mtime=0), "t.csv.gz", ["a", "b"]),
        ("a,b\r\n1,2\r\n\r\n3,4\r\n".encode("utf-16"), "t.csv", ["a", "b"]),
    ],
)
def test_separators_marks_and_headers_are_told(write, content, name, names):
    data = open_tables(write(content, name))
    assert [c["name"] for c in data.form["columns"]] == names and set(kinds(data).values()) == {"numeric"}
    assert len(data) == 2 and data[0][0] in (1.0, 1.5)


def test_latin_letters_are_read_and_it_is_said(write):
    data = open_tables(write("town,x\nK\xf6ln,1\nK\xf6ln,2\n".encode("latin-1")))
    assert data.form["columns"][0]["categories"] == ["Köln"] and "Latin-1" in data.describe()


def test_rows_of_another_length_keep_their_place_and_cannot_be_read(write):
    data = open_tables(write("a,b,label\n" + "1,2,x\n" * 9 + "1,2\n" + "3,4,y\n"))
    assert len(data) == 11 and data[10].tolist() == [3.0, 4.0] and data.columns["label"].tolist() == [0] * 9 + [-1, 1]
    with pytest.raises(Unreadable, match="2 cells instead of 3"):
        data[9]
    assert "1 row has another number of cells" in data.describe() and data.name(9) == "row 10"


def test_a_file_of_ragged_rows_is_refused(write):
    with pytest.raises(InputError, match="not of the first row's 2 cells .*name the separator"):
        open_tables(write("a,b\n1,2,3\n4,5\n6\n7,8,9\n"))


@pytest.mark.parametrize(
    ("content", "said"),
    [("", "is empty"), ("\n\n", "is empty"), ("a,b\n", "and no rows"), ("label\nx\ny\n", "has no columns but the label")],
)
def test_what_is_no_table_is_said(write, content, said):
    with pytest.raises(InputError, match=said):
        open_tables(write(content))


def test_columns_that_say_nothing_stay_and_are_named(write):
    rows = "".join(f"{k},7,,same,word{k}\n" for k in range(30))
    data = open_tables(write("x,one,none,word,free\n" + rows))
    assert all(part in data.describe() for part in ("constant: one, word", "empty: none", "never the same twice: free"))
    assert len(data[0]) == 5 and np.isnan(data[0][2])
    scheme = data.batch(np.arange(30)).x.scheme
    assert bool(scheme.standard(data.batch(np.arange(30)).x.values).isfinite().all())


def test_a_column_of_nearly_all_numbers_is_numeric_and_the_others_count_as_missing(write):
    data = open_tables(write("x,z\n" + "1,a1\n" * 15 + "2,5\n" * 15 + "far,6\n"))
    assert kinds(data) == {"x": "numeric", "z": "categorical"} and np.isnan(data[30][0])
    assert "x: 1 cell of no number count as missing" in data.describe()


def test_a_column_of_many_thousand_categories_is_read_and_the_form_stays_small(monkeypatch):
    monkeypatch.setattr(table_columns, "MOST", 1000)
    twice, count = 1500, 10_000
    names = [f"c{k % twice}" for k in range(2 * twice)] + [f"only {k}" for k in range(count - twice)]
    data = from_array({"c": names, "x": np.arange(len(names))})
    assert len(data.form["columns"][0]["codes"]) == 1000
    rows = data.batch(np.array([0, count])).x
    assert rows.scheme.category(rows.values)[1, 0] == 1000


def test_what_is_said_after_the_path_holds(write):
    path = write("1,Rome,5,0.5\n2,Oslo,6,0.25\n1,Rome,7,0.125\n2,Oslo,8,0.0625\n")
    data = open_tables(f"{path}?header=no&label=2&categorical=1&drop=3")
    assert kinds(data) == {"1": "categorical", "4": "numeric"} and data.classes == ["Oslo", "Rome"]
    assert data[0][0] == code("1")
    binned = open_tables(f"{path}?label=4&bins=2")
    assert binned.columns["label"].tolist() == [1, 1, 0, 0] and binned.columns["target"].tolist() == [0.5, 0.25, 0.125, 0.0625]


def test_a_number_of_many_values_is_no_label_unless_cut_into_classes(write):
    path = write("y,x\n" + "".join(f"{k / 7},1\n" for k in range(300)))
    assert "label" not in open_tables(path).columns and "y" in kinds(open_tables(path))
    named = open_tables(f"{path}?label=y")
    assert "label" not in named.columns and len(named.columns["target"]) == 300 and "?bins=5" in named.describe()


def test_everything_that_is_wrong_after_the_path_is_said_at_once(write):
    path = write(PEOPLE)
    with pytest.raises(InputError) as error:
        open_tables(f"{path}?lable=x&bins=one&header=maybe")
    assert len(error.value.problems) == 3 and "label?" in str(error.value)
    with pytest.raises(InputError) as error:
        open_tables(f"{path}?label=aeg&drop=twon")
    assert "no column 'aeg'; there are age" in str(error.value) and "'twon'; there is town" in str(error.value)
    with pytest.raises(InputError, match="'town' is no numeric column: it holds 'Rome'"):
        open_tables(f"{path}?numeric=town")


def test_parquet_feather_frames_and_text_give_the_same_rows(write, tmp_path):
    table = pa.table({"n": [1.5, None, 3.0], "c": ["a", "b", "a"], "b": [True, False, None], "label": ["x", "y", "x"]})
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    pa.feather.write_feather(table, tmp_path / "t.feather")
    text = write("n,c,b,label\n1.5,a,true,x\n,b,false,y\n3,a,,x\n")
    found = [open_tables(p) for p in (tmp_path / "t.parquet", tmp_path / "t.feather", text)] + [from_array(table)]
    for data in found:
        assert np.array_equal(data.store.values, found[0].store.values, equal_nan=True) and data.form == found[0].form
    assert len({data.fingerprint() for data in found}) == 1


def test_a_data_frame_is_read():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"x": [1, 2], "c": pandas.Categorical(["a", "b"]), "when": pandas.to_datetime(["1970-01-02", "1970-01-03"])})
    data = from_array(frame)
    assert list(kinds(data).values()) == ["numeric", "categorical", "date"] and data[1].tolist() == [2.0, code("b"), 2.0]


@pytest.mark.parametrize("source", [np.zeros((2, 2, 2)), np.zeros((0, 3)), object()])
def test_what_is_no_array_of_rows_is_refused(source):
    with pytest.raises(InputError, match="no table|not understood"):
        from_array(source)


def test_lists_of_pictures_are_no_tables(write):
    assert looks_like_tables(write(PEOPLE)) and looks_like_tables(Path(f"{write(PEOPLE)}?label=town"))
    assert not looks_like_tables(write("path,label\na.png,x\n", "list.csv"))
    assert not looks_like_tables(write("name,label\nsub/a.jpg,x\n", "names.csv"))
    assert not looks_like_tables(write("just a text\n", "note.txt")) and not looks_like_tables(Path("absent.csv"))


def test_a_selection_and_its_form_come_as_a_batch():
    data = builtin_tables()
    train, test = split(data, 0)
    assert (len(train), len(test)) == (2400, 600)
    kept = train.keep()
    view = kept.batch(np.array([3, 5]))
    assert len(view.x) == 2 and view.x.scheme.names == [c["name"] for c in data.form["columns"]]
    assert view.x.to("cpu") is view.x and view.given["label"].tolist() == [int(train.labels[3]), int(train.labels[5])]


def test_the_built_in_table_is_always_the_same_and_holds_every_kind():
    data = builtin_tables()
    assert set(kinds(data).values()) == {"numeric", "categorical", "boolean", "date"} and len(data.classes) == 6
    share = np.isnan(data.store.values).mean()
    assert 0.03 < share < 0.07 and np.bincount(data.labels).tolist() == [500] * 6


def test_options_keep_what_is_written_with_percent_signs(write):
    path = write('"a,b","c&d",e\n1,2,3\n2,3,4\n')
    assert list(kinds(open_tables(f"{path}?drop=a%2Cb,c%26d"))) == ["e"]
    assert table_files.parted(path) == (path, table_files.Options())
    assert dataclasses.is_dataclass(table_files.Options) and isinstance(open_tables(path).collate, functools.partial)
