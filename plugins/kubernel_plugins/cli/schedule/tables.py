"""Columns of text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

__all__ = ["write"]


def write(to: TextIO, rows: Sequence[Sequence[str]]) -> None:
    """Left-aligned columns, two spaces between them."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        to.write(line.rstrip() + "\n")
