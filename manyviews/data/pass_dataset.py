"""PASS: 1.4 million pictures without people, without labels, for pretraining; with who took each, when and where.

Asano, Rupprecht, Zisserman, Vedaldi, "PASS: An ImageNet replacement for self-supervised pretraining without humans", NeurIPS 2021 Datasets and
Benchmarks, arXiv:2109.13228.

Departs from the paper in nothing known; it reads what is published and fetches nothing. The files, 180 GB, CC-BY 4.0, are ten tar files, PASS.0.tar to
PASS.9.tar, and pass_metadata.csv at https://zenodo.org/record/6615455 (version 3, 1,439,588 pictures); download.sh of https://github.com/yukimasano/PASS
fetches and unpacks the tar files, pass_metadata.csv is fetched beside them: `curl -LO https://zenodo.org/record/6615455/files/pass_metadata.csv`.
`open_data("pass:FOLDER")`, or the folder itself where pass_metadata.csv lies in it, reads the tar files as they are, or the unpacked pictures
(PASS_dataset/NUMBER/HASH.jpg) where there are none. Some of the ten will do. Files that are not as long as published are told of at once;
`verify(FOLDER)` compares their SHA-256 too, which takes minutes.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from manyviews.data import folder, images, shards
from manyviews.data.dataset import Store
from manyviews.data.labels import text
from manyviews.errors import InputError

METADATA = "pass_metadata.csv"
PUBLISHED = {  # version 3: bytes and SHA-256
    METADATA: (152590171, "8b6fde80b48326bda9da0a7c48f92146a58a847f76a1dc40603b7e4f73f5e798"),
    "PASS.0.tar": (18704343040, "5ff59cbf372a05d82c22afa8191eb229959730fd371b84a0ec784e7f91b1d285"),
    "PASS.1.tar": (18675681280, "d7b3a1d82c9695f31e9d8ebb71f450afef39e3353c608971fc74780f59e909fd"),
    "PASS.2.tar": (18743080960, "b62021816caac550580fcace7e74e8cb7358663006a7e28707c602859aa51243"),
    "PASS.3.tar": (18694615040, "2af47eab3a026ca5a747cccf3d6ababbd5a9b028d99d6f76e92a01d2f2b64276"),
    "PASS.4.tar": (18673643520, "0170c73cc846e07fbf2bbece0ea62a893b0d440b937dcac965e5b25f4e75006d"),
    "PASS.5.tar": (18715811840, "79ccc5167fa0e7950fc6dca1eec3c9b8db1d31313a83c8a19d2f9b9a88d1eeaf"),
    "PASS.6.tar": (18728970240, "adabc1ab18be4587a4c1882633015845681e9d8551075406e8d83a025819eef6"),
    "PASS.7.tar": (18703380480, "8661044c3a46f1e2f5c2fa96b9deb48c6b2d218ac9753b139073186920c15ab7"),
    "PASS.8.tar": (18695772160, "0dba1ac815c001d9a83787321e1929b03cebcccc1a8f12725eec866e80480a1f"),
    "PASS.9.tar": (11152302080, "9a7ab254638f4bf21267aa0165452572ae52d82aabb451a65e56a2d51a17e982"),
}
COLUMNS = {"latitude": pa.float64(), "longitude": pa.float64(), "datetaken": pa.string(), "unickname": pa.string(), "hash": pa.string()}


def recognised(path: Path) -> bool:
    """Whether a folder holds PASS."""
    return (path / METADATA).is_file()


def pass_dataset(path: Path) -> tuple[Store, dict[str, np.ndarray], list[str]]:
    """The pictures of a folder with PASS in it, and for each its `latitude` and `longitude` in degrees, when it was `taken` in seconds since 1970, as the
    camera's clock said (all NaN where unknown), and its `creator`'s name. Without pass_metadata.csv there are the pictures alone. Raises InputError.
    """
    if not path.is_dir():
        raise InputError(f"pass:{text(str(path))}: no such folder; expected one with PASS.0.tar ... PASS.9.tar, or PASS_dataset/, and {METADATA}")
    parts = sorted(path.glob("PASS.*.tar"))
    what = f"PASS in {text(str(path))}"
    wrong = [name for name in PUBLISHED if (path / name).is_file() and (path / name).stat().st_size != PUBLISHED[name][0]]
    note = f" ({', '.join(wrong)} not as long as published: a broken download, or another version)" if wrong else ""
    if parts:
        tars, _, _ = shards.shards(parts, images.SUFFIXES, f"{what}, {len(parts)} of 10 tar files{note}")
        return tars, facts(path / METADATA, tars.keys), []
    found = folder.folder(path, images.SUFFIXES)
    if found is None:
        raise InputError(f"{what}: no PASS.*.tar and no pictures; {METADATA} alone is no data")
    files = folder.Files(path, found[0].paths, what + note)
    return files, facts(path / METADATA, files.paths), []


def facts(path: Path, names: pa.Array) -> dict[str, np.ndarray]:
    """What the table says of the pictures of these names, by their hash: the name without folders and ending."""
    if not path.is_file():
        return {}
    try:
        options = pyarrow.csv.ConvertOptions(include_columns=list(COLUMNS), column_types=COLUMNS)
        table = pyarrow.csv.read_csv(path, parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True), convert_options=options)
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        raise InputError(f"{text(str(path))} is not the table of PASS, which has the columns {', '.join(COLUMNS)}: {error}") from None
    hashes = pc.replace_substring_regex(names, pattern=rb"(?s)^.*/", replacement=b"")
    hashes = pc.replace_substring_regex(hashes, pattern=rb"(?s)\..*$", replacement=b"")
    rows = pc.index_in(hashes, table["hash"].combine_chunks().cast(hashes.type))
    taken = pc.strptime(pc.replace_substring_regex(table["datetaken"], pattern=r"\.\d*$", replacement=""), "%Y-%m-%d %H:%M:%S", "s", error_is_null=True)
    of_all = {"latitude": table["latitude"], "longitude": table["longitude"], "taken": taken.cast(pa.int64()).cast(pa.float64())}
    columns = {name: column.take(rows).combine_chunks().to_numpy(zero_copy_only=False) for name, column in of_all.items()}
    creator = table["unickname"].take(rows).fill_null("").combine_chunks().to_numpy(zero_copy_only=False)
    return {**{name: np.asarray(column, np.float64) for name, column in columns.items()}, "creator": creator.astype(object)}


def verify(path: str | Path, threads: int = 2) -> list[str]:
    """What is wrong with the published files in a folder: length, then SHA-256; nothing where all that are there are whole. Raises InputError for none."""
    here = [name for name in PUBLISHED if (Path(path) / name).is_file()]
    if not here:
        raise InputError(f"{path} has none of {', '.join(PUBLISHED)}")
    with ThreadPoolExecutor(threads) as pool:
        found = pool.map(lambda name: difference(Path(path) / name), here)
        return [problem for problem in found if problem]


def difference(file: Path) -> str:
    """How one file differs from what was published, or nothing."""
    length, digest = PUBLISHED[file.name]
    if file.stat().st_size != length:
        return f"{file}: {file.stat().st_size:,} bytes, published are {length:,}"
    with open(file, "rb") as stream:
        own = hashlib.file_digest(stream, "sha256").hexdigest()
    return "" if own == digest else f"{file}: SHA-256 {own}, published is {digest}"
