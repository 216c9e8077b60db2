"""How splats are shown: ellipses in their own colours, the nearer ones over the others, faint ones not at all."""

import numpy as np

from manyviews.app.drawing import SEEN, SIDE, cloud, drawn


def splats(*rows: tuple[tuple[float, ...], float, tuple[float, ...], tuple[float, ...]]) -> np.ndarray:
    """Of (place to the right, up and towards the eye; opacity; scales along those; colour as harmonics), and two that fix the scale of the picture."""
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(SEEN.T).as_quat()
    every = [*rows, ((-1, 0, 0), 0.9, (1e-3,) * 3, (0,) * 3), ((1, 0, 0), 0.9, (1e-3,) * 3, (0,) * 3)]
    return np.array([[*(np.array(p) @ SEEN), o, *s, w, x, y, z, *c] for p, o, s, c in every], np.float32)


RED, BLUE = (1.7, -1.7, -1.7), (-1.7, -1.7, 1.7)


def test_a_splat_hides_what_is_behind_it_unless_it_is_faint() -> None:
    for opacity, shown, hidden in ((0.9, 0, 2), (0.05, 2, 0)):
        sheet = drawn(splats(((0, 0, 0.4), opacity, (0.08,) * 3, RED), ((0, 0, -0.4), 0.9, (0.06,) * 3, BLUE)), "splats")
        coloured = sheet[(sheet.max(2).astype(int) - sheet.min(2)) > 100]
        assert sheet.shape == (SIDE, SIDE, 3) and (sheet[5, 5] == 250).all()
        assert len(coloured) > 20 and (coloured.argmax(1) == shown).all() and not (coloured.argmax(1) == hidden).any()


def test_a_splat_is_as_long_and_as_wide_as_it_is_and_lies_as_it_lies() -> None:
    sheet = drawn(splats(((0, 0.3, 0), 0.9, (0.09, 0.03, 0.03), RED)), "splats")
    rows, columns = np.nonzero((sheet == sheet[SIDE // 2 - 18, SIDE // 2]).all(2) & (sheet[..., 1] < 100))
    assert abs(columns.mean() - SIDE / 2) < 1.5 and rows.mean() < SIDE / 2 - 15  # up is a smaller row
    assert 9 <= np.ptp(columns) + 1 <= 13 and 2 <= np.ptp(rows) + 1 <= 6


def test_centres_alone_are_drawn_as_a_cloud_and_many_splats_in_a_moment() -> None:
    many = np.random.default_rng(0).uniform(0.01, 1, (50_000, 14)).astype(np.float32)
    assert np.array_equal(drawn(many[:100, :3], "splats"), cloud(many[:100, :3]))
    assert (drawn(many, "splats") < 250).any()
    one = drawn(splats()[:1], "splats")
    assert (one < 250).any()
