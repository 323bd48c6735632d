"""Tables, printed as a terminal would."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys

import pytest
from rich.console import Console

from vtr.retrieval import formats, rows
from vtr.retrieval.table import hits_table, results_table


def printed(table, width=100):
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False, color_system=None).print(table)
    return out.getvalue()


NUMBERS = {"R@1": 61.24, "R@5": 100.0, "R@10": 100.0, "MdR": 1.0, "MnR": 1234.5}
INTERVALS = {name: [value - 1, value + 1.06] for name, value in NUMBERS.items()}


def record(**change):
    """A result, as little of it as tables look at."""
    protocol = {
        "name": "own", "title": "own data", "rule": "all", "partial": False, "problems": [], "modality": "video"
    }  # fmt: skip
    return {
        "t2v": NUMBERS, "v2t": {**NUMBERS, "R@1": 5.0}, "intervals": {"t2v": INTERVALS, "v2t": INTERVALS},
        "columns": {}, "probe": None, "splits": {}, "published": [], "protocol": protocol,
        "found": {"videos": 12, "captions": 24}, "undecodable": {"count": 0, "kinds": {}, "first": []},
        "nan": 0, "distractors": 0, "captions_full": 0, "words": 32,
    } | change  # fmt: skip


PARTIAL = {"partial": True, "problems": ["879 of 1000 videos"], "title": "MSR-VTT 1k-A", "rule": "one"}
FULL = record(
    protocol=record()["protocol"] | PARTIAL,
    columns={"+DSL": {"t2v": NUMBERS, "intervals": {"t2v": INTERVALS}, "assumes": "all at once"}},
    probe={"shuffled": {"t2v": NUMBERS, "intervals": None}},
    published=[{"model": "MAC & co", "setting": "fine-tuned", "source": "arXiv:1", "note": "", "t2v": {"R@1": 38.9}}],
    nan=3,
)


def test_results():
    lines = [line.split() for line in printed(results_table(record())).splitlines() if line.strip()]
    assert lines[0] == ["own", "data:", "12", "videos,", "24", "captions"]
    assert lines[1] == ["R@1", "R@5", "R@10", "MdR", "MnR"]
    assert lines[3] == ["text", "to", "video", "61.2", "100.0", "100.0", "1.0", "1234.5"]
    assert lines[4][:4] == ["raw;", "95", "%", "interval"]
    assert lines[4][4:] == ["60.2-62.3", "99.0-101.1", "99.0-101.1", "0.0-2.1", "1233.5-1235.6"]
    assert lines[5][:4] == ["video", "to", "text", "5.0"]


def test_one_is_not_many():
    found = {"videos": 1, "captions": 1}
    one = record(found=found, nan=1, distractors=1, captions_full=1)
    assert rows.title(one) == "own data: 1 video, 1 caption"
    assert rows.title(record(found=found, protocol=one["protocol"] | {"rule": "classes"})).endswith("1 class name")
    lost = {"count": 3, "kinds": {"corrupt": 2, "missing": 1}, "first": ["a", "b"]}
    told = "3 could not be used (2 corrupt, 1 missing)"
    assert rows.notes(record(undecodable=lost)) == [f"{told}: a, b and 1 more"]
    assert rows.notes(record(undecodable=lost | {"first": []})) == [told]
    assert rows.notes(one) == [
        "1 similarity is NaN and ranks last",
        "1 video has no caption: it is in the gallery, and no queries",
        "1 caption fills all 32 tokens, so may be cut",
    ]


def test_results_fit_a_terminal_of_eighty():
    numbers = dict.fromkeys(NUMBERS, 100.0)
    ends = {name: [100.0, 100.0] for name in NUMBERS}
    out = printed(results_table(record(t2v=numbers, intervals={"t2v": ends, "v2t": ends})), width=80)
    assert "…" not in out
    assert sum("text to video" in line for line in out.splitlines()) == 1


def test_every_format_marks_a_part_and_what_is_theirs():
    rich = printed(results_table(FULL), width=120)
    for text in (rich, *(write(FULL) for write in formats.TEXTS.values())):
        assert "PARTIAL: 879 of 1000 videos" in text
        assert "theirs" in text
        assert "DSL" in text
        assert "shuffled frames" in text
        assert "arXiv:1" in text


def test_markdown():
    lines = formats.markdown(FULL).splitlines()
    assert lines[2:4] == ["| | direction | R@1 | R@5 | R@10 | MdR | MnR |", "|---|---|---:|---:|---:|---:|---:|"]
    assert lines[4].startswith("| raw | text to video | 61.2 [60.2, 62.3] | 100.0 [99.0, 101.1] |")
    assert lines[-5].startswith("| MAC & co, fine-tuned (theirs, arXiv:1) | text to video | 38.9 | - |")
    assert lines[-3] == "- 3 similarities are NaN and rank last"
    assert {line.count("|") for line in lines if line.startswith("|")} == {8}


def test_latex_is_escaped():
    text = formats.latex(FULL)
    assert r"MAC \& co, fine-tuned (theirs, arXiv:1)" in text
    assert r"61.2 {\scriptsize [60.2, 62.3]}" in text
    assert text.count(r"\\") == 1 + len(rows.lines(FULL))
    title = formats.latex(record(protocol=record()["protocol"] | {"title": r"50% of_it #1 {a} \b ~^ $"}))
    assert r"50\% of\_it \#1 \{a\} \textbackslash{}b \textasciitilde{}\textasciicircum{} \$" in title


def test_csv_is_a_row_a_number():
    found = list(csv.DictReader(io.StringIO(formats.as_csv(FULL))))
    assert len(found) == 5 * 2 + 5 + 5 + 1
    first, last = found[0], found[-1]
    assert (first["metric"], float(first["value"]), float(first["low"])) == ("R@1", 61.24, 60.24)
    assert (last["whose"], last["value"], last["low"], last["source"]) == ("theirs", "38.9", "", "arXiv:1")


HOSTILE = (
    "a|b", "=1+1", "+cmd|' /C calc'!A0", "-2", "@SUM(A1)", "<script>x</script>", "[a](javascript:x)", "`c` *d* _e_",
    r"50% \input{f} $x$ {y} #z ^ ~ & _", "two\nlines", "\ttab", "\x1b[31m", "\u202eright to left", "👩\u200d👧 مرحبا",
)  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_names_are_text_in_every_format(text):
    lost = {"count": 1, "kinds": {text: 1}, "first": [text]}
    made = record(undecodable=lost, splits={text: {"t2v": NUMBERS}}, protocol=record()["protocol"] | {"title": text})
    plain = record(undecodable={"count": 1, "kinds": {"corrupt": 1}, "first": ["x"]}, splits={"x": {"t2v": NUMBERS}})
    for name, write in formats.TEXTS.items():
        found = write(made)
        assert len(found.splitlines()) == len(write(plain).splitlines()), name
        assert not set(found) & {"\x1b", "\u202e", "\t"}
    shown = [line for line in formats.markdown(made).splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in shown} == {8}
    assert not re.search(r"(?<!\\)[<`*\[]", formats.markdown(made).splitlines()[-1].removeprefix("- "))
    for row in csv.reader(io.StringIO(formats.as_csv(made))):
        assert not any(cell.startswith(("=", "+", "@")) for cell in row)
        assert not row[0].startswith("-")
    assert not re.search(r"(?<!\\)[%$#&_^~](?!\d)", formats.latex(made).splitlines()[-2].replace(r"\&", ""))


def test_a_column_of_a_table_is_no_formula_in_a_spreadsheet():
    found = csv.DictReader(io.StringIO(formats.as_csv(FULL)))
    assert {row["column"] for row in found} == {"raw", "DSL", "shuffled frames", "MAC & co, fine-tuned"}


def test_a_title_steers_nothing():
    out = printed(results_table(record(protocol=record()["protocol"] | {"title": "[red]\x1b[31mx"})))
    assert "\x1b" not in out


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


def test_a_title_is_no_markup():
    protocol = record()["protocol"] | {"title": "MSR [/b] VTT \x1b]0;owned\x07"}
    assert "MSR [/b] VTT  ]0;owned :" in printed(results_table(record(protocol=protocol)))
