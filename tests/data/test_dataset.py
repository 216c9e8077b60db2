"""The data set: selections, quarantine, channels and depth, keeping, and what several threads and processes do."""

import dataclasses
import multiprocessing
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from manyviews.data import images
from manyviews.data.arrays import Array
from manyviews.data.dataset import Data, Unreadable, stack
from manyviews.data.opening import open_data
from manyviews.errors import InputError


class Some:
    """A store of `count` rows, of which `broken` cannot be read."""

    def __init__(self, count: int, broken: set[int] = frozenset()):  # type: ignore[assignment]
        self.count, self.broken, self.reads = count, broken, 0

    def __len__(self) -> int:
        return self.count

    def raw(self, row: int) -> np.ndarray:
        self.reads += 1
        if row in self.broken:
            raise Unreadable("broken")
        return np.full((4, 4, 3), row % 256, np.uint8)

    def name(self, row: int) -> str:
        return f"row{row}"

    def describe(self) -> str:
        return "some"

    def fingerprint(self) -> str:
        return f"{self.count}"


def some(count: int, broken: set[int] = frozenset(), **fields: object) -> Data:  # type: ignore[assignment]
    return Data(Some(count, broken), images.decode, **fields)  # type: ignore[arg-type]


def test_a_selection_keeps_rows_columns_and_quarantine_together() -> None:
    data = some(10, {7}, columns={"label": np.arange(10)}, classes=[str(k) for k in range(10)])
    chosen = data.select(np.array([9, 7, 2])).select(np.array([True, True, False]))
    assert chosen.labels is not None and chosen.labels.tolist() == [9, 7] and chosen.name(1) == "row7"
    with pytest.raises(Unreadable, match="broken"):
        chosen[1]
    assert data.bad == {7: "broken"}
    assert chosen.readable().labels.tolist() == [9] and len(data.readable()) == 9  # type: ignore[union-attr]


def test_columns_must_have_one_entry_a_row() -> None:
    with pytest.raises(ValueError, match="3 entries for 4 rows"):
        some(4).with_columns(x=np.zeros(3))


def test_an_unreadable_row_is_read_once() -> None:
    data = some(3, {1})
    for _ in range(5):
        assert len(data.batch(np.array([0, 1]))) == 1
    assert data.store.reads == 6  # type: ignore[attr-defined]


def test_a_batch_carries_rows_and_numeric_columns() -> None:
    data = some(8, {3}, columns={"label": np.arange(8) % 2, "split": np.array(["train"] * 8, dtype=object)}, classes=["a", "b"], max_bad=1.0)
    view = data.batch(np.array([5, 3, 0]))
    assert view.index.tolist() == [5, 0] and view.given["label"].tolist() == [1, 0] and list(view.given) == ["label"]
    assert view.x.dtype == torch.uint8 and view.x[:, 0, 0, 0].tolist() == [5, 0]


def test_substitutes_depend_on_the_row_alone() -> None:
    broken = {2, 11, 12}
    first, again = some(64, broken), some(64, broken)
    a = first.batch(np.array([2, 11, 12, 5]), substitute=True).index.tolist()
    again.batch(np.array([12]), substitute=True)
    b = [again.batch(np.array([i]), substitute=True).index.item() for i in (2, 11, 12, 5)]
    assert a == b and not set(a) & broken and a[3] == 5


def test_too_many_bad_samples_stop_early_and_few_do_not() -> None:
    data = some(100_000, set(range(100_000)))
    with pytest.raises(InputError, match=r"of the \d+ samples looked at in some cannot be read, more than the 20%") as error:
        data.batch(np.arange(32))
    assert "row0: broken" in str(error.value) and data.store.reads <= 64  # type: ignore[attr-defined]
    few = some(1000, set(range(0, 1000, 20)))
    for start in range(0, 1000, 10):
        few.batch(np.arange(start, start + 10), substitute=True)
    assert len(few.bad) == 50
    few.check_bad(0.06)
    with pytest.raises(InputError, match="more than the 4%"):
        few.check_bad(0.04)


def test_ten_percent_bad_never_stop_a_limit_of_twenty_whatever_the_order() -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        data = some(400, set(rng.choice(400, 40, replace=False).tolist()))
        for rows in np.array_split(rng.permutation(400), 200):
            data.batch(rows)
        assert len(data.bad) == 40


def test_few_rows_are_judged_when_all_were_seen() -> None:
    data = some(4, {0, 1})
    data.batch(np.array([0, 1]))
    with pytest.raises(InputError, match="2 of the 4"):
        data.batch(np.array([2, 3, 0])), data.check_bad()


def test_only_bad_samples_are_never_an_empty_training_batch() -> None:
    with pytest.raises(InputError):
        some(10, set(range(10))).batch(np.array([1]), substitute=True)


def test_max_bad_is_the_users() -> None:
    data = some(40, set(range(20)), max_bad=0.6)
    data.batch(np.arange(40))
    data.check_bad()
    with pytest.raises(InputError):
        dataclasses.replace(data, max_bad=0.4).check_bad()


def test_kept_samples_are_decoded_once_and_follow_selections() -> None:
    data = some(300, {4})
    kept = data.keep()
    reads = data.store.reads  # type: ignore[attr-defined]
    assert isinstance(kept.kept, np.ndarray) and 299 <= reads <= 300 + 64
    np.testing.assert_array_equal(kept.batch(np.array([7, 4, 299])).x[:, 0, 0, 0], [7, 299 % 256])
    assert kept.select(np.array([299, 5])).batch(np.array([1, 0])).x[:, 0, 0, 0].tolist() == [5, 43]
    with pytest.raises(Unreadable):
        kept[4]
    assert data.store.reads == reads  # type: ignore[attr-defined]
    assert kept.reduced(32).kept is None and kept.in_channels(1).kept is None


def test_a_batch_of_kept_samples_is_the_same_as_one_that_is_read() -> None:
    data = some(50, columns={"label": np.arange(50)})
    rows = np.array([3, 49, 3, 0])
    a, b = data.batch(rows), data.keep().batch(rows)
    assert torch.equal(a.x, b.x) and torch.equal(a.index, b.index) and torch.equal(a.given["label"], b.given["label"])


def test_what_does_not_fit_is_not_kept_and_mixed_shapes_are_a_list(tmp_path: Path) -> None:
    assert some(300).keep(budget=1000).kept is None
    for i in range(6):
        Image.new("RGB", (4 + i // 3, 4), (i, 0, 0)).save(tmp_path / f"{i}.png")
    kept = open_data(tmp_path).keep()
    assert isinstance(kept.kept, list) and [kept[i][0, 0, 0] for i in range(6)] == list(range(6))
    assert isinstance(kept.batch(np.arange(6)).x, list) and isinstance(kept.batch(np.arange(3)).x, torch.Tensor)


def test_grey_among_colour_and_sixteen_bits_among_eight_become_one_kind(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), (255, 0, 0)).save(tmp_path / "a.png")
    Image.new("L", (4, 4), 255).save(tmp_path / "b.png")
    Image.fromarray(np.full((4, 4), 30000, np.uint16)).save(tmp_path / "c.png")
    data = open_data(tmp_path)
    assert (data.channels, data.bits) == (3, 16) and data.describe().endswith(", 16 bits")
    x = data.batch(np.arange(3)).x
    assert isinstance(x, torch.Tensor) and x.dtype == torch.uint16
    assert x[:, 0, 0].tolist() == [[65535, 0, 0], [65535] * 3, [30000] * 3]
    assert data.in_channels(1)[0].shape == (4, 4, 1)


def test_sixteen_bits_met_late_are_brought_to_eight(tmp_path: Path) -> None:
    for i in range(100):
        Image.new("L", (4, 4), i).save(tmp_path / f"{i:03d}.png")
    data = open_data(tmp_path)
    assert (data.channels, data.bits) == (1, 8) and "1 channel (grey)" in data.describe()
    Image.fromarray(np.full((4, 4), 257 * 200, np.uint16)).save(tmp_path / "001.png")
    assert data[1].dtype == np.uint8 and data[1].max() == 200


def test_a_set_of_five_channels_keeps_them_and_refuses_others(tmp_path: Path) -> None:
    import tifffile

    for i in range(8):
        tifffile.imwrite(tmp_path / f"{i}.tif", np.zeros((20, 24, 5), np.uint16), photometric="minisblack", planarconfig="contig")
    Image.new("RGB", (24, 20)).save(tmp_path / "x.png")
    data = open_data(tmp_path)
    assert (data.channels, data.bits) == (5, 16) and "5 channels, 16 bits" in data.describe()
    data.batch(np.arange(9))
    assert data.bad == {8: "3 channels where 5 are expected"}


def test_a_broken_folder_is_survived_and_every_reason_told(tmp_path: Path) -> None:
    import tifffile

    rng = np.random.default_rng(0)
    for i in range(60):
        Image.fromarray(rng.integers(0, 256, (24, 30, 3), dtype=np.uint8)).save(tmp_path / f"good {i}.jpg")
    for i in range(3):
        raw = (tmp_path / f"good {i}.jpg").read_bytes()
        (tmp_path / f"cut {i}.jpg").write_bytes(raw[: len(raw) // 2])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("not a picture at all")
    tifffile.imwrite(tmp_path / "five.tif", np.zeros((24, 30, 5), np.uint8), photometric="minisblack", planarconfig="contig")
    Image.new("CMYK", (30, 24), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg")
    Image.new("P", (30, 24)).save(tmp_path / "palette.png")
    Image.new("L", (30, 24)).save(tmp_path / "grey.jpg")
    data = open_data(tmp_path)
    assert len(data) == 69 and data.channels == 3
    view = data.batch(np.arange(69))
    reasons = {data.store.name(row): why for row, why in data.bad.items()}
    assert set(reasons) == {"cut 0.jpg", "cut 1.jpg", "cut 2.jpg", "empty.jpg", "text.jpg", "five.tif"}
    assert (
        "empty" in reasons["empty.jpg"]
        and "not a picture" in reasons["text.jpg"]
        and "5 channels" in reasons["five.tif"]
        and ("truncated" in reasons["cut 0.jpg"].lower() or "JPEG" in reasons["cut 0.jpg"])
    )
    assert isinstance(view.x, torch.Tensor) and view.x.shape == (63, 24, 30, 3) and len(data.readable()) == 63


def test_how_many_may_be_bad_is_decided_where_the_data_is_used_and_not_where_it_is_opened(tmp_path: Path) -> None:
    for i in range(100):
        (tmp_path / f"{i}.jpg").write_text("text")
        if i % 10 < 3:
            Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.jpg")
    data = open_data(tmp_path)
    assert len(dataclasses.replace(data, max_bad=0.8).batch(np.arange(100))) == 30
    with pytest.raises(InputError, match="70 of the 100 samples"):
        data.check_bad()


def test_a_wholly_broken_folder_stops_when_it_is_opened(tmp_path: Path) -> None:
    for i in range(100):
        (tmp_path / f"{i}.jpg").write_text("text")
    with pytest.raises(InputError, match="none of the first samples.*\\n  0.jpg: not a picture"):
        open_data(tmp_path)
    (tmp_path / "one").mkdir()
    (tmp_path / "one/x.jpg").touch()
    with pytest.raises(InputError, match="empty file"):
        open_data(tmp_path / "one")


def test_threads_and_forked_processes_read_the_same(tmp_path: Path) -> None:
    for i in range(64):
        Image.new("RGB", (8, 8), (i, 2 * i, 3 * i)).save(tmp_path / f"{i:02d}.png")
    (tmp_path / "63.png").write_bytes(b"broken")
    data = open_data(tmp_path)
    order = [np.arange(i, i + 8) for i in range(0, 64, 8)]
    one = [v.x for v in data.batches(order, 0)]
    for threads in (1, 4):
        assert all(torch.equal(a, v.x) for a, v in zip(one, data.batches(order, threads), strict=True))
    with multiprocessing.get_context("fork").Pool(2) as pool:
        sums = pool.map(_Sum(data), range(63))
    assert sums == [int(data[i].sum()) for i in range(63)]


class _Sum:
    def __init__(self, data: Data):
        self.data = data

    def __call__(self, i: int) -> int:
        return int(self.data[i].sum())


def test_the_fingerprint_follows_content_selection_and_columns() -> None:
    x = np.arange(4 * 48, dtype=np.uint8).reshape(4, 4, 4, 3)
    data = Data(Array(x, "x"), images.decode)
    other = Data(Array(x[::-1], "x"), images.decode)
    prints = [
        data.fingerprint(),
        other.fingerprint(),
        data.select(np.array([0, 1])).fingerprint(),
        data.with_columns(label=np.zeros(4)).fingerprint(),
        data.with_columns(split=np.array(["train"] * 4, dtype=object)).fingerprint(),
    ]
    assert len(set(prints)) == 5 and Data(Array(x.copy(), "y"), images.decode).fingerprint() == prints[0]
    assert data.with_columns(split=np.array(["train"] * 4)).fingerprint() == prints[4]


def test_a_stack_of_one_shape_is_one_tensor() -> None:
    a, b = np.zeros((2, 3, 1), np.uint16), np.zeros((2, 2, 1), np.uint16)
    assert isinstance(stack([a, a]), torch.Tensor) and isinstance(stack([a, b]), list) and stack([]) == []
