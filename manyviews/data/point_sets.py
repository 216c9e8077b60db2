"""Published sets of point clouds, in the layouts that their authors give out: NAME:FOLDER, or the folder itself where it is recognised.

modelnet      ModelNet40 and ModelNet10: 12,311 and 4,899 CAD models. Wu et al., "3D ShapeNets", CVPR 2015, arXiv:1406.5670. The .off files
              (ModelNet40/airplane/train/airplane_0001.off), modelnet40_ply_hdf5_2048 (Qi et al., PointNet, arXiv:1612.00593), or
              modelnet40_normal_resampled (10,000 points with normals as text; Qi et al., PointNet++, arXiv:1706.02413; its lists of ModelNet10 too).
scanobjectnn  2,902 scanned objects of 15 classes. Uy et al., "Revisiting Point Cloud Classification", ICCV 2019, arXiv:1908.04616. h5_files with the
              variants OBJ_BG (main_split), OBJ_ONLY (main_split_nobg) and PB_T50_RS, the hardest and the one that papers report, which is taken where
              the folder has several; a training file by its name takes that one and its test file.
shapenetpart  16,881 shapes of 16 categories with 50 parts. Yi et al., "A Scalable Active Framework for Region Annotation in 3D Shape Collections",
              SIGGRAPH Asia 2016. shapenetcore_partanno_segmentation_benchmark_v0_normal (text), or hdf5_data. `points.with_parts` gives the parts.
shapenet      52,470 shapes of ShapeNetCore's 55 categories. Chang et al., arXiv:1512.03012. Files SYNSET-ID.npy, as Point-BERT (arXiv:2111.14819) gives
              them out, and of ShapeSplat SYNSET-ID.ply, with train.txt and test.txt beside them or in ShapeNet-55.

Departs from the papers in nothing known; it reads what is published and fetches nothing. Classes are numbered as published.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from manyviews.data import clouds, folder, point_arrays
from manyviews.data.dataset import Store
from manyviews.data.labels import label_column, split_column, text
from manyviews.errors import InputError

Found = tuple[Store, dict[str, np.ndarray], list[str]]
SCANOBJECTNN = ["bag", "bin", "box", "cabinet", "chair", "desk", "display", "door", "shelf", "table", "bed", "pillow", "sink", "sofa", "toilet"]
VARIANTS = {"PB_T50_RS": ("main_split", "_augmentedrot_scale75"), "OBJ_BG": ("main_split", ""), "OBJ_ONLY": ("main_split_nobg", "")}
SYNSETS = {  # of ShapeNetCore: its folders are named by numbers of WordNet
    "02691156": "airplane", "02747177": "trash bin", "02773838": "bag", "02801938": "basket", "02808440": "bathtub", "02818832": "bed", "02828884": "bench",
    "02834778": "bicycle", "02843684": "birdhouse", "02858304": "boat", "02871439": "bookshelf", "02876657": "bottle", "02880940": "bowl", "02924116": "bus",
    "02933112": "cabinet", "02942699": "camera", "02946921": "can", "02954340": "cap", "02958343": "car", "02992529": "cellphone", "03001627": "chair",
    "03046257": "clock", "03085013": "keyboard", "03207941": "dishwasher", "03211117": "display", "03261776": "earphone", "03325088": "faucet",
    "03337140": "file cabinet", "03467517": "guitar", "03513137": "helmet", "03593526": "jar", "03624134": "knife", "03636649": "lamp", "03642806": "laptop",
    "03691459": "loudspeaker", "03710193": "mailbox", "03759954": "microphone", "03761084": "microwave", "03790512": "motorbike", "03797390": "mug",
    "03928116": "piano", "03938244": "pillow", "03948459": "pistol", "03991062": "flowerpot", "04004475": "printer", "04074963": "remote", "04090263": "rifle",
    "04099429": "rocket", "04225987": "skateboard", "04256520": "sofa", "04330267": "stove", "04379243": "table", "04401088": "telephone", "04460130": "tower",
    "04468005": "train", "04530566": "watercraft", "04554684": "washer",
}  # fmt: skip


def words(path: Path, column: int = 0) -> list[str]:
    """One word of each line that has any. Raises InputError."""
    try:
        return [line.split()[column] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError, IndexError) as error:
        raise InputError(f"{text(str(path))} cannot be read: {error}") from None


def named_files(root: Path, names: list[str], what: str) -> clouds.LargeFiles:
    return clouds.LargeFiles(root, folder.column(map(os.fsencode, names)), what)


# --- ModelNet -----------------------------------------------------------------------------------------------------------------------------------


def is_modelnet(path: Path) -> bool:
    """Whether a folder holds ModelNet as HDF5 or as text. The .off files need no reader of their own: their folders are class/split."""
    lists = any((path / f"modelnet{n}_train.txt").is_file() for n in (40, 10))
    return lists or ((path / "ply_data_train0.h5").is_file() and not (path / "all_object_categories.txt").is_file())


def modelnet(path: Path) -> Found:
    """ModelNet40, or ModelNet10. Raises InputError."""
    what = f"ModelNet in {text(str(path))}"
    files = sorted(path.glob("ply_data_*.h5"))
    if files:
        names = words(path / "shape_names.txt") if (path / "shape_names.txt").is_file() else []
        return point_arrays.from_h5(files, f"{what}, {len(files)} .h5 files", names)
    for n in (40, 10):
        lists = {split: path / f"modelnet{n}_{split}.txt" for split in ("train", "test")}
        if lists["train"].is_file():
            return resampled(path, n, {split: words(file) for split, file in lists.items() if file.is_file()}, f"{what}, resampled")
    found = clouds.files_below(path, (".off",))
    if found is None:
        raise InputError(f"modelnet:{text(str(path))}: no .off files, no ply_data_*.h5, no modelnet40_train.txt")
    return clouds.LargeFiles(path, found[0].paths, what), found[1], found[2]


def resampled(path: Path, n: int, lists: dict[str, list[str]], what: str) -> Found:
    """The text files that the lists name: airplane_0001 is airplane/airplane_0001.txt."""
    kinds = {split: [name.rpartition("_")[0] for name in names] for split, names in lists.items()}
    every = [f"{kind}/{name}.txt" for split, names in lists.items() for kind, name in zip(kinds[split], names, strict=True)]
    names = path / f"modelnet{n}_shape_names.txt"
    classes = words(names) if names.is_file() else sorted({kind for of_split in kinds.values() for kind in of_split})
    number = {kind: k for k, kind in enumerate(classes)}
    columns = {"label": np.array([number.get(kind, -1) for of_split in kinds.values() for kind in of_split])}
    columns |= split_column([split for split, names in lists.items() for _ in names])
    return named_files(path, every, what), columns, classes


# --- ScanObjectNN -------------------------------------------------------------------------------------------------------------------------------


def is_scanobjectnn(path: Path) -> bool:
    return bool(training_files(path))


def training_files(path: Path) -> list[Path]:
    """The training files of a folder, its h5_files, or their main_split and main_split_nobg."""
    places = [top / name for top in (path, path / "h5_files") for name in ("", "main_split", "main_split_nobg")]
    return [file for place in places for file in sorted(place.glob("training_objectdataset*.h5"))]


def scanobjectnn(path: Path, variant: str | None = None) -> Found:
    """One variant of ScanObjectNN: the one asked for, that of a file, or the first of `VARIANTS` that is there. Raises InputError."""
    if variant is not None and variant not in VARIANTS:
        raise InputError(f"scanobjectnn: variant {variant!r}; there are {', '.join(VARIANTS)}")
    if path.is_file():
        name, train = next((known for known in VARIANTS if of_variant(path, known)), path.stem), path
    else:
        found = training_files(path)
        wanted = [(name, file) for name in ([variant] if variant else VARIANTS) for file in found if of_variant(file, name)]
        if not wanted:
            there = ", ".join(f"{file.parent.name}/{file.name}" for file in found) or "nothing"
            raise InputError(f"scanobjectnn:{text(str(path))}: no files of {variant or ' or '.join(VARIANTS)}; found {there}")
        name, train = wanted[0]
    test = train.with_name(train.name.replace("training_", "test_"))
    files = [file for file in dict.fromkeys((train, test)) if file.is_file()]
    missing = "" if len(files) > 1 else f", without {test.name}"
    return point_arrays.from_h5(files, f"ScanObjectNN, {name}, in {text(str(path))}{missing}", SCANOBJECTNN, ("mask",))


def of_variant(file: Path, name: str) -> bool:
    place, ending = VARIANTS[name]
    return file.stem == f"training_objectdataset{ending}" and (
        file.parent.name == place or (not file.parent.name.startswith("main_split") and place == "main_split")
    )


# --- ShapeNet -----------------------------------------------------------------------------------------------------------------------------------


def is_shapenetpart(path: Path) -> bool:
    return (path / "synsetoffset2category.txt").is_file() or ((path / "all_object_categories.txt").is_file() and any(path.glob("*train*.h5")))


def shapenetpart(path: Path) -> Found:
    """The shapes with their category as label; `points.with_parts` reads the parts of their points. Raises InputError."""
    what = f"ShapeNetPart in {text(str(path))}"
    files = sorted(path.glob("*.h5"))
    if files:
        return point_arrays.from_h5(files, f"{what}, {len(files)} .h5 files", words(path / "all_object_categories.txt"))
    table = path / "synsetoffset2category.txt"
    number = {synset: k for k, synset in enumerate(words(table, 1))}
    names, splits = [], []
    for split in ("train", "val", "test"):
        file = path / "train_test_split" / f"shuffled_{split}_file_list.json"
        try:
            every = json.loads(file.read_bytes()) if file.is_file() else []
            own = ["/".join(name.split("/")[-2:]) + ".txt" for name in every]
        except (OSError, ValueError, AttributeError) as error:
            raise InputError(f"{text(str(file))} is no list of names: {error}") from None
        names += own
        splits += [split] * len(own)
    if not names:
        raise InputError(f"{what} has no train_test_split/shuffled_train_file_list.json, which says what is for training")
    columns = {"label": np.array([number.get(name.split("/")[0], -1) for name in names])} | split_column(splits)
    return named_files(path, names, what), columns, words(table)


def is_shapenet(path: Path) -> bool:
    """Whether the first file of a folder, or of a folder in it, is named SYNSET-ID.npy."""
    return shapes_in(path, ".npy") is not None


def shapenet(path: Path, ending: str = ".npy") -> Found:
    """Files named SYNSET-ID, labelled by synset, split by train.txt and test.txt where there are such lists. Raises InputError."""
    place = shapes_in(path, ending)
    if place is None:
        raise InputError(f"shapenet:{text(str(path))}: no files named like 02691156-1a04e3eab45ca15dd86060f189eb133{ending}")
    here = [name.decode() for part in folder.walk(place, (ending,)) for name in part.to_pylist() if b"/" not in name]
    columns, classes = label_column([SYNSETS.get(name[:8], name[:8]) for name in here])
    lists = [beside for beside in (path, path / "ShapeNet-55", path / "shapenet_split", path.parent / "ShapeNet-55") if (beside / "train.txt").is_file()]
    if lists:
        named = {split: {Path(name).stem for name in words(lists[0] / f"{split}.txt")} for split in ("train", "test") if (lists[0] / f"{split}.txt").is_file()}
        columns |= split_column([next((split for split, stems in named.items() if Path(name).stem in stems), "") for name in here])
    return named_files(place, here, f"ShapeNet in {text(str(path))}"), columns, classes


def shapes_in(path: Path, ending: str) -> Path | None:
    """The folder of the shapes: this one, or the first in it that has any."""
    try:
        with os.scandir(path) as entries:
            below = sorted(entry.path for entry, _ in zip(entries, range(1000), strict=False) if entry.is_dir())
        for place in map(Path, [str(path), *below]):
            with os.scandir(place) as entries:
                first = next((entry.name for entry in entries if entry.name.endswith(ending)), "")
            if re.match(r"\d{8}-[0-9a-zA-Z-]+\.", first):
                return place
    except OSError:
        pass
    return None


PUBLISHED: dict[str, tuple[Callable[[Path], bool], Callable[[Path], Found]]] = {  # is it that, and its reader
    "modelnet": (is_modelnet, modelnet),
    "scanobjectnn": (is_scanobjectnn, scanobjectnn),
    "shapenetpart": (is_shapenetpart, shapenetpart),
    "shapenet": (is_shapenet, shapenet),
}
