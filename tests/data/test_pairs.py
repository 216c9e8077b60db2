"""Pictures with captions from folders, tables, shards and Parquet files; what is wrong with one pair is said of that pair."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from manyviews.data import builtin_pairs as built
from manyviews.data.bpe import BPE, END, START
from manyviews.data.dataset import Unreadable
from manyviews.data.pairs import CONTEXT, Pairs, caption, collate, in_form, looks_like_pairs, natural_size, open_pairs
from manyviews.errors import InputError

WORDS = ["a red square", "a blue square", "a green square on grey", "red and blue"]


def png(k: int, side: int = 20) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((side, side + 4, 3), 30 * (k % 8), np.uint8)).save(out, "PNG")
    return out.getvalue()


def folder_of(path: Path, captions: list[str] = WORDS) -> Path:
    path.mkdir(exist_ok=True)
    for k, text in enumerate(captions):
        (path / f"{k}.png").write_bytes(png(k))
        (path / f"{k}.txt").write_text(text, encoding="utf-8")
    return path


def shard(path: Path) -> Path:
    with tarfile.open(path, "w") as file:
        for k, text in enumerate(WORDS):
            members = {"png": png(k), "txt": text.encode()} if k else {"png": png(k), "json": json.dumps({"caption": text}).encode()}
            for ending, content in members.items():
                info = tarfile.TarInfo(f"{k:03d}.{ending}")
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
    return path


def table(path: Path) -> Path:
    folder_of(path.parent / "pictures")
    if path.suffix == ".jsonl":
        path.write_text("\n".join(json.dumps({"image": f"pictures/{k}.png", "caption": [text, "other"]}) for k, text in enumerate(WORDS)))
    elif path.suffix == ".parquet":
        pq.write_table(pa.table({"image": [{"bytes": png(k), "path": f"{k}.png"} for k in range(4)], "text": WORDS}), path)
    else:
        separator = "\t" if path.suffix == ".tsv" else ","
        path.write_text("\n".join(separator.join(row) for row in [["Caption", "file_name"], *([f'"{t}"', f"pictures/{k}.png"] for k, t in enumerate(WORDS))]))
    return path


def made(kind: str, path: Path) -> Path:
    if kind == "folder":
        return folder_of(path / "photos")
    return shard(path / "a.tar") if kind == "tar" else table(path / f"pairs.{kind}")


@pytest.mark.parametrize("kind", ["folder", "csv", "tsv", "jsonl", "parquet", "tar"])
def test_pairs_are_found_wherever_they_are(kind: str, tmp_path: Path):
    path = made(kind, tmp_path)
    assert looks_like_pairs(path)
    data = open_pairs(path)
    assert (len(data), data.modality, data.channels, data.bits) == (4, "pairs", 3, 8)
    bpe = BPE.from_json(data.form["tokenizer"])
    for k, text in enumerate(WORDS):
        assert data[k].image.shape == (20, 24, 3) and int(data[k].image[0, 0, 0]) == 30 * k
        assert bpe.decode(data[k].tokens.tolist()) == text == caption(data, k)
    assert open_pairs(path).fingerprint() == data.fingerprint()


def test_a_batch_holds_pictures_and_padded_tokens(tmp_path: Path):
    data = open_pairs(folder_of(tmp_path / "a"))
    view = data.batch(np.arange(4))
    assert isinstance(view.x, Pairs) and view.x.image.shape == (4, 20, 24, 3) and len(view.x) == len(view) == 4
    assert (view.x.text[:, 0] == START).all() and ((view.x.text == END).sum(1) == 1).all() and (view.x.text[0] == -1).any()
    moved = view.to("cpu").x
    assert torch.equal(moved.text, view.x.text) and torch.equal(moved.image, view.x.image)
    lone = collate([np.zeros((4, 5, 3), np.uint8)])
    assert isinstance(lone, list) and lone[0].shape == (4, 5, 3), "pictures alone, as a saved encoder is shown them"
    (tmp_path / "a" / "0.png").write_bytes(png(0, 40))
    assert isinstance(open_pairs(tmp_path / "a").batch(np.arange(4)).to("cpu").x.image, list)


def test_what_is_wrong_with_a_pair_is_said_of_it_and_the_others_are_read(tmp_path: Path):
    path = folder_of(tmp_path / "a", WORDS * 5)
    (path / "3.txt").write_text("  \n\t ")
    (path / "4.txt").write_bytes(b"caf\xe9 au lait")
    (path / "5.txt").unlink()
    (path / "6.png").unlink()
    (path / "7.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (path / "README.txt").write_text("about these pictures")
    (path / "8.txt").write_bytes(b"\xef\xbb\xbfwith a mark  and\r\nlines")
    data = open_pairs(path)
    rows = {data.name(i): i for i in range(len(data))}
    assert "6.png" not in rows and "2 .txt without a picture of that name passed over" in data.describe()
    said = {"3.png": "empty", "4.png": "no UTF-8: byte 0xe9 at 3", "5.png": "there is no 5.txt", "7.png": "PNG|not a picture"}
    for name, why in said.items():
        with pytest.raises(Unreadable, match=why):
            data[rows[name]]
    assert caption(data, rows["8.png"]) == "with a mark and lines"
    assert len(data.batch(np.arange(len(data))).x) == len(data) - len(said) and len(data.bad) == len(said)


def test_rows_of_a_table_that_name_no_picture_or_have_no_caption_are_quarantined(tmp_path: Path):
    folder_of(tmp_path / "pictures")
    rows = [["pictures/0.png", "one"], ["", "two"], ["pictures/1.png", ""], ["gone.png", "four"], ["pictures/2.png", '"commas, and\nlines"']]
    (tmp_path / "a.csv").write_text("\n".join(",".join(row) for row in [["image", "caption"], *rows, ["too", "many", "cells"]]))
    data = open_pairs(tmp_path / "a.csv")
    assert len(data) == 5 and "1 line of another form passed over" in data.describe()
    readable = []
    for i in range(5):
        try:
            readable.append(data[i] and caption(data, i))
        except Unreadable:
            continue
    assert readable == ["one", "commas, and lines"]
    assert ["No such file" in data.bad[1], "empty" in data.bad[2], "No such file" in data.bad[3]] == [True] * 3
    (tmp_path / "b.csv").write_bytes(b"image,caption\npictures/0.png,caf\xe9\npictures/1.png,good\n")
    data = open_pairs(tmp_path / "b.csv")
    assert data[1] and "no UTF-8" in data.bad[0]
    (tmp_path / "c.jsonl").write_text('{"image": "pictures/0.png", "caption": "one"}\nnot json\n{"image": "pictures/1.png"}\n')
    data = open_pairs(tmp_path / "c.jsonl")
    assert len(data) == 2 and data[0] and "1 line of another form" in data.describe()
    with pytest.raises(Unreadable, match="empty"):
        data[1]


def test_ten_thousand_words_are_cut_to_the_context_and_keep_their_end(tmp_path: Path):
    data = open_pairs(folder_of(tmp_path / "a", ["word " * 10_000, "short", "é" * 100_000]))
    assert len(data[0].tokens) == CONTEXT == len(data[2].tokens) and data[0].tokens[-1] == END
    assert len(data[1].tokens) < 10


def test_captions_can_be_read_in_the_tokens_of_another_encoder(tmp_path: Path):
    data, other = open_pairs(folder_of(tmp_path / "a")), {"tokenizer": BPE().to_json(), "context": 6}
    again = in_form(data, other)
    assert again[0].tokens.tolist() == [START, *b"a re", END] and again.form == other


def test_folders_of_classes_and_splits_give_labels(tmp_path: Path):
    for part in ("train", "test"):
        for kind in ("cat", "dog"):
            (tmp_path / part / kind).mkdir(parents=True)
            folder_of(tmp_path / part / kind, [f"a {kind}", f"one {kind}"])
    data = open_pairs(tmp_path)
    assert list(data.classes) == ["cat", "dog"] and sorted(set(data.columns["split"])) == ["test", "train"]


def test_boxes_class_names_and_plain_pictures_are_no_pairs(tmp_path: Path):
    boxes = folder_of(tmp_path / "boxes", ["0 0.5 0.5 0.1 0.1\n1 0.2 0.2 0.1 0.1"] * 4)
    assert not looks_like_pairs(boxes)
    (tmp_path / "labels.csv").write_text("path,label,caption\na.png,cat,a cat\n")
    assert not looks_like_pairs(tmp_path / "labels.csv")
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "1.png").write_bytes(png(1))
    assert not looks_like_pairs(plain) and not looks_like_pairs(tmp_path / "nowhere")
    with pytest.raises(InputError, match="none of the first pairs"):
        open_pairs(plain)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="IMAGE.jpg beside IMAGE.txt"):
        open_pairs(tmp_path / "empty")
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    with pytest.raises(InputError, match="column of pictures"):
        open_pairs(tmp_path / "a.csv")
    with pytest.raises(InputError, match="are read from folders"):
        open_pairs(tmp_path / "plain" / "1.png")


def test_kept_samples_and_duplicates_are_those_of_both_parts(tmp_path: Path):
    from manyviews.data.derive import duplicates

    path = folder_of(tmp_path / "a", ["one", "one", "two", "one"])
    (path / "1.png").write_bytes(png(0))  # 0 and 1 agree in both
    (path / "2.png").write_bytes(png(0))  # in the picture alone
    data = open_pairs(path)
    assert duplicates(data)["duplicate_of"].tolist() == [0, 0, 2, 3]
    kept = data.keep()
    assert kept.kept is not None and kept.batch(np.array([2, 0])).x.text.shape[0] == 2
    assert natural_size(data.look(4)) == 20


def test_the_built_in_pairs_are_made_the_same_each_time_and_test_new_compositions_of_known_words():
    data = built.builtin_pairs()
    train, test = (data.select(data.columns["split"] == part) for part in ("train", "test"))
    assert (len(train), len(test), natural_size(data.look(4))) == (built.TRAIN, built.TEST, 32)
    pairs_of = [{frozenset(p) for p in zip(d.columns["first"].tolist(), d.columns["second"].tolist(), strict=True)} for d in (train, test)]
    assert not pairs_of[0] & pairs_of[1] and all(len(p) == 2 for part in pairs_of for p in part)
    words = [{w for i in range(0, len(d), 5) for w in caption(d, i).split()} for d in (train, test)]
    assert words[1] <= words[0]
    assert (np.bincount(train.labels, minlength=30) > 60).all()
    one = built.sentence(3, 7, 1), built.sentence(3, 7, 1, turned=True)
    assert one == ("a red cross above a green triangle", "a green triangle below a red cross")
    assert built.sentence(26, 0, 0) == "an orange square left of a red circle"
    again = built.drawn(np.array([[0, 11, 0]]), np.random.default_rng(1))
    assert np.array_equal(again, built.drawn(np.array([[0, 11, 0]]), np.random.default_rng(1)))
    left, right = again[0, :, :16].reshape(-1, 3).astype(int), again[0, :, 16:].reshape(-1, 3).astype(int)
    assert (left[:, 0] - left[:, 2]).max() > 100 and (right[:, 2] - right[:, 0]).max() > 80, "red on the left, blue on the right"


def test_questions_about_the_built_in_pairs_name_what_is_in_them_and_exchange_only_objects_with_one_article():
    data = built.builtin_pairs()
    test = data.select(np.flatnonzero(data.columns["split"] == "test")[:60])
    asked = built.questions(test)
    captions = [caption(test, i) for i in range(len(test))]
    assert all(captions[i] in asked["groups"][k] for i, k in enumerate(asked["own"]))
    assert {len(set(group)) for group in asked["groups"]} == {8}
    for i, right, wrong in zip(asked["rows"], asked["right"], asked["wrong"], strict=True):
        assert right in asked["groups"][asked["own"][i]] and right != wrong
        assert sorted(right.split()) == sorted(wrong.split()) and right.split()[0] == wrong.split()[0]
    assert 0 < len(asked["rows"]) < len(test)


def test_questions_about_other_pairs_are_their_captions(tmp_path: Path):
    data = open_pairs(folder_of(tmp_path / "some", [*WORDS, WORDS[0]]))
    asked = built.questions(data)
    assert [asked["groups"][k] for k in asked["own"]] == [[caption(data, i)] for i in range(5)] and len(asked["groups"]) == 4
