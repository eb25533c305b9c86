"""Rules that all subjects share: numbers, names, labels, addresses, paths."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from kubernel.errors import Cause
from kubernel.objects import names
from kubernel_plugins.api.builtin import causes
from kubernel_plugins.api.builtin.validation.internal import go_value

__all__ = [
    "ANNOTATIONS_LIMIT",
    "MAX_INT32",
    "NEGATIVE",
    "NOT_POSITIVE",
    "Found",
    "Obj",
    "annotation_keys",
    "between",
    "forbidden_fields",
    "id_number",
    "label_key",
    "label_selector",
    "labels",
    "named",
    "no_back_steps",
    "not_negative",
    "one_of",
    "optional_one_of",
    "percent_or_count",
    "port",
    "port_or_name",
    "positive",
    "relative_path",
    "relative_unreserved_path",
    "required",
]

Obj = dict[str, Any]
Found = list[Cause]

MAX_INT32 = 2**31 - 1
NEGATIVE = "must be greater than or equal to 0"
NOT_POSITIVE = "must be greater than zero"
PORT_RANGE = "must be between 1 and 65535, inclusive"
ANNOTATIONS_LIMIT = 256 * 1024

_plain_key = re.compile(
    r"(?:[a-z0-9](?:[-a-z0-9]{0,60}[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]{0,60}[a-z0-9])?){0,3}/)?"
    r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
_plain_value = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_percent = re.compile("[0-9]+%")
_PERCENT = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or "
    "'93%', regex used for validation is '[0-9]+%')"
)


def named(value: str, path: str, check: names.Check, found: Found) -> None:
    """A cause for each problem that ``check`` has with a name."""
    found += causes.invalid_each(path, value, check(value))


def required(obj: Mapping[str, Any], path: str, found: Found, *keys: str) -> None:
    """A cause for each of these fields that is absent or empty."""
    for key in keys:
        if not obj.get(key):
            found.append(causes.required(f"{path}.{key}"))


def one_of(value: Any, path: str, supported: tuple[str, ...], found: Found) -> None:
    """``supported`` in the order in which upstream names the values."""
    if value not in supported:
        found.append(causes.not_supported(path, value if value is not None else "", supported))


def optional_one_of(obj: Obj, key: str, path: str, supported: tuple[str, ...], found: Found) -> None:
    value = obj.get(key)
    if value is not None and value not in supported:
        found.append(causes.not_supported(f"{path}.{key}", value, supported))


def not_negative(obj: Mapping[str, Any], path: str, found: Found, *keys: str) -> None:
    for key in keys:
        value = obj.get(key)
        if value is not None and value < 0:
            found.append(causes.invalid(f"{path}.{key}", value, NEGATIVE))


def positive(value: Any, path: str, found: Found) -> None:
    if (value or 0) <= 0:
        found.append(causes.invalid(path, value or 0, NOT_POSITIVE))


def between(value: int, path: str, low: int, high: int, found: Found) -> None:
    if not low <= value <= high:
        found.append(causes.invalid(path, value, f"must be between {low} and {high}, inclusive"))


def id_number(value: int | None, path: str, found: Found) -> None:
    """A user's or group's number."""
    if value is not None and not 0 <= value <= MAX_INT32:
        found.append(causes.invalid(path, value, f"must be between 0 and {MAX_INT32}, inclusive"))


def port(value: int, path: str, found: Found) -> None:
    if not 1 <= value <= 65535:
        found.append(causes.invalid(path, value, PORT_RANGE))


def port_or_name(value: Any, path: str, found: Found) -> None:
    if isinstance(value, str):
        found += causes.invalid_each(path, value, names.check_port_name(value))
    elif not 1 <= (value or 0) <= 65535:
        found.append(causes.invalid(path, value or 0, PORT_RANGE))


def percent_or_count(value: Any, path: str, found: Found) -> None:
    """An int-or-string that is a count or ``NN%``."""
    if isinstance(value, str):
        if not _percent.fullmatch(value):
            found.append(causes.invalid(path, value, _PERCENT))
    elif value is not None and value < 0:
        found.append(causes.invalid(path, value, NEGATIVE))


def label_key(value: str, path: str, found: Found) -> None:
    if not _plain_key.fullmatch(value):
        found += causes.invalid_each(path, value, names.check_qualified_name(value))


def labels(value: Mapping[str, str] | None, path: str, found: Found) -> None:
    for key, text in (value or {}).items():
        if not _plain_key.fullmatch(key):
            found += causes.invalid_each(path, key, names.check_qualified_name(key))
        if not _plain_value.fullmatch(text):
            found += causes.invalid_each(path, text, names.check_label_value(text))


def annotation_keys(value: Mapping[str, str] | None, path: str, found: Found) -> None:
    if not value:
        return
    size = 0
    for key, text in value.items():
        if not _plain_key.fullmatch(key):
            found += causes.invalid_each(path, key, names.check_qualified_name(key.lower()))
        size += len(key) + len(text) if key.isascii() and text.isascii() else len((key + text).encode())
    if size > ANNOTATIONS_LIMIT:
        found.append(causes.too_long(path, ANNOTATIONS_LIMIT))


def label_selector(selector: Obj | None, path: str, found: Found, *, any_value: bool = False) -> None:
    """``any_value``: values that are no label values are let through (they were before)."""
    if not selector:
        return
    labels(selector.get("matchLabels"), f"{path}.matchLabels", found)
    for index, rule in enumerate(selector.get("matchExpressions") or ()):
        where = f"{path}.matchExpressions[{index}]"
        _requirement_values(rule, where, found)
        label_key(rule.get("key") or "", f"{where}.key", found)
        if not any_value:
            label_values(rule.get("values") or (), f"{where}.values", found)


def label_values(values: Iterable[str], path: str, found: Found) -> None:
    for index, value in enumerate(values):
        found += causes.invalid_each(f"{path}[{index}]", value, names.check_label_value(value))


def _requirement_values(rule: Obj, path: str, found: Found) -> None:
    operator, values = rule.get("operator") or "", rule.get("values")
    if operator in ("In", "NotIn"):
        if not values:
            told = "must be specified when `operator` is 'In' or 'NotIn'"
            found.append(causes.required(f"{path}.values", told))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            told = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            found.append(causes.forbidden(f"{path}.values", told))
    else:
        found.append(causes.invalid(f"{path}.operator", operator, "not a valid selector operator"))


def no_back_steps(value: str, path: str, found: Found) -> None:
    if ".." in value and ".." in value.split("/"):
        found.append(causes.invalid(path, value, "must not contain '..'"))


def relative_path(value: str, path: str, found: Found) -> None:
    """A path below the directory that it is relative to."""
    if value.startswith("/"):
        found.append(causes.invalid(path, value, "must be a relative path"))
    no_back_steps(value, path, found)


def relative_unreserved_path(value: str, path: str, found: Found) -> None:
    relative_path(value, path, found)
    if value.startswith("..") and not value.startswith("../"):
        found.append(causes.invalid(path, value, "must not start with '..'"))


def forbidden_fields(
    obj: Mapping[str, Any], path: str, detail: str, keys: Iterable[str], found: Found
) -> None:
    """A cause for each of these fields that is set."""
    for key in keys:
        if obj.get(key) is not None:
            found.append(causes.forbidden(f"{path}.{key}", detail))


def selector_value(selector: Obj | None) -> Any:
    return go_value("metav1.LabelSelector", selector)
