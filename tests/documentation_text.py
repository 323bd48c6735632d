"""The documentation as text: its pages, what is fenced in them, what stands in backticks, their headings."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
FENCE = re.compile(r"^```(\w*) *(.*)\n((?:.*\n)*?)^```$", re.MULTILINE)


def fences(page: Path) -> list[tuple[str, str, str]]:
    """(language, what stands behind it, text) of each fenced block."""
    return FENCE.findall(page.read_text("utf-8"))


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return FENCE.sub("", page.read_text("utf-8"))


def blocks(page: Path) -> list[tuple[str, list[str]]]:
    """(why it cannot be run, its commands) of each block of bash."""
    return [(why.strip(), lines_of(text)) for language, why, text in fences(page) if language == "bash"]


def lines_of(text: str) -> list[str]:
    """The commands of a block; one that goes on over several lines is one."""
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def words_of(line: str) -> list[str]:
    return [word for word in shlex.split(line, comments=True) if word != "&"]


def quoted(text: str) -> list[str]:
    """What stands in backticks, a line break in it as a space."""
    return [re.sub(r"\s+", " ", found) for found in re.findall(r"(?<!`)`([^`]+)`(?!`)", text)]


def anchors(page: Path) -> list[str]:
    """What links to the headings of a page end with, as GitHub makes it."""
    found, times = [], Counter[str]()
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.strip().lower())
        name = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.append(f"{name}-{times[name]}" if times[name] else name)
        times[name] += 1
    return found
