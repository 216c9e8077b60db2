"""ImagiNet's annotations and folders, in small."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manyviews.app.cli import main
from manyviews.data.dataset import Data
from manyviews.data.imaginet import FAMILIES, GENERATORS
from manyviews.data.opening import open_data
from manyviews.data.splits import split
from manyviews.errors import InputError

TRAIN = {
    "imagenet/ILSVRC/Data/CLS-LOC/train/n01/a.JPEG": (0, 0, 4, 8),
    "progan_train/airplane/1_fake/b.png": (1, 0, 0, 0),
    "ffhq/c d.png": (0, 2, 4, 8),
    "sdxl_faces_fake/e.png": (1, 2, 1, 4),
}
TEST = {"journeydb/f.jpg": (1, 3, 2, 6), "photozilla/g.jpg": (0, 3, 4, 8)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures whose red tells them apart, and the two lists in the folder `annotations`."""
    (tmp_path / "annotations").mkdir()
    for part, rows in (("train", TRAIN), ("test", TEST)):
        lines = []
        for path, numbers in rows.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (12, 10), (5 * len(path), 0, 0)).save(tmp_path / path, "PNG")
            lines.append(",".join([f"./{path}", *map(str, numbers)]))
        (tmp_path / "annotations" / f"{part}_annotations.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


def rows(data: Data) -> dict[str, tuple[int, ...]]:
    names = ("label", "origin", "content", "family", "generator")
    return {data.name(i).removeprefix("./"): tuple(int(data.columns[name][i]) for name in names) for i in range(len(data))}


def expected(table: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """What made a real picture is -1: nothing."""
    return {path: (o, o, c, -1 if f == 4 else f, -1 if g == 8 else g) for path, (o, c, f, g) in table.items()}


@pytest.mark.parametrize("prefix", ["imaginet:", ""])
def test_every_picture_has_its_annotations_and_its_split(folder: Path, prefix: str) -> None:
    data = open_data(f"{prefix}{folder}")
    assert rows(data) == expected({**TRAIN, **TEST})
    assert data.columns["split"].tolist() == ["train"] * 4 + ["test"] * 2 and list(data.classes) == ["real", "synthetic"]
    for i in range(len(data)):
        assert data[i].shape == (10, 12, 3) and int(data[i][0, 0, 0]) == 5 * len(data.name(i).removeprefix("./"))
    train, test = split(data, 0)
    assert rows(train) == expected(TRAIN) and rows(test) == expected(TEST)
    assert sorted(data.batch(np.arange(2)).given) == ["content", "family", "generator", "label", "origin"]


def test_one_list_is_read_alone_wherever_its_pictures_start(folder: Path) -> None:
    data = open_data(f"imaginet:{folder / 'annotations' / 'test_annotations.txt'}")
    assert rows(data) == expected(TEST) and "split" not in data.columns and len(data.look(9)) == 2
    (folder / "only.txt").write_text((folder / "annotations" / "train_annotations.txt").read_text())
    assert rows(open_data(f"imaginet:{folder / 'only.txt'}")) == expected(TRAIN)


def test_the_second_track_names_the_generator(folder: Path) -> None:
    from manyviews.data.imaginet import imaginet
    from manyviews.data.opening import as_images

    data = as_images(*imaginet(folder, track="generator"))
    assert data.labels is not None and data.labels.tolist() == [-1, 0, -1, 4, 6, -1]
    assert [data.classes[k] for k in data.labels if k >= 0] == ["ProGAN", "Stable Diffusion XL 1.0", "Midjourney"]
    with pytest.raises(InputError, match="track 'model'; there are origin, generator"):
        imaginet(folder, track="model")


def test_the_track_is_chosen_behind_a_question_mark(folder: Path) -> None:
    data, first = open_data(f"imaginet:{folder}?track=generator"), open_data(f"imaginet:{folder}?track=origin")
    assert data.labels is not None and data.labels.tolist() == [-1, 0, -1, 4, 6, -1] and list(data.classes) == list(GENERATORS)
    assert rows(first) == expected({**TRAIN, **TEST}) and list(first.classes) == ["real", "synthetic"]
    assert data.fingerprint() != first.fingerprint() == open_data(folder).fingerprint()
    one = open_data(f"imaginet:{folder / 'annotations' / 'test_annotations.txt'}?track=generator")
    assert one.labels is not None and one.labels.tolist() == [6, -1]


def test_a_choice_that_there_is_not_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="'track=model' after the . of .*: expected origin or generator"):
        open_data(f"imaginet:{folder}?track=model")
    with pytest.raises(InputError, match="expected KEY=VALUE with KEY one of track; did you mean track"):
        open_data(f"imaginet:{folder}?trakc=generator")
    with pytest.raises(InputError, match="nothing can be said behind a question mark here; imaginet has choices"):
        open_data(f"pass:{folder}?track=generator")


def test_a_run_learns_to_tell_generators_apart_by_a_word_on_the_command_line(folder: Path, tmp_path: Path) -> None:
    run = ["--method=supervised", "--encoder=resnet_micro", "--size=8", "--batch=2", "--steps=1", "--quiet", "--out", str(tmp_path / "run")]
    assert main(["pretrain", f"imaginet:{folder}?track=generator", *run]) == 0
    words = json.loads((tmp_path / "run" / "run.json").read_text())
    assert "track=generator" in json.dumps(words)


def test_families_and_generators_have_a_name_for_every_number() -> None:
    assert (len(FAMILIES), len(GENERATORS)) == (4, 8)


def test_pictures_that_were_not_fetched_are_bad_rows_and_not_an_error_at_once(folder: Path) -> None:
    (folder / "ffhq" / "c d.png").unlink()
    data = open_data(folder)
    assert len(data.look(6)) == 5 and list(data.bad.values()) == ["No such file or directory"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a.png,0,0,4\n", "is no list of ImagiNet"),
        ("a.png,0,0,4,x\n", "is no list of ImagiNet"),
        ("a.png,0,0,4,8\nb.png,2,0,4,8\n", "numbers that ImagiNet does not have: origin 2"),
        ("", "is no list of ImagiNet"),
    ],
)
def test_a_list_of_another_form_is_refused(folder: Path, content: str, problem: str) -> None:
    (folder / "annotations" / "train_annotations.txt").write_text(content)
    with pytest.raises(InputError, match=problem):
        open_data(folder)


def test_a_folder_without_lists_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none of train_annotations.txt, test_annotations.txt in it"):
        open_data(f"imaginet:{tmp_path}")
