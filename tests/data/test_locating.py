"""What may stand behind the question mark of a path, for every modality that knows such words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from manyviews.data.locating import chosen, count, natural, number, numbers, one_of, whether
from manyviews.data.opening import open_data
from manyviews.errors import InputError


def test_words_are_read_by_their_functions() -> None:
    known = {"a": number, "b": numbers, "c": count, "d": natural, "e": whether, "f": one_of("x", "y")}
    place, found = chosen("PLACE?a=2.5&b=-1,2&c=3&d=0&e=yes&f=y", known)
    assert place == Path("PLACE") and found == {"a": 2.5, "b": (-1.0, 2.0), "c": 3, "d": 0, "e": True, "f": "y"}
    assert chosen("PLACE", known) == (Path("PLACE"), {})


def test_everything_that_is_wrong_is_said_at_once() -> None:
    known = {"frames": count, "span": number, "window": numbers, "split": natural, "whole": whether, "mode": one_of("x", "y")}
    with pytest.raises(InputError) as error:
        chosen("P?frame=2&span=wide&window=1;2&split=-1&whole=maybe&mode=z&frames=0&span", known)
    assert len(error.value.problems) == 8 and "did you mean frames?" in str(error.value) and "x or y" in str(error.value)


def test_a_file_with_a_question_mark_in_its_name_is_itself(tmp_path: Path) -> None:
    (tmp_path / "a?b=1").write_text("")
    assert chosen(tmp_path / "a?b=1", {}) == (tmp_path / "a?b=1", {})


def test_videos_and_volumes_are_read_as_their_paths_say(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    for k in range(3):
        np.save(tmp_path / "scans" / f"{k}.npy", np.linspace(-200, 400, 6**3, dtype=np.float32).reshape(6, 6, 6))
    inside = open_data(f"{tmp_path / 'scans'}?window=0,100", "volumes")[0]
    assert (inside == 0).mean() > 0.3 and (inside == 1).mean() > 0.4
    np.save(tmp_path / "clips.npy", np.zeros((2, 20, 8, 8, 3), np.uint8))
    assert len(open_data(f"{tmp_path / 'clips.npy'}?frames=5", "video")[0]) == 5
    with pytest.raises(InputError, match="window="):
        open_data(f"{tmp_path / 'scans'}?window=5,1", "volumes")
    with pytest.raises(InputError, match="expected a whole number, 1 or more"):
        open_data(f"{tmp_path / 'clips.npy'}?frames=none", "video")
