"""Text that others wrote, fit for a terminal or a page."""

from __future__ import annotations


def printable(text: str, but: str = "") -> str:
    """The text without what could steer a terminal or a page: escape sequences, turns of direction, half surrogates.

    Each such sign becomes a space, except those in `but`.
    """
    # A caption is anybody's text. The two joiners are part of emoji and of Persian and Indian words.
    return "".join(sign if sign.isprintable() or sign in "\u200c\u200d" or sign in but else " " for sign in text)


def warn(line: str) -> None:
    """A yellow line on stderr."""
    from rich.console import Console

    told = f"warning: {printable(line)}"  # file names are anybody's
    Console(stderr=True, soft_wrap=True, highlight=False).print(told, style="yellow", markup=False)
