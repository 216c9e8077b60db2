"""SimCore's rounds against a slow reading of the paper, its rule and budgets, and the list that the command line writes."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manyviews.app.cli import main
from manyviews.data import images
from manyviews.data.arrays import Array
from manyviews.data.dataset import Data
from manyviews.data.opening import open_data
from manyviews.data.simcore import descending, greedy, simcore
from manyviews.errors import InputError


def slow(similarity: np.ndarray, threshold: float, patience: int, budget: int) -> list[set[int]]:
    """The rounds of the paper: every centre takes its most similar sample of those left, until the likeness falls or all are gone."""
    chosen: set[int] = set()
    rounds, limit = [], -np.inf
    while len(chosen) < min(budget, len(similarity)):
        picks = [max((i for i in range(len(similarity)) if i not in chosen), key=lambda i: (similarity[i, k], -i)) for k in range(similarity.shape[1])]
        likeness = np.mean([similarity[i, k] for k, i in enumerate(picks)])
        if len(rounds) + 1 == patience:
            limit = threshold * likeness
        if likeness < limit:
            break
        rounds.append(set(picks))
        chosen |= set(picks)
    return rounds


def random_similarity(samples: int = 60, centres: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (samples, centres))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("threshold", "patience"), [(-np.inf, 20), (0.95, 2), (0.8, 3), (1.0, 1)])
def test_the_rounds_are_those_of_the_paper(seed: int, threshold: float, patience: int) -> None:
    similarity = random_similarity(seed=seed)
    rounds = slow(similarity, threshold, patience, 1000)
    found = greedy(similarity, 1000, threshold, patience)
    assert set(found.tolist()) == set().union(*rounds) and len(set(found.tolist())) == len(found)
    assert [set(part.tolist()) for part in np.split(found, np.cumsum([len(r) for r in rounds])[:-1])] == rounds


def test_the_rule_stops_before_the_round_that_is_less_alike() -> None:
    fall = np.array([1.0, 0.99, 0.98, 0.97, 0.96, 0.94, 0.5])[:, None]
    assert greedy(fall, 100, 0.95, 1).tolist() == [0, 1, 2, 3, 4]  # 0.94 is below 0.95 * 1.00
    assert greedy(fall, 100, 0.95, 3).tolist() == [0, 1, 2, 3, 4, 5]  # and not below 0.95 * 0.98
    assert greedy(fall, 100, -np.inf).tolist() == [*range(7)]
    assert greedy(fall, 100, 0.95, 99).tolist() == [*range(7)]  # the round to compare with never comes


def test_centres_that_want_the_same_sample_take_it_once() -> None:
    similarity = np.array([[0.9, 0.8], [0.1, 0.7], [0.6, 0.2]])
    assert greedy(similarity, 10, -np.inf).tolist() == [0, 1, 2]  # first both take 0, then 1 and 2; of these 1 is the more similar


def test_the_budget_cuts_the_last_round_to_its_most_similar() -> None:
    similarity = random_similarity()
    whole = greedy(similarity, 1000, -np.inf)
    for budget in (0, 1, 3, 7, 20, 60):
        assert greedy(similarity, budget, -np.inf).tolist() == whole[:budget].tolist()
    first = whole[: len(slow(similarity, -np.inf, 20, 1)[0])]
    assert similarity[first].max(1).tolist() == sorted(similarity[first].max(1), reverse=True)


def test_samples_come_from_the_largest_value_down_without_sorting_all() -> None:
    values = np.random.default_rng(0).choice(300, 2000).astype(float)
    values[::7] = -np.inf
    order = [*descending(values)]
    assert len(order) == np.isfinite(values).sum() == len(set(order))
    assert (np.diff(values[order]) <= 0).all()


# --- on data ----------------------------------------------------------------------------------------------------------------------------------


def points(x: np.ndarray) -> Data:
    """A data set whose `feature` column is its embedding."""
    return Data(Array(np.zeros((len(x), 2, 2, 3), np.uint8), "points"), images.decode, columns={"feature": x})


def embed(data: Data) -> np.ndarray:
    return data.columns["feature"]


def blobs(directions: list[float], count: int, seed: int, spread: float = 0.05) -> np.ndarray:
    """Points of random length in some directions (radians)."""
    rng = np.random.default_rng(seed)
    angle = np.repeat(directions, count) + rng.normal(0, spread, len(directions) * count)
    return np.stack([np.cos(angle), np.sin(angle)], 1) * rng.uniform(0.5, 5, (len(angle), 1))


def test_of_an_open_set_what_is_like_the_target_is_taken_from_every_cluster() -> None:
    target, openset = points(blobs([0.0, 1.5], 40, 0)), points(blobs([0.0, 1.5, 3.1, 4.6], 50, 1))
    chosen = simcore(target, openset, embed, clusters=2, share=0.3)
    group = chosen // 50
    assert len(chosen) == 60 and np.bincount(group, minlength=4).tolist() == [30, 30, 0, 0]
    assert chosen.tolist() == sorted(chosen.tolist())


def test_the_rule_leaves_the_unlike_behind_on_its_own() -> None:
    target, openset = points(blobs([0.0, 1.5], 40, 0)), points(blobs([0.0, 1.5, 3.1, 4.6], 50, 1))
    group = simcore(target, openset, embed, clusters=2, patience=20) // 50
    assert np.bincount(group, minlength=4).tolist() == [50, 50, 0, 0]


def test_without_a_share_no_more_is_taken_than_so_many_times_the_target() -> None:
    target, openset = points(blobs([0.0], 4, 0)), points(blobs([0.0], 90, 1))
    assert len(simcore(target, openset, embed)) == 90
    assert len(simcore(target, openset, embed, most=5)) == 20


def test_more_clusters_than_samples_make_each_sample_a_centre() -> None:
    target, openset = points(np.array([[1.0, 0], [0, 2.0]])), points(blobs([0.0, 1.57, 0.8], 20, 2, 0.01))
    assert sorted((simcore(target, openset, embed, clusters=2, share=4 / 60) // 20).tolist()) == [0, 0, 1, 1]


def test_lengths_and_unreadable_samples_say_nothing() -> None:
    target, x = points(blobs([0.0, 1.5], 40, 0)), blobs([0.0, 1.5, 3.1], 30, 1)
    chosen = simcore(target, points(x), embed, clusters=2, share=0.5).tolist()
    assert simcore(target, points(x * np.random.default_rng(0).uniform(1, 9, (90, 1))), embed, clusters=2, share=0.5).tolist() == chosen
    x[chosen[:5]] = 0
    everything = simcore(target, points(x), embed, clusters=2, share=1.0).tolist()
    assert sorted({*range(90)} - {*everything}) == chosen[:5]
    with pytest.raises(InputError, match="no sample of the target set can be read"):
        simcore(points(np.zeros((3, 2))), points(x), embed)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [({"clusters": 0}, "clusters=0"), ({"share": 1.5}, "share=1.5"), ({"share": 0.0}, "share=0.0"), ({"threshold": 1.1}, "above 1"), ({"most": 0}, "nothing")],
)
def test_impossible_settings_are_refused(settings: dict, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        simcore(points(np.eye(2)), points(np.eye(2)), embed, **settings)


# --- on the command line ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A target of red and of dark red pictures in classes, and an open set of reds and blues, in folders of other names."""
    rng = np.random.default_rng(0)
    for part, colours in (("target", {"bright": (230, 20, 20), "dark": (120, 10, 10)}), ("open", {"a, b": (225, 25, 25), "c": (10, 20, 230)})):
        for name, colour in colours.items():
            (tmp_path / part / name).mkdir(parents=True)
            for k in range(12):
                noise = rng.integers(-9, 10, (16, 16, 3))
                Image.fromarray(np.clip(noise + colour, 0, 255).astype(np.uint8)).save(tmp_path / part / name / f"{k:02d}.png")
    return tmp_path / "target", tmp_path / "open"


def listed(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return [*csv.DictReader(file)]


def test_the_list_is_the_target_and_the_coreset_and_can_be_trained_on(folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    target, openset = folders
    out = tmp_path / "lists" / "chosen.csv"
    asked = [
        "derive",
        "simcore",
        f"{target}",
        "--from",
        f"{openset}",
        "--using",
        "untrained:resnet_micro",
        "--out",
        f"{out}",
        "--set",
        "share=0.5",
        "clusters=2",
    ]
    assert main(asked) == 0
    assert capsys.readouterr().out == f"{out}: 24 of {target} + 12 of {openset}\n"
    rows = listed(out)
    assert [row["from"] for row in rows] == ["target"] * 24 + ["openset"] * 12
    assert [row["label"] for row in rows] == ["bright"] * 12 + ["dark"] * 12 + [""] * 12
    assert {Path(row["path"]).parent.name for row in rows[24:]} == {"a, b"}, "blue is not like red, even to an untrained encoder"
    data = open_data(out)
    assert len(data.look(36)) == 36 and data.labels is not None and np.bincount(data.labels + 1).tolist() == [12, 12, 12]


def test_copies_are_left_out_by_name(folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANYVIEWS_CACHE", str(tmp_path / "cache"))
    target, _ = folders
    (target / "dark" / "copy.png").write_bytes((target / "dark" / "03.png").read_bytes())
    assert main(["derive", "duplicates", f"{target}", "--out", f"{tmp_path / 'unique.csv'}"]) == 0
    names = [row["path"] for row in listed(tmp_path / "unique.csv")]
    assert len(names) == 24 and sum(Path(n).name in ("copy.png", "03.png") and "dark" in n for n in names) == 1
    capsys.readouterr()


def test_test_rows_of_the_target_are_not_listed(tmp_path: Path, folders: tuple[Path, Path], capsys: pytest.CaptureFixture) -> None:
    target, openset = folders
    split = tmp_path / "split"
    split.mkdir()
    (split / "train").symlink_to(target)
    (split / "test").symlink_to(openset)
    assert main(["derive", "duplicates", f"{split}", "--out", f"{tmp_path / 'train.csv'}"]) == 0
    assert all("/train/" in row["path"] for row in listed(tmp_path / "train.csv"))
    capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["simcor", "builtin"], "nothing derives under the name 'simcor'; the nearest are simcore; there are duplicates, simcore"),
        (["simcore", "builtin"], "simcore needs --from OPENSET"),
        (["duplicates", "builtin", "--using", "untrained:resnet_micro"], "duplicates has no use for --using RUN"),
        (["duplicates", "fractals:2,images=1"], "has no files that a list could name"),
        (["duplicates", "builtin", "--out", "x.parquet"], "name a .csv or .tsv file"),
        (["duplicates", "builtin", "--set", "depth=3"], "duplicates has no hyperparameter 'depth'"),
    ],
)
def test_what_cannot_be_derived_is_said(words: list[str], problem: str, capsys: pytest.CaptureFixture) -> None:
    assert main(["derive", *words]) == 2
    assert problem in capsys.readouterr().err
