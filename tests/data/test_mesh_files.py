"""Meshes from files: every kind, colours, textures, scenes, and all the ways in which a file can be no mesh."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from manyviews.data import mesh_files
from manyviews.data.dataset import Unreadable
from manyviews.data.mesh_files import GREY, Mesh, decode, mesh_of, meshes, read
from manyviews.errors import InputError

BOX = trimesh.creation.box((1, 2, 3))
TETRAHEDRON = ([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], [[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])


def saved(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def why(path: Path) -> str:
    with pytest.raises(Unreadable) as error:
        read(path)
    return str(error.value)


def off(vertices: str, faces: str, counts: str) -> str:
    return f"OFF\n{counts} 0\n{vertices}\n{faces}\n"


# --- what is read -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", mesh_files.SUFFIXES)
def test_every_kind_of_file_gives_the_same_mesh(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"box{suffix.upper() if suffix == '.ply' else suffix}"
    if suffix == ".gltf":
        for name, content in trimesh.exchange.gltf.export_gltf(trimesh.Scene(BOX)).items():
            saved(tmp_path / (path.name if name == "model.gltf" else name), content)
    else:
        BOX.export(path, file_type=suffix[1:])
    mesh = read(path)
    assert len(mesh.faces) == 12 and mesh.normals.shape == (12, 3, 3)
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), (1, 2, 3), atol=1e-6)
    area = np.linalg.norm(mesh_files.crossed(mesh.vertices, mesh.faces), axis=1).sum() / 2
    assert area == pytest.approx(22, rel=1e-5)
    outward = (mesh.normals[:, 0] * mesh.vertices[mesh.faces].mean(1)).sum(1)
    assert (outward > 0).all() and (mesh.colours == GREY).all()


def test_polygons_are_cut_into_triangles_and_degenerate_ones_dropped(tmp_path: Path) -> None:
    quad = saved(tmp_path / "a.off", off("0 0 0\n1 0 0\n1 1 0\n0 1 0\n5 5 5", "4 0 1 2 3\n3 0 0 1\n3 0 1 1", "5 3"))
    mesh = read(quad)
    assert len(mesh.faces) == 2 and len(mesh.vertices) <= 5
    obj = read(saved(tmp_path / "b.obj", "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0.5 2 0\nf 1 2 3 4\nf -3 -2 -1\n"))
    assert len(obj.faces) == 3


def test_the_header_that_some_off_files_have_on_one_line(tmp_path: Path) -> None:
    content = "OFF4 4 0\n0 0 0\n1 0 0\n0 1 0\n0 0 1\n3 0 2 1\n3 0 1 3\n3 1 2 3\n3 0 3 2\n"
    assert len(read(saved(tmp_path / "a.off", content)).faces) == 4


@pytest.mark.parametrize(("kind", "suffix"), [("vertex", ".ply"), ("face", ".ply"), ("vertex", ".glb")])  # a .glb has no colours of faces
def test_colours_of_vertices_and_faces(tmp_path: Path, kind: str, suffix: str) -> None:
    rng = np.random.default_rng(0)
    given = {f"{kind}_colors": rng.integers(0, 256, (4, 4), dtype=np.uint8) | np.array([0, 0, 0, 255], np.uint8)}
    shape = trimesh.Trimesh(*TETRAHEDRON, process=False, **given)
    shape.export(tmp_path / f"a{suffix}")
    mesh = read(tmp_path / f"a{suffix}")
    colours = given[f"{kind}_colors"][:, :3]
    expected = colours[shape.faces] if kind == "vertex" else np.repeat(colours[:, None], 3, 1)
    assert {c.tobytes() for c in mesh.colours} == {c.tobytes() for c in np.ascontiguousarray(expected)}


def textured(folder: Path, mtl: str = "m.mtl", image: str = "t.png", place: str = "t.png") -> Path:
    """A square whose corners lie in the four colours of a picture."""
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:4, :4], picture[:4, 4:], picture[4:, :4], picture[4:, 4:] = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(folder / "t.png")
    saved(folder / "m.mtl", f"newmtl one\nKd 0.5 0.25 1.0\nmap_Kd {place}\n")
    corners = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0.1 0.1\nvt 0.9 0.1\nvt 0.9 0.9\nvt 0.1 0.9\n"
    return saved(folder / "a.obj", f"mtllib {mtl}\n{corners}usemtl one\nf 1/1 2/2 3/3\nf 1/1 3/3 4/4\n")


def by_corner(mesh: Mesh) -> dict[tuple[float, ...], tuple[int, ...]]:
    places = mesh.vertices[mesh.faces].reshape(-1, 3)
    return {tuple(map(float, p[:2])): tuple(map(int, c)) for p, c in zip(places, mesh.colours.reshape(-1, 3), strict=True)}


@pytest.mark.parametrize("place", ["t.png", "C:\\Users\\someone\\textures\\t.png", "/home/someone/t.png"])
def test_a_texture_is_looked_up_at_the_corners_wherever_its_path_points(tmp_path: Path, place: str) -> None:
    found = by_corner(read(textured(tmp_path, place=place)))
    assert found == {(0, 0): (0, 0, 255), (1, 0): (255, 255, 0), (1, 1): (0, 255, 0), (0, 1): (255, 0, 0)}


def test_materials_without_a_texture_have_one_colour(tmp_path: Path) -> None:
    path = textured(tmp_path, place="missing.png")
    assert set(by_corner(read(path)).values()) == {(127, 63, 255)} or set(by_corner(read(path)).values()) == {(128, 64, 255)}


def test_a_missing_material_is_no_error(tmp_path: Path) -> None:
    mesh = read(textured(tmp_path, mtl="elsewhere.mtl"))
    assert len(mesh.faces) == 2 and (mesh.colours == GREY).all()
    (tmp_path / "t.png").write_bytes(b"no picture")
    assert len(read(textured(tmp_path / "b")).faces) == 2


def test_nothing_outside_its_own_folder_is_read_for_a_mesh(tmp_path: Path) -> None:
    textured(tmp_path / "secret")
    inside = tmp_path / "open/here"
    path = textured(inside, mtl="../../secret/m.mtl")
    (inside / "m.mtl").unlink()
    assert (read(path).colours == GREY).all()
    (inside / "m.mtl").symlink_to(tmp_path / "secret/m.mtl")
    assert (read(path).colours == GREY).all()
    beside = mesh_files.Beside(inside)
    for name in ("/etc/passwd", "../../secret/t.png/../m.mtl", ""):
        with pytest.raises(FileNotFoundError):
            beside.get(name)


def test_scenes_are_flattened_with_every_instance_in_its_place(tmp_path: Path) -> None:
    scene = trimesh.Scene()
    scene.add_geometry(BOX, "first", "box")
    move = np.eye(4)
    move[:3, 3] = 10, 0, 0
    scene.add_geometry(BOX, "second", "box", transform=move)
    scene.add_geometry(trimesh.PointCloud(np.ones((3, 3)) * 99))
    scene.export(tmp_path / "a.glb")
    mesh = read(tmp_path / "a.glb")
    assert len(mesh.faces) == 24
    np.testing.assert_allclose(mesh.vertices.max(0), (10.5, 1, 1.5), atol=1e-6)
    np.testing.assert_allclose(mesh.vertices.min(0), (-0.5, -1, -1.5), atol=1e-6)


def test_meshes_with_holes_shared_edges_and_strange_order_are_read(tmp_path: Path) -> None:
    fan = off("0 0 0\n0 0 1\n1 0 0\n-1 0 0\n0 1 0", "3 0 1 2\n3 0 1 3\n3 1 0 4\n3 0 1 2", "5 4")
    assert len(read(saved(tmp_path / "a.off", fan)).faces) == 4


def test_the_unit_ball_holds_a_normalised_mesh(tmp_path: Path) -> None:
    BOX.copy().apply_translation([1e6, 0, 0]).export(tmp_path / "a.obj")
    mesh = read(tmp_path / "a.obj").normalised()
    assert mesh.radius == pytest.approx(1) and np.abs(mesh.vertices.max(0) + mesh.vertices.min(0)).max() < 1e-6
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0) / np.ptp(mesh.vertices, axis=0)[0], (1, 2, 3), rtol=1e-6)
    assert mesh.nbytes > 12 * 36


# --- what is not --------------------------------------------------------------------------------------------------------------------------------


def test_files_that_are_no_meshes_say_why(tmp_path: Path) -> None:
    reasons = {
        "empty.ply": ("", "empty file"),
        "blank.obj": ("\n \n", "empty file"),
        "nothing.off": (off("", "", "0 0"), "no .off file|no triangles"),
        "points.off": (off("0 0 0\n1 0 0\n0 1 0", "", "3 0"), "points without faces|no triangles"),
        "points.obj": ("v 0 0 0\nv 1 0 0\nv 0 1 0\n", "3 points without faces: a point cloud"),
        "nan.obj": ("v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "1 of its 3 vertices"),
        "flat.off": (off("0 0 0\n1 1 1\n2 2 2", "3 0 1 2", "3 1"), "none of its 1 triangles has an area"),
        "far.off": (off("0 0 0\n1 0 0\n0 1 0", "3 0 1 7", "3 1"), "range"),
        "negative.obj": ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "no .obj file that can be read"),
        "short.off": (off("0 0 0\n1 0 0", "", "100 100"), "no .off file that can be read"),
        "text.ply": ("hello, this is a letter\n", "no .ply file that can be read"),
        "binary.obj": (bytes(range(256)) * 4, "no triangles|no .obj file"),
        "header.glb": (b"glTF" + b"\2\0\0\0" + b"\xff" * 8, "no .glb file that can be read"),
    }
    for name, (content, reason) in reasons.items():
        path = saved(tmp_path / name, content)
        with pytest.raises(Unreadable, match=reason):
            read(path)
    assert "No such file" in why(tmp_path / "missing.ply")
    (tmp_path / "folder.obj").mkdir()
    assert "a folder" in why(tmp_path / "folder.obj")


def test_a_nan_that_no_face_uses_does_not_matter(tmp_path: Path) -> None:
    assert len(read(saved(tmp_path / "a.off", off("0 0 0\n1 0 0\n0 1 0\nnan nan nan", "3 0 1 2", "4 1"))).vertices) == 3


def test_a_wrong_ending_is_said(tmp_path: Path) -> None:
    contents = {
        ".ply": BOX.export(file_type="ply"),
        ".off": BOX.export(file_type="off").encode(),
        ".stl": BOX.export(file_type="stl"),
        ".glb": BOX.export(file_type="glb"),
        ".obj": b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
        ".gltf": json.dumps({"asset": {"version": "2.0"}}).encode(),
    }
    for kind, content in contents.items():
        assert mesh_files.recognised(content) == kind[1:]
        for suffix in contents.keys() - {kind}:
            assert f"named {suffix}, but what is in it is a {kind} file" in why(saved(tmp_path / f"a{suffix}", content))
    assert mesh_files.recognised(BOX.export(file_type="stl_ascii").encode()) == "stl"
    assert "meshes end in .ply .off" in why(saved(tmp_path / "a.png", b"\x89PNG"))


def test_a_header_that_promises_more_than_there_is_takes_no_memory(tmp_path: Path) -> None:
    import tracemalloc

    header = "ply\nformat binary_little_endian 1.0\nelement vertex {0}\nproperty float x\nproperty float y\nproperty float z\nelement face {0}\n"
    header += "property list uchar int vertex_indices\nend_header\n"
    stl = bytes(80) + struct.pack("<I", 4_000_000_000) + bytes(500)
    paths = [saved(tmp_path / "a.ply", header.format(2_000_000_000).encode() + bytes(200)), saved(tmp_path / "b.stl", stl)]
    tracemalloc.start()
    for path in paths:
        assert "can be read" in why(path) or "no triangles" in why(path)
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()


def test_what_is_too_large_is_said_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.ply"
    BOX.export(path)
    monkeypatch.setattr(mesh_files, "MOST", 11)
    assert "12 triangles; meshes of more than 11" in why(path)
    monkeypatch.setattr(mesh_files, "LARGEST", 100)
    assert "must be reduced first" in why(path)


@pytest.mark.parametrize(
    ("vertices", "faces", "problem"),
    [
        (np.zeros((3, 3)), np.zeros((0, 3)), "no triangles"),
        (np.eye(3), [[0, 1, 3]], "triangles of vertices 0 to 3, where there are 0 to 2"),
        (np.eye(3), [[0, -1, 2]], "triangles of vertices -1"),
        (np.diag([1, np.inf, 1]), [[0, 1, 2]], "1 of its 3"),
        (np.eye(3), [[0, 1, 1]], "has an area"),
    ],
)
def test_arrays_that_are_no_mesh_are_refused(vertices: np.ndarray, faces: list, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        mesh_of(vertices, faces)


def test_tiny_and_huge_triangles_have_an_area() -> None:
    for scale in (1e-30, 1e30):
        assert len(mesh_of(np.eye(3) * scale, [[0, 1, 2]]).faces) == 1
        assert np.isfinite(mesh_of(np.eye(3) * scale, [[0, 1, 2]]).normalised().normals).all()


# --- folders ------------------------------------------------------------------------------------------------------------------------------------


def test_class_folders_of_meshes_give_labels(tmp_path: Path) -> None:
    for name in ("box/1.ply", "box/2.obj", "ball/1.stl"):
        saved(tmp_path / name, BOX.export(file_type=name[-3:]))
    saved(tmp_path / "box/2.mtl", "newmtl a\n")
    data = meshes(tmp_path)
    assert data.describe().startswith("3 meshes from folder") and list(data.classes) == ["ball", "box"]
    assert all(isinstance(data.decode(data.store.raw(i)), Mesh) for i in range(3))
    one = meshes(str(tmp_path / "box/1.ply"))
    assert len(one) == 1 and isinstance(one.decode(one.store.raw(0)), Mesh) and one.name(0) == "1.ply"
    assert data.fingerprint() == meshes(tmp_path).fingerprint()


def test_a_folder_without_meshes_is_said(tmp_path: Path) -> None:
    saved(tmp_path / "a.png", b"")
    for path in (tmp_path, tmp_path / "a.png", tmp_path / "nowhere"):
        with pytest.raises(InputError, match="has no meshes; looked for, at any depth: .ply"):
            meshes(path)


def test_a_mesh_decodes_to_itself() -> None:
    mesh = mesh_of(*TETRAHEDRON)
    assert decode(mesh) is mesh
