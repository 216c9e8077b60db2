"""What tests share: few threads, small pictures, one real run."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny tensors: more threads only wait for each other

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    """Every test draws the same numbers, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three class folders of twelve 20 x 24 PNGs each: red discs, green stripes and blue checks at random places, with noise."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:20, :24]
    for k, name in enumerate(("discs", "stripes", "checks")):
        (folder / name).mkdir()
        for i in range(12):
            a, b = rng.uniform(5, 15, 2)
            shape = [(x - a) ** 2 + (y - b) ** 2 < 20, (x + a).astype(int) % 6 < 3, ((x + a).astype(int) // 4 + (y + b).astype(int) // 4) % 2 == 0][k]
            picture = rng.uniform(0, 90, (20, 24, 3))
            picture[..., k] += 150 * shape
            Image.fromarray(picture.astype(np.uint8)).save(folder / name / f"{i:02d}.png")
    return folder


@pytest.fixture(scope="session")
def tiny_run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that the real pretraining made in six steps: SimCLR, resnet_micro, 16 pixels. Not to be written to: copy it."""
    from manyviews.app.pretrain import pretrain

    out = tmp_path_factory.mktemp("runs") / "tiny"
    pretrain(pictures, "simclr", "resnet_micro", out, steps=6, batch=16, size=16, precision="32-true", hidden=32, quiet=True)
    return out


@pytest.fixture(scope="session")
def pair() -> Iterator[object]:
    """Two processes joined by gloo, started once: `pair(function, *arguments)` runs it on both and gives both results."""
    from gloo_pair import Pair

    both = Pair()
    yield both
    both.close()
