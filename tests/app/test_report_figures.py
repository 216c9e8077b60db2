"""What the report computes and draws in Python: figures, maps, curves, thumbnails."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from manyviews.app.markup import embedded, number, score
from manyviews.app.report import curves
from manyviews.app.sampled import SAME, Sampled, figures, layout, lit, without_self
from manyviews.app.sections import summary
from manyviews.app.thumbnails import sprite, thumbnail
from manyviews.data.opening import open_data


def test_figures_count_neighbours_of_the_same_class() -> None:
    x = torch.randn(20, 5)
    labels = np.array([0, 1, -1, 2, 0] * 4)
    s = Sampled(open_data(np.zeros((20, 8, 8, 3), np.uint8)), "samples", {"trained": x}, labels, list("abc"), [str(i) for i in range(20)])
    unit = torch.nn.functional.normalize(x, dim=1)
    order = (unit @ unit.T).fill_diagonal_(-2).argsort(1, descending=True)[:, :8].numpy()
    hits = [labels[j] == labels[i] for i in range(20) if labels[i] >= 0 for j in order[i]]
    found = figures(s, {"trained": order})
    assert found["trained"][SAME] == pytest.approx(np.mean(hits))
    pairs = [labels[i] == labels[j] for i in range(20) if labels[i] >= 0 for j in range(20) if j != i]
    assert found["chance"][SAME] == pytest.approx(np.mean(pairs))


def test_a_sample_is_not_among_its_own_neighbours_even_with_duplicates() -> None:
    index = np.array([[0, 2, 1], [2, 1, 0], [0, 1, 3], [3, 0, 1]])  # row 2 does not find itself: a duplicate stands in its place
    assert without_self(index, 2).tolist() == [[2, 1], [2, 0], [0, 1], [0, 1]]


def test_the_principal_map_is_that_of_the_covariance_and_keeps_its_proportions() -> None:
    x = torch.randn(60, 7) * torch.arange(1, 8)
    found = np.array(layout(x, 0)["pca"], float)
    z = torch.nn.functional.normalize(x.double(), dim=1).numpy()
    values, vectors = np.linalg.eigh(np.cov(z.T))
    expected = (z - z.mean(0)) @ vectors[:, ::-1][:, :2]
    for axis in range(2):
        assert abs(np.corrcoef(found[axis], expected[:, axis])[0, 1]) > 0.9999
    assert found[0].std() / found[1].std() == pytest.approx((values[-1] / values[-2]) ** 0.5, rel=0.01)


def test_the_map_keeps_clusters_together_and_is_the_same_each_time() -> None:
    centres = 6 * torch.randn(4, 10)
    x = torch.cat([c + 0.1 * torch.randn(15, 10) for c in centres])
    found = np.array(layout(x, 0)["tsne"], float).T
    distance = np.linalg.norm(found[:, None] - found, axis=-1) + 1e9 * np.eye(60)
    assert (distance.argmin(1) // 15 == np.arange(60) // 15).all()
    assert layout(x, 0) == layout(x, 0)


def test_a_collapsed_encoder_is_recognised_and_lies_in_the_middle() -> None:
    assert {tuple(axis) for axis in layout(torch.ones(10, 4) * (torch.rand(10, 1) + 1), 0)["tsne"]} == {(500,) * 10}
    said = summary(
        {"config": {}, "model": {}, "metrics": [], "changed": False, "problem": "", "method": "", "collapsed": {"trained": True, "untrained": False}}
    )
    assert "The trained encoder gives nearly the same vector" in said and "The untrained" not in said


def test_curves_are_binned_with_their_extremes_and_skip_what_is_no_number() -> None:
    rows = [{"step": k, "loss": float(k % 7), "lr": 1e-3, "seconds": 0.5, "waiting": 0.1} for k in range(1, 5001)]
    rows[10]["loss"] = float("nan")
    found = {c["key"]: c for c in curves(rows)}
    loss = found["loss"]
    assert len(loss["steps"]) == 500 and loss["steps"][-1] == 5000 and min(loss["low"]) == 0 and max(loss["high"]) == 6
    assert np.mean(loss["mean"]) == pytest.approx(3, abs=0.02) and set(found["waiting"]["mean"]) == {0.2} and "seconds" not in found
    assert json.dumps(curves(rows), allow_nan=False)


def test_the_sheet_of_thumbnails_never_outgrows_its_limit() -> None:
    rng = np.random.default_rng(0)
    tiles = [Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)) for _ in range(100)]
    large, small = sprite(tiles, 32, 200_000), sprite(tiles, 32, 20_000)
    assert large["side"] == 32 and small["side"] < 32 and large["columns"] == 10
    assert len(small["uri"]) < 20_000 * 4 / 3 + 100


@pytest.mark.parametrize("shape", [(20, 30, 1), (30, 20, 2), (7, 7, 3), (200, 100, 5)])
def test_any_picture_has_a_thumbnail(shape: tuple[int, int, int]) -> None:
    for dtype in (np.uint8, np.uint16):
        a = np.full(shape, np.iinfo(dtype).max // 2, dtype)
        tile = np.asarray(thumbnail(a, 32))
        assert tile.shape == (32, 32, 3) and (abs(tile.astype(int) - 127) <= 1).all()


def test_light_falls_on_the_highest_place() -> None:
    picture = Image.new("RGB", (40, 40), (200, 100, 50))
    m = np.zeros((4, 4), np.float32)
    m[0, 0] = 3.0
    shown = np.asarray(lit(picture, m)).astype(int)
    assert abs(shown[2, 2] - [200, 100, 50]).max() < 10 and shown[30, 30].max() < 60


def test_cells_and_numbers_are_plain() -> None:
    assert [number(v) for v in (0.12345, 12.345, 123456, 3e-5, float("nan"))] == ["0.123", "12.3", "123,456", "3.0e-05", "not a number"]
    assert "bar" not in score({"value": 7.0}) and "--v:0.5000" in score({"value": 0.5}) and "none" in score(None)
    assert json.loads(embedded("</script>&")) == "</script>&" and not set("<>&") & set(embedded("</script>&"))
