"""Nearest neighbours: exact, of the right encoder, and shown."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from manyviews.app.cli import main
from manyviews.app.embed import KEY, Vectors, embed, read_vectors
from manyviews.app.neighbours import GAP, SIDE, TEXT, nearest, neighbours
from manyviews.app.thumbnails import thumbnail
from manyviews.errors import InputError


@pytest.fixture(scope="module")
def file(pictures: Path, tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("vectors") / "vectors.parquet"
    embed(tiny_run, pictures, out)
    return out


def stored(x: np.ndarray, path: Path, group: int) -> Vectors:
    column = pa.FixedSizeListArray.from_arrays(pa.array(x.reshape(-1)), x.shape[1])
    table = pa.table({"path": [str(i) for i in range(len(x))], "index": range(len(x)), "vector": column})
    pq.write_table(table.replace_schema_metadata({KEY: json.dumps({"dim": x.shape[1]})}), path, row_group_size=group)
    return read_vectors(path)


def test_the_nearest_are_those_of_the_whole_table_whatever_the_row_groups(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    x[30] = 3 * x[10]  # the same direction: a tie, which the earlier row wins
    query = x[10] + 0.1
    cosine = [float(query @ row) / float(np.linalg.norm(query) * np.linalg.norm(row)) for row in x.astype(np.float64)]
    expected = sorted(range(50), key=lambda i: (-round(cosine[i], 6), i))[:7]
    for group in (50, 7, 1):
        similarity, rows = nearest(stored(x, tmp_path / f"{group}.parquet", group), query, 7)
        assert rows.tolist() == expected
        np.testing.assert_allclose(similarity, [cosine[i] for i in expected], rtol=1e-4)


def test_a_sample_of_the_file_is_no_neighbour_of_itself_and_needs_no_encoder(file: Path) -> None:
    found = neighbours(file, "stripes/04.png", k=5, run="nowhere")
    vectors = read_vectors(file).vectors
    row = read_vectors(file).find("stripes/04.png")
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = unit @ unit[row]
    cosine[row] = -2
    assert [r["index"] for r in found.rows] == np.argsort(-cosine, kind="stable")[:5].tolist()
    assert found.similarity == sorted(found.similarity, reverse=True) and "vector" not in found.rows[0]


def test_a_path_to_one_of_the_files_is_that_sample(file: Path, pictures: Path) -> None:
    assert neighbours(file, pictures / "stripes" / "04.png").rows == neighbours(file, "stripes/04.png").rows


def test_an_unseen_copy_of_a_sample_has_it_as_nearest(file: Path, pictures: Path, tmp_path: Path) -> None:
    photo = shutil.copy(pictures / "checks" / "07.png", tmp_path / "unseen photo é.png")
    found = neighbours(file, photo, k=3)
    assert found.rows[0]["path"] == "checks/07.png" and found.similarity[0] == pytest.approx(1, abs=1e-4)


def test_a_photo_with_the_name_of_a_sample_is_itself_and_not_the_sample(file: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stripes").mkdir()
    shutil.copy(pictures / "checks" / "07.png", tmp_path / "stripes" / "04.png")
    assert neighbours(file, "stripes/04.png", k=3, run="nowhere").rows, "no such file here: the sample is meant"
    monkeypatch.chdir(tmp_path)
    found = neighbours(file, "stripes/04.png", k=3)
    assert found.rows[0]["path"] == "checks/07.png" and found.similarity[0] == pytest.approx(1, abs=1e-4)


def test_the_run_may_have_moved(file: Path, pictures: Path, tiny_run: Path, tmp_path: Path) -> None:
    photo = shutil.copy(pictures / "checks" / "07.png", tmp_path / "p.png")
    vectors = read_vectors(file)
    vectors.metadata["run"] = str(tmp_path / "gone")
    with pytest.raises(InputError) as error:
        neighbours(vectors, photo)
    assert any("--run" in problem for problem in error.value.problems)
    moved = shutil.copytree(tiny_run, tmp_path / "moved")
    assert neighbours(vectors, photo, run=moved).rows[0]["path"] == "checks/07.png"


def test_another_encoder_is_refused(file: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    photo = shutil.copy(pictures / "checks" / "07.png", tmp_path / "p.png")
    assert main(["neighbours", str(file), str(photo), "--run", "untrained:resnet_micro"]) == 2
    said = capsys.readouterr().err
    assert "another encoder" in said and read_vectors(file).metadata["hash"] in said and "Traceback" not in said


@pytest.mark.parametrize(("photo", "k", "says"), [("no such.png", 3, "neither a file"), ("discs/00.png", 0, "--k 0")])
def test_what_cannot_be_asked_is_said(file: Path, photo: str, k: int, says: str) -> None:
    with pytest.raises(InputError, match=says):
        neighbours(file, photo, k)


def test_a_photo_that_is_no_picture_is_refused(file: Path, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(InputError, match="cannot be read"):
        neighbours(file, tmp_path / "text.png")


def test_the_answer_is_printed_and_shown_as_a_contact_sheet(file: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    sheet = tmp_path / "sheet.png"
    assert main(["neighbours", str(file), "discs/02.png", "--k", "4", "--out", str(sheet)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["rank", "similarity", "path", "label"] and [line.split()[0] for line in lines[1:5]] == list("1234")
    shown = np.asarray(Image.open(sheet))
    query = np.asarray(thumbnail(np.asarray(Image.open(pictures / "discs" / "02.png")), 2 * SIDE))
    np.testing.assert_array_equal(shown[GAP : GAP + 2 * SIDE, GAP : GAP + 2 * SIDE], query)
    left = 2 * SIDE + 3 * GAP
    for k, line in enumerate(lines[1:5]):
        x, y = left + k % 2 * (SIDE + GAP), GAP + k // 2 * (SIDE + TEXT)
        original = np.asarray(thumbnail(np.asarray(Image.open(pictures / line.split()[2])), SIDE))
        np.testing.assert_array_equal(shown[y : y + SIDE, x : x + SIDE], original)


def test_the_sheet_is_grey_where_originals_are_gone(file: Path, tmp_path: Path) -> None:
    vectors = read_vectors(file)
    vectors.metadata["data"] = str(tmp_path / "gone")
    found = neighbours(vectors, "discs/02.png", k=4)
    sheet = np.asarray(Image.open(found.sheet(tmp_path / "s.png")))
    assert found.missing.startswith("4 of 4 originals are not found") and (sheet[GAP + 5, 2 * SIDE + 3 * GAP + 5] == 232).all()


def test_samples_of_an_array_go_by_row_number_and_are_shown_unless_the_array_changed(tiny_run: Path, tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 255, (9, 16, 16, 3), dtype=np.uint8)
    np.save(tmp_path / "x.npy", x)
    vectors = embed(tiny_run, tmp_path / "x.npy", tmp_path / "v.parquet")
    found = neighbours(vectors, "3", k=2)
    found.sheet(tmp_path / "s.png")
    assert found.missing == "" and "3" not in [row["path"] for row in found.rows]
    np.testing.assert_array_equal(found.picture, x[3])
    np.save(tmp_path / "x.npy", x[::-1])
    found.sheet(tmp_path / "s.png")
    assert "has changed" in found.missing
