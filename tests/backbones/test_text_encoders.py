"""Encoders of texts as a modality of its own: what dropout does, names, and a model that meets other texts than those it was trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from manyviews.app.embed import embed
from manyviews.app.evaluate import evaluate
from manyviews.app.model import Model, load
from manyviews.app.pretrain import pretrain
from manyviews.backbones import text
from manyviews.backbones.building import build_encoder, builders, modality_of
from manyviews.contracts import View
from manyviews.data.bpe import BPE, train
from manyviews.data.text import from_array
from manyviews.errors import InputError
from manyviews.nn import torchvision_schemas

SAID = ["a red circle above a blue square", "a", "blue squares and green rings"]
OTHERS = ["Something else altogether, at the zoo.", "It rains on the plain.", "A red circle above a blue square"]
MANY = [f"{said} Number {k}." for k in range(8) for said in OTHERS]


@pytest.mark.parametrize("name", ["text_transformer_micro", "text_transformer_dropout_micro", "causal_transformer_micro", "text_transformer_dropout_small"])
def test_encoders_are_found_by_name(name: str):
    assert builders()[name][0] == modality_of(name) == "text" and modality_of("hf:bert-base-uncased@main") == "text"
    assert modality_of("resnet18+hf:bert-base-uncased") == modality_of("resnet_micro+causal_transformer_micro") == "pairs"


def test_dropout_makes_two_passes_differ_in_training_alone():
    torch.manual_seed(0)
    noisy = text.text_transformer_dropout_micro(0, 40, {"tokenizer": train(SAID * 2).to_json()})
    v = noisy.read(SAID)
    assert not torch.equal(noisy(v), noisy(v))
    noisy.eval()
    assert torch.equal(noisy(v), noisy(v))
    calm = text.text_transformer_micro(0, 40, {"tokenizer": train(SAID * 2).to_json()})
    calm.load_state_dict(noisy.state_dict())
    torch.testing.assert_close(calm(v), noisy(v), rtol=1e-4, atol=1e-5)
    assert torch.equal(calm(v), calm(v)), "without dropout training changes nothing"


def test_dropout_keeps_the_mean_of_what_attention_gives():
    torch.manual_seed(0)
    noisy = text.TextEncoder(BPE(), 32, 1, 2, 16, causal=False, dropout=0.1)
    block, t = noisy.layers[0], torch.randn(1, 6, 32)
    seen = torch.ones(1, 6, 6, dtype=torch.bool)
    many = torch.stack([text.attend(block, t, seen, 0.1) for _ in range(3000)]).mean(0)
    torch.testing.assert_close(many, text.attend(block, t, seen), atol=0.02, rtol=0)
    torch.testing.assert_close(text.attend(block, t, seen), block.attention(t))


def test_hidden_words_in_the_middle_are_as_if_they_were_not_there():
    torch.manual_seed(0)
    encoder = text.text_transformer_micro(0, 40, {"tokenizer": train(SAID * 2).to_json()}).eval()
    v = encoder.read(SAID[:1])
    hidden = View(v.x.clone(), v.index)
    hidden.x[0, 2:4] = -1
    tokens = encoder.tokenize(v)
    rows = torch.tensor([[k for k in range(v.x.shape[1]) if k not in (2, 3)]])
    torch.testing.assert_close(encoder(hidden), encoder.encode(tokens.select(rows)).whole, rtol=1e-4, atol=1e-5)


def test_a_model_meets_other_texts_in_its_own_tokens(tmp_path: Path):
    run = pretrain(
        "builtin:text",
        "simclr",
        "text_transformer_micro",
        tmp_path / "run",
        steps=1,
        batch=8,
        settings={"hidden": 16, "out": 8},
        quiet=True,
        precision="32-true",
    )
    model = load(run.path)
    spoken = model(MANY[:2])
    assert spoken.shape == (2, 128) and np.isfinite(spoken).all()
    assert np.allclose(model(MANY[0]), spoken[:1], atol=1e-5)
    other = from_array({"text": MANY, "label": [k % 3 for k in range(24)]})
    assert other.form != model.form
    vectors = embed(model, other).vectors
    assert np.allclose(vectors[:2], spoken, atol=1e-5), "as a string and as a row of data"
    (tmp_path / "one").mkdir()
    for k in range(2):
        (tmp_path / "one" / f"{k}.txt").write_text(MANY[0])
    assert np.allclose(model([tmp_path / "one"]), spoken[:1], atol=1e-5), "and as a path"
    scores = evaluate(model, other, only=["knn"], quiet=True, save=False).scores
    assert list(scores) == ["trained", "untrained", "raw input"] and all(0 <= row["knn"].value <= 1 for row in scores.values())
    read = model.reading(other)
    assert read.form == model.form and model.reading(read) is read and np.allclose(model([read[0]]), spoken[:1], atol=1e-5)


def test_the_vocabulary_is_what_masked_words_are_guessed_from():
    form = {"tokenizer": train(SAID * 2).to_json()}
    encoder = build_encoder("text_transformer_micro", 0, 24, seed=0, form=form)
    assert encoder.content_width == len(BPE.from_json(form["tokenizer"]))
    tokens = encoder.tokenize(encoder.read(SAID))
    assert tokens.content is not None and tokens.content.dtype == torch.int64 and tokens.exists is not None
    error = encoder.content_error(torch.zeros(*tokens.content.shape, encoder.content_width), tokens.content)
    assert torch.allclose(error, torch.tensor(float(encoder.content_width)).log().expand(error.shape))


def test_a_model_of_transformers_is_an_encoder_of_texts_and_its_untrained_twin_has_no_weights(tmp_path: Path):
    torchvision_schemas.declare()
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "circle", "blue", "##s", "square"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    config = transformers.BertConfig(vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
    torch.manual_seed(5)
    trained = transformers.BertModel(config)
    trained.save_pretrained(tmp_path)
    data = from_array(SAID * 4)
    encoder = build_encoder(f"hf:{tmp_path}@main", 0, 32, form=data.form)
    model = Model(encoder, f"hf:{tmp_path}@main", 32, 0, "text", form=data.form)
    found = model(["a red circle", "a blue square"])
    own = transformers.AutoTokenizer.from_pretrained(tmp_path)
    expected = trained.eval()(**own(["a red circle"], return_tensors="pt")).last_hidden_state.mean(1)[0]
    assert found.shape == (2, 16) and np.allclose(found[0], expected.detach().numpy(), atol=1e-5)
    weight = model.untrained().encoder.model.embeddings.word_embeddings.weight
    assert not torch.equal(weight, trained.embeddings.word_embeddings.weight)
    with pytest.raises(InputError, match="has no tokens"):
        encoder.tokenize(data.batch(np.arange(2)))
