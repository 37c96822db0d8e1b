"""Text from files on its way to a terminal."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """Escape characters of a results folder that would control the terminal."""
    # Category Zs includes spaces that do not break.
    return "".join(
        c if c.isprintable() or c in "\n\t" or unicodedata.category(c) == "Zs" else repr(c)[1:-1]
        for c in text
    )
