import importlib.util
import inspect
import subprocess
import sys

import pytest

from manyviews.app import new as making
from manyviews.app.new import main, new
from manyviews.errors import InputError


def loaded(path, name, monkeypatch):
    """The module of a file, under the name that others import it by."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def test_the_new_method_and_its_test_pass_as_they_are(tmp_path, monkeypatch):
    file, test = new("my_method", "distill", tmp_path)
    loaded(file, "manyviews.methods.distill.my_method", monkeypatch)
    tests = [f for name, f in inspect.getmembers(loaded(test, "test_my_method", monkeypatch), inspect.isfunction) if name.startswith("test_")]
    assert len(tests) == 4
    for function in tests:
        function()


def test_the_catalogue_reads_the_new_method(tmp_path, monkeypatch):
    from manyviews.app import catalogue

    file, _ = new("my_method", root=tmp_path)
    monkeypatch.setattr(catalogue, "PACKAGE", tmp_path / "manyviews")
    entry = catalogue.read(file)
    assert (entry.name, entry.definition, entry.module) == ("my_method", "MyMethod", "manyviews.methods.contrast.my_method")
    assert entry.parameters == {"hidden": "512", "out": "128", "spread": "1.0"}
    assert entry.departures.startswith("Departs from the paper in that there is none yet")


def test_the_new_files_are_in_the_style_that_ci_checks(tmp_path):
    files = [str(path) for path in new("my_method", root=tmp_path)]
    config = str(making.PACKAGE.parent / "pyproject.toml")
    config = ["--config", config, "--config", 'lint.isort.known-first-party=["manyviews"]']
    for command in (["check"], ["format", "--check"]):
        result = subprocess.run([sys.executable, "-m", "ruff", *command, *config, *files], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("name", ["simclr", "infonce", "mo_co_v2", "joint__embedding", "MyMethod", "2fast", "class", "../escape", ""])
def test_names_that_are_taken_or_no_names_are_refused(tmp_path, name):
    with pytest.raises(InputError):
        new(name, root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_everything_wrong_is_said_at_once_and_nothing_is_written(tmp_path):
    with pytest.raises(InputError) as error:
        new("My-Method", "magic", tmp_path)
    assert len(error.value.problems) == 2
    assert "there are contrast, cluster, distill" in error.value.problems[1]


def test_an_existing_file_is_not_overwritten(tmp_path):
    file, _ = new("my_method", root=tmp_path)
    file.write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        new("my_method", root=tmp_path)
    assert file.read_text() == "mine"


def test_the_command_answers_with_status_2(capsys):
    assert main(["simclr"]) == 2
    assert "simclr is there already: manyviews/objectives/infonce.py" in capsys.readouterr().err
