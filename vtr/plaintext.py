"""Text that others wrote, fit for a terminal or a page."""

from __future__ import annotations


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
    from rich.console import Console

    if text:  # what other libraries say may have several lines
        console = Console(stderr=True, soft_wrap=True, highlight=False)
        # File names and keys are anybody's: an escape sequence in one must not steer the terminal.
        console.print(f"{name}: {printable(' '.join(text.split()))}", style=style, markup=False)
