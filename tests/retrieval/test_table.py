"""Tables, printed as a terminal would."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
from rich.console import Console

from vtr.retrieval.table import hits_table, results_table


def printed(table, width=100):
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False, color_system=None).print(table)
    return out.getvalue()


def test_results():
    numbers = {"R@1": 61.24, "R@5": 100.0, "R@10": 100.0, "MdR": 1.0, "MnR": 1234.5}
    lines = printed(results_table({"t2v": numbers, "v2t": {**numbers, "R@1": 5}})).splitlines()
    assert lines[1].replace("┃", " ").split() == ["direction", "R@1", "R@5", "R@10", "MdR", "MnR"]
    assert lines[3].replace("│", " ").split() == ["text", "to", "video", "61.2", "100.0", "100.0", "1.0", "1234.5"]
    assert lines[4].replace("│", " ").split() == ["video", "to", "text", "5.0", "100.0", "100.0", "1.0", "1234.5"]


def test_hits():
    hits = [
        {"rank": 1, "score": 0.91234, "id": "clip_1", "start_s": 2.0, "end_s": 6.0, "caption": "a dog"},
        {"rank": 2, "score": -0.5, "id": "clip_2", "start_s": float("nan"), "end_s": 1.0, "caption": ["a", "b"]},
        {"rank": 3, "score": 0.0, "id": "clip_3", "caption": None},
    ]
    lines = [[cell.strip() for cell in line.strip("┃│").split("│")] for line in printed(hits_table(hits)).splitlines()]
    assert lines[3] == ["1", "0.912", "clip_1", "2.0-6.0 s", "a dog"]
    assert lines[4] == ["2", "-0.500", "clip_2", "-", "a | b"]
    assert lines[5] == ["3", "0.000", "clip_3", "-", ""]


@pytest.mark.parametrize("text", ["[red]not markup[/red]", "[/]", "\x1b[31mred\x1b]0;title\x07", "two\nlines\r\x00"])
def test_a_caption_is_text_and_steers_nothing(text):
    out = printed(hits_table([{"rank": 1, "score": 1.0, "id": text, "caption": text}]))
    assert len(out.splitlines()) == 5
    assert not set(out) & {"\x1b", "\x07", "\x00", "\r"}
    assert "".join(char if char.isprintable() else " " for char in text).strip() in out


def test_importing_retrieval_loads_nothing_heavy():
    code = (
        "import sys; import vtr.retrieval.metrics, vtr.retrieval.store, vtr.retrieval.index, vtr.retrieval.table;"
        "print([name for name in ('torch', 'pyarrow', 'rich') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
