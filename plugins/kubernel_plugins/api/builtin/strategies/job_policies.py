"""What a Job may say of failures, successes and indexes.

Source: pkg/apis/batch/validation/validation.go (v1.37).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernel.errors import Cause
from kubernel.objects import names
from kubernel.registry.causes import show, too_many
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.strategies.base import field
from kubernel_plugins.api.builtin.strategies.templates import not_negative

if TYPE_CHECKING:
    from kubernel.store.records import Obj

__all__ = ["validate_indexes", "validate_policies"]

_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_OPERATORS = ("In", "NotIn")
_STATUSES = ("False", "True", "Unknown")
_REPLACEMENT = ("Failed", "TerminatingOrFailed")
_MOST_RULES = 20
_MOST_PATTERNS = 20
_MOST_VALUES = 255
_LONGEST_INDEXES = 65_536
_LONGEST_MANAGER = 63
_MOST_PARALLEL = 100_000
_MOST_FAILED_INDEXES = 100_000
_MANY_COMPLETIONS = 100_000
_LIMIT_OF_MANY = 10_000


def _plain(field: str, detail: str) -> Cause:
    """Invalid, without the value in the message."""
    return Cause("FieldValueInvalid", f"Invalid value: {detail}", field)


def _valid(values: tuple[str, ...]) -> str:
    """As Go's ``%q`` prints a list."""
    return f"valid values: [{' '.join(map(show, values))}]"


def validate_policies(spec: Obj, path: str) -> list[Cause]:
    found: list[Cause] = []
    if spec.get("podFailurePolicy") is not None:
        found += _failure_policy(spec, f"{path}.podFailurePolicy.rules")
    policy = spec.get("successPolicy")
    if policy is not None:
        if spec.get("completionMode") != "Indexed":
            found.append(causes.invalid(f"{path}.successPolicy", policy, "requires indexed completion mode"))
        else:
            found += _success_policy(spec, policy.get("rules") or (), f"{path}.successPolicy.rules")
    replacement = spec.get("podReplacementPolicy")
    supported = _REPLACEMENT[:1] if spec.get("podFailurePolicy") is not None else _REPLACEMENT
    if replacement is not None and replacement not in supported:
        found.append(causes.not_supported(f"{path}.podReplacementPolicy", replacement, supported))
    manager = spec.get("managedBy")
    if manager is not None:
        found += _domain_prefixed(f"{path}.managedBy", manager)
        if len(manager) > _LONGEST_MANAGER:
            found.append(causes.too_long(f"{path}.managedBy", _LONGEST_MANAGER))
    return found


def _domain_prefixed(path: str, value: str) -> list[Cause]:
    if not value:
        return [causes.required(path)]
    domain, _, rest = value.partition("/")
    if not domain or not rest:
        return [causes.invalid(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    return [causes.invalid(path, domain, text) for text in names.check_dns1123_subdomain(domain)]


# --- failures


def _failure_policy(spec: Obj, path: str) -> list[Cause]:
    rules = spec["podFailurePolicy"].get("rules") or ()
    found = [too_many(path, len(rules), _MOST_RULES)] if len(rules) > _MOST_RULES else []
    containers = {
        container.get("name")
        for key in ("containers", "initContainers")
        for container in field(spec, "template", "spec", key) or ()
    }
    for place, rule in enumerate(rules):
        found += _failure_rule(spec, rule, f"{path}[{place}]", containers)
    return found


def _failure_rule(spec: Obj, rule: Obj, path: str, containers: set[Any]) -> list[Cause]:
    found: list[Cause] = []
    action = rule.get("action")
    if not action:
        found.append(causes.required(f"{path}.action", _valid(_ACTIONS)))
    elif action == "FailIndex":
        if spec.get("backoffLimitPerIndex") is None:
            detail = "requires the backoffLimitPerIndex to be set"
            found.append(causes.invalid(f"{path}.action", action, detail))
    elif action not in _ACTIONS:
        found.append(causes.not_supported(f"{path}.action", action, _ACTIONS))
    codes, patterns = rule.get("onExitCodes"), rule.get("onPodConditions") or ()
    if codes is not None:
        found += _exit_codes(codes, f"{path}.onExitCodes", containers)
    if len(patterns) > _MOST_PATTERNS:
        found.append(too_many(f"{path}.onPodConditions", len(patterns), _MOST_PATTERNS))
    for place, pattern in enumerate(patterns):
        found += _pattern(pattern, f"{path}.onPodConditions[{place}]")
    if codes is not None and patterns:
        found.append(_plain(path, "specifying both OnExitCodes and OnPodConditions is not supported"))
    if codes is None and not patterns:
        found.append(_plain(path, "specifying one of OnExitCodes and OnPodConditions is required"))
    return found


def _exit_codes(codes: Obj, path: str, containers: set[Any]) -> list[Cause]:
    found: list[Cause] = []
    operator, values = codes.get("operator"), codes.get("values") or []
    if not operator:
        found.append(causes.required(f"{path}.operator", _valid(_OPERATORS)))
    elif operator not in _OPERATORS:
        found.append(causes.not_supported(f"{path}.operator", operator, _OPERATORS))
    name = codes.get("containerName")
    if name is not None and name not in containers:
        detail = "must be one of the container or initContainer names in the pod template"
        found.append(causes.invalid(f"{path}.containerName", name, detail))
    if not values:
        found.append(causes.invalid(f"{path}.values", values, "at least one value is required"))
    elif len(values) > _MOST_VALUES:
        found.append(too_many(f"{path}.values", len(values), _MOST_VALUES))
    seen: set[int] = set()
    for place, value in enumerate(values):
        where = f"{path}.values[{place}]"
        if operator == "In" and value == 0:
            found.append(causes.invalid(where, value, "must not be 0 for the In operator"))
        if value in seen:
            found.append(causes.duplicate(where, value))
        seen.add(value)
    if values != sorted(values):
        found.append(causes.invalid(f"{path}.values", values, "must be ordered"))
    return found


def _pattern(pattern: Obj, path: str) -> list[Cause]:
    type, status = pattern.get("type") or "", pattern.get("status")
    found = [causes.invalid(f"{path}.type", type, text) for text in names.check_qualified_name(type)]
    if not status:
        found.append(causes.required(f"{path}.status", _valid(_STATUSES)))
    elif status not in _STATUSES:
        found.append(causes.not_supported(f"{path}.status", status, _STATUSES))
    return found


# --- successes


def _success_policy(spec: Obj, rules: Any, path: str) -> list[Cause]:
    found: list[Cause] = []
    if not rules:
        detail = "at least one rules must be specified when the successPolicy is specified"
        found.append(causes.required(path, detail))
    if len(rules) > _MOST_RULES:
        found.append(too_many(path, len(rules), _MOST_RULES))
    for place, rule in enumerate(rules):
        found += _success_rule(rule, spec.get("completions") or 0, f"{path}[{place}]")
    return found


def _success_rule(rule: Obj, completions: int, path: str) -> list[Cause]:
    found: list[Cause] = []
    indexes, count = rule.get("succeededIndexes"), rule.get("succeededCount")
    if indexes is None and count is None:
        detail = "at least one of succeededCount or succeededIndexes must be specified"
        found.append(causes.required(path, detail))
    total = 0
    if indexes is not None:
        where = f"{path}.succeededIndexes"
        if len(indexes) > _LONGEST_INDEXES:
            found.append(causes.too_long(where, _LONGEST_INDEXES))
        try:
            total = _count_indexes(indexes, completions)
        except ValueError as error:
            found.append(causes.invalid(where, indexes, f"error parsing succeededIndexes: {error}"))
    if count is not None:
        where = f"{path}.succeededCount"
        found += not_negative(rule, path, "succeededCount")
        if count > completions:
            detail = f"must be less than or equal to {completions} (the number of specified completions)"
            found.append(causes.invalid(where, count, detail))
        if indexes is not None and count > total:
            what = "the number of indexes in the specified succeededIndexes field"
            found.append(causes.invalid(where, count, f"must be less than or equal to {total} ({what})"))
    return found


def _count_indexes(text: str, completions: int) -> int:
    """How many indexes ``1,3-5`` names; ValueError for what is not ascending or not below ``completions``."""
    total, before = 0, -1
    for part in text.split(",") if text else ():
        limits = part.split("-")
        if len(limits) > 2:
            raise ValueError(
                f"the fragment {show(part)} violates the requirement that an index interval can have at most "
                "two parts separated by '-'"
            )
        first, *rest = (_index(limit, completions) for limit in limits)
        last = rest[0] if rest else first
        if rest and first >= last:
            raise ValueError(f"non-increasing order, previous: {first}, current: {last}")
        if before >= first:
            raise ValueError(f"non-increasing order, previous: {before}, current: {first}")
        total += last - first + 1
        before = last
    return total


def _index(text: str, completions: int) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"cannot convert string to integer for index: {show(text)}")
    if int(text) >= completions:
        raise ValueError(f"too large index: {show(text)}")
    return int(text)


# --- indexes


def validate_indexes(spec: Obj, path: str) -> list[Cause]:
    found: list[Cause] = []
    per_index, failed = spec.get("backoffLimitPerIndex"), spec.get("maxFailedIndexes")
    if failed is not None and per_index is None:
        found.append(causes.required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if spec.get("completionMode") != "Indexed":
        return found + [
            causes.invalid(f"{path}.{key}", spec[key], "requires indexed completion mode")
            for key in ("backoffLimitPerIndex", "maxFailedIndexes")
            if spec.get(key) is not None
        ]
    completions, parallelism = spec.get("completions"), spec.get("parallelism") or 0
    if completions is None:
        found.append(causes.required(f"{path}.completions", "when completion mode is Indexed"))
        completions = 0
    elif failed is not None and failed > completions:
        detail = "must be less than or equal to completions"
        found.append(causes.invalid(f"{path}.maxFailedIndexes", failed, detail))
    if parallelism > _MOST_PARALLEL:
        detail = f"must be less than or equal to {_MOST_PARALLEL} when completion mode is Indexed"
        found.append(causes.invalid(f"{path}.parallelism", parallelism, detail))
    if failed is not None and failed > _MOST_FAILED_INDEXES:
        detail = f"must be less than or equal to {_MOST_FAILED_INDEXES}"
        found.append(causes.invalid(f"{path}.maxFailedIndexes", failed, detail))
    if completions > _MANY_COMPLETIONS and per_index is not None:
        if failed is None:
            detail = f"must be specified when completions is above {_MANY_COMPLETIONS}"
            found.append(causes.required(f"{path}.maxFailedIndexes", detail))
        for key in ("parallelism", "maxFailedIndexes"):
            value = spec.get(key)
            if value is not None and value > _LIMIT_OF_MANY:
                detail = (
                    f"must be less than or equal to {_LIMIT_OF_MANY} when completions are above "
                    f"{_MANY_COMPLETIONS} and used with backoff limit per index"
                )
                found.append(causes.invalid(f"{path}.{key}", value, detail))
    return found
