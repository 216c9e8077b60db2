"""Geometry: spheres and cubes against what is known of them, rays in a slow loop and Embree's, poses and cameras, which way is up, light, floor and threads."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import trimesh

from manyviews.data.mesh_files import Mesh, mesh_of
from manyviews.data.poses import AXES, about, uniform
from manyviews.data.rendering import Backdrop, Camera, Light, Views, homogeneous, render
from manyviews.data.splatting import cloud_of
from manyviews.errors import InputError

ONE = np.eye(3)[None]
CAMERAS = {"perspective": Camera(height=48, width=48), "orthographic": Camera(height=48, width=48, extent=2.2)}
TURNS = uniform(np.arange(1), 6, 0)[0]


def of(shape: trimesh.Trimesh, colours: object = 200, smooth: bool = False) -> Mesh:
    made = mesh_of(shape.vertices, shape.faces, colours)
    return Mesh(made.vertices, made.faces, made.colours, smooth)


def soup(count: int, seed: int, spread: float = 1.0) -> Mesh:
    """Triangles anywhere."""
    rng = np.random.default_rng(seed)
    return mesh_of(rng.uniform(-spread, spread, (3 * count, 3)), np.arange(3 * count).reshape(-1, 3), rng.integers(0, 256, (3 * count, 3)))


def rays(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Start and direction, one unit deep, of the middle of every pixel, in the world: (height, width, 3) each."""
    column, row = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    across = np.stack([(column - camera.width / 2) / camera.focal, (row - camera.height / 2) / camera.focal], -1)
    zero, one = np.zeros((*column.shape, 1)), np.ones((*column.shape, 1))
    here, there = (np.zeros((*column.shape, 3)), np.append(across, one, 2)) if camera.extent is None else (np.append(across, zero, 2), [0.0, 0.0, 1.0])
    back = np.linalg.inv(camera.extrinsics)
    return here @ back[:3, :3].T + back[:3, 3], np.broadcast_to(np.asarray(there) @ back[:3, :3].T, here.shape)


def slow(mesh: Mesh, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Depth and colour without light of every pixel: each ray with each triangle, as Moeller and Trumbore do it."""
    start, ahead = (a.reshape(-1, 3) for a in rays(camera))
    depth, colour = np.full(len(start), np.inf), np.full((len(start), 3), 255.0)
    for face, corners in zip(mesh.faces, mesh.colours.astype(float), strict=True):
        a, b, c = mesh.vertices[face]
        p = np.cross(ahead, c - a)
        det = p @ (b - a)
        t = start - a
        q = np.cross(t, b - a)
        v, w, z = (t * p).sum(1) / det, (ahead * q).sum(1) / det, q @ (c - a) / det
        nearer = (v >= 0) & (w >= 0) & (v + w <= 1) & (z > 0) & (z < depth)
        depth[nearer] = z[nearer]
        colour[nearer] = ((1 - v - w)[:, None] * corners[0] + v[:, None] * corners[1] + w[:, None] * corners[2])[nearer]
    shape = (camera.height, camera.width)
    return depth.reshape(shape), colour.reshape(*shape, 3)


def alike(a: Views, b: Views) -> None:
    """The same pictures, but for pixels on an edge."""
    both = a.mask & b.mask
    assert (a.mask != b.mask).mean() < 1e-3 and both.mean() > 0.05
    assert (np.abs(a.depth[both] - b.depth[both]) > 1e-4).mean() < 5e-3
    assert (np.abs(a.normals[both] - b.normals[both]).max(1) > 1e-3).mean() < 5e-3
    assert (np.abs(a.colour.astype(int) - b.colour).max(-1) > 1).mean() < 5e-3


UNLIT = Light(colour=(0, 0, 0), ambient=(1, 1, 1))


# --- what is known of shapes --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CAMERAS)
def test_a_sphere_has_the_depth_and_normals_of_a_sphere(kind: str) -> None:
    camera, radius = CAMERAS[kind], 0.8
    views = render(of(trimesh.creation.icosphere(5, radius), smooth=True), ONE, camera, colour=False)
    start, ahead = rays(camera)
    a, b, c = (ahead**2).sum(-1), (start * ahead).sum(-1), (start**2).sum(-1) - radius**2
    inside = b * b - a * c
    depth = (-b - np.sqrt(np.maximum(inside, 0))) / a
    sure = np.abs(inside) > 0.02
    np.testing.assert_array_equal(views.mask[0][sure], inside[sure] > 0)
    well = inside > 0.05
    np.testing.assert_allclose(views.depth[0][well], depth[well], atol=2e-3)
    normals = (start + depth[..., None] * ahead) / radius @ camera.extrinsics[:3, :3].T
    assert np.abs(views.normals[0][well] - normals[well]).max() < 0.01
    np.testing.assert_allclose(np.linalg.norm(views.normals[views.mask], axis=1), 1, atol=1e-6)


def test_smooth_normals_of_a_coarse_sphere_are_nearer_to_the_sphere_than_flat_ones() -> None:
    ball, errors = trimesh.creation.icosphere(2), []
    for smooth in (False, True):
        views = render(of(ball, smooth=smooth), ONE, colour=False)
        start, ahead = rays(Camera())
        place = start + np.where(views.mask[0], views.depth[0], 0)[..., None] * ahead
        true = place / np.linalg.norm(place, axis=-1, keepdims=True) @ Camera().extrinsics[:3, :3].T
        errors.append(np.abs(views.normals[0] - true)[views.mask[0]].mean())
    assert errors[1] < errors[0] / 4


def test_smooth_normals_do_not_see_seams() -> None:
    ball = trimesh.creation.icosphere(2)
    torn = mesh_of(ball.triangles.reshape(-1, 3), np.arange(3 * len(ball.faces)).reshape(-1, 3))
    np.testing.assert_allclose(Mesh(torn.vertices, torn.faces, torn.colours, True).normals, of(ball, smooth=True).normals, atol=1e-6)


def test_a_cube_seen_straight_fills_its_square_and_no_pixel_more() -> None:
    camera = Camera(height=40, width=60, extent=4.0)  # 10 pixels a unit
    views = render(of(trimesh.creation.box((2, 1, 1))), ONE, camera)
    expected = np.zeros((40, 60), dtype=bool)
    expected[15:25, 20:40] = True
    np.testing.assert_array_equal(views.mask[0], expected)
    np.testing.assert_allclose(views.depth[0][expected], 2.5, atol=1e-6)
    np.testing.assert_allclose(views.normals[0][expected], np.tile([0, 0, -1], (200, 1)), atol=1e-6)


def test_a_cube_in_perspective_is_as_large_as_its_front() -> None:
    camera = Camera(position=(0, 0, 2.5), height=100, width=100, fov=math.pi / 2)  # the front, 2 away, covers 1/4 of 4
    mask = render(of(trimesh.creation.box((1, 1, 1))), ONE, camera).mask[0]
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (38, 61, 38, 61) or (rows[0], rows[-1], columns[0], columns[-1]) == (37, 62, 37, 62)
    assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()


def test_a_cube_seen_at_a_corner_is_a_regular_hexagon() -> None:
    camera = Camera(position=(2, 2, 2), height=200, width=200, extent=2.0)
    mask = render(of(trimesh.creation.box((1, 1, 1))), ONE, camera).mask[0]
    assert mask.mean() * 4 == pytest.approx(math.sqrt(3), rel=0.005)  # the area of a unit cube's shadow along its diagonal
    np.testing.assert_array_equal(mask, mask[:, ::-1])


# --- against other ways to compute it -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CAMERAS)
@pytest.mark.parametrize("spread", [1.0, 6.0])
def test_depth_and_colour_agree_with_a_slow_loop_over_rays_and_triangles(kind: str, spread: float) -> None:
    mesh = soup(30, 3, spread)  # at 6, some triangles reach behind the camera
    views = render(mesh, ONE, CAMERAS[kind], UNLIT, samples=1)
    depth, colour = slow(mesh, CAMERAS[kind])
    assert (np.isfinite(depth) != views.mask[0]).mean() < 2e-3
    both = np.isfinite(depth) & views.mask[0]
    assert both.mean() > 0.3 and (np.abs(depth[both] - views.depth[0][both]) < 1e-4 * depth[both]).mean() > 0.998
    assert (np.abs(colour - views.colour[0])[both].max(-1) <= 0.51).mean() > 0.998


def test_agrees_with_embree() -> None:
    from embreex import rtcore_scene
    from embreex.mesh_construction import TriangleMesh

    shape = trimesh.creation.torus(0.7, 0.25)
    scene = rtcore_scene.EmbreeScene()
    TriangleMesh(scene, np.ascontiguousarray(shape.triangles, np.float32))
    views = render(of(shape), TURNS, colour=False)
    for k, turn in enumerate(TURNS):
        start, ahead = (np.ascontiguousarray(a.reshape(-1, 3) @ turn, np.float32) for a in rays(Camera()))
        hit = scene.run(start, ahead, output=True)
        there = (hit["primID"] >= 0).reshape(64, 64)
        assert (there != views.mask[k]).sum() <= 1
        both = there & views.mask[k]
        np.testing.assert_allclose(views.depth[k][both], hit["tfar"].reshape(64, 64)[both], atol=1e-4)


# --- poses, cameras, frames ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CAMERAS)
def test_turning_the_object_is_moving_the_camera_the_other_way(kind: str) -> None:
    mesh, camera, light = soup(40, 5, 0.6), CAMERAS[kind], Light()
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = TURNS[1], [0.2, -0.1, 0.3]

    def back(a: tuple[float, float, float], place: bool) -> tuple[float, float, float]:
        x, y, z = TURNS[1].T @ (np.subtract(a, pose[:3, 3]) if place else a)
        return float(x), float(y), float(z)

    moved = Camera(back(camera.position, True), back(camera.target, True), back(camera.up, False), 48, 48, extent=camera.extent)
    turned = render(mesh, pose[None], camera, light)
    alike(turned, render(mesh, ONE, moved, Light(back(light.towards, False))))
    np.testing.assert_allclose(moved.extrinsics, camera.extrinsics @ pose, atol=1e-12)


def test_scaling_object_and_scene_changes_only_depth() -> None:
    mesh, pose = soup(40, 5, 0.6), np.diag([2.5, 2.5, 2.5, 1.0])
    small, large = render(mesh, ONE), render(mesh, pose[None], Camera(position=(0, 0, 7.5)))
    np.testing.assert_array_equal(small.mask, large.mask)
    np.testing.assert_allclose(large.depth[large.mask], 2.5 * small.depth[small.mask], rtol=1e-5)
    assert np.abs(small.colour.astype(int) - large.colour).max() <= 1


@pytest.mark.parametrize("kind", CAMERAS)
def test_x_is_right_y_is_up_and_z_comes_towards_the_camera(kind: str) -> None:
    places = {(255, 0, 0): (0.6, 0, 0), (0, 255, 0): (0, 0.6, 0), (0, 0, 255): (0, 0, 0.6)}
    found, depth = {}, {}
    for colour, place in places.items():
        ball = trimesh.creation.icosphere(2, 0.1)
        ball.apply_translation(place)
        views = render(of(ball, colour), ONE, CAMERAS[kind], UNLIT)
        assert (np.median(views.colour[0][views.mask[0]], 0) == colour).all()
        found[colour], depth[colour] = np.argwhere(views.mask[0]).mean(0) + 0.5 - 24, views.depth.min()
    (row, column), (up, side), middle = found.values()
    assert column > 8 and abs(row) < 0.5
    assert up < -8 and abs(side) < 0.5  # rows count downwards
    assert np.abs(middle).max() < 0.5 and depth[0, 0, 255] < 2.4 < depth[255, 0, 0]
    turn = CAMERAS[kind].extrinsics[:3, :3]
    np.testing.assert_allclose(turn, np.diag([1, -1, -1]), atol=1e-12)  # x right, y down, z into the picture
    assert np.linalg.det(turn) == pytest.approx(1)


@pytest.mark.parametrize("kind", CAMERAS)
def test_a_point_is_seen_at_the_pixel_and_depth_that_the_matrices_say(kind: str) -> None:
    camera = Camera.around(0.7, 0.4, 3.5, height=50, width=70, extent=CAMERAS[kind].extent)
    for k, place in enumerate(np.random.default_rng(0).uniform(-0.6, 0.6, (12, 3))):
        speck = mesh_of(place + 0.02 * np.eye(4, 3), [[0, 1, 2], [0, 1, 3], [0, 2, 3], [1, 2, 3]])
        views = render(speck, TURNS[k % 6][None], camera)
        centre = speck.vertices.mean(0)
        homogeneous_ = views.intrinsics[0] @ views.extrinsics[0] @ views.pose[0] @ np.append(centre, 1)
        pixels, depth = views.project(centre[None])
        np.testing.assert_allclose(pixels[0, 0], homogeneous_[:2] / homogeneous_[2], atol=1e-9)
        seen = np.argwhere(views.mask[0]) + 0.5
        if len(seen):  # a speck of half a pixel may lie between the middles of four
            assert np.abs(seen.mean(0) - pixels[0, 0, ::-1]).max() < 0.8
            assert abs(views.depth[views.mask].mean() - depth[0, 0]) < 0.02


def test_vertices_of_a_convex_body_lie_on_or_behind_the_depth_map() -> None:
    mesh = of(trimesh.creation.icosphere(3, 0.9))
    views = render(mesh, TURNS, colour=False)
    pixels, depth = views.project(mesh.vertices)
    for k in range(len(TURNS)):
        column, row = np.floor(pixels[k].T).astype(int)
        here = views.depth[k][row, column]
        seen = np.isfinite(here) & (depth[k] < 2.5)
        assert seen.sum() > 80 and np.abs(here[seen] - depth[k][seen]).max() < 0.06


def test_an_azimuth_turns_the_camera_about_the_vertical_from_z_to_x() -> None:
    np.testing.assert_allclose(Camera.around(math.pi / 2, 0.0, 2.0).position, (2, 0, 0), atol=1e-12)
    np.testing.assert_allclose(Camera.around(0.0, math.pi / 6, 2.0).position, (0, 1, math.sqrt(3)), atol=1e-12)
    mesh = soup(40, 5, 0.6)
    turned = render(mesh, about(0, np.array([0.4])) @ about(1, np.array([-0.7])), light=UNLIT)
    alike(turned, render(mesh, ONE, Camera.around(0.7, 0.4), UNLIT))


def test_the_axes_look_along_z_x_and_y() -> None:
    np.testing.assert_array_equal(AXES[:, 2], [[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    assert np.allclose(np.linalg.det(AXES), 1)


# --- what is drawn --------------------------------------------------------------------------------------------------------------------------------


def test_mask_depth_normals_and_colour_agree_on_where_the_object_is() -> None:
    views = render(soup(20, 0, 0.7), TURNS, backdrop=Backdrop((0, 0, 1)), samples=1)
    np.testing.assert_array_equal(views.mask, np.isfinite(views.depth))
    np.testing.assert_array_equal(views.mask, views.normals.any(-1))
    assert (views.colour[~views.mask] == [0, 0, 255]).all() and not (views.colour[views.mask] == [0, 0, 255]).all(-1).any()
    assert (views.normals[views.mask][:, 2] < 0.5).all()  # on the side that is seen


def test_no_sample_between_two_triangles_is_lost() -> None:
    side = 33  # vertices and edges exactly in the middles of pixels, and triangles smaller than one
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), -1).reshape(-1, 2)
    square = np.add.outer(side * np.arange(side - 1), np.arange(side - 1)).reshape(-1, 1)
    faces = np.concatenate([np.add(square, [0, 1, side]), np.add(square, [1, side + 1, side])])
    for scale, shift in ((1.0, 0.5), (0.37, 0.1), (1 / 3, 1 / 3)):
        mesh = mesh_of(np.append((grid * scale + shift) / 32 - 0.5, np.zeros((len(grid), 1)), 1), faces)
        mask = render(mesh, ONE, Camera(height=64, width=64, extent=2.0), colour=False).mask[0]
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    ball = render(of(trimesh.creation.icosphere(4)), TURNS, Camera(height=200, width=200), colour=False).mask
    for mask in ball:
        assert all(np.ptp(np.flatnonzero(row)) + 1 == row.sum() for row in mask if row.any())


def test_colour_of_several_samples_is_the_mean_of_a_larger_picture() -> None:
    mesh = soup(30, 1, 0.8)
    fine = render(mesh, TURNS[:2], Camera(height=96, width=96), samples=1).colour.astype(float)
    coarse = render(mesh, TURNS[:2], Camera(height=32, width=32), samples=3).colour
    assert np.abs(fine.reshape(2, 32, 3, 32, 3, 3).mean((2, 4)) - coarse).max() <= 1.01


def test_a_surface_shows_its_colour_times_ambience_and_lamp() -> None:
    tile = mesh_of([[-3, -3, 0], [3, -3, 0], [3, 3, 0], [-3, 3, 0]], [[0, 1, 2], [0, 2, 3]], (100, 200, 50))
    light = Light((3, 0, 4), (0.5, 0.25, 1.0), (0.2, 0.1, 0.0))
    for faces in (tile.faces, tile.faces[:, ::-1].copy()):  # either way round
        views = render(Mesh(tile.vertices, faces, tile.colours), ONE, light=light)
        assert (views.colour == [round(100 * (0.2 + 0.4)), round(200 * (0.1 + 0.2)), round(50 * 0.8)]).all()
    behind = render(tile, ONE, light=Light((0, 0, -1), ambient=(0.3, 0.3, 0.3))).colour
    assert (behind == [30, 60, 15]).all()
    assert (render(tile, ONE, light=Light((0, 0, 1), (9, 9, 9))).colour == 255).all()


def test_the_lamp_stays_where_it_is_when_the_object_turns() -> None:
    ball = of(trimesh.creation.icosphere(4), smooth=True)
    pictures = render(ball, TURNS, light=Light((1, 0, 0.2))).colour.astype(int)
    assert np.abs(pictures - pictures[0]).mean() < 1
    assert pictures[0, 32, 50, 0] > pictures[0, 32, 14, 0] + 80


def test_a_floor_is_seen_from_above_below_the_horizon_and_not_in_the_depth() -> None:
    ball = of(trimesh.creation.icosphere(3, 0.3))
    camera = Camera(position=(0, 1, 4), target=(0, 1, 0))
    light, ground = Light((0, 1, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), Backdrop((0, 0, 1), -1.0, (0, 1, 0))
    views = render(ball, ONE, camera, light, ground)
    picture = views.colour[0]
    assert (picture[:31] == [0, 0, 255]).all() and (picture[48:, :20] == [0, 255, 0]).all()
    np.testing.assert_array_equal(views.depth, render(ball, ONE, camera).depth)
    below = render(ball, ONE, Camera(position=(0, -3, 4), target=(0, -3, 0)), light, ground).colour[0]
    assert not (below == [0, 255, 0]).all(-1).any()
    hidden = render(ball, np.array([[[1, 0, 0, 0], [0, 1, 0, -2], [0, 0, 1, 0], [0, 0, 0, 1.0]]]), camera, light, ground)
    assert (hidden.colour[0, 48:] == [0, 255, 0]).all()


def test_a_shadow_falls_where_the_light_cannot_reach() -> None:
    ball = of(trimesh.creation.icosphere(3, 0.3), (255, 255, 255))
    camera = Camera(position=(0, 5, 0), up=(0, 0, -1), extent=4.0, height=100, width=100)  # from above: x right, z down
    light, ground = Light((1, 1, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), shadows=True), Backdrop((0, 0, 0), -1.0, (1, 1, 1))
    lit, cast = (render(ball, ONE, camera, light_, ground).colour[0, :, :, 0] for light_ in (Light((1, 1, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), light))
    where = np.argwhere((lit == 218) & (cast < 140)) + 0.5  # 0.5 + 0.5 cos 45 degrees, and 0.5
    middle = (where.mean(0) - 50) / 25
    assert abs(middle[0]) < 0.05 and middle[1] < -0.9  # at x = -1, but for what the ball hides
    assert len(where) / 25**2 == pytest.approx(math.pi * 0.09 * math.sqrt(2), rel=0.15)
    side = cast[50, 43:58].astype(int)
    assert side[0] < 150 < side[-1]  # the ball's own dark side, and no specks on the lit one
    assert (cast[45:55, 52:56] > 180).all()


def test_what_is_behind_the_camera_is_not_seen() -> None:
    ball = of(trimesh.creation.icosphere(2, 0.5))
    for camera in (Camera(position=(0, 0, 3), target=(0, 0, 6)), Camera(position=(0, 0, 3), target=(0, 0, 6), extent=3.0)):
        assert not render(ball, ONE, camera).mask.any()
        assert not render(cloud_of(ball.vertices), ONE, camera).mask.any()
    assert render(of(trimesh.creation.icosphere(2, 5.0)), ONE).mask.all()  # from inside


def test_only_what_is_wanted_is_computed() -> None:
    ball = of(trimesh.creation.icosphere(2))
    assert render(ball, TURNS, geometry=False).depth.shape == (0, 64, 64) and render(ball, TURNS, colour=False).colour.shape == (0, 64, 64, 3)
    none = render(ball, np.zeros((0, 3, 3)))
    assert none.colour.shape == (0, 64, 64, 3) and none.pose.shape == (0, 4, 4) and none.project(ball.vertices)[0].shape == (0, 162, 2)


def test_cameras_lights_and_backdrops_may_differ_from_view_to_view() -> None:
    mesh = soup(20, 2, 0.6)
    cameras, backdrops = [Camera(), Camera.around(1.0, 0.3)], [Backdrop((1, 0, 0)), Backdrop((0, 1, 0))]
    lights = [Light(), UNLIT]
    both = render(mesh, TURNS[:2], cameras, lights, backdrops)
    for k in range(2):
        one = render(mesh, TURNS[k : k + 1], cameras[k], lights[k], backdrops[k])
        np.testing.assert_array_equal(both.colour[k], one.colour[0])
        np.testing.assert_array_equal(both.extrinsics[k], one.extrinsics[0])


def test_threads_see_what_one_would() -> None:
    mesh = soup(200, 8, 0.8)
    expected = render(mesh, TURNS)
    with ThreadPoolExecutor(4) as pool:
        for views in pool.map(lambda _: render(mesh, TURNS), range(8)):
            np.testing.assert_array_equal(views.colour, expected.colour)
            np.testing.assert_array_equal(views.depth, expected.depth)


# --- bad input ------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("poses", "problem"),
    [
        (np.diag([1.0, 1, -1])[None], "pose 0 is no rotation"),
        (np.stack([np.eye(3), np.diag([1.0, 2, 1])]), "pose 1 is no rotation with scale and shift .*1 of 2"),
        (np.zeros((1, 3, 3)), "pose 0"),
        (np.full((1, 3, 3), np.nan), "pose 0"),
        (np.eye(3), "of the shape \\(3, 3\\)"),
        (np.eye(4)[None] * [1, 1, 1, 2], "pose 0"),
    ],
)
def test_poses_that_are_none_are_refused(poses: np.ndarray, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        homogeneous(poses)


def test_cameras_that_cannot_see_are_refused() -> None:
    with pytest.raises(InputError) as error:
        Camera(height=0, fov=4.0, up=(0, 0, 1))
    assert len(error.value.problems) == 3
    with pytest.raises(InputError, match="two places"):
        Camera(position=(0, 0, 0))
    with pytest.raises(InputError, match="extent=-1"):
        Camera(extent=-1.0)
    ball = of(trimesh.creation.icosphere(1))
    with pytest.raises(InputError, match="2 cameras for 1 views"):
        render(ball, ONE, [Camera(), Camera()])
    with pytest.raises(InputError, match="one size for all"):
        render(ball, TURNS[:2], [Camera(), Camera(height=32)])
    with pytest.raises(InputError, match="0 samples"):
        render(ball, ONE, samples=0)


def test_shadows_on_a_body_are_where_embree_finds_its_light_blocked() -> None:
    from embreex import rtcore_scene
    from embreex.mesh_construction import TriangleMesh

    mesh, camera = of(trimesh.creation.torus(0.6, 0.25)), Camera(height=128, width=128)
    scene = rtcore_scene.EmbreeScene()
    TriangleMesh(scene, np.ascontiguousarray(mesh.vertices[mesh.faces], np.float32))
    towards = np.array([-0.4, 0.8, 0.7]) / math.sqrt(1.29)
    lamp = {"towards": (-0.4, 0.8, 0.7), "colour": (1, 1, 1), "ambient": (0, 0, 0)}
    plain, cast = (render(mesh, TURNS, camera, Light(**lamp, shadows=shadows), samples=1) for shadows in (False, True))
    start, ahead = rays(camera)
    for k, turn in enumerate(TURNS):
        mask = plain.mask[k]
        place = (start[mask] + plain.depth[k][mask][:, None] * ahead[mask]) @ turn + 0.02 * towards @ turn
        away = np.tile(towards @ turn, (len(place), 1))
        blocked = scene.run(place.astype(np.float32), away.astype(np.float32)) >= 0
        bright = plain.colour[k][mask].max(1) > 3
        assert (bright & (blocked != (cast.colour[k][mask].max(1) == 0))).mean() < 0.01
