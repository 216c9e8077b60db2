"""The vector file: what is in it, what it says of itself, and what becomes of samples that cannot be read."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from manyviews.app import embed as module
from manyviews.app.cli import main
from manyviews.app.embed import embed, read_vectors
from manyviews.app.model import Model, load
from manyviews.app.run import Run
from manyviews.data.opening import open_data
from manyviews.errors import InputError


@pytest.fixture
def spoilt(pictures: Path, tmp_path: Path) -> Path:
    """The pictures, with an empty file and a text among them."""
    folder = shutil.copytree(pictures, tmp_path / "spoilt photos ü")
    (folder / "discs" / "05 empty.png").write_bytes(b"")
    (folder / "stripes" / "03b ö.jpg").write_text("not a picture")
    return folder


def test_the_file_holds_path_row_vector_and_class_of_every_sample_and_names_its_encoder(pictures: Path, tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "vectors.parquet"
    Run(tiny_run).embed(pictures, out)
    table, model, data = pq.read_table(out), load(tiny_run), open_data(pictures)
    assert table.column_names == ["path", "index", "vector", "label"]
    assert str(table.schema.field("vector").type) == f"fixed_size_list<element: float>[{model.encoder.dim}]"
    assert table["index"].to_pylist() == list(range(36)) and table["path"].to_pylist() == [data.name(i) for i in range(36)]
    assert table["label"].to_pylist() == [path.split("/")[0] for path in table["path"].to_pylist()]
    about = read_vectors(out).metadata
    assert (about["run"], about["hash"], about["architecture"], about["size"]) == (str(tiny_run), model.hash(), "resnet_micro", 16)
    assert (about["data"], about["fingerprint"]) == (str(pictures), data.fingerprint())
    torch.testing.assert_close(torch.from_numpy(read_vectors(out).vectors), model.features(data)[0], rtol=1e-4, atol=1e-5)


def test_without_a_file_the_same_table_stays_in_memory(pictures: Path, tiny_run: Path, tmp_path: Path) -> None:
    held, written = embed(tiny_run, pictures), embed(tiny_run, pictures, tmp_path / "v.parquet")
    assert held.path is None and held.table.equals(written.table) and len(held) == len(written) == 36


def test_rows_are_written_in_groups_so_that_memory_does_not_grow(pictures: Path, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = embed(tiny_run, pictures, batch=5)
    monkeypatch.setattr(module, "GROUP", 10)
    parts = embed(tiny_run, pictures, tmp_path / "v.parquet", batch=5)
    file = pq.ParquetFile(tmp_path / "v.parquet")
    assert [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)] == [10, 10, 10, 6]
    assert parts.table.equals(whole.table)
    assert [start for start, _ in parts.groups()] == [0, 10, 20, 30] and parts.find("stripes/11.png") == 35 and parts.find("none") is None
    assert [row["index"] for row in parts.rows([35, 0, 12, 35])] == [35, 0, 12, 35]


def test_unreadable_samples_are_skipped_counted_and_listed(spoilt: Path, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "v.parquet"
    assert main(["embed", str(tiny_run), str(spoilt), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "36 vectors" in said and "2 samples could not be read" in said and "v.quarantine.csv" in said
    vectors, data = read_vectors(out), open_data(spoilt)
    rows = vectors.table.drop(["vector"]).to_pylist()
    assert len(data) == 38 and len(rows) == 36 and all(data.name(row["index"]) == row["path"] for row in rows)
    with open(tmp_path / "v.quarantine.csv", newline="", encoding="utf-8") as file:
        listed = list(csv.DictReader(file))
    assert {row["sample"] for row in listed} == {"discs/05 empty.png", "stripes/03b ö.jpg"} and all(row["reason"] for row in listed)


def test_a_clean_file_leaves_no_list_of_an_earlier_one(pictures: Path, spoilt: Path, tiny_run: Path, tmp_path: Path) -> None:
    assert embed(tiny_run, spoilt, tmp_path / "v.parquet").quarantine == tmp_path / "v.quarantine.csv"
    embed(tiny_run, pictures, tmp_path / "v.parquet")
    assert sorted(p.name for p in tmp_path.glob("v*")) == ["v.parquet"]


def test_too_many_unreadable_samples_are_an_error_and_nothing_is_left(spoilt: Path, tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        embed(tiny_run, spoilt, tmp_path / "out" / "v.parquet", max_bad=0.01)
    assert list((tmp_path / "out").iterdir()) == []


def test_vectors_that_are_not_finite_are_an_error_and_the_old_file_stays(pictures: Path, tiny_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.parquet"
    out.write_bytes(b"before")
    model: Model = load(tiny_run)
    next(iter(model.encoder.parameters())).data.fill_(torch.nan)
    with pytest.raises(InputError, match=r"checks/00.png is not finite"):
        embed(model, pictures, out)
    assert out.read_bytes() == b"before" and [p.name for p in tmp_path.iterdir()] == ["v.parquet"]


def test_arrays_are_embedded_under_their_row_numbers_and_unknown_labels_stay_empty(tiny_run: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 255, (6, 16, 16, 3), dtype=np.uint8)
    data = open_data(x)
    data = data.with_columns(label=np.array([1, -1, 0, 1, -1, 0]))
    data.classes = ["a", "b"]
    table = embed(tiny_run, data).table
    assert table["path"].to_pylist() == list("012345") and table["label"].to_pylist() == ["b", None, "a", "b", None, "a"]


@pytest.mark.parametrize("content", [b"", b"PAR1 half a file", None])
def test_a_file_that_is_no_vector_file_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    if content is None:
        pq.write_table(pa.table({"vector": [[1.0]]}), path)
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match="was not written by" if content is None else "not a whole Parquet file"):
        read_vectors(path)


def test_a_vector_file_cut_in_half_is_refused(pictures: Path, tiny_run: Path, tmp_path: Path) -> None:
    embed(tiny_run, pictures, tmp_path / "v.parquet")
    content = (tmp_path / "v.parquet").read_bytes()
    (tmp_path / "v.parquet").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="not a whole Parquet file"):
        read_vectors(tmp_path / "v.parquet")


def test_a_long_list_of_paths_is_embedded(tiny_run: Path, pictures: Path, tmp_path: Path) -> None:
    paths = sorted(pictures.rglob("*.png")) * 4  # more letters than a path may have
    vectors = embed(tiny_run, paths, tmp_path / "v.parquet")
    assert len(vectors) == len(paths) and vectors.metadata["data"] == ""


def test_a_share_of_bad_samples_outside_of_0_to_1_is_refused(tiny_run: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["embed", str(tiny_run), str(pictures), "--max-bad", "50"]) == 2
    assert "--max-bad 50.0: a share, from 0 to 1" in capsys.readouterr().err


def test_most_samples_may_be_unreadable_where_the_user_says_so(tiny_run: Path, pictures: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(pictures, tmp_path / "spoilt")
    for k, path in enumerate(sorted(folder.rglob("*.png"))):
        if k % 4:
            path.write_bytes(b"no picture")
    assert len(embed(tiny_run, folder, max_bad=0.8)) == 9


def test_data_that_was_given_in_python_has_to_be_named(tiny_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(tiny_run, tmp_path / "run")
    config = (run / "run.json").read_text()
    (run / "run.json").write_text(config.replace(f'"data": "{Run(tiny_run).options.data}"', '"data": "<given>"'))
    with pytest.raises(InputError, match="keeps no copy; say what to embed"):
        Run(run).embed()
