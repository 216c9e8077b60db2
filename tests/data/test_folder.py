"""Folders and file lists: what is found, what the folders say, and what bad names, links and very many files do."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from manyviews.data import folder
from manyviews.data.dataset import Data, Unreadable
from manyviews.data.labels import label_column, split_column, split_of
from manyviews.data.opening import open_data
from manyviews.errors import InputError


def save(path: Path | str, value: int = 0, size: tuple[int, int] = (6, 5)) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        Image.new("RGB", size, (value, 10, 200)).save(file, "PNG")


def names(data: Data) -> list[str]:
    return [data.name(i) for i in range(len(data))]


def test_pictures_are_found_at_any_depth_and_other_files_passed_over(tmp_path: Path) -> None:
    for name in ("b.png", "a.PNG", "x/y/z/c.png", "x/d.png", ".hidden.png", ".git/e.png"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    data = open_data(tmp_path)
    assert names(data) == ["a.PNG", "b.png", "x/d.png", "x/y/z/c.png"]
    assert data.labels is None
    assert data.describe() == f"4 images from folder {tmp_path}"
    assert data[2].shape == (5, 6, 3)


def test_class_folders_give_labels(tmp_path: Path) -> None:
    for name in ("dog/1.png", "cat/2.png", "cat/more/3.png"):
        save(tmp_path / name)
    data = open_data(str(tmp_path))
    assert list(data.classes) == ["cat", "dog"]
    assert data.labels is not None
    assert [data.classes[k] for k in data.labels] == [n.split("/")[0] for n in names(data)]


def test_split_folders_give_a_split_and_classes(tmp_path: Path) -> None:
    for split in ("Train", "val", "test"):
        for c in "ab":
            save(tmp_path / split / c / "1.png")
    data = open_data(tmp_path)
    assert list(data.classes) == ["a", "b"]
    assert data.columns["split"].tolist() == [{"T": "train", "v": "validation", "t": "test"}[n[0]] for n in names(data)]
    assert "2 train + 2 validation + 2 test" in data.describe()
    assert len(data.select(data.columns["split"] == "train")) == 2


def test_split_folders_without_classes_have_no_labels(tmp_path: Path) -> None:
    save(tmp_path / "train/1.png")
    save(tmp_path / "test/1.png")
    data = open_data(tmp_path)
    assert data.labels is None and sorted(data.columns["split"]) == ["test", "train"]


def test_one_folder_below_is_no_class_and_neither_are_files_beside_classes(tmp_path: Path) -> None:
    save(tmp_path / "one/a/1.png")
    save(tmp_path / "one/b/1.png")
    assert open_data(tmp_path).labels is None
    assert open_data(tmp_path / "one").labels is not None
    save(tmp_path / "one/c.png")
    assert open_data(tmp_path / "one").labels is None


def test_a_class_may_have_the_name_of_a_split_beside_other_classes(tmp_path: Path) -> None:
    for name in ("bus/1.png", "car/1.png", "train/1.png", "train/2.png"):
        save(tmp_path / name)
    data = open_data(tmp_path)
    assert list(data.classes) == ["bus", "car", "train"] and "split" not in data.columns
    assert data.labels is not None and data.labels.tolist() == [0, 1, 2, 2]


def test_a_test_folder_without_classes_leaves_the_training_labels(tmp_path: Path) -> None:
    for name in ("train/cat/1.png", "train/dog/2.png", "test/3.png", "test/4.png"):
        save(tmp_path / name)
    data = open_data(tmp_path)
    assert list(data.classes) == ["cat", "dog"] and data.labels is not None
    assert dict(zip(names(data), data.labels.tolist(), strict=True)) == {"train/cat/1.png": 0, "train/dog/2.png": 1, "test/3.png": -1, "test/4.png": -1}


def test_names_with_spaces_other_letters_and_bytes_that_are_no_text_are_read(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path)
    for name in (b"two words.png", "übermäßig/写真.png".encode(), b"bad\xff\xfe.png", b"line\nbreak.png", b"a,b\"c'.png"):
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            Image.new("RGB", (4, 4)).save(file, "PNG")
    data = open_data(tmp_path)
    assert len(data) == 5
    for i in range(5):
        assert data[i].shape == (4, 4, 3)
        data.name(i).encode()  # can be printed and stored
    assert "bad\\xff\\xfe.png" in names(data) and "übermäßig/写真.png" in names(data)
    assert not data.bad
    data.fingerprint()


def test_links_to_folders_are_followed_once_and_loops_end(tmp_path: Path) -> None:
    save(tmp_path / "photos/1.png")
    save(tmp_path / "elsewhere/2.png")
    (tmp_path / "photos/back").symlink_to(tmp_path / "photos", target_is_directory=True)
    (tmp_path / "photos/up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "photos/self").symlink_to("self")
    data = open_data(tmp_path / "photos")
    assert len(data) == 2
    assert {os.path.basename(n) for n in names(data)} == {"1.png", "2.png"}


def test_links_that_lead_nowhere_are_quarantined_with_the_reason(tmp_path: Path) -> None:
    for i in range(12):
        save(tmp_path / f"{i}.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "gone.png").symlink_to("nothing.png")
    os.mkfifo(tmp_path / "pipe.png")  # reading it would never end
    data = open_data(tmp_path)
    reasons = {data.store.name(row): why for row, why in data.bad.items()}
    assert len(data) == 14
    assert "symbolic links" in reasons["loop.png"] and "No such file" in reasons["gone.png"]


def test_links_and_lists_that_lead_to_a_pipe_or_device_are_not_read(tmp_path: Path) -> None:
    for i in range(12):
        save(tmp_path / f"{i}.png")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "z.png").symlink_to("pipe")
    data = open_data(tmp_path)
    assert list(data.bad.values()) == ["a pipe or device, not a file"]
    (tmp_path / "list.txt").write_text("".join(f"{i}.png\n" for i in range(12)) + "/dev/zero\n.\n")
    assert list(open_data(tmp_path / "list.txt").bad.values()) == ["a pipe or device, not a file", "a folder, not a file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_folder_that_cannot_be_listed_is_said(tmp_path: Path) -> None:
    save(tmp_path / "a/1.png")
    (tmp_path / "b").mkdir(mode=0)
    assert "cannot be listed" in open_data(tmp_path).describe()


def test_a_folder_that_vanishes_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a/1.png")
    save(tmp_path / "b/1.png")
    scandir = os.scandir

    def closed(path: bytes) -> object:
        if os.fsencode(path).endswith(b"/b"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    data = open_data(tmp_path)
    assert len(data) == 1 and "b: Permission denied" in data.describe()


def test_an_empty_folder_is_an_error_that_says_what_is_looked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"empty folder.*\.jpg"):
        open_data(tmp_path)
    (tmp_path / "a.doc").write_text("x")
    with pytest.raises(InputError, match=r"no images \(1 x \.doc\)"):
        open_data(tmp_path)


def test_a_folder_with_one_image_and_one_image_alone_open(tmp_path: Path) -> None:
    save(tmp_path / "a b.png")
    assert len(open_data(tmp_path)) == 1
    assert open_data(tmp_path / "a b.png")[0].shape == (5, 6, 3)


def test_the_fingerprint_follows_names_and_sizes(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "b.png")
    first = open_data(tmp_path).fingerprint()
    assert open_data(tmp_path).fingerprint() == first
    save(tmp_path / "b.png", size=(60, 50))
    second = open_data(tmp_path).fingerprint()
    (tmp_path / "b.png").rename(tmp_path / "c.png")
    assert len({first, second, open_data(tmp_path).fingerprint()}) == 3


def plain_columns(paths: list[str]) -> tuple[list[str], list[str]]:
    """Splits and classes, path by path."""
    from manyviews.data.labels import SPLITS

    splits, classes = [], []
    for path in paths:
        parts = path.split("/")[:-1]
        split = SPLITS.get(parts[0].lower(), "") if parts else ""
        rest = parts[1:] if split else parts
        splits.append(split)
        classes.append(rest[0] if rest else "")
    return splits, classes


@pytest.mark.parametrize(
    "paths",
    [
        ["train/a/1", "train/b/2", "test/a/3", "val/b/x/y/4"],
        ["a/train/1", "b/train/2"],
        ["train/1", "test/2"],
        ["a/1", "b/2", "3"],
        ["é a/1", "b\n/2", "c/d/e/3"],
        ["test/a/1", "test/b/1"],
        ["train/a/1", "misc/b/2"],
    ],
)
def test_the_columns_equal_those_found_path_by_path(paths: list[str]) -> None:
    columns, classes = folder.columns_of(pa.array([p.encode() for p in paths], folder.PATHS))
    splits, of = plain_columns(paths)
    expected = sorted({c.encode() for c in of})
    if len(expected) > 1 and b"" not in expected:
        assert [classes[k] for k in columns["label"]] == of
    else:
        assert "label" not in columns and classes == []
    assert columns.get("split", np.array([])).tolist() == (splits if "train" in splits and all(splits) else [])


def test_two_hundred_thousand_paths_take_little_memory_and_no_objects() -> None:
    import gc

    count = 200_000

    def paths():
        for i in range(count):
            yield b"train/class_%03d/some_longer_name_%08d.jpg" % (i % 300, i)

    tracemalloc.start()
    gc.collect()
    objects, arrow = len(gc.get_objects()), pa.total_allocated_bytes()
    column = folder.column(paths())
    columns, classes = folder.columns_of(column)
    data = Data(folder.Files(Path("/nowhere"), column, "fake"), lambda *_: np.zeros(1), columns=columns, classes=classes)
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    gc.collect()
    assert len(data) == count and len(classes) == 300
    assert len(gc.get_objects()) - objects < 2000
    assert pa.total_allocated_bytes() - arrow < 75 * count  # the 46 bytes of a path, its offset, and room to grow
    assert now < 25 * count  # split 8, label 8, seen 1
    assert peak < 90 * count  # all made on the way
    assert data.name(123_456) == "train/class_156/some_longer_name_00123456.jpg"
    with pytest.raises(Unreadable, match="No such file"):
        data.store.raw(5)


def test_a_file_too_large_for_a_picture_is_refused_unread(tmp_path: Path) -> None:
    with open(tmp_path / "huge.jpg", "wb") as file:
        file.truncate(5 << 30)  # takes no space
    with pytest.raises(InputError, match=r"5\.4 GB"):
        open_data(tmp_path)


# --- lists ------------------------------------------------------------------------------------------------------------------------------------


def test_a_text_list_is_relative_to_its_folder(tmp_path: Path) -> None:
    save(tmp_path / "p/a b.png")
    save(tmp_path / "c.png")
    (tmp_path / "list.txt").write_text(f"# mine\np/a b.png\n\n{tmp_path}/c.png\r\n")
    data = open_data(tmp_path / "list.txt")
    assert len(data) == 2 and data[0].shape == data[1].shape == (5, 6, 3)
    assert data.labels is None and "list" in data.describe()


@pytest.mark.parametrize("header", ["path,label,split\n", "", "Filename,Class,Subset\n"])
def test_a_table_gives_labels_and_splits(tmp_path: Path, header: str) -> None:
    for n in ("a.png", "b,b.png", "c.png"):
        save(tmp_path / n)
    (tmp_path / "list.csv").write_text(header + 'a.png,dog,train\n"b,b.png",cat,val\nc.png,,test\n')
    data = open_data(tmp_path / "list.csv")
    assert names(data) == ["a.png", "b,b.png", "c.png"]
    assert list(data.classes) == ["cat", "dog"] and data.labels is not None and data.labels.tolist() == [1, 0, -1]
    assert data.columns["split"].tolist() == ["train", "validation", "test"]


def test_a_table_with_only_paths_and_columns_in_another_order(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "one.csv").write_text("a.png\n")
    (tmp_path / "two.tsv").write_text("label\tnote\tpath\n7\thm\ta.png\n")
    assert open_data(tmp_path / "one.csv").labels is None
    assert list(open_data(tmp_path / "two.tsv").classes) == ["7"]


def listed(tmp_path: Path, lines: str, name: str = "list.csv") -> dict[str, list]:
    """The columns of a list of a.png, b.png and c.png."""
    for n in "abc":
        save(tmp_path / f"{n}.png")
    (tmp_path / name).write_text(lines)
    return {name: column.tolist() for name, column in open_data(tmp_path / name).columns.items()}


def test_other_columns_come_along_numbers_as_numbers_and_texts_as_codes(tmp_path: Path) -> None:
    columns = listed(tmp_path, "path,label,Track,hour,Weather\na.png,x,20,9.5,sun\nb.png,y,3,10,rain\nc.png,x,20,-1,sun\n")
    assert columns == {"label": [0, 1, 0], "track": [20, 3, 20], "hour": [9.5, 10, -1], "Weather": [1, 0, 1]}
    given = open_data(tmp_path / "list.csv").batch(np.array([2, 0])).given
    assert given["track"].tolist() == [20, 20] and given["hour"].tolist() == [-1, 9.5], "methods are given them"
    assert listed(tmp_path, "note\tpath\thm\nb\ta.png\t1e3\na\tb.png\tnan\n", "list.tsv")["note"] == [1, 0]


def test_cells_that_are_empty_or_lacking_are_not_known(tmp_path: Path) -> None:
    columns = listed(tmp_path, "path,whole,signed,part,word,none\na.png,4,-4,0.5,x,\nb.png,,,,,\nc.png\n")
    assert columns["whole"] == [4, -1, -1] and columns["word"] == [0, -1, -1] and "none" not in columns
    assert columns["signed"][0] == -4 and columns["part"][0] == 0.5 and np.isnan([columns["signed"][1:], columns["part"][1:]]).all()


def test_names_of_columns_that_come_twice_or_are_missing_or_taken_do_no_harm(tmp_path: Path) -> None:
    columns = listed(tmp_path, ",path,class,category,k,k,weight,neighbours\n0,a.png,x,p,1,7,50,2\n1,b.png,y,q,2,8,60,3\n")
    assert columns == {"label": [0, 1], "category": [0, 1], "k": [1, 2]}
    assert "without its columns weight, neighbours: taken" in open_data(tmp_path / "list.csv").describe()
    assert listed(tmp_path, "a.png,x,train,5\nb.png,y,test,6\n").keys() == {"label", "split"}, "without a first line that names it there is no column"


def test_codes_and_numbers_are_the_same_however_long_the_list_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "path,k,word\na.png,1,z\nb.png,2,a\nc.png,3,z\n"
    whole = listed(tmp_path, lines)
    monkeypatch.setattr("manyviews.data.lists.CHUNK", 1)
    assert listed(tmp_path, lines) == whole == {"k": [1, 2, 3], "word": [1, 0, 1]}


def test_a_row_with_more_cells_than_columns_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    assert listed(tmp_path, "path,track\na.png,1,,\nb.png,2\n")["track"] == [1, 2], "commas at the end are no cells"
    with pytest.raises(InputError, match=r"list\.csv: line 3 has more cells than the first line names columns \(2\).*in quotes"):
        listed(tmp_path, "path,track\na.png,1\nb, c.png,2\n")
    with pytest.raises(InputError, match="2 lines, the first of them 2, have more cells"):
        listed(tmp_path, "path,track\na.png,1,2\nb.png,3,4\n")


def test_the_mark_that_some_editors_put_first_is_no_part_of_a_name(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    for content in (b"a.png\n", b"\xef\xbb\xbfa.png\n"):
        (tmp_path / "list.txt").write_bytes(content)
        assert names(open_data(tmp_path / "list.txt")) == ["a.png"]


def test_a_header_that_does_not_name_the_path_is_no_picture_and_no_class(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "list.csv").write_text("image_name,label\na.png,x\n")
    with pytest.raises(InputError, match=r"list\.csv.*columns \(image_name, label\).*Call it path"):
        open_data(tmp_path / "list.csv")


def test_missing_files_of_a_list_are_quarantined_and_all_missing_is_an_error(tmp_path: Path) -> None:
    for i in range(9):
        save(tmp_path / f"{i}.png")
    (tmp_path / "list.txt").write_text("".join(f"{i}.png\n" for i in range(10)))
    assert list(open_data(tmp_path / "list.txt").bad.values()) == ["No such file or directory"]
    (tmp_path / "gone.txt").write_text("x.png\ny.png\n")
    with pytest.raises(InputError, match="No such file"):
        open_data(tmp_path / "gone.txt")
    (tmp_path / "none.csv").write_text("path,label\n")
    with pytest.raises(InputError, match="lists no files"):
        open_data(tmp_path / "none.csv")


def test_a_list_of_paths_from_python(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    save(tmp_path / "b.png")
    assert len(open_data([tmp_path / "a.png", str(tmp_path / "b.png")])) == 2
    with pytest.raises(InputError, match="empty list"):
        open_data([])


@pytest.mark.parametrize("source", [None, 3, [np.zeros((4, 4, 3), np.uint8)], [1, 2]])
def test_what_is_no_data_is_answered_with_what_is(source: object) -> None:
    with pytest.raises(InputError, match="not understood; give a path, a name, a list of paths, or one NumPy array"):
        open_data(source)  # type: ignore[arg-type]


# --- labels -----------------------------------------------------------------------------------------------------------------------------------


def test_labels_of_any_kind_become_class_numbers() -> None:
    for given, numbers, classes in (
        (np.array([10, 2, 10]), [1, 0, 1], ["2", "10"]),
        (["b", "a", None, ""], [1, 0, -1, -1], ["a", "b"]),
        (np.array([1.0, np.nan, 0.0]), [1, -1, 0], ["0", "1"]),
        (np.array([True, False]), [1, 0], ["False", "True"]),
        (np.array([-1, 3, 3]), [-1, 0, 0], ["3"]),
        (pa.array([b"x\xff", b"a"], pa.binary()), [1, 0], ["a", "x\\xff"]),
    ):
        columns, found = label_column(given)
        assert columns["label"].tolist() == numbers and found == classes
    assert label_column(np.array([1, 0, -1, 1]), ["no", "yes", "maybe"])[1] == ["no", "yes", "maybe"]
    assert label_column([None, None]) == ({}, [])


def test_splits_are_known_by_many_names() -> None:
    assert split_column(["train", "VAL", "testing"])["split"].tolist() == ["train", "validation", "test"]
    assert split_column(["train", "extra"]) == {} and split_column(["test"]) == {}
    assert [split_of(n) for n in ("train-0001.tar", "data/test-00000-of-00003.parquet", "contest.tar", "x_val.tar")] == ["train", "test", "", "validation"]
