import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from manyviews.app import export as exporting
from manyviews.app.export import Graph, export
from manyviews.app.model import Model, load
from manyviews.app.run import Run
from manyviews.backbones.building import build_encoder
from manyviews.errors import InputError


@pytest.fixture
def run(tmp_path):
    """A run folder with an encoder and nothing else."""
    folder = tmp_path / "first"
    model = Model(build_encoder("resnet_micro", size=32, seed=1), "resnet_micro", 32)
    model.encoder.mean, model.encoder.std = torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1), torch.tensor([0.2, 0.3, 0.25]).view(3, 1, 1)
    model.save(folder / "encoder.safetensors")
    (folder / "run.json").write_text(json.dumps({"options": {"method": "simclr", "encoder": "resnet_micro", "data": "builtin"}}))
    return folder


def timm_model(name="test_vit", size=64, channels=3):
    return Model(build_encoder(name, channels, size, seed=1), name, size, channels)


def embeddings(model, batch):
    x = torch.rand(batch, model.channels, model.size, model.size)
    with torch.no_grad():
        return x, Graph(model.encoder)(x).numpy()


def test_onnx_takes_pictures_in_0_1_at_any_batch_and_normalises_them_itself(run):
    import onnxruntime

    path = Run(run).export("onnx")
    assert path == run / "export" / "encoder.onnx"
    session = onnxruntime.InferenceSession(str(path))
    for batch in (1, 7):
        x, ours = embeddings(load(run), batch)
        assert np.abs(session.run(None, {"image": x.numpy()})[0] - ours).max() < 1e-4
    meta = json.loads(session.get_modelmeta().custom_metadata_map["manyviews"])
    assert (meta["architecture"], meta["size"], meta["mean"]) == ("resnet_micro", 32, [0.5, 0.4, 0.3])


@pytest.mark.slow
def test_large_onnx_files_keep_their_weights_beside_them(run, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(exporting, "LARGEST", 1000)
    path = export(run, "onnx")
    assert sorted(f.name for f in path.parent.iterdir()) == ["encoder.onnx", "encoder.onnx.data"]
    x, ours = embeddings(load(run), 2)
    assert np.abs(onnxruntime.InferenceSession(str(path)).run(None, {"image": x.numpy()})[0] - ours).max() < 1e-4


def test_torchscript_takes_any_batch(run):
    path = export(run, "torchscript")
    graph = torch.jit.load(str(path))
    for batch in (1, 5):
        x, ours = embeddings(load(run), batch)
        assert np.abs(graph(x).detach().numpy() - ours).max() < 1e-4


def test_safetensors_is_what_load_reads(run, tmp_path):
    path = export(run, "safetensors", tmp_path / "else" / "model.safetensors")
    assert load(path).hash() == load(run).hash()
    assert sorted(f.name for f in path.parent.iterdir()) == ["model.safetensors"]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_timm_builds_the_encoder_from_the_folder_with_its_own_preprocessing(tmp_path, channels):
    import timm

    model = timm_model(channels=channels)
    path = export(model, "timm", tmp_path / "out")
    reloaded = timm.create_model(f"local-dir:{path}", pretrained=True).eval()
    config = timm.data.resolve_model_data_config(reloaded)
    assert config["input_size"] == (channels, 64, 64)
    x, ours = embeddings(model, 2)
    mean, std = (torch.tensor(config[k]).view(-1, 1, 1) for k in ("mean", "std"))
    with torch.no_grad():
        assert np.abs(reloaded((x - mean) / std).numpy() - ours).max() < 1e-4
    assert not {"tag", "license"} & set(json.loads((path / "config.json").read_text())["pretrained_cfg"])  # those of timm's weights are not ours


def test_timm_loads_the_weights_as_a_checkpoint_too(tmp_path):
    import timm

    path = export(timm_model("test_resnet"), "timm", tmp_path / "out")
    reloaded = timm.create_model("test_resnet", checkpoint_path=str(path / "model.safetensors"), num_classes=0)
    assert all(torch.equal(v, load_file(path / "model.safetensors")[k]) for k, v in reloaded.state_dict().items())


def test_timm_refuses_encoders_that_timm_lacks_and_says_what_to_use(tmp_path):
    for name in ("resnet_micro", "resnet18_small", "vit_micro"):
        with pytest.raises(InputError, match=f"timm has no {name}.*--to safetensors.*--to onnx or torchscript"):
            export(Model(build_encoder(name), name, 32), "timm", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("to", [pytest.param("onnx", marks=pytest.mark.slow), "torchscript", "safetensors", "timm"])
def test_an_export_that_embeds_otherwise_is_an_error_and_leaves_no_file(tmp_path, monkeypatch, to):
    writer = exporting.WRITERS[to]
    monkeypatch.setitem(exporting.WRITERS, to, lambda model, path: (lambda right: lambda x: right(x) * 1.001)(writer(model, path)))
    with pytest.raises(InputError, match=r"differ by .*nothing was written"):
        export(timm_model("test_resnet"), to, tmp_path / "deep" / "out")
    assert list(tmp_path.iterdir()) == []


def test_embeddings_that_are_not_numbers_do_not_pass(tmp_path, monkeypatch):
    monkeypatch.setitem(exporting.WRITERS, "safetensors", lambda model, path: lambda x: torch.full((len(x), 256), torch.nan))
    with pytest.raises(InputError, match="nan"):
        export(Model(build_encoder("resnet_micro"), "resnet_micro", 32), "safetensors", tmp_path / "a.safetensors")


def test_a_graph_that_fixes_the_batch_does_not_pass(tmp_path, monkeypatch):
    monkeypatch.setitem(exporting.WRITERS, "torchscript", lambda model, path: lambda x: torch.zeros(2, 256))
    with pytest.raises(InputError, match=r"gives \(2, 256\) for \(3, 3, 32, 32\), expected \(3, 256\)"):
        export(Model(build_encoder("resnet_micro"), "resnet_micro", 32), "torchscript", tmp_path / "a.pt")


def test_a_failed_export_leaves_the_old_file(tmp_path, monkeypatch):
    model = Model(build_encoder("resnet_micro", seed=1), "resnet_micro", 32)
    path = export(model, "safetensors", tmp_path / "a.safetensors")
    before = path.read_bytes()

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting.os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        export(Model(build_encoder("resnet_micro", seed=2), "resnet_micro", 32), "safetensors", path)
    assert path.read_bytes() == before
    assert [f.name for f in tmp_path.iterdir()] == ["a.safetensors"]


def test_everything_wrong_is_said_at_once():
    with pytest.raises(InputError) as error:
        export("nowhere", "onx")
    assert len(error.value.problems) == 2
    assert "no format 'onx'; did you mean onnx?" in error.value.problems[0]
    assert "no model 'nowhere'" in error.value.problems[1]


def test_a_missing_onnx_package_names_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"--to onnx needs onnxruntime: pip install 'manyviews\[onnx\]'"):
        export(run, "onnx")


def test_a_folder_where_a_file_should_be_is_refused(run, tmp_path):
    with pytest.raises(InputError, match="is a folder, and onnx is written to a file"):
        export(run, "onnx", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file, and timm is written to a folder"):
        export(timm_model(), "timm", tmp_path / "file")
    with pytest.raises(InputError, match="file is no folder"):
        export(run, "safetensors", tmp_path / "file" / "deeper" / "a.safetensors")


def test_a_continued_timm_model_keeps_the_licence_of_its_weights(tmp_path):
    import timm

    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "weights.safetensors")
    path = export(f"timm:test_resnet@{tmp_path / 'weights.safetensors'}", "timm", tmp_path / "out")
    assert json.loads((path / "config.json").read_text())["pretrained_cfg"]["license"] == "apache-2.0"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test_convnext", "test_efficientnet", "test_vit", "test_mambaout"])
def test_other_architectures_export_to_onnx(tmp_path, name):
    export(timm_model(name), "onnx", tmp_path / "out")


@pytest.mark.parametrize("name", ["test_convnext", "test_efficientnet", "test_vit", "test_mambaout"])
@pytest.mark.parametrize("to", ["torchscript", "timm"])
def test_other_architectures_export(tmp_path, name, to):
    export(timm_model(name), to, tmp_path / "out")


@pytest.mark.parametrize("name", ["point_transformer_micro", "dgcnn", "pointnet2"])
@pytest.mark.parametrize("to", ["torchscript", pytest.param("onnx", marks=pytest.mark.slow)])
def test_encoders_of_clouds_go_with_neighbours_found_by_pytorch(tmp_path, name, to):
    said, model = [], load(f"untrained:{name}", 128)
    path = export(model, to, tmp_path / "encoder", said.append)
    assert "random points differ" in said[0] and "(batch, 128, 3) as the views plain of points give them" in said[1]
    if to == "torchscript":
        x = torch.randn(5, 128, 3)
        torch.testing.assert_close(torch.jit.load(str(path))(x), Graph(model.encoder.eval())(x), atol=1e-5, rtol=1e-4)
