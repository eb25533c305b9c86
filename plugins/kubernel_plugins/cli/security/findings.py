"""What a check says."""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["Finding", "Result"]

Result = Literal["PASS", "WARN", "FAIL", "SKIP"]
"""WARN is for the owner to decide; SKIP could not be looked at."""


class Finding(NamedTuple):
    """``id`` is the benchmark's number, ``found`` what made it other than PASS, ``remedy`` what to do about it (for
    SKIP: why it was not looked at)."""

    id: str
    title: str
    result: Result
    remedy: str
    found: tuple[str, ...] = ()
