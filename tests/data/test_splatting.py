"""Point clouds as discs: against a slow loop, normals, sizes, and depth pictures whose pixels know their points."""

import numpy as np
import pytest

from manyviews.data.poses import AXES, uniform
from manyviews.data.rendering import Camera, Light, render
from manyviews.data.splatting import Cloud, brightness, cloud_of, cloud_of_columns, depth_pictures

ONE = np.eye(3)[None]
TURNS = uniform(np.arange(1), 3, 0)[0]
POINTS = np.random.default_rng(0).uniform(-0.55, 0.55, (60, 3))


@pytest.mark.parametrize("extent", [None, 2.0])
def test_every_pixel_shows_the_nearest_disc_over_it(extent: float | None) -> None:
    camera = Camera(height=40, width=50, extent=extent)
    colours = np.random.default_rng(1).integers(0, 256, (60, 3))
    views = render(cloud_of(POINTS, colours, spread=0.07), TURNS, camera, Light(colour=(0, 0, 0), ambient=(1, 1, 1)), samples=1)
    pixels, depth = views.project(POINTS)
    for k in range(len(TURNS)):
        for row in range(40):
            for column in range(50):
                radius = 0.07 * camera.focal / (depth[k] if extent is None else 1)
                over = np.flatnonzero(np.hypot(column + 0.5 - pixels[k, :, 0], row + 0.5 - pixels[k, :, 1]) <= radius)
                assert bool(len(over)) == bool(views.mask[k, row, column])
                if len(over):
                    nearest = over[depth[k, over].argmin()]
                    assert views.depth[k, row, column] == pytest.approx(depth[k, nearest], abs=1e-5)
                    assert (views.colour[k, row, column] == colours[nearest]).all()


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_a_point_is_never_smaller_than_a_pixel(samples: int) -> None:
    views = render(cloud_of(POINTS, spread=0.0), TURNS, Camera(), samples=samples)
    pixels, _ = views.project(POINTS)
    for k in range(len(TURNS)):
        column, row = np.floor(pixels[k].T).astype(int)
        assert views.mask[k, row, column].all() and (views.colour[k, row, column].min(1) < 230).all()
        assert views.mask[k].sum() <= 60 * 3


def test_normals_are_on_the_viewers_side_and_light_the_discs() -> None:
    normals = POINTS / np.linalg.norm(POINTS, axis=1, keepdims=True)
    for signs in (1, -1):
        views = render(cloud_of(POINTS, normals=signs * normals), TURNS, light=Light((0, 0, 1)))
        assert (views.normals[views.mask][:, 2] < 0.35).all()  # a ray is not parallel to the axis, so that some normals lean away from it
        np.testing.assert_allclose(np.linalg.norm(views.normals[views.mask], axis=1), 1, atol=1e-5)
    facing = render(cloud_of(POINTS), TURNS, light=Light((0, 0, 1), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)), samples=1)
    assert (facing.normals[facing.mask] == [0, 0, -1]).all() and (facing.colour[facing.mask] == 134).all()  # 178 * 0.75


def test_a_cloud_of_a_sphere_looks_like_one() -> None:
    points = np.random.default_rng(0).normal(size=(12000, 3))
    points *= 0.8 / np.linalg.norm(points, axis=1, keepdims=True)
    views = render(cloud_of(points, spread=0.05), ONE, Camera(extent=2.0), colour=False)
    column, row = np.meshgrid(np.arange(64) + 0.5 - 32, np.arange(64) + 0.5 - 32)
    rim = np.hypot(column, row) / 32
    assert views.mask[0][rim < 0.8].all() and not views.mask[0][rim > 0.87].any()
    true = 3 - np.sqrt(np.maximum(0.64 - rim**2, 0))
    assert np.abs(views.depth[0] - true)[rim < 0.6].max() < 0.07


def test_depth_pictures_are_bright_where_points_are_near_and_know_their_pixels() -> None:
    points = np.array([[0.0, 0, 0.9], [0.5, 0, 0], [0, 0.5, -0.9]])
    pictures, views = depth_pictures(points, side=64)
    assert pictures.shape == (3, 64, 64) and pictures.dtype == np.float32 and pictures.max() <= 1
    np.testing.assert_array_equal(pictures > 0, views.mask)
    pixels, _ = views.project(points)
    for k, axis in enumerate((2, 0, 1)):  # each picture looks against one axis
        column, row = np.floor(pixels[k].T).astype(int)
        shown = pictures[k, row, column]
        for i in range(3):
            alone = np.abs(pixels[k] - pixels[k, i]).max(1) > 3
            if alone.sum() == 2:
                assert shown[i] == pytest.approx(1 - 0.45 * (1 - points[i, axis]), abs=1e-5)
    np.testing.assert_allclose(AXES @ AXES.transpose(0, 2, 1), np.tile(np.eye(3), (3, 1, 1)))


def test_brightness_falls_from_the_near_side_of_the_ball_to_the_far_one() -> None:
    depth = np.array([[2.0, 3.0, 4.0, 9.0, np.inf, 1.0]], np.float32)
    np.testing.assert_allclose(brightness(depth, Camera()), [[1, 0.55, 0.1, 0.1, 0, 1]], atol=1e-6)


def test_a_cloud_in_the_unit_ball() -> None:
    cloud = cloud_of(POINTS * 7 + 100).normalised()
    assert np.linalg.norm(cloud.points, axis=1).max() == pytest.approx(1) and cloud.radius == pytest.approx(1.03)
    np.testing.assert_allclose(cloud.points.min(0), -cloud.points.max(0))
    one = cloud_of([[5.0, 5, 5]]).normalised()
    assert not one.points.any() and render(one, ONE).mask.sum() > 3


@pytest.mark.parametrize(
    ("points", "more", "problem"),
    [
        (np.zeros((0, 3)), {}, "no points"),
        ([[0, 0, np.nan], [0, 0, 0]], {}, "1 of its 2 points"),
        (POINTS, {"normals": POINTS[:3]}, "3 normals for 60 points"),
        (POINTS, {"spread": -1.0}, "radius -1"),
    ],
)
def test_clouds_that_cannot_be_drawn_are_refused(points: np.ndarray, more: dict, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        cloud_of(points, **more)


def test_columns_are_positions_then_normals_then_colours() -> None:
    columns = np.concatenate([POINTS, POINTS / np.linalg.norm(POINTS, axis=1, keepdims=True), np.tile([1.0, 0.5, 0.0], (60, 1))], 1)
    assert cloud_of_columns(columns[:, :3], 0.1).normals.shape == (0, 3, 3) and cloud_of_columns(columns[:, :5], 0.1).spread == 0.1
    np.testing.assert_allclose(cloud_of_columns(columns[:, :6], 0.1).normals[:, 2], columns[:, 3:6], atol=1e-6)
    whole = cloud_of_columns(columns, 0.1)
    assert len(whole.normals) == 60 and (whole.colours == [255, 128, 0]).all()
    columns[:, 3:6] = 0
    assert not len(cloud_of_columns(columns, 0.1).normals)


def test_a_cloud_says_how_large_it_is() -> None:
    cloud = cloud_of(POINTS, normals=POINTS)
    assert isinstance(cloud, Cloud) and cloud.nbytes == 60 * (24 + 9 + 36)
