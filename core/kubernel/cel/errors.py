"""What goes wrong with an expression::

CelError
├── CompileError      it does not parse or check; str() is cel-go's report with source and caret lines
└── EvaluationError   it failed on these values
    └── CostExceeded  it ran out of its budget
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CelError", "CompileError", "CostExceeded", "EvaluationError", "Issue"]


class CelError(Exception):
    """Base of all errors of this package; ``str()`` is what upstream says."""


@dataclass(frozen=True, slots=True)
class Issue:
    """One finding: where (an offset in code points into the source) and what."""

    offset: int
    message: str

    def report(self, source: str) -> str:
        """The finding with its line of the source and a caret under the place."""
        if not source:
            return f"ERROR: <input>:1:0: {self.message}"
        before = source[: self.offset]
        line = before.count("\n") + 1
        column = self.offset - (before.rfind("\n") + 1)
        lines = source.split("\n")
        text = lines[line - 1].replace("\t", " ") if line <= len(lines) else ""
        # cel-go marks a wide place with wide dots, so that the caret still stands under it.
        dots = "".join("\uff0e" if ord(char) > 0x7F else "." for char in text[:column])
        caret = "\uff3e" if column < len(text) and ord(text[column]) > 0x7F else "^"
        return f"ERROR: <input>:{line}:{column + 1}: {self.message}\n | {text}\n | {dots}{caret}"


class CompileError(CelError):
    """An expression that does not parse or check."""

    def __init__(self, source: str, issues: list[Issue]) -> None:
        self.issues = sorted(issues, key=lambda issue: issue.offset)
        super().__init__("\n".join(issue.report(source) for issue in self.issues))


class EvaluationError(CelError):
    """An expression that failed on these values. ``cost`` is what it had cost until then."""

    cost = 0


class CostExceeded(EvaluationError):
    """An expression that would cost more than its budget allows."""

    def __init__(self) -> None:
        super().__init__("operation cancelled: actual cost limit exceeded")
