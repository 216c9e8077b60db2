"""Texts from folders, lines and tables: what they say about themselves, what cannot be read, and what is none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from manyviews.data import builtin_text as built
from manyviews.data.bpe import BPE, END, START
from manyviews.data.dataset import Data, Unreadable
from manyviews.data.opening import open_data
from manyviews.data.text import CONTEXT, Texts, from_array, held, in_form, looks_like_text, natural_size, of_words, open_text, words_in
from manyviews.errors import InputError

GOOD = ["A fine film with a fine cast.", "I laughed, and I cried.", "The best I have seen this year.", "Moving, and well told."]
BAD = ["A dull film with a dull cast.", "I slept, and I left.", "The worst I have seen this year.", "Long, and badly told."]


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def folder_of(path: Path, splits: tuple[str, ...] = ("train", "test")) -> Path:
    for split in splits:
        for kind, texts in (("good", GOOD), ("bad", BAD)):
            for k, text in enumerate(texts):
                write(path / split / kind / f"{k}.txt", f"{text}\n\nThat  is\tall ({split}).\n")
    return path


def texts(data: Data) -> list[str]:
    return [words_in(data[i], data.form) for i in range(len(data))]


def test_a_folder_is_a_text_a_file_with_classes_and_splits(tmp_path: Path):
    data = open_data(folder_of(tmp_path / "reviews"))
    assert (data.modality, len(data), list(data.classes), data.channels) == ("text", 16, ["bad", "good"], 0)
    row = next(i for i in range(16) if data.name(i) == "train/good/1.txt")
    assert words_in(data[row], data.form) == "i laughed, and i cried. that is all (train)."
    assert data.columns["split"][row] == "train" and data.classes[data.labels[row]] == "good"
    assert data[row].dtype == np.int32 and data[row][0] == START and data[row][-1] == END
    assert data.describe().startswith("16 texts from folder") and data.fingerprint() == open_text(tmp_path / "reviews").fingerprint()


def test_the_tokenizer_is_learned_from_the_training_rows_alone(tmp_path: Path):
    folder_of(tmp_path / "a")
    for k in range(4):
        write(tmp_path / "a/test/good" / f"new{k}.txt", "zyzzyva zyzzyva zyzzyva")
    data = open_text(tmp_path / "a")
    assert not any("zyz" in piece.decode(errors="replace") for piece in BPE.from_json(data.form["tokenizer"]).pieces)
    assert "zyzzyva zyzzyva zyzzyva" in texts(data), "what was never merged stays bytes"
    assert b" all" in {BPE.from_json(data.form["tokenizer"]).pieces[t] for t in data.form["usual"]} and not {START, END} & {*data.form["usual"]}


def table(path: Path) -> Path:
    rows = [{"review": t, "sentiment": kind, "set": "test" if k > 2 else "train"} for kind, ts in (("good", GOOD), ("bad", BAD)) for k, t in enumerate(ts)]
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        write(path, "\n".join(map(json.dumps, rows)))
    else:
        separator = "\t" if path.suffix == ".tsv" else ","
        write(path, "\n".join(separator.join(line) for line in [rows[0].keys(), *([f'"{r["review"]}"', r["sentiment"], r["set"]] for r in rows)]))
    return path


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_a_table_has_a_column_of_texts_and_may_have_labels_and_splits(tmp_path: Path, ending: str):
    data = open_data(table(tmp_path / f"reviews{ending}"), "text")
    assert texts(data) == [t.lower() for t in GOOD + BAD] and data.name(2) == "row 3"
    assert list(data.classes) == ["bad", "good"] and data.labels.tolist() == [1] * 4 + [0] * 4
    assert (data.columns["split"] == "test").sum() == 2
    named = open_data(f"{tmp_path}/reviews{ending}?text=sentiment&label=set&context=5&case=keep", "text")
    assert set(texts(named)) == {"good", "bad"} and list(named.classes) == ["test", "train"] and named.form["context"] == 5


def test_a_table_whose_first_line_is_a_row_has_numbered_columns(tmp_path: Path):
    path = write(tmp_path / "train.csv", "".join(f'"{k % 2 + 1}","Title {k}","{t}, and more"\n' for k, t in enumerate(GOOD + BAD)))
    data = open_data(f"{path}?text=3&label=1", "text")
    assert texts(data) == [f"{t.lower()}, and more" for t in GOOD + BAD] and list(data.classes) == ["1", "2"]
    with pytest.raises(InputError, match="its columns are 1, 2, 3: name one"):
        open_text(path)
    bare = write(tmp_path / "bare.csv", "".join(f'"{t}"\n' for t in GOOD))
    assert texts(open_data(f"{bare}?header=no&text=1", "text")) == [t.lower() for t in GOOD]
    with pytest.raises(InputError, match=r"or \?header=no&text=1 if none is named"):
        open_text(bare)
    named = write(tmp_path / "named.csv", "text,2020\nfine weather,1\nno rain here,2\n")
    assert texts(open_data(named, "text")) == ["fine weather", "no rain here"], "a usual name tells that the line has names"


def test_several_tables_of_a_folder_are_one_and_their_names_tell_the_split(tmp_path: Path):
    for name, part in (("train", GOOD), ("test", BAD)):
        write(tmp_path / f"{name}.jsonl", "\n".join(json.dumps({"text": t, "label": k % 2}) for k, t in enumerate(part)))
    data = open_data(tmp_path, "text")
    assert len(data) == 8 and sorted(data.columns["split"].tolist()) == ["test"] * 4 + ["train"] * 4 and len(data.classes) == 2


def test_columns_that_are_not_there_are_all_told_at_once(tmp_path: Path):
    path = table(tmp_path / "a.csv")
    with pytest.raises(InputError) as error:
        open_text(f"{path}?text=revew&label=feeling")
    assert len(error.value.problems) == 2 and "'revew'; there is review" in str(error.value)
    with pytest.raises(InputError, match="'sentiment' is no split"):
        open_text(f"{path}?split=sentiment")
    write(tmp_path / "b.csv", "a,b\nx y,1\nz w,2\n")
    with pytest.raises(InputError, match=r"its columns are a, b: name one, as in \?text=COLUMN"):
        open_text(tmp_path / "b.csv")
    with pytest.raises(InputError, match="expected KEY=VALUE with KEY one of text"):
        open_text(f"{path}?txt=review")
    with pytest.raises(InputError, match="3 or more"):
        open_text(f"{path}?context=2")
    with pytest.raises(InputError, match="holds int64, and no texts"):
        pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "n.parquet")
        open_text(tmp_path / "n.parquet")


def test_a_lone_txt_is_a_text_a_line(tmp_path: Path):
    path = write(tmp_path / "lines.txt", b"\xef\xbb\xbfOne line here.\r\n\r\n\nAnother line here.\n   \nThe last of all")
    data = open_text(path)
    assert [data.name(i) for i in range(len(data))] == ["line 1", "line 4", "line 5", "line 6"]
    assert texts(data.select(np.array([0, 1, 3]))) == ["one line here.", "another line here.", "the last of all"]
    with pytest.raises(Unreadable, match="the text is empty"):
        data[2]
    with pytest.raises(InputError, match="is empty"):
        open_text(write(tmp_path / "none.txt", "\n\n"))


def test_bad_texts_are_said_of_each(tmp_path: Path):
    cases = {
        "empty": b"", "blank": b" \n\t ", "latin": "caf\xe9 au lait".encode("latin-1"), "nul": b"some\0bytes", "picture": b"\x89PNG\r\n\x1a\n\0\0",
        "bom": b"\xef\xbb\xbfA text with a mark.", "wide": "A wide text.".encode("utf-16"), "long": b"word " * 100_000,
    }  # fmt: skip
    for name, content in cases.items():
        write(tmp_path / f"{name}.txt", content)
    data = open_data(tmp_path, "text")
    found: dict[str, str | int] = {}
    for i in range(len(data)):
        try:
            found[data.name(i)[:-4]] = words_in(data[i], data.form) if data.name(i) != "long.txt" else len(data[i])
        except Unreadable as why:
            found[data.name(i)[:-4]] = f"BAD {why}"
    assert found["empty"] == found["blank"] == "BAD the text is empty"
    assert found["latin"] == "BAD the text is no UTF-8: byte 0xe9 at 3" and str(found["nul"]).startswith("BAD NUL bytes")
    assert str(found["picture"]).startswith("BAD") and found["bom"] == "a text with a mark." and found["wide"] == "a wide text."
    assert found["long"] == CONTEXT and {data.name(i) for i in data.bad} == {f"{n}.txt" for n in ("empty", "blank", "latin", "nul", "picture")}
    other = open_text(f"{tmp_path}?encoding=latin-1&case=keep")
    assert "café au lait" in [words_in(other[i], other.form) for i in range(len(other)) if other.name(i) == "latin.txt"]
    with pytest.raises(InputError, match="such as utf-8"):
        open_text(f"{tmp_path}?encoding=klingon")


def test_where_nothing_can_be_read_it_is_an_error(tmp_path: Path):
    write(tmp_path / "a.txt", b"\0\0")
    write(tmp_path / "b.txt", b"")
    with pytest.raises(InputError, match="none of the first texts"):
        open_data(tmp_path, "text")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="has no texts; looked for"):
        open_data(tmp_path / "nothing", "text")
    with pytest.raises(InputError, match="texts are read from folders"):
        open_text(write(tmp_path / "a.docx", b"x"))


def test_only_what_is_nothing_but_texts_is_taken_for_texts(tmp_path: Path):
    prose = "\n".join(GOOD)
    assert looks_like_text(folder_of(tmp_path / "reviews")) and looks_like_text(write(tmp_path / "lines.txt", prose))
    assert looks_like_text(table(tmp_path / "a.jsonl"))
    for name, content in {
        "list": "photos/a.jpg\nphotos/b.jpg\nphotos/c.jpg\n", "with labels": "a b c.jpg 1\nb c d.png 2\n", "numbers": "1 2 3\n4 5 6\n",
        "classes": "cat\ndog\nhorse\n", "one": "A single line with words in it", "ids": "airplane_0001\nairplane_0002\n", 
        "bytes": "a few words and a \0 there\nb\nc",
    }.items():  # fmt: skip
        assert not looks_like_text(write(tmp_path / f"{name}.txt", content)), name
    write(tmp_path / "here", "x")
    assert not looks_like_text(write(tmp_path / "files.txt", "here is a file\nand some more words\nand some more words"))
    assert not looks_like_text(table(tmp_path / "a.csv")) and not looks_like_text(table(tmp_path / "a.parquet")), "tables, unless --as text"
    write(tmp_path / "c/1.txt", "0.1 0.2 0.3\n0.1 0.5 0.3\n")
    write(tmp_path / "c/2.txt", "0.1 0.2 0.3\n0.1 0.5 0.3\n")
    assert not looks_like_text(tmp_path / "c"), "clouds"
    write(tmp_path / "d/1.txt", prose)
    write(tmp_path / "d/1.png", b"\x89PNG")
    assert not looks_like_text(tmp_path / "d"), "pictures with captions"
    write(tmp_path / "e.jsonl", json.dumps({"image": "a.png", "text": "words"}))
    assert not looks_like_text(tmp_path / "e.jsonl")


def test_a_batch_is_padded_and_a_form_makes_the_same_tokens_of_other_data(tmp_path: Path):
    data = from_array(GOOD)
    batch = data.batch(np.arange(4)).x
    assert isinstance(batch, Texts) and len(batch) == 4
    for i in range(4):
        assert batch.tokens[i, : len(data[i])].tolist() == data[i].tolist() and (batch.tokens[i, len(data[i]) :] == -1).all()
    begins = batch.vocabulary.begins[batch.tokens[0].clamp(min=0)]
    assert int(begins.sum()) == len(GOOD[0].split()) and bool(batch.vocabulary.begins[batch.tokens[:, 1]].all()), "the first word is as any other"
    other = in_form(from_array(BAD), data.form)
    assert other.form == data.form and other[0].tolist() == of_words(BAD[0], data.form).tolist()
    assert torch.equal(held([other[1]], 0, data.form).tokens, other.batch(np.array([1])).x.tokens)
    assert open_data(["a text", "one more text"], "text").modality == "text"
    both = from_array({"content": GOOD + BAD, "label": [1] * 4 + [0] * 4})
    assert len(both.classes) == 2
    with pytest.raises(InputError, match="not understood as texts"):
        from_array(3)
    with pytest.raises(InputError, match="a usual token"):
        in_form(data, {**data.form, "usual": [99_999]})
    with pytest.raises(InputError, match="tokenizer of this model"):
        in_form(data, {})


def test_the_natural_size_is_that_of_nearly_all_texts():
    assert natural_size([np.zeros(n, np.int32) for n in [10] * 99 + [4000]]) == 16
    assert natural_size([np.zeros(2000, np.int32)] * 3) == (512 if torch.cuda.is_available() else 128) and natural_size([]) == 32


def test_the_built_in_texts_are_the_same_everywhere_and_no_bag_of_words_solves_them():
    said, columns = built.every()
    assert len(said) == 2000 and np.bincount(columns["label"]).min() >= 240 and (columns["split"] == "test").sum() == 400
    assert said[0] == "The ticket is inspected by the conductor once more as the goalkeeper watches the pitch without a word."
    for meaning in (0, 499):
        rows = np.flatnonzero(columns["meaning"] == meaning)
        assert len(rows) == 4 and len({columns["label"][r] for r in rows}) == 1 and len({columns["split"][r] for r in rows}) == 1
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    train = columns["split"] == "train"
    bag = CountVectorizer(ngram_range=(1, 2)).fit_transform(said)
    score = LogisticRegression(max_iter=200).fit(bag[train], columns["label"][train]).score(bag[~train], columns["label"][~train])
    assert 0.5 < score < 0.75
    data = open_data("builtin:text")
    assert len(data) == 2000 and texts(data.select(np.arange(3))) == [text.lower() for text in said[:3]]
