"""Files of points and meshes in every format, against slow writers and known shapes; and what bad ones do."""

import struct
from pathlib import Path

import numpy as np
import pytest
from point_samples import cube, packed, pcd_file, ply_file, random_cloud, xyz_ply

from manyviews.data import las, meshes, pcd, point_files
from manyviews.data.dataset import Unreadable
from manyviews.data.points import decode

SQUARE = b"0 0 0\n1 0 0\n1 1 0\n0 1 0\n"
FORMS = ["ascii", "binary_little_endian", "binary_big_endian"]
MIXED = [("uchar", "green"), ("float", "z"), ("uchar", "int", "neighbours"), ("double", "x"), ("ushort", "other"), ("float", "ny"), ("uchar", "red"),
         ("float", "nx"), ("float", "y"), ("uchar", "blue"), ("float", "nz")]  # fmt: skip


# --- PLY ----------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("form", FORMS)
def test_a_ply_is_read_with_properties_in_any_order_and_lists_of_any_length(form: str, newline: str) -> None:
    rng = np.random.default_rng(1)
    rows = []
    for _ in range(20):
        x, y, z, a, b, c = (float(v) for v in rng.normal(size=6).astype(np.float32))
        red, green, blue = (int(v) for v in rng.integers(0, 256, 3))
        rows.append((green, z, [int(v) for v in rng.integers(0, 99, rng.integers(0, 4))], x, 7, b, red, a, y, blue, c))
    found = decode(ply_file(rows, MIXED, form, newline))
    for got, (green, z, _, x, _, b, red, a, y, blue, c) in zip(found, rows, strict=True):
        normal = np.array([a, b, c]) / np.linalg.norm([a, b, c])
        assert np.allclose(got, [x, y, z, *normal, red / 255, green / 255, blue / 255], atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_the_faces_of_a_ply_are_sampled_by_their_area_whatever_their_corners(form: str) -> None:
    corners = [(0.0, 0.0, 0.0), (3.0, 0.0, 0.0), (3.0, 1.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.0, 1.0, 1.0)]
    raw = ply_file(corners, [("float", "x"), ("float", "y"), ("float", "z")], form, faces=[[0, 1, 2, 3], [0, 3, 5], [0, 5, 4]])
    cloud = decode(raw, 4000)
    floor = np.abs(cloud[:, 5]) == 1
    assert cloud.shape == (4000, 6) and abs(floor.mean() - 0.75) < 0.03  # 3 of 4 square units
    assert (cloud[floor, 2] == 0).all() and (cloud[~floor, 0] == 0).all() and (np.abs(cloud[~floor, 3]) == 1).all()
    assert abs(cloud[floor, 0].mean() - 1.5) < 0.05 and abs(cloud[floor, 0].std() - 3 / 12**0.5) < 0.05


def test_colours_of_corners_are_interpolated_and_those_of_faces_kept() -> None:
    shades = [(0.0, 0.0, 0.0, 0), (1.0, 0.0, 0.0, 255), (0.0, 1.0, 0.0, 0)]
    properties = [("float", "x"), ("float", "y"), ("float", "z"), ("uchar", "red"), ("uchar", "green"), ("uchar", "blue")]
    cloud = decode(ply_file([(*s, 0, 51) for s in shades], properties, "ascii", faces=[[0, 1, 2]]), 500)
    assert np.allclose(cloud[:, 6], cloud[:, 0], atol=1e-6) and np.allclose(cloud[:, 8], 0.2)
    head = b"ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\nelement face 2\n"
    head += b"property list uchar int vertex_indices\nproperty uchar red\nproperty uchar green\nproperty uchar blue\nend_header\n"
    cloud = decode(head + SQUARE + b"3 0 1 2 255 0 0\n3 0 2 3 0 0 255\n", 500)
    assert np.array_equal(cloud[:, 6] == 1, cloud[:, 0] > cloud[:, 1]) and np.array_equal(cloud[:, 8], 1 - cloud[:, 6])


@pytest.mark.parametrize("form", FORMS)
def test_a_ply_that_ends_early_says_so(form: str) -> None:
    rows = [(float(k), 1.0, 2.0) for k in range(9)]
    axes = [("float", "x"), ("float", "y"), ("float", "z")]
    for raw in (ply_file(rows, axes, form)[:-7], ply_file(rows, axes, form, count=10), ply_file(rows, axes, form, count=10**18)):
        with pytest.raises(Unreadable, match="the file ends after"):
            decode(raw)
    with pytest.raises(Unreadable, match="the file ends within"):
        decode(ply_file(rows, axes, form, faces=[[0, 1, 2], [0, 1, 2, 3]])[: -2 if form == "ascii" else -1])


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\n", "the header has no end"),
        (b"ply\nelement vertex 1\nproperty float x\nend_header\n1\n", "names no format"),
        (b"ply\nformat ascii 1.0\nelement vertex many\nend_header\n", "'element vertex many'"),
        (b"ply\nformat ascii 1.0\nelement vertex -1\nend_header\n", "'element vertex -1'"),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float128 x\nend_header\n", "float128"),
        (b"ply\nformat zipped 1.0\nend_header\n", "zipped"),
        (b"ply\nformat ascii 1.0\nend_header\n", "no x y z"),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nend_header\n1 2\n", "no z"),
        (b"ply\nformat ascii 1.0\nelement vertex 0\nproperty float x\nproperty float y\nproperty float z\nend_header\n", "no points"),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\nproperty float z\nend_header\n1 two 3\n", "else than numbers"),
        (ply_file([(0.0, 0.0, 0.0)] * 3, [("float", "x"), ("float", "y"), ("float", "z")], "ascii", faces=[[0, 1, 3]]), "vertex 3 of 3"),
        (ply_file([(0.0, 0.0, 0.0)] * 3, [("float", "x"), ("float", "y"), ("float", "z")], "ascii", faces=[[0, 1, 2]]), "none of its 1 triangles has an area"),
    ],
)  # fmt: skip
def test_a_bad_ply_is_unreadable_with_the_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        decode(raw)


def test_a_list_of_negative_length_is_unreadable() -> None:
    raw = ply_file([(1.0, 2.0, 3.0, [5, 5])], [("float", "x"), ("float", "y"), ("float", "z"), ("char", "char", "l")], "binary_little_endian")
    with pytest.raises(Unreadable, match="a list of 'vertex' has -2 entries"):
        decode(raw[:-3] + b"\xfe\x05\x05")


def test_a_ply_whose_faces_are_none_is_its_vertices() -> None:
    axes = [("float", "x"), ("float", "y"), ("float", "z")]
    rows = [(float(k), 0.0, 1.0) for k in range(5)]
    for form in FORMS:
        assert np.array_equal(decode(ply_file(rows, axes, form, faces=[])), np.array(rows, np.float32))


# --- meshes -------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["off", "obj", "stl", "stl_ascii", "ply"])
def test_a_mesh_becomes_points_of_its_surface_with_normals(kind: str) -> None:
    cloud = decode(cube(kind), 6000)
    side = np.abs(cloud[:, :3]).argmax(1)
    rows = np.arange(len(cloud))
    assert np.allclose(np.abs(cloud[rows, side]), 1) and np.allclose(cloud[rows, 3 + side], cloud[rows, side])  # the normal points out of its side
    counts = np.bincount(2 * side + (cloud[rows, side] > 0), minlength=6)
    assert ((counts - 1000) ** 2 / 1000).sum() < 20.5  # chi-squared, 5 degrees of freedom, 1 in 1,000
    assert len(decode(cube(kind))) == meshes.SAMPLED


def test_a_mesh_gives_the_same_points_every_time_and_fewer_of_them_are_the_first_ones() -> None:
    assert np.array_equal(decode(cube("off"), 100), decode(cube("off"), 300)[:100])
    assert not np.array_equal(decode(cube("off"), 100), decode(cube("stl"), 100))


def test_headers_of_off_files_as_they_occur_in_modelnet_are_read() -> None:
    wanted = decode(b"OFF\n4 1 0\n" + SQUARE + b"4 0 1 2 3\n", 10)
    for raw in (b"OFF4 1 0\n" + SQUARE + b"4 0 1 2 3\n", b"OFF\r\n# note\r\n4 2 0\r\n" + SQUARE + b"3 0 1 2\r\n3 0 2 3 255 0 0\r\n"):
        assert decode(raw, 10).shape == wanted.shape and np.allclose(decode(raw, 10)[:, 2:5], 0)


def test_a_mesh_without_faces_is_its_vertices() -> None:
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
    assert np.array_equal(decode(b"OFF\n4 0 0\n" + SQUARE), corners)
    lines = b"".join(b"v " + line + b"\n" for line in SQUARE.splitlines())
    assert np.array_equal(decode(b"# only points\n" + lines), corners)
    coloured = decode(b"".join(b"v " + line + b" 0 0.5 1\n" for line in SQUARE.splitlines()))
    assert np.array_equal(coloured[:, :3], corners) and np.allclose(coloured[:, 6:], [0, 0.5, 1])


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"OFF\n0 0 0\n", "no points"),
        (b"OFF\n40 1 0\n" + SQUARE, "OFF: ValueError"),
        (b"OFF\n4 1 0\n" + SQUARE + b"3 0 1 9\n", "OFF: ValueError"),
        (b"OFF\n4 1 0\n0 0 0\n1 1 1\n2 2 2\n3 3 3\n3 0 1 2\n", "none of its 1 triangles has an area"),
        (b"o nothing\n", "no vertices"),
        (b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "OBJ"),
        (b"\0" * 84, "no points"),
        (b"solid x\nendsolid x\n", "no points"),
        (b"", "empty file"),
        (b"\x01\x02\0\0", "no point cloud or mesh of a known format"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
    ],
)
def test_a_bad_mesh_is_unreadable_with_the_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        decode(raw)


def test_a_mesh_with_some_corners_at_infinity_is_sampled_where_it_is_finite() -> None:
    raw = b"OFF\n5 2 0\n" + SQUARE + b"inf 0 0\n3 0 1 2\n3 0 1 4\n"
    assert np.isfinite(decode(raw, 50)).all() and len(decode(raw, 50)) == 50


# --- PCD ----------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["ascii", "binary", "binary_compressed"])
def test_a_pcd_is_read_with_its_packed_colours_and_labels(how: str) -> None:
    rng = np.random.default_rng(0)
    cloud, labels, colours = np.round(random_cloud(300), 1), rng.integers(0, 5, 300), rng.integers(0, 256, (300, 3))
    raw = pcd_file(how, cloud, labels, colours)
    found = decode(raw)
    assert np.allclose(found[:, :3], cloud, atol=1e-6) and np.allclose(found[:, 6:], colours / 255, atol=1e-6)
    assert np.array_equal(pcd.read(raw)["part"], labels)
    with pytest.raises(Unreadable, match="PCD|text"):
        decode(raw[: -len(raw) // 3])


@pytest.mark.parametrize("data", [b"a", b"abc" * 500, bytes(1000), bytes(range(256)) * 40, np.random.default_rng(0).bytes(5000)])
def test_what_was_packed_with_lzf_is_unpacked(data: bytes) -> None:
    small = np.frombuffer(packed(data), np.uint8)
    assert pcd.unpacked(small, len(data)).tobytes() == data
    with pytest.raises(Unreadable, match="damaged"):
        pcd.unpacked(small[:-1], len(data))
    with pytest.raises(Unreadable, match="damaged"):
        pcd.unpacked(small, len(data) + 1)


def test_damaged_lzf_never_writes_outside_its_output() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        out = np.zeros(64, np.uint8)
        assert -1 <= pcd.lzf(np.frombuffer(rng.bytes(40), np.uint8), out[:50]) <= 50
        assert not out[50:].any()


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        ("FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\n", "no line DATA"),
        ("FIELDS x y z\nSIZE 4 4\nTYPE F F F\nPOINTS 1\nDATA ascii\n0 0 0\n", "header is not understood"),
        ("FIELDS x y z\nSIZE 4 4 4\nTYPE F F Q\nPOINTS 1\nDATA ascii\n0 0 0\n", "header is not understood"),
        ("FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS 1\nDATA zipped\n", "data of the kind 'zipped'"),
        ("FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS 3\nDATA ascii\n0 0 0\n", "after 1 of the 3 points"),
        ("FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS 0\nDATA ascii\n", "no points"),
        ("FIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nPOINTS 0\nDATA binary\n", "no points"),
        ("FIELDS a b c\nSIZE 4 4 4\nTYPE F F F\nPOINTS 1\nDATA ascii\n0 0 0\n", "no coordinates x y z"),
    ],
)
def test_a_bad_pcd_is_unreadable_with_the_reason(head: str, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        decode(b"VERSION .7\n" + head.encode())


def test_points_that_a_camera_did_not_see_are_left_out() -> None:
    raw = b"VERSION .7\nFIELDS x y z\nSIZE 4 4 4\nTYPE F F F\nWIDTH 2\nHEIGHT 2\nDATA ascii\n0 0 1\nnan nan nan\n1 0 1\nnan nan nan\n"
    assert np.array_equal(decode(raw), [[0, 0, 1], [1, 0, 1]])


# --- text ---------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("separator", [" ", "  ", "\t", ",", ", ", ";"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_text_is_read_whatever_separates_the_numbers(separator: str, newline: str) -> None:
    cloud = random_cloud(20, 6)
    raw = newline.join(separator.join(f"{v:.9g}" for v in row) for row in cloud).encode()
    for given in (raw, raw + b"\n", b"\xef\xbb\xbf" + raw, b"# a note\n\n" + raw, b"20\n" + raw):
        assert np.allclose(decode(given), cloud, atol=1e-6)


@pytest.mark.parametrize("head", ["x y z red green blue nx ny nz", "//X Y Z R G B Nx Ny Nz", "# x,y,z,r,g,b,normal_x,normal_y,normal_z"])
def test_names_on_the_first_line_say_what_the_columns_are(head: str) -> None:
    cloud = random_cloud(20, 9)
    table = np.concatenate([cloud[:, :3], 255 * cloud[:, 6:], cloud[:, 3:6]], 1)
    raw = (head + "\n" + "\n".join(" ".join(f"{v:.9g}" for v in row) for row in table)).encode()
    assert np.allclose(decode(raw), cloud, atol=1e-5)


def test_columns_without_names_are_told_by_their_values() -> None:
    rng = np.random.default_rng(0)
    where, normals, colours, parts = random_cloud(50), random_cloud(50, 6)[:, 3:], rng.integers(0, 256, (50, 3)), rng.integers(0, 4, (50, 1))
    cases = [((where,), ""), ((where, normals), "n"), ((where, colours), "c"), ((where, colours / 255), "c"), ((where, normals, colours), "nc"),
             ((where, colours, normals), "nc"), ((where, normals, parts), "np"), ((where, rng.normal(size=(50, 1))), ""),
             ((where, rng.normal(size=(50, 3))), ""), ((where, np.zeros((50, 3))), ""), ((where, colours, parts), "cp")]  # fmt: skip
    for parts_of, wanted in cases:
        found = point_files.unnamed(np.concatenate(parts_of, 1))
        assert ("nx" in found, "red" in found, "part" in found) == ("n" in wanted, "c" in wanted, "p" in wanted), wanted
        if "red" in found:
            assert np.allclose(point_files.lightness(found["green"]), colours[:, 1] / 255)


def test_a_pts_file_has_a_count_and_an_intensity() -> None:
    raw = b"2\n1 2 3 -900 255 0 51\n4 5 6 12 0 0 0\n"
    assert np.allclose(decode(raw), [[1, 2, 3, 0, 0, 0, 1, 0, 0.2], [4, 5, 6, 0, 0, 0, 0, 0, 0]])


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"1 2\n3 4\n", "points are \\(points, 3\\)"),
        (b"1 2 3\n4 5\n", "text: "),
        (b"1 2 3\n4 five 6\n", "text: "),
        (b"once upon a time\n", "neither a point cloud .* 'once upon a time'"),
        (b"# nothing\n\n", "no line of numbers"),
        (b"train/1.png\n", "neither a point cloud"),
    ],
)
def test_bad_text_is_unreadable_with_the_reason(raw: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        decode(raw)


# --- LAS, NumPy ---------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".las", ".laz"])
@pytest.mark.parametrize(("form", "deep"), [(3, True), (3, False), (7, True), (1, False)])
def test_a_survey_is_read_and_moved_to_its_middle(tmp_path: Path, ending: str, form: int, deep: bool) -> None:
    laspy = pytest.importorskip("laspy")
    pytest.importorskip("lazrs")
    header = laspy.LasHeader(point_format=form, version="1.4")
    header.scales, header.offsets = [0.001] * 3, [4_500_000, 5_200_000, 0]
    file = laspy.LasData(header)
    where = np.random.default_rng(0).integers(0, 100_000, (40, 3)) / 1000
    file.x, file.y, file.z = (where + header.offsets).T
    file.classification = np.arange(40) % 5
    if form != 1:
        file.red, file.green, file.blue = np.arange(40) * (1000 if deep else 6), np.zeros(40), np.full(40, 65535 if deep else 255)
    file.write(tmp_path / f"a{ending}")
    raw = (tmp_path / f"a{ending}").read_bytes()
    cloud = decode(raw)
    assert np.allclose(cloud[:, :3], where - (where.min(0) + where.max(0)) / 2, atol=1e-5)  # float32 could not tell 4,500,000.001
    assert cloud.shape[1] == (3 if form == 1 else 9) and np.array_equal(las.read(raw)["part"], np.arange(40) % 5)
    if form != 1:
        assert np.allclose(cloud[:, 6], np.arange(40) * (1000 / 65535 if deep else 6 / 255), atol=1e-6) and (cloud[:, 8] == 1).all()
    if ending == ".las":  # against the numbers that lie in the file
        size, start = struct.unpack_from("<H", raw, 105)[0], struct.unpack_from("<I", raw, 96)[0]
        integers = np.array([struct.unpack_from("<3i", raw, start + k * size) for k in range(40)])
        assert np.array_equal(np.round(where * 1000).astype(int), integers)
    with pytest.raises(Unreadable, match="LAS"):
        decode(raw[: len(raw) - 30])


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", ["<f4", ">f8", "<f2", "<i4"])
def test_an_array_in_a_file_is_one_cloud(tmp_path: Path, order: str, kind: str) -> None:
    cloud = np.asarray(10 * random_cloud(), kind, order=order)
    np.save(tmp_path / "a.npy", cloud)
    assert np.allclose(decode((tmp_path / "a.npy").read_bytes()), cloud.astype(np.float32), atol=1e-6)


def test_arrays_with_names_are_read_by_name(tmp_path: Path) -> None:
    cloud = random_cloud(30, 9)
    table = np.array([tuple(row) for row in cloud], [(n, "f4") for n in ("X", "Y", "Z", "normal_x", "normal_y", "normal_z", "r", "g", "b")])
    np.save(tmp_path / "a.npy", table)
    assert np.allclose(decode((tmp_path / "a.npy").read_bytes()), cloud, atol=1e-6)
    np.savez(tmp_path / "b.npz", points=cloud[:, :3], normals=cloud[:, 3:6], colors=np.round(255 * cloud[:, 6:]).astype(np.uint8), part=np.arange(30))
    assert np.allclose(decode((tmp_path / "b.npz").read_bytes()), cloud, atol=1e-6)


def test_python_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"x": 1}], dtype=object))
    np.savez(tmp_path / "a.npz", points=np.array([{"x": 1}], dtype=object))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(Unreadable, match="(?i)object"):
            decode((tmp_path / name).read_bytes())


def test_bad_arrays_are_unreadable_with_the_reason(tmp_path: Path) -> None:
    for a, reason in ((np.zeros((4, 2)), "points are"), (np.zeros((2, 4, 3)), "many clouds"), (np.zeros(5), "points are"), (np.array(["a"] * 3), "points are"),
                      (np.full((4, 3), "a"), "no coordinates"), (np.zeros((0, 3)), "no points")):  # fmt: skip
        np.save(tmp_path / "a.npy", a)
        with pytest.raises(Unreadable, match=reason):
            decode((tmp_path / "a.npy").read_bytes())
    np.save(tmp_path / "a.npy", random_cloud())
    with pytest.raises(Unreadable, match="ends before"):
        decode((tmp_path / "a.npy").read_bytes()[:-5])
    np.savez(tmp_path / "b.npz", nothing=np.zeros(3))
    with pytest.raises(Unreadable, match="looked for under points"):
        decode((tmp_path / "b.npz").read_bytes())
    np.savez(tmp_path / "b.npz", points=np.zeros((5, 3)), normals=np.zeros((4, 3)))
    with pytest.raises(Unreadable, match="5 points and normals of shape"):
        decode((tmp_path / "b.npz").read_bytes())
    with pytest.raises(Unreadable):
        decode((tmp_path / "b.npz").read_bytes()[:-40])


# --- damage ---------------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ply", "ply_faces", "off", "obj", "stl", "stl_ascii", "pcd", "npy", "npz", "text", "las", "laz"])
def test_damaged_files_are_unreadable_and_raise_nothing_else(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(0)
    raw = sample(tmp_path, kind)
    assert len(decode(raw, 30)) == 30
    for _ in range(60):
        bad = bytearray(raw)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(len(bad))) if rng.random() < 0.5 else int(rng.integers(min(200, len(bad))))
            how = rng.integers(4)
            bad[at : at + 1 + rng.integers(8)] = [b"", rng.bytes(3), b"9-.", bytes(bad[at : at + 4])][how]
            bad = bad[: max(1, rng.integers(len(bad)))] if rng.random() < 0.1 else bad or bytearray(b"x")
        try:
            found = decode(bytes(bad), 30)
        except (Unreadable, OSError, MemoryError, RuntimeError):
            continue
        assert len(found) and np.isfinite(found).all()


def sample(tmp_path: Path, kind: str) -> bytes:
    """A small file of a kind."""
    cloud = random_cloud(40, 6)
    if kind in ("off", "obj", "stl", "stl_ascii"):
        return cube(kind)
    if kind == "ply_faces":
        axes = [("float", "x"), ("float", "y"), ("float", "z")]
        return ply_file(cloud[:, :3].tolist(), axes, "binary_big_endian", faces=[[0, 1, 2, 3], [0, 1, 2], [3, 4, 5]])
    if kind in ("npy", "npz"):
        np.save(tmp_path / "a.npy", cloud) if kind == "npy" else np.savez(tmp_path / "a.npz", points=cloud)
        return (tmp_path / f"a.{kind}").read_bytes()
    if kind in ("las", "laz"):
        laspy = pytest.importorskip("laspy")
        file = laspy.LasData(laspy.LasHeader(point_format=3, version="1.4"))
        file.x, file.y, file.z = cloud[:, :3].T.astype(np.float64)
        file.write(tmp_path / f"a.{kind}")
        return (tmp_path / f"a.{kind}").read_bytes()
    if kind == "text":
        return "\n".join(" ".join(f"{v:.3f}" for v in row) for row in cloud).encode()
    return xyz_ply(cloud) if kind == "ply" else pcd_file("binary_compressed", cloud[:, :3], np.arange(40), np.ones((40, 3)))
