import argparse
import os
import pickle

import pytest
import torch
from safetensors.torch import save_file

from manyviews.app.model import Model
from manyviews.backbones import pretrained
from manyviews.backbones.building import build_encoder
from manyviews.backbones.pretrained import default_size, load_weights, timm_pretrained
from manyviews.contracts import View
from manyviews.errors import InputError
from manyviews.nn import torchvision_schemas

torchvision_schemas.declare()
import timm  # noqa: E402

TIMM = "test_resnet"  # 0.5 million parameters
TIMM_VIT = "test_vit"


def embedding(encoder, side=32, channels=3):
    x = torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return encoder.eval()(View(x, torch.arange(2)))


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def write(tensors, path):
    if path.suffix == ".safetensors":
        save_file({k: v.contiguous().clone() for k, v in tensors.items()}, path)
    else:
        torch.save(tensors, path)
    return path


def test_sizes_come_from_timm_and_are_32_for_the_small_encoders():
    assert default_size("resnet_micro") == 32
    assert default_size("induced_pose_micro") == 32 and default_size("lie_decomposition") == 40, "pictures, of their own function"
    assert default_size("r3d_18") == 112 and default_size("r3d_micro") == 32
    assert default_size("resnet50") == 224
    assert default_size("vit_base_patch16_siglip_384") == 384


def test_an_unknown_tag_is_answered_with_the_ones_there_are():
    with pytest.raises(InputError, match="has no weights 'imagenet' for test_resnet; it has r160_in1k"):
        timm_pretrained(f"{TIMM}.imagenet")


def test_timm_weights_come_from_a_local_file(tmp_path):
    source = timm.create_model(TIMM, num_classes=1000)
    file = write(source.state_dict(), tmp_path / "weights.safetensors")
    encoder, size = timm_pretrained(f"{TIMM}@{file}")
    assert size == 160
    x = torch.rand(2, 3, 160, 160)
    with torch.no_grad():
        expected = source.eval().forward_head(source.forward_features((x - encoder.mean) / encoder.std), pre_logits=True)
        assert torch.allclose(encoder.eval()(View(x, torch.arange(2))), expected, atol=1e-6)


def test_timm_weights_of_another_size_and_another_number_of_channels_are_adapted(tmp_path):
    source = timm.create_model(TIMM_VIT, num_classes=1000)
    file = write(source.state_dict(), tmp_path / "weights.safetensors")
    encoder, size = timm_pretrained(f"{TIMM_VIT}@{file}", channels=1, size=64)
    assert size == 64
    assert encoder.model.pos_embed.shape != source.pos_embed.shape
    assert torch.allclose(encoder.model.patch_embed.proj.weight, source.patch_embed.proj.weight.sum(1, keepdim=True), atol=1e-6)
    assert torch.equal(encoder.model.blocks[1].mlp.fc1.weight, source.blocks[1].mlp.fc1.weight)


def test_timm_weights_that_lack_a_tensor_are_refused(tmp_path):
    tensors = timm.create_model(TIMM, num_classes=1000).state_dict()
    del tensors["layer2.0.bn1.bias"]  # starts at zero, so that nobody would see it
    with pytest.raises(InputError, match=r"lack layer2\.0\.bn1\.bias"):
        timm_pretrained(f"{TIMM}@{write(tensors, tmp_path / 'weights.safetensors')}")


def test_weights_that_cannot_be_had_are_an_error_and_not_random_ones(monkeypatch):
    def offline(*args, **options):
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", offline)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_url", offline)
    with pytest.raises(InputError, match=r"cannot be had from timm/test_resnet.*no route to the hub.*timm:test_resnet@FILE"):
        timm_pretrained(TIMM)
    encoder = build_encoder(TIMM, seed=1)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    with pytest.raises(InputError, match="no route"):
        load_weights(encoder, f"timm:{TIMM}")
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())


def test_small_encoders_have_no_published_weights():
    with pytest.raises(InputError, match="no published weights; take untrained:vit_micro"):
        timm_pretrained("vit_micro")


def test_weights_of_another_architecture_are_refused_by_name():
    with pytest.raises(InputError, match=r"for a test_vit, and the encoder is a test_resnet"):
        load_weights(build_encoder(TIMM), f"timm:{TIMM_VIT}")
    with pytest.raises(InputError, match=r"neither a run folder, nor a \.safetensors or \.pth file, nor a timm model"):
        load_weights(build_encoder(TIMM), "nowhere/weights.pth")


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.encoder_q.", "student.module.backbone.", "state_dict.model."])
def test_common_wrappers_are_stripped_and_heads_dropped(tmp_path, prefix):
    source, encoder = build_encoder("resnet_micro", seed=1), build_encoder("resnet_micro", seed=2)
    tensors = {f"{prefix}{k}": v for k, v in source.model.state_dict().items()}
    tensors[f"{prefix}fc.weight"] = torch.zeros(10, encoder.dim)
    said = load_weights(encoder, write(tensors, tmp_path / "weights.safetensors"))
    assert same(source, encoder)
    assert said.startswith(f"{len(source.state_dict())} of {len(source.state_dict())} tensors from")
    assert "left in the file: fc.weight" in said


def test_nested_checkpoints_with_saved_arguments_are_read_and_the_teacher_is_preferred(tmp_path):
    student, teacher, encoder = (build_encoder("resnet_micro", seed=s) for s in (1, 2, 3))
    wrapped = {who: {f"backbone.{k}": v for k, v in e.model.state_dict().items()} for who, e in (("student", student), ("teacher", teacher))}
    said = load_weights(encoder, write({**wrapped, "epoch": 3, "args": argparse.Namespace(lr=0.1)}, tmp_path / "checkpoint.pth"))
    assert same(teacher, encoder)
    assert "under teacher.backbone" in said


def test_a_file_that_would_run_code_is_refused_and_does_not_run_it(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "was_here"),)

    torch.save({"model": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(InputError, match="may run code"):
        load_weights(build_encoder("resnet_micro"), tmp_path / "evil.pth")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InputError, match=r"raw\.pt cannot be read"):
        load_weights(build_encoder("resnet_micro"), tmp_path / "raw.pt")
    assert not (tmp_path / "was_here").exists()


def test_torchvision_weights_fit_timms_resnet(tmp_path):
    from torchvision.models import resnet18

    source, encoder = resnet18().eval(), build_encoder("resnet18", size=64)
    load_weights(encoder, write(source.state_dict(), tmp_path / "resnet18.pth"))
    x = torch.rand(2, 3, 64, 64)
    source.fc = torch.nn.Identity()
    with torch.no_grad():
        assert torch.allclose(encoder.eval()(View(x, torch.arange(2))), source((x - encoder.mean) / encoder.std), atol=1e-5)


def test_missing_and_misshapen_tensors_are_all_listed_and_the_encoder_keeps_its_weights(tmp_path):
    source, encoder = build_encoder("resnet_micro", seed=1), build_encoder("resnet_micro", seed=2)
    tensors = dict(source.model.state_dict())
    del tensors["layer1.0.conv1.weight"]
    tensors["layer2.0.conv1.weight"] = torch.zeros(1, 2, 3, 3)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    with pytest.raises(InputError) as error:
        load_weights(encoder, write(tensors, tmp_path / "weights.safetensors"))
    total = len(before)
    assert error.value.problems[0].endswith(f"does not hold this encoder: {total - 2} of its {total} tensors match")
    assert error.value.problems[1] == "missing: layer1.0.conv1.weight"
    assert error.value.problems[2] == "of another shape: layer2.0.conv1.weight is (1, 2, 3, 3), expected (64, 32, 3, 3)"
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())


def test_weights_that_are_not_numbers_are_refused(tmp_path):
    tensors = {k: v.clone() for k, v in build_encoder("resnet_micro").model.state_dict().items()}
    tensors["layer1.0.conv1.weight"][0, 0, 0, 0] = torch.nan
    with pytest.raises(InputError, match=r"not finite, in layer1\.0\.conv1\.weight"):
        load_weights(build_encoder("resnet_micro"), write(tensors, tmp_path / "weights.safetensors"))


def test_a_runs_weights_continue_at_another_size(tmp_path):
    for name in ("vit_micro", "resnet_micro"):
        source = Model(build_encoder(name, size=32, seed=1), name, 32)
        source.save(tmp_path / name / "encoder.safetensors")
        encoder = build_encoder(name, size=64, seed=2)
        load_weights(encoder, tmp_path / name)
        key = {"vit_micro": "blocks.3.mlp.fc1.weight", "resnet_micro": "layer3.0.conv1.weight"}[name]
        assert torch.equal(encoder.model.state_dict()[key], source.encoder.model.state_dict()[key])
        assert embedding(encoder, 64).isfinite().all()
    with pytest.raises(InputError, match=r"it holds a resnet_micro for 32 pixels"):
        load_weights(build_encoder("vit_micro"), tmp_path / "resnet_micro")


def test_positions_of_another_grid_are_interpolated(tmp_path):
    source = build_encoder(TIMM_VIT, size=64, seed=1)
    columns = torch.linspace(-1, 1, 4)[None].expand(4, 4).reshape(1, 16, 1)
    source.model.pos_embed.data[:, -16:] = columns  # grows from left to right
    Model(source, TIMM_VIT, 64).save(tmp_path / "encoder.safetensors")
    encoder = build_encoder(TIMM_VIT, size=128, seed=2)
    load_weights(encoder, tmp_path)
    grid = encoder.model.pos_embed[0, -64:].reshape(8, 8, -1)
    assert torch.allclose(grid, grid[:1].expand_as(grid), atol=1e-5)
    assert (grid[0, 1:] > grid[0, :-1]).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["swin_tiny_patch4_window7_224", "convnext_atto", "beit_base_patch16_224", "deit_tiny_patch16_224", "efficientnet_b0", "regnety_002", "densenet121"]
)
def test_what_was_saved_is_read_back_whatever_the_architectures_filter_does(name, tmp_path):
    source, encoder = (build_encoder(name, size=224, seed=s) for s in (1, 2))
    Model(source, name, 224).save(tmp_path / "encoder.safetensors")
    load_weights(encoder, tmp_path)
    assert same(source, encoder)


def test_filters_of_swin_do_not_spoil_weights_of_another_size(tmp_path):
    source, encoder = (timm.create_model("swin_tiny_patch4_window7_224", num_classes=0, img_size=s, depths=(1, 1, 1, 1), embed_dim=24) for s in (224, 128))
    load_weights_of = pretrained.best_fit(encoder, dict(source.state_dict()))
    assert len(load_weights_of[2]) == len(encoder.state_dict())


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_the_first_convolution_is_adapted_to_the_channels(channels, tmp_path):
    source = build_encoder("resnet_micro", seed=1)
    Model(source, "resnet_micro", 32).save(tmp_path / "encoder.safetensors")
    encoder = build_encoder("resnet_micro", channels=channels, seed=2)
    load_weights(encoder, tmp_path)
    old, new = source.model.conv1.weight, encoder.model.conv1.weight
    grey = torch.rand(2, 1, 32, 32)
    if channels == 1:
        a, b = (torch.nn.functional.conv2d(grey.expand(-1, w.shape[1], -1, -1), w) for w in (old, new))
        assert torch.allclose(a, b, atol=1e-5)  # a grey picture gives what it gave
    else:
        assert torch.allclose(new, old.repeat(1, 2, 1, 1)[:, :channels] * 3 / channels)
    assert torch.equal(encoder.model.layer4[0].conv2.weight, source.model.layer4[0].conv2.weight)


def test_the_normalisation_follows_the_weights(tmp_path):
    source = build_encoder("test_vit", size=64, seed=1)
    source.mean, source.std = torch.full((3, 1, 1), 0.48145466), torch.full((3, 1, 1), 0.27)
    Model(source, "test_vit", 64).save(tmp_path / "encoder.safetensors")
    encoder = build_encoder("test_vit", size=64, seed=2)
    assert not torch.equal(embedding(encoder, 64), embedding(source, 64))
    load_weights(encoder, tmp_path)
    assert torch.equal(embedding(encoder, 64), embedding(source, 64))
