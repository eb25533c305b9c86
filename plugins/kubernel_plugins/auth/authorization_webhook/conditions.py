"""Which requests a webhook is asked about: CEL expressions over a SubjectAccessReview's spec.

Source: k8s.io/apiserver/pkg/authorization/cel (v1.37).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kubernel import cel

__all__ = ["Condition", "unmatched", "values"]


def _selector(name: str) -> cel.Type:
    requirement = cel.object_type(
        f"kubernetes.{name}SelectorRequirement",
        {"key": cel.STRING, "operator": cel.STRING, "values": cel.list_of(cel.STRING)},
    )
    return cel.object_type(
        f"kubernetes.{name}SelectorAttributes",
        {"rawSelector": cel.STRING, "requirements": cel.list_of(requirement)},
    )


_NAMES = ("namespace", "verb", "group", "version", "resource", "subresource", "name")
_REQUEST = cel.object_type(
    "kubernetes.SubjectAccessReviewSpec",
    {
        "user": cel.STRING,
        "uid": cel.STRING,
        "groups": cel.list_of(cel.STRING),
        "extra": cel.map_of(cel.STRING, cel.list_of(cel.STRING)),
        "resourceAttributes": cel.object_type(
            "kubernetes.ResourceAttributes",
            {
                **dict.fromkeys(_NAMES, cel.STRING),
                "fieldSelector": _selector("Field"),
                "labelSelector": _selector("Label"),
            },
        ),
        "nonResourceAttributes": cel.object_type(
            "kubernetes.NonResourceAttributes", {"path": cel.STRING, "verb": cel.STRING}
        ),
    },
)
_ENVIRONMENT = cel.Environment({"request": _REQUEST})


class Condition:
    """One expression. Raises CompileError; TypeError, with what is to be told, for one that is no condition."""

    __slots__ = ("expression", "program")

    def __init__(self, expression: str) -> None:
        self.expression = expression
        self.program = _ENVIRONMENT.compile(expression)
        if self.program.result not in (cel.BOOL, cel.DYN):
            raise TypeError(f"must evaluate to bool but got {self.program.result}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Condition) and other.expression == self.expression

    def __hash__(self) -> int:
        return hash(self.expression)


def values(spec: Mapping[str, Any]) -> dict[str, Any]:
    """``request``: every name is there, also those that a review leaves out."""
    told: dict[str, Any] = {
        "user": spec.get("user", ""),
        "uid": spec.get("uid", ""),
        "groups": spec.get("groups", []),
        "extra": spec.get("extra", {}),
    }
    if "nonResourceAttributes" in spec:
        told["nonResourceAttributes"] = {"path": "", "verb": "", **spec["nonResourceAttributes"]}
    if "resourceAttributes" in spec:
        told["resourceAttributes"] = {**dict.fromkeys(_NAMES, ""), **spec["resourceAttributes"]}
    return told


def unmatched(conditions: Sequence[Condition], spec: Mapping[str, Any]) -> bool:
    """Whether one does not hold. Raises EvaluationError when none is false and one cannot be told."""
    wrong: cel.EvaluationError | None = None
    request = {"request": values(spec)}
    for condition in conditions:
        try:
            if condition.program.evaluate(request) is not True:
                return True
        except cel.EvaluationError as error:
            wrong = error
    if wrong is not None:
        raise wrong
    return False
