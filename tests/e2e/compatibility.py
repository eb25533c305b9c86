"""Writes docs/compatibility.md: what a run of the end-to-end tests found for each client.

Tests of a module with a ``CLIENT`` count; the behaviour is the marker's, else the test's name in words. A fixture
may name the client by ``record_property("client", ...)``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

__all__ = ["Results"]

_WORST = ("failed", "skipped", "passed")
_HEAD = """# Compatibility

What unmodified clients find on a kubernel cluster. A run of the end-to-end tests wrote this table; failures stay in it:

    KUBERNEL_COMPATIBILITY=docs/compatibility.md pytest tests/e2e

| client | behaviour | result |
|---|---|---|
"""
_PROSE = "\n## What differs on purpose\n"


class Results:
    """The worst result of each client and behaviour, in the order of the run."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[str, str]] = {}

    def add(self, item: Any, report: Any) -> None:
        client = dict(item.user_properties).get("client") or getattr(item.module, "CLIENT", "")
        if not client or (report.when != "call" and report.passed):
            return
        marker = item.get_closest_marker("behaviour")
        name = item.originalname.removeprefix("test_").replace("_", " ")
        key = client, marker.args[0] if marker else name
        why = report.longrepr[2].removeprefix("Skipped: ") if report.skipped and report.longrepr else ""
        before = self._found.get(key)
        if before is None or _WORST.index(report.outcome) < _WORST.index(before[0]):
            self._found[key] = report.outcome, why

    def write(self, path: Path) -> None:
        rows = [
            f"| {client} | {behaviour} | {outcome}{f': {why}' if why else ''} |\n"
            for (client, behaviour), (outcome, why) in sorted(
                self._found.items(), key=lambda pair: pair[0][0].lower()
            )
        ]
        # What differs on purpose is written by hand, below the table.
        _, heading, prose = path.read_text().partition(_PROSE) if path.exists() else ("", "", "")
        path.write_text(_HEAD + "".join(rows) + heading + prose)
