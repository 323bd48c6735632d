"""What the documentation says of files: scripts with their arguments, tests by their names, links and their anchors."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from documentation_text import ROOT, anchors

PYTEST = ("-k", "-m", "-n", "-s", "-x", "-q")
PATH = re.compile(r"`((?:vtr|tests|examples|docs)/[\w./*-]+)((?:::[\w\[\]-]+)?)`( \(slow\))?")


def python(file: str, words: Sequence[str]) -> None:
    """`python FILE WORDS`: by its `parser()`, else by the options that its text has, else by its usage."""
    path = ROOT / file
    assert path.is_file(), f"there is no {file}"
    text = path.read_text("utf-8")
    if "\ndef parser()" in text:
        with _beside(path):
            said = io.StringIO()
            module = _load(path)
            try:
                with contextlib.redirect_stderr(said):
                    module.parser().parse_args(list(words))
            except SystemExit:
                raise AssertionError(said.getvalue().strip().splitlines()[-1]) from None
        return
    flags = {word for word in words if word.startswith("-")}
    assert flags <= flags_in(path), f"{file} has no {flags - flags_in(path)}"
    usage = re.search(rf"python {re.escape(file)}((?: \[?[A-Z]+\]?)*)$", text, re.MULTILINE)
    if usage is not None and "add_argument" not in text:
        asked = usage[1].split()
        least = sum(not word.startswith("[") for word in asked)
        assert least <= len(words) <= len(asked), f"python {file}{usage[1]}"


def flags_in(path: Path) -> set[str]:
    """The options that a Python file gives to argparse."""
    calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    added = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument"]
    texts = {arg.value for call in added for arg in call.args if isinstance(arg, ast.Constant)}
    return {text for text in texts if isinstance(text, str) and text.startswith("-")}


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[None]:
    sys.path.insert(0, str(path.parent))
    try:
        yield
    finally:
        sys.path.remove(str(path.parent))


@cache
def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"documented_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def script(file: str, words: Sequence[str]) -> None:
    """`bash FILE WORDS`: options that its text has, and no more arguments than it looks at."""
    path = ROOT / file
    assert path.is_file(), f"there is no {file}"
    text = path.read_text("utf-8")
    if re.search(r'exec pytest .*"\$@"', text):
        pytest_words(words)
        return
    # A function's arguments are its own.
    code = re.sub(r"^#[^\n]*$|^\w+\(\) \{.*?^\}$", "", text, flags=re.MULTILINE | re.DOTALL)
    most = 99 if "$@" in code else max([int(n) for n in re.findall(r"\$\{?([1-9])", code)], default=0)
    assert len(words) <= most, f"{file} looks at {most} arguments"
    for word in words:
        assert not word.startswith("-") or word in code, f"{file} has no {word}"


def pytest_words(words: Sequence[str]) -> None:
    """Files, options and names of tests."""
    files = [ROOT / word for before, word in zip(["", *words], words, strict=False) if before not in ("-k", "-m", "-n")
             and not word.startswith("-")]  # fmt: skip
    for file in files:
        has_test(str(file.relative_to(ROOT)))
    for word in words:
        assert not word.startswith("-") or word in PYTEST, f"pytest has no {word} that these pages use"
    if "-k" in words:
        named = words[list(words).index("-k") + 1]
        places = files or [ROOT / "tests"]
        below = [one for place in places for one in (place.rglob("test_*.py") if place.is_dir() else [place])]
        found = (named in one.stem or re.search(rf"def test_\w*{named}", one.read_text("utf-8")) for one in below)
        assert any(found), f"no test has {named!r} in its name"


def has_test(name: str) -> None:
    """`tests/FILE.py::test` is there; also a folder, or a pattern of files."""
    file, _, inside = name.partition("::")
    assert list(ROOT.glob(file)), f"there is no {file}"
    if inside:
        functions = re.findall(r"def (test_\w+)", (ROOT / file).read_text("utf-8"))
        assert inside.split("[")[0] in functions, f"{file} has no {inside}"


def lead_somewhere(page: Path, text: str) -> None:
    """Raises where a link, a path or a test in the text of a page is not there."""
    for target, _, anchor in (link.partition("#") for link in re.findall(r"\]\(([^)]+)\)", text)):
        at = page.parent / target if target else page
        assert "://" in target or at.exists(), f"{page.name}: {target}"
        assert not anchor or at.suffix != ".md" or anchor in anchors(at), f"{page.name}: {target} has no #{anchor}"
    for path, test, slow in PATH.findall(text):
        has_test(path + test)
        assert not slow or "mark.slow" in (ROOT / path).read_text("utf-8"), f"{page.name}: nothing in {path} is slow"
