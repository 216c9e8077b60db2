"""`manyviews data`."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manyviews.app.cli import main
from manyviews.data.kinds import KINDS


def test_without_a_source_every_kind_is_listed_with_an_example_and_no_torch_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data"]) == 0
    out = capsys.readouterr().out
    assert all(kind in out and example in out for kind, example in KINDS.items())
    code = "import sys; from manyviews.app.cli import main; main(['data']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_a_source_is_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, size in (("train/cat/1", (8, 6)), ("train/dog/2", (8, 6)), ("test/cat/3", (20, 10)), ("train/cat/4", (9, 7)), ("test/dog/5", (8, 6))):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", size).save(tmp_path / f"{name}.png")
    (tmp_path / "train/dog/broken.png").write_bytes(b"x")
    assert main(["data", str(tmp_path), "--as", "images"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"6 images from folder {tmp_path}, 2 classes, 4 train + 2 test, 1 channel (grey)"
    assert lines[1].split() == ["modality", "images"]
    assert lines[2] == "size        8 x 6 to 20 x 10, the middle one 8 x 6 pixels (width x height, 6 looked at)"
    assert lines[3] == "channels    1, 8 bits"
    assert lines[4] == "classes     2: cat 3, dog 3"
    assert lines[5] == "split       4 train + 2 test"
    assert lines[6] == "unreadable  1 of 6 looked at" and lines[7] == "  train/dog/broken.png: not a picture"


def test_sets_without_labels_or_with_some_are_described(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "x.npy", np.zeros((3, 5, 7), np.uint16))
    assert main(["data", str(tmp_path / "x.npy")]) == 0
    out = capsys.readouterr().out
    assert "7 x 5 pixels" in out and "none: no labels" in out and "1, 16 bits" in out and "seeded fifth" in out
    np.savez(tmp_path / "x.npz", x=np.zeros((60, 5, 7), np.uint8), y=np.repeat(np.arange(-1, 29), 2))
    main(["data", str(tmp_path / "x.npz")])
    out = capsys.readouterr().out
    assert "29: 0 2, 1 2" in out and "the smallest has 2" in out and "unlabelled  2" in out


def test_bad_sources_exit_with_two_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", str(tmp_path)]) == 2
    assert "empty folder" in capsys.readouterr().err
    assert main(["data", str(tmp_path / "nothing")]) == 2
    assert main(["data", "builtin", "--as", "cloud"]) == 2
    assert "There is: images" in capsys.readouterr().err
