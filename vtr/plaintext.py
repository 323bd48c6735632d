"""Text that others wrote, fit for a terminal or a page."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any


def printable(text: str, but: str = "") -> str:
    """The text without what could steer a terminal or a page: escape sequences, turns of direction, half surrogates.

    Each such sign becomes a space, except those in `but`.
    """
    # A caption is anybody's text. The two joiners are part of emoji and of Persian and Indian words.
    return "".join(sign if sign.isprintable() or sign in "\u200c\u200d" or sign in but else " " for sign in text)


def warn(message: str) -> None:
    """One yellow line on stderr."""
    tell("warning", message, "yellow")


def tell(name: str, text: str, style: str) -> None:
    """One line on stderr, `name: text`; none when there is no text."""
    if text:  # what other libraries say may have several lines
        console = on_stderr(soft_wrap=True, highlight=False)
        # File names and keys are anybody's: an escape sequence in one must not steer the terminal.
        console.print(f"{name}: {printable(' '.join(text.split()))}", style=style, markup=False)


def on_stderr(**how: Any) -> Any:
    """A rich console on stderr. Where nobody reads that any more, the work that it tells of goes on."""
    from rich.console import Console

    if sys.stderr is None:  # closed before we began
        return Console(stderr=True, **how)
    return Console(file=_Stderr(), **how)  # type: ignore[arg-type]


class _Stderr:
    """What stderr is now, to write to. Its reader gone (`2>&1 | head`) or its terminal closed, it leads nowhere."""

    def __init__(self) -> None:
        self.file: Any = getattr(sys.stderr, "rich_proxied_file", sys.stderr)  # a live display stands before it

    def write(self, text: str) -> int:
        try:
            self.file.write(text)
        except OSError:
            self._let_go()
        return len(text)

    def flush(self) -> None:
        try:
            self.file.flush()
        except OSError:
            self._let_go()

    def _let_go(self) -> None:
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.file.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)
