"""Docs stay true: commands parse or run, links and paths lead somewhere, tables are what the code says.

A fenced block of ```bash is run, in a folder that has shards, a run and captions; words after it ("needs data") say why
it is only parsed. Of ```python what it imports and calls is looked up, with the names of its arguments.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import shlex
import shutil
import tomllib
from itertools import pairwise
from pathlib import Path

import documentation_tables as tables
import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```bash *(.*)\n((?:.*\n)*?)^```$", re.MULTILINE)
names = [str(page.relative_to(ROOT)) for page in PAGES]
SHELL = ("trap", "wait", "source", "export", "python3")  # words of a job script, or of setting up
# Steps and clips that show that a command works, not how well.
SMALL = {"pretrain": ["--steps", "2", "--batch-size", "8", "--workers", "0"], "shard": ["--workers", "1"]}
SMALL["finetune"] = SMALL["pretrain"]


def blocks(page: Path) -> list[tuple[str, list[str]]]:
    """(why it cannot be run, its commands) of each block."""
    found = []
    for why, text in BLOCK.findall(page.read_text("utf-8")):
        lines = [line.strip() for line in text.replace("\\\n", " ").splitlines()]
        found.append((why.strip(), [line for line in lines if line and not line.startswith("#")]))
    return found


def words_of(line: str) -> list[str]:
    return [word for word in shlex.split(line, comments=True) if word != "&"]


def parse(words: list[str]) -> None:
    """Raises where the command line has no such verb, option or argument."""
    from typer.main import get_command

    from vtr.cli import app

    command, path = get_command(app), ["vtr"]
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        command, path, words = command.commands[words[0]], [*path, words[0]], words[1:]
    if "--help" not in words and "--install-completion" not in words:
        command.make_context(" ".join(path), list(words))


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_every_command_parses(page: Path) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for _, lines in blocks(page):
        for line in lines:
            words = words_of(line)
            if "-m" in words and words[words.index("-m") + 1 :][:1] == ["vtr"]:  # accelerate launch ... -m vtr VERB
                words = words[words.index("-m") + 1 :]
            if words[0] == "vtr":
                words = words[1 : words.index(">")] if ">" in words else words[1:]
                parse(words)
            elif words[0] in ("bash", "python") and words[1] != "-m":
                assert (ROOT / words[1]).is_file(), line
            elif words[:2] == ["pip", "install"]:
                for named in re.findall(r"\[(.+)\]", line):
                    assert set(named.split(",")) <= set(extras), line
            else:
                assert words[0] in SHELL or re.match(r"\w+=", words[0]), f"{page.name}: what is {line!r}?"


def test_nothing_sends_anybody_to_the_other_package_of_this_name() -> None:
    """The public index has another `vtr`: a clone is installed as `.`, an extra as `.[extra]` or by its packages."""
    wrong = re.compile(r"pip install (?:-\S+ +)*[\"'`]*vtr\b(?!/)|vtr\[[a-z]")
    assert wrong.search("`pip install -U vtr`")
    assert wrong.search("pip install 'vtr" + "[serve]'")
    folders = ("vtr", "docs", "examples", "tests")
    files = [PAGES[0], *(path for name in folders for path in (ROOT / name).rglob("*") if path.is_file())]
    texts = [path for path in files if path.suffix in (".py", ".md", ".sh", ".toml", ".ipynb", ".html", ".js")]
    assert len(texts) > 300
    assert [
        str(path.relative_to(ROOT))
        for path in texts
        if path != Path(__file__) and wrong.search(path.read_text("utf-8"))
    ] == []


def test_what_is_not_run_says_why() -> None:
    reasons = [(page.name, why) for page in PAGES for why, _ in blocks(page) if why]
    assert [(name, why) for name, why in reasons if not why.startswith("needs ")] == []


@pytest.mark.parametrize("page", [PAGES[0], ROOT / "docs/quickstart.md"], ids=["README.md", "quickstart.md"])
def test_the_first_steps_follow_from_each_other(page: Path) -> None:
    """Also where nothing is run: what a command reads was made by one above it, and each run is used below."""
    text, made, unused = page.read_text("utf-8"), set(), set()
    for line in (line for _, lines in blocks(page) for line in lines if line.startswith("vtr ")):
        verb, *words = words_of(line)[1:]
        given = dict(pairwise(words))
        if verb == "shard":
            made.add(words[2])
            continue
        read = [words[0]] if verb in ("finetune", "eval", "embed", "search") else []
        read += [given["--shards"]] if "--shards" in given else []
        assert set(read) <= made, line
        unused -= set(read)
        if "--videos" in given:
            assert f"\n    {given['--videos']}/" in text, f"{line}: the table has no video of that folder"
        if "--out" in given:
            made.add(given["--out"])
        if verb in ("pretrain", "finetune"):
            unused.add(given["--out"])
    assert not unused


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_python_calls_what_is_there(page: Path) -> None:
    for code in re.findall(r"^```python\n((?:.*\n)*?)^```$", page.read_text("utf-8"), re.MULTILINE):
        nodes, known = list(ast.walk(ast.parse(code))), {}
        for node in nodes:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                exec(ast.unparse(node), known)
        for node in nodes:
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[0] in known:
                called = eval(ast.unparse(node.func), known)
                inspect.signature(called).bind(*node.args, **{str(word.arg): 0 for word in node.keywords})


def test_old_fences_are_gone() -> None:
    """A command in another fence, or indented, would not be looked at."""
    for page in PAGES:
        fence = ""
        for line in page.read_text("utf-8").splitlines():
            if line.startswith("```"):
                fence = "" if fence else line
            assert not line.startswith("    vtr ") or page.name == "cli.md", f"{page.name}: {line}"
            assert not line.startswith("vtr ") or fence.startswith("```bash") or not fence, f"{page.name}: {line}"


@pytest.fixture
def world(tmp_path, monkeypatch, shards, test_shards, run, embeddings) -> Path:
    """What the pages speak of: shards/, runs/, captions.csv with its videos, a result of each kind."""
    from vtr.data.annotations import READERS, ReaderOptions

    shutil.copytree(shards, tmp_path / "shards/train")
    shutil.copytree(test_shards, tmp_path / "shards/test")
    shutil.copytree(run, tmp_path / "runs/mac-ft")
    (tmp_path / "videos").mkdir()
    rows = ["video,caption,split"]
    for number, made in enumerate(READERS["synthetic"]("seed:1", ReaderOptions(limit=12))):
        (tmp_path / f"videos/{made.key}.mp4").write_bytes(made.video())
        rows.append(f'videos/{made.key}.mp4,"{made.captions[0]}",{"train" if number < 8 else "test"}')
    shutil.copy(next((tmp_path / "videos").iterdir()), tmp_path / "clip.mp4")
    (tmp_path / "captions.csv").write_text("\n".join(rows))
    (tmp_path / "captions.txt").write_text("a red circle\na blue star\n")
    shutil.copy(tmp_path / "captions.txt", tmp_path / "queries.txt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


RUN = [page for page in PAGES if any(not why for why, _ in blocks(page))]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=[str(page.relative_to(ROOT)) for page in RUN])
def test_commands_run_in_order(page: Path, world: Path, run_vtr) -> None:
    text = page.read_text("utf-8")
    if "runs/mac " in text and "--out runs/mac " not in f"{text} ".replace("\n", " "):
        shutil.copytree(world / "runs/mac-ft", world / "runs/mac")
    for name in ("a.json", "b.json", "result.json"):
        if name in text:
            run_vtr("eval", "runs/mac-ft", "--shards", "shards/test", "--out", name)
    for why, lines in blocks(page):
        for line in lines if not why else ():
            words = words_of(line)
            assert words[0] == "vtr", f"{page.name}: {line!r} cannot be run here: say why after ```bash"
            words, into = (words[1:-2], words[-1]) if ">" in words else (words[1:], None)
            words = [re.sub(r"^\d{3,}$", "24", word) for word in words] + SMALL.get(words[0], [])
            out = run_vtr(*words)
            if into:
                Path(into).write_text(out)


@pytest.fixture
def run_vtr(monkeypatch, capfd):
    """`run_vtr(*words)` runs `vtr` in this process, checks that it ends well, and returns its stdout."""
    import sys

    from vtr.cli import main

    def call(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["vtr", *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capfd.readouterr()
        assert not stop.value.code, f"vtr {' '.join(words)}: {err}"
        return out

    return call


@pytest.mark.parametrize("page", PAGES, ids=names)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"
    for path in re.findall(r"`((?:vtr|tests|examples|docs)/[\w./-]+)`", text):
        assert (ROOT / path).exists(), f"{page.name}: {path}"


def test_the_readme_leads_to_every_page() -> None:
    readme = PAGES[0].read_text("utf-8")
    assert [name for name in names[1:] if f"]({name})" not in readme] == []


def test_the_tree_is_what_is_there() -> None:
    section = PAGES[0].read_text("utf-8").split("## The tree", 1)[1].split("```")[1]
    paths = [line.split()[0] for line in section.strip().splitlines()]
    assert [path for path in paths if not (ROOT / path).exists()] == []
    parts = {path.name for path in (ROOT / "vtr").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    private = {"__init__.py", "__main__.py"}
    told = {path.removeprefix("vtr/").rstrip("/") for path in paths}
    assert parts - private <= told


def test_the_recipes_are_those_of_the_page() -> None:
    page = (ROOT / "docs/recipes.md").read_text("utf-8")
    assert [line for line in tables.recipe_lines() if line not in page] == []


def test_costs_follow_from_what_was_counted() -> None:
    pretraining, tuning = (ROOT / "docs/reproduce.md").read_text("utf-8").split("Fine-tuning, in minutes")

    def told(section: str):
        return lambda title, config: int(section.split(f"| {title} | ", 1)[1].split(" ", 1)[0])

    assert [line for line in tables.pretraining_lines(told(pretraining)) if line not in pretraining] == []
    assert [line for line in tables.fine_tuning_lines(told(tuning)) if line not in tuning] == []


@pytest.mark.slow
def test_costs_are_counted() -> None:
    page = (ROOT / "docs/reproduce.md").read_text("utf-8")
    assert [line for line in (*tables.pretraining_lines(), *tables.fine_tuning_lines()) if line not in page] == []


def test_published_figures_of_the_readme_are_those_of_the_package() -> None:
    from vtr.retrieval.published import published

    readme = PAGES[0].read_text("utf-8")
    for row in published("msrvtt-1ka"):
        cells = " | ".join(f"{number:g}" for number in row.numbers[:3])
        assert f"| {row.model}, {row.setting} | {cells} | {row.source}" in readme, row


def test_the_citation_has_the_version() -> None:
    from vtr.version import __version__

    assert f"version = {{{__version__}}}" in PAGES[0].read_text("utf-8")


def test_the_notebook_is_valid() -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs the extra dev")
    book = nbformat.reads((ROOT / "examples/notebook.ipynb").read_text("utf-8"), as_version=4)
    nbformat.validate(book)
    assert not any(cell.get("outputs") for cell in book.cells), "outputs are made, not kept"
    assert json.loads((ROOT / "examples/notebook.ipynb").read_text())["nbformat"] == 4
