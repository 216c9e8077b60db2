"""Values that people type, read by the annotation or the default of what they are for."""

from __future__ import annotations

import ast
import difflib
from typing import Protocol, runtime_checkable

from manyviews.app.source import literal

TRUE, FALSE = ("true", "yes", "on"), ("false", "no", "off")


@runtime_checkable
class Configurable(Protocol):
    """What has hyperparameters; a `catalogue.Entry` is one."""

    @property
    def name(self) -> str: ...

    @property
    def parameters(self) -> dict[str, str]: ...

    @property
    def types(self) -> dict[str, str]: ...


def parse_settings(entry: Configurable, given: dict[str, object]) -> tuple[dict[str, object], list[str]]:
    """Values for `--set name=value`, by the hyperparameters' annotations or else their defaults, and what is wrong with them."""
    values: dict[str, object] = {}
    problems = []
    for name, text in given.items():
        if name not in entry.parameters:
            near = difflib.get_close_matches(name, entry.parameters, 2, 0.4)
            hint = f"; did you mean {' or '.join(near)}?" if near else "."
            problems.append(f"{entry.name} has no hyperparameter {name!r}{hint} It has {', '.join(entry.parameters) or 'none'}")
            continue
        default = entry.parameters[name]
        try:
            values[name] = read_value(text, entry.types.get(name, ""), default)
        except ValueError as error:
            problems.append(f"--set {name}={text}: expected {error}, as in the default {default}")
    return values, problems


def read_value(text: object, annotation: str, default: str) -> object:
    """The value of `text` (or what Python code gave) as `annotation` says (float, tuple[int, ...]), or else as the default's type.

    Raises ValueError whose message is what was expected.
    """
    value: object = text
    if isinstance(text, str):
        try:
            value = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError):
            value = text
    kind = ast.parse(annotation or "Any", mode="eval").body
    if isinstance(kind, ast.Constant) and isinstance(kind.value, str):
        kind = ast.parse(kind.value, mode="eval").body
    if ast.unparse(kind) in ("Any", "object", "typing.Any"):
        try:
            like = literal(default)
        except ValueError:
            return value
        kind = ast.parse("Any" if like is None else type(like).__name__, mode="eval").body
    ok, result = fit(value, text, kind)
    if not ok:
        raise ValueError(spoken(kind))
    return result


def fit(value: object, text: object, kind: ast.expr) -> tuple[bool, object]:
    """Whether a value is of this kind, and the value as it (an integer where a float is wanted becomes one)."""
    if isinstance(kind, ast.BinOp):  # a | b
        return first_fit(value, text, [kind.left, kind.right])
    if isinstance(kind, ast.Constant) and kind.value is None:
        return value is None or str(text).lower() == "none", None
    if isinstance(kind, ast.Subscript):
        inner = kind.slice.elts if isinstance(kind.slice, ast.Tuple) else [kind.slice]
        return fit_generic(value, text, ast.unparse(kind.value).split(".")[-1], inner)
    return fit_plain(value, text, ast.unparse(kind).split(".")[-1])


def first_fit(value: object, text: object, kinds: list[ast.expr]) -> tuple[bool, object]:
    """By the first of several kinds that fits."""
    return next((found for found in (fit(value, text, kind) for kind in kinds) if found[0]), (False, value))


def fit_plain(value: object, text: object, name: str) -> tuple[bool, object]:
    word = str(text).strip().lower()
    if name == "bool":
        if isinstance(value, bool):
            return True, value
        return word in TRUE + FALSE, word in TRUE
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name == "int":
        whole = number and float(value).is_integer()  # type: ignore[arg-type]
        return whole, int(value) if whole else value  # type: ignore[call-overload]
    if name == "float":
        if word in ("inf", "-inf"):
            return True, float(word)
        return number, float(value) if number else value  # type: ignore[arg-type]
    if name == "str":
        return isinstance(text, str), value if isinstance(value, str) else text
    plain = {"tuple": tuple, "list": list, "dict": dict}
    return (isinstance(value, plain[name]), value) if name in plain else (True, value)


def fit_generic(value: object, text: object, name: str, inner: list[ast.expr]) -> tuple[bool, object]:
    if name == "Optional":
        return first_fit(value, text, [ast.Constant(None), *inner])
    if name == "Union":
        return first_fit(value, text, inner)
    if name == "Literal":
        allowed = [ast.literal_eval(option) for option in inner]
        return next(((True, option) for option in allowed if option in (value, text)), (False, value))
    if name in ("tuple", "list", "Sequence"):
        if not isinstance(value, tuple | list):
            return False, value
        fixed = name == "tuple" and not (len(inner) == 2 and isinstance(inner[1], ast.Constant) and inner[1].value is ...)
        if fixed and len(value) != len(inner):
            return False, value
        parts = [fit(item, item, inner[k] if fixed else inner[0]) for k, item in enumerate(value)]
        return all(ok for ok, _ in parts), (list if name == "list" else tuple)(item for _, item in parts)
    return True, value


def spoken(kind: ast.expr) -> str:
    """An annotation, for people."""
    return ast.unparse(kind).replace(" | ", " or ").replace("Literal[", "one of [")
