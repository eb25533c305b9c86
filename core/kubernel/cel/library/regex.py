"""Regular expressions with RE2's syntax and its promise: time linear in the text, whatever the pattern.

Upstream compiles with Go's regexp, which is RE2. Python's ``re`` takes exponential time for some patterns that
a user may write, so google-re2 is used.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from kubernel.cel.errors import EvaluationError
from kubernel.cel.values import size_of

from .declare import Table, member

__all__ = ["compiled", "regex_cost", "search", "table"]


@lru_cache(maxsize=512)
def compiled(pattern: str) -> Any:
    """A pattern ready to search with. Raises EvaluationError for one that is wrong."""
    import re2  # loads a shared library: only who matches pays for it

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        text = error.args[0] if error.args else ""
        said = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
        raise EvaluationError(f"error parsing regexp: {said}") from None


def search(text: str, pattern: str) -> bool:
    return compiled(pattern).search(text) is not None


def _find(text: str, pattern: str) -> str:
    found = compiled(pattern).search(text)
    return found.group(0) if found else ""


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    if limit == 0:
        return []
    found: list[str] = []
    for match in compiled(pattern).finditer(text):
        found.append(match.group(0))
        if len(found) == limit:
            break
    return found


def regex_cost(values: list[Any], result: Any) -> int:
    """The text's length times the pattern's, as cel-go guesses it."""
    return ((size_of(values[0]) + 10) // 10) * ((size_of(values[1]) + 3) // 4)


def table() -> Table:
    return [
        member("find", "string;string", "string", _find, regex_cost),
        member("findAll", "string;string", "list(string)", _find_all, regex_cost),
        member("findAll", "string;string;int", "list(string)", _find_all, regex_cost),
    ]
