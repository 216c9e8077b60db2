"""Arrays, tar shards, Parquet, Hugging Face and torchvision sets, and how each is recognised."""

import gzip
import io
import json
import os
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from manyviews.data import huggingface, parquet, shards
from manyviews.data.dataset import Data, Unreadable
from manyviews.data.opening import open_data
from manyviews.errors import InputError

REAL = Path(os.environ.get("MANYVIEWS_DATA") or "/nowhere")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("MANYVIEWS_CACHE", str(folder))
    monkeypatch.delenv("MANYVIEWS_DATA", raising=False)
    return folder


def picture(value: int, size: tuple[int, int] = (6, 5)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (value, 1, 2)).save(buffer, "PNG")
    return buffer.getvalue()


def reds(data: Data) -> list[int]:
    return [int(data[i][0, 0, 0]) for i in range(len(data))]


def labels(data: Data) -> list[str]:
    assert data.labels is not None
    return [data.classes[k] if k >= 0 else "" for k in data.labels]


# --- arrays -----------------------------------------------------------------------------------------------------------------------------------


def test_an_array_and_its_file_are_the_same_pictures(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (7, 10, 12, 3), dtype=np.uint8)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "first.npy", x.transpose(0, 3, 1, 2))
    for data in (open_data(x), open_data(tmp_path / "x.npy"), open_data(tmp_path / "first.npy")):
        np.testing.assert_array_equal(data.batch(np.arange(7)).x, x)
    assert isinstance(open_data(tmp_path / "x.npy").store.samples, np.memmap)  # type: ignore[attr-defined]
    assert open_data(x[..., 0]).channels == 1
    np.testing.assert_array_equal(open_data(x.astype(np.int64)).batch(np.arange(7)).x, x)
    assert open_data(x / 255).bits == 16


def test_an_archive_gives_labels_and_splits(tmp_path: Path) -> None:
    x = np.zeros((4, 5, 5), np.uint8)
    np.savez(tmp_path / "a.npz", images=x, labels=np.array([3, 1, 3, 1]), source_index=np.arange(9))
    np.savez(tmp_path / "b.npz", x_train=x, y_train=np.arange(4), x_test=x[:2], y_test=np.arange(2))
    np.savez(tmp_path / "c.npz", x=x)
    a, b, c = (open_data(tmp_path / f"{n}.npz") for n in "abc")
    assert labels(a) == ["3", "1", "3", "1"] and "split" not in a.columns
    assert labels(b) == ["0", "1", "2", "3", "0", "1"] and b.columns["split"].tolist() == ["train"] * 4 + ["test"] * 2
    assert c.labels is None


def test_samples_without_an_ending_are_for_training_beside_those_for_testing(tmp_path: Path) -> None:
    x = np.zeros((4, 5, 5), np.uint8)
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(4), x_test=x[:2], y_test=np.arange(2))
    data = open_data(tmp_path / "a.npz")
    assert labels(data) == ["0", "1", "2", "3", "0", "1"] and data.columns["split"].tolist() == ["train"] * 4 + ["test"] * 2


@pytest.mark.parametrize("y", [np.arange(4), np.array(["0", "1", "2", "3"])])
def test_a_part_without_labels_has_unknown_ones(tmp_path: Path, y: np.ndarray) -> None:
    x = np.zeros((4, 5, 5), np.uint8)
    np.savez(tmp_path / "a.npz", x_train=x, y_train=y, x_test=x[:2])
    assert labels(open_data(tmp_path / "a.npz")) == ["0", "1", "2", "3", "", ""]


def test_sixteen_bits_in_a_wide_type_stay_sixteen_bits_in_every_picture() -> None:
    x = np.zeros((3, 5, 5), np.int32)
    x[0], x[1] = 40_000, 100
    data = open_data(x)
    assert data.bits == 16 and [int(data[i][0, 0, 0]) for i in range(3)] == [40_000, 100, 0]


@pytest.mark.parametrize(
    ("arrays", "says"),
    [({"weights": np.zeros(3)}, "weights; the samples are looked for under x"), ({"x": np.zeros((4, 3))}, r"shape \(4, 3\)"),
     ({"x": np.zeros((4, 5, 5), np.uint8), "y": np.zeros(3)}, "4 samples and 3 labels"), ({"x": np.full((30, 4, 4), 200.0)}, r"within \[0, 1\]"),
     ({"x": np.zeros((0, 4, 4))}, "shape"), ({"x": np.array([{}], dtype=object)}, "pickle")],
)  # fmt: skip
def test_archives_that_will_not_do_say_why(tmp_path: Path, arrays: dict, says: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=says):
        open_data(tmp_path / "a.npz")


def test_a_file_that_is_no_array_says_so(tmp_path: Path) -> None:
    for name in ("a.npy", "a.npz"):
        (tmp_path / name).write_bytes(b"nonsense")
        with pytest.raises(InputError, match="cannot be read as an array"):
            open_data(tmp_path / name)


def test_a_damaged_archive_says_so_wherever_the_damage_is(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", x=np.random.default_rng(0).integers(0, 9, (40, 16, 16, 3), dtype=np.uint8))
    whole = (tmp_path / "a.npz").read_bytes()
    for place in np.linspace(30, len(whole) - 30, 25).astype(int):
        (tmp_path / "b.npz").write_bytes(whole[:place] + bytes(b ^ 255 for b in whole[place : place + 8]) + whole[place + 8 :])
        try:
            open_data(tmp_path / "b.npz")
        except InputError as error:
            assert "b.npz" in str(error)


# --- tar shards -------------------------------------------------------------------------------------------------------------------------------


def write_tar(path: Path, members: dict[str, bytes], format: int = tarfile.PAX_FORMAT) -> None:
    with tarfile.open(path, "w", format=format) as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))


def write_shards(folder: Path, extension: str = "cls") -> None:
    for s in range(3):
        write_tar(
            folder / f"part-{s:04d}.tar",
            {name: content for i in range(4) for name, content in ((f"{s}_{i}.png", picture(10 * s + i)), (f"{s}_{i}.{extension}", b"%d\n" % (i % 2 + 9)))},
        )


def test_a_folder_of_shards_a_pattern_and_a_shard_are_read_at_random(tmp_path: Path) -> None:
    write_shards(tmp_path)
    data = open_data(tmp_path)
    assert reds(data) == [10 * s + i for s in range(3) for i in range(4)]
    assert labels(data) == ["9", "10"] * 6 and "3 tar files" in data.describe()
    assert data.name(5) == f"{tmp_path}/part-0001.tar/1_1"
    assert reds(open_data(str(tmp_path / "part-{0001..0002}.tar"))) == [10, 11, 12, 13, 20, 21, 22, 23]
    assert reds(open_data(tmp_path / "part-0001.tar")) == [10, 11, 12, 13]
    order = [np.array([11, 0, 6]), np.array([3, 3])]
    assert [v.x[:, 0, 0, 0].tolist() for v in data.batches(order, 4)] == [[23, 0, 12], [3, 3]]


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_keys_are_paths_up_to_the_first_dot_whatever_the_tar_format(tmp_path: Path, format: int) -> None:
    long = "folder_with_a_long_name/" * 5 + "n" * 80
    write_tar(
        tmp_path / "a.tar",
        {"x/a.b.png": picture(1), "x/a.json": b'{"label": "cat"}', long + ".jpg": picture(2), long + ".json": b'{"class": "dog"}', "notes": b""},
        format,
    )
    data = open_data(tmp_path / "a.tar")
    assert [data.name(i).removeprefix(f"{tmp_path}/a.tar/") for i in range(2)] == ["x/a", long]
    assert labels(data) == ["cat", "dog"] and reds(data) == [1, 2]


def test_texts_are_classes_where_they_recur_and_captions_where_they_do_not(tmp_path: Path) -> None:
    def members(texts: list[str]) -> dict[str, bytes]:
        return {name: c for i, t in enumerate(texts) for name, c in ((f"{i}.txt", t.encode()), (f"{i}.png", picture(i)))}

    write_tar(tmp_path / "classes.tar", members(["cat", "dog"] * 4))
    write_tar(tmp_path / "captions.tar", members([f"a photo of thing {i}" for i in range(8)]))
    assert labels(open_data(tmp_path / "classes.tar")) == ["cat", "dog"] * 4
    assert open_data(tmp_path / "captions.tar").labels is None


def test_samples_without_a_picture_are_passed_over_and_labels_may_be_missing(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {"a.cls": b"1", "b.png": picture(5), "c.png": picture(6), "c.cls": b"1", "d.json": b"{broken", "d.png": picture(7)})
    data = open_data(tmp_path / "a.tar")
    assert reds(data) == [5, 6, 7] and labels(data) == ["", "1", ""]


def test_pictures_that_share_a_key_are_counted_and_said(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", {f"IMG.{k}.png": picture(k) for k in range(5)} | {"b.png": picture(9)})
    data = open_data(tmp_path / "a.tar")
    assert reds(data) == [0, 9] and "4 pictures passed over: only the first of a key is taken" in data.describe()
    write_shards(tmp_path)
    assert "passed over" not in open_data(tmp_path / "part-0000.tar").describe()


def test_shards_named_after_splits_give_a_split(tmp_path: Path) -> None:
    write_tar(tmp_path / "set-train-0.tar", {"a.png": picture(1)})
    write_tar(tmp_path / "set-val-0.tar", {"b.png": picture(2)})
    assert open_data(tmp_path).columns["split"].tolist() == ["train", "validation"]


def test_a_shard_that_is_cut_off_gives_what_it_has(tmp_path: Path) -> None:
    write_shards(tmp_path)
    raw = (tmp_path / "part-0002.tar").read_bytes()
    (tmp_path / "part-0002.tar").write_bytes(raw[:2200])
    data = open_data(tmp_path)
    assert 8 < len(data) < 12 and "1 of them cut off" in data.describe() and "part-0002.tar" in data.describe()
    assert reds(data)[:9] == [0, 1, 2, 3, 10, 11, 12, 13, 20]


def test_a_member_that_vanished_is_unreadable(tmp_path: Path) -> None:
    write_shards(tmp_path)
    data = open_data(tmp_path)
    with open(tmp_path / "part-0001.tar", "r+b") as file:
        file.truncate(520)
    (tmp_path / "part-0000.tar").unlink()
    for row, reason in ((4, "the shard ends after"), (0, "No such file")):
        with pytest.raises(Unreadable, match=reason):
            data[row]


def test_every_shard_that_will_not_do_is_named(tmp_path: Path) -> None:
    write_shards(tmp_path)
    (tmp_path / "part-0003.tar").write_bytes(gzip.compress(b"x" * 5000))
    (tmp_path / "part-0004.tar").write_bytes(b"no tar" * 500)
    with pytest.raises(InputError) as error:
        open_data(str(tmp_path / "part-{0002..0005}.tar"))
    assert [("compressed" in p, "not a tar" in p, "No such file" in p) for p in error.value.problems] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]
    write_tar(tmp_path / "texts.tar", {"a.txt": b"x"})
    with pytest.raises(InputError, match="no pictures"):
        open_data(tmp_path / "texts.tar")


def test_braces_expand() -> None:
    assert shards.expand("a-{8..11}.tar") == ["a-8.tar", "a-9.tar", "a-10.tar", "a-11.tar"]
    assert shards.expand("{a,b}-{00..01}") == ["a-00", "a-01", "b-00", "b-01"]
    assert shards.expand("plain") == ["plain"]


def test_the_index_of_large_shards_is_cached_and_follows_changes(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "CACHED_FROM", 0)
    write_shards(tmp_path)
    first = open_data(tmp_path)
    assert len([*own_cache.iterdir()]) == 1
    with monkeypatch.context() as patch:
        patch.setattr(shards, "scan", lambda *_: pytest.fail("scanned again"))
        again = open_data(tmp_path)
    assert reds(again) == reds(first) and labels(again) == labels(first) and again.fingerprint() == first.fingerprint()
    write_tar(tmp_path / "part-0000.tar", {"z.png": picture(99)})
    assert reds(open_data(tmp_path))[0] == 99


# --- Parquet ----------------------------------------------------------------------------------------------------------------------------------


def write_parquet(path: Path, kind: str, values: list[int], label: list | None = None, **extra: list) -> None:
    content = [picture(v) for v in values]
    column: pa.Array = pa.array(content) if kind == "bytes" else pa.array([{"bytes": c, "path": f"{v}.png"} for c, v in zip(content, values, strict=True)])
    table = pa.table({"id": list(range(len(values))), "image": column, **({"label": label} if label else {}), **extra})
    pq.write_table(table, path, row_group_size=3)


@pytest.mark.parametrize("kind", ["bytes", "struct"])
@pytest.mark.parametrize("limit", [0, 1 << 30])
def test_parquet_in_memory_and_mapped_give_the_same(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, kind: str, limit: int) -> None:
    monkeypatch.setattr(parquet, "IN_MEMORY", limit)
    write_parquet(tmp_path / "train-0.parquet", kind, [*range(8)], ["a", "b"] * 4)
    write_parquet(tmp_path / "test-0.parquet", kind, [50, 51], ["b", None])
    data = open_data(tmp_path)
    assert reds(data) == [50, 51, *range(8)] and labels(data) == ["b", "", *["a", "b"] * 4]
    assert data.columns["split"].tolist() == ["test"] * 2 + ["train"] * 8
    assert len([*own_cache.iterdir()]) == (limit == 0)
    assert data.name(3) == ("3: 1.png" if kind == "struct" else "3")
    assert [v.x[:, 0, 0, 0].tolist() for v in data.batches([np.array([9, 2])], 2)] == [[7, 0]]
    assert open_data(tmp_path).fingerprint() == data.fingerprint() != open_data(tmp_path / "train-0.parquet").fingerprint()


def test_parquet_knows_the_hubs_class_names_and_split_column(tmp_path: Path) -> None:
    info = {"info": {"features": {"label": {"names": ["cat", "dog", "owl"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}}}
    table = pa.table({"image": [{"bytes": picture(1), "path": None}, {"bytes": picture(2), "path": None}], "label": [1, 0], "split": ["train", "test"]})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(info)}), tmp_path / "a.parquet")
    data = open_data(tmp_path / "a.parquet")
    assert labels(data) == ["dog", "cat"] and len(data.classes) == 3 and data.columns["split"].tolist() == ["train", "test"]


def test_rows_without_a_picture_are_quarantined_and_paths_followed(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(picture(77))
    rows = [
        {"bytes": None, "path": "p.png"},
        {"bytes": None, "path": None},
        {"bytes": None, "path": "gone.png"},
        None,
        *[{"bytes": picture(9), "path": ""}] * 30,
    ]
    pq.write_table(pa.table({"image": rows}), tmp_path / "a.parquet")
    data = open_data(tmp_path / "a.parquet")
    assert data[0][0, 0, 0] == 77 and data[9][0, 0, 0] == 9
    data.batch(np.arange(34))
    assert data.bad == {1: "no picture in this row", 2: "No such file or directory", 3: "no picture in this row"}


def test_parquet_that_will_not_do_says_why(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"no column of pictures.*columns are a, b"):
        open_data(tmp_path / "a.parquet", "images")
    assert open_data(tmp_path / "a.parquet").modality == "tables"
    (tmp_path / "b.parquet").write_bytes(b"PAR1nonsense")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        open_data(tmp_path / "b.parquet")
    write_parquet(tmp_path / "c.parquet", "bytes", [1])
    with pytest.raises(InputError, match=r"b\.parquet"):
        open_data(tmp_path)


def test_more_files_than_a_process_may_hold_open_are_read(tmp_path: Path) -> None:
    import resource

    for k in range(60):
        write_parquet(tmp_path / f"{k:02d}.parquet", "bytes", [k])
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 40, limits[1]))
    try:
        data = open_data(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert reds(data) == [*range(60)]


def test_labels_that_are_no_number_are_unknown(tmp_path: Path) -> None:
    table = pa.table({"image": [picture(k) for k in range(4)], "label": pa.array([1.0, float("nan"), 0.0, None], pa.float64())})
    pq.write_table(table, tmp_path / "a.parquet")
    assert labels(open_data(tmp_path / "a.parquet")) == ["1", "", "0", ""]


# --- Hugging Face -----------------------------------------------------------------------------------------------------------------------------


def hub_set(values: list[int], names: tuple[str, ...] = ("cat", "dog")):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"label": datasets.ClassLabel(names=list(names)), "img": datasets.Image()})
    rows = {"label": [v % 2 for v in values], "img": [{"bytes": picture(v), "path": None} for v in values]}
    return datasets.Dataset.from_dict(rows, features=features)


def test_a_set_on_disk_is_recognised(tmp_path: Path) -> None:
    hub_set([5, 6, 7]).select([2, 0]).save_to_disk(tmp_path / "one")
    data = open_data(tmp_path / "one")
    assert reds(data) == [7, 5] and labels(data) == ["dog", "dog"] and "Hugging Face" in data.describe()
    assert open_data(tmp_path / "one").fingerprint() == data.fingerprint()


def test_a_dictionary_on_disk_gives_a_split(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.DatasetDict({"train": hub_set([1, 2, 3]), "test": hub_set([8])}).save_to_disk(tmp_path / "two")
    data = open_data(tmp_path / "two")
    assert reds(data) == [1, 2, 3, 8] and data.columns["split"].tolist() == ["train"] * 3 + ["test"] and data.name(3) == "test/0"
    assert [v.x[:, 0, 0, 0].tolist() for v in data.batches([np.array([3, 0]), np.array([2])], 2)] == [[8, 1], [3]]


def test_missing_labels_are_unknown_and_names_of_classes_stay(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    whole = hub_set([1, 2, 3])
    rows = {"label": [0, None, 1], "img": [{"bytes": picture(k), "path": None} for k in range(3)]}
    datasets.Dataset.from_dict(rows, features=whole.features).save_to_disk(tmp_path / "some")
    assert labels(open_data(tmp_path / "some")) == ["cat", "", "dog"]
    datasets.DatasetDict({"train": whole, "test": hub_set([8]).remove_columns("label")}).save_to_disk(tmp_path / "split")
    data = open_data(tmp_path / "split")
    assert labels(data) == ["dog", "cat", "dog", ""] and data.columns["split"].tolist() == ["train"] * 3 + ["test"]


@pytest.mark.parametrize("kind", ["Array3D", "lists"])
def test_pictures_as_nested_numbers_keep_their_type(tmp_path: Path, kind: str) -> None:
    datasets = pytest.importorskip("datasets")
    lists = datasets.Sequence(datasets.Sequence(datasets.Value("uint8")))
    feature = datasets.Array3D((6, 7, 3), "uint8") if kind == "Array3D" else lists
    x = np.full((6, 7, 3) if kind == "Array3D" else (6, 7), 200, np.uint8)
    rows = {"image": [x.tolist()] * 3, "label": [0, 1, 0]}
    features = datasets.Features({"image": feature, "label": datasets.Value("int64")})
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "set")
    data = open_data(tmp_path / "set")
    assert data.bits == 8 and data[1].dtype == np.uint8 and (data[1] == 200).all()


def test_a_split_without_pictures_is_named(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    other = datasets.Dataset.from_dict({"text": ["a"]})
    with pytest.raises(InputError, match="no column 'img' in its split test"):
        huggingface.found(datasets.DatasetDict({"train": hub_set([1]), "test": other}), "it")


def test_a_damaged_set_on_disk_says_so(tmp_path: Path) -> None:
    hub_set([1]).save_to_disk(tmp_path / "one")
    next((tmp_path / "one").glob("*.arrow")).write_bytes(b"x")
    with pytest.raises(InputError, match="cannot be read"):
        open_data(tmp_path / "one")


def test_names_reach_the_library_with_their_configuration_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    asked: list[tuple] = []

    def load(name: str, config: str | None, split: str | None):
        asked.append((name, config, split))
        return hub_set([3, 4]) if split else datasets.DatasetDict({"train": hub_set([1, 2]), "validation": hub_set([3])})

    monkeypatch.setattr(datasets, "load_dataset", load)
    whole, part = open_data("hf:a/b"), open_data("hf:a/b@tiny:test")
    assert asked == [("a/b", None, None), ("a/b", "tiny", "test")]
    assert whole.columns["split"].tolist() == ["train", "train", "validation"] and reds(part) == [3, 4] and labels(part) == ["dog", "cat"]


def test_a_local_folder_goes_through_the_real_loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "set").mkdir()
    hub_set([1, 2]).to_parquet(tmp_path / "set/train-00000-of-00001.parquet")
    data = huggingface.by_name(str(tmp_path / "set"))[0]
    assert len(data) == 2
    with pytest.raises(InputError, match=r"cannot be loaded.*hf:NAME\[@CONFIG\]\[:SPLIT\]"):
        open_data(f"hf:{tmp_path}/nothing")


def test_without_the_package_the_way_out_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(InputError, match=r"pip install 'manyviews\[huggingface\]'"):
        open_data("hf:a/b")


def test_a_set_without_images_names_its_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    with pytest.raises(InputError, match="no column of images; its columns are text"):
        huggingface.found(datasets.Dataset.from_dict({"text": ["a"]}), "it")


# --- torchvision ------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """MNIST's four files, with six and two digits."""
    monkeypatch.setenv("MANYVIEWS_DATA", str(tmp_path))
    raw = tmp_path / "MNIST/raw"
    raw.mkdir(parents=True)
    for name, count in (("train", 6), ("t10k", 2)):
        pixels = np.full((count, 28, 28), np.arange(count)[:, None, None] + (100 if name == "t10k" else 0), np.uint8)
        (raw / f"{name}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, count, 28, 28) + pixels.tobytes())
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + bytes(range(count)))
    yield tmp_path


def test_a_set_of_arrays_has_splits_and_class_names(mnist: Path) -> None:
    data = open_data("torchvision:mnist")
    assert reds(data) == [0, 1, 2, 3, 4, 5, 100, 101] and data.channels == 1
    assert labels(data)[:2] == ["0 - zero", "1 - one"] and len(data.classes) == 10
    assert data.columns["split"].tolist() == ["train"] * 6 + ["test"] * 2


def test_a_set_without_a_folder_gives_pictures() -> None:
    from manyviews.data.torchvision_sets import TorchVision, by_name

    store, columns, _ = by_name("FakeData")
    assert isinstance(store, TorchVision) and len(store) == 1000 and columns == {}
    assert Data(store, __import__("manyviews.data.images", fromlist=["decode"]).decode)[3].shape == (224, 224, 3)


def test_a_set_of_files_is_read_by_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYVIEWS_DATA", str(tmp_path))
    for i, (c, f) in enumerate((c, f) for c in ("AnnualCrop", "Forest") for f in ("1.jpg", "2.jpg")):
        path = tmp_path / "eurosat/2750" / c / f
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 64), (60 * i, 0, 0)).save(path)
    data = open_data("torchvision:EuroSAT")
    assert labels(data) == ["AnnualCrop"] * 2 + ["Forest"] * 2 and abs(int(data[3][0, 0, 0]) - 180) < 3


def test_unknown_and_unreachable_names_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets

    monkeypatch.setenv("MANYVIEWS_DATA", str(tmp_path))
    with pytest.raises(InputError, match="nearest are CIFAR10"):
        open_data("torchvision:cifar_10")

    def no_network(self: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", no_network)
    with pytest.raises(InputError, match=f"not below {tmp_path} and cannot be fetched: no network"):
        open_data("torchvision:CIFAR10")


# --- names ------------------------------------------------------------------------------------------------------------------------------------


def test_names_are_found_below_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flowers").mkdir()
    (tmp_path / "flowers/a.png").write_bytes(picture(1))
    write_shards(tmp_path / "flowers")
    monkeypatch.setenv("MANYVIEWS_DATA", str(tmp_path))
    monkeypatch.chdir(os.path.dirname(tmp_path))
    assert len(open_data("flowers")) == 1
    assert len(open_data("flowers/part-{0000..0001}.tar")) == 8
    with pytest.raises(InputError, match="the nearest are flowers"):
        open_data("flwers")


def test_unknown_names_are_answered_with_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)
    for wrong, near in (("photo", "photos"), (str(tmp_path / "fotos"), str(tmp_path / "photos")), ("bultin", "builtin")):
        with pytest.raises(InputError, match=f"the nearest are {near}"):
            open_data(wrong)
    with pytest.raises(InputError, match="`manyviews data` lists"):
        open_data("qqqqqqqq")
    (tmp_path / "x.doc").write_text("")
    with pytest.raises(InputError, match="of no kind that is known"):
        open_data("x.doc")
    np.savez(tmp_path / "photos/a.npz", x=np.zeros((2, 3, 3)))
    with pytest.raises(InputError, match="name one of the array files"):
        open_data("photos")


def test_a_modality_that_does_not_exist_is_refused_with_those_that_do() -> None:
    x = np.zeros((3, 4, 4), np.uint8)
    assert open_data(x, "images").modality == "images"
    with pytest.raises(InputError, match=r"--as smells: .* There is: images, points, "):
        open_data(x, "smells")
    with pytest.raises(InputError, match="did you mean images"):
        open_data(x, "image")


def test_the_built_in_set_opens_by_name() -> None:
    data = open_data("builtin")
    assert len(data) == 4800 and (data.channels, data.bits) == (3, 8) and open_data(data) is data


@pytest.mark.skipif(not (REAL / "cifar10").is_dir(), reason="set MANYVIEWS_DATA to a folder with cifar10")
def test_a_real_set_opens_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYVIEWS_DATA", str(REAL))
    data = open_data("cifar10")
    assert data.describe().endswith("10 classes, 50,000 train + 10,000 test")
    assert len(data.look(100)) == 100 and data[0].shape == (32, 32, 3)
