"""`make new NAME=my_method [FOLDER=contrast]`: a method file that runs and its test, as a starting point."""

from __future__ import annotations

import argparse
import keyword
import re
import sys
from pathlib import Path

from manyviews.app.catalogue import PACKAGE, methods, squashed
from manyviews.errors import InputError

MECHANISMS = ("contrast", "cluster", "distill", "mask", "predict", "align", "equivary")  # the folders of methods/

METHOD = '''"""{title}: two views of a sample agree, and every dimension of the embedding keeps its spread.

Names, "Title", venue and year, arXiv:0000.00000.
Departs from the paper in that there is none yet: this is the smallest method that learns. Replace the sentence, the citation and the loss by your
paper's, keep the shapes, and end the line of each equation with its number.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from manyviews.contracts import Encoder, Method, Recipe, Terms, View
from manyviews.nn.distributed import gather
from manyviews.nn.mlp import mlp


class {definition}(Method):
    """Encoder and projector, the same for both views. hidden, out: widths of the projector. spread: weight of the second term."""

    recipe = Recipe(views="simclr", optimizer="adamw", lr=1e-3, weight_decay=0.05)

    def __init__(self, encoder: Encoder, hidden: int = 512, out: int = 128, spread: float = 1.0):
        super().__init__()
        self.encoder = encoder
        self.projector = mlp(encoder.dim, hidden, out)
        self.spread = spread

    def loss(self, v: View, w: View) -> Terms:
        zv, zw = self.projector(self.encoder(v)), self.projector(self.encoder(w))
        return {{"agree": agreement(zv, zw), "spread": self.spread * (narrowness(zv) + narrowness(zw)) / 2}}


def agreement(zv: Float[Tensor, "batch dim"], zw: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
    """The mean squared distance between the two views' embeddings."""
    return F.mse_loss(zv.float(), zw.float())


def narrowness(z: Float[Tensor, "batch dim"]) -> Float[Tensor, ""]:
    """How far each dimension's standard deviation, over the rows of all ranks, is below 1."""
    return torch.relu(1 - (gather(z.float()).var(0) + 1e-4).sqrt()).mean()
'''

TEST = """import math

import torch

from manyviews.backbones.building import build_encoder
from manyviews.contracts import View
from {module} import {definition}, agreement, narrowness


def views(batch=6):
    x = torch.rand(2, batch, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return [View(half, torch.arange(batch)) for half in x]


def embeddings(batch=6, dim=5):
    return torch.randn(2, batch, dim, generator=torch.Generator().manual_seed(1))


def test_{name}_equals_the_loop_written_from_the_paper():
    za, zb = embeddings()
    squares = [(float(za[i, d]) - float(zb[i, d])) ** 2 for i in range(6) for d in range(5)]
    assert math.isclose(float(agreement(za, zb)), sum(squares) / len(squares), rel_tol=1e-5)
    total = 0.0
    for d in range(5):
        column = [float(z) for z in za[:, d]]
        mean = sum(column) / 6
        deviation = math.sqrt(sum((z - mean) ** 2 for z in column) / 5 + 1e-4)
        total += max(0.0, 1 - deviation)
    assert math.isclose(float(narrowness(za)), total / 5, rel_tol=1e-4)


def test_{name}_does_not_depend_on_which_view_is_which():
    torch.manual_seed(0)
    method = {definition}(build_encoder("resnet_micro", seed=0), hidden=16, out=8)
    v, w = views()
    there, back = method.loss(v, w), method.loss(w, v)
    assert all(torch.allclose(there[name], back[name], atol=1e-5) for name in there)


def test_{name}_is_worst_when_all_embeddings_are_the_same():
    assert float(narrowness(torch.ones(4, 3))) > 0.98
    assert float(narrowness(10 * embeddings()[0])) == 0.0


def test_{name}_gives_every_parameter_a_gradient():
    torch.manual_seed(0)
    method = {definition}(build_encoder("resnet_micro", seed=0), hidden=16, out=8)
    sum(method.loss(*views()).values()).backward()
    assert not [name for name, p in method.named_parameters() if p.grad is None]
"""


def new(name: str, folder: str = "contrast", root: Path = PACKAGE.parent) -> tuple[Path, Path]:
    """Write manyviews/methods/FOLDER/NAME.py and tests/methods/test_NAME.py below `root`; their paths. Raises InputError, and then writes nothing."""
    package = root / "manyviews"
    file, test = package / "methods" / folder / f"{name}.py", root / "tests" / "methods" / f"test_{name}.py"
    problems = []
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name) or keyword.iskeyword(name):
        problems.append(f"{name!r} is no name for a method: take the published name in snake_case, such as moco_v2")
    if folder not in MECHANISMS:
        problems.append(f"no folder methods/{folder}; there are {', '.join(MECHANISMS)}: take the mechanism that the method learns by")
    taken = {squashed(alias): e.path for e in methods().values() for alias in (e.name, e.definition, Path(e.path).stem)}
    if squashed(name) in taken:
        problems.append(f"{name} is there already: manyviews/{taken[squashed(name)]}")
    problems += [f"{path} is there already" for path in (file, test) if path.exists()]
    if problems:
        raise InputError(*problems)
    words: dict[str, str] = {"name": name, "title": name.replace("_", " ").capitalize(), "definition": "".join(word.capitalize() for word in name.split("_"))}
    words["module"] = f"manyviews.methods.{folder}.{name}"
    for path, text in ((file, METHOD), (test, TEST)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(**words), encoding="utf-8")
    if not (file.parent / "__init__.py").exists():
        (file.parent / "__init__.py").touch()
    return file, test


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make new", description="A method file that runs and its test.", usage="make new NAME=my_method [FOLDER=contrast]")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("folder", metavar="FOLDER", nargs="?", default="contrast")
    args = parser.parse_args(argv)
    try:
        file, test = new(args.name, args.folder)
    except InputError as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return 2
    print(f"{file}\n{test}\nboth run as they are: pytest {test}; then `manyviews pretrain builtin --method {args.name}`, and `make catalogue`")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
