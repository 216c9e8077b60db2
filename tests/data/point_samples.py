"""Small files of points and meshes, written by hand."""

import struct
from pathlib import Path

import numpy as np

from manyviews.data import ply

CODES = {"char": "b", "uchar": "B", "short": "h", "ushort": "H", "int": "i", "uint": "I", "float": "f", "double": "d"}


def ply_file(records: list, properties: list[tuple], form: str, newline: str = "\n", faces: list | None = None, count: int | None = None) -> bytes:
    """A slow writer. properties: (type, name), or (type of the length, type, name); faces: lists of corners."""
    parts = [("vertex", records, properties)] + ([("face", [(f,) for f in faces], [("uchar", "int", "vertex_indices")])] if faces is not None else [])
    head, body = ["ply", f"format {form} 1.0", "comment made by hand"], b""
    for name, rows, kinds in parts:
        head.append(f"element {name} {len(rows) if count is None or name == 'face' else count}")
        head += [f"property {'list ' * (len(kind) == 3)}{' '.join(kind)}" for kind in kinds]
        for row in rows:
            words: list[str] = []
            for kind, value in zip(kinds, row, strict=True):
                numbers = ([(kind[0], len(value))] + [(kind[1], v) for v in value]) if len(kind) == 3 else [(kind[0], value)]
                words += [repr(v) for _, v in numbers]
                if form != "ascii":
                    body += b"".join(struct.pack((">" if "big" in form else "<") + CODES[t], v) for t, v in numbers)
            if form == "ascii":
                body += (" ".join(words) + newline).encode()
    return newline.join([*head, "obj_info more", "end_header", ""]).encode() + body


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def random_cloud(count: int = 50, columns: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    cloud = rng.normal(size=(count, columns)).astype(np.float32)
    if columns > 3:
        cloud[:, 3:6] /= np.linalg.norm(cloud[:, 3:6], axis=1, keepdims=True)
    if columns > 6:
        cloud[:, 6:] = rng.integers(0, 256, (count, columns - 6)) / 255
    return cloud


def xyz_ply(cloud: np.ndarray) -> bytes:
    names = ["x", "y", "z", "nx", "ny", "nz", "red", "green", "blue"]
    return ply.written({name: np.ascontiguousarray(column) for name, column in zip(names, cloud.T, strict=False)})


def cube(kind: str) -> bytes:
    import trimesh

    made = trimesh.creation.box(extents=(2, 2, 2)).export(file_type=kind)
    return made.encode() if isinstance(made, str) else made


def packed(data: bytes) -> bytes:
    """LZF, as greedy as can be."""
    out, literals, i, seen = bytearray(), bytearray(), 0, {}

    def flush() -> None:
        while literals:
            part = literals[:32]
            out.extend([len(part) - 1, *part])
            del literals[:32]

    while i < len(data):
        back = i - seen.get(data[i : i + 3], -(1 << 20)) - 1
        size = 0
        while back < 8192 and size < 264 and i + size < len(data) and data[i + size] == data[i + size - back - 1]:
            size += 1
        seen[data[i : i + 3]] = i
        if size >= 3:
            flush()
            out.extend([(size - 2) << 5 | back >> 8] if size < 9 else [7 << 5 | back >> 8, size - 9])
            out.append(back & 255)
            i += size
        else:
            literals.append(data[i])
            i += 1
    flush()
    return bytes(out)


def pcd_file(how: str, cloud: np.ndarray, labels: np.ndarray, colours: np.ndarray) -> bytes:
    count = len(cloud)
    bits = (colours.astype(np.uint32) << [16, 8, 0]).sum(1).astype(np.uint32)
    table = np.empty(count, [("x", "<f4"), ("_", "u1", 4), ("rgb", "<u4"), ("y", "<f4"), ("z", "<f4"), ("label", "<u2")])
    table["x"], table["y"], table["z"], table["rgb"], table["label"], table["_"] = *cloud.T, bits, labels, 9
    head = "# .PCD v.7\nVERSION .7\nFIELDS x _ rgb y z label\nSIZE 4 1 4 4 4 2\nTYPE F U F F F U\nCOUNT 1 4 1 1 1 1\n"
    head += f"WIDTH {count}\nHEIGHT 1\nVIEWPOINT 0 0 0 1 0 0 0\nPOINTS {count}\nDATA {how}\n"
    if how == "ascii":
        lines = [f"{r['x']!s} 9 9 9 9 {r['rgb'].view(np.float32):.9g} {r['y']!s} {r['z']!s} {r['label']}" for r in table]
        return head.encode() + "\n".join(lines).encode()
    if how == "binary":
        return head.encode() + table.tobytes()
    fields = b"".join(np.ascontiguousarray(table[name]).tobytes() for name in table.dtype.names)
    small = packed(fields)
    return head.encode() + struct.pack("<II", len(small), len(fields)) + small
