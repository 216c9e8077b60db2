import errno
import importlib
import subprocess
import sys
import time

import pytest

from manyviews.app.catalogue import PACKAGE
from manyviews.app.cli import VERBS, main
from manyviews.errors import InputError


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def said(capsys):
    return capsys.readouterr().err.splitlines()


def test_every_verb_has_its_file_and_every_file_its_verb():
    assert {path.stem for path in (PACKAGE / "app" / "commands").glob("[!_]*.py")} == set(VERBS)


def test_help_and_import_load_no_torch():
    heavy = "['torch', 'numpy', 'timm', 'lightning_fabric', 'rich']"
    assert python(f"import sys, manyviews; assert not set({heavy}) & set(sys.modules)").returncode == 0
    verbs = [["--help"], *([verb, "--help"] for verb in VERBS)]
    code = f"""
import sys, contextlib, io
from manyviews.app.cli import main
for argv in {verbs}:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        main(argv)
    assert 'usage: manyviews' in out.getvalue(), argv
    assert not set({heavy}) & set(sys.modules), argv
"""
    result = python(code)
    assert result.returncode == 0, result.stderr


def test_listing_methods_loads_no_torch():
    result = python(
        "import sys; from manyviews.app.cli import main; main(['methods']); main(['show', 'simclr']); main(['encoders']); assert 'torch' not in sys.modules"
    )
    assert result.returncode == 0, result.stderr


def best_of(code, times=3):
    """The shortest of several runs: what it costs when nothing else wants the machine."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        subprocess.run([sys.executable, *code], capture_output=True, check=True)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def test_help_takes_less_than_half_a_second_and_import_less_than_a_third():
    assert best_of(["-c", "from manyviews.app.cli import main; main(['--help'])"]) < 0.5
    assert best_of(["-c", "import manyviews"]) < 0.3


def test_an_unknown_verb_is_answered_with_the_nearest(capsys):
    assert main(["pretrian", "--x"]) == 2
    assert said(capsys)[0].startswith("manyviews: no verb 'pretrian'; did you mean pretrain? There are quickstart, pretrain,")


def test_everything_wrong_with_the_options_is_said_at_once(capsys):
    assert main(["quickstart", "--steps", "many", "--sead", "3", "--seed", "x", "extra"]) == 2
    lines = said(capsys)
    assert "manyviews quickstart: no option --sead; did you mean --seed or --steps?" in lines
    assert "manyviews quickstart: --steps many: expected a whole number" in lines
    assert "manyviews quickstart: --seed x: expected a whole number" in lines
    assert "manyviews quickstart: 'extra' is one argument too many" in lines
    assert len(lines) == 5


def test_missing_and_misspelt_options_are_said_together(capsys):
    assert main(["export", "--too=onnx"]) == 2
    lines = said(capsys)
    assert lines[0] == "manyviews export: no option --too; did you mean --to or --out?"
    assert "required: RUN, --to" in lines[1]
    assert "--help" in lines[-1]


def test_an_option_without_its_value_is_refused(capsys):
    assert main(["export", "runs/first", "--to"]) == 2
    assert "expected one argument" in said(capsys)[0]


def test_options_are_not_abbreviated(capsys):
    assert main(["quickstart", "--ste", "3"]) == 2
    assert "no option --ste; did you mean --steps" in said(capsys)[0]


def test_words_after_two_dashes_and_negative_numbers_are_no_options(capsys):
    assert main(["show", "--", "--strange"]) == 2
    assert "no method, encoder or group '--strange'" in said(capsys)[0]
    assert main(["quickstart", "--seed", "-1", "--steps", "x"]) == 2
    assert len(said(capsys)) == 2


def test_without_a_verb_the_help_is_printed_and_the_status_is_2(capsys):
    assert main([]) == 2
    out = capsys.readouterr().out
    assert all(verb in out for verb in VERBS)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip()[0].isdigit()
    assert main(["--verson"]) == 2
    assert "did you mean --version" in said(capsys)[0]


def fail_with(monkeypatch, error):
    def run(args):
        raise error

    monkeypatch.setattr(importlib.import_module("manyviews.app.commands.methods"), "run", run)
    return main(["methods"])


def test_bad_input_prints_each_problem_and_ends_with_2(monkeypatch, capsys):
    assert fail_with(monkeypatch, InputError("this is wrong", "and that")) == 2
    assert said(capsys) == ["manyviews methods: this is wrong", "manyviews methods: and that"]


def test_interruption_ends_with_130(monkeypatch, capsys):
    assert fail_with(monkeypatch, KeyboardInterrupt()) == 130
    assert said(capsys) == ["manyviews methods: interrupted"]


def wrapped(error):
    """An error as libraries raise it: another one, because of it."""
    try:
        try:
            raise error
        except OSError as inner:
            raise RuntimeError("could not save") from inner
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device", "runs/first/last.ckpt"),
        wrapped(OSError(errno.ENOSPC, "No space left on device")),
        RuntimeError("[enforce fail at inline_container.cc:672] . PytorchStreamWriter failed writing file data/0: file write failed"),
        Exception("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_said_without_a_traceback_and_ends_with_1(monkeypatch, capsys, error):
    assert fail_with(monkeypatch, error) == 1
    assert said(capsys)[0].startswith("manyviews methods: the disk is full")


def test_a_really_full_disk_is_recognised(monkeypatch, capsys):
    def run(args):
        with open("/dev/full", "w") as file:
            file.write("x" * 100000)

    monkeypatch.setattr(importlib.import_module("manyviews.app.commands.methods"), "run", run)
    assert main(["methods"]) == 1
    assert "the disk is full" in said(capsys)[0]


def test_what_may_not_be_written_is_said(monkeypatch, capsys):
    assert fail_with(monkeypatch, PermissionError(errno.EACCES, "Permission denied", "/runs")) == 1
    line = said(capsys)[0]
    assert "not allowed" in line and "/runs" in line


def test_a_bug_keeps_its_traceback(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        fail_with(monkeypatch, ZeroDivisionError("a bug"))


def test_a_closed_pipe_is_no_error():
    code = f"{sys.executable} -c \"from manyviews.app.cli import main; import sys; sys.exit(main(['methods', '--json']))\""
    result = subprocess.run(["bash", "-c", f"set -o pipefail; {code} | head -1"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")


def test_unknown_options_are_told_together_with_what_else_is_wrong(capsys):
    assert main(["pretrain", "nowhere", "--metod", "dino", "--encoder", "resnett18", "--lr", "fast"]) == 2
    said = capsys.readouterr().err
    for problem in ("no option --metod; did you mean --method", "--lr fast: expected a number", "no data at 'nowhere'", "no encoder 'resnett18'"):
        assert problem in said, said
