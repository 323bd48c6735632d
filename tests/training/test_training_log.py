"""metrics.jsonl tells each step once, however often the run was stopped."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from vtr.training.log import RunLog, clock, panel

FIGURES = {"loss": 1.0, "lr": 1e-3, "samples_per_s": 10.0, "left_s": 65.0}


def steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_lines_past_the_start_come_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with RunLog(path, 10, 0) as log:
        for step in (1, 2, 3, 4):
            log.figures(step, FIGURES)
        log.record(4, {"t2v R@1": 50.0})
    with path.open("a") as file:
        file.write('{"step": 5, "lo')  # a killed run's last line
    with RunLog(path, 10, 2) as log:
        log.figures(3, {**FIGURES, "loss": 9.0})
    assert steps(path) == [1, 2, 3]
    assert json.loads(path.read_text().splitlines()[-1])["loss"] == 9.0
    assert list(tmp_path.iterdir()) == [path]


def test_figures_that_are_no_numbers_are_null(tmp_path: Path) -> None:
    """JSON has no NaN; and a line that somebody's tool wrote with one does not stop the run."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": NaN}\n')
    with RunLog(path, 3, 1) as log:
        log.figures(2, {**FIGURES, "loss": float("inf"), "video_spread": float("nan")})
        log.record(2, {"t2v R@1": float("nan")})
    _, second, third = map(json.loads, path.read_text().splitlines())
    assert (second["loss"], second["video_spread"], third["t2v R@1"]) == (None, None, None)
    assert steps(path) == [1, 2, 2]


@pytest.mark.parametrize(("line", "scored"), [({"loss": 1.0}, False), ({"t2v R@1": 1.0}, True)])
def test_an_evaluation_of_the_start_is_known(tmp_path: Path, line: dict[str, float], scored: bool) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps({"step": step, **line}) + "\n" for step in (1, 3)))
    assert [RunLog(path, 9, start).scored for start in (3, 2)] == [scored, False]


def test_a_note_leaves_the_panel_as_it_is() -> None:
    """rich draws the panel anew after each note, with the note's options: without markup."""
    out = io.StringIO()
    Console(file=out, width=80).print(panel(1, 3, FIGURES), markup=False)
    assert "learning rate" in out.getvalue()
    assert "[" not in out.getvalue()


def test_plain_lines_on_stderr_and_nothing_on_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunLog(tmp_path / "m", 3, 0) as log:
        for step in (1, 2, 3):
            log.figures(step, FIGURES)
        log.note("a [bold]note")
    out, err = capsys.readouterr()
    assert out == ""
    # Not every step: the first, the last, and one in some seconds.
    assert err.splitlines() == [
        "step 1/3  loss 1.000  lr 1.00e-03  10 samples/s  1:05 left",
        "step 3/3  loss 1.000  lr 1.00e-03  10 samples/s  1:05 left",
        "a [bold]note",
    ]


def test_only_the_main_process_speaks_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m"
    path.write_text('{"step": 9}\n')
    with RunLog(path, 3, 0, show=False) as log:
        log.figures(3, FIGURES)
        log.record(3, {})
        log.note("x")
    assert capsys.readouterr() == ("", "")
    assert steps(path) == [9]


def test_a_terminal_has_a_panel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Terminal()
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with RunLog(tmp_path / "m", 40, 0) as log:
        log.figures(4, {**FIGURES, "data_wait": 0.031, "memory_gb": 1.26})
        log.note("between")
    text = screen.getvalue()
    for words in ("step 4 of 40", "loss", "1.000", "1.00e-03", "samples/s", "10", "3%", "1.3 GB", "1:05", "between"):
        assert words in text
    assert "step 4/40" not in text, "no plain lines beside it"


def test_a_panel_before_the_first_step() -> None:
    from rich.console import Console

    console = Console(width=80, record=True, file=io.StringIO())
    console.print(panel(0, 40, {}))
    assert "step 0 of 40" in console.export_text()


def test_clocks() -> None:
    assert [clock(s) for s in (0, 5.4, 65, 3599.6, 7384)] == ["0:00", "0:05", "1:05", "1:00:00", "2:03:04"]
