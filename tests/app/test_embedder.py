"""The scikit-learn transformer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import manyviews as mv
from manyviews.app.embedder import Embedder
from manyviews.app.model import load
from manyviews.errors import InputError


def some(pictures: Path, count: int = 6) -> list[Path]:
    return sorted(pictures.rglob("*.png"))[::5][:count]


def test_paths_arrays_and_pillow_pictures_give_the_same_vectors(pictures: Path, tiny_run: Path) -> None:
    paths = some(pictures)
    embedder = Embedder(tiny_run)
    expected = embedder.fit_transform(paths)
    assert expected.shape == (6, 256) and expected.dtype == np.float32
    opened = [Image.open(p) for p in paths]
    for same in (
        np.stack([np.asarray(p) for p in opened]),
        opened,
        [np.asarray(p) for p in opened],
        np.array([str(p) for p in paths]),
        np.array([str(p) for p in paths])[:, None],
    ):
        np.testing.assert_allclose(embedder.transform(same), expected, atol=1e-6)


def test_vectors_are_those_of_the_model(pictures: Path, tiny_run: Path) -> None:
    paths = some(pictures)
    np.testing.assert_allclose(Embedder(str(tiny_run), batch=4).transform(paths), load(tiny_run)(paths), atol=1e-5)


def test_a_run_a_model_and_a_reference_will_do(pictures: Path, tiny_run: Path) -> None:
    paths = some(pictures, 2)
    expected = Embedder(tiny_run).transform(paths)
    np.testing.assert_array_equal(Embedder(mv.Run(tiny_run)).transform(paths), expected)
    np.testing.assert_array_equal(Embedder(load(tiny_run)).transform(paths), expected)
    assert not np.allclose(Embedder("untrained:resnet_micro", size=16).transform(paths), expected)


def test_parameters_clone_pipeline_and_pandas_output_work(pictures: Path, tiny_run: Path) -> None:
    from sklearn.base import clone
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline

    embedder = Embedder(tiny_run, batch=8)
    assert embedder.get_params() == {"run": tiny_run, "batch": 8, "device": None, "size": None}
    assert clone(embedder).set_params(batch=3).batch == 3 and embedder.batch == 8
    assert "Embedder(" in repr(embedder)
    paths = np.array([str(p) for p in sorted(pictures.rglob("*.png"))])
    labels = np.array([Path(p).parent.name for p in paths])
    scores = cross_val_score(make_pipeline(Embedder(tiny_run), LogisticRegression(max_iter=300)), paths, labels, cv=3)
    assert scores.mean() > 0.6
    names = embedder.get_feature_names_out()
    assert names[0] == "embedder0" and len(names) == 256


def test_the_checks_of_scikit_learn_that_make_sense_for_pictures_pass(tiny_run: Path) -> None:
    from sklearn.utils import estimator_checks as checks

    for check in (
        checks.check_no_attributes_set_in_init,
        checks.check_get_params_invariance,
        checks.check_set_params,
        checks.check_estimator_cloneable,
        checks.check_estimator_repr,
        checks.check_mixin_order,
        checks.check_estimators_unfitted,
        checks.check_estimator_tags_renamed,
        checks.check_valid_tag_types,
    ):
        check("Embedder", Embedder(str(tiny_run)))


def test_all_unreadable_pictures_are_named_at_once(pictures: Path, tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.png").touch()
    with pytest.raises(InputError) as caught:
        Embedder(tiny_run, batch=1).transform([*some(pictures, 1), tmp_path / "text.jpg", tmp_path / "empty.png", tmp_path / "absent.png"])
    assert len(caught.value.problems) == 3
    assert all(name in str(caught.value) for name in ("text.jpg", "empty.png", "absent.png"))


@pytest.mark.parametrize("wrong", [np.zeros((3, 5)), [], "photo.jpg", np.zeros((0, 8, 8, 3), np.uint8)])
def test_what_holds_no_pictures_is_refused_with_a_way_out(wrong: object, tiny_run: Path) -> None:
    with pytest.raises(InputError, match="expected"):
        Embedder(tiny_run).transform(wrong)


def test_an_absent_run_is_refused_by_fit() -> None:
    with pytest.raises(InputError, match="no model"):
        Embedder("nowhere/at_all").fit()
