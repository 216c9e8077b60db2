"""The command line. Each verb lives in a module of its own, imported only when it is asked for."""

from __future__ import annotations

import argparse
import difflib
import errno
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

VERBS = {  # each is manyviews/app/commands/VERB.py, with add_arguments(parser) and run(args)
    "quickstart": "pretrain, evaluate, embed and report on the built-in data, in three minutes",
    "pretrain": "learn an encoder from unlabelled data; makes a run folder",
    "evaluate": "score a model on labelled data, beside the untrained encoder and the raw input",
    "analyze": "look inside a run with one of the analyses, beside the untrained network and the raw input",
    "embed": "write one vector a sample to a Parquet file",
    "neighbours": "the nearest samples of a vector file to a picture",
    "report": "one self-contained HTML page about a run",
    "export": "write the encoder as onnx, torchscript, safetensors or timm",
    "methods": "list the ways to pretrain",
    "encoders": "list the encoders",
    "data": "list the kinds of data, or say what a folder or file holds",
    "derive": "write a list of samples that a system chose (simcore, duplicates), to pretrain on",
    "claim": "check what a system's paper claims, in small: arms over seeds, a table and a verdict",
    "evidence": "what is known of every system: tests, claims, verdicts; writes CATALOGUE.md and docs/",
    "show": "everything about one method or encoder: hyperparameters, defaults, paper, evidence",
}


TELLS_ALL = ("pretrain",)  # verbs that are told what is wrong with their words, and tell it with what else is


class Refused(Exception):
    """What argparse found wrong."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise Refused(message)


def main(argv: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed, 2 bad input, 130 interrupted."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in VERBS:
        args, problems = parse(argv[0], argv[1:])
        if problems and not hasattr(args, "problems"):
            return refuse(f"manyviews {argv[0]}", problems)
        return run(args)
    parser = Parser(prog="manyviews", description="Representations without labels: learn them, measure them, use them.", allow_abbrev=False)
    parser.add_argument("--version", action="store_true", help="print the version")
    verbs = parser.add_subparsers(metavar="VERB")
    for verb, summary in VERBS.items():
        verbs.add_parser(verb, help=summary)
    if argv and not argv[0].startswith("-"):
        return refuse("manyviews", [f"no verb {argv[0]!r}{nearest(argv[0], VERBS)} There are {', '.join(VERBS)}"])
    if argv == ["--version"]:
        from importlib.metadata import version

        print(version("manyviews"))
        return 0
    unknown = [word for word in argv if word not in ("-h", "--help", "--version")]
    if unknown:
        return refuse("manyviews", [f"no option {word}{nearest(word, ['--help', '--version', *VERBS])}" for word in unknown])
    parser.print_help()
    return 0 if argv else 2


def parse(verb: str, words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    """The arguments of a verb, and everything that is wrong with them."""
    summary = VERBS[verb]
    parser = Parser(prog=f"manyviews {verb}", description=summary[0].upper() + summary[1:] + ".", allow_abbrev=False)
    importlib.import_module(f"manyviews.app.commands.{verb}").add_arguments(parser)
    problems: list[str] = []
    for action in parser._actions:
        remember(action, problems)
    options = parser._option_string_actions
    kept: list[str] = []
    stray = False  # whether the last word was an unknown option, whose value is no problem of its own
    for k, word in enumerate(words):
        if word == "--":
            kept += words[k:]
            break
        name = word.partition("=")[0]
        unknown = word.startswith("-") and len(word) > 1 and not is_number(word) and name not in options and word[:2] not in options
        if unknown:
            problems.append(f"no option {name}{nearest(name, options)}")
        elif not stray or word.startswith("-"):
            kept.append(word)
        stray = unknown and "=" not in word
    args = argparse.Namespace()
    try:
        args, extra = parser.parse_known_args(kept)
        problems += [f"{word!r} is one argument too many" for word in extra if word != "--"]
        read = True
    except Refused as refusal:
        problems.append(str(refusal))
        read = False
    args.verb = verb
    problems += [f"`manyviews {verb} --help` lists what it takes"] if problems else []
    if read and verb in TELLS_ALL:  # it has more to say of the rest, and refuses with all of it
        args.problems = problems
    return args, problems


def remember(action: argparse.Action, problems: list[str]) -> None:
    """Let an option note a bad value and go on, so that all of them are found."""
    read: Callable[[str], Any] = action.type if callable(action.type) else str
    choices, action.choices = action.choices, None
    name = action.option_strings[-1] if action.option_strings else str(action.metavar or action.dest)
    if choices is not None and action.metavar is None:
        action.metavar = "{" + ",".join(map(str, choices)) + "}"

    def value(text: str) -> Any:
        try:
            found = read(text)
        except (TypeError, ValueError, argparse.ArgumentTypeError) as error:
            expected = {int: "a whole number", float: "a number"}.get(read) if isinstance(read, type) else None
            problems.append(f"{name} {text}: " + (f"expected {expected}" if expected else str(error)))
            return None
        if choices is not None and found not in choices:
            problems.append(f"{name} {text}: expected {', '.join(map(str, choices))}{nearest(text, [str(c) for c in choices])}")
        return found

    if action.nargs != 0:
        action.type = value


def is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def nearest(word: str, known: Any) -> str:
    """'; did you mean ...?' or a full stop."""
    near = difflib.get_close_matches(word, list(known), 2, 0.5)
    return f"; did you mean {' or '.join(near)}?" if near else "."


def refuse(who: str, problems: list[str]) -> int:
    for problem in problems:
        print(f"{who}: {problem}", file=sys.stderr)
    return 2


def run(args: argparse.Namespace) -> int:
    from manyviews.errors import InputError

    who = f"manyviews {args.verb}"
    try:
        importlib.import_module(f"manyviews.app.commands.{args.verb}").run(args)
        sys.stdout.flush()
    except InputError as error:
        return refuse(who, error.problems)
    except KeyboardInterrupt:
        print(f"{who}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `manyviews encoders vit | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        said = disk_problem(error)
        if said is None:
            raise
        print(f"{who}: {said}", file=sys.stderr)
        return 1
    return 0


def disk_problem(error: BaseException | None) -> str | None:
    """What to tell a person whose disk is full or may not be written to; None for anything else."""
    while error is not None:
        number = getattr(error, "errno", None)
        where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
        text = str(error)
        if number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in text or "PytorchStreamWriter failed writing" in text:
            return f"the disk is full{where}; what was saved before is whole. Free some space, or name another --out, and go on"
        if number in (errno.EACCES, errno.EPERM, errno.EROFS):
            return f"not allowed: {error}"
        error = error.__cause__ or error.__context__
    return None
