"""What there is: methods, objectives, encoders and groups, read from the source without importing it.

A method is a class derived from `Method` in methods/*/NAME.py; an objective is a function in objectives/NAME.py that joint_embedding runs, under its
own name or under the published one it gives as NAME. Published systems elsewhere (views/, data/, train/, ...) are files whose
docstring cites a paper and says where they depart from it. There is no registry: the files are the list.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import difflib
import functools
import re
from pathlib import Path

from manyviews.app.evidence.files import claim_of
from manyviews.app.settings import parse_settings as parse_settings
from manyviews.app.source import arguments, assigned, call_of, comments, constant, defaults, literal, meanings, parse, types
from manyviews.data.kinds import MODALITIES
from manyviews.errors import InputError

PACKAGE = Path(__file__).resolve().parent.parent
FILLED = ("self", "encoder", "samples", "classes", "columns", "objective")  # what the engine fills in
WORDS = {  # what the common hyperparameters mean, where a file does not say it better
    "hidden": "width of the hidden layers of projector and predictor; None: the encoder's",
    "out": "width of the embeddings that are compared",
    "layers": "linear layers of the projector",
    "norm": "batch normalisation between the projector's layers",
    "last_norm": "batch normalisation of the projector's output",
    "last_bias": "whether the projector's last layer has a bias",
    "last_shift": "whether the last normalisation learns a shift",
    "last_affine": "whether the last normalisation learns scale and shift",
    "temperature": "what similarities are divided by before the softmax; above 0",
    "decay": "of the slow copy, per step: 0 copies, 1 never moves",
    "queue": "how many past keys are kept",
    "ratio": "share of the tokens that is hidden, 0..1",
    "smoothing": "of the labels, 0..1",
    "prototypes": "how many directions embeddings are assigned to",
    "bottleneck": "width of the narrow layer: the predictor's, or that of the space in which the prototypes are",
    "student_temperature": "what the student's logits are divided by; above 0",
    "teacher_temperature": "what the teacher's logits are divided by, in the end; above 0",
    "start_temperature": "the teacher's temperature at the beginning",
    "temperature_warmup": "share of the training in which the teacher's temperature changes",
    "centre_decay": "of the running mean of the teacher's logits, per step: 0 takes the newest, 1 never moves",
    "freeze": "share of the training in which the prototypes hold still",
    "whole_weight": "of the term on whole samples",
    "parts_weight": "of the term on parts",
    "mask_ratio": "share of the parts that is hidden, 0..1",
    "mask_spread": "how far that share varies from sample to sample, up and down",
    "dim": "width of the decoder",
    "depth": "blocks of the decoder",
    "heads": "attention heads of the decoder",
    "norm_pix_loss": "whether each part's content is normalised by its own mean and deviation before it is compared",
    "epsilon": "entropy of the balanced assignments: the smaller, the harder they are",
    "iterations": "rounds of balancing (Sinkhorn-Knopp)",
    "invariance": "weight of the squared distance of the two embeddings",
    "variance": "weight of the hinge that keeps every dimension's deviation above 1",
    "head": "what stands between the encoder and the objective in training: mlp, linear, none, or reweight (fixed)",
    "kappa": "of head=reweight, which scales dimension i by kappa ** -i; 1 changes nothing",
    "covariance": "weight of the squared covariances of different dimensions",
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """A published system, as its file tells it."""

    name: str
    kind: str  # "method" or "objective"
    path: str  # below the package
    definition: str  # the class or function
    doc: str
    parameters: dict[str, str]  # hyperparameter -> default, as source text
    types: dict[str, str] = dataclasses.field(default_factory=dict)  # hyperparameter -> annotation, where there is one
    meanings: dict[str, str] = dataclasses.field(default_factory=dict)  # hyperparameter -> what its file says about it
    recipe: dict[str, str] = dataclasses.field(default_factory=dict)  # what it changes of `contracts.Recipe`, as source text
    views: dict[str, str] = dataclasses.field(default_factory=dict)  # role -> View, or list[View]
    given: tuple[str, ...] = ()  # what samples must come with: label, ...

    @property
    def module(self) -> str:
        return "manyviews." + self.path.removesuffix(".py").replace("/", ".")

    def defaults(self) -> dict[str, object]:
        """The hyperparameters' defaults as values; as source text where that is no literal."""
        values: dict[str, object] = {}
        for name, text in self.parameters.items():
            try:
                values[name] = literal(text)
            except ValueError:
                values[name] = text
        return values

    @property
    def sentence(self) -> str:
        return " ".join(self.doc.split("\n\n")[0].split())

    @property
    def citation(self) -> str:
        parts = self.doc.split("\n\n")
        return " ".join(parts[1].split("Departs from")[0].split()) if len(parts) > 1 else ""

    @property
    def arxiv(self) -> str:
        """The first arXiv id of the citation, or nothing."""
        found = re.search(r"arXiv:(\d{4}\.\d{4,5})", self.citation)
        return found.group(1) if found else ""

    @property
    def departures(self) -> str:
        return " ".join(self.doc[self.doc.find("Departs from") :].split()) if "Departs from" in self.doc else ""

    @property
    def tests(self) -> list[Path]:
        """Its test files; none where only the package is installed."""
        return sorted(PACKAGE.parent.glob(f"tests/**/test_{Path(self.path).stem}.py"))

    @property
    def claim(self) -> Path | None:
        """What was measured of its paper's claim, or the claim itself, or None."""
        stems = (self.name, Path(self.path).stem, claim_of(self.name) or self.name)
        files = [PACKAGE.parent / "claims" / where for stem in stems for where in (f"results/{stem}.json", f"{stem}.py")]
        return next((file for file in files if file.is_file()), None)


@dataclasses.dataclass(frozen=True)
class Described:
    """A small encoder or a group: a name and what its docstring says."""

    name: str
    doc: str
    path: str
    takes: str = "images"  # of an encoder: the modality

    @property
    def sentence(self) -> str:
        return " ".join(self.doc.split("\n\n")[0].split())


def read(path: Path) -> Entry | None:
    """The entry of one file; None for a file that is no system (joint_embedding, __init__)."""
    tree = parse(path)
    doc, where, source = ast.get_docstring(tree) or "", path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8")
    if path.parent.name == "objectives":
        function = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == path.stem), None)
        if function is None:
            return None
        layout, layout_types = frame()
        projector = {name: repr(value) for name, value in (constant(tree, "PROJECTOR") or {}).items()}  # type: ignore[attr-defined]
        own = {**hyperparameters(function), **layout, **projector}
        needs = tuple(a.arg for a, value in arguments(function)[2:] if value is None)
        said, recipe = meanings([*own], [function], source), call_of(assigned(tree.body, "RECIPE"))
        name = str(constant(tree, "NAME") or path.stem)
        views = {"v": "View", "w": "View"}
        return Entry(name, "objective", where, path.stem, doc, own, {**layout_types, **types(function)}, said, recipe, views, needs)
    if path.stem == "joint_embedding":
        return None
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any(ast.unparse(b).split(".")[-1] == "Method" for b in node.bases):
            functions = {n.name: n for n in node.body if isinstance(n, ast.FunctionDef)}
            init = functions.get("__init__")
            own, kinds = (hyperparameters(init), types(init)) if init else ({}, {})
            views = types(functions["loss"]) if "loss" in functions else {}
            needs = ("label",) if init and any(a.arg == "classes" and default is None for a, default in arguments(init)) else ()
            said, recipe = meanings([*own], [node, *([init] if init else [])], source), call_of(assigned(node.body, "recipe"))
            return Entry(path.stem, "method", where, node.name, doc, own, kinds, said, recipe, views, needs)
    return None


@functools.cache
def frame() -> tuple[dict[str, str], dict[str, str]]:
    """The hyperparameters that joint_embedding adds to every objective, and their types."""
    tree = parse(PACKAGE / "methods" / "contrast" / "joint_embedding.py")
    init = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    return hyperparameters(init), types(init)


def hyperparameters(function: ast.FunctionDef) -> dict[str, str]:
    """Arguments and their defaults, without those that the engine fills in."""
    return {name: default for name, default in defaults(function).items() if name not in FILLED}


# --- the lists --------------------------------------------------------------------------------------------------------------------------------


@functools.cache
def methods() -> dict[str, Entry]:
    """All ways to pretrain, by name. Raises RuntimeError when two files claim a name."""
    found: dict[str, Entry] = {}
    homes: dict[str, Entry] = {}
    for path in [*sorted(PACKAGE.glob("methods/*/*.py")), *sorted(PACKAGE.glob("objectives/*.py"))]:
        entry = read(path)
        if entry is None:
            continue
        for alias in {squashed(entry.name), squashed(entry.definition), squashed(Path(entry.path).stem)}:
            if alias in homes:
                raise RuntimeError(f"{alias} has two homes: {homes[alias].path} and {entry.path}")
            homes[alias] = entry
        found[entry.name] = entry
    return dict(sorted(found.items()))


ELSEWHERE = ("data", "views", "symmetry", "backbones", "train", "adapt", "tasks", "evaluate", "analyze")


@functools.cache
def systems() -> dict[str, Entry]:
    """All published systems by name: the ways to pretrain, and what has its home elsewhere: files whose docstring says "Name: sentence", cites and departs."""
    found = dict(methods())
    for folder in ELSEWHERE:
        for path in sorted((PACKAGE / folder).rglob("*.py")):
            tree = parse(path)
            doc = ast.get_docstring(tree) or ""
            if "arXiv:" not in doc or "Departs from" not in doc or ": " not in doc.partition("\n")[0]:
                continue
            name, where = path.stem, path.relative_to(PACKAGE).as_posix()
            if name in found:
                raise RuntimeError(f"{name} has two homes: {found[name].path} and {where}")
            function = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name), None)
            own, kinds = (hyperparameters(function), types(function)) if function else ({}, {})
            said = meanings([*own], [function], path.read_text(encoding="utf-8")) if function else {}
            found[name] = Entry(name, folder, where, name, doc, own, kinds, said)
    return dict(sorted(found.items()))


def find_system(name: str) -> Entry:
    """Any published system, by the names of `find_method` or its file's. Raises InputError with the nearest."""
    with contextlib.suppress(InputError):
        return find_method(name)
    for entry in systems().values():
        if squashed(name) == squashed(entry.name):
            return entry
    near = difflib.get_close_matches(name.lower().replace("-", "_").replace(" ", "_"), systems(), 3, 0.4)
    raise InputError(f"no system {name!r}" + (f"; the nearest are {', '.join(near)}" if near else "") + "; `manyviews evidence` lists them")


def squashed(name: str) -> str:
    """A name as people vary it: MoCo v2, moco-v2 and moco_v2 are one."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def find_method(name: str) -> Entry:
    """The entry by its name, its objective's name, or its class's. Raises InputError with the nearest."""
    found = methods()
    for entry in found.values():
        if squashed(name) in map(squashed, (entry.name, entry.definition, Path(entry.path).stem)):
            return entry
    near = difflib.get_close_matches(name.lower().replace("-", "_").replace(" ", "_"), found, 3, 0.4)
    raise InputError(f"no method {name!r}" + (f"; the nearest are {', '.join(near)}" if near else "") + "; `manyviews methods` lists them")


@functools.cache
def recipe_fields() -> dict[str, tuple[str, str]]:
    """The fields of `contracts.Recipe`: default and meaning."""
    path = PACKAGE / "contracts.py"
    remarks = comments(path.read_text(encoding="utf-8"))
    recipe = next(n for n in parse(path).body if isinstance(n, ast.ClassDef) and n.name == "Recipe")
    fields = [n for n in recipe.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name) and n.value is not None]
    return {n.target.id: (ast.unparse(n.value), remarks.get(n.lineno, "")) for n in fields}  # type: ignore[union-attr, arg-type]


def small_encoders() -> list[Described]:
    """This package's own encoders, in the order that `backbones.building.SMALL` gives."""
    names: tuple[str, ...] = constant(parse(PACKAGE / "backbones" / "building.py"), "SMALL")  # type: ignore[assignment]
    described = {n.name: ast.get_docstring(n) or "" for n in parse(PACKAGE / "backbones" / "small.py").body if isinstance(n, ast.FunctionDef)}
    return [Described(name, described.get(name, ""), "backbones/small.py") for name in names]


def built_encoders() -> list[Described]:
    """Encoders that are functions, by modality: those of what is no picture, and symmetric networks; what `backbones.building.builders` finds."""
    files = [(modality, PACKAGE / "backbones" / f"{modality}.py") for modality in MODALITIES if modality != "images"]
    files += [(str(constant(parse(path), "MODALITY")), path) for path in sorted((PACKAGE / "symmetry").glob("*.py"))]
    found = []
    for modality, path in sorted(files, key=lambda file: MODALITIES.index(file[0]) if file[0] in MODALITIES else len(MODALITIES)):
        for n in parse(path).body if modality in MODALITIES else ():
            if isinstance(n, ast.FunctionDef) and n.args.args[:1] and n.args.args[0].arg == "channels" and n.returns and ast.unparse(n.returns) == "Encoder":
                found.append(Described(n.name, ast.get_docstring(n) or "", path.relative_to(PACKAGE).as_posix(), modality))
    return found


def timm_encoders(pattern: str) -> list[str]:
    """timm's models whose name fits `pattern` (vit*, or a part of the name). Imports timm."""
    from manyviews.nn import torchvision_schemas

    torchvision_schemas.declare()
    import timm

    return timm.list_models(pattern if "*" in pattern else f"*{pattern}*")


def groups() -> list[Described]:
    """The symmetry groups that have a name."""
    from manyviews.groups.finding import KNOWN

    return [Described(name, f"{group.about}; {', '.join(group.modalities)}", type(group).__module__.replace(".", "/") + ".py") for name, group in KNOWN.items()]
