"""What is wrong with a policy's arguments, in upstream's words.

Source: k8s.io/kubernetes/pkg/scheduler/apis/config/validation/validation_pluginargs.go and
k8s.io/component-helpers/scheduling/corev1/nodeaffinity (v1.37).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from kubernel.objects import names
from kubernel.registry.causes import show

__all__ = ["Problems"]

_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")


class Problems:
    """Found one after the other; ``check`` raises a ValueError of all of them, each a text that begins with the path of
    its field."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def check(self) -> None:
        if self._texts:
            raise ValueError(*self._texts)

    def invalid(self, path: str, value: Any, why: str) -> None:
        self._texts.append(f"{path}: Invalid value: {show(value)}: {why}")

    def required(self, path: str, why: str) -> None:
        self._texts.append(f"{path}: Required value: {why}")

    def forbidden(self, path: str, why: str) -> None:
        self._texts.append(f"{path}: Forbidden: {why}")

    def duplicate(self, path: str, value: str) -> None:
        self._texts.append(f'{path}: Duplicate value: "{value}"')

    def one_of(self, path: str, value: str, *allowed: str) -> bool:
        if value not in allowed:
            told = ", ".join(f'"{each}"' for each in allowed)
            self._texts.append(f'{path}: Unsupported value: "{value}": supported values: {told}')
        return value in allowed

    def within(self, path: str, value: int, least: int, most: int) -> None:
        if not least <= value <= most:
            self.invalid(path, value, f"not in valid range [{least}, {most}]")

    def label_name(self, path: str, value: str) -> None:
        for why in names.check_qualified_name(value):
            self.invalid(path, value, why)

    def shape(self, path: str, shape: Sequence[Mapping[str, Any]]) -> None:
        """Points of utilization (per cent) and score (0 to 10)."""
        if not shape:
            self.required(path, "at least one point must be specified")
        uses = [point.get("utilization", 0) for point in shape]
        for position, (before, use) in enumerate(pairwise(uses), start=1):
            if before >= use:
                self.invalid(
                    f"{path}[{position}].utilization", use, "values must be sorted in increasing order"
                )
                break
        for position, point in enumerate(shape):
            self.within(f"{path}[{position}].utilization", uses[position], 0, 100)
            self.within(f"{path}[{position}].score", point.get("score", 0), 0, 10)

    def node_selector_term(self, path: str, term: Mapping[str, Any]) -> None:
        for position, each in enumerate(term.get("matchExpressions") or ()):
            self._requirement(f"{path}.matchExpressions[{position}]", each)

    def _requirement(self, path: str, each: Mapping[str, Any]) -> None:
        operator, values = each.get("operator", ""), each.get("values")
        if not self.one_of(f"{path}.operator", operator, *_OPERATORS):
            return
        if operator in ("In", "NotIn") and not values:
            self.invalid(f"{path}.values", values, "for 'in', 'notin' operators, values set can't be empty")
        if operator in ("Exists", "DoesNotExist") and values:
            self.invalid(f"{path}.values", values, "values set must be empty for exists and does not exist")
        if operator in ("Gt", "Lt"):
            if len(values or ()) != 1:
                why = "for 'Gt', 'Lt' operators, exactly one value is required"
                self.invalid(f"{path}.values", values, why)
            for position, value in enumerate(values or ()):
                if not _INTEGER.fullmatch(value):
                    why = "for 'Gt', 'Lt' operators, the value must be an integer"
                    self.invalid(f"{path}.values[{position}]", value, why)
        self.label_name(f"{path}.key", each.get("key", ""))
