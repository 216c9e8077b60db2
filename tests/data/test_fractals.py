"""Systems that are well-conditioned, the chaos game against its attractor, pictures that seed and row decide, and several fractals in one."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from manyviews.data import fractal_kernels as kernels
from manyviews.data.dataset import Store
from manyviews.data.fractals import Fractals, by_name, fractals, orthogonal, searched, singular_values, well_conditioned
from manyviews.data.opening import open_data
from manyviews.data.splits import split
from manyviews.errors import InputError


def stream(seed: int = 0) -> np.ndarray:
    return np.array([seed * 7919 + 1], np.uint64)


def alone() -> np.ndarray:
    """A mark of the point's own cell only."""
    mark = np.zeros((3, 3), dtype=bool)
    mark[1, 1] = True
    return mark


SIERPINSKI = np.array([[[0.5, 0, x], [0, 0.5, y]] for x, y in ((0.0, 0.0), (0.5, 0.0), (0.25, 0.5))])


# --- systems ----------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("maps", [1, 2, 4, 8])
def test_singular_values_meet_every_constraint_for_every_sum(maps: int) -> None:
    rng = np.random.default_rng(0)
    for total in [0.0, 3.0 * maps, *rng.uniform(0, 3 * maps, 200)]:
        s = singular_values(maps, total, rng)
        assert (s[:, 0] + 2 * s[:, 1]).sum() == pytest.approx(total, abs=1e-9)
        assert (s <= 1 + 1e-12).all() and (s >= -1e-12).all() and (s[:, 0] >= s[:, 1] - 1e-12).all()


def test_the_extreme_sums_leave_no_choice() -> None:
    rng = np.random.default_rng(0)
    np.testing.assert_allclose(singular_values(3, 0.0, rng), 0, atol=1e-12)
    np.testing.assert_allclose(singular_values(3, 9.0, rng), 1)


def test_systems_contract_and_their_weighted_sum_is_between_the_papers_bounds() -> None:
    for seed in range(300):
        maps = 2 + seed % 6
        system = well_conditioned(maps, np.random.default_rng(seed))
        s = np.linalg.svd(system[:, :, :2], compute_uv=False)
        assert s.max() <= 1 + 1e-12 and np.abs(system[:, :, 2]).max() <= 1
        assert (5 + maps) / 2 <= (s[:, 0] + 2 * s[:, 1]).sum() <= (6 + maps) / 2
        assert kernels.stretch(system[0]) == pytest.approx(s[0, 0])


def test_rotations_and_reflections_are_equally_frequent_and_point_everywhere() -> None:
    u = orthogonal(4000, np.random.default_rng(0))
    np.testing.assert_allclose(u @ u.transpose(0, 2, 1), np.broadcast_to(np.eye(2), u.shape), atol=1e-12)
    assert abs(np.linalg.det(u).mean()) < 0.05 and np.abs(u.mean(0)).max() < 0.05


def test_fractaldbs_search_finds_what_fills_the_picture() -> None:
    system = searched(np.random.default_rng(0))
    points = kernels.chaos(system, 6250, stream())
    assert np.abs(system).max() <= 1 and 2 <= len(system) <= 7
    assert (kernels.density(points, *kernels.bounds(points), 128, alone()) > 0).mean() > 0.15  # other points than those it was found by


def test_a_jittered_system_has_one_map_scaled_and_still_contracts() -> None:
    for seed in range(100):
        system = well_conditioned(3, np.random.default_rng(seed))
        changed = kernels.jittered(system, stream(seed))
        factors = (changed / system).reshape(3, -1)
        assert np.ptp(factors, axis=1).max() < 1e-12 and (np.abs(factors[:, 0] - 1) > 1e-12).sum() <= 1
        assert factors.min() >= 0.8 and factors.max() <= 1.1
        assert np.linalg.svd(changed[:, :, :2], compute_uv=False).max() <= 1 + 1e-12


# --- painting ---------------------------------------------------------------------------------------------------------------------------------


def test_the_random_stream_is_uniform() -> None:
    state = stream()
    u = np.array([kernels.draw(state, -1.0, 3.0) for _ in range(20000)])
    assert u.min() >= -1 and u.max() < 3
    assert abs(u.mean() - 1) < 0.03 and abs(u.var() - 16 / 12) < 0.05 and abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 0.03


def test_the_chaos_game_stays_on_the_attractor_and_visits_it_evenly() -> None:
    points = kernels.chaos(SIERPINSKI, 60000, stream())
    x, y = (points / [1, 1]).T  # in the frame where the triangle is (0, 0), (1, 0), (0.5, 1)
    u, v = x - y / 2, y  # with corners (0, 0), (1, 0), (0, 1): digits of u and v never share a one
    digits = [(np.floor(u * 2**k).astype(int) & 1) & (np.floor(v * 2**k).astype(int) & 1) for k in range(1, 9)]
    assert np.mean(digits) < 1e-3
    corner = np.where(v >= 0.5, 2, np.where(u >= 0.5, 1, 0))
    assert np.abs(np.bincount(corner, minlength=3) / 60000 - 1 / 3).max() < 0.01


def test_maps_are_chosen_as_often_as_they_cover_area() -> None:
    system = np.array([[[0.5, 0, 0], [0, 0.5, 0]], [[0.5, 0, 10.0], [0, 0.1, 10.0]]])  # areas 0.25 and 0.05
    points = kernels.chaos(system, 30000, stream())
    assert (points[:, 1] > 7).mean() == pytest.approx(1 / 6, abs=0.01)  # only the second map leads there


def test_density_counts_what_falls_into_each_cell_and_its_mark() -> None:
    rng = np.random.default_rng(0)
    points, mark, side = rng.uniform(0, 1, (500, 2)), rng.random((3, 3)) < 0.5, 12
    centre, extent = np.array([0.5, 0.6]), np.array([0.7, 1.3])  # some points lie outside
    expected = np.zeros((side, side))
    for point in points:
        r, c = np.floor(((point - centre) / extent + 0.5) * (side - 1)).astype(int)
        for i, j in np.argwhere(mark):
            if 0 <= r + i - 1 < side and 0 <= c + j - 1 < side:
                expected[r + i - 1, c + j - 1] += 1
    np.testing.assert_allclose(kernels.density(points, centre, extent, side, mark), expected / expected.max())


def test_colours_are_those_of_the_hue_circle() -> None:
    import colorsys

    for h, s, v in np.random.default_rng(0).random((200, 3)):
        np.testing.assert_allclose(kernels.rgb(h, s, v), colorsys.hsv_to_rgb(h, s, v), atol=1e-12)
        np.testing.assert_allclose(kernels.rgb(h + 3, s, v), kernels.rgb(h, s, v), atol=1e-9)


def test_a_rougher_background_has_more_of_the_fine() -> None:
    def fine(roughness: float) -> float:
        a = np.array([kernels.plasma(6, roughness, stream(k)) for k in range(20)])
        return float(np.abs(np.diff(a, axis=1)).mean())

    assert fine(0.0) > 2 * fine(0.8) > 2 * fine(3.0)
    a = np.array([kernels.plasma(3, 0.5, stream(k)) for k in range(3000)])
    np.testing.assert_allclose(a.mean(0), 0.5, atol=0.03)


def test_a_blur_keeps_the_sum_of_what_lies_inside() -> None:
    canvas = np.zeros((9, 9, 3))
    canvas[4, 4] = 1
    out = kernels.blurred(canvas, 0.8)
    assert out.sum() == pytest.approx(3) and (out > 0).sum() == 27
    np.testing.assert_allclose(kernels.blurred(np.full((5, 5, 3), 0.3), 1.0), 0.3)


# --- the data set -----------------------------------------------------------------------------------------------------------------------------


def test_seed_and_row_decide_a_picture_and_nothing_else() -> None:
    data = fractals(4, 3, side=32)
    assert isinstance(data.store, Store)
    first = [data[i] for i in range(12)]
    assert all(a.shape == (32, 32, 3) and a.dtype == np.uint8 for a in first)
    again = fractals(4, 3, side=32)
    with ThreadPoolExecutor(4) as pool:
        for i, a in zip(reversed(range(12)), pool.map(again.__getitem__, reversed(range(12))), strict=True):
            np.testing.assert_array_equal(a, first[i])
    assert len({a.tobytes() for a in first}) == 12
    assert not np.array_equal(fractals(4, 3, side=32, seed=1)[0], first[0])


def test_another_process_paints_the_same() -> None:
    code = "import hashlib; from manyviews.data.fractals import fractals; print(hashlib.sha256(fractals(3, 2, side=24)[4].tobytes()).hexdigest())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    import hashlib

    assert other == hashlib.sha256(fractals(3, 2, side=24)[4].tobytes()).hexdigest()


def test_a_class_keeps_its_system_when_there_are_more_of_them() -> None:
    few, many = fractals(3, 1).store, fractals(30, 1).store
    np.testing.assert_array_equal(few.systems, many.systems[:3])  # type: ignore[attr-defined]


def test_one_fractal_a_picture_has_its_class_as_label() -> None:
    data = fractals(5, 4)
    assert data.labels is not None and data.labels.tolist() == [k for k in range(5) for _ in range(4)]
    assert len(data) == 20 and "labels" not in data.columns and data.classes[0] == "fractal_0"
    assert data.describe().startswith("20 images from fractals of 5 systems (svd sampling, seed 0)")


def test_pictures_of_a_class_share_their_system_and_differ_in_all_else() -> None:
    store = fractals(2, 200, side=32, jitter=False).store
    one = store.systems[0, : store.sizes[0]]  # type: ignore[attr-defined]
    points = kernels.chaos(one, 4000, stream(3))
    centre, extent = kernels.bounds(points)
    reference = kernels.density(points, centre, extent, 32, alone()) > 0
    canvases = []
    for k in range(4):
        canvas = np.zeros((32, 32, 3))
        kernels.fractal(canvas, one, 4000, 32, 0, 0, False, stream(k))
        canvases.append(canvas)
        painted = canvas.sum(2) > 0
        placements = [np.rot90(p, r) for p in (painted, painted.T) for r in range(4)]
        shifted = [np.roll(p, (a, b), (0, 1)) for p in placements for a in (-1, 0, 1) for b in (-1, 0, 1)]
        assert max((s & reference).sum() / reference.sum() for s in shifted) > 0.7
    assert len({c.tobytes() for c in canvases}) == 4


LINE = np.array([[[0.5, 0, 0.0], [0, 0.1, 0]], [[0.5, 0, 0.5], [0, 0.1, 0]]])
SQUARE = np.array([[[0.5, 0, x], [0, 0.5, y]] for x in (0.0, 0.5) for y in (0.0, 0.5)])


def line_and_square(images: int, **settings: Any) -> Fractals:
    """A set whose class 0 is a line and whose class 1 is a square."""
    store: Any = fractals(2, images, side=32, **settings).store
    store.systems, store.sizes = np.zeros((2, 4, 2, 3)), np.array([2, 4])
    store.systems[0, :2], store.systems[1] = LINE, SQUARE
    return store


def by_hand(store: Fractals, row: int) -> tuple[np.ndarray, np.ndarray, dict[int, tuple[np.ndarray, int]], bool]:
    """A picture put together from what is checked above: itself, its background alone, each class's cells alone with its side, and whether it is blurred."""
    s, state, found = store.settings, store.states[row : row + 1].copy(), {}
    canvas = np.empty((s.side, s.side, 3))
    kernels.background(canvas, state)
    plain = canvas.copy()
    for k in [int(k) for k in store.shown[row][::-1] if k >= 0]:
        system = store.systems[k, : store.sizes[k]]
        system = kernels.jittered(system, state) if s.jitter else system
        own, top, left, points = s.side, 0, 0, 2 * s.side**2
        if s.instances > 1:
            own = int(kernels.draw(state, *s.sizes) * s.side)
            top, left, points = int(kernels.draw(state, 0, s.side)) - own // 2, int(kernels.draw(state, 0, s.side)) - own // 2, 8 * own**2
        alone = np.zeros_like(canvas)
        kernels.fractal(alone, system, max(5000, points), own, top, left, s.instances == 1, state.copy())
        kernels.fractal(canvas, system, max(5000, points), own, top, left, s.instances == 1, state)
        found[k] = alone.any(2), own
    blur = bool(kernels.draw(state, 0, 1) < 0.5)
    return bytes_of(kernels.blurred(canvas, kernels.draw(state, 0.5, 1.0)) if blur else canvas), bytes_of(plain), found, blur


def bytes_of(canvas: np.ndarray) -> np.ndarray:
    return np.floor(canvas * 255 + 0.5).astype(np.uint8)


@pytest.mark.parametrize("settings", [{"jitter": False}, {"jitter": True}, {"instances": 2}, {"instances": 3, "jitter": True, "sizes": (0.4, 1.0)}])
def test_a_picture_is_its_background_and_the_fractals_of_its_labels_one_on_the_other(settings: dict[str, Any]) -> None:
    for store in (line_and_square(12, **settings), fractals(3, 8, side=32, **settings).store):
        assert isinstance(store, Fractals)
        for row in range(len(store)):
            np.testing.assert_array_equal(store.raw(row), by_hand(store, row)[0])


def test_one_fractal_a_picture_is_that_of_the_label() -> None:
    store, checked = line_and_square(20, jitter=False), {0: 0, 1: 0}
    for row in range(40):
        _, background, found, blur = by_hand(store, row)
        if not blur:
            label = row // 20
            painted = (store.raw(row) != background).any(2)
            assert list(found) == [label] and (painted & ~found[label][0]).sum() == 0 and painted.sum() >= found[label][0].sum() - 1
            assert painted.sum() <= 3 * 32 if label == 0 else painted.sum() > 6 * 32, "a line marks up to three rows"
            checked[label] += 1
    assert min(checked.values()) >= 5


def test_of_two_fractals_both_are_shown_the_first_one_on_top() -> None:
    store, checked = line_and_square(60, instances=2), 0
    for row in range(120):
        _, background, found, blur = by_hand(store, row)
        if blur or len(found) < 2:
            continue
        painted = (store.raw(row) != background).any(2)
        (line, long), (square, side) = found[0], found[1]
        assert (painted & ~(line | square)).sum() == 0 and painted.sum() >= (line | square).sum() - 2
        if line.any() and square.sum() > 4 * side and (square & ~line).any() and (line & ~square).any():
            checked += 1
            assert (painted & line & ~square).any() and (painted & square & ~line).any()
            assert line.sum() <= 3 * long
    assert checked >= 10


def test_the_sides_of_several_fractals_are_between_those_that_were_asked_for() -> None:
    for sizes, sides in (((0.25, 0.25), {8}), ((0.5, 1.0), set(range(16, 33))), ((0.15, 0.6), set(range(4, 20)))):
        store = line_and_square(100, instances=2, sizes=sizes)
        seen = {own for row in range(200) for _, own in by_hand(store, row)[2].values()}
        assert seen <= sides and len(seen) > 0.8 * len(sides)
        np.testing.assert_array_equal(store.raw(3), by_hand(store, 3)[0])
    usual, large = (fractals(2, 100, side=32, instances=2, **given) for given in ({}, {"sizes": (0.9, 1.0)}))
    assert usual.fingerprint() == fractals(2, 100, side=32, instances=2, sizes=(0.15, 0.6)).fingerprint() != large.fingerprint()


def test_several_fractals_have_balanced_labels_of_one_to_as_many_classes() -> None:
    data = fractals(10, 400, side=16, instances=4)
    shown = data.columns["labels"]
    assert shown.shape == (4000, 4) and data.labels is not None and (shown[:, 0] == data.labels).all()
    count = (shown >= 0).sum(1)
    assert (np.bincount(count, minlength=5)[1:] > 850).all() and count.min() == 1
    others = shown[:, 1:][shown[:, 1:] >= 0]
    assert (np.bincount(others, minlength=10) > 500).all()
    assert all((row[: (row >= 0).sum()] >= 0).all() for row in shown)
    assert data.batch(np.arange(3)).given["labels"].tolist() == shown[:3].tolist()


@pytest.mark.parametrize(("top", "left"), [(10, 20), (-9, 50), (55, -9)])
def test_a_fractal_is_painted_into_its_square_and_cut_off_at_the_rim(top: int, left: int) -> None:
    system = well_conditioned(3, np.random.default_rng(0))
    canvas, large = np.zeros((64, 64, 3)), np.zeros((128, 128, 3))
    kernels.fractal(canvas, system, 5000, 20, top, left, False, stream())
    kernels.fractal(large, system, 5000, 20, top + 32, left + 32, False, stream())
    np.testing.assert_array_equal(canvas, large[32:96, 32:96])
    inside = np.zeros((128, 128), dtype=bool)
    inside[top + 32 : top + 52, left + 32 : left + 52] = True
    painted = large.any(2)
    assert painted.any() and not (painted & ~inside).any() and canvas.any()


def test_a_part_is_held_out_without_painting_anything() -> None:
    data = fractals(20, 50)
    train, test = split(data, 0)
    assert len(train) == 800 and len(test) == 200 and not data.seen.any()  # type: ignore[union-attr]


def test_a_million_pictures_are_there_at_once() -> None:
    data = fractals()
    assert len(data) == 1_000_000 and len(data.classes) == 1000
    assert data[999_999].shape == (64, 64, 3)


def test_settings_make_another_set() -> None:
    prints = {fractals(**settings).fingerprint() for settings in ({"classes": 2}, {"classes": 2, "seed": 1}, {"classes": 2, "jitter": False}, {"classes": 3})}
    assert len(prints) == 4 and fractals(2).fingerprint() in prints


# --- by name ----------------------------------------------------------------------------------------------------------------------------------


def test_a_name_says_how_many_classes_and_anything_else() -> None:
    assert len(open_data("fractals:7,images=2").classes) == 7
    data = open_data("fractals:4, images=3, side=16, instances=2, sampling=uniform, jitter=false, seed=5")
    s = data.store.settings  # type: ignore[attr-defined]
    assert (s.classes, s.images, s.side, s.instances, s.sampling, s.jitter, s.seed) == (4, 3, 16, 2, "uniform", False, 5)
    assert data[0].shape == (16, 16, 3)
    for text, sizes in (("sizes=0.3-0.8", (0.3, 0.8)), ("sizes=.5-1", (0.5, 1.0))):
        assert by_name(f"4,images=2,side=16,instances=2,{text}").store.settings.sizes == sizes  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("many", ["fractals: classes=many; expected a whole number"]),
        ("4,5", ["fractals: '5' is not understood; there are classes=1000, images=1000"]),
        ("1,side=4", ["classes=1; it must be at least 2", "side=4; it must be at least 8"]),
        ("4,jitter=2,colour=red", ["jitter=2; expected true or false", "'colour=red' is not understood"]),
        ("4,sizes=0.5,instances=2", ["sizes=0.5; expected two shares of the side, as in 0.15-0.6"]),
        ("4,sizes=0.5-0.2,instances=2", ["sizes=0.5-0.2; expected shares of the side, 0 < least <= largest <= 1, as in 0.15-0.6"]),
        ("4,sizes=0.5-0.8", ["sizes=0.5-0.8; one fractal fills the picture; say instances=2 or more"]),
        ("4,sampling=random", ["sampling=random; there are svd, uniform"]),
    ],
)
def test_everything_wrong_with_a_name_is_said(text: str, problems: list[str]) -> None:
    with pytest.raises(InputError) as error:
        by_name(text)
    assert len(error.value.problems) == len(problems)
    assert all(re.search(re.escape(p), said) for p, said in zip(problems, error.value.problems, strict=True))
