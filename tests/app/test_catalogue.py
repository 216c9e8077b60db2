import ast
import json
import textwrap
from pathlib import Path

import pytest

from manyviews.app import catalogue
from manyviews.app.catalogue import Entry, built_encoders, find_method, methods, parse_settings, recipe_fields, small_encoders
from manyviews.app.cli import VERBS, main
from manyviews.app.showing import show
from manyviews.app.source import meanings
from manyviews.backbones.building import builders
from manyviews.errors import InputError

ROOT = catalogue.PACKAGE.parent


def entry(**parameters):
    """A method with these hyperparameters: name=(annotation, default)."""
    return Entry(
        "mine", "method", "methods/contrast/mine.py", "Mine", "", {k: v[1] for k, v in parameters.items()}, {k: v[0] for k, v in parameters.items() if v[0]}
    )


def package(tmp_path, monkeypatch, **files):
    """A package with these files, next to the real frame of objectives."""
    for where, text in files.items():
        path = tmp_path / "manyviews" / f"{where.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    monkeypatch.setattr(catalogue, "PACKAGE", tmp_path / "manyviews")
    catalogue.methods.cache_clear()
    return tmp_path / "manyviews"


@pytest.fixture(autouse=True)
def fresh():
    catalogue.frame()
    yield
    catalogue.methods.cache_clear()


def test_the_catalogue_lists_the_files_of_methods_and_objectives():
    assert {"simclr", "barlow_twins", "vicreg", "byol", "moco_v2"} <= set(methods())
    assert "joint_embedding" not in methods()


def test_every_name_has_one_home():
    homes = {(catalogue.squashed(alias), e.path) for e in methods().values() for alias in (e.name, e.definition, Path(e.path).stem)}
    names = [name for name, _ in homes]
    assert sorted(names) == sorted(set(names))


def test_a_name_with_two_homes_is_an_error(tmp_path, monkeypatch):
    text = '"""Mine: x."""\nclass {}(Method):\n    def __init__(self, encoder): ...\n'
    package(tmp_path, monkeypatch, methods__contrast__mine=text.format("Mine"), methods__distill__mine=text.format("Other"))
    with pytest.raises(RuntimeError, match=r"mine has two homes: methods/contrast/mine\.py and methods/distill/mine\.py"):
        methods()
    package(tmp_path, monkeypatch, methods__distill__mine=text.format("Other"), objectives__mine_too='NAME = "mine"\ndef mine_too(za, zb): ...\n')
    (tmp_path / "manyviews/methods/contrast/mine.py").unlink()
    with pytest.raises(RuntimeError, match="mine has two homes"):
        methods()


def test_a_file_that_is_no_python_says_where(tmp_path, monkeypatch):
    package(tmp_path, monkeypatch, methods__contrast__mine="class Mine(Method:\n")
    with pytest.raises(InputError, match=r"mine\.py, line 1"):
        methods()


@pytest.mark.parametrize("name", ["simclr", "SimCLR", "infonce", "InfoNCE"])
def test_published_and_own_names_resolve_as_people_write_them(name):
    assert find_method(name).name == "simclr"
    assert find_method("MoCo v2").name == find_method("moco-v2").name == find_method("MoCoV2").name == "moco_v2"


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="no method 'simclt'; the nearest are simclr"):
        find_method("simclt")


@pytest.mark.parametrize("name", list(methods()))
def test_every_system_says_what_its_paper_is_and_what_it_takes(name):
    e = methods()[name]
    assert e.sentence.endswith(".") and ": " in e.sentence, "the first paragraph is NAME: one plain sentence."
    assert e.arxiv, "the second paragraph cites the paper with its arXiv id"
    assert e.departures, "and says how it departs from the paper"
    assert e.views
    assert set(e.recipe) <= set(recipe_fields())
    ast.parse("\n".join(e.parameters.values()))


def test_an_objective_has_the_hyperparameters_of_the_frame_and_of_its_projector():
    simclr = find_method("simclr")
    assert simclr.parameters["temperature"] == "0.1"
    assert {"hidden", "out", "layers"} <= set(simclr.parameters)
    assert simclr.types["temperature"] == "float" and simclr.types["hidden"] == "int | None"
    assert simclr.recipe["optimizer"] == "'lars'"
    assert find_method("supcon").given == ("label",)
    assert find_method("supervised").given == ("label",)
    assert find_method("byol").given == ()


def test_the_signatures_that_are_read_are_those_that_python_sees():
    import importlib
    import inspect

    for e in methods().values():
        signature = inspect.signature(getattr(importlib.import_module(e.module), e.definition)).parameters
        real = {name: p.default for name, p in signature.items() if p.default is not inspect.Parameter.empty and name not in catalogue.FILLED}
        assert set(real) <= set(e.parameters), e.name
        for name, default in real.items():
            if name not in ("hidden", "out", "layers"):
                assert eval(e.parameters[name], {"math": __import__("math")}) == default, (e.name, name)


def test_meanings_come_from_docstrings_or_the_comment_where_the_argument_is_taken():
    source = textwrap.dedent('''
        class Mine:
            """A method. decay: of the slow copy. Distances are weighted by `weight`."""
            def __init__(self, encoder, decay=0.9, weight=1.0, tau=0.1, other=3, plain=1):
                self.tau = tau  # tau_s
                self.plain = plain
        ''')
    said = meanings(["decay", "weight", "tau", "plain"], [ast.parse(source).body[0]], source)
    assert said == {"decay": "of the slow copy.", "weight": "Distances are weighted by `weight`.", "tau": "tau_s"}


@pytest.mark.parametrize(
    ("annotation", "default", "text", "value"),
    [
        ("float", "0.1", "0.5", 0.5), ("float", "0.1", "2", 2.0), ("float", "0.1", "1e-3", 1e-3), ("float", "0.1", "inf", float("inf")),
        ("int", "3", "4", 4), ("int", "3", "1e3", 1000), ("bool", "True", "false", False), ("bool", "True", "True", True),
        ("str", "'a'", "5", "5"), ("str", "'a'", "b c", "b c"), ("float | None", "None", "0.3", 0.3), ("float | None", "None", "none", None),
        ("Optional[int]", "None", "3", 3), ("tuple[float, float]", "(0.1, 1.0)", "(0.2, 1)", (0.2, 1.0)), ("tuple[int, ...]", "(1, 2)", "[3, 4, 5]", (3, 4, 5)),
        ("Literal['pre', 'post']", "'pre'", "post", "post"), ("", "0.1", "1", 1.0), ("", "True", "no", False),
        ("float", "math.pi", "3", 3.0), ("", "math.pi", "3", 3),
        ("float", "0.1", 1, 1.0), ("tuple[float, float]", "(0, 1)", (1, 2), (1.0, 2.0)),
    ],
)  # fmt: skip
def test_settings_are_read_as_the_annotation_or_the_default_says(annotation, default, text, value):
    values, problems = parse_settings(entry(x=(annotation, default)), {"x": text})
    assert not problems
    assert values == {"x": value} and type(values["x"]) is type(value)


@pytest.mark.parametrize(
    ("annotation", "default", "text", "expected"),
    [
        ("float", "0.1", "much", "float"), ("float", "0.1", "True", "float"), ("float", "0.1", "nan", "float"),
        ("int", "3", "2.5", "int"), ("int", "3", "(1,)", "int"),
        ("bool", "True", "2", "bool"), ("float | None", "None", "x", "float or None"),
        ("tuple[float, float]", "(0.1, 1.0)", "(1, 2, 3)", "tuple[float, float]"),
        ("tuple[float, float]", "(0.1, 1.0)", "(1, 'a')", "tuple[float, float]"), ("Literal['pre', 'post']", "'pre'", "mid", "one of ['pre', 'post']"),
        ("", "3", "x", "int"), ("str", "'a'", 5, "str"),
    ],
)  # fmt: skip
def test_a_setting_of_the_wrong_kind_says_what_was_expected(annotation, default, text, expected):
    _, problems = parse_settings(entry(x=(annotation, default)), {"x": text})
    assert problems == [f"--set x={text}: expected {expected}, as in the default {default}"]


def test_all_wrong_settings_are_said_at_once_with_the_nearest_names():
    _, problems = parse_settings(find_method("simclr"), {"temprature": "0.1", "hidden": "wide", "zzz": "1"})
    assert len(problems) == 3
    assert "simclr has no hyperparameter 'temprature'; did you mean temperature? It has" in problems[0]
    assert "--set hidden=wide: expected int" in problems[1]
    assert "no hyperparameter 'zzz'. It has" in problems[2]


def test_methods_that_learn_from_labels_refuse_data_without_them(pictures):
    import numpy as np

    from manyviews.app.building import build_method
    from manyviews.backbones.building import build_encoder
    from manyviews.data.opening import open_data

    unlabelled = open_data(np.zeros((4, 8, 8, 3), dtype=np.uint8))
    for name in ("supcon", "supervised"):
        with pytest.raises(InputError, match=f"{name} learns from labels, and this data has none"):
            build_method(name, build_encoder("resnet_micro"), unlabelled)
    method, _ = build_method("supervised", build_encoder("resnet_micro"), open_data(pictures))
    assert method.classifier.out_features == 3


def test_defaults_are_values_where_the_source_is_a_literal_or_a_quotient():
    assert entry(a=("float", "0.1"), b=("", "(1, 2)"), c=("float", "5 / 90"), d=("float", "math.pi")).defaults() == {
        "a": 0.1,
        "b": (1, 2),
        "c": 5 / 90,
        "d": "math.pi",
    }


def test_small_encoders_come_with_their_docstrings():
    assert [e.name for e in small_encoders()] == ["resnet_nano", "resnet_micro", "resnet18_small", "vit_micro", "vit_nano"]
    assert all(e.sentence.endswith(".") for e in small_encoders())


@pytest.mark.parametrize("name", list(methods()))
def test_show_prints_every_hyperparameter_of_a_method_with_its_default(name):
    text, e = show(name), methods()[name]
    for hyperparameter, default in e.parameters.items():
        assert any(line.split()[:1] == [hyperparameter] and default in line for line in text.splitlines())
    assert f"arXiv:{e.arxiv}" in " ".join(text.split())
    assert f"File: manyviews/{e.path}" in text
    assert "Tests: tests/" in text or "Tests: none" in text
    assert "Claim: " in text


def test_show_says_what_was_measured(tmp_path, monkeypatch):
    from manyviews.app import showing

    root = package(tmp_path, monkeypatch, methods__contrast__mine='"""Mine: x."""\nclass Mine(Method):\n    def __init__(self, encoder): ...\n')
    monkeypatch.setattr(showing, "PACKAGE", root)
    (tmp_path / "tests").mkdir()
    assert showing.evidence(find_method("mine")) == ["Tests: none", "Claim: not measured yet"]
    (tmp_path / "claims/results").mkdir(parents=True)
    result = {"system": "mine", "question": "Is it?", "paper": "It is.", "arms": {}, "comparisons": [], "verdict": "holds"}
    (tmp_path / "claims/results/mine.json").write_text(json.dumps(result))
    assert showing.evidence(find_method("mine"))[1:] == ["Claim: claims/results/mine.json", "", "mine: Is it?", "paper: It is.", "", "verdict: holds"]
    (tmp_path / "claims/results/mine.json").write_text("{")
    assert showing.evidence(find_method("mine"))[-1] == "  damaged: it is no JSON"


def test_encoders_that_are_functions_are_those_that_can_be_built():
    found = {e.name: e.takes for e in built_encoders()}
    assert found == {name: takes for name, (takes, _) in builders().items()} and found["ponita_micro"] == "points" and "named" not in found
    assert all(e.sentence.endswith(".") for e in built_encoders())


def test_show_tells_of_an_encoder_that_is_a_function(capsys):
    assert main(["show", "tinvnn_dgcnn"]) == 0
    said = capsys.readouterr().out
    assert "an encoder of points" in said and "manyviews show tinvnn" in said


def test_show_tells_the_size_of_encoders_and_what_groups_do():
    text = show("vit_micro")
    assert "2,691,648" in text and "192" in text and "yes" in text
    text = show("test_resnet")
    assert "160" in text and "test_resnet.r160_in1k" in text
    assert show("so3").startswith("so3: rotations of space") and "Representations" in show("affine2")
    with pytest.raises(InputError, match=r"no method, encoder or group 'vit_smal'; the nearest are .*vit_small"):
        show("vit_smal")


def test_the_listing_verbs_print_names_and_json(capsys):
    assert main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == list(methods())
    assert main(["methods", "--json"]) == 0
    assert [e["name"] for e in json.loads(capsys.readouterr().out)] == list(methods())
    assert main(["encoders", "resnet18"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "of images:" and out[1].startswith("  resnet18_small") and "resnet18" in out and not any("vit" in line for line in out)
    assert main(["encoders", "zzzz"]) == 2
    assert "no encoder fits 'zzzz'" in capsys.readouterr().err
    assert "methods" in VERBS


@pytest.mark.parametrize("name", list(methods()))
def test_every_hyperparameter_has_a_meaning(name):
    from manyviews.app.showing import meaning_of

    assert [h for h in methods()[name].parameters if not meaning_of(methods()[name], h)] == []
