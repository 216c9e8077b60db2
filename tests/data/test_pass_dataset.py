"""PASS as it is published: tar files or unpacked folders, and the table of who, when and where; in small."""

import hashlib
import io
import math
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manyviews.data import pass_dataset
from manyviews.data.dataset import Data
from manyviews.data.opening import open_data
from manyviews.data.pass_dataset import PUBLISHED, verify
from manyviews.errors import InputError

TABLE = """unickname,hash,latitude,longitude,datetaken
"O'Neil, Al",ab01,51.5,-0.12,2009-03-02 11:05:09.0
zoë,ab02,,,2011-12-31 23:59:59.0
,ab03,-33.9,151.2,
other,zz99,1,2,2001-01-01 00:00:00.0
"""
RED = {"ab01": 10, "ab02": 60, "ab03": 110, "ab04": 160}  # the table does not know the last


def picture(red: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (24, 20), (red, 0, 0)).save(buffer, "JPEG", quality=100, subsampling=0)
    return buffer.getvalue()


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """Two of the ten tar files and the table."""
    folder = tmp_path / "packed"
    folder.mkdir()
    for part, names in (("0", ["ab03", "ab01"]), ("7", ["ab04", "ab02"])):
        with tarfile.open(folder / f"PASS.{part}.tar", "w") as tar:
            for name in names:
                member = tarfile.TarInfo(f"PASS_dataset/{part}/{name}.jpg")
                member.size = len(picture(RED[name]))
                tar.addfile(member, io.BytesIO(picture(RED[name])))
    (folder / "pass_metadata.csv").write_text(TABLE, encoding="utf-8")
    return folder


@pytest.fixture
def unpacked(packed: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "unpacked"
    for part in packed.glob("*.tar"):
        with tarfile.open(part) as tar:
            tar.extractall(folder, filter="data")
    (folder / "pass_metadata.csv").write_text(TABLE, encoding="utf-8")
    return folder


def facts(data: Data) -> dict[int, tuple]:
    """For each picture, by its red in tens, what the columns say of it."""
    names = ("latitude", "longitude", "taken", "creator")
    return {round(float(data[i][..., 0].mean()) / 10): tuple(data.columns[name][i] for name in names) for i in range(len(data))}


def same(a: tuple, b: tuple) -> bool:
    return all(x == y or (isinstance(x, float) and isinstance(y, float) and math.isnan(x) and math.isnan(y)) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("form", ["packed", "unpacked"])
@pytest.mark.parametrize("prefix", ["pass:", ""])
def test_pictures_and_what_is_known_of_them_are_found_by_name_and_by_content(form: str, prefix: str, request: pytest.FixtureRequest) -> None:
    data = open_data(f"{prefix}{request.getfixturevalue(form)}")
    found = facts(data)
    nan = math.nan
    assert same(found[1], (51.5, -0.12, 1235991909.0, "O'Neil, Al"))  # 2009-03-02 11:05:09
    assert same(found[6], (nan, nan, 1325375999.0, "zoë"))
    assert same(found[11], (-33.9, 151.2, nan, ""))
    assert same(found[16], (nan, nan, nan, ""))
    assert data.labels is None and not data.classes, "the numbered folders are no classes"


def test_a_batch_brings_the_numbers_along(packed: Path) -> None:
    view = open_data(f"pass:{packed}").batch(np.arange(4))
    assert sorted(view.given) == ["latitude", "longitude", "taken"] and int(view.given["taken"].isnan().sum()) == 2


def test_without_the_table_there_are_the_pictures_alone(unpacked: Path) -> None:
    (unpacked / "pass_metadata.csv").unlink()
    data = open_data(f"pass:{unpacked}")
    assert len(data) == 4 and not data.columns


def test_what_is_not_there_is_said(tmp_path: Path, packed: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "pass_metadata.csv").write_text(TABLE)
    with pytest.raises(InputError, match=r"no PASS\.\*\.tar and no pictures"):
        open_data(tmp_path / "empty")
    with pytest.raises(InputError, match="no data at 'nowhere'"):
        open_data("pass:nowhere")
    (packed / "pass_metadata.csv").write_text("hash,name\na,b\n")
    with pytest.raises(InputError, match="is not the table of PASS"):
        open_data(packed)


def test_files_that_differ_from_what_was_published_are_named(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "PASS.0.tar, PASS.7.tar not as long as published" in open_data(packed).describe()
    own = {file.name: (file.stat().st_size, hashlib.sha256(file.read_bytes()).hexdigest()) for file in sorted(packed.iterdir())}
    monkeypatch.setattr(pass_dataset, "PUBLISHED", own)
    assert verify(packed) == [] and "published" not in open_data(packed).describe()
    content = bytearray((packed / "PASS.7.tar").read_bytes())
    content[600] ^= 1
    (packed / "PASS.7.tar").write_bytes(content)
    with open(packed / "PASS.0.tar", "ab") as file:
        file.write(b"more")
    problems = verify(packed)
    assert len(problems) == 2 and "PASS.0.tar: " in problems[0] and "published are" in problems[0] and "PASS.7.tar: SHA-256" in problems[1]
    with pytest.raises(InputError, match="has none of"):
        verify(packed / "..")


def test_the_published_sizes_are_those_of_180_gigabytes() -> None:
    assert sum(size for size, _ in PUBLISHED.values()) == 179_640_190_811  # as the Hugging Face copy of the data set's card sums them
    assert all(len(digest) == 64 for _, digest in PUBLISHED.values())
