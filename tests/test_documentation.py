"""Docs stay true: commands parse or run, links and paths lead somewhere, tables are what the code says.

A fenced block of ```bash is run, in a folder that has shards, a run and captions; words after it ("needs data") say why
it is only held against the code, as what stands in backticks is. Of ```python what it imports and calls is looked up,
with the names of its arguments.
"""

from __future__ import annotations

import json
import re
import shutil
from itertools import pairwise
from pathlib import Path

import documentation_commands as commands
import documentation_scripts as scripts
import pytest
from documentation_python import look_up
from documentation_text import NAMES, PAGES, ROOT, blocks, fences, lines_of, prose, quoted, words_of

# Steps and clips that show that a command works, not how well.
SMALL = {"pretrain": ["--steps", "2", "--batch-size", "8", "--workers", "0"], "shard": ["--workers", "1"]}
SMALL["finetune"] = SMALL["pretrain"]


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_parses(page: Path) -> None:
    for _, lines in blocks(page):
        for line in lines:
            commands.check(line)
    for language, _, text in fences(page):
        for line in lines_of(text) if not language else ():
            if line.startswith("$ "):
                commands.check(line[2:])


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_what_stands_in_backticks_is_there(page: Path) -> None:
    if page.name == "changelog.md":  # it may name what is gone
        return
    for text in quoted(prose(page)):
        commands.check_quoted(text)


def test_commands_in_the_code_parse() -> None:
    for path in sorted((ROOT / "vtr").rglob("*.py")):
        for text in quoted(path.read_text("utf-8")):
            if text.startswith("vtr ") and not re.search(r"[{}]", text):
                commands.check(text, whole=False)


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


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_python_calls_what_is_there(page: Path) -> None:
    for language, _, code in fences(page):
        if language == "python":
            look_up(code)


def test_commands_stand_where_they_are_looked_at() -> None:
    """In ```bash, in backticks, or after `$ ` in a block of what is on a terminal."""
    for page in PAGES:
        odd = {language for language, _, _ in fences(page)} - {"", "bash", "python", "yaml", "toml", "json", "bibtex"}
        assert not odd, f"{page.name}: commands stand in ```bash, not in ```{odd.pop()}"
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
            small = [] if "--plan-only" in words else SMALL.get(words[0], [])
            words = [re.sub(r"^\d{3,}$", "24", word) for word in words] + small
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


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    scripts.lead_somewhere(page, page.read_text("utf-8"))


def test_the_readme_leads_to_every_page() -> None:
    readme = PAGES[0].read_text("utf-8")
    assert [name for name in NAMES[1:] if f"]({name})" not in readme] == []


def test_the_tree_is_what_is_there() -> None:
    section = PAGES[0].read_text("utf-8").split("## The tree", 1)[1].split("```")[1]
    paths = [line.split()[0] for line in section.strip().splitlines()]
    assert [path for path in paths if not (ROOT / path).exists()] == []
    parts = {path.name for path in (ROOT / "vtr").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    private = {"__init__.py", "__main__.py"}
    told = {path.removeprefix("vtr/").rstrip("/") for path in paths}
    assert parts - private <= told


def test_the_citation_has_the_version() -> None:
    from vtr.version import __version__

    assert f"version = {{{__version__}}}" in PAGES[0].read_text("utf-8")


def test_the_notebook_is_valid() -> None:
    nbformat = pytest.importorskip("nbformat", reason="needs the extra dev")
    book = nbformat.reads((ROOT / "examples/notebook.ipynb").read_text("utf-8"), as_version=4)
    nbformat.validate(book)
    assert not any(cell.get("outputs") for cell in book.cells), "outputs are made, not kept"
    assert json.loads((ROOT / "examples/notebook.ipynb").read_text())["nbformat"] == 4
