"""Encoders of text: what a word sees, what stands for a text, and that padding is nothing."""

import json
import sys

import pytest
import torch

from manyviews.backbones import pairs, text, text_pretrained
from manyviews.backbones.building import build_encoder
from manyviews.contracts import Encoder, View
from manyviews.counters import Counter
from manyviews.data.bpe import BPE, train
from manyviews.errors import InputError
from manyviews.methods.mask.mae import MAE
from manyviews.nn import torchvision_schemas

NAMES = ("text_transformer_micro", "causal_transformer_micro")
TEXTS = ["a red circle", "a", "blue squares above green rings"]


def make(name: str, size: int = 40) -> text.TextEncoder:
    torch.manual_seed(0)
    return getattr(text, name)(0, size, {"tokenizer": train(TEXTS * 2).to_json()}).eval()


@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_nothing(name: str):
    encoder = make(name)
    together = encoder(encoder.read(TEXTS))
    for k, one in enumerate(TEXTS):
        torch.testing.assert_close(together[k], encoder(encoder.read([one]))[0], rtol=1e-4, atol=1e-5)
    assert torch.isfinite(encoder(View(torch.full((2, 3), -1), torch.arange(2)))).all(), "nothing but padding is no accident"


def test_a_causal_word_sees_only_those_before_it_and_the_end_mark_stands_for_the_text():
    encoder, other = make("causal_transformer_micro"), make("text_transformer_micro")
    v = encoder.read([TEXTS[0]])
    changed = View(v.x.clone(), v.index)
    changed.x[0, 3] = 65
    for one, causal in ((encoder, True), (other, False)):
        a, b = (one.encode(one.tokenize(seen)) for seen in (v, changed))
        assert torch.allclose(a.parts[0, :3], b.parts[0, :3], atol=1e-6) == causal
        assert not torch.allclose(a.parts[0, 3:], b.parts[0, 3:], atol=1e-3)
        torch.testing.assert_close(a.whole[0], a.parts[0, -1] if causal else a.parts[0].mean(0))


@pytest.mark.parametrize("name", NAMES)
def test_words_may_come_in_any_order_as_their_place_tells(name: str):
    encoder = make(name)
    tokens = encoder.tokenize(encoder.read([TEXTS[2]]))
    mixed = tokens.select(torch.randperm(tokens.x.shape[1])[None])
    torch.testing.assert_close(encoder.encode(tokens).whole, encoder.encode(mixed).whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_a_masked_method_predicts_words_by_cross_entropy(name: str):
    encoder = make(name)
    method = MAE(encoder, dim=32, depth=1, heads=2)
    method.counter = Counter(0, 0)
    loss = method.loss(encoder.read(TEXTS))["reconstruction"]
    loss.backward()
    assert 1 < float(loss) < 20 and encoder.tokenizer.table.weight.grad is not None
    content = torch.tensor([[3, 5]])
    error = encoder.content_error(torch.zeros(1, 2, len(encoder.bpe)), content)
    assert torch.allclose(error, torch.tensor(float(len(encoder.bpe))).log().expand(1, 2))


def test_texts_that_are_too_long_or_of_another_tokenizer_are_refused():
    encoder = make("causal_transformer_micro", size=8)
    with pytest.raises(InputError, match="9 tokens, and this encoder was made for 8"):
        encoder(View(torch.zeros(1, 9, dtype=torch.long), torch.arange(1)))
    with pytest.raises(InputError, match="token 5000"):
        encoder(View(torch.full((1, 3), 5000), torch.arange(1)))
    assert encoder.read(["word " * 1000]).x.shape == (1, 8)


def test_two_towers_are_measured_by_their_pictures_and_saved_with_their_text():
    torch.manual_seed(0)
    both = pairs.TwoTowers(build_encoder("resnet_nano", 3, 32), make("causal_transformer_micro"), 24).eval()
    v = View(torch.rand(2, 3, 32, 32), torch.arange(2))
    torch.testing.assert_close(both(v), both.image(v))
    assert both.dim == both.image.dim and both.embed_image(v).shape == (2, 24) and both.embed_words(TEXTS).shape == (3, 24)
    torch.testing.assert_close(both.embed_words(TEXTS), both.embed_text(both.text.read(TEXTS)).detach())
    assert any(key.startswith("text.") for key in both.state_dict()) and "text_map.weight" in both.state_dict()
    both.mean = torch.ones(3, 1, 1)
    assert both.image.mean is both.mean


def test_towers_are_named_one_by_one():
    both = pairs.named("resnet_nano+text_transformer_micro", 3, 32, {"context": 9})
    assert both.text.size == 9 and both.text.bpe == BPE()
    for wrong, said in (
        ("resnet_nano", "name a tower for each"),
        ("resnet_nano+word2vec", "no encoder 'word2vec' of text"),
        ("resnot+text_transformer_micro", "resn"),
    ):
        with pytest.raises(InputError, match=said):
            pairs.named(wrong, 3, 32)


def moved(encoder: Encoder, loss: torch.Tensor) -> bool:
    loss.backward()
    return all(p.grad is not None for p in encoder.parameters())


def test_a_model_of_transformers_reads_the_text_behind_the_tokens(tmp_path):
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "circle", "blue", "##s", "square"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    config = transformers.BertConfig(vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
    model = transformers.BertModel(config)
    model.save_pretrained(tmp_path)
    form = {"tokenizer": train(TEXTS * 2).to_json(), "context": 40}
    encoder = text_pretrained.text_tower(f"hf:{tmp_path}@main", form).eval()
    bpe = BPE.from_json(form["tokenizer"])
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(bpe.encode(t)) for t in TEXTS], batch_first=True, padding_value=-1)
    found = encoder(View(ids, torch.arange(3)))
    own = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for k, one in enumerate(TEXTS):
        expected = model.eval()(**own([one], return_tensors="pt")).last_hidden_state.mean(1)[0]
        torch.testing.assert_close(found[k], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(encoder(encoder.read(TEXTS)), found)
    assert moved(encoder, found.square().sum())
    untrained = text_pretrained.text_tower(f"hf:{tmp_path}", form)
    assert not torch.equal(untrained.model.embeddings.word_embeddings.weight, model.embeddings.word_embeddings.weight)
    with pytest.raises(InputError, match="cannot be had"):
        text_pretrained.text_tower(f"hf:{tmp_path}/nowhere", form)


def test_a_model_of_open_clip_gives_both_towers(tmp_path):
    torchvision_schemas.declare()
    open_clip = pytest.importorskip("open_clip")
    config = {
        "embed_dim": 12,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
        "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
    }
    (tmp_path / "tiny_for_test.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "tiny_for_test.json")
    torch.manual_seed(0)
    both = pairs.named("open_clip:tiny_for_test", 3, 32, {"tokenizer": train(TEXTS * 2).to_json()}).eval()
    torch.manual_seed(0)
    model = open_clip.create_model("tiny_for_test", force_image_size=32).eval()
    x = torch.rand(2, 3, 32, 32)
    look = open_clip.get_model_preprocess_cfg(model)
    normalised = (x - torch.tensor(look["mean"]).view(-1, 1, 1)) / torch.tensor(look["std"]).view(-1, 1, 1)
    torch.testing.assert_close(both.embed_image(View(x, torch.arange(2))), model.encode_image(normalised))
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(both.text.bpe.encode(t)) for t in TEXTS], batch_first=True, padding_value=-1)
    expected = model.encode_text(open_clip.get_tokenizer("tiny_for_test")(TEXTS))
    torch.testing.assert_close(both.embed_text(View(ids, torch.arange(3))), expected)
    torch.testing.assert_close(both.embed_words(TEXTS), expected.detach())
    with pytest.raises(InputError, match="cannot be built"):
        pairs.named("open_clip:no_such_model", 3, 32)
    with pytest.raises(InputError, match="3 channels"):
        pairs.named("open_clip:tiny_for_test", 1, 32)


@pytest.mark.parametrize(("module", "name"), [("transformers", "resnet_nano+hf:bert"), ("open_clip", "open_clip:ViT-B-32")])
def test_a_missing_package_is_named_with_the_extra_that_brings_it(module: str, name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"pip install 'manyviews\[text\]'"):
        pairs.named(name, 3, 32)
