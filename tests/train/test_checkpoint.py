"""Files that are whole or not there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from manyviews.errors import InputError
from manyviews.train.checkpoint import atomic, load_checkpoint, save_checkpoint


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    content = {"step": 3, "module": {"w": torch.arange(4.0)}, "best": 0.5}
    save_checkpoint(tmp_path / "a.ckpt", content)
    again = load_checkpoint(tmp_path / "a.ckpt")
    assert again["step"] == 3 and again["best"] == 0.5 and torch.equal(again["module"]["w"], content["module"]["w"])


def test_equal_content_makes_equal_files(tmp_path: Path) -> None:
    for name in ("a.ckpt", "b.ckpt"):
        save_checkpoint(tmp_path / name, {"step": 3, "w": torch.arange(4.0)})
    assert (tmp_path / "a.ckpt").read_bytes() == (tmp_path / "b.ckpt").read_bytes()


@pytest.mark.parametrize("function", ["replace", "fsync"])
def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str) -> None:
    file = tmp_path / "a.ckpt"
    save_checkpoint(file, {"step": 1})

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, function, full)
        with pytest.raises(OSError, match="No space"):
            save_checkpoint(file, {"step": 2})
    assert load_checkpoint(file)["step"] == 1 and [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic(file) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert file.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.9, 0.999])
def test_a_checkpoint_cut_anywhere_is_refused_by_name(tmp_path: Path, share: float) -> None:
    file = tmp_path / "a.ckpt"
    save_checkpoint(file, {"module": {"w": torch.randn(100)}})
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match=r"a\.ckpt is not a whole checkpoint"):
        load_checkpoint(file)


def test_a_pickle_of_code_is_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "boom"),)

    torch.save({"module": Bomb()}, tmp_path / "a.ckpt")
    with pytest.raises(InputError):
        load_checkpoint(tmp_path / "a.ckpt")
    assert not (tmp_path / "boom").exists()


def test_a_missing_checkpoint_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no checkpoint"):
        load_checkpoint(tmp_path / "none.ckpt")
