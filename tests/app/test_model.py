import json
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from manyviews.app.model import Model, load
from manyviews.backbones.building import build_encoder
from manyviews.errors import InputError


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "encoder.safetensors"
    Model(build_encoder("resnet_micro", size=32, seed=3), "resnet_micro", 32).save(path)
    return path


def with_header(path, meta, to):
    """The same tensors under another header."""
    metadata = {} if meta is None else {"manyviews": meta if isinstance(meta, str) else json.dumps(meta)}
    save_file(load_file(path), to, metadata=metadata)
    return to


def test_a_saved_model_embeds_as_before_and_has_the_same_hash(saved):
    before = Model(build_encoder("resnet_micro", size=32, seed=3), "resnet_micro", 32)
    after = load(saved)
    picture = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    assert np.array_equal(before([picture]), after([picture]))
    assert before.hash() == after.hash()


@pytest.mark.slow
def test_the_hash_is_the_same_in_another_process(saved):
    code = f"from manyviews.app.model import load; print(load({str(saved)!r}).hash())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == load(saved).hash()


def test_the_hash_changes_with_any_weight_the_normalisation_and_the_size(saved):
    hashes = {load(saved).hash(), load(saved, size=48).hash()}
    model = load(saved)
    model.encoder.mean = model.encoder.mean + 0.01
    hashes.add(model.hash())
    model = load(saved)
    with torch.no_grad():
        model.encoder.model.layer4[0].bn2.bias[0] += 1e-6
    hashes.add(model.hash())
    assert len(hashes) == 4


def test_the_normalisation_survives_saving_to_the_last_bit(tmp_path):
    model = Model(build_encoder("resnet_micro", size=32, seed=0), "resnet_micro", 32)
    model.encoder.mean, model.encoder.std = torch.tensor([0.48145466, 1 / 3, 0.1]).view(3, 1, 1), torch.tensor([0.26862954, 0.2, 0.7]).view(3, 1, 1)
    model.save(tmp_path / "encoder.safetensors")
    assert torch.equal(load(tmp_path / "encoder.safetensors").encoder.mean, model.encoder.mean)
    assert load(tmp_path / "encoder.safetensors").hash() == model.hash()


def test_untrained_models_have_their_own_size_and_always_the_same_weights():
    assert load("untrained:resnet_micro").size == 32
    assert load("untrained:resnet18").size == 224
    assert load("untrained:resnet18", size=64).size == 64
    assert load("untrained:vit_micro").hash() == load("untrained:vit_micro").hash()


def test_an_unknown_architecture_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="no encoder 'resnet_mikro'; the nearest are resnet_micro"):
        load("untrained:resnet_mikro")


def test_a_file_cut_in_half_is_said_to_be_damaged(saved):
    saved.write_bytes(saved.read_bytes()[: saved.stat().st_size // 2])
    with pytest.raises(InputError, match="cannot be read, it is damaged or cut off"):
        load(saved)


@pytest.mark.parametrize("content", [b"", b"not a model at all", struct.pack("<Q", 1 << 62) + b"{}"])
def test_what_is_no_safetensors_file_is_said_to_be_damaged(tmp_path, content):
    path = tmp_path / "encoder.safetensors"
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        load(path)


def test_a_file_of_others_points_to_weights(saved, tmp_path):
    with pytest.raises(InputError, match=r"not written by manyviews.*--weights .*--encoder NAME"):
        load(with_header(saved, None, tmp_path / "other.safetensors"))
    with pytest.raises(InputError, match="damaged"):
        load(with_header(saved, "{half a head", tmp_path / "other.safetensors"))


def test_a_header_that_is_not_understood_says_which_part(saved, tmp_path):
    with pytest.raises(InputError, match=r"size \('32'\), channels missing or not understood"):
        load(with_header(saved, {"architecture": "resnet_micro", "size": "32"}, tmp_path / "other.safetensors"))
    with pytest.raises(InputError, match=r"other.safetensors: no encoder 'resnet_pico'; the nearest are"):
        load(with_header(saved, {"architecture": "resnet_pico", "size": 32, "channels": 3}, tmp_path / "other.safetensors"))


def test_tensors_of_other_shapes_are_listed(saved, tmp_path):
    tensors = load_file(saved)
    tensors["model.conv1.weight"] = torch.zeros(64, 3, 7, 7)
    del tensors["model.layer1.0.bn1.bias"]
    tensors["model.fc.bias"] = torch.zeros(3)
    save_file(tensors, saved, metadata={"manyviews": json.dumps({"architecture": "resnet_micro", "size": 32, "channels": 3})})
    with pytest.raises(InputError) as error:
        load(saved)
    said = str(error.value)
    assert "does not hold the resnet_micro for 32 pixels that its header names" in said
    assert "model.conv1.weight is (64, 3, 7, 7), expected" in said
    assert "model.layer1.0.bn1.bias is missing" in said
    assert "model.fc.bias has no place" in said


def test_folders_and_files_that_are_no_model_say_what_they_lack(tmp_path):
    with pytest.raises(InputError, match=r"is not a run: it has no run\.json"):
        load(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(InputError, match=r"no encoder\.safetensors yet; continue it with `manyviews pretrain --resume"):
        load(tmp_path)
    with pytest.raises(InputError, match="no such file or folder"):
        load(tmp_path / "nothing")
    torch.save({"a": torch.zeros(1)}, tmp_path / "weights.pth")
    with pytest.raises(InputError, match="--weights"):
        load(tmp_path / "weights.pth")


def test_a_model_is_loaded_for_another_size(saved, tmp_path):
    assert torch.equal(load(saved, size=48).encoder.model.conv1.weight, load(saved).encoder.model.conv1.weight)
    Model(build_encoder("vit_micro", size=32, seed=3), "vit_micro", 32).save(tmp_path / "vit.safetensors")
    larger = load(tmp_path / "vit.safetensors", size=64)
    assert (larger.size, larger.encoder.model.patch_embed.img_size) == (64, (64, 64))


def test_timm_models_load_from_a_file_at_timms_size(tmp_path):
    import timm

    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "weights.safetensors")
    model = load(f"timm:test_resnet@{tmp_path / 'weights.safetensors'}")
    assert (model.size, model.architecture, model.trained) == (160, "test_resnet", True)
    assert model.untrained().hash() != model.hash()
