"""The head of a page that is one file: nothing is loaded from elsewhere, and nothing in it runs."""

from __future__ import annotations

from html import escape

# All but inline styles and images is forbidden, whatever was written by others.
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def head(title: str, style: str) -> str:
    """From the doctype to the end of the head, with `title` escaped and `style` as it is."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>"
    )
