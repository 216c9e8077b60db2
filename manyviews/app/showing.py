"""`manyviews show`: everything about one method, encoder or group."""

from __future__ import annotations

import contextlib
import difflib
import json
import textwrap

from manyviews.app.catalogue import PACKAGE, WORDS, Described, Entry, built_encoders, find_system, groups, recipe_fields, small_encoders, systems
from manyviews.errors import InputError

WIDTH = 110
TOKENS = "whether methods that mask or compare parts can use it: yes; all: parts can be replaced, but none left out; no"


def show(name: str) -> str:
    """Text about what `name` names. Raises InputError with the nearest names of all kinds."""
    try:
        return show_system(find_system(name))
    except InputError:
        pass
    with contextlib.suppress(InputError):
        from manyviews.groups import describe

        return describe(name)
    small = {encoder.name: encoder for encoder in small_encoders()}
    built = {encoder.name: encoder for encoder in built_encoders()}
    if name in built:
        return show_built(built[name])
    if name in small:
        return show_encoder(name, small[name].doc)
    from manyviews.backbones.building import SHORT
    from manyviews.backbones.pretrained import timm_config
    from manyviews.nn import torchvision_schemas

    torchvision_schemas.declare()
    import timm

    if not timm.is_model(SHORT.get(name, name).partition(".")[0]):
        near = difflib.get_close_matches(name, [*systems(), *small, *built, *(g.name for g in groups()), *SHORT, *timm.list_models()], 3, 0.5)
        hint = f"; the nearest are {', '.join(near)}" if near else "; see `manyviews methods` and `manyviews encoders`"
        raise InputError(f"no method, encoder or group {name!r}{hint}")
    timm_config(name)
    return show_encoder(name, "A model of timm.")


def show_system(entry: Entry) -> str:
    """A method, an objective, or a system with another home."""
    lines = [*wrap(entry.sentence), "", *wrap(f"Paper: {entry.citation}")]
    lines += wrap(entry.departures) if entry.departures else []
    if entry.kind not in ("method", "objective"):
        rows = [(name, default, meaning_of(entry, name)) for name, default in entry.parameters.items()]
        lines += ["", f"Arguments of {entry.definition}:", *table(rows)] if rows else []
        return "\n".join([*lines, "", f"File: manyviews/{entry.path}", *evidence(entry)])
    run_by = "run by joint_embedding" if entry.kind == "objective" else f"class {entry.definition}"
    views = ", ".join(f"{role} (several)" if "list" in kind else role for role, kind in entry.views.items())
    lines += ["", f"Views: {views}"] + ([f"Needs with every sample: {', '.join(entry.given)}"] if entry.given else [])
    rows = [(name, default, meaning_of(entry, name)) for name, default in entry.parameters.items()]
    lines += ["", "Hyperparameters (--set name=value):", *table(rows or [("none", "", "")])]
    fields = recipe_fields()
    own = [(field, value, fields.get(field, ("", ""))[1]) for field, value in entry.recipe.items()]
    rest = ", ".join(f"{field} {default}" for field, (default, _) in fields.items() if field not in entry.recipe)
    lines += ["", "Recipe (what is used where nothing is said; rates are for 256 samples):", *table(own), *wrap(f"  and the package's defaults: {rest}")]
    lines += ["", f"File: manyviews/{entry.path} ({entry.kind}, {run_by})", *evidence(entry)]
    return "\n".join(lines)


def meaning_of(entry: Entry, name: str) -> str:
    """What the file says, or what the word means everywhere, with the paper's symbol where the file gives only that."""
    own, usual = entry.meanings.get(name, ""), WORDS.get(name, "")
    return f"{usual} ({own})" if usual and own and len(own) < 16 else own or usual


def evidence(entry: Entry) -> list[str]:
    """Tests, and what was measured of the paper's claim."""
    root = PACKAGE.parent
    if not (root / "tests").is_dir():
        return ["Evidence: tests and measured claims are in the source repository"]
    lines = [f"Tests: {', '.join(t.relative_to(root).as_posix() for t in entry.tests) or 'none'}"]
    if entry.claim is None:
        return [*lines, "Claim: not measured yet"]
    lines.append(f"Claim: {entry.claim.relative_to(root).as_posix()}")
    if entry.claim.suffix == ".json":
        try:
            result = json.loads(entry.claim.read_text(encoding="utf-8"))
        except ValueError:
            return [*lines, "  damaged: it is no JSON"]
        from manyviews.app.evidence.said import result_table

        lines += ["", *result_table(result).splitlines()]
    return lines


def show_built(encoder: Described) -> str:
    """An encoder that is a function: what it says, and, where its file is that of a published system, where to read on."""
    lines = [f"{encoder.name}: an encoder of {encoder.takes}", "", *wrap(" ".join(encoder.doc.split())), "", f"File: manyviews/{encoder.path}"]
    system = encoder.path.rpartition("/")[2].removesuffix(".py")
    return "\n".join([*lines, *([f"Its paper, departures and evidence: manyviews show {system}"] if system in systems() else [])])


def show_encoder(name: str, doc: str) -> str:
    """An encoder: built without memory for its weights, to count them."""
    import torch

    from manyviews.backbones.building import SHORT, SMALL, build_encoder
    from manyviews.backbones.pretrained import default_size, timm_config

    size = default_size(name)
    try:
        with torch.device("meta"):
            encoder = build_encoder(name, 3, size)
    except (NotImplementedError, RuntimeError):  # some architectures compute with numbers while they are built
        encoder = build_encoder(name, 3, size)
    parameters = sum(p.numel() for p in encoder.parameters())
    rows = [
        ("parameters", f"{parameters:,}", ""),
        ("dim", f"{encoder.dim:,}", "width of the embedding"),
        ("size", str(size), "pixels, where nothing is said; others by --size"),
        ("tokens", {"set": "yes", "grid": "all"}.get(getattr(encoder, "attention", ""), "no"), TOKENS),
    ]
    lines = [f"{name}: an encoder", "", *wrap(" ".join(doc.split())), "", *table(rows)]
    if name in SMALL:
        return "\n".join([*lines, "", "File: manyviews/backbones/small.py"])
    import timm

    base = SHORT.get(name, name).partition(".")[0]
    config = timm_config(name)
    tags = sorted(timm.list_pretrained(f"{base}.*"))
    lines += ["", f"timm's name: {base}; normalised with mean {config.get('mean')}, std {config.get('std')}"]
    return "\n".join([*lines, "Pretrained weights (--weights timm:NAME, or timm:NAME as a RUN):", *([f"  {tag}" for tag in tags] or ["  none"])])


def wrap(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH) or [""]


def table(rows: list[tuple[str, str, str]]) -> list[str]:
    """Three columns; the last one wraps."""
    widths = [max(len(row[k]) for row in rows) for k in (0, 1)]
    lines = []
    for name, value, meaning in rows:
        start = f"  {name.ljust(widths[0])}  {value.ljust(widths[1])}  "
        lines += textwrap.wrap(meaning, max(40, WIDTH - len(start)), initial_indent=start, subsequent_indent=" " * len(start)) or [start]
    return [line.rstrip() for line in lines]
