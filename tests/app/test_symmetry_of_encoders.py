"""What encoders ignore and keep track of, asked of encoders of which it is known."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from manyviews.app import measures
from manyviews.app import symmetry as module
from manyviews.app.evaluate import Evaluation, evaluate
from manyviews.app.symmetry import TRANSFORMATIONS, symmetry
from manyviews.backbones.building import build_encoder
from manyviews.contracts import Encoder, View
from manyviews.counters import Counter
from manyviews.data.graph_batch import Around, Graph, Node, Union, Whole
from manyviews.data.opening import open_data
from manyviews.errors import InputError
from manyviews.groups import find, rotations_from
from manyviews.views.finding import find_policy

FEW = (0.0, 0.5, 1.0)


def pictures() -> Iterator[View]:
    """Forty of one colour each, with a brighter square somewhere."""
    rng = np.random.default_rng(0)
    x = np.repeat(np.repeat(rng.uniform(0.3, 0.7, (40, 3, 1, 1)), 16, 2), 16, 3)
    for k, (row, column) in enumerate(rng.integers(2, 10, (40, 2))):
        x[k, :, row : row + 4, column : column + 4] += 0.2
    yield View(torch.from_numpy(x).float(), torch.arange(40))


def clouds() -> Iterator[View]:
    x = torch.randn(40, 64, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 0.5, 0.2])
    yield View(x, torch.arange(40))


def test_the_mean_colour_ignores_places_and_keeps_track_of_hue() -> None:
    found = symmetry(lambda view: view.x.mean((2, 3)), pictures, "images", strengths=FEW)
    assert list(found) == [t.name for t in TRANSFORMATIONS["images"]]
    assert found["rotation"].verdict.startswith("invariant") and found["rotation"].scores["invariance"].value > 1 - 1e-5
    assert found["hue"].scores["invariance"].value < 0.6 and found["hue"].scores["explained by a linear map"].value > 0.99


def test_sorted_distances_of_points_ignore_rotations_and_not_scalings() -> None:
    def encoder(view: View) -> torch.Tensor:
        return torch.cdist(view.x.double(), view.x.double()).flatten(1).sort(1).values[:, 64::256].float()

    found = symmetry(encoder, clouds, "points", strengths=FEW)
    assert found["rotation"].scores["invariance"].value > 1 - 1e-9 and "invariant" in found["rotation"].verdict
    assert found["scaling"].scores["R2, perceptron"].value > 0.9


def test_coordinates_of_points_turn_with_them() -> None:
    found = symmetry(lambda view: view.x[:, 0], clouds, "points", strengths=(0.0, 0.25, 0.5, 0.75, 1.0))["rotation"]
    assert found.scores["invariance"].value < 0.5 and found.scores["explained by a linear map"].value > 0.9
    assert found.scores["explained by a linear map"].value > found.scores["explained by identity"].value + 0.3


def test_grey_pictures_have_no_hue() -> None:
    def grey() -> Iterator[View]:
        for view in pictures():
            yield View(view.x[:, :1], view.index)

    assert "hue" not in symmetry(lambda view: view.x.flatten(1), grey, "images", channels=1, strengths=FEW)


def test_evaluate_measures_it_beside_the_untrained_encoder_and_the_input(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "STRENGTHS", FEW)
    monkeypatch.setattr(measures, "SAMPLES", 12)
    data = open_data("builtin").select(np.arange(60))
    found = evaluate("untrained:resnet_nano", data, only="symmetry", size=16, quiet=True)
    assert list(found.scores) == ["trained", "untrained", "raw input"]
    assert "rotation: invariance" in found.scores["trained"] and found.scores["trained"] == found.scores["untrained"]
    found.save(tmp_path / "scores.json")
    saved = json.loads((tmp_path / "scores.json").read_text())["symmetry"]["trained"]["rotation"]
    assert [at for at, _ in saved["curves"]["moved"]] == list(FEW) and saved["verdict"]


def test_an_encoder_that_gives_one_vector_is_told_and_so_is_data_without_transformations() -> None:
    constant = symmetry(lambda view: torch.ones(len(view), 4), clouds, "points", strengths=FEW)
    assert all("collapsed, not invariant" in found.verdict for found in constant.values())
    with pytest.raises(
        InputError, match="symmetry is measured of images and video and points and volumes and splats and graphs, and this is a model of tables"
    ):
        evaluate("untrained:ft_transformer_micro", "builtin:tables", only="symmetry", quiet=True)


def test_frames_of_a_video_turn_together() -> None:
    def film() -> Iterator[View]:
        x = torch.rand(40, 3, 1, 12, 12, generator=torch.Generator().manual_seed(0)).expand(-1, -1, 4, -1, -1)
        yield View(x.contiguous(), torch.arange(40))

    view = next(film())
    for transformation in TRANSFORMATIONS["video"]:
        g = find(transformation.group).sample(view.index, Counter(0, 0))
        moved = transformation.act(g, view).x
        assert torch.equal(moved, moved[:, :, :1].expand_as(moved)) and not torch.allclose(moved, view.x)
    found = symmetry(lambda view: view.x.mean((2, 3, 4)), film, "video", strengths=FEW)
    assert list(found) == [t.name for t in TRANSFORMATIONS["video"]] and found["hue"].scores["explained by a linear map"].value > 0.9


def test_splats_are_moved_with_all_that_they_are() -> None:
    def splats() -> Iterator[View]:
        samples = open_data("builtin:splats").select(np.arange(24))
        yield find_policy("plain", 64, "splats")(next(iter(samples.batches([np.arange(24)], 0))), Counter(0, 0))["v"]

    found = symmetry(lambda view: view.x[..., 4:7].exp().prod(-1).mean(1, keepdim=True) + view.x[..., 3:4].mean(1), splats, "splats", strengths=FEW)
    assert found["rotation"].scores["invariance"].value > 1 - 1e-4 and found["scaling"].scores["invariance"].value < 0.9999


def test_levels_say_where_an_invariance_comes_from() -> None:
    encoder = build_encoder("resnet_nano", 3, 16, seed=0).eval()
    found = module.symmetry_of_levels(encoder, pictures, "images", strengths=FEW)
    assert list(found) == [f"level {k + 1}" for k in range(len(encoder.widths))]
    alone = symmetry(lambda view: encoder.pyramid(view)[0].x.mean(1), pictures, "images", strengths=FEW)
    for name, whole in alone.items():
        assert found["level 1"][name].scores["invariance"].value == pytest.approx(whole.scores["invariance"].value, abs=1e-6)
    with pytest.raises(InputError, match="no levels"):
        module.symmetry_of_levels(Flat(), pictures, "images")


class Flat(Encoder):
    dim = 3

    def forward(self, view: View) -> torch.Tensor:
        return view.x.mean((2, 3))


def test_the_lie_norm_is_0_for_what_ignores_and_known_for_what_follows() -> None:
    norms = module.lie_norms(lambda view: torch.cdist(view.x, view.x).flatten(1), clouds, "points")
    assert max(norms[name].score.value for name in ("rotation", "translation")) < 5e-3 < 0.1 < norms["scaling"].score.value  # float32 differences
    scale = module.lie_norms(lambda view: view.x.square().mean((1, 2))[:, None].log(), clouds, "points")["scaling"]
    spread = float(torch.cat([view.x.square().mean((1, 2)).log() for view in clouds()]).std(correction=0))
    assert scale.score.value == pytest.approx(2 / spread, rel=1e-3)


def test_poses_are_read_from_what_knows_them_in_the_frame_asked_for() -> None:
    rotation = rotations_from(torch.randn(160, 4, generator=torch.Generator().manual_seed(0)))
    objects = torch.arange(40).repeat_interleave(4)
    own = rotations_from(torch.randn(40, 4, generator=torch.Generator().manual_seed(1)))[objects]  # each object was modelled in a frame of its own
    known = module.poses((rotation @ own).flatten(1), objects, rotation, "world")
    lost = module.poses((rotation @ own).flatten(1), objects, rotation, "body")
    name = "R2 of the {}-frame rotation, perceptron"
    assert known.scores[name.format("world")].value > 0.8 > 0.4 > lost.scores[name.format("body")].value
    assert known.transformation == "pose, world frame"


def test_some_elements_are_the_same_for_all_samples_so_that_each_has_a_map() -> None:
    found = symmetry(lambda view: view.x[:, 0], clouds, "points", strengths=(0.0, 0.25, 0.5, 0.75, 1.0), only=("rotation",))["rotation"]
    assert found.scores["explained by an orthogonal map for each element"].value > 0.99
    assert not any("for each element" in name for name in found.refused) and "R2" not in found.refused
    assert [at for at, _ in found.curves["explained by an orthogonal map for each element"]] == list(module.SHARED)


def test_what_was_measured_before_stays_in_the_file(tmp_path: Path) -> None:
    for name in ("rotation", "hue"):
        Evaluation("data", {"trained": {}}, {"model": "m"}, {"trained": {name: {"verdict": name}}}).save(tmp_path / "scores.json")
    assert set(json.loads((tmp_path / "scores.json").read_text())["symmetry"]["trained"]) == {"rotation", "hue"}


def molecules() -> Iterator[View]:
    """Graphs of 3 to 12 nodes, whose edges have numbers."""
    rng = np.random.default_rng(0)
    made = []
    for n in rng.integers(3, 13, 30):
        edges = rng.integers(0, n, (2, 2 * n))
        made.append(Graph(rng.normal(size=(n, 4)).astype(np.float32), edges, rng.normal(size=(2 * n, 2)).astype(np.float32)))
    yield View(Union(4, 2)(made), torch.arange(30))


def test_nodes_are_renumbered_with_all_that_they_are() -> None:
    (transformation,) = TRANSFORMATIONS["graphs"]
    view = next(molecules())
    before = dataclasses.replace(view.x, columns={"label": torch.arange(len(view.x.x))})
    view = dataclasses.replace(view, x=before)
    for strength in (0.0, 0.5, 1.0):
        g = transformation.draw(view, Counter(0, 0), strength, False)
        after = transformation.act(g, view).x
        where = after.columns["label"]  # the old row of each new one
        assert torch.equal(after.x, before.x[where]) and torch.equal(before.owner[where], after.owner) and torch.equal(after.owner, before.owner)
        assert torch.equal(where[after.edges], before.edges) and torch.equal(after.edge_x, before.edge_x)
        assert (where == torch.arange(len(where))).all() == (strength == 0)
        kept = torch.stack([(where == torch.arange(len(where)))[before.owner == k].float().mean() for k in range(30)])
        torch.testing.assert_close(g.moved[:, 0], 1 - kept)
        assert transformation.numbers(g).shape == (30, 1)


def test_networks_on_graphs_ignore_the_order_of_nodes_and_what_reads_the_first_node_does_not() -> None:
    gcn = build_encoder("gcn", 4, 12).eval()
    found = symmetry(gcn, molecules, "graphs", strengths=FEW)
    assert list(found) == ["order of nodes"] and found["order of nodes"].verdict.startswith("invariant")
    assert found["order of nodes"].scores["invariance"].value > 1 - 1e-9
    first = symmetry(lambda view: view.x.x[view.x.starts], molecules, "graphs", strengths=FEW)["order of nodes"]
    assert first.scores["invariance"].value < 0.7


@pytest.mark.parametrize("encoder", ["gin", "graph_transformer_micro"])
def test_evaluate_asks_encoders_of_graphs(encoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STRENGTHS", FEW)
    monkeypatch.setattr(measures, "SAMPLES", 12)
    found = evaluate(f"untrained:{encoder}", open_data("builtin:graphs"), only="symmetry", quiet=True)
    assert found.scores["raw input"]["order of nodes: invariance"].value > 1 - 1e-4
    left_out = encoder == "graph_transformer_micro"  # some graphs have more nodes than it has room for, and which are equally near their numbers decide
    assert (0.9 if left_out else 1 - 1e-4) < found.scores["trained"]["order of nodes: invariance"].value <= (1 - 1e-4 if left_out else 1)
    if encoder == "graph_transformer_micro":
        levels = evaluate(f"untrained:{encoder}", open_data("builtin:graphs"), only="symmetry_levels", quiet=True).scores["trained"]
        assert all(levels[f"order of nodes, level {k}: invariance"].value > 0.9 for k in (1, 2)), "padding counts for nothing"
    with pytest.raises(InputError, match="lie_norm is measured of images"):
        evaluate(f"untrained:{encoder}", open_data("builtin:graphs"), only="lie_norm", quiet=True)


def test_one_graph_whose_nodes_are_samples_is_renumbered_as_a_whole() -> None:
    (transformation,) = TRANSFORMATIONS["graphs"]
    rng = np.random.default_rng(0)
    whole = Whole(Graph(rng.normal(size=(20, 4)).astype(np.float32), rng.integers(0, 20, (2, 60))))
    view = View(Around(whole)([Node(whole, row) for row in (2, 5, 11)]), torch.tensor([2, 5, 11]))
    after = transformation.act(transformation.draw(view, Counter(0, 0), 1.0, False), view)
    assert not torch.equal(after.x.roots, view.x.roots) and torch.equal(after.x.x[after.x.roots], view.x.x[view.x.roots])
    gcn = build_encoder("gcn", 4, 12).eval()
    torch.testing.assert_close(gcn(after), gcn(view), atol=1e-5, rtol=1e-4)


def test_objects_are_chosen_with_two_views_or_more() -> None:
    objects = np.array([3, 3, 5, 7, 7, 7, 9])
    assert set(objects[module.some_objects(objects)].tolist()) == {3, 7}
    many = np.repeat(np.arange(400), 12)
    chosen, counts = np.unique(many[module.some_objects(many)], return_counts=True)
    assert len(chosen) == module.OBJECTS and set(counts) == {module.VIEWS}


def test_evaluate_tells_levels_and_derivatives_and_poses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STRENGTHS", FEW)
    monkeypatch.setattr(measures, "SAMPLES", 12)
    monkeypatch.setattr(measures, "FEW", 8)
    data = open_data("builtin").select(np.arange(60))
    rows = np.arange(60)
    posed = data.with_columns(object=rows // 3, rotation=rotations_from(torch.randn(60, 4)).numpy())
    found = evaluate("untrained:resnet_nano", posed, only=["symmetry", "symmetry_levels", "lie_norm"], size=16, quiet=True)
    names = set(found.scores["trained"])
    assert {"rotation: Lie norm", "rotation, level 1: invariance", "rotation: invariance"} <= names
    assert any(name.startswith("pose, world frame") for name in names) and not any("level" in name for name in found.scores["raw input"])
