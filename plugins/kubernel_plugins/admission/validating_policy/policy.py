"""One ValidatingAdmissionPolicy, compiled, and what it says about one request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from kubernel import cel
from kubernel_plugins.expressions import (
    Budget,
    Expression,
    ExpressionError,
    MatchConditions,
    OutOfBudget,
    Variables,
    environment,
)

if TYPE_CHECKING:
    from kubernel.store.records import Obj
    from kubernel_plugins.expressions import View

__all__ = ["Denial", "Findings", "Policy"]

LONGEST_MESSAGE = 5 * 1024
"""What a messageExpression makes that is longer is not used."""


class Denial(NamedTuple):
    """``validation`` is its index; ``reason`` a Status reason, "" where the evaluation itself failed."""

    message: str
    reason: str
    validation: int


class Findings(NamedTuple):
    """``annotations`` are (key, value) for the audit log; ``errors`` those that could not be made."""

    denials: list[Denial]
    annotations: list[tuple[str, str]]
    errors: list[str]


class _Validation(NamedTuple):
    expression: Expression
    message: str
    message_expression: Expression | None
    reason: str


class Policy:
    """``findings(view)`` says what the policy has against a request."""

    def __init__(self, policy: Obj) -> None:
        spec = policy["spec"]
        params = spec.get("paramKind") is not None
        self.fails = (spec.get("failurePolicy") or "Fail") != "Ignore"
        self.variables = Variables(spec.get("variables") or (), params=params)
        self.conditions = MatchConditions(spec.get("matchConditions"), params=params)
        types = self.variables.types
        where = environment(params=params, variables=types)
        messages = environment(params=params, authorizer=False, variables=types)
        self.validations = [
            _Validation(
                Expression(where, one.get("expression", ""), (cel.BOOL,)),
                (one.get("message") or "").strip(),
                Expression(messages, one["messageExpression"], (cel.STRING,))
                if one.get("messageExpression")
                else None,
                one.get("reason") or "Invalid",
            )
            for one in spec.get("validations") or ()
        ]
        self.annotations = [
            (one["key"], Expression(where, one.get("valueExpression", "").strip(), (cel.STRING, cel.NULL)))
            for one in spec.get("auditAnnotations") or ()
        ]

    def findings(self, view: View) -> Findings:
        budget = Budget()
        view.with_variables(self.variables, budget)
        found = Findings([], [], [])
        try:
            if not self.conditions.hold(view):
                return found
            for index, validation in enumerate(self.validations):
                self._validate(validation, index, view, budget, found)
        except ExpressionError as error:
            if self.fails:
                return Findings([Denial(str(error), "", 0)], [], [])
            return Findings([], [], [])
        self._annotate(view, found)
        return found

    def _validate(
        self, validation: _Validation, index: int, view: View, budget: Budget, found: Findings
    ) -> None:
        try:
            value = validation.expression.evaluate(view, budget)
        except OutOfBudget:
            raise
        except ExpressionError as error:
            if self.fails:
                found.denials.append(Denial(str(error), "", index))
            return
        if value is True:
            return
        found.denials.append(Denial(self._message(validation, view, budget), validation.reason, index))

    @staticmethod
    def _message(validation: _Validation, view: View, budget: Budget) -> str:
        made: Any = ""
        if validation.message_expression is not None:
            try:
                made = validation.message_expression.evaluate(view, budget)
            except OutOfBudget as error:
                return f"failed messageExpression: {error}"
            except ExpressionError:
                made = ""
        text = made.strip() if isinstance(made, str) else ""
        if len(text.encode()) > LONGEST_MESSAGE or "\n" in text:
            text = ""
        return text or validation.message or f"failed expression: {validation.expression.source.strip()}"

    def _annotate(self, view: View, found: Findings) -> None:
        if not self.annotations:
            return
        budget = Budget()
        for key, expression in self.annotations:
            try:
                value = expression.evaluate(view, budget)
            except ExpressionError as error:
                if self.fails:
                    found.errors.append(str(error))
                continue
            if isinstance(value, str) and value.strip():
                found.annotations.append((key, value.strip()))
