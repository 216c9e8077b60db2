"""Label maps beside samples: which file is whose, and the names of the labels.

imagesTr/scan.nii.gz       labelsTr/scan.nii.gz          as in the Medical Segmentation Decathlon
train/images/1.jpg         train/labels/1.png            also masks, annotations, segmentations, instances; trainannot beside train
JPEGImages/1.jpg           SegmentationClass/1.png       as in PASCAL VOC
scan.nii.gz                scan_seg.nii.gz               also _label, _mask, _segmentation, _gt, with - for _
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

SPLIT = "tr|ts|val|train|test"
KIND = "images?|imgs?|jpegimages|labels?|masks?|segmentations?|segmentation(?:class|object)|annotations?|annots?|instances?"
FOLDER = re.compile(rf"(?:(?P<before>{SPLIT})_?)?(?P<kind>{KIND})(?:_?(?P<behind>{SPLIT}))?", re.IGNORECASE)
ENDING = re.compile(r"[_-](labels?|seg|segmentation|mask|gt)$", re.IGNORECASE)
PARTS = {"tr": "train", "ts": "test"}
SAMPLES = ("image", "img", "jpegimage")  # how folders of samples begin


def maps_in(folder: str) -> bool:
    """Whether a folder of that name holds label maps, where maps and samples have folders of their own."""
    found = FOLDER.fullmatch(folder)
    return bool(found) and not found["kind"].lower().startswith(SAMPLES)  # type: ignore[index]


def split_in(folder: str) -> str:
    """The split that the name of a folder of samples or of maps says, "" for none; other folders as they are."""
    found = FOLDER.fullmatch(folder)
    if not found:
        return folder
    name = found["before"] or found["behind"] or ""
    return PARTS.get(name.lower(), name)


def paired(paths: list[bytes], suffixes: Sequence[str], of_maps: Sequence[str] = ()) -> tuple[list[bytes], dict[int, bytes], list[bytes]]:
    """The samples among files, the label maps of some of them (row -> path), and the samples' paths as if split and class folders alone were there.

    suffixes: of all files; of_maps: those that a label map may have, if not all.
    """
    longest = sorted(suffixes, key=len, reverse=True)
    samples, maps = [], dict[tuple[str, str], bytes]()
    for path in paths:
        *folders, name = os.fsdecode(path).split("/")
        ending = next(s for s in longest if name.lower().endswith(s))
        stem = name[: -len(ending)]
        place = [*filter(None, map(split_in, folders))]
        key = ("/".join(place), ENDING.sub("", stem))
        if (ENDING.search(stem) or any(map(maps_in, folders))) and (not of_maps or ending in of_maps):
            maps.setdefault(key, path)
        else:
            samples.append((path, key, os.fsencode("/".join([*place, name]))))
    found = [maps.get(key) or maps.get((key[0], key[1].rpartition("_")[0])) for _, key, _ in samples]  # of one of its channels: scan_0000, scan_t1
    if not any(found):  # names that only look like it
        return paths, {}, paths
    return [path for path, *_ in samples], {i: m for i, m in enumerate(found) if m}, [place for *_, place in samples]


def described(path: Path) -> tuple[list[str], list[str]]:
    """What dataset.json of the Medical Segmentation Decathlon or nnU-Net says: the kind of scan in each channel, and the names of the labels 0, 1 ..."""
    root = path if path.is_dir() else path.absolute().parent
    try:
        told = json.loads(((root.parent if FOLDER.fullmatch(root.name) else root) / "dataset.json").read_text(encoding="utf-8"))
        kinds, labels = told.get("modality") or told.get("channel_names") or {}, told.get("labels") or {}
        numbers = {int(k): str(name) for k, name in (labels.items() if all(str(k).isdigit() for k in labels) else ((n, k) for k, n in labels.items()))}
        return [str(kind) for kind in kinds.values()], [numbers.get(i, str(i)) for i in range(max(numbers, default=-1) + 1)]
    except (OSError, ValueError, TypeError, AttributeError):  # none, or another kind of dataset.json
        return [], []
