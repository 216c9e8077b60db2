import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from manyviews.app.building import build_method
from manyviews.backbones.building import build_encoder
from manyviews.contracts import Encoder, Tokens, View
from manyviews.counters import Counter
from manyviews.data.dataset import Data
from manyviews.data.opening import open_data
from manyviews.errors import InputError
from manyviews.train.fit import fit
from manyviews.views import images
from manyviews.views.finding import find_policy
from manyviews.views.generators import Autoencoder, Unclip, build_generator, remaining
from manyviews.views.genview import (
    LEVELS,
    Foreground,
    Pairs,
    find_foreground,
    generated,
    genview,
    noise_level,
    summary,
)


class Patches(Encoder):
    """Parts are the mean colours of a 4 x 4 grid."""

    dim = 3

    def pyramid(self, view: View) -> list[Tokens]:
        x = F.adaptive_avg_pool2d(view.x, 4).flatten(2).mT
        at = (torch.arange(4) + 0.5) / 4
        where = torch.stack(torch.meshgrid(at, at, indexing="xy"), -1).flatten(0, 1)
        return [Tokens(x, where.expand(len(x), -1, -1))]


def scenes(sizes: Tensor, thing: Tensor | None = None, ground: Tensor | None = None, seed: int = 0) -> View:
    """Pictures of 16 pixels: a red square of `sizes` cells a side in the middle of green, both with a little noise."""
    generator = torch.Generator().manual_seed(seed)
    thing = torch.tensor([0.9, 0.1, 0.1]) if thing is None else thing
    ground = torch.tensor([0.1, 0.8, 0.2]) if ground is None else ground
    x = ground[:, None, None].repeat(len(sizes), 1, 16, 16)
    for picture, size in zip(x, sizes.tolist(), strict=True):
        start = 4 * ((4 - size) // 2)
        picture[:, start : start + 4 * size, start : start + 4 * size] = thing[:, None, None]
    return View((x + 0.02 * torch.randn(x.shape, generator=generator)).clamp(0, 1), torch.arange(len(x)))


def pictures(count: int = 24) -> Data:
    """The same as data, half with large and half with small squares."""
    x = scenes(torch.tensor([1, 3]).repeat(count // 2)).x
    return open_data((x * 255).byte().permute(0, 2, 3, 1).numpy())


# --- foreground and levels --------------------------------------------------------------------------------------------------------------------


def test_the_principal_direction_points_to_what_lies_in_the_middle() -> None:
    views = scenes(torch.tensor([2] * 8))
    front = find_foreground(Patches(), [views], share=0.25)
    torch.testing.assert_close(front.ratio(views), torch.full((8,), 0.25), atol=0.05, rtol=0)
    x = Patches().pyramid(views)[0].x.flatten(0, 1)
    slow = torch.linalg.svd(x - x.mean(0)).Vh[0]
    torch.testing.assert_close(front.direction.dot(slow).abs(), torch.tensor(1.0), atol=1e-4, rtol=0)
    assert front.direction[0] > 0 > front.direction[1], "towards red, away from green"


def test_the_threshold_leaves_the_share_that_was_asked_for() -> None:
    views = View(torch.rand(50, 3, 16, 16), torch.arange(50))
    for share in (0.1, 0.4, 0.9):
        assert float(find_foreground(Patches(), [views], share).ratio(views).mean()) == pytest.approx(share, abs=2e-3)
    with pytest.raises(InputError, match="share 0"):
        find_foreground(Patches(), [views], 0.0)


def test_larger_things_are_more_foreground_and_get_more_noise() -> None:
    views = scenes(torch.tensor([1, 2, 4]))
    front = Foreground(Patches(), torch.tensor([1.0, -1.0, 0.0]), 0.0)
    torch.testing.assert_close(front.ratio(views), torch.tensor([1 / 16, 4 / 16, 1.0]))
    assert noise_level(front.ratio(views)).tolist() == [0, 100, 400]


def test_levels_change_at_fifths_and_the_border_belongs_below() -> None:
    ratio = torch.tensor([0.0, 0.1, 0.2, 0.21, 0.4, 0.41, 0.6, 0.61, 0.8, 0.81, 1.0])
    assert noise_level(ratio).tolist() == [0, 0, 0, 100, 100, 200, 200, 300, 300, 400, 400]
    assert noise_level(ratio, (300,)).tolist() == [300] * 11
    slow = [LEVELS[max(np.digitize(float(r), [0, 0.2, 0.4, 0.6, 0.8, 1.0], right=True) - 1, 0)] for r in torch.linspace(0, 1, 64).double()]
    assert noise_level(torch.linspace(0, 1, 64)).tolist() == slow


# --- quality and weights ----------------------------------------------------------------------------------------------------------------------


def slow_quality(front: Foreground, v: View, w: View) -> list[float]:
    """The cosine of the foregrounds less that of the backgrounds, one pair and one part after the other."""
    found = []
    for a, b in zip(*(front.encoder.pyramid(view)[0].x for view in (v, w)), strict=True):
        sides = []
        for x in (a, b):
            p = [float(part @ front.direction) for part in x]
            m = [(q - min(p)) / (max(p) - min(p)) for q in p]
            sides.append([sum(k * part for k, part in zip(weight, x, strict=True)) / sum(weight) for weight in (m, [1 - k for k in m])])
        cosines = [float(s @ t / s.norm() / t.norm()) for s, t in zip(*sides, strict=True)]
        found.append(cosines[0] - cosines[1])
    return found


def test_quality_is_the_cosine_of_the_foregrounds_less_that_of_the_backgrounds() -> None:
    front = Foreground(Patches(), torch.tensor([0.6, -0.7, 0.2]), 0.0)
    v, w = (View(torch.rand(5, 3, 16, 16), torch.arange(5)) for _ in range(2))
    torch.testing.assert_close(front.quality(v, w), torch.tensor(slow_quality(front, v, w)), atol=1e-5, rtol=1e-5)


def test_the_same_thing_before_another_ground_is_better_than_another_thing_before_the_same() -> None:
    front = Foreground(Patches(), torch.tensor([1.0, -1.0, -1.0]), 0.0)
    red, pink, green, blue = (torch.tensor(c) for c in ([0.9, 0.1, 0.1], [0.9, 0.5, 0.6], [0.1, 0.8, 0.2], [0.1, 0.2, 0.9]))
    v, two = scenes(torch.tensor([2]), red, green), torch.tensor([2])
    same, good, bad = (float(front.quality(v, scenes(two, *other))[0]) for other in ((red, green), (red, blue), (pink, green)))
    assert good > same > bad and same == pytest.approx(0, abs=1e-2)


def test_views_carry_weights_that_make_the_loss_a_softmax_over_the_batch() -> None:
    data = pictures(8).with_columns(generated=np.zeros((8, 16, 16, 3), np.uint8), quality=np.linspace(-1, 1, 8, dtype=np.float32))
    method, _ = build_method("simclr", build_encoder("resnet_micro", 3, 16, seed=0), data, hidden=8, out=4)
    samples = data.batch(np.arange(8))
    views = dataclasses.replace(generated(16), sharpness=2.0)(samples, Counter(0, 0))
    assert torch.equal(views["v"].given["weight"], views["w"].given["weight"]) and "generated" not in views["v"].given
    zv, zw = (method.projector(method.encoder(views[role])) for role in ("v", "w"))
    losses = method.each(zv, zw, **method.settings)
    expected = ((2 * samples.given["quality"]).softmax(0) * 8 * losses).mean()
    torch.testing.assert_close(method.loss(**views)["loss"], expected)


def test_a_judge_weights_the_augmented_views_and_no_column_and_no_judge_weight_nothing() -> None:
    data = pictures(8).with_columns(generated=np.full((8, 16, 16, 3), 90, np.uint8))
    samples, plain = data.batch(np.arange(8)), generated(16)
    assert "weight" not in plain(samples, Counter(0, 0))["v"].given
    judge = find_foreground(Patches(), [scenes(torch.tensor([1, 2, 3]))])
    views = Pairs(plain.roles, judge)(samples, Counter(0, 0))
    torch.testing.assert_close(views["v"].given["weight"], judge.quality(views["v"], views["w"]).exp())


@pytest.mark.parametrize(
    ("views", "name"),
    [("generated", "simclr"), ("generated_moco", "moco_v2"), ("generated_moco", "simsiam"), ("generated_byol", "byol"), ("generated_moco_v3", "moco_v3")],
)
def test_the_method_that_a_policy_is_for_counts_pairs_by_their_quality(views: str, name: str) -> None:
    other = np.random.default_rng(0).integers(0, 255, (8, 16, 16, 3), np.uint8)
    data = pictures(8).with_columns(generated=other)
    hidden = {} if name == "simclr" else {"hidden": 8}
    method, _ = build_method(name, build_encoder("resnet_micro", 3, 16, seed=0), data, out=4, **hidden)

    def loss(quality: np.ndarray | None) -> float:
        samples = (data if quality is None else data.with_columns(quality=quality.astype(np.float32))).batch(np.arange(8))
        method.counter = Counter(0, 0)
        return float(sum(term for term in method.loss(**find_policy(views, 16)(samples, Counter(0, 0))).values()))

    alone = [loss(np.where(np.arange(8) == k, 30.0, 0.0)) for k in range(8)]  # a softmax that sees one pair
    weights = np.linspace(-2, 2, 8)
    assert loss(np.zeros(8)) == pytest.approx(loss(None), rel=1e-5) == pytest.approx(np.mean(alone), rel=1e-4)
    assert loss(weights) == pytest.approx(np.average(alone, weights=np.exp(weights)), rel=1e-4)
    assert abs(loss(weights) - loss(None)) > 1e-4 and np.ptp(alone) > 1e-3


def test_the_spread_of_the_weights_is_told_and_how_many_equal_pairs_they_are_worth() -> None:
    quality = np.log(np.array([1.0, 3.0], np.float32))
    said = summary({"quality": quality, "generated": np.zeros(2)})
    assert "quality 0.000 to 1.099, so that a pair weighs 0.50 to 1.50 times the mean (standard deviation 0.500)" in said
    assert "worth 80% of as many equal ones" in said
    assert summary({"generated": np.zeros(2)}) == ""


# --- pairs ------------------------------------------------------------------------------------------------------------------------------------


def test_one_view_shows_the_original_and_the_other_the_generated_picture_each_as_it_alone_would_look() -> None:
    data = pictures(8)
    other = np.random.default_rng(0).integers(0, 255, (8, 24, 24, 3), np.uint8)
    samples = data.with_columns(generated=other).batch(np.arange(8))
    for name, base in (("generated", "simclr"), ("generated_moco", "moco"), ("generated_byol", "byol"), ("generated_moco_v3", "moco_v3")):
        views, counter = find_policy(name, 16)(samples, Counter(3, 5)), Counter(3, 5)
        alone = find_policy(base, 16)
        torch.testing.assert_close(views["v"].x, alone(samples, counter)["v"].x)
        torch.testing.assert_close(views["w"].x, alone(View(torch.from_numpy(other), samples.index), counter)["w"].x)
        assert torch.equal(views["w"].index, samples.index)


def test_without_generated_pictures_the_policy_says_what_is_missing() -> None:
    with pytest.raises(InputError, match="generated"):
        generated(16)(pictures(8).batch(np.arange(8)), Counter(0, 0))


# --- generators -------------------------------------------------------------------------------------------------------------------------------


def trained(data: Data, steps: int = 60) -> Autoencoder:
    model = Autoencoder(16, width=16, latent=8)
    for _ in fit(model, data, images.plain(16), steps=steps, batch=16, recipe=model.recipe, lr=4e-3, threads=0):
        pass
    return model.eval().requires_grad_(False)


def test_without_noise_the_generated_picture_is_the_original_whatever_the_autoencoder_loses() -> None:
    model, view = Autoencoder(16).eval().requires_grad_(False), View(torch.rand(6, 3, 16, 16), torch.arange(6))
    levels = torch.tensor([0, 400, 0, 1000, 0, 100])
    made = model.generate(view, levels, Counter(0, 0))
    assert torch.equal(made[::2], view.x[::2]) and bool(((made >= 0) & (made <= 1)).all())
    assert all(not torch.equal(a, b) for a, b in zip(made[1::2], view.x[1::2], strict=True))


def test_what_noise_changes_in_the_decoded_picture_is_added_to_the_original() -> None:
    model, view = Autoencoder(16).eval().requires_grad_(False), View(0.4 + 0.2 * torch.rand(3, 3, 16, 16), torch.arange(3))
    mean = model.encoder(view.x)[:, :16]
    noise, kept = Counter(4, 0).normal("noise", view.index, *mean.shape[1:]), float(remaining(torch.tensor([300])))
    expected = view.x + model.decoder(kept**0.5 * mean + (1 - kept) ** 0.5 * noise) - model.decoder(mean)
    torch.testing.assert_close(model.generate(view, torch.full((3,), 300), Counter(4, 0)), expected.clamp(0, 1))


def test_more_noise_leads_farther_from_the_original() -> None:
    data = pictures(32)
    model, view = trained(data), images.plain(16)(data.batch(np.arange(32)), Counter(0, 0))["v"]
    error = [float((model.generate(view, torch.full((32,), level), Counter(0, 0)) - view.x).square().mean()) for level in (0, 400, 1000)]
    assert error[0] == 0 < error[1] < error[2]


def test_the_schedule_goes_from_all_signal_to_none_as_unclips_does() -> None:
    kept = remaining(torch.arange(0, 1001, 100))
    assert float(kept[0]) == 1 and float(kept[-1]) == pytest.approx(0, abs=1e-6)
    assert bool((kept.diff() < 0).all())
    expected = np.cos((0.4 + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    assert float(kept[4]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("size", [8, 20, 30, 48])
def test_the_autoencoder_takes_pictures_of_any_side(size: int) -> None:
    model, view = Autoencoder(size), View(torch.rand(2, 3, size, size), torch.arange(2))
    assert model.generate(view, torch.tensor([0, 400]), Counter(0, 0)).shape == (2, 3, size, size)
    assert all(term.isfinite() for term in model.loss(view).values())


def test_columns_are_made_for_every_row_and_a_file_holds_the_pictures_where_one_is_asked_for(tmp_path: Path) -> None:
    data, options = pictures(), {"generator": "autoencoder", "size": 16, "steps": 3, "threads": 0, "share": 0.25}
    found = genview(data, Patches(), **options)
    assert {name: (column.shape, str(column.dtype)) for name, column in found.items()} == {
        "generated": ((24, 16, 16, 3), "uint8"), "foreground": ((24,), "float32"), "noise": ((24,), "int64"), "quality": ((24,), "float32"),
    }  # fmt: skip
    assert found["foreground"][1::2].min() > found["foreground"][::2].max(), "the large squares"
    assert found["noise"][1::2].min() > found["noise"][::2].max()
    again = genview(data, Patches(), **options, folder=str(tmp_path), quality=False)
    assert isinstance(again["generated"], np.memmap) and "quality" not in again
    assert np.array_equal(np.load(tmp_path / "generated.npy"), found["generated"])
    assert genview(data, Patches(), **options, side=20)["generated"].shape == (24, 20, 20, 3)
    fixed = genview(data, Patches(), **options, levels=(300,))
    assert (fixed["noise"] == 300).all()


def test_pairs_of_real_columns_train_a_method() -> None:
    data = pictures()
    data = data.with_columns(**genview(data, Patches(), "autoencoder", 16, steps=3, threads=0))
    method, recipe = build_method("simclr", build_encoder("resnet_micro", 3, 16, seed=0), data, hidden=8, out=4)
    losses = [step.loss for step in fit(method, data, generated(16), steps=2, batch=8, recipe=recipe, threads=0)]
    assert len(losses) == 2 and all(np.isfinite(losses))


def test_an_encoder_without_a_feature_map_and_an_unknown_generator_are_refused() -> None:
    with pytest.raises(InputError, match="pyramid"):
        genview(pictures(), Encoder(), "autoencoder", 16)
    with pytest.raises(InputError, match="unclip and autoencoder"):
        build_generator("gan", pictures(), 16, 1, "", 0, "cpu")


def test_without_diffusers_the_extra_that_brings_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(InputError, match=r"manyviews\[generate\]"):
        Unclip("nowhere")


def tiny_unclip(folder: Path) -> Path:
    """A Stable unCLIP pipeline of a few thousand random weights, saved as the real one is."""
    diffusers = pytest.importorskip("diffusers")
    transformers = pytest.importorskip("transformers")
    from diffusers.pipelines.stable_diffusion.stable_unclip_image_normalizer import StableUnCLIPImageNormalizer

    words = {chr(33 + k): k for k in range(10)} | {"<|startoftext|>": 10, "<|endoftext|>": 11}
    (folder / "words").mkdir(parents=True)
    (folder / "words" / "vocab.json").write_text(json.dumps(words))
    (folder / "words" / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(str(folder / "words" / "vocab.json"), str(folder / "words" / "merges.txt"))
    common = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = transformers.CLIPVisionConfig(**common, projection_dim=16, image_size=16, patch_size=8)
    text = transformers.CLIPTextConfig(**common, projection_dim=16, vocab_size=12, max_position_embeddings=8, bos_token_id=10, eos_token_id=11, pad_token_id=11)
    tokenizer.model_max_length = 8
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(8, 16), attention_head_dim=(2, 4), norm_num_groups=4, layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), cross_attention_dim=16,
        class_embed_type="projection", projection_class_embeddings_input_dim=32, use_linear_projection=True,
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
                                  norm_num_groups=4, latent_channels=4)  # fmt: skip
    pipe = diffusers.StableUnCLIPImg2ImgPipeline(
        feature_extractor=transformers.CLIPImageProcessor(crop_size={"height": 16, "width": 16}, size={"shortest_edge": 16}),
        image_encoder=transformers.CLIPVisionModelWithProjection(vision), image_normalizer=StableUnCLIPImageNormalizer(embedding_dim=16),
        image_noising_scheduler=diffusers.DDPMScheduler(beta_schedule="squaredcos_cap_v2"), tokenizer=tokenizer, text_encoder=transformers.CLIPTextModel(text),
        unet=unet, scheduler=diffusers.DDIMScheduler(), vae=vae,
    )  # fmt: skip
    pipe.save_pretrained(folder / "pipe")
    return folder / "pipe"


def test_unclip_makes_a_picture_of_each_original_by_its_own_level_and_randomness(tmp_path: Path) -> None:
    make = Unclip(str(tiny_unclip(tmp_path)), steps=2)
    view = scenes(torch.tensor([1, 2, 3]))
    made = make(view, torch.tensor([0, 400, 0]), Counter(0, 0))
    assert made.shape == (3, 3, 16, 16) and bool(((made >= 0) & (made <= 1)).all())
    torch.testing.assert_close(make(view, torch.tensor([0, 400, 0]), Counter(0, 0)), made)
    alone = View(view.x[1:2], view.index[1:2])
    torch.testing.assert_close(make(alone, torch.tensor([400]), Counter(0, 0)), made[1:2], atol=1e-3, rtol=0)
    assert not torch.allclose(make(alone, torch.tensor([0]), Counter(0, 0)), made[1:2], atol=1e-3)
    assert not torch.allclose(make(view, torch.tensor([0, 400, 0]), Counter(1, 0)), made, atol=1e-3)


def test_weights_that_are_not_there_are_an_input_error(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    with pytest.raises(InputError, match="no weights of Stable unCLIP"):
        Unclip(str(tmp_path / "nowhere"))
